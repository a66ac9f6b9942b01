/** Text to copy, such as a command. */
import { useText } from "../i18n";
import { Button } from "./basic";
import { useToast } from "./toasts";

export function Code({ text, label }: { text: string; label?: string }) {
  const { t } = useText();
  const toast = useToast();
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      toast(t("said.copied"));
    } catch {
      toast(t("said.copy_by_hand"), "warn");
    }
  };
  return (
    <pre className="code" title={label}>
      {text}
      <Button small icon="copy" label={t("act.copy")} onClick={copy} />
    </pre>
  );
}

/** The same on the command line: what a page can do, a script can do. */
import { useState } from "react";
import { useText } from "../i18n";
import { Button } from "./basic";
import { Dialog } from "./dialog";
import { useToast } from "./toasts";

/** Text to copy, such as a command. */
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

/** A button that shows the command line and the request for what a page does. */
export function CommandLine({
  command,
  request,
}: {
  command: string;
  request?: { method: string; path: string; body?: unknown };
}) {
  const { t } = useText();
  const [isOpen, setOpen] = useState(false);
  return (
    <>
      <Button small kind="quiet" icon="terminal" onClick={() => setOpen(true)}>
        CLI
      </Button>
      {isOpen && (
        <Dialog title={t("cli.title")} wide onClose={() => setOpen(false)}>
          <p className="soft">{t("cli.note")}</p>
          <Code text={command} label={t("cli.command")} />
          {request && <Code text={curl(request)} label="curl" />}
          <div className="dialog-acts">
            <Button onClick={() => setOpen(false)}>{t("act.close")}</Button>
          </div>
        </Dialog>
      )}
    </>
  );
}

function curl({ method, path, body }: { method: string; path: string; body?: unknown }): string {
  const parts = [`curl -X ${method} ${window.location.origin}${path}`, `  -H "Authorization: Bearer $LONGSHORE_TOKEN"`];
  if (body !== undefined)
    parts.push(`  -H 'Content-Type: application/json'`, `  -d '${JSON.stringify(body).replaceAll("'", `'\\''`)}'`);
  return parts.join(" \\\n");
}

/** The same on the command line: what a page can do, a script can do. */
import { useState } from "react";
import { useText } from "../i18n";
import { Button } from "./basic";
import { Code } from "./code";
import { curl } from "./curl";
import { Dialog } from "./dialog";

/** A button that shows the command line and the request for what a page does. */
export function CommandLine({
  command,
  request,
  also = [],
}: {
  command: string;
  /** Commands for what the page's other buttons do. */
  also?: string[];
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
          {also.length > 0 && <Code text={also.join("\n")} label={t("cli.also")} />}
          {request && <Code text={curl(request)} label="curl" />}
          <div className="dialog-acts">
            <Button onClick={() => setOpen(false)}>{t("act.close")}</Button>
          </div>
        </Dialog>
      )}
    </>
  );
}

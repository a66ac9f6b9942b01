/** Dialogs: the browser's own, which keep the focus, close with Escape, and are named for screen readers. */
import { type FormEvent, type ReactNode, useEffect, useId, useRef, useState } from "react";
import { useText } from "../i18n";
import { Button, Trouble } from "./basic";
import { Code } from "./code";

export function Dialog({
  title,
  children,
  onClose,
  wide,
  className,
}: {
  title?: string;
  children: ReactNode;
  onClose: () => void;
  wide?: boolean;
  className?: string;
}) {
  const box = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const dialog = box.current;
    if (dialog && !dialog.open) dialog.showModal();
    // The first thing that takes the focus may be far below the title.
    if (dialog) dialog.scrollTop = 0;
    return () => dialog?.close();
  }, []);
  return (
    <dialog
      ref={box}
      className={className ? `dialog ${className}` : `dialog${wide ? " wide" : ""}`}
      aria-labelledby={title ? id : undefined}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
    >
      {title ? (
        <div className="dialog-body">
          <h2 id={id}>{title}</h2>
          {children}
        </div>
      ) : (
        children
      )}
    </dialog>
  );
}

interface ConfirmProps {
  title: string;
  children: ReactNode;
  /** What the button says, and does. */
  act: string;
  onAct: () => Promise<void>;
  onClose: () => void;
  danger?: boolean;
  /** Why it cannot be done now. */
  why?: string;
  /** What is done shows itself in the same place. */
  staysOpen?: boolean;
  /** The same on the command line. */
  command: string;
}

/** Asks before something is done, and shows why it could not be. */
export function Confirm({ title, children, act, onAct, onClose, danger, why, staysOpen, command }: ConfirmProps) {
  const { t } = useText();
  const [error, setError] = useState<unknown>();
  const [isBusy, setBusy] = useState(false);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (isBusy || why) return;
    setBusy(true);
    setError(undefined);
    try {
      await onAct();
      if (!staysOpen) onClose();
    } catch (error) {
      setError(error);
      setBusy(false);
    }
  };
  return (
    <Dialog title={title} onClose={onClose}>
      <form className="stack" onSubmit={submit}>
        {children}
        {error !== undefined && <Trouble error={error} />}
        <Code text={command} label={t("cli.title")} />
        <div className="dialog-acts">
          <Button onClick={onClose}>{t("act.cancel")}</Button>
          <Button type="submit" kind={danger ? "danger main" : "main"} busy={isBusy} why={why}>
            {act}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

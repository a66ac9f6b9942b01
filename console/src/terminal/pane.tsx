/** One terminal: its screen, how its connection does, and how it ended. */
import "@xterm/xterm/css/xterm.css";
import { useEffect, useRef, useState } from "react";
import { useText } from "../i18n";
import { Button, Notice } from "../parts/basic";
import { type Ending, type Status, TerminalLink, type TicketOf } from "./link";
import { Screen } from "./screen";

interface PaneProps {
  /** Asks for a ticket; must stay the same as long as the terminal is. */
  ticket: TicketOf;
  session?: string;
  isShown: boolean;
  /** Whether another one could be opened after this one has ended. */
  canReopen: boolean;
  onClose?: (session: string | undefined) => void;
}

export function TerminalPane({ ticket, session, isShown, canReopen, onClose }: PaneProps) {
  const { t, bytes } = useText();
  const place = useRef<HTMLDivElement>(null);
  const screen = useRef<Screen>(undefined);
  const link = useRef<TerminalLink>(undefined);
  const [status, setStatus] = useState<Status>({ state: "opening" });
  const [round, setRound] = useState(0);
  const words = useRef({ t, bytes });
  words.current = { t, bytes };

  useEffect(() => {
    if (!place.current) return;
    const view = new Screen(place.current);
    screen.current = view;
    const made = new TerminalLink(ticket, round === 0 ? session : undefined, {
      size: () => view.size(),
      onOutput: (data) => view.write(data),
      onDropped: (count) => view.leaveOut(count),
      onRepeat: (isRepeating) => view.repeat(isRepeating),
      onSize: (columns, rows) => view.follow(columns, rows),
      onStatus: setStatus,
    });
    link.current = made;
    view.onInput = (data) => made.send(data);
    view.onLeftOut = (count) => view.say(words.current.t("terminal.dropped", { bytes: words.current.bytes(count) }));
    view.onResize = (columns, rows) => made.resize(columns, rows);
    made.open();
    return () => {
      made.leave();
      view.dispose();
    };
  }, [ticket, session, round]);

  useEffect(() => {
    if (isShown) screen.current?.show();
  }, [isShown]);

  return (
    <div className="stack">
      {status.state === "ended" && (
        <Notice
          tone={status.ending.isPlain && !status.ending.exitCode ? "good" : "warn"}
          title={<EndWords ending={status.ending} />}
          action={
            canReopen && (
              <Button small kind="main" icon="restart" onClick={() => setRound(round + 1)}>
                {t("terminal.new")}
              </Button>
            )
          }
        />
      )}
      <div className="terminal-box">
        <div className="terminal-head">
          <span className="grow" role="status">
            <StatusWords status={status} />
          </span>
          {onClose && (
            <Button small icon="close" label={t("terminal.close")} onClick={() => onClose(link.current?.session)} />
          )}
        </div>
        <div className="terminal-place" ref={place} />
      </div>
    </div>
  );
}

function EndWords({ ending }: { ending: Ending }) {
  const { t, problem } = useText();
  if (ending.exitCode === 126 || ending.exitCode === 127) return t("terminal.no_shell");
  if (ending.isPlain && ending.exitCode) return t("terminal.exit", { code: ending.exitCode });
  if (ending.isPlain) return t("terminal.done");
  return t("terminal.closed", { reason: problem(ending.code, ending.message) });
}

function StatusWords({ status }: { status: Status }) {
  const { t } = useText();
  if (status.state === "opening") return t("terminal.opening");
  if (status.state === "waiting") return t("terminal.lost");
  if (status.state === "open" && status.viewers > 1) return t("terminal.viewers", { count: status.viewers });
  return status.state === "open" ? t("log.live") : "";
}

/** Terminals in a container: several, in tabs of their own, that survive a lost connection and a closed page. */
import "@xterm/xterm/css/xterm.css";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { api, type Container, call, done } from "../../api/client";
import { shellWord } from "../../format";
import { useText } from "../../i18n";
import { Button, Empty, Notice } from "../../parts/basic";
import { CommandLine } from "../../parts/command";
import { canEnter } from "../../states";
import { type Ending, type Status, TerminalLink } from "../../terminal/link";
import { Screen } from "../../terminal/screen";

interface Tab {
  key: number;
  /** A terminal that is there already; a new one is opened when absent. */
  session?: string;
}

let nextKey = 1;

export function Terminals({ container }: { container: Container }) {
  const { t } = useText();
  const client = useQueryClient();
  const id = String(container.id);
  const running = canEnter(container);
  const there = useQuery({
    queryKey: ["container", id, "terminals"],
    queryFn: () => call(api.GET("/api/v1/containers/{id}/terminals", { params: { path: { id } } })),
    enabled: running,
    // Asked once each time that this is opened: what is there later, this page has opened itself.
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: 0,
  });
  const [tabs, setTabs] = useState<Tab[]>();
  const [shown, setShown] = useState(0);

  // Once, when it is known what is there: those terminals, or a new one.
  if (tabs === undefined && there.data) {
    const open = there.data
      .filter((it) => it.tty && it.exit_code == null)
      .map((it) => ({ key: nextKey++, session: it.id }));
    const first = open.length > 0 ? open : [{ key: nextKey++ }];
    setTabs(first);
    setShown(first[0]?.key ?? 0);
  }

  if (!running && !tabs?.length)
    return (
      <Empty icon="terminal" title={t("terminal.none")}>
        {t("terminal.none_note")}
      </Empty>
    );

  const add = () => {
    const tab = { key: nextKey++ };
    setTabs((tabs) => [...(tabs ?? []), tab]);
    setShown(tab.key);
  };
  const close = (key: number, session: string | undefined) => {
    const rest = tabs?.filter((tab) => tab.key !== key) ?? [];
    setTabs(rest);
    if (shown === key) setShown(rest.at(-1)?.key ?? 0);
    if (session)
      done(api.DELETE("/api/v1/containers/{id}/terminals/{terminal}", { params: { path: { id, terminal: session } } }))
        // It may have ended by itself a moment ago.
        .catch(() => {})
        .finally(() => client.removeQueries({ queryKey: ["container", id, "terminals"] }));
  };

  return (
    <div className="stack">
      <div className="row apart">
        <div className="tabs" role="tablist" aria-label={t("terminal.sessions")}>
          {tabs?.map((tab, index) => (
            <button
              key={tab.key}
              type="button"
              role="tab"
              id={`terminal-tab-${tab.key}`}
              aria-selected={tab.key === shown}
              aria-controls={`terminal-${tab.key}`}
              onClick={() => setShown(tab.key)}
            >
              {t("terminal.session", { number: index + 1 })}
            </button>
          ))}
        </div>
        <div className="row">
          <CommandLine command={`longshore container exec --interactive --tty ${shellWord(container.name)} -- sh`} />
          <Button small icon="plus" onClick={add} why={running ? undefined : t("terminal.none")}>
            {t("terminal.new")}
          </Button>
        </div>
      </div>
      {tabs?.map((tab) => (
        <div
          key={tab.key}
          role="tabpanel"
          id={`terminal-${tab.key}`}
          aria-labelledby={`terminal-tab-${tab.key}`}
          hidden={tab.key !== shown}
        >
          <TerminalPane
            container={container}
            session={tab.session}
            isShown={tab.key === shown}
            onClose={(session) => close(tab.key, session)}
          />
        </div>
      ))}
      <p className="soft small">{t("terminal.copied")}</p>
    </div>
  );
}

interface PaneProps {
  container: Container;
  session?: string;
  isShown: boolean;
  onClose: (session: string | undefined) => void;
}

function TerminalPane({ container, session, isShown, onClose }: PaneProps) {
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
    const made = new TerminalLink(String(container.id), round === 0 ? session : undefined, {
      size: () => view.size(),
      onOutput: (data) => view.write(data),
      onDropped: (count) => view.say(words.current.t("terminal.dropped", { bytes: words.current.bytes(count) })),
      onSize: (columns, rows) => view.follow(columns, rows),
      onStatus: setStatus,
    });
    link.current = made;
    view.onInput = (data) => made.send(data);
    view.onResize = (columns, rows) => made.resize(columns, rows);
    made.open();
    return () => {
      made.leave();
      view.dispose();
    };
  }, [container.id, session, round]);

  useEffect(() => {
    if (isShown) screen.current?.show();
  }, [isShown]);

  return (
    <div className="stack">
      <div className="terminal">
        <div className="terminal-head">
          <span className="grow" role="status">
            <StatusWords status={status} />
          </span>
          <Button small icon="close" label={t("terminal.close")} onClick={() => onClose(link.current?.session)} />
        </div>
        <div className="terminal-place" ref={place} />
      </div>
      {status.state === "ended" && (
        <Notice
          tone={status.ending.isPlain && !status.ending.exitCode ? "good" : "warn"}
          title={<EndWords ending={status.ending} />}
          action={
            canEnter(container) && (
              <Button small kind="main" icon="restart" onClick={() => setRound(round + 1)}>
                {t("terminal.new")}
              </Button>
            )
          }
        />
      )}
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

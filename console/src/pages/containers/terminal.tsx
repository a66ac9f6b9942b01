/** Terminals in a container: several, in tabs of their own, that survive a lost connection and a closed page. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useCallback, useState } from "react";
import { api, type Container, call, done } from "../../api/client";
import { shellWord } from "../../format";
import { useText } from "../../i18n";
import { Button, Empty } from "../../parts/basic";
import { CommandLine } from "../../parts/command";
import { canEnter } from "../../states";
import type { TicketOf } from "../../terminal/link";
import { TerminalPane } from "../../terminal/pane";

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
  const ticket = useCallback<TicketOf>(
    (body) => call(api.POST("/api/v1/containers/{id}/terminal-tickets", { params: { path: { id } }, body })),
    [id],
  );
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
            ticket={ticket}
            canReopen={running}
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

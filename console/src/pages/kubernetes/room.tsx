/** What a cluster tells of a namespace: how much of its quota is used, and what happened in it. */
import { useQuery } from "@tanstack/react-query";
import type { Schemas } from "../../api/client";
import { queries } from "../../api/queries";
import { shellWord } from "../../format";
import { useText } from "../../i18n";
import { Badge, Card, Foreign, Skeleton, Trouble, When } from "../../parts/basic";
import { CommandLine } from "../../parts/command";
import { Use } from "../../parts/use";
import { FIRST, isBytes, quantity } from "./quantity";

type Row = Schemas["NamespaceQuotaView"];

export function NamespaceQuota({ namespace }: { namespace: string }) {
  const { t } = useText();
  const quota = useQuery(queries.namespaceQuota(namespace));
  const rows = quota.data ?? [];
  const first = rows.filter((it) => FIRST.includes(it.resource));
  const rest = rows.filter((it) => !FIRST.includes(it.resource));
  return (
    <Card
      title={t("quota.title")}
      action={
        <CommandLine
          command={`longshore namespace quota ${shellWord(namespace)}`}
          request={{ method: "GET", path: `/api/v1/namespaces/${namespace}/quota` }}
        />
      }
    >
      {quota.isPending && <Skeleton rows={3} />}
      {quota.error && <Trouble error={quota.error} onRetry={quota.refetch} />}
      {quota.data?.length === 0 && <p className="soft">{t("kube.no_quota")}</p>}
      <div className="stack">
        {first.map((it) => (
          <Part key={it.resource} row={it} />
        ))}
        {rest.length > 0 && (
          <details>
            <summary>{t("kube.quota_rest")}</summary>
            <div className="stack">
              {rest.map((it) => (
                <Part key={it.resource} row={it} />
              ))}
            </div>
          </details>
        )}
      </div>
    </Card>
  );
}

function Part({ row: it }: { row: Row }) {
  const { t, word, bytes, number } = useText();
  const [used, limit] = [quantity(it.used || "0"), quantity(it.limit)];
  const write = (amount: number) => (isBytes(it.resource) ? bytes(amount) : number(amount, 2));
  const name = word("resource", it.resource);
  const words =
    used === undefined || limit === undefined
      ? `${it.used} / ${it.limit}`
      : t("machine.used", { used: write(used), total: write(limit) });
  return (
    <Use
      name={name}
      words={words}
      used={used ?? 0}
      limit={limit ?? 0}
      isFull={used !== undefined && used >= (limit ?? 0)}
    />
  );
}

const EVENTS_SHOWN = 30;

export function NamespaceEvents({ namespace }: { namespace: string }) {
  const { t } = useText();
  const events = useQuery(queries.namespaceEvents(namespace));
  return (
    <Card
      title={t("kube.events")}
      flush
      action={
        <CommandLine
          command={`longshore namespace events ${shellWord(namespace)}`}
          request={{ method: "GET", path: `/api/v1/namespaces/${namespace}/events` }}
        />
      }
    >
      {events.isPending && <Skeleton rows={3} />}
      {events.error && <Trouble error={events.error} onRetry={events.refetch} />}
      {events.data?.length === 0 && <p className="card-body soft">{t("kube.no_events")}</p>}
      <ul className="lines">
        {events.data?.slice(0, EVENTS_SHOWN).map((it, index) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: two events may be the same in everything
          <li key={index} className="row top">
            <Badge tone={it.is_warning ? "warn" : "idle"} bare>
              <Foreign text={it.reason} />
            </Badge>
            <div className="grow small">
              <Foreign text={`${it.kind} ${it.name}`} />
              {it.count > 1 && ` × ${it.count}`}
              {it.at && (
                <span className="soft">
                  {" · "}
                  <When at={it.at} />
                </span>
              )}
              <div className="soft">
                <Foreign text={it.message} />
              </div>
            </div>
          </li>
        ))}
      </ul>
    </Card>
  );
}

/** The audit log: who did what, to what, from where, and whether it was allowed. */
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useEffect, useEffectEvent, useMemo, useState } from "react";
import { useSearchParams } from "react-router";
import type { Schemas } from "../../api/client";
import { queries } from "../../api/queries";
import { useText } from "../../i18n";
import { Badge, Button, Card, Foreign, PageHead, Skeleton, Trouble } from "../../parts/basic";
import { CommandLine } from "../../parts/command";
import { SelectField, TextField } from "../../parts/field";
import { type Column, Table } from "../../parts/table";

type Row = Schemas["AuditView"];
const STEP = 200;
const PAUSE_MS = 300;

export function Audit() {
  const { t, word, moment, fullMoment, number } = useText();
  const [search, setSearch] = useSearchParams();
  const [limit, setLimit] = useState(STEP);
  const value = (name: string) => search.get(name) || undefined;
  const audit = useQuery({
    ...queries.audit({ actor: value("actor"), search: value("q") }, limit),
    placeholderData: keepPreviousData,
  });
  const columns = useMemo<Column<Row>[]>(
    () => [
      {
        id: "at",
        title: t("audit.at"),
        cell: (it) => (
          <time dateTime={it.at} title={fullMoment(it.at)}>
            {moment(it.at)}
          </time>
        ),
      },
      {
        id: "actor",
        title: t("audit.actor"),
        className: "name",
        cell: (it) => (it.acting_for ? `${it.actor ?? "–"} → ${it.acting_for}` : (it.actor ?? "–")),
      },
      { id: "action", title: t("audit.action"), cell: (it) => <code>{it.action}</code> },
      { id: "target", title: t("audit.target"), className: "wrap", cell: (it) => <Foreign text={it.target} /> },
      {
        id: "result",
        title: t("audit.result"),
        cell: (it) => <Badge tone={it.result === "done" ? "good" : "bad"}>{word("audit", it.result)}</Badge>,
      },
      { id: "ip", title: "IP", className: "wide-only mono", cell: (it) => it.ip ?? "–" },
    ],
    [t, word, moment, fullMoment],
  );
  const set = (name: string) => (value: string) =>
    setSearch(
      (search) => {
        if (value) search.set(name, value);
        else search.delete(name);
        return search;
      },
      { replace: true },
    );
  const accounts = useQuery(queries.accounts());
  // What is typed shows at once; it is looked for when nothing more is typed for a moment.
  const [typed, setTyped] = useState(value("q") ?? "");
  const look = useEffectEvent((text: string) => {
    if (text !== (value("q") ?? "")) set("q")(text);
  });
  useEffect(() => {
    const timer = setTimeout(() => look(typed.trim()), PAUSE_MS);
    return () => clearTimeout(timer);
  }, [typed]);
  return (
    <>
      <PageHead title={t("nav.audit")} note={t("audit.note")}>
        <CommandLine command="longshore audit list" request={{ method: "GET", path: "/api/v1/audit" }} />
      </PageHead>
      <Card>
        <div className="form-row">
          <SelectField label={t("audit.actor")} value={search.get("actor") ?? ""} onChange={set("actor")}>
            <option value="">{t("audit.anybody")}</option>
            {accounts.data?.map((it) => (
              <option key={it.user_id} value={it.account}>
                {it.account}
              </option>
            ))}
          </SelectField>
          <TextField
            label={t("audit.search")}
            type="search"
            value={typed}
            onChange={setTyped}
            placeholder="image.delete, alice/app …"
          />
        </div>
      </Card>
      <Card flush>
        {audit.isPending && <Skeleton />}
        {audit.error && <Trouble error={audit.error} onRetry={audit.refetch} />}
        {audit.data?.total === 0 && <p className="card-body soft">{t("audit.empty")}</p>}
        {audit.data && audit.data.total > 0 && (
          <Table label={t("nav.audit")} rows={audit.data.data} columns={columns} rowKey={(it) => it.id} />
        )}
        {audit.data && audit.data.total > audit.data.data.length && (
          <p className="table-none">
            <Button onClick={() => setLimit(Math.min(2048, limit * 2))}>
              {t("audit.more", { shown: number(audit.data.data.length), total: number(audit.data.total) })}
            </Button>
          </p>
        )}
      </Card>
    </>
  );
}

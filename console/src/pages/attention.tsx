/** What needs somebody: what failed of mine, and for admins what is broken and who waits. */
import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { queries } from "../api/queries";
import { useText } from "../i18n";
import { Card, Foreign } from "../parts/basic";
import { Icon } from "../parts/icons";
import { paths } from "../paths";
import { useIsAdmin } from "../shell/session";
import { machineName } from "../states";
import { failedBuilds, failedRuns, ownBuilds } from "./failures";

interface Item {
  key: string;
  title: string;
  note?: string;
  to: string;
}

const SHOWN_MAX = 8;

export function Attention() {
  const { t, word } = useText();
  const isAdmin = useIsAdmin();
  const containers = useQuery(queries.containers());
  const builds = useQuery(queries.builds());
  const runs = useQuery(queries.runs());
  const workloads = useQuery(queries.workloads());
  const releases = useQuery(queries.releases());
  const machines = useQuery({ ...queries.machines(), enabled: isAdmin });
  const accounts = useQuery({ ...queries.accounts(), enabled: isAdmin });
  const parts = useQuery({ ...queries.readiness(), enabled: isAdmin });
  const why = (message?: string | null, reason?: string | null) =>
    message ?? (reason ? word("reason", reason) : undefined);

  const items: Item[] = [];
  for (const it of parts.data?.parts ?? [])
    if (!it.ready)
      items.push({
        key: `part ${it.name}`,
        title: t("attention.part", { name: word("part", it.name) }),
        note: it.message ?? undefined,
        to: paths.installation,
      });
  for (const it of machines.data?.data ?? [])
    if (it.state !== "online" || it.quarantine_reason)
      items.push({
        key: `machine ${it.machine_id}`,
        title: t("attention.machine", { name: machineName(it) }),
        note: it.quarantine_reason ?? word("machine", it.state),
        to: paths.machines,
      });
  for (const it of accounts.data ?? [])
    if (it.state === "pending")
      items.push({
        key: `account ${it.account}`,
        title: t("attention.account", { name: it.account }),
        to: paths.accounts,
      });
  for (const it of containers.data?.data ?? [])
    if (it.state === "failed")
      items.push({
        key: `container ${it.id}`,
        title: t("attention.container", { name: it.display_name || it.name }),
        note: why(it.message, it.reason),
        to: paths.container(it.id),
      });
  for (const it of failedRuns(runs.data?.data ?? []))
    items.push({
      key: `run ${it.id}`,
      title: t("attention.run", { name: it.repo_name }),
      note: why(it.message, it.reason),
      to: paths.run(it.id),
    });
  for (const it of failedBuilds(ownBuilds(builds.data?.data ?? [], runs.data?.data ?? [])))
    items.push({
      key: `build ${it.id}`,
      title: t("attention.build", { name: it.image }),
      note: why(it.message, it.reason),
      to: paths.build(it.id),
    });
  for (const it of workloads.data?.data ?? [])
    if (it.state === "failed" || it.state === "missing")
      items.push({
        key: `workload ${it.id}`,
        title: t("attention.workload", { name: `${it.namespace}/${it.name}` }),
        note: it.message ?? word("workload", it.state),
        to: paths.workload(it.id),
      });
  for (const it of releases.data?.data ?? [])
    if (it.state === "failed")
      items.push({
        key: `release ${it.id}`,
        title: t("attention.release", { name: it.name }),
        note: it.message ?? undefined,
        to: paths.release(it.id),
      });

  if (items.length === 0) return null;
  return (
    <Card title={t("attention.title")} flush>
      <ul className="lines attention">
        {items.slice(0, SHOWN_MAX).map((it) => (
          <li key={it.key} className="row">
            <Icon name="warn" />
            <div className="grow">
              <Link to={it.to}>
                <Foreign text={it.title} />
              </Link>
              {it.note && (
                <div className="soft small clip">
                  <Foreign text={it.note} />
                </div>
              )}
            </div>
          </li>
        ))}
        {items.length > SHOWN_MAX && (
          <li className="soft">{t("attention.more", { count: items.length - SHOWN_MAX })}</li>
        )}
      </ul>
    </Card>
  );
}

/** The overview: what is mine and runs, what needs me, which GPUs there are, what was built lately. */
import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import type { Build, Schemas } from "../api/client";
import { queries } from "../api/queries";
import { useText } from "../i18n";
import { Badge, Button, Card, Empty, Foreign, PageHead, Skeleton, Trouble, When } from "../parts/basic";
import { GpuTile } from "../parts/gpus";
import { Line } from "../parts/line";
import { Quota } from "../parts/quota";
import { paths } from "../paths";
import { useMe } from "../shell/session";
import { address, isGoingOn, machineName, operationTone } from "../states";
import { Attention } from "./attention";
import { ContainerActions } from "./containers/actions";
import { StateBadge } from "./containers/state";
import { ownBuilds } from "./failures";

export function Overview() {
  const { t, number } = useText();
  const me = useMe();
  const containers = useQuery(queries.containers());
  const images = useQuery(queries.images());
  const builds = useQuery(queries.builds());
  const runs = useQuery(queries.runs());
  const machines = useQuery(queries.machines());
  const gpus = useQuery(queries.gpus());
  const error = containers.error ?? images.error ?? builds.error;
  const mine = containers.data?.data ?? [];
  const running = mine.filter((it) => it.state === "running");
  const free = (gpus.data?.data ?? []).filter((it) => it.state === "free").length;
  const hostnames = new Map(machines.data?.data.map((it) => [it.machine_id, machineName(it)]));
  const isNew = containers.data?.total === 0 && images.data?.data.every((it) => it.owner === "public");

  return (
    <>
      <PageHead title={t("overview.hello", { name: me.nickname || me.account })}>
        <Button icon="upload" to={paths.upload}>
          {t("upload.title")}
        </Button>
        <Button kind="main" icon="plus" to={paths.containerNew()}>
          {t("create.title")}
        </Button>
      </PageHead>
      {error && <Trouble error={error} onRetry={() => containers.refetch()} />}
      {isNew && (
        <Card>
          <Empty
            icon="cloud"
            title={t("overview.first")}
            action={
              <>
                <Button kind="main" icon="upload" to={paths.upload}>
                  {t("upload.title")}
                </Button>
                {(images.data?.total ?? 0) > 0 && (
                  <Button icon="play" to={paths.containerNew()}>
                    {t("overview.from_public")}
                  </Button>
                )}
              </>
            }
          >
            {t("overview.first_note")}
          </Empty>
        </Card>
      )}
      <Attention />
      <div className="numbers">
        <Link className="card" to={paths.containers}>
          <span className="soft">{t("overview.running")}</span>
          <span className="figure">
            {number(running.length)} <small className="soft">/ {number(mine.length)}</small>
          </span>
        </Link>
        <Link className="card" to={paths.images}>
          <span className="soft">{t("nav.images")}</span>
          <span className="figure">{images.data ? number(images.data.total) : "…"}</span>
        </Link>
        <Link className="card" to={paths.machines}>
          <span className="soft">{t("overview.free_gpus")}</span>
          <span className="figure">
            {number(free)} <small className="soft">/ {number(gpus.data?.total ?? 0)}</small>
          </span>
        </Link>
        <Link className="card" to={paths.builds}>
          <span className="soft">{t("overview.building")}</span>
          <span className="figure">{number(builds.data?.data.filter(isGoingOn).length ?? 0)}</span>
        </Link>
      </div>
      <div className="grid-2">
        <div className="stack">
          <Card
            title={t("overview.mine")}
            flush
            action={
              <Button small kind="quiet" to={paths.containers}>
                {t("act.all")}
              </Button>
            }
          >
            {containers.isPending && <Skeleton />}
            {containers.data?.total === 0 && <p className="card-body soft">{t("container.empty")}</p>}
            <ul className="lines tight">
              {mine.slice(0, 8).map((it) => (
                <li key={it.id} className="row">
                  <div className="grow">
                    <Link to={paths.container(it.id)}>
                      <Foreign text={it.display_name || it.name} />
                    </Link>
                    <div className="soft small clip">
                      {address(it, window.location.hostname, machines.data?.data) ?? it.image}
                    </div>
                  </div>
                  <StateBadge container={it} />
                  <ContainerActions container={it} small />
                </li>
              ))}
            </ul>
          </Card>
          {(gpus.data?.total ?? 0) > 0 && <Line />}
        </div>
        <div className="stack">
          <Card
            title={t("overview.recent")}
            flush
            action={
              <Button small kind="quiet" to={paths.builds}>
                {t("act.all")}
              </Button>
            }
          >
            {(builds.isPending || runs.isPending) && <Skeleton />}
            {builds.data && runs.data && <Recent builds={builds.data.data} runs={runs.data.data} />}
          </Card>
          <Card title={t("quota.mine")}>
            <Quota account={me.account} />
          </Card>
        </div>
      </div>
      {gpus.data && gpus.data.total > 0 && (
        <Card title={t("gpu.map")}>
          <div className="tiles">
            {gpus.data.data.map((gpu) => (
              <GpuTile key={`${gpu.machine_id}${gpu.key}`} gpu={gpu} machine={hostnames.get(gpu.machine_id)} />
            ))}
          </div>
        </Card>
      )}
    </>
  );
}

/** What was made lately, by hand and by pipelines. */
function Recent({ builds, runs }: { builds: Build[]; runs: Schemas["RunView"][] }) {
  const { t, word } = useText();
  const rows = [
    ...ownBuilds(builds, runs).map((it) => ({ ...it, name: it.image, to: paths.build(it.id) })),
    ...runs.map((it) => ({ ...it, name: `${it.repo_name} #${it.id}`, to: paths.run(it.id) })),
  ]
    .sort((one, other) => other.created_at.localeCompare(one.created_at))
    .slice(0, 6);
  if (rows.length === 0) return <p className="card-body soft">{t("build.empty")}</p>;
  return (
    <ul className="lines">
      {rows.map((it) => (
        <li key={it.to} className="row">
          <div className="grow">
            <Link to={it.to}>
              <Foreign text={it.name} />
            </Link>
            <div className="soft small">
              <When at={it.created_at} />
            </div>
          </div>
          <Badge tone={operationTone(it.state)}>{word("state", it.state)}</Badge>
        </li>
      ))}
    </ul>
  );
}

/** A chart repository: how it is, when its index was read and what came of that. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useNavigate, useParams } from "react-router";
import { api, done, type Schemas } from "../../api/client";
import { queries } from "../../api/queries";
import { shellWord } from "../../format";
import { useText } from "../../i18n";
import { Badge, Button, Card, Foreign, Notice, PageHead, Skeleton, Trouble, When } from "../../parts/basic";
import { Code } from "../../parts/code";
import { CommandLine } from "../../parts/command";
import { Confirm } from "../../parts/dialog";
import { Lost } from "../../parts/lost";
import { paths } from "../../paths";
import { chartRepoTone, operationTone } from "../../states";
import { RepoDialog } from "./edit";
import { ChartKeys } from "./keys";
import { useMayChange, useSync, useWhyNoSync } from "./repos";

export function ChartRepoDetail() {
  const id = useParams().id ?? "";
  const { t, number } = useText();
  const navigate = useNavigate();
  const client = useQueryClient();
  const repo = useQuery(queries.chartRepo(id));
  const [open, setOpen] = useState<"edit" | "delete">();
  const [isSyncing, setSyncing] = useState(false);
  const sync = useSync();
  const mayChange = useMayChange();
  const releases = useQuery(queries.releases());
  const installed = releases.data?.data.filter((row) => row.repo_id === id) ?? [];
  const whyNoSync = useWhyNoSync();
  if (repo.error) return <Trouble error={repo.error} onRetry={repo.refetch} />;
  const it = repo.data;
  if (!it) return <Skeleton />;
  const isHosted = it.backend === "hosted";
  const notYours = mayChange(it) ? undefined : t("image.not_yours");
  return (
    <>
      <PageHead
        title={<Foreign text={it.name} />}
        crumb={{ to: paths.chartRepos, name: t("chart.repos") }}
        note={
          <span className="row">
            <Badge tone={chartRepoTone(it.status)}>{t(`chart.${it.status}`)}</Badge>
            <Foreign text={it.description ?? ""} />
          </span>
        }
      >
        <CommandLine
          command={`longshore k8s-repo-show ${shellWord(it.name)}`}
          request={{ method: "GET", path: `/api/v1/chart-repos/${id}` }}
        />
        <Button why={notYours} onClick={() => setOpen("edit")}>
          {t("act.edit")}
        </Button>
        <Button icon="trash" kind="danger" why={notYours} onClick={() => setOpen("delete")}>
          {t("act.delete")}
        </Button>
        <Button
          icon="restart"
          busy={isSyncing}
          why={whyNoSync(it)}
          onClick={() => {
            setSyncing(true);
            sync(it).finally(() => setSyncing(false));
          }}
        >
          {t("chart.sync")}
        </Button>
        <Button kind="main" to={paths.chartsOf(it.id)}>
          {t("chart.look")}
        </Button>
      </PageHead>
      {it.last_sync_error && (
        <Notice tone="bad" title={t("chart.sync_failed")}>
          <Foreign text={it.last_sync_error} />
          {(it.chart_count ?? 0) > 0 && <div className="soft">{t("chart.old_stays")}</div>}
        </Notice>
      )}
      <div className="grid-2">
        {isHosted ? (
          <Card title={t("chart.with_helm")}>
            <div className="stack">
              <p className="soft">{t("chart.hosted_note")}</p>
              <Code
                text={`helm repo add own ${window.location.origin}/charts/${it.owner} --username ${it.owner} --password $LONGSHORE_TOKEN`}
              />
            </div>
          </Card>
        ) : (
          <Syncs id={id} />
        )}
        <Card title={t("git.about")}>
          <dl className="facts">
            {!isHosted && (
              <>
                <dt>{t("git.url")}</dt>
                <dd>
                  <Foreign text={it.url} />
                </dd>
              </>
            )}
            <dt>{t("chart.owner")}</dt>
            <dd>
              {it.owner} · {it.is_public ? t("chart.is_public") : t("chart.is_private")}
            </dd>
            <dt>{t("chart.charts")}</dt>
            <dd>
              <Link to={paths.chartsOf(it.id)}>
                {t("chart.counts", {
                  charts: number(it.chart_count ?? 0),
                  versions: number(it.chart_version_count ?? 0),
                })}
              </Link>
            </dd>
            {(it.skipped_count ?? 0) > 0 && (
              <>
                <dt>{t("chart.skipped")}</dt>
                <dd>{number(it.skipped_count ?? 0)}</dd>
              </>
            )}
            {it.username && (
              <>
                <dt>{t("field.user")}</dt>
                <dd>
                  <Foreign text={it.username} />
                </dd>
              </>
            )}
            {!isHosted && it.last_sync_at && (
              <>
                <dt>{t("chart.last")}</dt>
                <dd>
                  <When at={it.last_sync_at} />
                </dd>
              </>
            )}
            {!isHosted && (
              <>
                <dt>{t("chart.next")}</dt>
                <dd>{it.next_sync_at ? <When at={it.next_sync_at} /> : t("chart.never")}</dd>
              </>
            )}
          </dl>
        </Card>
      </div>
      <ChartKeys repo={it.id} mayAdd={mayChange(it)} />
      {open === "edit" && <RepoDialog repo={it} onClose={() => setOpen(undefined)} />}
      {open === "delete" && (
        <Confirm
          title={t("chart.delete", { name: it.name })}
          act={t("act.delete")}
          command={`longshore k8s-repo-delete ${shellWord(it.name)}`}
          danger
          why={installed.length > 0 ? t("chart.installed_from") : undefined}
          onClose={() => setOpen(undefined)}
          onAct={async () => {
            await done(api.DELETE("/api/v1/chart-repos/{id}", { params: { path: { id } } }));
            client.removeQueries({ queryKey: ["chart-repo", id] });
            for (const key of ["chart-repos", "charts"]) client.invalidateQueries({ queryKey: [key] });
            navigate(paths.chartRepos);
          }}
        >
          <p>
            {t("chart.delete_note", {
              charts: number(it.chart_count ?? 0),
              versions: number(it.chart_version_count ?? 0),
            })}
          </p>
          <Lost
            title={t("chart.installed_from")}
            things={installed.map((row) => ({ name: `${row.namespace}/${row.name}`, to: paths.release(row.id) }))}
          />
          {isHosted && <Notice tone="warn" title={t("chart.delete_hosted")} />}
        </Confirm>
      )}
    </>
  );
}

/** When it was read, newest first. */
function Syncs({ id }: { id: string }) {
  const { t, word, number, bytes, span } = useText();
  const syncs = useQuery(queries.chartSyncs(id));
  const found = (it: Schemas["ChartSyncView"]) =>
    [
      word("sync", it.cause),
      it.state === "succeeded" && it.not_modified && t("chart.not_modified"),
      it.state === "succeeded" && !it.not_modified && t("chart.changed", { count: number(it.changed_count) }),
      it.fetched_bytes > 0 && bytes(it.fetched_bytes),
      it.ended_at && span(Math.max(1, it.duration_ms / 1000)),
    ]
      .filter(Boolean)
      .join(" · ");
  return (
    <Card title={t("chart.syncs")} flush>
      {syncs.isPending && <Skeleton />}
      {syncs.error && <Trouble error={syncs.error} onRetry={syncs.refetch} />}
      {syncs.data?.total === 0 && <p className="card-body soft">{t("chart.no_syncs")}</p>}
      <ul className="lines">
        {syncs.data?.data.map((it) => (
          <li key={it.id ?? it.started_at}>
            <div className="row">
              <span className="grow">{found(it)}</span>
              <Badge tone={operationTone(it.state)}>{word("state", it.state)}</Badge>
              <span className="soft small">
                <When at={it.started_at} />
              </span>
            </div>
            {it.message && (
              <div className="small wrap">
                <Foreign text={it.message} />
              </div>
            )}
            {it.problems.length > 0 && (
              <details>
                <summary>{t("chart.problems", { count: number(it.skipped_count + it.replaced_count) })}</summary>
                <ul className="small wrap">
                  {it.problems.map((problem) => (
                    <li key={problem}>
                      <Foreign text={problem} />
                    </li>
                  ))}
                </ul>
              </details>
            )}
          </li>
        ))}
      </ul>
    </Card>
  );
}

/** Chart repositories: whether they are in step with their indexes, and why not. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { Link } from "react-router";
import { api, call, type Schemas } from "../../api/client";
import { queries } from "../../api/queries";
import { useText } from "../../i18n";
import { Badge, Button, Card, Empty, Foreign, PageHead, Skeleton, Trouble, When } from "../../parts/basic";
import { CommandLine } from "../../parts/command";
import { type Column, Table } from "../../parts/table";
import { useComplaint, useToast } from "../../parts/toasts";
import { paths } from "../../paths";
import { useIsAdmin, useMe } from "../../shell/session";
import { chartRepoTone } from "../../states";
import { RepoDialog } from "./edit";
import { ChartKeys } from "./keys";
import { ChartTabs } from "./tabs";

type ChartRepo = Schemas["ChartRepoView"];

/** Asks for a repository's index to be read; what comes of it is in its history, whether or not somebody waits for it. */
export function useSync() {
  const { t } = useText();
  const client = useQueryClient();
  const complain = useComplaint();
  const toast = useToast();
  return async (repo: ChartRepo) => {
    try {
      const params = { path: { id: repo.id }, query: { async: true } };
      await call(api.POST("/api/v1/chart-repos/{id}/sync", { params }));
      toast(t("chart.sync_begun", { name: repo.name }));
    } catch (error) {
      complain(error);
    }
    for (const key of ["chart-repos", "chart-repo", "charts", "chart"]) client.invalidateQueries({ queryKey: [key] });
  };
}

/** Whether somebody may change a repository. */
export const useMayChange = () => {
  const me = useMe();
  return (repo: ChartRepo) => repo.owner === me.account || me.role === "admin";
};

/** Why a repository cannot be read now. */
export function useWhyNoSync() {
  const { t } = useText();
  const mayChange = useMayChange();
  return (repo: ChartRepo): string | undefined => {
    if (repo.backend === "hosted") return t("chart.hosted_note");
    if (!mayChange(repo)) return t("image.not_yours");
    return repo.status === "syncing" ? t("chart.syncing") : undefined;
  };
}

export function ChartRepos() {
  const { t, number } = useText();
  const repos = useQuery(queries.chartRepos());
  const isAdmin = useIsAdmin();
  const [isAdding, setAdding] = useState(false);
  const sync = useSync();
  const whyNoSync = useWhyNoSync();
  const add = (
    <Button kind="main" icon="plus" onClick={() => setAdding(true)}>
      {t("chart.add")}
    </Button>
  );
  // biome-ignore lint/correctness/useExhaustiveDependencies: what is done with a repository is the same in every round
  const columns = useMemo<Column<ChartRepo>[]>(
    () => [
      {
        id: "name",
        title: t("field.name"),
        className: "name",
        sort: (it) => it.name,
        cell: (it) => (
          <>
            <Link to={paths.chartRepo(it.id)}>
              <Foreign text={it.name} />
            </Link>
            <div className="sub wrap">{it.backend === "hosted" ? t("chart.hosted") : <Foreign text={it.url} />}</div>
            {it.last_sync_error && (
              <div className="sub wrong wrap">
                <Foreign text={it.last_sync_error} />
              </div>
            )}
          </>
        ),
      },
      {
        id: "status",
        title: t("field.state"),
        sort: (it) => it.status,
        cell: (it) => <Badge tone={chartRepoTone(it.status)}>{t(`chart.${it.status}`)}</Badge>,
      },
      {
        id: "charts",
        title: t("nav.charts"),
        className: "num wide-only",
        sort: (it) => it.chart_count ?? 0,
        cell: (it) => (it.chart_count == null ? "–" : <Link to={paths.chartsOf(it.id)}>{number(it.chart_count)}</Link>),
      },
      {
        id: "synced",
        title: t("chart.last"),
        className: "wide-only",
        sort: (it) => it.last_sync_at ?? "",
        cell: (it) => (it.last_sync_at && it.backend !== "hosted" ? <When at={it.last_sync_at} /> : "–"),
      },
      {
        id: "acts",
        title: "",
        className: "acts",
        cell: (it) => (
          <Button small icon="restart" why={whyNoSync(it)} onClick={() => sync(it)}>
            {t("chart.sync")}
          </Button>
        ),
      },
    ],
    [t, number],
  );
  return (
    <>
      <PageHead title={t("chart.repos_title")} note={t("chart.note")}>
        <CommandLine command="longshore k8s-repo-list" request={{ method: "GET", path: "/api/v1/chart-repos" }} />
        {add}
      </PageHead>
      <ChartTabs />
      <Card flush>
        {repos.isPending && <Skeleton />}
        {repos.error && <Trouble error={repos.error} onRetry={repos.refetch} />}
        {repos.data?.total === 0 && (
          <Empty icon="charts" title={t("chart.empty")} action={add}>
            {t("chart.empty_note")}
          </Empty>
        )}
        {repos.data && repos.data.total > 0 && (
          <Table
            label={t("chart.repos")}
            rows={repos.data.data}
            columns={columns}
            rowKey={(it) => it.id}
            text={(it) => `${it.name} ${it.url}`}
            order="name"
          />
        )}
      </Card>
      {isAdmin && <ChartKeys mayAdd />}
      {isAdding && <AddRepo onClose={() => setAdding(false)} />}
    </>
  );
}

export const AddRepo = ({ onClose }: { onClose: () => void }) => <RepoDialog onClose={onClose} />;

/** Releases: what was installed from charts. */
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { Link } from "react-router";
import type { Schemas } from "../../api/client";
import { queries } from "../../api/queries";
import { useText } from "../../i18n";
import { Button, Card, Empty, Foreign, PageHead, Skeleton, Trouble, When } from "../../parts/basic";
import { CommandLine } from "../../parts/command";
import { type Column, Table } from "../../parts/table";
import { paths } from "../../paths";
import { ChartTabs } from "../charts/tabs";
import { ReleaseBadge } from "./state";

type Release = Schemas["ReleaseView"];

export function Releases() {
  const { t } = useText();
  const releases = useQuery(queries.releases());
  const columns = useMemo<Column<Release>[]>(
    () => [
      {
        id: "name",
        title: t("field.name"),
        className: "name",
        sort: (it) => it.name,
        cell: (it) => (
          <>
            <Link to={paths.release(it.id)}>{it.name}</Link>
            <div className="sub">
              <Foreign text={`${it.repo}/${it.chart} ${it.chart_version}`} />
            </div>
          </>
        ),
      },
      { id: "state", title: t("field.state"), sort: (it) => it.state, cell: (it) => <ReleaseBadge release={it} /> },
      {
        id: "namespace",
        title: t("kube.namespace"),
        sort: (it) => it.namespace,
        cell: (it) => <Link to={paths.namespace(it.namespace)}>{it.namespace}</Link>,
      },
      {
        id: "revision",
        title: t("release.revision"),
        className: "num wide-only",
        sort: (it) => it.revision,
        cell: (it) => it.revision || "–",
      },
      {
        id: "updated",
        title: t("files.changed"),
        className: "wide-only",
        sort: (it) => it.updated_at,
        cell: (it) => <When at={it.updated_at} />,
      },
    ],
    [t],
  );
  return (
    <>
      <PageHead title={t("release.title")} note={t("release.note")}>
        <CommandLine command="longshore release list" request={{ method: "GET", path: "/api/releases" }} />
      </PageHead>
      <ChartTabs />
      <Card flush>
        {releases.isPending && <Skeleton />}
        {releases.error && <Trouble error={releases.error} onRetry={releases.refetch} />}
        {releases.data?.total === 0 && (
          <Empty
            icon="charts"
            title={t("release.empty")}
            action={
              <Button kind="main" to={paths.charts}>
                {t("chart.look")}
              </Button>
            }
          >
            {t("release.empty_note")}
          </Empty>
        )}
        {releases.data && releases.data.total > 0 && (
          <Table
            label={t("release.title")}
            rows={releases.data.data}
            columns={columns}
            rowKey={(it) => it.id}
            text={(it) => `${it.name} ${it.chart} ${it.namespace}`}
            order="name"
          />
        )}
      </Card>
    </>
  );
}

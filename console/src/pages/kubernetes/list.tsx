/** Kubernetes: clusters with their nodes, my namespaces, and what runs in them. */
import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { Link } from "react-router";
import type { Schemas } from "../../api/client";
import { queries } from "../../api/queries";
import { useText } from "../../i18n";
import { Badge, Button, Card, Empty, PageHead, Skeleton, Trouble, When } from "../../parts/basic";
import { CommandLine } from "../../parts/command";
import { type Column, Table } from "../../parts/table";
import { paths } from "../../paths";
import { namespaceTone } from "../../states";
import { Clusters } from "./clusters";
import { NewNamespace } from "./new";
import { WorkloadBadge } from "./state";

type Workload = Schemas["WorkloadView"];

export function Kubernetes() {
  const { t, word } = useText();
  const namespaces = useQuery(queries.namespaces());
  const workloads = useQuery(queries.workloads());
  const clusters = useQuery(queries.clusters());
  const [isAdding, setAdding] = useState(false);
  const hasNoCluster = clusters.data?.total === 0;
  const hasNoNamespace = namespaces.data?.total === 0;
  const columns = useMemo<Column<Workload>[]>(
    () => [
      {
        id: "name",
        title: t("field.name"),
        className: "name",
        sort: (it) => it.name,
        cell: (it) => (
          <>
            <Link to={paths.workload(it.id)}>{it.name}</Link>
            <div className="sub">{it.kind}</div>
          </>
        ),
      },
      {
        id: "state",
        title: t("field.state"),
        sort: (it) => it.state,
        cell: (it) => <WorkloadBadge workload={it} />,
      },
      {
        id: "namespace",
        title: t("kube.namespace"),
        sort: (it) => it.namespace,
        cell: (it) => <Link to={paths.namespace(it.namespace)}>{it.namespace}</Link>,
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
  // What comes next for somebody who has nothing there.
  const next = hasNoCluster ? undefined : hasNoNamespace ? (
    <Button kind="main" icon="plus" onClick={() => setAdding(true)}>
      {t("kube.namespace_new")}
    </Button>
  ) : (
    <Button kind="main" icon="upload" to={paths.apply()}>
      {t("kube.apply")}
    </Button>
  );
  return (
    <>
      <PageHead title={t("nav.kubernetes")} note={t("kube.note")}>
        <CommandLine command="longshore workload list" request={{ method: "GET", path: "/api/v1/workloads" }} />
        <Button icon="plus" onClick={() => setAdding(true)} why={hasNoCluster ? t("kube.no_clusters") : undefined}>
          {t("kube.namespace_new")}
        </Button>
        <Button
          kind="main"
          icon="upload"
          to={paths.apply()}
          why={hasNoNamespace ? t("kube.namespace_first") : undefined}
        >
          {t("kube.apply")}
        </Button>
      </PageHead>
      <div className="grid-2">
        <Card title={t("kube.workloads")} flush>
          {workloads.isPending && <Skeleton />}
          {workloads.error && <Trouble error={workloads.error} onRetry={workloads.refetch} />}
          {workloads.data?.total === 0 && (
            <Empty icon="kubernetes" title={t("kube.empty")} action={next}>
              {hasNoCluster ? t("kube.no_clusters") : hasNoNamespace ? t("kube.first_note") : t("kube.empty_note")}
            </Empty>
          )}
          {workloads.data && workloads.data.total > 0 && (
            <Table
              label={t("kube.workloads")}
              rows={workloads.data.data}
              columns={columns}
              rowKey={(it) => it.id}
              text={(it) => `${it.name} ${it.kind} ${it.namespace}`}
              order="name"
            />
          )}
        </Card>
        <div className="stack">
          <Card title={t("kube.namespaces")} flush>
            {namespaces.isPending && <Skeleton rows={2} />}
            {namespaces.error && <Trouble error={namespaces.error} onRetry={namespaces.refetch} />}
            {namespaces.data?.total === 0 && <p className="card-body soft">{t("kube.no_namespaces")}</p>}
            <ul className="lines">
              {namespaces.data?.data.map((it) => (
                <li key={it.id} className="row">
                  <div className="grow">
                    <Link to={paths.namespace(it.name)}>{it.name}</Link>
                    <div className="soft small">{it.cluster}</div>
                  </div>
                  <Badge tone={namespaceTone(it.state)}>{word("namespace", it.state)}</Badge>
                </li>
              ))}
            </ul>
          </Card>
          <Clusters />
        </div>
      </div>
      {isAdding && <NewNamespace onClose={() => setAdding(false)} />}
    </>
  );
}

/** Containers: what runs, where, and what can be done with it. */
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { Link, useSearchParams } from "react-router";
import type { Container } from "../../api/client";
import { queries } from "../../api/queries";
import { useText } from "../../i18n";
import { Button, Card, Empty, Foreign, PageHead, Skeleton, Trouble, When } from "../../parts/basic";
import { CommandLine } from "../../parts/command";
import { CheckField } from "../../parts/field";
import { type Column, Table } from "../../parts/table";
import { paths } from "../../paths";
import { useIsAdmin } from "../../shell/session";
import { address } from "../../states";
import { ContainerActions } from "./actions";
import { StateBadge } from "./state";

export function Containers() {
  const { t, word, bytes, cores } = useText();
  const isAdmin = useIsAdmin();
  const [search, setSearch] = useSearchParams();
  const isAll = isAdmin && search.get("all") === "true";
  const containers = useQuery(queries.containers(isAll));
  const machines = useQuery(queries.machines());
  const uses = useQuery(queries.containerUses(isAll));
  const samples = useMemo(() => new Map(uses.data?.map((it) => [it.container_id, it.sample])), [uses.data]);
  const columns = useMemo<Column<Container>[]>(
    () => [
      {
        id: "name",
        title: t("field.name"),
        className: "name",
        sort: (it) => it.display_name || it.name,
        cell: (it) => (
          <>
            <Link to={paths.container(it.id)}>
              <Foreign text={it.display_name || it.name} />
            </Link>
            <div className="sub">{isAll ? `${it.account} · ${it.image}` : it.image}</div>
          </>
        ),
      },
      { id: "state", title: t("field.state"), sort: (it) => it.state, cell: (it) => <StateBadge container={it} /> },
      {
        id: "address",
        title: t("field.address"),
        className: "wide-only",
        cell: (it) => {
          const url = address(it, window.location.hostname, machines.data?.data);
          if (url)
            return (
              <a href={url} target="_blank" rel="noreferrer">
                {url.replace("http://", "")}
              </a>
            );
          return it.port ? <span className="soft">:{it.port}</span> : <span className="soft">–</span>;
        },
      },
      {
        id: "uses",
        title: t("container.uses"),
        className: "num wide-only",
        sort: (it) => samples.get(it.id)?.cpu_millis ?? -1,
        cell: (it) => {
          const sample = it.state === "running" ? samples.get(it.id) : undefined;
          if (!sample) return <span className="soft">–</span>;
          return t("container.uses_of", { cores: cores(sample.cpu_millis), memory: bytes(sample.memory_bytes) });
        },
      },
      {
        id: "gpus",
        title: "GPU",
        className: "num wide-only",
        sort: (it) => it.gpus?.count ?? 0,
        cell: (it) => it.gpus?.count ?? <span className="soft">–</span>,
      },
      {
        id: "since",
        title: t("field.since"),
        className: "wide-only",
        sort: (it) => it.state_since,
        cell: (it) => <When at={it.state_since} />,
      },
      { id: "acts", title: "", className: "acts", cell: (it) => <ContainerActions container={it} small /> },
    ],
    [t, isAll, samples, machines.data, bytes, cores],
  );
  return (
    <>
      <PageHead title={t("nav.containers")} note={t("container.note")}>
        <CommandLine command="longshore container list" request={{ method: "GET", path: "/api/v1/containers" }} />
        <Button icon="log" to={paths.keptLogs}>
          {t("kept.title")}
        </Button>
        <Button icon="folder" to={paths.volumes}>
          {t("nav.volumes")}
        </Button>
        <Button kind="main" icon="plus" to={paths.containerNew()}>
          {t("create.title")}
        </Button>
      </PageHead>
      <Card flush>
        {containers.isPending && <Skeleton />}
        {containers.error && <Trouble error={containers.error} onRetry={containers.refetch} />}
        {containers.data?.total === 0 && !isAdmin && (
          <Empty
            icon="containers"
            title={t("container.empty")}
            action={
              <Button kind="main" icon="plus" to={paths.containerNew()}>
                {t("create.title")}
              </Button>
            }
          >
            {t("container.empty_note")}
          </Empty>
        )}
        {containers.data && (containers.data.total > 0 || isAdmin) && (
          <Table
            label={t("nav.containers")}
            rows={containers.data.data}
            columns={columns}
            rowKey={(it) => it.id}
            text={(it) => `${it.name} ${it.display_name ?? ""} ${it.image} ${it.account} ${word("state", it.state)}`}
            order="-since"
            tools={
              isAdmin && (
                <CheckField
                  label={t("container.all")}
                  checked={isAll}
                  onChange={(on) => setSearch(on ? { all: "true" } : {}, { replace: true })}
                />
              )
            }
          />
        )}
      </Card>
    </>
  );
}

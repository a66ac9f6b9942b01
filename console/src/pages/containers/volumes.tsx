/** Volumes: folders that outlive containers. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { Link } from "react-router";
import { api, done, type Schemas } from "../../api/client";
import { queries } from "../../api/queries";
import { useText } from "../../i18n";
import { Button, Card, Empty, Foreign, PageHead, Skeleton, Trouble, When } from "../../parts/basic";
import { CommandLine } from "../../parts/command";
import { Confirm } from "../../parts/dialog";
import { type Column, Table } from "../../parts/table";
import { paths } from "../../paths";
import { machineName } from "../../states";

type Volume = Schemas["VolumeView"];

export function Volumes() {
  const { t } = useText();
  const client = useQueryClient();
  const volumes = useQuery(queries.volumes());
  const machines = useQuery(queries.machines());
  const [deleting, setDeleting] = useState<Volume>();
  const hostnames = useMemo(
    () => new Map(machines.data?.data.map((it) => [it.machine_id, machineName(it)])),
    [machines.data],
  );
  const columns = useMemo<Column<Volume>[]>(
    () => [
      {
        id: "name",
        title: t("field.name"),
        className: "name",
        sort: (it) => it.name,
        cell: (it) => <Foreign text={it.name} />,
      },
      {
        id: "machine",
        title: t("field.machine"),
        sort: (it) => hostnames.get(it.machine_id) ?? it.machine_id,
        cell: (it) => <Foreign text={hostnames.get(it.machine_id) ?? it.machine_id} />,
      },
      {
        id: "containers",
        title: t("nav.containers"),
        className: "wide-only",
        cell: (it) =>
          it.containers.length === 0 ? (
            <span className="soft">{t("volume.unused")}</span>
          ) : (
            <span className="row">
              {it.containers.map((container) => (
                <Link key={container.id} to={paths.container(container.id)}>
                  <Foreign text={container.name} />
                </Link>
              ))}
            </span>
          ),
      },
      {
        id: "created",
        title: t("field.created"),
        className: "wide-only",
        sort: (it) => it.created_at,
        cell: (it) => <When at={it.created_at} />,
      },
      {
        id: "acts",
        title: "",
        className: "acts",
        cell: (it) => (
          <Button
            small
            kind="quiet"
            icon="trash"
            label={`${t("act.delete")} ${it.name}`}
            why={it.containers.length > 0 ? t("volume.used") : undefined}
            onClick={() => setDeleting(it)}
          />
        ),
      },
    ],
    [t, hostnames],
  );
  return (
    <>
      <PageHead
        title={t("nav.volumes")}
        note={t("volume.note")}
        crumb={{ to: paths.containers, name: t("nav.containers") }}
      >
        <CommandLine command="longshore volume list" request={{ method: "GET", path: "/api/v1/volumes" }} />
      </PageHead>
      <Card flush>
        {volumes.isPending && <Skeleton />}
        {volumes.error && <Trouble error={volumes.error} onRetry={volumes.refetch} />}
        {volumes.data?.total === 0 && (
          <Empty icon="folder" title={t("volume.empty")}>
            {t("volume.empty_note")}
          </Empty>
        )}
        {volumes.data && volumes.data.total > 0 && (
          <Table
            label={t("nav.volumes")}
            rows={volumes.data.data}
            columns={columns}
            rowKey={(it) => it.id}
            text={(it) => it.name}
            order="name"
          />
        )}
      </Card>
      {deleting && (
        <Confirm
          title={t("volume.delete", { name: deleting.name })}
          act={t("act.delete")}
          command={`longshore volume delete ${deleting.id}`}
          danger
          onClose={() => setDeleting(undefined)}
          onAct={async () => {
            await done(api.DELETE("/api/v1/volumes/{id}", { params: { path: { id: deleting.id } } }));
            client.invalidateQueries({ queryKey: ["volumes"] });
          }}
        >
          <p>{t("volume.delete_note")}</p>
        </Confirm>
      )}
    </>
  );
}

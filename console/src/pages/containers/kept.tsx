/** Logs of containers that were deleted. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useMemo } from "react";
import { api, done, type Schemas } from "../../api/client";
import { queries } from "../../api/queries";
import { useText } from "../../i18n";
import { Button, Card, Empty, Foreign, PageHead, Skeleton, Trouble, When } from "../../parts/basic";
import { CommandLine } from "../../parts/command";
import { type Column, Table } from "../../parts/table";
import { useComplaint } from "../../parts/toasts";
import { paths } from "../../paths";

type KeptLog = Schemas["KeptLogView"];

export function KeptLogs() {
  const { t, bytes, moment } = useText();
  const client = useQueryClient();
  const complain = useComplaint();
  const logs = useQuery(queries.keptLogs());
  const columns = useMemo<Column<KeptLog>[]>(
    () => [
      {
        id: "name",
        title: t("field.name"),
        className: "name",
        sort: (it) => it.name,
        cell: (it) => (
          <>
            <Foreign text={it.name} />
            <div className="sub">{it.image}</div>
          </>
        ),
      },
      {
        id: "removed",
        title: t("kept.removed"),
        sort: (it) => it.removed_at,
        cell: (it) => <When at={it.removed_at} />,
      },
      {
        id: "size",
        title: t("field.size"),
        className: "num wide-only",
        sort: (it) => it.bytes,
        cell: (it) => bytes(it.bytes),
      },
      { id: "until", title: t("kept.until"), className: "wide-only", cell: (it) => moment(it.kept_until) },
      {
        id: "acts",
        title: "",
        className: "acts",
        cell: (it) => (
          <>
            <a className="button small" href={`/api/v1/containers/${it.container_id}/log?download=true`} download>
              {t("act.download")}
            </a>{" "}
            <Button
              small
              kind="quiet"
              icon="trash"
              label={`${t("act.delete")} ${it.name}`}
              onClick={() =>
                done(api.DELETE("/api/v1/kept-logs/{id}", { params: { path: { id: String(it.container_id) } } })).then(
                  () => client.invalidateQueries({ queryKey: ["kept-logs"] }),
                  complain,
                )
              }
            />
          </>
        ),
      },
    ],
    [t, bytes, moment, client, complain],
  );
  return (
    <>
      <PageHead
        title={t("kept.title")}
        note={t("kept.note")}
        crumb={{ to: paths.containers, name: t("nav.containers") }}
      >
        <CommandLine
          command="longshore container kept-log list"
          request={{ method: "GET", path: "/api/v1/kept-logs" }}
        />
      </PageHead>
      <Card flush>
        {logs.isPending && <Skeleton />}
        {logs.error && <Trouble error={logs.error} onRetry={logs.refetch} />}
        {logs.data?.total === 0 && (
          <Empty icon="log" title={t("kept.empty")}>
            {t("kept.note")}
          </Empty>
        )}
        {logs.data && logs.data.total > 0 && (
          <Table
            label={t("kept.title")}
            rows={logs.data.data}
            columns={columns}
            rowKey={(it) => it.container_id}
            text={(it) => `${it.name} ${it.image}`}
            order="-removed"
          />
        )}
      </Card>
    </>
  );
}

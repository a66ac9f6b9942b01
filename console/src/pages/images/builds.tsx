/** Builds, the newest first. */
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { Link } from "react-router";
import type { Build } from "../../api/client";
import { queries } from "../../api/queries";
import { useText } from "../../i18n";
import { Badge, Button, Card, Empty, Foreign, PageHead, Skeleton, Trouble, When } from "../../parts/basic";
import { CommandLine } from "../../parts/command";
import { type Column, Table } from "../../parts/table";
import { paths } from "../../paths";
import { operationTone } from "../../states";

export function Builds() {
  const { t, word, bytes, span } = useText();
  const builds = useQuery(queries.builds());
  const columns = useMemo<Column<Build>[]>(
    () => [
      {
        id: "image",
        title: t("field.image"),
        className: "name",
        sort: (it) => it.image,
        cell: (it) => (
          <>
            <Link to={paths.build(it.id)}>{it.image}</Link>
            {it.message && (
              <div className="sub">
                <Foreign text={it.message} />
              </div>
            )}
          </>
        ),
      },
      {
        id: "state",
        title: t("field.state"),
        sort: (it) => it.state,
        cell: (it) => <Badge tone={operationTone(it.state)}>{word("state", it.state)}</Badge>,
      },
      {
        id: "size",
        title: t("field.size"),
        className: "num wide-only",
        sort: (it) => it.size_bytes ?? 0,
        cell: (it) => (it.size_bytes ? bytes(it.size_bytes) : "–"),
      },
      {
        id: "time",
        title: t("build.time"),
        className: "num wide-only",
        cell: (it) =>
          it.started_at && it.ended_at
            ? span((new Date(it.ended_at).getTime() - new Date(it.started_at).getTime()) / 1000)
            : "–",
      },
      {
        id: "created",
        title: t("field.begun"),
        className: "wide-only",
        sort: (it) => it.created_at,
        cell: (it) => <When at={it.created_at} />,
      },
    ],
    [t, word, bytes, span],
  );
  return (
    <>
      <PageHead title={t("nav.builds")} crumb={{ to: paths.images, name: t("nav.images") }}>
        <CommandLine command="longshore build list" request={{ method: "GET", path: "/api/v1/builds" }} />
      </PageHead>
      <Card flush>
        {builds.isPending && <Skeleton />}
        {builds.error && <Trouble error={builds.error} onRetry={builds.refetch} />}
        {builds.data?.total === 0 && (
          <Empty
            icon="log"
            title={t("build.empty")}
            action={
              <Button kind="main" icon="upload" to={paths.upload}>
                {t("upload.title")}
              </Button>
            }
          >
            {t("image.empty_note")}
          </Empty>
        )}
        {builds.data && builds.data.total > 0 && (
          <Table
            label={t("nav.builds")}
            rows={builds.data.data}
            columns={columns}
            rowKey={(it) => it.id}
            text={(it) => `${it.image} ${word("state", it.state)}`}
            order="-created"
          />
        )}
      </Card>
    </>
  );
}

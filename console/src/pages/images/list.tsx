/** Images: one's own and public ones. */
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { Link } from "react-router";
import type { Image } from "../../api/client";
import { queries } from "../../api/queries";
import { useText } from "../../i18n";
import { Badge, Button, Card, Empty, Foreign, PageHead, Skeleton, Trouble, When } from "../../parts/basic";
import { CommandLine } from "../../parts/command";
import { type Column, Table } from "../../parts/table";
import { paths } from "../../paths";

export function Images() {
  const { t, bytes } = useText();
  const images = useQuery(queries.images());
  const columns = useMemo<Column<Image>[]>(
    () => [
      {
        id: "name",
        title: t("field.name"),
        sort: (it) => it.name,
        className: "name",
        cell: (it) => (
          <>
            <Link to={paths.image(it.id)}>{it.name}</Link>
            {(it.display_name || it.description) && (
              <div className="sub">
                <Foreign text={it.display_name || it.description || ""} />
              </div>
            )}
          </>
        ),
      },
      {
        id: "source",
        title: t("image.source"),
        sort: (it) => it.source,
        cell: (it) => (
          <Badge tone="idle" bare>
            {it.owner === "public" ? t("image.public") : t(`source.${it.source}`)}
          </Badge>
        ),
      },
      {
        id: "size",
        title: t("field.size"),
        sort: (it) => it.size_bytes,
        className: "num wide-only",
        cell: (it) => bytes(it.size_bytes),
      },
      {
        id: "created",
        title: t("field.created"),
        sort: (it) => it.created_at,
        className: "wide-only",
        cell: (it) => <When at={it.created_at} />,
      },
      {
        id: "acts",
        title: "",
        className: "acts",
        cell: (it) => (
          <Button
            small
            icon="play"
            to={paths.containerNew(it.name)}
            why={it.state === "ready" ? undefined : t("state.deleting")}
          >
            {t("act.run")}
          </Button>
        ),
      },
    ],
    [t, bytes],
  );
  return (
    <>
      <PageHead title={t("nav.images")} note={t("image.note")}>
        <CommandLine command="longshore image list" request={{ method: "GET", path: "/api/v1/images" }} />
        <Button icon="log" to={paths.builds}>
          {t("nav.builds")}
        </Button>
        <Button kind="main" icon="upload" to={paths.upload}>
          {t("upload.title")}
        </Button>
      </PageHead>
      <Card flush>
        {images.isPending && <Skeleton />}
        {images.error && <Trouble error={images.error} onRetry={images.refetch} />}
        {images.data?.total === 0 && (
          <Empty
            icon="images"
            title={t("image.empty")}
            action={
              <Button kind="main" icon="upload" to={paths.upload}>
                {t("upload.title")}
              </Button>
            }
          >
            {t("image.empty_note")}
          </Empty>
        )}
        {images.data && images.data.total > 0 && (
          <Table
            label={t("nav.images")}
            rows={images.data.data}
            columns={columns}
            rowKey={(it) => it.id}
            text={(it) => `${it.name} ${it.display_name ?? ""} ${it.description ?? ""}`}
            order="-created"
          />
        )}
      </Card>
    </>
  );
}

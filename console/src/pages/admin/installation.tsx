/** How the installation is: its parts, and what the registry's disk could give back. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useMemo } from "react";
import { Link } from "react-router";
import { api, call, done } from "../../api/client";
import { queries } from "../../api/queries";
import { useText } from "../../i18n";
import { Badge, Button, Card, Foreign, Meter, PageHead, Skeleton, Trouble, When } from "../../parts/basic";
import { CommandLine } from "../../parts/command";
import { useComplaint } from "../../parts/toasts";
import { paths } from "../../paths";
import { operationTone } from "../../states";
import { storageOf } from "./storage";

export function Installation() {
  const { t, word, bytes } = useText();
  const client = useQueryClient();
  const complain = useComplaint();
  const parts = useQuery(queries.readiness());
  const collections = useQuery(queries.collections());
  const isGoing = collections.data?.data.some((it) => it.state === "queued" || it.state === "running");
  const refresh = () => client.invalidateQueries({ queryKey: ["collections"] });
  return (
    <>
      <PageHead title={t("nav.installation")} note={t("installation.note")}>
        <CommandLine command="longshore doctor" request={{ method: "GET", path: "/readyz" }} />
      </PageHead>
      <Card title={t("installation.parts")} flush>
        {parts.isPending && <Skeleton rows={3} />}
        {parts.error && <Trouble error={parts.error} onRetry={parts.refetch} />}
        <ul className="lines">
          {parts.data?.parts.map((it) => (
            <li key={it.name} className="row">
              <span className="grow">
                {word("part", it.name)}
                {it.message && (
                  <span className="soft small">
                    {" "}
                    <Foreign text={it.message} />
                  </span>
                )}
              </span>
              <Badge tone={it.ready ? "good" : "bad"}>
                {it.ready ? t("installation.ready") : t("installation.down")}
              </Badge>
            </li>
          ))}
        </ul>
      </Card>
      <RegistryStorage />
      <Card
        title={t("collection.title")}
        flush
        action={
          <span className="row">
            <CommandLine
              command="longshore registry gc"
              request={{ method: "POST", path: "/api/v1/registry/collections" }}
            />
            <Button
              small
              icon="trash"
              why={isGoing ? t("collection.going") : undefined}
              onClick={() => call(api.POST("/api/v1/registry/collections")).then(refresh, complain)}
            >
              {t("collection.begin")}
            </Button>
          </span>
        }
      >
        <p className="card-body soft">{t("collection.note")}</p>
        {collections.error && <Trouble error={collections.error} onRetry={collections.refetch} />}
        <ul className="lines">
          {collections.data?.data.map((it) => (
            <li key={it.id} className="row">
              <span className="grow">
                <When at={it.created_at} />
                {it.freed_bytes != null && ` · ${t("collection.freed", { size: bytes(it.freed_bytes) })}`}
                {it.message && (
                  <span className="soft small">
                    {" "}
                    <Foreign text={it.message} />
                  </span>
                )}
                {it.phase !== "done" && !it.ended_at && <div className="soft small">{t(`collection.${it.phase}`)}</div>}
              </span>
              {!it.ended_at && (
                <Button
                  small
                  onClick={() =>
                    done(
                      api.POST("/api/v1/registry/collections/{id}/cancel", { params: { path: { id: it.id } } }),
                    ).then(refresh, complain)
                  }
                >
                  {t("collection.cancel")}
                </Button>
              )}
              <Badge tone={operationTone(it.state)}>{word("state", it.state)}</Badge>
            </li>
          ))}
        </ul>
      </Card>
    </>
  );
}

const OWNERS_SHOWN = 10;

/** Whose images lie in the registry, and how large they are together. */
function RegistryStorage() {
  const { t, bytes, number } = useText();
  const images = useQuery(queries.images());
  const storage = useMemo(() => storageOf(images.data?.data ?? []), [images.data]);
  return (
    <Card title={t("storage.title")}>
      {images.isPending && <Skeleton rows={2} />}
      {images.error && <Trouble error={images.error} onRetry={images.refetch} />}
      {images.data && (
        <div className="stack">
          <p className="soft">
            {t("storage.total", { count: number(images.data.total), size: bytes(storage.total) })}{" "}
            <Link to={paths.images}>{t("nav.images")}</Link>
          </p>
          {storage.owners.slice(0, OWNERS_SHOWN).map((it) => (
            <div key={it.owner}>
              <div className="row apart small">
                <span>{it.owner}</span>
                <span className="soft">{t("storage.of", { count: number(it.images), size: bytes(it.bytes) })}</span>
              </div>
              <Meter parts={[{ value: it.bytes }]} total={storage.total} label={`${it.owner}: ${bytes(it.bytes)}`} />
            </div>
          ))}
        </div>
      )}
    </Card>
  );
}

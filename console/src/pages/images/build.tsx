/** A build: what it does, its live log, and what comes of it. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useParams } from "react-router";
import { api, type Build, call } from "../../api/client";
import { queries } from "../../api/queries";
import { useText } from "../../i18n";
import { LinkWords } from "../../log/link";
import { useOperationLog } from "../../log/operation";
import { LogView } from "../../log/view";
import {
  Badge,
  Button,
  Card,
  Foreign,
  Meter,
  Notice,
  PageHead,
  Skeleton,
  Trouble,
  useNow,
  When,
} from "../../parts/basic";
import { CommandLine } from "../../parts/command";
import { useComplaint } from "../../parts/toasts";
import { paths } from "../../paths";
import { isGoingOn, operationTone, progress } from "../../states";

export function BuildDetail() {
  const id = useParams().id ?? "";
  const { t, word, bytes, span } = useText();
  const complain = useComplaint();
  const client = useQueryClient();
  const build = useQuery(queries.build(id));
  const { model, link } = useOperationLog(`/api/v1/builds/${encodeURIComponent(id)}/log`, (data, isEnd) => {
    client.setQueryData(["build", id], JSON.parse(data));
    if (!isEnd) return;
    client.invalidateQueries({ queryKey: ["images"] });
    client.invalidateQueries({ queryKey: ["builds"] });
  });
  const now = useNow(1000);

  if (build.error) return <Trouble error={build.error} onRetry={build.refetch} />;
  const it = build.data;
  if (!it) return <Skeleton />;

  const cancel = async () => {
    try {
      client.setQueryData(
        ["build", id],
        await call(api.POST("/api/v1/builds/{id}/cancel", { params: { path: { id } } })),
      );
    } catch (error) {
      complain(error);
    }
  };
  const began = it.started_at ?? it.created_at;
  const seconds = ((it.ended_at ? new Date(it.ended_at).getTime() : now) - new Date(began).getTime()) / 1000;

  return (
    <>
      <PageHead
        title={
          <>
            {t("build.title")} {it.image}
          </>
        }
        crumb={{ to: paths.builds, name: t("nav.builds") }}
        note={<Doing build={it} />}
      >
        <CommandLine
          command={`longshore build log ${id} --follow`}
          request={{ method: "GET", path: `/api/v1/builds/${id}/log?follow=true` }}
        />
        {isGoingOn(it) && (
          <Button icon="close" onClick={cancel}>
            {t("act.cancel")}
          </Button>
        )}
        {it.image_id != null && (
          <>
            <Button icon="images" to={paths.image(it.image_id)}>
              {t("build.image")}
            </Button>
            <Button kind="main" icon="play" to={paths.containerNew(it.image)}>
              {t("act.run")}
            </Button>
          </>
        )}
      </PageHead>
      {it.state === "failed" && (
        <Notice tone="bad" title={it.reason ? word("reason", it.reason) : t("build.failed")}>
          <Foreign text={it.message ?? ""} />
        </Notice>
      )}
      {it.state === "succeeded" && (
        <Notice
          tone="good"
          title={t("build.ready")}
          action={
            <Button small kind="main" icon="play" to={paths.containerNew(it.image)}>
              {t("act.run")}
            </Button>
          }
        >
          {t("build.ready_note", { size: bytes(it.size_bytes ?? 0), time: span(seconds) })}
        </Notice>
      )}
      {isGoingOn(it) && (
        <Card>
          <div className="stack">
            <Meter parts={[{ value: progress(it) * 100 }]} total={100} label={t("build.progress")} />
            <div className="row apart soft small">
              <span>
                {it.queue_position != null && t("build.queue", { position: it.queue_position })}
                {it.step != null && it.phase === "building" && (
                  <>
                    {t("build.step", { step: it.step, steps: it.steps ?? "?" })} <Foreign text={it.step_text ?? ""} />
                  </>
                )}
                {it.phase === "pushing" &&
                  t("build.pushing", { sent: bytes(it.pushed_bytes), total: bytes(it.push_total_bytes) })}
              </span>
              <span>{span(seconds)}</span>
            </div>
          </div>
        </Card>
      )}
      <LogView
        model={model}
        label={t("build.log")}
        empty={isGoingOn(it) ? t("log.waiting") : t("log.nothing")}
        hasFailed={it.state === "failed"}
        hasEnded={link.state === "ended"}
        status={<LinkWords link={link} />}
      />
    </>
  );
}

function Doing({ build }: { build: Build }) {
  const { t, word } = useText();
  return (
    <span className="row">
      <Badge tone={operationTone(build.state)}>{word("state", build.state)}</Badge>
      {isGoingOn(build) && <span>{word("phase", build.phase)}</span>}
      <span>
        {t("field.begun")} <When at={build.created_at} />
      </span>
    </span>
  );
}

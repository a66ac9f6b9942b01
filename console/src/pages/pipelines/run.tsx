/** A run: its steps, its live log, and what came of it. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate, useParams } from "react-router";
import { api, call } from "../../api/client";
import { queries } from "../../api/queries";
import { useText } from "../../i18n";
import { LinkWords } from "../../log/link";
import { useOperationLog } from "../../log/operation";
import { LogView } from "../../log/view";
import { Badge, Button, Card, Foreign, Notice, PageHead, Skeleton, Trouble, useNow, When } from "../../parts/basic";
import { CommandLine } from "../../parts/command";
import { useComplaint } from "../../parts/toasts";
import { paths } from "../../paths";
import { operationTone } from "../../states";
import { AimLink } from "./aim-link";

export function RunDetail() {
  const id = Number(useParams().id);
  const { t, word, span } = useText();
  const complain = useComplaint();
  const navigate = useNavigate();
  const client = useQueryClient();
  // What is of another account is not told of by itself.
  const run = useQuery({
    ...queries.run(id),
    refetchInterval: (query) => (query.state.data?.ended_at ? false : 15_000),
  });
  const now = useNow(1000);
  const { model, link } = useOperationLog(`/api/v1/runs/${id}/log?follow=true`, (_, isEnd) => {
    client.invalidateQueries({ queryKey: ["run", String(id)] });
    if (isEnd) client.invalidateQueries({ queryKey: ["runs"] });
  });
  if (run.error) return <Trouble error={run.error} onRetry={run.refetch} />;
  const it = run.data;
  if (!it) return <Skeleton />;
  const params = { path: { id } };
  const isGoing = it.state === "queued" || it.state === "running";
  const seconds = (from: string, to: string | null | undefined) =>
    ((to ? new Date(to).getTime() : now) - new Date(from).getTime()) / 1000;
  return (
    <>
      <PageHead
        title={
          <>
            <Foreign text={it.repo_name} /> #{it.id}
          </>
        }
        crumb={{ to: paths.gitRepo(it.git_repo_id), name: it.repo_name }}
        note={
          <span className="row">
            <Badge tone={operationTone(it.state)}>{word("state", it.state)}</Badge>
            <Foreign text={it.git_ref} />
            {it.commit && <code>{it.commit.slice(0, 12)}</code>}
            <span>{word("cause", it.cause)}</span>
            <When at={it.created_at} />
          </span>
        }
      >
        <CommandLine
          command={`longshore run log ${id} --follow`}
          request={{ method: "GET", path: `/api/v1/runs/${id}/log?follow=true` }}
        />
        {isGoing ? (
          <Button
            icon="close"
            onClick={() =>
              call(api.POST("/api/v1/runs/{id}/cancel", { params })).then(
                (changed) => client.setQueryData(["run", String(id)], changed),
                complain,
              )
            }
          >
            {t("act.cancel")}
          </Button>
        ) : (
          <Button
            icon="restart"
            onClick={() =>
              call(api.POST("/api/v1/runs/{id}/retry", { params })).then(
                (made) => navigate(paths.run(made.id)),
                complain,
              )
            }
          >
            {t("run.retry")}
          </Button>
        )}
        {it.state === "succeeded" && (
          <Button icon="kubernetes" to={paths.apply({ image: `${it.image}:${it.image_tag}` })}>
            {t("kube.deploy")}
          </Button>
        )}
        {it.state === "succeeded" && (
          <Button kind="main" icon="play" to={paths.containerNew(`${it.image}:${it.image_tag}`)}>
            {t("run.container")}
          </Button>
        )}
      </PageHead>
      {it.state === "failed" && (
        <Notice tone="bad" title={it.reason ? word("reason", it.reason) : t("build.failed")}>
          <Foreign text={it.message ?? ""} />
        </Notice>
      )}
      {it.state === "succeeded" && (
        <Notice tone="good" title={t("build.ready")}>
          <Foreign text={`${it.image}:${it.image_tag}`} />
        </Notice>
      )}
      {it.steps.length > 0 && (
        <Card title={t("run.steps")} flush>
          <ol className="lines">
            {it.steps.map((step) => (
              <li key={step.name} className="row">
                <span className="grow">
                  {word("step", step.name)}
                  {step.deploy && (
                    <>
                      {" · "}
                      <AimLink target={step.deploy.target} account={it.account} />
                    </>
                  )}
                </span>
                <Badge tone={operationTone(step.state)}>{word("state", step.state)}</Badge>
                <span className="soft small">{span(seconds(step.started_at, step.ended_at))}</span>
              </li>
            ))}
          </ol>
        </Card>
      )}
      <LogView
        model={model}
        label={t("container.log")}
        empty={isGoing ? t("log.waiting") : t("log.nothing")}
        hasFailed={it.state === "failed"}
        hasEnded={link.state === "ended"}
        status={<LinkWords link={link} />}
      />
    </>
  );
}

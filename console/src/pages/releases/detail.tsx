/** A release: how it is, what is being done to it, what it consists of, and what it was before. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useNavigate, useParams } from "react-router";
import { api, call, Failure, type Schemas } from "../../api/client";
import { queries } from "../../api/queries";
import { YamlField } from "../../editor/field";
import { shellWord } from "../../format";
import { useText } from "../../i18n";
import { LinkWords } from "../../log/link";
import { useOperationLog } from "../../log/operation";
import { LogView } from "../../log/view";
import { Badge, Button, Card, Foreign, Notice, PageHead, Skeleton, Trouble, When } from "../../parts/basic";
import { CommandLine } from "../../parts/command";
import { Confirm } from "../../parts/dialog";
import { useComplaint } from "../../parts/toasts";
import { paths } from "../../paths";
import { operationTone, workloadTone } from "../../states";
import { PlaceCard } from "../kubernetes/place";
import { PlanView } from "./plan";
import { isUnderWay, ReleaseBadge } from "./state";

type Operation = Schemas["ReleaseOperationView"];

export function ReleaseDetail() {
  const id = useParams().id ?? "";
  const { t, word } = useText();
  const navigate = useNavigate();
  const client = useQueryClient();
  const complain = useComplaint();
  const release = useQuery({
    ...queries.release(id),
    // What is done to it is told as it happens; what the cluster does by itself is looked at.
    refetchInterval: 10_000,
  });
  const [open, setOpen] = useState<"delete" | number>();
  const it = release.data;
  if (release.error instanceof Failure && release.error.status === 404 && it)
    return (
      <>
        <PageHead title={it.name} crumb={{ to: paths.releases, name: t("release.title") }} />
        <Notice tone="good" title={t("release.gone", { name: it.name })} />
      </>
    );
  if (release.error && !it) return <Trouble error={release.error} onRetry={release.refetch} />;
  if (!it) return <Skeleton />;
  const params = { path: { id: it.id } };
  const isBusy = isUnderWay(it.operation);
  const whyNot = isBusy ? t("release.busy") : undefined;
  const refresh = () => {
    for (const key of ["releases", "release"]) client.invalidateQueries({ queryKey: [key] });
  };
  const isStuck = !isBusy && it.state !== "deployed" && it.state !== "failed";
  return (
    <>
      <PageHead
        title={it.name}
        crumb={{ to: paths.releases, name: t("release.title") }}
        note={
          <span className="row">
            <ReleaseBadge release={it} />
            <Foreign text={`${it.repo}/${it.chart} ${it.chart_version}`} />
            {it.revision > 0 && t("kube.revision", { number: it.revision })}
          </span>
        }
      >
        <CommandLine
          command={`longshore release show ${it.name}`}
          request={{ method: "GET", path: `/api/releases/${it.id}` }}
        />
        {isStuck && (
          <Button
            icon="restart"
            onClick={() => call(api.POST("/api/releases/{id}/recover", { params })).then(refresh, complain)}
          >
            {t("release.recover")}
          </Button>
        )}
        <Button icon="trash" kind="danger" why={whyNot} onClick={() => setOpen("delete")}>
          {t("release.uninstall")}
        </Button>
        <Button
          kind="main"
          icon="up"
          why={whyNot ?? (it.revision > 0 ? undefined : t("release.not_there"))}
          to={paths.releaseUpgrade(it.id)}
        >
          {t("release.upgrade")}
        </Button>
      </PageHead>
      {it.message && <Notice tone={it.state === "failed" ? "bad" : "warn"} title={<Foreign text={it.message} />} />}
      {it.operation && <OperationView key={it.operation.id} operation={it.operation} onChange={refresh} />}
      <div className="grid-2">
        <div className="stack">
          <Card title={t("release.resources")} flush>
            {it.resources.length === 0 && <p className="card-body soft">{t("release.nothing_there")}</p>}
            <ul className="lines">
              {it.resources.map((resource) => (
                <li key={`${resource.kind}/${resource.name}`} className="row">
                  <div className="grow">
                    <Foreign text={resource.name} />
                    <div className="soft small">
                      {[resource.kind, resource.hook].filter(Boolean).join(" · ")}{" "}
                      {resource.ports
                        .map((port) => `${port.port}${port.node_port ? ` → ${port.node_port}` : ""}`)
                        .join(", ")}
                    </div>
                    {resource.message && (
                      <div className="small">
                        <Foreign text={resource.message} />
                      </div>
                    )}
                  </div>
                  <Badge tone={workloadTone(resource.state)}>
                    {[
                      word("workload", resource.state),
                      resource.replicas && `${resource.replicas.ready}/${resource.replicas.desired}`,
                    ]
                      .filter(Boolean)
                      .join(" · ")}
                  </Badge>
                </li>
              ))}
            </ul>
          </Card>
          {it.notes && (
            <Card title={t("release.notes")}>
              <pre className="prose-plain">
                <Foreign text={it.notes} />
              </pre>
            </Card>
          )}
          {it.revision > 0 && <Values id={it.id} revision={it.revision} />}
        </div>
        <div className="stack">
          {it.revision > 0 && <History id={it.id} revision={it.revision} why={whyNot} onBack={setOpen} />}
          <PlaceCard at={it}>
            <dt>{t("release.chart")}</dt>
            <dd>
              {it.repo_id ? (
                <Link to={paths.chart(it.repo_id, it.chart, it.chart_version)}>
                  <Foreign text={`${it.repo}/${it.chart}`} />
                </Link>
              ) : (
                <Foreign text={`${it.repo}/${it.chart}`} />
              )}
            </dd>
            <dt>{t("field.created")}</dt>
            <dd>
              <When at={it.created_at} />
            </dd>
          </PlaceCard>
        </div>
      </div>
      {open === "delete" && (
        <Confirm
          title={t("release.uninstall_of", { name: it.name })}
          act={t("release.uninstall")}
          command={`longshore release uninstall ${shellWord(it.name)}`}
          danger
          onClose={() => setOpen(undefined)}
          onAct={async () => {
            await call(api.DELETE("/api/releases/{id}", { params }));
            refresh();
          }}
        >
          <p>{t("release.uninstall_note", { count: it.resources.length })}</p>
          <ul className="small">
            {it.resources.slice(0, 20).map((resource) => (
              <li key={`${resource.kind}/${resource.name}`}>
                {resource.kind} <Foreign text={resource.name} />
              </li>
            ))}
            {it.resources.length > 20 && <li>{t("attention.more", { count: it.resources.length - 20 })}</li>}
          </ul>
        </Confirm>
      )}
      {typeof open === "number" && (
        <Rollback
          id={it.id}
          name={it.name}
          revision={open}
          onClose={() => setOpen(undefined)}
          onDone={() => {
            refresh();
            navigate(paths.release(it.id));
          }}
        />
      )}
    </>
  );
}

/** What is or was done to it last, with what Helm says. */
function OperationView({ operation, onChange }: { operation: Operation; onChange: () => void }) {
  const { t, word } = useText();
  const complain = useComplaint();
  const { model, link } = useOperationLog(`/api/release-operations/${operation.id}/log?follow=true`, onChange);
  const isGoing = isUnderWay(operation);
  // What is removed or brought in order is not left half done.
  const mayBeCancelled = operation.action !== "uninstall" && operation.action !== "recover";
  const params = { path: { id: operation.id } };
  return (
    <details open={isGoing || operation.state === "failed"}>
      <summary>
        {word("action", operation.action)} · {operation.chart}{" "}
        <Badge tone={operationTone(operation.state)}>{word("state", operation.state)}</Badge>
      </summary>
      <div className="stack">
        {operation.message && <Notice tone="bad" title={<Foreign text={operation.message} />} />}
        {isGoing && mayBeCancelled && (
          <div className="row">
            <Button
              small
              icon="close"
              why={operation.cancel_requested ? t("release.cancelling") : undefined}
              onClick={() => call(api.POST("/api/release-operations/{id}/cancel", { params })).then(onChange, complain)}
            >
              {t("act.cancel")}
            </Button>
          </div>
        )}
        <LogView
          model={model}
          label={t("release.log")}
          empty={isGoing ? t("log.waiting") : t("log.nothing")}
          hasFailed={operation.state === "failed"}
          hasEnded={link.state === "ended"}
          status={<LinkWords link={link} />}
        />
      </div>
    </details>
  );
}

function History({
  id,
  revision,
  why,
  onBack,
}: {
  id: string;
  revision: number;
  why?: string;
  onBack: (revision: number) => void;
}) {
  const { t, word } = useText();
  const history = useQuery(queries.releaseHistory(id, revision));
  return (
    <Card title={t("kube.revisions")} flush>
      {history.isPending && <Skeleton />}
      {history.error && <Trouble error={history.error} onRetry={history.refetch} />}
      <ul className="lines">
        {history.data?.data.map((it) => (
          <li key={it.revision} className="row">
            <div className="grow">
              {t("kube.revision", { number: it.revision })} · <Foreign text={it.chart} />
              <div className="soft small">
                {word("helm", it.status)} · <When at={it.updated} />
              </div>
            </div>
            {it.revision !== revision && (
              <Button small icon="restart" why={why} onClick={() => onBack(it.revision)}>
                {t("kube.undo")}
              </Button>
            )}
          </li>
        ))}
      </ul>
    </Card>
  );
}

function Values({ id, revision }: { id: string; revision: number }) {
  const { t } = useText();
  const values = useQuery(queries.releaseValues(id, revision));
  if (!values.data) return null;
  return (
    <Card title={t("chart.values")}>
      {values.data.values.trim() === "" ? (
        <p className="soft">{t("values.none")}</p>
      ) : (
        <YamlField label={t("values.own")} value={values.data.values} isReadOnly rows={10} />
      )}
    </Card>
  );
}

/** Back to an earlier revision; what that changes is shown before. */
function Rollback({
  id,
  name,
  revision,
  onClose,
  onDone,
}: {
  id: string;
  name: string;
  revision: number;
  onClose: () => void;
  onDone: () => void;
}) {
  const { t } = useText();
  const params = { path: { id } };
  const plan = useQuery({
    queryKey: ["release", id, "rollback", revision],
    queryFn: () => call(api.POST("/api/releases/{id}/rollback", { params, body: { revision, dry_run: true } })),
    staleTime: 0,
    retry: false,
  });
  return (
    <Confirm
      title={t("release.back", { number: revision })}
      act={t("kube.undo")}
      command={`longshore release rollback ${shellWord(name)} --to ${revision}`}
      onClose={onClose}
      onAct={async () => {
        await call(api.POST("/api/releases/{id}/rollback", { params, body: { revision } }));
        onDone();
      }}
    >
      <p>{t("kube.undo_note", { number: revision })}</p>
      {plan.isPending && <Skeleton />}
      {plan.error && <Trouble error={plan.error} onRetry={plan.refetch} />}
      {plan.data && "manifest" in plan.data && <PlanView plan={plan.data} />}
    </Confirm>
  );
}

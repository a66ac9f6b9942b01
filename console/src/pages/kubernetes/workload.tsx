/** A workload: how it is, how many there are of it, and what it was before. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useNavigate, useParams } from "react-router";
import { api, call, done, type Schemas } from "../../api/client";
import { queries } from "../../api/queries";
import { shellWord, shortImage } from "../../format";
import { useText } from "../../i18n";
import { Badge, Button, Card, Foreign, Notice, PageHead, Skeleton, Trouble, When } from "../../parts/basic";
import { CommandLine } from "../../parts/command";
import { Confirm } from "../../parts/dialog";
import { TextField } from "../../parts/field";
import { useComplaint } from "../../parts/toasts";
import { paths } from "../../paths";
import { podTone, workloadTone } from "../../states";
import { Changes } from "./changes";
import { OpenService } from "./open";
import { PlaceCard } from "./place";

type Revision = Schemas["RevisionView"];

export function WorkloadDetail() {
  const id = useParams().id ?? "";
  const { t, word } = useText();
  const navigate = useNavigate();
  const client = useQueryClient();
  const complain = useComplaint();
  // What is of another account is not told of by itself.
  const workload = useQuery({ ...queries.workload(id), refetchInterval: 15_000 });
  const revisions = useQuery(queries.revisions(id));
  const [open, setOpen] = useState<"scale" | "delete" | Revision>();
  const [replicas, setReplicas] = useState("1");
  if (workload.error) return <Trouble error={workload.error} onRetry={workload.refetch} />;
  const it = workload.data;
  if (!it) return <Skeleton />;
  const params = { path: { id } };
  const refresh = () => {
    for (const key of ["workload", "workloads"]) client.invalidateQueries({ queryKey: [key] });
  };
  const hasPods = it.replicas != null;
  return (
    <>
      <PageHead
        title={it.name}
        crumb={{ to: paths.namespace(it.namespace), name: it.namespace }}
        note={
          <span className="row">
            {it.kind}
            <Badge tone={workloadTone(it.state)}>{word("workload", it.state)}</Badge>
            {it.replicas && t("kube.ready", { ready: it.replicas.ready, desired: it.replicas.desired })}
          </span>
        }
      >
        <CommandLine
          command={`longshore workload show ${id}`}
          request={{ method: "GET", path: `/api/v1/workloads/${id}` }}
          also={["restart", "revisions"].map((verb) => `longshore workload ${verb} ${id}`)}
        />
        {hasPods && (
          <>
            <Button
              icon="restart"
              onClick={() => call(api.POST("/api/v1/workloads/{id}/restart", { params })).then(refresh, complain)}
            >
              {t("act.restart")}
            </Button>
            <Button
              onClick={() => {
                setReplicas(String(it.replicas?.desired ?? 1));
                setOpen("scale");
              }}
            >
              {t("kube.scale")}
            </Button>
          </>
        )}
        <Button icon="trash" kind="danger" onClick={() => setOpen("delete")}>
          {t("act.delete")}
        </Button>
        <OpenService workload={it} />
        <Button kind={it.kind === "Service" ? undefined : "main"} to={paths.apply({ workload: id })}>
          {t("kube.edit")}
        </Button>
      </PageHead>
      {it.message && (
        <Notice tone={workloadTone(it.state) === "bad" ? "bad" : "busy"} title={<Foreign text={it.message} />} />
      )}
      <div className="grid-2">
        <Card title={t("kube.revisions")} flush>
          {revisions.isPending && <Skeleton />}
          {revisions.error && <Trouble error={revisions.error} onRetry={revisions.refetch} />}
          <ul className="lines">
            {revisions.data?.map((revision) => (
              <RevisionLine
                key={revision.revision}
                revision={revision}
                before={revisions.data.find((other) => other.revision === revision.revision - 1)}
                onBack={revision.revision === it.revision ? undefined : () => setOpen(revision)}
              />
            ))}
          </ul>
        </Card>
        <div className="stack">
          <Pods workload={it} />
          <PlaceCard at={it}>
            <dt>{t("kube.file")}</dt>
            <dd>
              <Foreign text={it.file} />
            </dd>
            {it.images.length > 0 && (
              <>
                <dt>{t("nav.images")}</dt>
                <dd className="mono">
                  {it.images.map((image) => (
                    <div key={image} title={image}>
                      <Foreign text={shortImage(image)} />
                    </div>
                  ))}
                </dd>
              </>
            )}
            {it.ports.length > 0 && (
              <>
                <dt>{t("field.ports")}</dt>
                <dd className="mono">
                  {it.ports.map((port) => (
                    <div key={`${port.port}${port.name ?? ""}`}>
                      {port.port}
                      {port.node_port ? ` → ${port.node_port}` : ""} {port.address}
                    </div>
                  ))}
                </dd>
              </>
            )}
          </PlaceCard>
        </div>
      </div>
      {open === "scale" && (
        <Confirm
          title={t("kube.scale")}
          act={t("kube.scale")}
          command={`longshore workload scale ${id} --replicas ${shellWord(replicas)}`}
          onClose={() => setOpen(undefined)}
          why={/^\d+$/.test(replicas) ? undefined : t("kube.replicas_rule")}
          onAct={async () => {
            await call(api.POST("/api/v1/workloads/{id}/scale", { params, body: { replicas: Number(replicas) } }));
            refresh();
          }}
        >
          <TextField label={t("kube.replicas")} value={replicas} onChange={setReplicas} inputMode="numeric" />
        </Confirm>
      )}
      {open === "delete" && (
        <Confirm
          title={t("kube.delete", { name: it.name })}
          act={t("act.delete")}
          command={`longshore workload delete ${id}`}
          danger
          onClose={() => setOpen(undefined)}
          onAct={async () => {
            await done(api.DELETE("/api/v1/workloads/{id}", { params }));
            refresh();
            navigate(paths.namespace(it.namespace));
          }}
        >
          <p>{t("kube.delete_workload_note")}</p>
        </Confirm>
      )}
      {typeof open === "object" && (
        <Confirm
          title={t("kube.undo")}
          act={t("kube.undo")}
          command={`longshore workload undo ${id} --to ${open.revision}`}
          onClose={() => setOpen(undefined)}
          onAct={async () => {
            await call(api.POST("/api/v1/workloads/{id}/rollback", { params, body: { revision: open.revision } }));
            client.invalidateQueries({ queryKey: ["revisions", id] });
            refresh();
          }}
        >
          <p>{t("kube.undo_note", { number: open.revision })}</p>
          <Changes
            before={revisions.data?.find((other) => other.revision === it.revision)?.manifest}
            after={open.manifest}
          />
        </Confirm>
      )}
    </>
  );
}

/** A revision, with the way back to it where it is not the current one; what it changed is below both. */
function RevisionLine({
  revision,
  before,
  onBack,
}: {
  revision: Revision;
  before: Revision | undefined;
  onBack: (() => void) | undefined;
}) {
  const { t } = useText();
  const [isOpen, setOpen] = useState(false);
  return (
    <li>
      <div className="row">
        <details className="grow" onToggle={(event) => setOpen(event.currentTarget.open)}>
          <summary>
            {t("kube.revision", { number: revision.revision })} · <When at={revision.created_at} />
            {!onBack && ` · ${t("kube.now")}`}
          </summary>
        </details>
        {onBack && (
          <Button small icon="restart" onClick={onBack}>
            {t("kube.undo")}
          </Button>
        )}
      </div>
      {isOpen && <Changes before={before?.manifest} after={revision.manifest} />}
    </li>
  );
}

/** The pods of a workload, whose names begin with its own, with a way to their logs and terminals. */
function Pods({ workload }: { workload: Schemas["WorkloadView"] }) {
  const { t } = useText();
  const hasPods = workload.replicas != null || workload.kind === "Job";
  const pods = useQuery({ ...queries.pods(workload.namespace), enabled: hasPods });
  if (!hasPods) return null;
  const mine = pods.data?.filter((pod) => pod.name.startsWith(`${workload.name}-`)) ?? [];
  return (
    <Card title={t("kube.pods")} flush>
      {pods.isPending && <Skeleton rows={2} />}
      {pods.error && <Trouble error={pods.error} onRetry={pods.refetch} />}
      {pods.data && mine.length === 0 && <p className="card-body soft">{t("kube.no_pods")}</p>}
      <ul className="lines">
        {mine.map((pod) => (
          <li key={pod.name} className="row">
            <Link className="grow small" to={paths.pod(workload.namespace, pod.name)}>
              {pod.name}
            </Link>
            <Badge tone={podTone(pod.status)}>{`${pod.status} · ${pod.ready}`}</Badge>
          </li>
        ))}
      </ul>
    </Card>
  );
}

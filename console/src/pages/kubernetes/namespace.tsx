/** A namespace: its pods, with their logs and terminals. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { lazy, type ReactNode, Suspense, useCallback, useEffect, useRef, useState } from "react";
import { Link, useNavigate, useParams, useSearchParams } from "react-router";
import { again } from "../../api/again";
import { api, call, Failure, failureOf, type Schemas } from "../../api/client";
import { queries } from "../../api/queries";
import { shellWord, shortImage } from "../../format";
import { useText } from "../../i18n";
import { LogModel } from "../../log/model";
import { LogView } from "../../log/view";
import { Badge, Button, Card, Empty, Foreign, PageHead, Skeleton, Trouble, When } from "../../parts/basic";
import { Code } from "../../parts/code";
import { CommandLine } from "../../parts/command";
import { Confirm, Dialog } from "../../parts/dialog";
import { Lost } from "../../parts/lost";
import { useComplaint } from "../../parts/toasts";
import { paths } from "../../paths";
import { namespaceTone, podTone } from "../../states";
import type { TicketOf } from "../../terminal/link";
import { OpenService } from "./open";
import { NamespaceEvents, NamespaceQuota } from "./room";
import { WorkloadBadge } from "./state";

const TerminalPane = lazy(async () => ({ default: (await again(() => import("../../terminal/pane"))).TerminalPane }));

type Pod = Schemas["PodView"];

const SOON_MS = 1500;

export function NamespaceDetail() {
  const name = useParams().name ?? "";
  const { t, word } = useText();
  const navigate = useNavigate();
  const client = useQueryClient();
  const complain = useComplaint();
  const [search, setSearch] = useSearchParams();
  const namespace = useQuery(queries.namespace(name));
  const pods = useQuery(queries.pods(name));
  const workloads = useQuery(queries.workloads());
  const mine = workloads.data?.data.filter((row) => row.namespace === namespace.data?.name) ?? [];
  const releases = useQuery(queries.releases());
  const installed = releases.data?.data.filter((row) => row.namespace === namespace.data?.name) ?? [];
  const [isDeleting, setDeleting] = useState(false);
  const [config, setConfig] = useState("");
  const shown = pods.data?.find((pod) => pod.name === search.get("pod"));
  const what = search.get("show") === "terminal" ? "terminal" : "log";
  if (namespace.error) return <Trouble error={namespace.error} onRetry={namespace.refetch} />;
  const it = namespace.data;
  if (!it) return <Skeleton />;
  const params = { path: { namespace: name } };
  return (
    <>
      <PageHead
        title={it.name}
        crumb={{ to: paths.kubernetes, name: t("nav.kubernetes") }}
        note={
          <span className="row">
            <Badge tone={namespaceTone(it.state)}>{word("namespace", it.state)}</Badge>
            {it.cluster}
            {it.message && <Foreign text={it.message} />}
          </span>
        }
      >
        <CommandLine
          command={`longshore workload pods ${it.name}`}
          request={{ method: "GET", path: `/api/v1/namespaces/${it.name}/pods` }}
        />
        <Button
          icon="link"
          onClick={() =>
            call(api.POST("/api/v1/namespaces/{namespace}/kubeconfig", { params, body: {} })).then(
              ({ kubeconfig }) => setConfig(kubeconfig),
              complain,
            )
          }
        >
          kubeconfig
        </Button>
        <Button icon="trash" kind="danger" onClick={() => setDeleting(true)}>
          {t("act.delete")}
        </Button>
        <Button kind="main" icon="upload" to={paths.apply({ namespace: it.name })}>
          {t("kube.apply")}
        </Button>
      </PageHead>
      <div className="grid-2">
        <div className="stack">
          <Card title={t("kube.workloads")} flush>
            {workloads.isPending && <Skeleton rows={2} />}
            {workloads.error && <Trouble error={workloads.error} onRetry={workloads.refetch} />}
            {workloads.data && mine.length === 0 && <p className="card-body soft">{t("kube.empty")}</p>}
            <ul className="lines">
              {mine.map((row) => (
                <li key={row.id} className="row">
                  <div className="grow">
                    <Link to={paths.workload(row.id)}>{row.name}</Link>
                    <div className="soft small">{row.kind}</div>
                  </div>
                  <OpenService workload={row} small />
                  <WorkloadBadge workload={row} />
                </li>
              ))}
            </ul>
          </Card>
          <Card title={t("kube.pods")} flush>
            {pods.isPending && <Skeleton />}
            {pods.error && <Trouble error={pods.error} onRetry={pods.refetch} />}
            {pods.data?.length === 0 && (
              <Empty icon="kubernetes" title={t("kube.no_pods")}>
                {t("kube.empty_note")}
              </Empty>
            )}
            <ul className="lines">
              {pods.data?.map((pod) => (
                <li key={pod.name} className="row">
                  <div className="grow">
                    {pod.name}
                    <div className="soft small">
                      <Foreign
                        text={[pod.node, pod.images.map(shortImage).join(" "), pod.message].filter(Boolean).join(" · ")}
                      />
                    </div>
                  </div>
                  <Badge tone={podTone(pod.status)} title={pod.images.join(" ")}>
                    {`${pod.status} · ${pod.ready}`}
                  </Badge>
                  {pod.restarts > 0 && (
                    <span className="soft small">{t("kube.restarts", { count: pod.restarts })}</span>
                  )}
                  {pod.created_at && (
                    <span className="soft small">
                      <When at={pod.created_at} />
                    </span>
                  )}
                  <Button small icon="log" onClick={() => setSearch({ pod: pod.name, show: "log" })}>
                    {t("container.log")}
                  </Button>
                  <Button small icon="terminal" onClick={() => setSearch({ pod: pod.name, show: "terminal" })}>
                    {t("container.terminal")}
                  </Button>
                </li>
              ))}
            </ul>
          </Card>
          {shown && (
            <Pane key={`${what} ${shown.name}`}>
              {what === "log" ? (
                <PodLog namespace={name} pod={shown} />
              ) : (
                <Suspense fallback={<Skeleton />}>
                  <PodTerminal namespace={name} pod={shown} />
                </Suspense>
              )}
            </Pane>
          )}
        </div>
        <div className="stack">
          <NamespaceQuota namespace={it.name} />
          <NamespaceEvents namespace={it.name} />
        </div>
      </div>
      {config && (
        <Dialog title="kubeconfig" wide onClose={() => setConfig("")}>
          <p className="soft">{t("kube.config_note")}</p>
          <Code text={config} />
          <div className="dialog-acts">
            <Button onClick={() => setConfig("")}>{t("act.close")}</Button>
          </div>
        </Dialog>
      )}
      {isDeleting && (
        <Confirm
          title={t("kube.delete", { name: it.name })}
          act={t("act.delete")}
          command={`longshore namespace delete ${shellWord(it.name)}`}
          danger
          onClose={() => setDeleting(false)}
          onAct={async () => {
            // Pods have their time to end; the list shows how far it is, and nobody has to wait for it here.
            const gone = api.DELETE("/api/v1/namespaces/{namespace}", { params }).then(({ response, error }) => {
              if (!response.ok) throw failureOf(response.status, error);
            });
            const isSoon = await Promise.race([
              gone.then(() => true),
              new Promise<false>((resolve) => setTimeout(() => resolve(false), SOON_MS)),
            ]);
            if (!isSoon) gone.catch(complain);
            client.invalidateQueries({ queryKey: ["namespaces"] });
            navigate(paths.kubernetes);
          }}
        >
          <p>{t("kube.delete_note")}</p>
          <Lost
            title={t("kube.deleted_too")}
            things={[
              ...installed.map((row) => ({ name: `${t("release.one")} ${row.name}`, to: paths.release(row.id) })),
              ...mine.map((row) => ({ name: `${row.kind} ${row.name}`, to: paths.workload(row.id) })),
            ]}
          />
        </Confirm>
      )}
    </>
  );
}

/** What was asked for is brought into sight: it opens below what was pressed. */
function Pane({ children }: { children: ReactNode }) {
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => {
    place.current?.scrollIntoView({ block: "nearest" });
  }, []);
  return (
    <div className="pane" ref={place}>
      {children}
    </div>
  );
}

/** A pod's log comes as plain text. */
function PodLog({ namespace, pod }: { namespace: string; pod: Pod }) {
  const { t } = useText();
  const [model] = useState(() => new LogModel());
  const [error, setError] = useState<unknown>();
  const [round, setRound] = useState(0);
  const [isLive, setLive] = useState(true);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another round reads anew
  useEffect(() => {
    const over = new AbortController();
    const read = async () => {
      model.clear();
      setError(undefined);
      setLive(true);
      const which = pod.containers.length > 1 ? "&all_containers=true" : "";
      const path = `/api/v1/namespaces/${namespace}/pods/${pod.name}/log?follow=true&tail=5000${which}`;
      const response = await fetch(path, {
        signal: over.signal,
        credentials: "same-origin",
      });
      if (!response.ok || !response.body)
        throw failureOf(response.status, await response.json().catch(() => undefined));
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        model.push(value);
      }
      setLive(false);
    };
    read().catch((error) => {
      if (over.signal.aborted) return;
      setError(error instanceof Failure ? error : new Failure(0, "unreachable", ""));
      setLive(false);
    });
    return () => over.abort();
  }, [namespace, pod.name, pod.containers.length, model, round]);
  return (
    <>
      {error !== undefined && <Trouble error={error} onRetry={() => setRound(round + 1)} />}
      <LogView
        model={model}
        label={`${t("container.log")}: ${pod.name}`}
        empty={isLive ? t("log.waiting") : t("log.nothing")}
        hasEnded={!isLive}
        status={isLive ? t("log.live") : t("log.end")}
        tools={<Button small icon="restart" label={t("act.retry")} onClick={() => setRound(round + 1)} />}
      />
    </>
  );
}

function PodTerminal({ namespace, pod }: { namespace: string; pod: Pod }) {
  const ticket = useCallback<TicketOf>(
    (body) =>
      call(
        api.POST("/api/v1/namespaces/{namespace}/pods/{pod}/terminal-tickets", {
          params: { path: { namespace, pod: pod.name } },
          body,
        }),
      ),
    [namespace, pod.name],
  );
  return <TerminalPane ticket={ticket} isShown canReopen />;
}

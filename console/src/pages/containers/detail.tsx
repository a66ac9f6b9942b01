/** A container: what it is, and tabs for what goes on in it. */
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useEffect, useRef } from "react";
import { Link, NavLink, useNavigate, useParams } from "react-router";
import { again } from "../../api/again";
import { type Container, Failure } from "../../api/client";
import { queries } from "../../api/queries";
import { shellWord } from "../../format";
import { useText } from "../../i18n";
import { Badge, Button, Card, Empty, Foreign, Notice, PageHead, Skeleton, Trouble, When } from "../../parts/basic";
import { Code } from "../../parts/code";
import { CommandLine } from "../../parts/command";
import { Pull } from "../../parts/pull";
import { paths } from "../../paths";
import { address, containerTone, machineName, urlHere } from "../../states";
import { ContainerActions } from "./actions";
import { ContainerLog } from "./log";
import { StateBadge } from "./state";

const Terminals = lazy(async () => ({ default: (await again(() => import("./terminal"))).Terminals }));
const Statistics = lazy(async () => ({ default: (await again(() => import("./statistics"))).Statistics }));
const Files = lazy(async () => ({ default: (await again(() => import("./files"))).Files }));

export function ContainerDetail() {
  const id = Number(useParams().id);
  const tab = useParams().tab ?? "";
  const { t, word, problem } = useText();
  const navigate = useNavigate();
  const container = useQuery({
    ...queries.container(id),
    refetchInterval: (query) => (query.state.data?.state === "deleting" ? 1000 : false),
  });
  const machines = useQuery(queries.machines());
  const tabs = useRef<HTMLElement>(null);
  const isThere = container.data !== undefined;
  // On a phone the tabs are wider than the screen.
  // biome-ignore lint/correctness/useExhaustiveDependencies: another tab is another place
  useEffect(() => {
    tabs.current?.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  }, [tab, isThere]);
  if (container.error instanceof Failure && container.error.status === 404)
    return (
      <Empty
        icon="containers"
        title={t("container.gone")}
        action={
          <>
            <Button to={paths.containers}>{t("nav.containers")}</Button>
            <Button icon="log" to={paths.keptLogs}>
              {t("kept.title")}
            </Button>
          </>
        }
      >
        {problem(container.error.code, container.error.detail)}
      </Empty>
    );
  if (container.error && !container.data) return <Trouble error={container.error} onRetry={container.refetch} />;
  const it = container.data;
  if (!it) return <Skeleton />;
  const url = address(it, window.location.hostname, machines.data?.data);
  const name = it.display_name || it.name;

  return (
    <>
      <PageHead
        title={<Foreign text={name} />}
        crumb={{ to: paths.containers, name: t("nav.containers") }}
        note={
          <span className="row">
            <StateBadge container={it} />
            <Link to={paths.image(it.image_id)}>{it.image}</Link>
            {url && (
              <a href={url} target="_blank" rel="noreferrer">
                {url}
              </a>
            )}
          </span>
        }
      >
        <CommandLine
          command={`longshore container show ${shellWord(it.name)}`}
          request={{ method: "GET", path: `/api/v1/containers/${id}` }}
          also={["stop", "start", "restart", "log", "stats", "events"].map(
            (verb) => `longshore container ${verb} ${shellWord(it.name)}`,
          )}
        />
        {url && (
          <a className="button main" href={url} target="_blank" rel="noreferrer">
            {t("container.open")}
          </a>
        )}
        <ContainerActions container={it} onDeleted={() => navigate(paths.containers)} />
      </PageHead>
      {(it.state === "failed" || it.message) && (
        <Notice
          tone={containerTone(it.state) === "bad" ? "bad" : it.state === "unknown" ? "warn" : "busy"}
          title={it.reason ? word("reason", it.reason) : word("state", it.state)}
        >
          <Foreign text={it.message ?? ""} />
        </Notice>
      )}
      {it.state === "unknown" && !it.message && (
        <Notice tone="warn" title={t("container.unknown")}>
          {t("container.unknown_note")}
        </Notice>
      )}
      {it.pull && (
        <Card title={t("state.pulling")}>
          <Pull pull={it.pull} />
        </Card>
      )}
      <nav className="tabs" ref={tabs} aria-label={t("container.tabs")}>
        <NavLink to={paths.container(id)} end preventScrollReset>
          {t("container.overview")}
        </NavLink>
        <NavLink to={paths.container(id, "log")} preventScrollReset>
          {t("container.log")}
        </NavLink>
        <NavLink to={paths.container(id, "terminal")} preventScrollReset>
          {t("container.terminal")}
        </NavLink>
        <NavLink to={paths.container(id, "stats")} preventScrollReset>
          {t("container.stats")}
        </NavLink>
        <NavLink to={paths.container(id, "files")} preventScrollReset>
          {t("container.files")}
        </NavLink>
      </nav>
      <Suspense fallback={<Skeleton />}>
        {tab === "" && <About container={it} url={url} />}
        {tab === "log" && <ContainerLog key={id} container={it} />}
        {tab === "terminal" && <Terminals key={id} container={it} />}
        {tab === "stats" && <Statistics key={id} container={it} />}
        {tab === "files" && <Files key={id} container={it} />}
      </Suspense>
    </>
  );
}

function About({ container: it, url }: { container: Container; url?: string }) {
  const { t, word, bytes, cores, moment } = useText();
  const machines = useQuery(queries.machines());
  const machine = machines.data?.data.find((machine) => machine.machine_id === it.machine_id);
  const gpus = useQuery({ ...queries.gpus(), enabled: Boolean(it.gpu_ids?.length) });
  const env = Object.entries(it.env ?? {});
  const place = machine ? machineName(machine) : (it.machine_id ?? "");
  const shut = it.ports.find((port) => port.protocol === "tcp" && port.bind === "loopback");
  return (
    <div className="grid-2">
      <Card title={t("container.about")}>
        <dl className="facts">
          <dt>{t("field.name")}</dt>
          <dd>
            {it.name} <span className="soft">#{it.id}</span>
          </dd>
          <dt>{t("field.account")}</dt>
          <dd>{it.account}</dd>
          <dt>{t("field.machine")}</dt>
          <dd>
            <Foreign text={machine ? machineName(machine) : (it.machine_id ?? t("container.no_machine"))} />
          </dd>
          <dt>{t("field.created")}</dt>
          <dd>
            <When at={it.created_at} />
          </dd>
          <dt>{t("field.since")}</dt>
          <dd>
            <When at={it.state_since} />
          </dd>
          <dt>{t("create.memory")}</dt>
          <dd>{bytes(it.memory_bytes)}</dd>
          <dt>{t("create.cpus")}</dt>
          <dd>{cores(it.cpu_millis)}</dd>
          {it.restart_policy && it.restart_policy !== "no" && (
            <>
              <dt>{t("create.restart")}</dt>
              <dd>
                {word("restart", it.restart_policy)}
                {it.restarts != null && it.restarts > 0 && ` · ${t("kube.restarts", { count: it.restarts })}`}
              </dd>
            </>
          )}
          {it.ends_at && (
            <>
              <dt>{t("container.ends")}</dt>
              <dd>{moment(it.ends_at)}</dd>
            </>
          )}
          {it.gpus && (
            <>
              <dt>GPU</dt>
              <dd>
                {it.gpus.count} {it.gpus.model && <Foreign text={it.gpus.model} />}
                {it.gpu_ids?.map((id) => (
                  <div key={id} className="small">
                    <Foreign
                      text={gpus.data?.data.find((gpu) => gpu.uuid === id)?.type.replace(/^NVIDIA /, "") ?? ""}
                    />{" "}
                    <span className="mono soft">{id}</span>
                  </div>
                ))}
              </dd>
            </>
          )}
          {it.command && (
            <>
              <dt>{t("field.command")}</dt>
              <dd className="mono">
                <Foreign text={it.command.map(shellWord).join(" ")} />
              </dd>
            </>
          )}
          {env.length > 0 && (
            <>
              <dt>{t("field.env")}</dt>
              <dd className="mono">
                {env.map(([key, value]) => (
                  <div key={key}>
                    <Foreign text={`${key}=${value}`} />
                  </div>
                ))}
              </dd>
            </>
          )}
        </dl>
      </Card>
      <div className="stack">
        <Card title={t("field.ports")}>
          {it.ports.length === 0 ? (
            <p className="soft">{t("container.no_ports")}</p>
          ) : (
            <ul className="stack">
              {it.ports.map((port) => (
                <li key={`${port.protocol}${port.container}`} className="row apart">
                  <span>
                    <code>
                      {port.container}/{port.protocol}
                    </code>{" "}
                    →{" "}
                    <code>
                      {port.bind === "loopback" ? `127.0.0.1:${port.host}` : `${machine?.ip ?? "*"}:${port.host}`}
                    </code>
                  </span>
                  <Badge tone="idle" bare>
                    {t(`bind.${port.bind}`, { machine: place || "–" })}
                  </Badge>
                </li>
              ))}
            </ul>
          )}
          {shut && !url && machine && it.state === "running" && (
            <div className="stack">
              <p className="soft small">{t("bind.elsewhere", { machine: place, url: urlHere(shut.host) })}</p>
              <Code
                text={`ssh -N -L ${shut.host}:127.0.0.1:${shut.host} ${shellWord(machine.ip || machine.hostname)}`}
              />
            </div>
          )}
        </Card>
        <Events container={it} />
      </div>
    </div>
  );
}

/** Each state that it came into, newest first. */
function Events({ container }: { container: Container }) {
  const { t, word } = useText();
  const events = useQuery({
    ...queries.containerEvents(container.id),
    // Another state is another event.
    queryKey: [...queries.containerEvents(container.id).queryKey, container.state, container.state_since],
    placeholderData: keepPreviousData,
  });
  return (
    <Card
      title={t("container.events")}
      flush
      action={
        <CommandLine
          command={`longshore container events ${shellWord(container.name)}`}
          request={{ method: "GET", path: `/api/v1/containers/${container.id}/events` }}
        />
      }
    >
      {events.isPending && <Skeleton rows={3} />}
      {events.error && <Trouble error={events.error} onRetry={events.refetch} />}
      <ol className="lines events">
        {events.data?.map((it) => (
          <li key={`${it.at}${it.state}`} className="row">
            <Badge tone={containerTone(it.state)}>{word("state", it.state)}</Badge>
            <div className="grow small">
              {it.exit_code != null && t("container.exit", { code: it.exit_code })}{" "}
              {it.message ? <Foreign text={it.message} /> : it.reason ? word("reason", it.reason) : ""}
            </div>
            <span className="soft small">
              <When at={it.at} />
            </span>
          </li>
        ))}
      </ol>
    </Card>
  );
}

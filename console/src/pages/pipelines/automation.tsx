/** What a git repository does by itself: when runs start, where they build, and what is brought up to date afterwards. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useId, useState } from "react";
import { api, call, type Schemas } from "../../api/client";
import { queries } from "../../api/queries";
import { shellWord } from "../../format";
import { useText } from "../../i18n";
import { Button, Card, Foreign } from "../../parts/basic";
import { CommandLine } from "../../parts/command";
import { Confirm } from "../../parts/dialog";
import { CheckField, SelectField, TextField } from "../../parts/field";
import { AimLink } from "./aim-link";

type GitRepo = Schemas["GitRepoView"];
type Options = Schemas["GitRepoOptions"];
type Executor = Schemas["RunExecutor"];
type Provider = Schemas["GitProvider"];

const executors: Executor[] = ["docker", "kubernetes"];
const providers: { id: Provider; name: string }[] = [
  { id: "gitea", name: "Gitea / Forgejo" },
  { id: "github", name: "GitHub" },
  { id: "gitlab", name: "GitLab" },
  { id: "bitbucket", name: "Bitbucket" },
];
const targets = ["none", "workload", "container"] as const;
type Target = (typeof targets)[number];

/** Options without gaps: what older servers leave out is as they do it. */
const whole = (options: Options) => ({
  branches: options.branches ?? [],
  paths: options.paths ?? [],
  poll: options.poll_minutes ?? 0,
  schedule: options.schedule ?? "",
  submodules: options.submodules ?? false,
  executor: options.executor,
  deploy: options.deploy,
});

/** A list as people type it. */
const words = (text: string) =>
  text
    .split(/[,\n]/)
    .map((it) => it.trim())
    .filter(Boolean);

export function Automation({ repo }: { repo: GitRepo }) {
  const { t } = useText();
  const [isOpen, setOpen] = useState(false);
  const { branches, paths, poll, schedule, executor, deploy } = whole(repo.options);
  const starts = [
    repo.has_webhook_secret && t("auto.on_push"),
    poll > 0 && t("auto.every", { minutes: poll }),
    schedule && `${t("auto.by_clock")}: ${schedule}`,
  ].filter(Boolean);
  return (
    <Card
      title={t("auto.title")}
      action={
        <span className="row">
          <CommandLine command={commandFor(repo.repo_name, repo.options)} />
          <Button small onClick={() => setOpen(true)}>
            {t("act.edit")}
          </Button>
        </span>
      }
    >
      <dl className="facts">
        <dt>{t("auto.starts")}</dt>
        <dd>{starts.length > 0 ? <Foreign text={starts.join(" · ")} /> : t("auto.by_hand")}</dd>
        {branches.length > 0 && (
          <>
            <dt>{t("auto.branches")}</dt>
            <dd>
              <Foreign text={branches.join(", ")} />
            </dd>
          </>
        )}
        {paths.length > 0 && (
          <>
            <dt>{t("auto.paths")}</dt>
            <dd>
              <Foreign text={paths.join(", ")} />
            </dd>
          </>
        )}
        <dt>{t("auto.executor")}</dt>
        <dd>{t(`auto.executor_${executor ?? "default"}`)}</dd>
        <dt>{t("auto.deploy")}</dt>
        <dd>
          {deploy?.workload || deploy?.container ? (
            <AimLink target={deploy} account={repo.account} />
          ) : (
            t("auto.deploy_none")
          )}
        </dd>
      </dl>
      {isOpen && <AutomationDialog repo={repo} onClose={() => setOpen(false)} />}
    </Card>
  );
}

/** The same by the command line. */
function commandFor(name: string, options: Options, hasToken = false): string {
  const { branches, paths, poll, schedule, submodules, executor, deploy } = whole(options);
  const given = [
    ...branches.flatMap((it) => ["--on-branch", it]),
    ...paths.flatMap((it) => ["--on-path", it]),
    ...(poll > 0 ? ["--poll", String(poll)] : []),
    ...(schedule ? ["--schedule", schedule] : []),
    ...(executor ? ["--executor", executor] : []),
    ...(deploy?.workload ? ["--deploy", deploy.workload] : []),
    ...(deploy?.container ? ["--deploy", `container/${deploy.container}`] : []),
    ...(deploy?.namespace ? ["--deploy-namespace", deploy.namespace] : []),
    ...(deploy?.pod_container ? ["--deploy-container", deploy.pod_container] : []),
    ...(deploy?.timeout_secs ? ["--deploy-timeout", String(deploy.timeout_secs)] : []),
    ...(submodules ? ["--submodules", "true"] : []),
    ...(options.provider ? ["--provider", options.provider] : []),
    ...(hasToken ? ["--status-token", "FILE"] : []),
  ];
  return ["longshore git-repo set", ...[name, ...given].map(shellWord)].join(" ");
}

function AutomationDialog({ repo, onClose }: { repo: GitRepo; onClose: () => void }) {
  const { t } = useText();
  const client = useQueryClient();
  const [options, setOptions] = useState<Options>(repo.options);
  const before = whole(repo.options);
  const [branches, setBranches] = useState(before.branches.join(", "));
  const [files, setFiles] = useState(before.paths.join(", "));
  const [minutes, setMinutes] = useState(before.poll > 0 ? String(before.poll) : "");
  const [token, setToken] = useState("");
  const was = before.deploy;
  const [target, setTarget] = useState<Target>(was?.workload ? "workload" : was?.container ? "container" : "none");
  const [deploy, setDeploy] = useState({
    workload: was?.workload ?? "",
    namespace: was?.namespace ?? "",
    pod_container: was?.pod_container ?? "",
    container: was?.container ?? "",
    timeout_secs: was?.timeout_secs?.toString() ?? "",
  });
  const set = (change: Partial<Options>) => setOptions((options) => ({ ...options, ...change }));
  const aim = (change: Partial<typeof deploy>) => setDeploy((deploy) => ({ ...deploy, ...change }));
  const isWhole = (text: string) => /^\d*$/.test(text.trim());
  const isAimless = target !== "none" && !deploy[target].trim();
  const why =
    isWhole(minutes) && isWhole(deploy.timeout_secs)
      ? isAimless
        ? t("auto.deploy_first")
        : undefined
      : t("auto.whole");

  const chosen = (): Options["deploy"] => {
    if (target === "none") return null;
    const timeout_secs = deploy.timeout_secs.trim() ? Number(deploy.timeout_secs) : null;
    if (target === "container") return { container: deploy.container.trim(), timeout_secs };
    return {
      workload: deploy.workload.trim(),
      namespace: deploy.namespace.trim() || null,
      pod_container: deploy.pod_container.trim() || null,
      timeout_secs,
    };
  };

  const changed = {
    ...options,
    branches: words(branches),
    paths: words(files),
    poll_minutes: Number(minutes.trim() || 0),
    deploy: chosen(),
  };

  return (
    <Confirm
      title={t("auto.change")}
      act={t("act.save")}
      command={commandFor(repo.repo_name, changed, token.trim() !== "")}
      why={why}
      onClose={onClose}
      onAct={async () => {
        const body = {
          options: changed,
          ...(token.trim() ? { status_token: token.trim() } : {}),
        };
        const saved = await call(api.PATCH("/api/v1/git-repos/{id}", { params: { path: { id: repo.id } }, body }));
        client.setQueryData(["git-repo", String(repo.id)], saved);
        client.invalidateQueries({ queryKey: ["git-repos"] });
      }}
    >
      <div className="form-row">
        <TextField
          label={t("auto.branches")}
          value={branches}
          onChange={setBranches}
          note={t("auto.branches_note", { branch: repo.branch || "main" })}
          placeholder="main, v*"
          spellCheck={false}
        />
        <TextField
          label={t("auto.paths")}
          value={files}
          onChange={setFiles}
          note={t("auto.paths_note")}
          placeholder="src/*"
          spellCheck={false}
        />
      </div>
      <div className="form-row">
        <TextField
          label={t("auto.poll")}
          value={minutes}
          onChange={setMinutes}
          note={t("auto.poll_note")}
          wrong={isWhole(minutes) ? undefined : t("auto.whole")}
          inputMode="numeric"
        />
        <TextField
          label={t("auto.schedule")}
          value={options.schedule ?? ""}
          onChange={(schedule) => set({ schedule })}
          note={t("auto.schedule_note")}
          placeholder="30 2 * * 1-5"
          spellCheck={false}
        />
      </div>
      <CheckField
        label={t("auto.submodules")}
        checked={options.submodules ?? false}
        onChange={(on) => set({ submodules: on })}
      />
      <SelectField
        label={t("auto.executor")}
        value={options.executor ?? ""}
        onChange={(value) => set({ executor: executors.find((it) => it === value) ?? null })}
      >
        <option value="">{t("auto.executor_default")}</option>
        {executors.map((it) => (
          <option key={it} value={it}>
            {t(`auto.executor_${it}`)}
          </option>
        ))}
      </SelectField>
      <SelectField
        label={t("auto.deploy")}
        value={target}
        note={target === "none" ? undefined : t("auto.deploy_note")}
        onChange={(value) => setTarget(targets.find((it) => it === value) ?? "none")}
      >
        {targets.map((it) => (
          <option key={it} value={it}>
            {t(`auto.deploy_${it}`)}
          </option>
        ))}
      </SelectField>
      {target !== "none" && <Aim target={target} deploy={deploy} aim={aim} isWhole={isWhole} />}
      <details>
        <summary>{t("auto.report")}</summary>
        <div className="form-row">
          <SelectField
            label={t("auto.provider")}
            value={options.provider ?? ""}
            onChange={(value) => set({ provider: providers.find((it) => it.id === value)?.id ?? null })}
          >
            <option value="">{t("auto.provider_default")}</option>
            {providers.map((it) => (
              <option key={it.id} value={it.id}>
                {it.name}
              </option>
            ))}
          </SelectField>
          <TextField
            label={t("auto.status_token")}
            type="password"
            value={token}
            onChange={setToken}
            note={t("auto.status_token_note")}
            autoComplete="off"
          />
        </div>
      </details>
    </Confirm>
  );
}

type Deploy = Record<"workload" | "namespace" | "pod_container" | "container" | "timeout_secs", string>;
interface AimProps {
  target: Exclude<Target, "none">;
  deploy: Deploy;
  aim: (change: Partial<Deploy>) => void;
  isWhole: (text: string) => boolean;
}

/** What is brought up to date; what there is, is offered while one types. */
function Aim({ target, deploy, aim, isWhole }: AimProps) {
  const { t } = useText();
  const offered = useId();
  const workloads = useQuery({ ...queries.workloads(), enabled: target === "workload" });
  const containers = useQuery({ ...queries.containers(), enabled: target === "container" });
  const running = ["Deployment", "StatefulSet", "DaemonSet"];
  const known = (workloads.data?.data ?? []).filter((it) => running.includes(it.kind));
  const names =
    target === "workload"
      ? known.map((it) => `${it.kind.toLowerCase()}/${it.name}`)
      : (containers.data?.data ?? []).map((it) => it.name);
  const timeout = (
    <TextField
      label={t("auto.timeout")}
      value={deploy.timeout_secs}
      onChange={(timeout_secs) => aim({ timeout_secs })}
      wrong={isWhole(deploy.timeout_secs) ? undefined : t("auto.whole")}
      placeholder="300"
      inputMode="numeric"
    />
  );
  return (
    <>
      <datalist id={offered}>
        {[...new Set(names)].map((it) => (
          <option key={it} value={it} />
        ))}
      </datalist>
      {target === "container" && (
        <div className="form-row">
          <TextField
            label={t("auto.container")}
            value={deploy.container}
            onChange={(container) => aim({ container })}
            list={offered}
            spellCheck={false}
          />
          {timeout}
        </div>
      )}
      {target === "workload" && (
        <div className="form-row">
          <TextField
            label={t("auto.workload")}
            value={deploy.workload}
            onChange={(workload) => {
              const found = known.filter((it) => `${it.kind.toLowerCase()}/${it.name}` === workload);
              aim(found.length === 1 && found[0] ? { workload, namespace: found[0].namespace } : { workload });
            }}
            list={offered}
            placeholder="deployment/web"
            spellCheck={false}
          />
          <TextField
            label={t("auto.namespace")}
            value={deploy.namespace}
            onChange={(namespace) => aim({ namespace })}
            spellCheck={false}
          />
          <TextField
            label={t("auto.pod_container")}
            value={deploy.pod_container}
            onChange={(pod_container) => aim({ pod_container })}
            note={t("auto.pod_container_note")}
            spellCheck={false}
          />
          {timeout}
        </div>
      )}
    </>
  );
}

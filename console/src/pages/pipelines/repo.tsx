/** A git repository: whether it can be reached, its webhook, its runs. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useNavigate, useParams } from "react-router";
import { api, call, done, type Schemas } from "../../api/client";
import { queries } from "../../api/queries";
import { shellWord } from "../../format";
import { useText } from "../../i18n";
import { Badge, Button, Card, Foreign, Notice, PageHead, Skeleton, Trouble, When } from "../../parts/basic";
import { Code } from "../../parts/code";
import { CommandLine } from "../../parts/command";
import { Confirm } from "../../parts/dialog";
import { TextField } from "../../parts/field";
import { paths } from "../../paths";
import { Automation } from "./automation";
import { GitRepoDialog } from "./edit";
import { RunList } from "./list";
import { Notifications } from "./notifications";

export function GitRepoDetail() {
  const id = Number(useParams().id);
  const { t } = useText();
  const navigate = useNavigate();
  const client = useQueryClient();
  const repo = useQuery(queries.gitRepo(id));
  const runs = useQuery(queries.runs(id));
  const [open, setOpen] = useState<"edit" | "delete" | "run">();
  const [ref, setRef] = useState("");
  if (repo.error) return <Trouble error={repo.error} onRetry={repo.refetch} />;
  const it = repo.data;
  if (!it) return <Skeleton />;
  return (
    <>
      <PageHead
        title={<Foreign text={it.repo_name} />}
        crumb={{ to: paths.pipelines, name: t("nav.pipelines") }}
        note={<Foreign text={it.description || it.url} />}
      >
        <CommandLine
          command={`longshore run start ${shellWord(it.repo_name)}`}
          request={{ method: "POST", path: "/api/v1/runs", body: { git_repo_id: it.id } }}
        />
        <Button onClick={() => setOpen("edit")}>{t("act.edit")}</Button>
        <Button icon="trash" kind="danger" onClick={() => setOpen("delete")}>
          {t("act.delete")}
        </Button>
        <Button kind="main" icon="play" onClick={() => setOpen("run")}>
          {t("run.start")}
        </Button>
      </PageHead>
      <div className="grid-2">
        <div className="stack">
          <Card title={t("run.title")} flush>
            {runs.isPending && <Skeleton />}
            {runs.error && <Trouble error={runs.error} onRetry={runs.refetch} />}
            {runs.data && <RunList runs={runs.data.data} />}
          </Card>
          <Automation repo={it} />
          <Notifications id={id} repo={it.repo_name} />
          <Deliveries id={id} />
        </div>
        <div className="stack">
          <Connection id={id} />
          <Card title={t("git.webhook")}>
            <div className="stack">
              <p className="soft">{t("git.webhook_note")}</p>
              <Code text={`${window.location.origin}${it.webhook_path}`} label={t("git.webhook")} />
              <p className="soft small">{it.has_webhook_secret ? t("git.has_secret") : t("git.no_secret")}</p>
              {!it.has_webhook_secret && (
                <div className="row">
                  <Button small onClick={() => setOpen("edit")}>
                    {t("git.set_secret")}
                  </Button>
                </div>
              )}
            </div>
          </Card>
          <Card title={t("git.about")}>
            <dl className="facts">
              <dt>{t("git.url")}</dt>
              <dd>
                <Foreign text={it.url} />
              </dd>
              {[
                [t("git.branch"), it.branch],
                [t("field.image"), it.image],
                [t("git.tag"), it.tag],
                ["Dockerfile", it.dockerfile],
                [t("git.build_path"), it.build_path],
              ]
                .filter(([, value]) => value)
                .flatMap(([name = "", value = ""]) => [
                  <dt key={name}>{name}</dt>,
                  <dd key={`${name}-is`}>
                    <Foreign text={value} />
                  </dd>,
                ])}
              {it.last_commit && (
                <>
                  <dt>{t("git.commit")}</dt>
                  <dd className="mono">{it.last_commit.slice(0, 12)}</dd>
                </>
              )}
            </dl>
          </Card>
        </div>
      </div>
      {open === "edit" && <GitRepoDialog repo={it} onClose={() => setOpen(undefined)} />}
      {open === "delete" && (
        <Confirm
          title={t("git.delete", { name: it.repo_name })}
          act={t("act.delete")}
          command={`longshore git-repo remove ${shellWord(it.repo_name)}`}
          danger
          onClose={() => setOpen(undefined)}
          onAct={async () => {
            await done(api.DELETE("/api/v1/git-repos/{id}", { params: { path: { id } } }));
            client.invalidateQueries({ queryKey: ["git-repos"] });
            navigate(paths.pipelines);
          }}
        >
          <p>{t("git.delete_note")}</p>
        </Confirm>
      )}
      {open === "run" && (
        <Confirm
          title={t("run.start")}
          act={t("run.start")}
          command={`longshore run start ${shellWord(it.repo_name)}${ref.trim() ? ` --ref ${shellWord(ref.trim())}` : ""}`}
          onClose={() => setOpen(undefined)}
          onAct={async () => {
            const run = await call(
              api.POST("/api/v1/runs", { body: { git_repo_id: it.id, git_ref: ref.trim() || null } }),
            );
            client.invalidateQueries({ queryKey: ["runs"] });
            navigate(paths.run(run.id));
          }}
        >
          <TextField
            label={t("run.ref")}
            value={ref}
            onChange={setRef}
            note={t("run.ref_note", { branch: it.branch || t("run.ref_default") })}
            spellCheck={false}
          />
        </Confirm>
      )}
    </>
  );
}

/** The seed of most trouble, looked at before the first run. */
function Connection({ id }: { id: number }) {
  const { t } = useText();
  const [tested, setTested] = useState<Schemas["GitRepoTested"]>();
  const [error, setError] = useState<unknown>();
  const [isBusy, setBusy] = useState(false);
  const test = async () => {
    setBusy(true);
    setError(undefined);
    setTested(undefined);
    try {
      setTested(await call(api.POST("/api/v1/git-repos/{id}/test", { params: { path: { id } } })));
    } catch (error) {
      setError(error);
    }
    setBusy(false);
  };
  return (
    <Card title={t("git.connection")}>
      <div className="stack">
        {error !== undefined && <Trouble error={error} />}
        {tested && (
          <Notice tone="good" title={t("git.tested")}>
            <Foreign text={tested.git_ref} /> <code>{tested.commit.slice(0, 12)}</code>
          </Notice>
        )}
        <div className="row">
          <Button icon="check" busy={isBusy} onClick={test}>
            {t("git.test")}
          </Button>
        </div>
      </div>
    </Card>
  );
}

function Deliveries({ id }: { id: number }) {
  const { t } = useText();
  const deliveries = useQuery(queries.deliveries(id));
  if (!deliveries.data?.length) return null;
  return (
    <Card title={t("git.deliveries")} flush>
      <ul className="lines">
        {deliveries.data.map((it) => (
          <li key={it.id} className="row">
            <div className="grow">
              {it.provider} · <Foreign text={it.event} />
              <div className="soft small">
                <Foreign text={it.answer} />
              </div>
            </div>
            <Badge tone={it.status < 300 ? "good" : "bad"}>{it.status}</Badge>
            <span className="soft small">
              <When at={it.received_at} />
            </span>
          </li>
        ))}
      </ul>
    </Card>
  );
}

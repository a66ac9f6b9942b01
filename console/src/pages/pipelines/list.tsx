/** Pipelines: git repositories that become images, and their runs. */
import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { Link } from "react-router";
import type { Schemas } from "../../api/client";
import { queries } from "../../api/queries";
import { useText } from "../../i18n";
import { Badge, Button, Card, Empty, Foreign, PageHead, Skeleton, Trouble, When } from "../../parts/basic";
import { CommandLine } from "../../parts/command";
import { type Column, Table } from "../../parts/table";
import { paths } from "../../paths";
import { operationTone } from "../../states";
import { GitRepoDialog } from "./edit";

type GitRepo = Schemas["GitRepoView"];
type Run = Schemas["RunView"];

export function Pipelines() {
  const { t } = useText();
  const repos = useQuery(queries.gitRepos());
  const runs = useQuery(queries.runs());
  const [isAdding, setAdding] = useState(false);
  const add = (
    <Button kind="main" icon="plus" onClick={() => setAdding(true)}>
      {t("git.add")}
    </Button>
  );
  const columns = useMemo<Column<GitRepo>[]>(
    () => [
      {
        id: "name",
        title: t("field.name"),
        className: "name",
        sort: (it) => it.repo_name,
        cell: (it) => (
          <>
            <Link to={paths.gitRepo(it.id)}>
              <Foreign text={it.repo_name} />
            </Link>
            <div className="sub">
              <Foreign text={it.url} />
            </div>
          </>
        ),
      },
      { id: "branch", title: t("git.branch"), cell: (it) => <Foreign text={it.branch} /> },
      { id: "image", title: t("field.image"), className: "wide-only", cell: (it) => <Foreign text={it.image} /> },
      {
        id: "created",
        title: t("field.created"),
        className: "wide-only",
        sort: (it) => it.created_at,
        cell: (it) => <When at={it.created_at} />,
      },
    ],
    [t],
  );
  return (
    <>
      <PageHead title={t("nav.pipelines")} note={t("git.note")}>
        <CommandLine command="longshore git-repo list" request={{ method: "GET", path: "/api/v1/git-repos" }} />
        {add}
      </PageHead>
      <Card title={t("git.repos")} flush>
        {repos.isPending && <Skeleton />}
        {repos.error && <Trouble error={repos.error} onRetry={repos.refetch} />}
        {repos.data?.total === 0 && (
          <Empty icon="git" title={t("git.empty")} action={add}>
            {t("git.empty_note")}
          </Empty>
        )}
        {repos.data && repos.data.total > 0 && (
          <Table
            label={t("git.repos")}
            rows={repos.data.data}
            columns={columns}
            rowKey={(it) => it.id}
            text={(it) => `${it.repo_name} ${it.url} ${it.image}`}
            order="-created"
          />
        )}
      </Card>
      <Card title={t("run.recent")} flush>
        {runs.isPending && <Skeleton />}
        {runs.error && <Trouble error={runs.error} onRetry={runs.refetch} />}
        {runs.data && <RunList runs={runs.data.data} />}
      </Card>
      {isAdding && <GitRepoDialog onClose={() => setAdding(false)} />}
    </>
  );
}

/** Runs, the newest first. */
export function RunList({ runs }: { runs: Run[] }) {
  const { t, word } = useText();
  if (runs.length === 0) return <p className="card-body soft">{t("run.empty")}</p>;
  return (
    <ul className="lines">
      {runs.map((it) => (
        <li key={it.id} className="row">
          <div className="grow">
            <Link to={paths.run(it.id)}>
              <Foreign text={it.repo_name} /> #{it.id}
            </Link>
            <div className="soft small clip">
              <Foreign
                text={[it.git_ref, it.commit?.slice(0, 10), word("cause", it.cause)].filter(Boolean).join(" · ")}
              />
            </div>
          </div>
          <Badge tone={operationTone(it.state)}>{word("state", it.state)}</Badge>
          <span className="soft small">
            <When at={it.created_at} />
          </span>
        </li>
      ))}
    </ul>
  );
}

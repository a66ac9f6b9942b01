/** A chart: what it is, its README, its values, its versions and files. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { lazy, type ReactNode, Suspense, useState } from "react";
import { Link, useNavigate, useParams, useSearchParams } from "react-router";
import { again } from "../../api/again";
import { api, done, Failure, type Schemas } from "../../api/client";
import { queries } from "../../api/queries";
import { YamlField } from "../../editor/field";
import { shellWord } from "../../format";
import { type Key, useText } from "../../i18n";
import { Badge, Button, Card, Empty, Foreign, Notice, PageHead, Skeleton, Trouble, When } from "../../parts/basic";
import { Code } from "../../parts/code";
import { CommandLine } from "../../parts/command";
import { Confirm } from "../../parts/dialog";
import { SelectField } from "../../parts/field";
import { paths } from "../../paths";
import { linkOf } from "../../text/tame";
import { ChartIcon } from "./icon";
import { useMayChange } from "./repos";

const MarkdownText = lazy(async () => ({ default: (await again(() => import("../../text/markdown"))).MarkdownText }));

type Chart = Schemas["ChartView"];
type Content = Schemas["ChartContentView"];
const tabs = ["readme", "values", "versions", "files"] as const;
type Tab = (typeof tabs)[number];
const isTab = (text: string | null): text is Tab => tabs.some((tab) => tab === text);
const STEP = 100;
const CODE_MAX = 400_000;

export function ChartDetail() {
  const { repo = "", chart: name = "" } = useParams();
  const { t } = useText();
  const [search, setSearch] = useSearchParams();
  const wanted = search.get("tab");
  const tab: Tab = isTab(wanted) ? wanted : "readme";
  const [limit, setLimit] = useState(STEP);
  const chart = useQuery(queries.chart(repo, name));
  const versions = useQuery(queries.chartVersions(repo, name, limit));
  const version = search.get("version") ?? chart.data?.version;
  const content = useQuery({ ...queries.chartContent(repo, name, version ?? ""), enabled: version !== undefined });
  if (chart.error) return <Trouble error={chart.error} onRetry={chart.refetch} />;
  const it = chart.data;
  if (!it || version === undefined) return <Skeleton />;
  const set = (key: "tab" | "version", value: string) =>
    setSearch(
      (search) => {
        search.set(key, value);
        return search;
      },
      { replace: key === "tab" },
    );
  const isKnown = versions.data?.data.some((row) => row.version === version);
  const within = (show: (content: Content) => ReactNode) => {
    if (content.error) return <Trouble error={content.error} onRetry={content.refetch} />;
    return content.data ? show(content.data) : <Skeleton />;
  };
  return (
    <>
      <PageHead
        title={
          <span className="row">
            <ChartIcon src={it.icon} size={32} /> <Foreign text={it.name} />
            {it.deprecated && <Badge tone="warn">{t("chart.deprecated")}</Badge>}
          </span>
        }
        crumb={{ to: paths.charts, name: t("nav.charts") }}
        note={<Foreign text={it.description} />}
      >
        <CommandLine
          command={`longshore chart show ${shellWord(`${it.repo}/${it.name}`)} --version ${shellWord(version)} --values`}
          request={{
            method: "GET",
            path: `/api/v1/charts/${repo}/${encodeURIComponent(name)}/versions/${encodeURIComponent(version)}`,
          }}
        />
        <Button
          kind="main"
          icon="upload"
          why={content.data?.type === "library" ? t("release.library") : undefined}
          to={paths.releaseNew(it.repo_id, it.name, version)}
        >
          {t("release.install")}
        </Button>
      </PageHead>
      {content.data?.digest_changed && <Notice tone="warn" title={t("chart.digest_changed")} />}
      <div className="grid-2">
        <div className="stack">
          <div className="tabs" role="tablist" aria-label={t("chart.tabs")}>
            {tabs.map((id) => (
              <button key={id} type="button" role="tab" aria-selected={id === tab} onClick={() => set("tab", id)}>
                {t(names[id])}
              </button>
            ))}
          </div>
          {tab === "readme" &&
            within(({ readme }) =>
              readme ? (
                <Card>
                  <Suspense fallback={<Skeleton />}>
                    <MarkdownText text={readme} />
                  </Suspense>
                </Card>
              ) : (
                <Empty icon="charts" title={t("chart.no_readme")} />
              ),
            )}
          {tab === "values" &&
            within(({ values }) =>
              values ? (
                <YamlField label="values.yaml" value={values.slice(0, CODE_MAX)} isReadOnly rows={30} />
              ) : (
                <p>{t("chart.no_values")}</p>
              ),
            )}
          {tab === "versions" && (
            <Versions
              chart={it}
              shown={version}
              versions={versions.data?.data ?? []}
              more={
                versions.data && versions.data.total > versions.data.data.length ? (
                  <Button small busy={versions.isFetching} onClick={() => setLimit(limit * 4)}>
                    {t("audit.more", { shown: versions.data.data.length, total: versions.data.total })}
                  </Button>
                ) : undefined
              }
            />
          )}
          {tab === "files" && within((content) => <Files repo={repo} content={content} />)}
        </div>
        <About
          chart={it}
          content={content.data}
          version={
            <SelectField label={t("chart.version")} value={version} onChange={(version) => set("version", version)}>
              {!isKnown && <option value={version}>{version}</option>}
              {versions.data?.data.map((row) => (
                <option key={row.version} value={row.version}>
                  {row.version}
                  {row.app_version ? ` (${row.app_version})` : ""}
                </option>
              ))}
            </SelectField>
          }
        />
      </div>
    </>
  );
}

const names: Record<Tab, Key> = {
  readme: "chart.readme",
  values: "chart.values",
  versions: "chart.versions",
  files: "files.title",
};

function About({ chart: it, content, version }: { chart: Chart; content?: Content; version: ReactNode }) {
  const { t } = useText();
  const home = linkOf(it.home ?? undefined);
  const facts: [string, string | null | undefined][] = [
    [t("chart.app_version"), content?.app_version ?? it.app_version],
    ["Kubernetes", content?.kube_version ?? it.kube_version],
    [t("chart.category"), it.category],
    [t("chart.keywords"), it.keywords.slice(0, 30).join(", ")],
    [t("chart.maintainers"), it.maintainers.slice(0, 20).join(", ")],
  ];
  return (
    <Card title={t("chart.about")}>
      <div className="stack">
        {version}
        <dl className="facts">
          <dt>{t("chart.repo")}</dt>
          <dd>
            <Link to={paths.chartRepo(it.repo_id)}>
              <Foreign text={it.repo} />
            </Link>
          </dd>
          {facts
            .filter(([, value]) => value)
            .flatMap(([name, value]) => [
              <dt key={name}>{name}</dt>,
              <dd key={`${name}-is`}>
                <Foreign text={value ?? ""} />
              </dd>,
            ])}
          {home && (
            <>
              <dt>{t("chart.home")}</dt>
              <dd className="wrap">
                <a href={home} target="_blank" rel="noopener noreferrer nofollow">
                  {home}
                </a>
              </dd>
            </>
          )}
          {content && content.dependencies.length > 0 && (
            <>
              <dt>{t("chart.needs")}</dt>
              <dd>
                {content.dependencies.map((need) => (
                  <div key={`${need.name}${need.condition ?? ""}`}>
                    <Foreign text={`${need.name} ${need.version}`} />
                  </div>
                ))}
              </dd>
            </>
          )}
          {content && (
            <>
              <dt>{t("image.digest")}</dt>
              <dd className="mono small">
                {content.digest}
                <div className="soft">{t(`digest.${content.digest_check}`)}</div>
              </dd>
              <Signature repo={content.repo_id} chart={content.name} version={content.version} />
            </>
          )}
        </dl>
      </div>
    </Card>
  );
}

/** Who signed it; nothing as long as nobody knows. */
function Signature({ repo, chart, version }: { repo: string; chart: string; version: string }) {
  const { t } = useText();
  const seen = useQuery(queries.chartProvenance(repo, chart, version)).data;
  if (!seen || (seen.state === "unsigned" && !seen.is_required)) return null;
  return (
    <>
      <dt>{t("chart.signature")}</dt>
      <dd>
        <Badge tone={seen.state === "verified" ? "good" : "warn"}>{t(`signature.${seen.state}`)}</Badge>
        {seen.signed_by.map((who) => (
          <div key={who}>
            <Foreign text={who} />
          </div>
        ))}
        {seen.fingerprint && <div className="mono small">{seen.fingerprint}</div>}
        {seen.state !== "verified" && seen.message && (
          <div className="soft">
            <Foreign text={seen.message} />
          </div>
        )}
      </dd>
    </>
  );
}

function Versions({
  chart,
  versions,
  shown,
  more,
}: {
  chart: Chart;
  versions: Schemas["ChartVersionView"][];
  shown: string;
  more?: ReactNode;
}) {
  const { t } = useText();
  const navigate = useNavigate();
  const client = useQueryClient();
  const repo = useQuery(queries.chartRepo(chart.repo_id));
  const mayChange = useMayChange();
  const [deleting, setDeleting] = useState<string>();
  const isOwn = repo.data?.backend === "hosted" && mayChange(repo.data);
  return (
    <Card flush>
      <ul className="lines">
        {versions.map((it) => (
          <li key={it.version} className="row">
            <div className="grow">
              <Link to={paths.chart(chart.repo_id, chart.name, it.version)}>
                <Foreign text={it.version} />
              </Link>
              {it.version === shown && <span className="soft small"> · {t("chart.shown")}</span>}
              {it.app_version && (
                <div className="soft small">
                  <Foreign text={it.app_version} />
                </div>
              )}
            </div>
            {it.deprecated && <Badge tone="warn">{t("chart.deprecated")}</Badge>}
            {it.created_at && (
              <span className="soft small">
                <When at={it.created_at} />
              </span>
            )}
            {isOwn && (
              <Button
                small
                kind="quiet"
                icon="trash"
                label={t("chart.delete", { name: `${chart.name} ${it.version}` })}
                onClick={() => setDeleting(it.version)}
              />
            )}
          </li>
        ))}
      </ul>
      {more && <div className="card-body">{more}</div>}
      {deleting && (
        <Confirm
          title={t("chart.delete", { name: `${chart.name} ${deleting}` })}
          act={t("act.delete")}
          command={`longshore chart delete ${shellWord(`${chart.repo}/${chart.name}`)} ${shellWord(deleting)}`}
          danger
          onClose={() => setDeleting(undefined)}
          onAct={async () => {
            const params = { path: { repo: chart.repo_id, chart: chart.name, version: deleting } };
            await done(api.DELETE("/api/v1/charts/{repo}/{chart}/versions/{version}", { params }));
            for (const key of ["charts", "chart", "chart-repos", "chart-repo"])
              client.invalidateQueries({ queryKey: [key] });
            navigate(versions.length > 1 ? paths.chart(chart.repo_id, chart.name) : paths.charts);
          }}
        >
          <p>{t("chart.delete_version_note")}</p>
        </Confirm>
      )}
    </Card>
  );
}

/** What is in the package; a file is read when somebody wants to see it. */
function Files({ repo, content }: { repo: string; content: Content }) {
  const { t, bytes } = useText();
  const [path, setPath] = useState<string>();
  const file = useQuery({
    queryKey: ["chart", repo, content.name, "file", content.version, path],
    enabled: path !== undefined,
    queryFn: async () => {
      const base = `/api/v1/charts/${encodeURIComponent(repo)}/${encodeURIComponent(content.name)}`;
      const url = `${base}/versions/${encodeURIComponent(content.version)}/file?path=${encodeURIComponent(path ?? "")}`;
      const answer = await fetch(url, { credentials: "same-origin" });
      const text = await answer.text();
      if (!answer.ok) throw new Failure(answer.status, "refused", text.slice(0, 300));
      return text;
    },
  });
  return (
    <>
      <Card flush>
        <ul className="lines">
          {content.files.map((it) => (
            <li key={it.path} className="row">
              <button
                type="button"
                className="as-link grow"
                aria-expanded={it.path === path}
                onClick={() => setPath(it.path)}
              >
                <Foreign text={it.path} />
              </button>
              <span className="soft small">{bytes(it.bytes)}</span>
            </li>
          ))}
        </ul>
      </Card>
      {path && (
        <Card title={<Foreign text={path} />}>
          {file.isPending && <Skeleton />}
          {file.error && <Trouble error={file.error} onRetry={file.refetch} />}
          {file.data !== undefined && <Code text={file.data.slice(0, CODE_MAX) || t("chart.file_empty")} />}
        </Card>
      )}
    </>
  );
}

/** A chart that is installed, or a release that gets another version or other values: tried first, then done. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useMemo, useState } from "react";
import { useNavigate, useParams, useSearchParams } from "react-router";
import { api, call, type Schemas } from "../../api/client";
import { queries } from "../../api/queries";
import { YamlField } from "../../editor/field";
import { valuesSchema } from "../../editor/values";
import { shellWord } from "../../format";
import { useText } from "../../i18n";
import { Button, Card, Foreign, Notice, PageHead, Skeleton, Trouble } from "../../parts/basic";
import { CommandLine } from "../../parts/command";
import { SelectField, TextField } from "../../parts/field";
import { paths } from "../../paths";
import { NewNamespace } from "../kubernetes/new";
import { ValuesForm } from "./form";
import { newestAbove } from "./newest";
import { PlanView } from "./plan";

type Plan = Schemas["ReleasePlan"];
type Release = Schemas["ReleaseView"];

const NAME = /^[a-z0-9]([a-z0-9-]{0,51}[a-z0-9])?$/;
const VERSIONS_MAX = 200;
const isPlan = (answer: Plan | Release): answer is Plan => "manifest" in answer;

/** Installs a chart: which one, the address says. */
export function ReleaseNew() {
  const [search] = useSearchParams();
  return (
    <Editor repo={search.get("repo") ?? ""} chart={search.get("chart") ?? ""} version={search.get("version") ?? ""} />
  );
}

/** Changes a release: to the newest version of its chart, where there is a newer one. */
export function ReleaseUpgrade() {
  const id = useParams().id ?? "";
  const release = useQuery(queries.release(id));
  const values = useQuery(queries.releaseValues(id));
  const it = release.data;
  const repo = it ? (it.repo_id ?? it.repo) : "";
  const versions = useQuery({ ...queries.chartVersions(repo, it?.chart ?? "", VERSIONS_MAX), enabled: Boolean(it) });
  const error = release.error ?? values.error;
  if (error) return <Trouble error={error} onRetry={() => (release.error ? release.refetch() : values.refetch())} />;
  if (!it || !values.data || versions.isPending) return <Skeleton />;
  return (
    <Editor
      repo={repo}
      chart={it.chart}
      version={newestAbove(versions.data?.data ?? [], it.chart_version) ?? it.chart_version}
      release={it}
      values={values.data.values}
    />
  );
}

interface EditorProps {
  repo: string;
  chart: string;
  version: string;
  release?: Release;
  values?: string;
}

function Editor({ repo, chart, version: first, release, values: before = "" }: EditorProps) {
  const { t } = useText();
  const navigate = useNavigate();
  const client = useQueryClient();
  const [name, setName] = useState(release?.name ?? chart.slice(0, 53));
  const [chosen, setNamespace] = useState("");
  const [version, setVersion] = useState(first);
  const [text, setText] = useState(before);
  const [view, setView] = useState<"form" | "yaml">("form");
  const [plan, setPlan] = useState<Plan>();
  const [error, setError] = useState<unknown>();
  const [isBusy, setBusy] = useState(false);
  const [isMaking, setMaking] = useState(false);
  const namespaces = useQuery(queries.namespaces());
  const versions = useQuery(queries.chartVersions(repo, chart, VERSIONS_MAX));
  const content = useQuery({ ...queries.chartContent(repo, chart, version || "latest") });
  const form = useQuery(queries.valuesForm(repo, chart, version || "latest"));
  const namespace = release?.namespace ?? (chosen || namespaces.data?.data[0]?.name || "");
  const schema = useMemo(() => valuesSchema(form.data), [form.data]);
  const schemaOf = useMemo(() => () => schema, [schema]);
  const wrongName = NAME.test(name) ? undefined : t("release.name_rule");
  const installed = release?.chart_version;
  const newest = installed && newestAbove(versions.data?.data ?? [], installed);
  const why = wrongName ?? (namespace ? undefined : t("kube.namespace_first"));

  const write = (text: string) => {
    setText(text);
    setPlan(undefined);
    setError(undefined);
  };
  const send = async (dry_run: boolean) => {
    if (isBusy || why) return;
    setBusy(true);
    setError(undefined);
    try {
      const common = { version: version || null, values: text, dry_run };
      const answer = await call<Plan | Release>(
        release
          ? api.POST("/api/releases/{id}/upgrade", { params: { path: { id: release.id } }, body: common })
          : api.POST("/api/releases", { body: { ...common, name, namespace, repo, chart } }),
      );
      if (isPlan(answer)) setPlan(answer);
      else {
        for (const key of ["releases", "release"]) client.invalidateQueries({ queryKey: [key] });
        navigate(paths.release(answer.id));
      }
    } catch (error) {
      setError(error);
    }
    setBusy(false);
  };

  const act = release ? t("release.upgrade") : t("release.install");
  return (
    <>
      <PageHead
        title={
          <>
            {release ? t("release.upgrade_of", { name: release.name }) : t("release.install_of")}{" "}
            {!release && <Foreign text={chart} />}
          </>
        }
        note={<Foreign text={content.data?.description ?? ""} />}
        crumb={
          release
            ? { to: paths.release(release.id), name: release.name }
            : { to: paths.chart(repo, chart), name: chart }
        }
      >
        <CommandLine
          command={
            release
              ? `longshore release upgrade ${release.name} --version ${shellWord(version)} --values values.yaml`
              : `longshore release install ${name} ${shellWord(chart)} --version ${shellWord(version)} --values values.yaml`
          }
          request={{
            method: "POST",
            path: release ? `/api/releases/${release.id}/upgrade` : "/api/releases",
            body: {},
          }}
        />
      </PageHead>
      {!release && namespaces.data?.total === 0 && (
        <Notice
          title={t("kube.no_namespaces")}
          action={
            <Button small icon="plus" onClick={() => setMaking(true)}>
              {t("kube.namespace_new")}
            </Button>
          }
        />
      )}
      {isMaking && <NewNamespace onClose={() => setMaking(false)} onMade={setNamespace} />}
      <form
        className="stack"
        onSubmit={(event: FormEvent) => {
          event.preventDefault();
          send(false);
        }}
      >
        <Card>
          <div className="form-row">
            {!release && (
              <>
                <TextField
                  label={t("field.name")}
                  value={name}
                  onChange={setName}
                  wrong={wrongName}
                  maxLength={53}
                  spellCheck={false}
                  autoCapitalize="none"
                />
                <SelectField label={t("kube.namespace")} value={namespace} onChange={setNamespace}>
                  {namespaces.data?.data.map((it) => (
                    <option key={it.id} value={it.name}>
                      {it.name}
                    </option>
                  ))}
                </SelectField>
              </>
            )}
            <SelectField
              label={t("chart.version")}
              value={version}
              note={
                installed &&
                versions.data &&
                (newest ? t("release.installed", { version: installed }) : t("release.newest"))
              }
              onChange={(version) => {
                setVersion(version);
                setPlan(undefined);
              }}
            >
              {!versions.data?.data.some((it) => it.version === version) && <option value={version}>{version}</option>}
              {versions.data?.data.map((it) => (
                <option key={it.version} value={it.version}>
                  {it.version}
                </option>
              ))}
            </SelectField>
          </div>
        </Card>
        <Card
          title={t("chart.values")}
          action={
            <div className="row">
              {(["form", "yaml"] as const).map((it) => (
                <Button key={it} small kind={it === view ? "main" : "quiet"} onClick={() => setView(it)}>
                  {t(`values.${it}`)}
                </Button>
              ))}
            </div>
          }
        >
          <div className="stack">
            {content.error && <Trouble error={content.error} onRetry={content.refetch} />}
            {content.isPending && <Skeleton />}
            {form.error && view === "form" && !content.error && <Trouble error={form.error} onRetry={form.refetch} />}
            {form.data && view === "form" && <ValuesForm form={form.data} text={text} onChange={write} />}
            {content.data && view === "yaml" && (
              <>
                <YamlField
                  label={t("values.own")}
                  value={text}
                  onChange={write}
                  schema={schemaOf}
                  hint={t("values.hint")}
                  note={t("values.note")}
                  rows={16}
                />
                <details>
                  <summary>{t("values.of_chart")}</summary>
                  <YamlField label="values.yaml" value={content.data.values ?? ""} isReadOnly rows={20} />
                </details>
              </>
            )}
          </div>
        </Card>
        {error !== undefined && <Trouble error={error} />}
        {plan && (
          <Card>
            <PlanView plan={plan} />
          </Card>
        )}
        <div className="row">
          <Button icon="check" busy={isBusy} why={why} onClick={() => send(true)}>
            {t("release.try")}
          </Button>
          <Button type="submit" kind="main" icon="upload" busy={isBusy} why={why}>
            {act}
          </Button>
        </div>
      </form>
    </>
  );
}

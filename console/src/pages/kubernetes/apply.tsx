/** A manifest, typed or dropped: tried first without changing anything, then applied. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useRef, useState } from "react";
import { useNavigate, useSearchParams } from "react-router";
import { api, call, type Schemas } from "../../api/client";
import { queries } from "../../api/queries";
import { YamlField } from "../../editor/field";
import { examples, kindOf, manifestSchema } from "../../editor/kubernetes";
import { useText } from "../../i18n";
import { Button, Card, Foreign, Notice, PageHead, Trouble } from "../../parts/basic";
import { CommandLine } from "../../parts/command";
import { SelectField, TextField } from "../../parts/field";
import { paths } from "../../paths";
import { Changes, FieldChanges } from "./changes";
import { NewNamespace } from "./new";

type Applied = Schemas["WorkloadApplied"];

const schemaOf = (lines: string[]) => manifestSchema(kindOf(lines));

type Example = keyof typeof examples;
const EXAMPLES = ["deployment", "service", "job", "config", "claim"] satisfies Example[];
const FILE_MAX = 1 << 20;

export function Apply() {
  const { t, word } = useText();
  const navigate = useNavigate();
  const client = useQueryClient();
  const [search] = useSearchParams();
  const namespaces = useQuery(queries.namespaces());
  const images = useQuery(queries.images());
  const clusters = useQuery(queries.clusters());
  const [namespace, setNamespace] = useState(search.get("namespace") ?? "");
  const asked = search.get("image");
  // Whoever comes with an image finds it in a text to begin with.
  const [manifest, setManifest] = useState(asked ? examples.service(asked) : "");
  const [file, setFile] = useState("");
  const [tried, setTried] = useState<Applied[]>();
  const [before, setBefore] = useState<string>();
  const workloads = useQuery(queries.workloads());
  const [isMaking, setMaking] = useState(false);
  const edited = search.get("workload") ?? "";
  const revisions = useQuery({ ...queries.revisions(edited), enabled: edited !== "" });
  const workload = useQuery({ ...queries.workload(edited), enabled: edited !== "" });
  const current = revisions.data?.find((it) => it.revision === workload.data?.revision);
  // What is changed begins as what there is; once, and not over what somebody typed.
  const [begun, setBegun] = useState(false);
  if (current && workload.data && !begun) {
    setBegun(true);
    setManifest(current.manifest);
    setFile(current.file);
    setNamespace(workload.data.namespace);
  }
  const [error, setError] = useState<unknown>();
  const [isBusy, setBusy] = useState(false);
  const picker = useRef<HTMLInputElement>(null);
  const imageNames = images.data?.data.map((it) => it.name) ?? [];
  const exampleOf = (name: Example) => examples[name](asked ?? imageNames[0] ?? "my-account/my-app:v1");
  const isOurs = manifest === "" || EXAMPLES.some((name) => exampleOf(name) === manifest);
  const names = namespaces.data?.data.map((it) => it.name) ?? [];
  const write = (text: string) => {
    setManifest(text);
    setTried(undefined);
    setError(undefined);
  };
  const open = async (chosen: File | undefined) => {
    if (!chosen) return;
    write(await chosen.slice(0, FILE_MAX).text());
    setFile(chosen.name);
  };
  const why = manifest.trim() ? undefined : t("kube.manifest_first");

  const send = async (dry_run: boolean) => {
    if (isBusy || why) return;
    setBusy(true);
    setError(undefined);
    setTried(undefined);
    try {
      const body = { manifest, namespace: namespace || null, file: file.trim() || null, dry_run };
      const applied = await call(api.POST("/api/v1/workloads", { body }));
      if (dry_run) {
        setBefore(await asItIs(applied[0]));
        setTried(applied);
      }
      if (!dry_run) {
        client.invalidateQueries({ queryKey: ["workloads"] });
        client.invalidateQueries({ queryKey: ["revisions"] });
        client.invalidateQueries({ queryKey: ["workload"] });
        navigate(
          edited ? paths.workload(edited) : applied[0] ? paths.namespace(applied[0].namespace) : paths.kubernetes,
        );
      }
    } catch (error) {
      setError(error);
    }
    setBusy(false);
  };

  /** The manifest of a workload that is there already. */
  const asItIs = async (it: Applied | undefined): Promise<string | undefined> => {
    const same = workloads.data?.data.find(
      (row) => row.kind === it?.kind && row.name === it?.name && row.namespace === it?.namespace,
    );
    if (!same) return undefined;
    const revisions = await call(api.GET("/api/v1/workloads/{id}/revisions", { params: { path: { id: same.id } } }));
    return revisions.find((revision) => revision.revision === same.revision)?.manifest;
  };

  return (
    <>
      <PageHead
        title={workload.data ? t("kube.edit_of", { name: workload.data.name }) : t("kube.apply")}
        note={t("kube.apply_note")}
        crumb={{ to: paths.kubernetes, name: t("nav.kubernetes") }}
      >
        <CommandLine
          command={`longshore workload apply --file ${file.trim() || "app.yaml"}`}
          request={{ method: "POST", path: "/api/v1/workloads", body: { manifest: "…" } }}
        />
      </PageHead>
      {clusters.data?.total === 0 && <Notice tone="warn" title={t("kube.no_clusters")} />}
      {namespaces.data?.total === 0 && clusters.data?.total !== 0 && (
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
      <Card>
        <form
          className="stack"
          onSubmit={(event: FormEvent) => {
            event.preventDefault();
            send(false);
          }}
        >
          <div className="form-row">
            <SelectField
              label={t("kube.namespace")}
              value={namespace}
              onChange={setNamespace}
              note={t("kube.namespace_of_manifest")}
            >
              <option value="">{t("kube.as_in_manifest")}</option>
              {namespaces.data?.data.map((it) => (
                <option key={it.id} value={it.name}>
                  {it.name}
                </option>
              ))}
            </SelectField>
            <TextField
              label={t("kube.file")}
              value={file}
              onChange={setFile}
              placeholder="app.yaml"
              note={t("kube.file_note")}
              spellCheck={false}
            />
          </div>
          <YamlField
            label={t("kube.manifest")}
            value={manifest}
            onChange={write}
            schema={schemaOf}
            suggest={(key) => (key === "image" ? imageNames : key === "namespace" ? names : [])}
            hint={t("kube.manifest_hint")}
            note={t("kube.manifest_note")}
          />
          <div className="row">
            {isOurs &&
              EXAMPLES.map((name) => (
                <Button key={name} small onClick={() => write(exampleOf(name))}>
                  {t(`kube.example_${name}`)}
                </Button>
              ))}
            <Button small kind="quiet" icon="folder" onClick={() => picker.current?.click()}>
              {t("kube.open_file")}
            </Button>
            <input
              ref={picker}
              type="file"
              accept=".yaml,.yml,text/yaml"
              hidden
              aria-label={t("kube.open_file")}
              onChange={(event) => open(event.target.files?.[0])}
            />
          </div>
          {error !== undefined && <Trouble error={error} />}
          {tried?.map((it) => (
            <Notice
              key={`${it.kind}${it.name}`}
              tone="good"
              title={`${it.kind} ${it.namespace}/${it.name}: ${word("applied", it.status)}`}
            >
              {it.changes && it.changes.length > 0 && <FieldChanges changes={it.changes} />}
              {it.warnings.length > 0 && (
                <details>
                  <summary>{t("kube.warnings", { count: it.warnings.length })}</summary>
                  {it.warnings.map((warning) => (
                    <div key={warning}>
                      <Foreign text={warning} />
                    </div>
                  ))}
                </details>
              )}
            </Notice>
          ))}
          {tried?.length === 1 && before !== undefined && (
            <section aria-label={t("kube.changes")}>
              <h2>{t("kube.changes")}</h2>
              <Changes before={before} after={manifest} />
            </section>
          )}
          <div className="row">
            <Button icon="check" busy={isBusy} why={why} onClick={() => send(true)}>
              {t("kube.try")}
            </Button>
            <Button type="submit" kind="main" icon="upload" busy={isBusy} why={why}>
              {t("kube.apply")}
            </Button>
          </div>
        </form>
      </Card>
    </>
  );
}

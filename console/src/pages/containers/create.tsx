/** A new container: an image is enough; everything else has a sensible default. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useMemo, useState } from "react";
import { useNavigate, useSearchParams } from "react-router";
import { api, call, Failure, type Gpu } from "../../api/client";
import { queries } from "../../api/queries";
import { useText } from "../../i18n";
import { Button, Card, Foreign, Notice, PageHead, Trouble } from "../../parts/basic";
import { CommandLine } from "../../parts/command";
import { AreaField, CheckField, SelectField, TextField } from "../../parts/field";
import { paths } from "../../paths";
import { machineName } from "../../states";
import { check, commandLine, type Draft } from "./draft";

/** Images that are a press away; all of them are offered while one types. */
const OFFERED = 6;

export function ContainerNew() {
  const { t, word, problem } = useText();
  const navigate = useNavigate();
  const client = useQueryClient();
  const [search] = useSearchParams();
  const images = useQuery(queries.images());
  const machines = useQuery(queries.machines());
  const gpus = useQuery(queries.gpus());
  const [draft, setDraft] = useState<Draft>({
    image: search.get("image") ?? "",
    name: "",
    machine: "",
    gpus: "0",
    model: "",
    ports: "",
    lan: false,
    env: "",
    command: "",
    memory: "",
    cpus: "",
    hours: "",
    volumes: "",
    restart: "no",
    tty: false,
  });
  const [arePortsTyped, setPortsTyped] = useState(false);
  const [error, setError] = useState<unknown>();
  const [isBusy, setBusy] = useState(false);

  const offered = images.data?.data.filter((it) => it.tag != null) ?? [];
  const image = images.data?.data.find((it) => it.name === draft.image);
  const exposed = image?.create_parameters.exposed_ports?.map((port) => port.replace("/tcp", "")).join(" ") ?? "";
  // Until somebody types there, the ports are those that the image names.
  const full = arePortsTyped ? draft : { ...draft, ports: exposed };
  const { body, wrong } = check(full);
  const models = useMemo(() => modelsOf(gpus.data?.data ?? []), [gpus.data]);
  const set = (change: Partial<Draft>) => setDraft((draft) => ({ ...draft, ...change }));
  const field = error instanceof Failure ? error.field : undefined;
  const why = !full.image ? t("create.image_first") : Object.keys(wrong).length > 0 ? t("create.wrong") : undefined;

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (isBusy || why) return;
    setBusy(true);
    setError(undefined);
    try {
      const made = await call(api.POST("/api/v1/containers", { body }));
      client.setQueryData(["container", String(made.id)], made);
      client.invalidateQueries({ queryKey: ["containers"] });
      navigate(paths.container(made.id));
    } catch (error) {
      setError(error);
      setBusy(false);
    }
  };
  const said = (name: keyof Draft) => {
    const kind = wrong[name];
    if (kind) return t(`create.wrong_${kind}`);
    return field === name && error instanceof Failure ? problem(error.code, error.detail) : undefined;
  };

  return (
    <>
      <PageHead
        title={t("create.title")}
        note={t("create.note")}
        crumb={{ to: paths.containers, name: t("nav.containers") }}
      >
        <CommandLine command={commandLine(body)} request={{ method: "POST", path: "/api/v1/containers", body }} />
      </PageHead>
      {images.data?.total === 0 && (
        <Notice
          tone="warn"
          title={t("create.no_image")}
          action={
            <Button small kind="main" icon="upload" to={paths.upload}>
              {t("upload.title")}
            </Button>
          }
        />
      )}
      <Card>
        <form className="form" onSubmit={submit}>
          <TextField
            label={t("field.image")}
            value={draft.image}
            onChange={(image) => set({ image })}
            list="images"
            required
            wrong={said("image")}
            note={t("create.image_note")}
            autoCapitalize="none"
            spellCheck={false}
          />
          <datalist id="images">
            {offered.map((it) => (
              <option key={it.id} value={it.name} />
            ))}
          </datalist>
          {draft.image === "" && offered.length > 0 && (
            <fieldset className="row offered" aria-label={t("create.offered")}>
              {offered.slice(0, OFFERED).map((it) => (
                <Button key={it.id} small onClick={() => set({ image: it.name })}>
                  <Foreign text={it.name} />
                </Button>
              ))}
            </fieldset>
          )}
          <div className="form-row">
            <TextField
              label={t("field.name")}
              value={draft.name}
              onChange={(name) => set({ name })}
              wrong={said("name")}
              note={t("create.name_note")}
              autoCapitalize="none"
              spellCheck={false}
            />
            <TextField
              label={t("field.ports")}
              value={full.ports}
              onChange={(ports) => {
                setPortsTyped(true);
                set({ ports });
              }}
              wrong={said("ports")}
              note={t("create.ports_note")}
              placeholder="8000 8080:80"
            />
          </div>
          <div className="form-row">
            <SelectField
              label={t("create.gpus")}
              value={draft.gpus}
              onChange={(gpus) => set({ gpus })}
              wrong={said("gpus")}
              note={models.length === 0 ? t("create.no_gpus") : t("create.gpus_note")}
            >
              {[0, 1, 2, 4, 8]
                .filter((count) => count === 0 || models.some((it) => it.total >= count))
                .map((count) => (
                  <option key={count} value={count}>
                    {count === 0 ? t("create.none") : count}
                  </option>
                ))}
            </SelectField>
            {draft.gpus !== "0" && (
              <SelectField label={t("create.model")} value={draft.model} onChange={(model) => set({ model })}>
                <option value="">{t("create.any_model")}</option>
                {models.map((it) => (
                  <option key={it.model} value={it.model}>
                    {t("create.model_of", { model: it.model, free: it.free, total: it.total })}
                  </option>
                ))}
              </SelectField>
            )}
            <SelectField
              label={t("field.machine")}
              value={draft.machine}
              onChange={(machine) => set({ machine })}
              wrong={said("machine")}
            >
              <option value="">{t("create.any_machine")}</option>
              {machines.data?.data.map((it) => (
                <option key={it.machine_id} value={it.machine_id} disabled={it.state !== "online"}>
                  {machineName(it)}
                </option>
              ))}
            </SelectField>
          </div>
          <details>
            <summary>{t("create.more")}</summary>
            <div className="stack">
              <div className="form-row">
                <TextField
                  label={t("create.memory")}
                  value={draft.memory}
                  onChange={(memory) => set({ memory })}
                  wrong={said("memory")}
                  placeholder="1g"
                />
                <TextField
                  label={t("create.cpus")}
                  value={draft.cpus}
                  onChange={(cpus) => set({ cpus })}
                  wrong={said("cpus")}
                  placeholder="1"
                  inputMode="decimal"
                />
                <TextField
                  label={t("create.hours")}
                  value={draft.hours}
                  onChange={(hours) => set({ hours })}
                  wrong={said("hours")}
                  note={t("create.hours_note")}
                  inputMode="decimal"
                />
              </div>
              <SelectField
                label={t("create.restart")}
                value={draft.restart}
                onChange={(restart) => set({ restart })}
                note={t("create.restart_note")}
              >
                {["no", "on_failure", "always"].map((policy) => (
                  <option key={policy} value={policy}>
                    {word("restart", policy)}
                  </option>
                ))}
              </SelectField>
              <AreaField
                label={t("create.volumes")}
                value={draft.volumes}
                onChange={(volumes) => set({ volumes })}
                wrong={said("volumes")}
                note={t("create.volumes_note")}
                placeholder="data:/data"
                spellCheck={false}
              />
              <AreaField
                label={t("field.env")}
                value={draft.env}
                onChange={(env) => set({ env })}
                wrong={said("env")}
                note={t("create.env_note")}
                placeholder={"KEY=value"}
                spellCheck={false}
              />
              <TextField
                label={t("field.command")}
                value={draft.command}
                onChange={(command) => set({ command })}
                wrong={said("command")}
                note={t("create.command_note")}
                spellCheck={false}
              />
              <CheckField label={t("create.tty")} checked={draft.tty} onChange={(on) => set({ tty: on })} />
              <CheckField label={t("create.lan")} checked={draft.lan} onChange={(on) => set({ lan: on })} />
            </div>
          </details>
          {error !== undefined && <Trouble error={error} />}
          <div className="row">
            <Button type="submit" kind="main" icon="play" busy={isBusy} why={why}>
              {t("create.begin")}
            </Button>
          </div>
        </form>
      </Card>
    </>
  );
}

interface Model {
  model: string;
  total: number;
  free: number;
}

function modelsOf(gpus: Gpu[]): Model[] {
  const found = new Map<string, Model>();
  for (const gpu of gpus) {
    const model = found.get(gpu.type) ?? { model: gpu.type, total: 0, free: 0 };
    model.total += 1;
    if (gpu.state === "free") model.free += 1;
    found.set(gpu.type, model);
  }
  return [...found.values()];
}

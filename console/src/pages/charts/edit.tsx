/** A chart repository, added or changed. */
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useNavigate } from "react-router";
import { api, call, type Schemas } from "../../api/client";
import { useText } from "../../i18n";
import { Confirm } from "../../parts/dialog";
import { AreaField, CheckField, SelectField, TextField } from "../../parts/field";
import { paths } from "../../paths";
import { commandToAdd, commandToChange } from "./command";
import { named } from "./named";

type ChartRepo = Schemas["ChartRepoView"];

/** As the server has it. */
const NAME = /^[^\s/\\?#%]{1,128}$/;

export function RepoDialog({ repo, onClose }: { repo?: ChartRepo; onClose: () => void }) {
  const { t } = useText();
  const navigate = useNavigate();
  const client = useQueryClient();
  const [draft, setDraft] = useState({
    name: repo?.name ?? "",
    url: repo?.url ?? "",
    description: repo?.description ?? "",
    username: repo?.username ?? "",
    password: "",
    ca_certificate: "",
    kind: repo?.type ?? "external",
    sync_minutes: String(repo?.sync_minutes ?? 60),
    is_public: repo?.is_public ?? true,
    requires_signature: repo?.requires_signature ?? false,
  });
  const set = (change: Partial<typeof draft>) => setDraft((draft) => ({ ...draft, ...change }));
  const isHosted = repo?.backend === "hosted";
  const minutes = Number(draft.sync_minutes);
  const wrongMinutes =
    draft.sync_minutes.trim() !== "" &&
    (minutes === 0 || (Number.isInteger(minutes) && minutes >= 5 && minutes <= 43_200))
      ? undefined
      : t("chart.minutes_rule");
  const wrongUrl =
    draft.url.trim() === "" || isHosted || /^(https?|oci|oci\+http):\/\/[^\s/]+/.test(draft.url.trim())
      ? undefined
      : t("chart.url_rule");
  const wrongName = draft.name === "" || NAME.test(draft.name.trim()) ? undefined : t("chart.name_rule");
  const isWhole = draft.name.trim() !== "" && (isHosted || draft.url.trim() !== "");

  const common = {
    is_public: draft.is_public,
    requires_signature: draft.requires_signature,
    description: draft.description.trim(),
  };
  const whole = {
    ...common,
    name: draft.name.trim(),
    url: draft.url.trim(),
    username: repo || draft.username ? draft.username : null,
    // What is left empty stays as the server has it.
    password: draft.password || null,
    ca_certificate: draft.ca_certificate.trim() || null,
    sync_minutes: minutes,
  };
  const change = isHosted ? common : whole;
  const addition = { ...whole, type: draft.kind };

  const act = async () => {
    if (repo) await call(api.PATCH("/api/v1/chart-repos/{id}", { params: { path: { id: repo.id } }, body: change }));
    else {
      const made = await call(api.POST("/api/v1/chart-repos", { body: addition }));
      navigate(paths.chartRepo(made.id));
    }
    for (const key of ["chart-repos", "chart-repo", "charts"]) client.invalidateQueries({ queryKey: [key] });
  };

  return (
    <Confirm
      title={repo ? t("chart.edit") : t("chart.add")}
      act={repo ? t("act.save") : t("chart.add")}
      command={repo ? commandToChange(repo, change) : commandToAdd(addition)}
      onClose={onClose}
      why={!isWhole ? t("git.url_first") : (wrongUrl ?? wrongName ?? wrongMinutes)}
      onAct={act}
    >
      {!repo && <p className="soft">{t("chart.add_note")}</p>}
      {!isHosted && (
        <>
          <TextField
            label={t("git.url")}
            value={draft.url}
            onChange={(url) =>
              set({ url, name: draft.name && draft.name !== named(draft.url) ? draft.name : named(url) })
            }
            type="url"
            note={t("chart.url_hint")}
            wrong={wrongUrl}
            spellCheck={false}
            autoCapitalize="none"
            required
          />
          <TextField
            label={t("field.name")}
            value={draft.name}
            onChange={(name) => set({ name })}
            wrong={wrongName}
            maxLength={128}
            spellCheck={false}
            required
          />
        </>
      )}
      <CheckField label={t("chart.public")} checked={draft.is_public} onChange={(on) => set({ is_public: on })} />
      <CheckField
        label={t("chart.signed_only")}
        checked={draft.requires_signature}
        onChange={(on) => set({ requires_signature: on })}
      />
      <details>
        <summary>{t("create.more")}</summary>
        <div className="stack">
          <TextField
            label={t("field.description")}
            value={draft.description}
            onChange={(description) => set({ description })}
          />
          {!isHosted && (
            <>
              <div className="form-row">
                <TextField
                  label={t("field.user")}
                  value={draft.username}
                  onChange={(username) => set({ username })}
                  autoComplete="off"
                  spellCheck={false}
                />
                <TextField
                  label={t("field.password")}
                  value={draft.password}
                  onChange={(password) => set({ password })}
                  type="password"
                  autoComplete="new-password"
                  note={repo?.has_password ? t("chart.has_password") : undefined}
                />
              </div>
              <div className="form-row">
                <TextField
                  label={t("chart.minutes")}
                  value={draft.sync_minutes}
                  onChange={(sync_minutes) => set({ sync_minutes })}
                  inputMode="numeric"
                  note={t("chart.minutes_note")}
                  wrong={wrongMinutes}
                />
                {!repo && (
                  <SelectField
                    label={t("chart.kind")}
                    value={draft.kind}
                    onChange={(kind) => set({ kind: kind === "internal" ? "internal" : "external" })}
                  >
                    <option value="external">{t("chart.kind_external")}</option>
                    <option value="internal">{t("chart.kind_internal")}</option>
                  </SelectField>
                )}
              </div>
              <AreaField
                label={t("git.ca")}
                value={draft.ca_certificate}
                onChange={(ca_certificate) => set({ ca_certificate })}
                spellCheck={false}
              />
            </>
          )}
        </div>
      </details>
    </Confirm>
  );
}

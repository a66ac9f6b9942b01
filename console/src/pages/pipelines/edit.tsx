/** A git repository, added or changed. */
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useNavigate } from "react-router";
import { api, call, type Schemas } from "../../api/client";
import { shellWord } from "../../format";
import { useText } from "../../i18n";
import { Confirm } from "../../parts/dialog";
import { AreaField, TextField } from "../../parts/field";
import { paths } from "../../paths";

type GitRepo = Schemas["GitRepoView"];

export function GitRepoDialog({ repo, onClose }: { repo?: GitRepo; onClose: () => void }) {
  const { t } = useText();
  const navigate = useNavigate();
  const client = useQueryClient();
  const [draft, setDraft] = useState({
    url: repo?.url ?? "",
    repo_name: repo?.repo_name ?? "",
    branch: repo?.branch ?? "",
    image: repo?.image ?? "",
    tag: repo?.tag ?? "",
    build_path: repo?.build_path ?? "",
    dockerfile: repo?.dockerfile ?? "",
    description: repo?.description ?? "",
  });
  const [secrets, setSecrets] = useState({ ssh_key: "", ca_secret: "", webhook_secret: "" });
  const set = (change: Partial<typeof draft>) => setDraft((draft) => ({ ...draft, ...change }));
  const named = (url: string) =>
    url
      .replace(/\/+$/, "")
      .split(/[/:]/)
      .at(-1)
      ?.replace(/\.git$/, "") ?? "";

  return (
    <Confirm
      title={repo ? t("git.edit") : t("git.add")}
      act={repo ? t("act.save") : t("git.add")}
      command={`longshore git-repo ${repo ? "set" : "add"} ${shellWord(draft.repo_name || "NAME")}${repo ? "" : ` ${shellWord(draft.url || "URL")}`}${draft.branch ? ` --branch ${shellWord(draft.branch)}` : ""}`}
      onClose={onClose}
      why={draft.url.trim() && draft.repo_name.trim() ? undefined : t("git.url_first")}
      onAct={async () => {
        // What is left empty stays as the server has it.
        const filled = Object.fromEntries(
          Object.entries({ ...draft, ...secrets }).filter(
            ([key, value]) => value.trim() !== "" || (repo && key in draft),
          ),
        );
        const body = { ...filled, url: draft.url.trim(), repo_name: draft.repo_name.trim() };
        if (repo) {
          const params = { path: { id: repo.id } };
          client.setQueryData(
            ["git-repo", String(repo.id)],
            await call(api.PATCH("/api/v1/git-repos/{id}", { params, body })),
          );
        } else {
          const made = await call(api.POST("/api/v1/git-repos", { body }));
          navigate(paths.gitRepo(made.id));
        }
        client.invalidateQueries({ queryKey: ["git-repos"] });
      }}
    >
      <TextField
        label={t("git.url")}
        value={draft.url}
        onChange={(url) =>
          set({
            url,
            repo_name: draft.repo_name && draft.repo_name !== named(draft.url) ? draft.repo_name : named(url),
          })
        }
        note={t("git.url_note")}
        placeholder="git@git.example.org:team/app.git"
        spellCheck={false}
        autoCapitalize="none"
        required
      />
      <div className="form-row">
        <TextField
          label={t("field.name")}
          value={draft.repo_name}
          onChange={(repo_name) => set({ repo_name })}
          required
        />
        <TextField
          label={t("git.branch")}
          value={draft.branch}
          onChange={(branch) => set({ branch })}
          placeholder="main"
          spellCheck={false}
        />
      </div>
      <div className="form-row">
        <TextField
          label={t("field.image")}
          value={draft.image}
          onChange={(image) => set({ image })}
          note={t("git.image_note")}
          spellCheck={false}
        />
        <TextField
          label={t("git.tag")}
          value={draft.tag}
          onChange={(tag) => set({ tag })}
          note={t("git.tag_note")}
          spellCheck={false}
        />
      </div>
      <details>
        <summary>{t("create.more")}</summary>
        <div className="stack">
          <div className="form-row">
            <TextField
              label={t("git.build_path")}
              value={draft.build_path}
              onChange={(build_path) => set({ build_path })}
              placeholder="."
              spellCheck={false}
            />
            <TextField
              label="Dockerfile"
              value={draft.dockerfile}
              onChange={(dockerfile) => set({ dockerfile })}
              placeholder="Dockerfile"
              spellCheck={false}
            />
          </div>
          <TextField
            label={t("field.description")}
            value={draft.description}
            onChange={(description) => set({ description })}
          />
          <TextField
            label={t("git.webhook_secret")}
            type="password"
            value={secrets.webhook_secret}
            onChange={(webhook_secret) => setSecrets({ ...secrets, webhook_secret })}
            autoComplete="off"
          />
          <AreaField
            label={t("git.ssh_key")}
            value={secrets.ssh_key}
            onChange={(ssh_key) => setSecrets({ ...secrets, ssh_key })}
            spellCheck={false}
          />
          <AreaField
            label={t("git.ca")}
            value={secrets.ca_secret}
            onChange={(ca_secret) => setSecrets({ ...secrets, ca_secret })}
            spellCheck={false}
          />
          {repo && <p className="soft small">{t("git.secrets_note")}</p>}
        </div>
      </details>
    </Confirm>
  );
}

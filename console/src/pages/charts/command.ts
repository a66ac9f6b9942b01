/** The command that does what the dialog of a chart repository does. */
import type { Schemas } from "../../api/client";
import { shellWord } from "../../format";
import { curl } from "../../parts/curl";

type ChartRepo = Schemas["ChartRepoView"];
type Change = Schemas["ChartRepoUpdate"];

/** As the server has it, where nobody chose otherwise. */
const DEFAULT_MINUTES = 60;

/** Secrets are never shown, not even to whoever typed them. */
const hidden = (body: Change) => (body.password ? { ...body, password: "PASSWORD" } : body);

/** Adding: by the command line where it has a word for all that is asked for, else by the API. */
export function commandToAdd(body: Schemas["ChartRepoCreate"]): string {
  const { name, url, is_public, type, sync_minutes, requires_signature, ...rest } = body;
  const isSaid = is_public && sync_minutes === DEFAULT_MINUTES && Object.values(rest).every((it) => !it);
  if (!isSaid) return curl({ method: "POST", path: "/api/v1/chart-repos", body: filled({ ...body, ...hidden(body) }) });
  const kind = type === "internal" ? "--type internal " : "";
  const made = `longshore k8s-repo-create --public ${kind}${shellWord(name || "NAME")} ${shellWord(url || "URL")}`;
  return requires_signature ? `${made}\nlongshore chart key require ${shellWord(name || "NAME")}` : made;
}

/** Changing: only what is another than it was. */
export function commandToChange(repo: ChartRepo, body: Change): string {
  const changes = changed(repo, body);
  const { name, url, requires_signature, ...rest } = changes;
  if (Object.keys(rest).length > 0)
    return curl({ method: "PATCH", path: `/api/v1/chart-repos/${repo.id}`, body: hidden(changes) });
  const lines: string[] = [];
  if (requires_signature !== undefined)
    lines.push(`longshore chart key require ${requires_signature ? "" : "--off "}${shellWord(repo.name)}`);
  const options = [url && `--url ${shellWord(url)}`, name && `--name ${shellWord(name)}`].filter(Boolean).join(" ");
  if (options) lines.push(`longshore k8s-repo-update ${options} ${shellWord(repo.name)}`);
  return lines.length > 0 ? lines.join("\n") : `longshore k8s-repo-show ${shellWord(repo.name)}`;
}

/** What is left empty is not said. */
const filled = (body: object) => Object.fromEntries(Object.entries(body).filter(([, it]) => it !== null && it !== ""));

function changed(repo: ChartRepo, body: Change): Change {
  const change: Change = {};
  if (body.name != null && body.name !== repo.name) change.name = body.name;
  if (body.url != null && body.url !== repo.url) change.url = body.url;
  if (body.is_public != null && body.is_public !== repo.is_public) change.is_public = body.is_public;
  if (body.description != null && body.description !== (repo.description ?? "")) change.description = body.description;
  if (body.username != null && body.username !== (repo.username ?? "")) change.username = body.username;
  if (body.password) change.password = body.password;
  if (body.ca_certificate) change.ca_certificate = body.ca_certificate;
  if (body.sync_minutes != null && body.sync_minutes !== repo.sync_minutes) change.sync_minutes = body.sync_minutes;
  if (body.requires_signature != null && body.requires_signature !== repo.requires_signature)
    change.requires_signature = body.requires_signature;
  return change;
}

/** What is typed for a new container: read, checked, and written as a command. */
import type { ContainerCreate } from "../../api/client";
import { parseBytes, shellBytes, shellWord } from "../../format";

export interface Draft {
  image: string;
  name: string;
  machine: string;
  gpus: string;
  model: string;
  ports: string;
  lan: boolean;
  env: string;
  command: string;
  memory: string;
  cpus: string;
  hours: string;
  volumes: string;
  restart: string;
  tty: boolean;
}

const PORT = /^(?:(\d{1,5}):)?(\d{1,5})(?:\/(tcp|udp))?$/;

type Checked = {
  body: ContainerCreate;
  wrong: Partial<Record<keyof Draft, "port" | "env" | "size" | "cores" | "hours" | "volume">>;
};

/** What is asked for, and what cannot be read of it. */
export function check(draft: Draft): Checked {
  const wrong: Checked["wrong"] = {};
  const body: ContainerCreate = { image: draft.image.trim() };
  if (draft.name.trim()) body.name = draft.name.trim();
  if (draft.machine) body.machine = draft.machine;
  const restart = (["on_failure", "always"] satisfies ContainerCreate["restart_policy"][]).find(
    (it) => it === draft.restart,
  );
  if (restart) body.restart_policy = restart;
  if (draft.tty) body.tty = true;
  const count = Number(draft.gpus);
  if (count > 0) body.gpus = draft.model ? { count, model: draft.model } : { count };
  const ports = draft.ports.split(/[\s,]+/).filter(Boolean);
  body.ports = [];
  for (const text of ports) {
    const [, host, container, protocol] = PORT.exec(text) ?? [];
    const number = Number(container);
    if (!container || number < 1 || number > 65_535 || Number(host ?? 1) > 65_535) {
      wrong.ports = "port";
      continue;
    }
    body.ports.push({
      container: number,
      ...(host ? { host: Number(host) } : {}),
      protocol: protocol === "udp" ? "udp" : "tcp",
      bind: draft.lan ? "lan" : "loopback",
    });
  }
  const env: Record<string, string> = {};
  for (const line of draft.env.split("\n")) {
    if (line.trim() === "") continue;
    const at = line.indexOf("=");
    if (at < 1) wrong.env = "env";
    else env[line.slice(0, at).trim()] = line.slice(at + 1);
  }
  if (Object.keys(env).length > 0) body.env = env;
  if (draft.command.trim()) body.command = words(draft.command);
  if (draft.memory.trim()) {
    const bytes = parseBytes(draft.memory);
    if (bytes === undefined) wrong.memory = "size";
    else body.memory_bytes = bytes;
  }
  if (draft.cpus.trim()) {
    const cores = Number(draft.cpus);
    if (!(cores > 0)) wrong.cpus = "cores";
    else body.cpu_millis = Math.round(cores * 1000);
  }
  if (draft.hours.trim()) {
    const hours = Number(draft.hours);
    if (!(hours > 0)) wrong.hours = "hours";
    else body.max_duration_secs = Math.round(hours * 3600);
  }
  for (const line of draft.volumes.split("\n").map((line) => line.trim())) {
    if (line === "") continue;
    const [, name, target, readOnly] = /^([a-z0-9][a-z0-9_.-]*):(\/[^:]*)(:ro)?$/.exec(line) ?? [];
    if (!name || !target) wrong.volumes = "volume";
    else body.volumes = [...(body.volumes ?? []), { name, target, is_read_only: readOnly !== undefined }];
  }
  return { body, wrong };
}

/** Splits a command as a shell would, with quotes. */
export function words(text: string): string[] {
  const found: string[] = [];
  let word: string | undefined;
  let quote = "";
  for (let at = 0; at < text.length; at += 1) {
    const char = text.charAt(at);
    if (quote) {
      if (char === quote) quote = "";
      else if (char === "\\" && quote === '"' && at + 1 < text.length) {
        at += 1;
        word = (word ?? "") + text.charAt(at);
      } else word = (word ?? "") + char;
    } else if (char === "'" || char === '"') {
      quote = char;
      word ??= "";
    } else if (/\s/.test(char)) {
      if (word !== undefined) found.push(word);
      word = undefined;
    } else if (char === "\\" && at + 1 < text.length) {
      at += 1;
      word = (word ?? "") + text.charAt(at);
    } else word = (word ?? "") + char;
  }
  if (word !== undefined) found.push(word);
  return found;
}

/** The same for the command line. */
export function commandLine(body: ContainerCreate): string {
  const parts = ["longshore container run", shellWord(body.image || "IMAGE")];
  if (body.name) parts.push("--name", shellWord(body.name));
  for (const port of body.ports ?? []) {
    const address = port.bind === "lan" ? "0.0.0.0:" : "";
    parts.push(
      "--publish",
      `${address}${port.host ? `${port.host}:` : ""}${port.container}${port.protocol === "udp" ? "/udp" : ""}`,
    );
  }
  for (const [key, value] of Object.entries(body.env ?? {})) parts.push("--env", shellWord(`${key}=${value}`));
  for (const it of body.volumes ?? [])
    parts.push("--volume", shellWord(`${it.name}:${it.target}${it.is_read_only ? ":ro" : ""}`));
  if (body.gpus) parts.push("--gpus", String(body.gpus.count));
  if (body.gpus?.model) parts.push("--gpu-model", shellWord(body.gpus.model));
  if (body.restart_policy) parts.push("--restart", body.restart_policy.replace("_", "-"));
  if (body.tty) parts.push("--tty");
  if (body.memory_bytes) parts.push("--memory", shellBytes(body.memory_bytes));
  if (body.cpu_millis) parts.push("--cpus", String(body.cpu_millis / 1000));
  if (body.max_duration_secs) parts.push("--max-duration", `${body.max_duration_secs}s`);
  if (body.machine) parts.push("--machine", shellWord(body.machine));
  if (body.command?.length) parts.push("--", ...body.command.map(shellWord));
  return parts.join(" ");
}

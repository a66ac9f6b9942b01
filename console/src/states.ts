/** How states look: one tone for one meaning, in every list. */
import type { Build, Container, Gpu, Machine, Schemas } from "./api/client";
import type { Tone } from "./parts/basic";

const containers: Record<Container["state"], Tone> = {
  pending: "busy",
  pulling: "busy",
  starting: "busy",
  running: "good",
  stopping: "busy",
  stopped: "idle",
  failed: "bad",
  deleting: "busy",
  unknown: "warn",
};
const operations: Record<Build["state"], Tone> = {
  queued: "busy",
  running: "busy",
  succeeded: "good",
  failed: "bad",
  cancelled: "idle",
};
const machines: Record<Machine["state"], Tone> = { online: "good", engine_down: "bad", unknown: "warn" };
const gpus: Record<Gpu["state"], Tone> = {
  free: "good",
  leased: "busy",
  outside: "warn",
  divided: "idle",
  kept: "idle",
  unknown: "warn",
};

const workloads: Record<Schemas["WorkloadState"], Tone> = {
  ready: "good",
  progressing: "busy",
  failed: "bad",
  deleting: "busy",
  missing: "warn",
  unknown: "warn",
};
const namespaces: Record<Schemas["NamespaceState"], Tone> = {
  creating: "busy",
  ready: "good",
  failed: "bad",
  deleting: "busy",
};

const goodPods = new Set(["Running", "Succeeded", "Completed"]);
const busyPods = new Set(["Pending", "ContainerCreating", "PodInitializing", "Terminating"]);

/** Pods say how they are in the cluster's own words. */
export const podTone = (status: string): Tone =>
  goodPods.has(status) ? "good" : busyPods.has(status) ? "busy" : "bad";

const chartRepos: Record<Schemas["ChartRepoState"], Tone> = { ready: "good", syncing: "busy", failed: "bad" };

export const chartRepoTone = (state: Schemas["ChartRepoState"]): Tone => chartRepos[state] ?? "idle";
export const workloadTone = (state: Schemas["WorkloadState"]): Tone => workloads[state] ?? "idle";
export const namespaceTone = (state: Schemas["NamespaceState"]): Tone => namespaces[state] ?? "idle";
export const containerTone = (state: Container["state"]): Tone => containers[state] ?? "idle";
export const operationTone = (state: Build["state"]): Tone => operations[state] ?? "idle";
export const machineTone = (state: Machine["state"]): Tone => machines[state] ?? "idle";
export const gpuTone = (state: Gpu["state"]): Tone => gpus[state] ?? "idle";

/** What people call a machine. */
export const machineName = (it: Machine): string => it.label || it.hostname;

/** Whether a build goes on. */
export const isGoingOn = (build: Build): boolean => build.state === "queued" || build.state === "running";

/** What may be done with a container now. */
export const canStart = (it: Container): boolean => it.state === "stopped" || it.state === "failed";
export const canStop = (it: Container): boolean =>
  it.state === "running" || it.state === "pending" || it.state === "starting" || it.state === "pulling";
export const canEnter = (it: Container): boolean => it.state === "running";

/** How far a build is, from 0 to 1. */
export function progress(build: Build): number {
  if (build.state === "succeeded") return 1;
  const built = build.steps && build.step ? (build.step - 1) / build.steps : 0;
  if (build.phase === "pushing")
    return 0.6 + (build.push_total_bytes > 0 ? 0.35 * (build.pushed_bytes / build.push_total_bytes) : 0);
  if (build.phase === "verifying") return 0.97;
  return built * 0.6;
}

const HERE = "127.0.0.1";

/** Whether this host name leads nowhere but to the machine itself. */
export const isLoopback = (host: string) => host === "localhost" || host === "[::1]" || /^127\./.test(host);

/** Where a container answers on this computer, if it does: a port on loopback is only of use to whoever sits at the machine. */
export function address(
  it: Pick<Container, "machine_id" | "ports" | "state">,
  host: string,
  machines: Pick<Machine, "machine_id" | "ip" | "joined_at">[] | undefined,
): string | undefined {
  const port = it.ports.find((port) => port.protocol === "tcp");
  const machine = machines?.find((machine) => machine.machine_id === it.machine_id);
  if (!port || !machine || it.state !== "running") return undefined;
  // A machine that joined is another one than that whose console this is.
  if (machine.joined_at)
    return port.bind === "lan" && machine.ip ? `http://${inUrl(machine.ip)}:${port.host}` : undefined;
  const isHere = isLoopback(host);
  if (port.bind === "loopback" && !isHere) return undefined;
  return isHere ? urlHere(port.host) : `http://${host}:${port.host}`;
}

/** A port of the computer at which somebody sits. */
export const urlHere = (port: number) => `http://${HERE}:${port}`;

/** An address of a machine as it stands in a URL. */
const inUrl = (ip: string) => (ip.includes(":") ? `[${ip}]` : ip);

/** Which failures still count: those that nothing newer has made good. */
import type { Build, Schemas } from "../api/client";

type Run = Schemas["RunView"];

/** The first of each name, in the order in which they come: the newest, where the newest come first. */
function newest<Row>(rows: Row[], name: (row: Row) => string): Row[] {
  const seen = new Set<string>();
  return rows.filter((row) => !seen.has(name(row)) && seen.add(name(row)));
}

/** Builds that are not a part of a run: such a part goes by the run's own id. */
export function ownBuilds(builds: Build[], runs: Pick<Run, "uuid">[]): Build[] {
  const uuids = new Set(runs.map((it) => it.uuid));
  return builds.filter((it) => !uuids.has(it.id));
}

/** Builds that nothing newer of the same name has made good. */
export const failedBuilds = <Row extends Pick<Build, "image" | "state">>(builds: Row[]): Row[] =>
  newest(builds, (it) => it.image).filter((it) => it.state === "failed");

/** Repositories whose last run failed. */
export const failedRuns = <Row extends Pick<Run, "git_repo_id" | "state">>(runs: Row[]): Row[] =>
  newest(runs, (it) => String(it.git_repo_id)).filter((it) => it.state === "failed");

/** What a repository's runs roll out to, and which of the things that there are it means. */
import type { Schemas } from "../../api/client";

type Target = Schemas["DeployTarget"];

/** A target in a few words: `alice-live / deployment/web`; nothing where nothing is rolled out. */
export const aimWords = (target: Target | null | undefined): string =>
  [target?.namespace, target?.workload ?? target?.container].filter(Boolean).join(" / ");

/** The workload that is meant: by kind and name, and by its namespace, with or without its account. */
export function aimedAt<Row extends Pick<Schemas["WorkloadView"], "kind" | "name" | "namespace">>(
  target: Target,
  account: string,
  workloads: Row[],
): Row | undefined {
  const [kind, name] = target.workload?.split("/") ?? [];
  const { namespace } = target;
  const found = workloads.filter(
    (it) =>
      it.name === name &&
      it.kind.toLowerCase() === kind?.toLowerCase() &&
      (!namespace || [namespace, `${account}-${namespace}`].includes(it.namespace)),
  );
  return found.length === 1 ? found[0] : undefined;
}

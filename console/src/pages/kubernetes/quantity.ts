/** Amounts in Kubernetes' spelling: `500m`, `2Gi`, `20`. */

const POWERS: Record<string, number> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  "": 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 1024,
  Mi: 1024 ** 2,
  Gi: 1024 ** 3,
  Ti: 1024 ** 4,
};

/** The number that is meant; nothing when it is none. */
export function quantity(text: string): number | undefined {
  const found = /^(\d+(?:\.\d+)?)(n|u|m|k|M|G|T|Ki|Mi|Gi|Ti|)$/.exec(text);
  const power = POWERS[found?.[2] ?? ""];
  return found?.[1] === undefined || power === undefined ? undefined : Number(found[1]) * power;
}

/** Whether amounts of this resource are bytes. */
export const isBytes = (resource: string): boolean => /memory|storage/.test(resource);

/** What people look for first; the rest is behind a press. */
export const FIRST = ["requests.cpu", "requests.memory", "requests.storage", "pods", "requests.nvidia.com/gpu"];

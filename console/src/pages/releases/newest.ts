/** Which version an upgrade is for. */

interface Version {
  version: string;
  deprecated: boolean;
}

const parts = (version: string) => {
  const [numbers = "", rest] = version.replace(/^v/, "").replace(/\+.*$/, "").split(/-(.*)/s);
  return { numbers: numbers.split(".").map(Number), pre: rest?.split(".") ?? [] };
};

/** Whether one version comes after another, as semantic versions do. */
export function isAfter(one: string, other: string): boolean {
  const [a, b] = [parts(one), parts(other)];
  for (let at = 0; at < 3; at++) {
    const [x, y] = [a.numbers[at] ?? 0, b.numbers[at] ?? 0];
    if (x !== y) return x > y;
  }
  // What is only on its way to a version comes before it.
  if (a.pre.length === 0 || b.pre.length === 0) return a.pre.length < b.pre.length;
  for (let at = 0; ; at++) {
    const [x, y] = [a.pre[at], b.pre[at]];
    if (x === undefined || y === undefined) return x !== undefined;
    if (x === y) continue;
    const [isNumber, isOtherNumber] = [/^\d+$/.test(x), /^\d+$/.test(y)];
    if (isNumber && isOtherNumber) return Number(x) > Number(y);
    return isNumber === isOtherNumber ? x > y : isOtherNumber;
  }
}

/** The newest version above the one that is installed; a pre-release, or one that its maintainers gave up, only of its own kind. */
export function newestAbove(versions: Version[], installed: string): string | undefined {
  const now = versions.find((it) => it.version === installed);
  const isFit = (it: Version) =>
    (!it.deprecated || now?.deprecated) && (!parts(it.version).pre.length || parts(installed).pre.length > 0);
  return versions
    .filter((it) => isFit(it) && isAfter(it.version, installed))
    .map((it) => it.version)
    .reduce<string | undefined>((best, it) => (best === undefined || isAfter(it, best) ? it : best), undefined);
}

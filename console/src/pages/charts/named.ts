/** How a chart repository is called. */

/** What the name is where nobody has typed one: the part of the host that tells it from others. */
export function named(url: string): string {
  try {
    const { hostname, pathname } = new URL(url);
    // Nobody would call it by a number.
    const hosts = /^[\d.]+$|:/.test(hostname) ? [] : hostname.split(".").slice(0, -1);
    const words = [...hosts, ...pathname.split("/")];
    const dull = new Set(["www", "charts", "chart", "helm", "github", "githubusercontent", "raw", "index", "yaml", ""]);
    return words.find((word) => !dull.has(word.toLowerCase()))?.toLowerCase() ?? "";
  } catch {
    return "";
  }
}

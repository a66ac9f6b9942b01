/** Which Markdown may be drawn, and which text is better left alone: what others wrote must neither mislead nor stall the page. */
import { plain } from "../format";

const LENGTH_MAX = 300_000;
/** Nesting and runs of marks that nobody writes for readers, and that parsers take very long for. */
const HEAVY = /(?:>[ \t]*){25,}|\[{40,}|[*_~]{200,}|(?:[-+*][ \t]+){30,}|`{400,}|(?:\|[^|\n]?){400,}/;

/** Whether to leave a text as it is. */
export const isHeavy = (text: string): boolean => text.length > LENGTH_MAX || HEAVY.test(text);

/** With what hides in it made visible. */
export const tame = (text: string): string => plain(text.replace(/\r\n?/g, "\n"));

/** An address that may become a link: of another page, over HTTP, and nothing that runs. */
export function linkOf(address: string | undefined): string | undefined {
  if (!address || !/^https?:\/\//i.test(address)) return undefined;
  try {
    const url = new URL(address);
    return url.username || url.password ? undefined : url.href;
  } catch {
    return undefined;
  }
}

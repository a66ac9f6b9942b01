/** Numbers, sizes and times as the reader's language writes them. */

export type Language = "en" | "zh";
const localeOf = { en: "en", zh: "zh-CN" } satisfies Record<Language, string>;

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** A size in bytes: `1.4 MiB`. */
export function bytes(value: number, language: Language): string {
  let unit = 0;
  let amount = value;
  while (Math.abs(amount) >= 1024 && unit < UNITS.length - 1) {
    amount /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || amount >= 100 ? 0 : 1;
  return `${number(amount, language, digits)} ${UNITS[unit]}`;
}

/** A number with its thousands kept apart. */
export const number = (value: number, language: Language, digits = 0): string =>
  new Intl.NumberFormat(localeOf[language], { maximumFractionDigits: digits }).format(value);

/** Cores from thousandths: `1.5`. */
export const cores = (millis: number, language: Language): string => number(millis / 1000, language, 2);

/** A moment, to the minute; with its date when it is not of today. */
export function moment(iso: string, language: Language, now = new Date()): string {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return iso;
  const isToday = at.toDateString() === now.toDateString();
  const date = isToday
    ? {}
    : ({ year: "numeric", month: "short", day: "numeric" } satisfies Intl.DateTimeFormatOptions);
  return new Intl.DateTimeFormat(localeOf[language], {
    ...date,
    hour: "2-digit",
    minute: "2-digit",
    hour12: false,
  }).format(at);
}

/** The time of day, from milliseconds since 1970. */
export const clock = (at: number, language: Language): string =>
  new Intl.DateTimeFormat(localeOf[language], { hour: "2-digit", minute: "2-digit", hour12: false }).format(at);

/** A moment in full, for those who hover. */
export const fullMoment = (iso: string, language: Language): string =>
  new Intl.DateTimeFormat(localeOf[language], { dateStyle: "full", timeStyle: "long" }).format(new Date(iso));

/** So far the server's clock may be ahead of the reader's. */
const AHEAD_SECS = 10;

const STEPS: [Intl.RelativeTimeFormatUnit, number][] = [
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
  ["second", 1],
];

/** How long ago, in the largest unit that fits: `3 minutes ago`. */
export function ago(iso: string, language: Language, now = Date.now()): string {
  const away = (new Date(iso).getTime() - now) / 1000;
  // Two clocks are never the same: what has just happened is not to come.
  const seconds = away > 0 && away < AHEAD_SECS ? 0 : away;
  const [unit, size] = STEPS.find(([, size]) => Math.abs(seconds) >= size) ?? ["second", 1];
  const format = new Intl.RelativeTimeFormat(localeOf[language], { numeric: "auto" });
  return format.format(Math.round(seconds / size), unit);
}

/** A span of time: `1 h 4 min`, `12 s`. */
export function span(seconds: number, language: Language): string {
  const unit = (value: number, name: string) =>
    new Intl.NumberFormat(localeOf[language], { style: "unit", unit: name, unitDisplay: "short" }).format(value);
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return unit(whole, "second");
  if (whole < 3600) return [unit(Math.floor(whole / 60), "minute"), unit(whole % 60, "second")].join(" ");
  return [unit(Math.floor(whole / 3600), "hour"), unit(Math.floor((whole % 3600) / 60), "minute")].join(" ");
}

/** Characters that turn text around or hide in it, made visible: text that others wrote must not pretend to be something else. */
export const plain = (text: string): string =>
  text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g, (it) => {
    const code = it.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0");
    return `\u2039U+${code}\u203a`;
  });

/** Reads a size as people type it: `512m`, `2g`, `1.5 GiB`; nothing when it is none. */
export function parseBytes(text: string): number | undefined {
  const found = /^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\s*$/i.exec(text);
  if (!found?.[1]) return undefined;
  const power = "kmgt".indexOf((found[2] ?? "").toLowerCase()) + 1;
  return Math.round(Number(found[1]) * 1024 ** (found[2] ? power : 0));
}

/** Bytes as a size that `parseBytes` and the command line read: `1536m`. */
export function shellBytes(value: number): string {
  if (value > 0 && value % 1024 ** 3 === 0) return `${value / 1024 ** 3}g`;
  if (value > 0 && value % 1024 ** 2 === 0) return `${value / 1024 ** 2}m`;
  return String(value);
}

/** An image as people call it: without the registry's address and the digest that it was resolved to. */
export const shortImage = (image: string): string =>
  image.replace(/@sha256:[0-9a-f]{64}$/, "").replace(/^[^/]*[.:][^/]*\/(?=.)/, "");

/** A word for a shell: quoted when it has to be. */
export const shellWord = (text: string): string =>
  /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;

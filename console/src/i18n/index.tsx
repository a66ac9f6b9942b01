/** The two languages: which one is chosen, and what is said in it. Every key is in both dictionaries, or it does not compile. */
import { useCallback, useMemo, useSyncExternalStore } from "react";
import type { Language } from "../format";
import * as format from "../format";
import { en } from "./en";
import { fill, type Values } from "./fill";
import { hintInChinese } from "./hints";
import { problems } from "./problems";
import { zh } from "./zh";

export type Key = keyof typeof en;
const dictionaries: Record<Language, Record<Key, string>> = { en, zh };

const STORED = "longshore.language";
const isLanguage = (text: string | null): text is Language => text === "en" || text === "zh";

function first(): Language {
  const stored = localStorage.getItem(STORED);
  if (isLanguage(stored)) return stored;
  return navigator.languages.some((it) => it.toLowerCase().startsWith("zh")) ? "zh" : "en";
}

let chosen: Language = first();
const listeners = new Set<() => void>();
document.documentElement.lang = chosen === "zh" ? "zh-CN" : "en";

/** Chooses a language, for this browser. */
export function setLanguage(language: Language) {
  chosen = language;
  localStorage.setItem(STORED, language);
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const listener of listeners) listener();
}

const subscribe = (listener: () => void) => {
  listeners.add(listener);
  return () => listeners.delete(listener);
};

export const languages: { id: Language; name: string }[] = [
  { id: "en", name: "English" },
  { id: "zh", name: "中文" },
];

/** Says something in a language. */
export const say = (language: Language, key: Key, values: Values = {}): string =>
  fill(dictionaries[language][key], values);

const isKey = (text: string): text is Key => text in en;

/** What a page needs to speak: words, and numbers as the language writes them. */
export function useText() {
  const language = useSyncExternalStore(subscribe, () => chosen);
  const t = useCallback((key: Key, values?: Values) => say(language, key, values), [language]);
  return useMemo(
    () => ({
      language,
      t,
      /** A word of the API (`running`, `build_failed`), or the word itself where it is new to us. */
      word: (group: string, value: string) => {
        const key = `${group}.${value}`;
        return isKey(key) ? t(key) : value;
      },
      /** What went wrong, by its code; English is what the server says. */
      problem: (code: string, detail: string) => {
        if (code === "unreachable") return t("problem.unreachable");
        const known = language === "zh" ? problems[code] : undefined;
        return known ? `${known}（${detail}）` : detail;
      },
      /** What to do next, after the server's sentence. */
      hint: (said: string) => (language === "zh" ? hintInChinese(said) : said),
      bytes: (value: number) => format.bytes(value, language),
      number: (value: number, digits?: number) => format.number(value, language, digits),
      cores: (millis: number) => format.cores(millis, language),
      moment: (iso: string) => format.moment(iso, language),
      clock: (at: number) => format.clock(at, language),
      fullMoment: (iso: string) => format.fullMoment(iso, language),
      ago: (iso: string, now?: number) => format.ago(iso, language, now),
      span: (seconds: number) => format.span(seconds, language),
    }),
    [language, t],
  );
}

/** The console's own dictionaries: journeys look for what people read. */
import { en } from "../../src/i18n/en";
import { zh } from "../../src/i18n/zh";

export function say(language: "en" | "zh", key: string, values: Record<string, string | number> = {}): string {
  const found = Object.entries(language === "zh" ? zh : en).find(([name]) => name === key);
  if (!found) throw new Error(`there is no word for ${key}`);
  return found[1].replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}

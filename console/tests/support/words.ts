/** The console's own dictionaries: journeys look for what people read. */
import { en } from "../../src/i18n/en";
import { fill } from "../../src/i18n/fill";
import { zh } from "../../src/i18n/zh";

export function say(language: "en" | "zh", key: string, values: Record<string, string | number> = {}): string {
  const found = Object.entries(language === "zh" ? zh : en).find(([name]) => name === key);
  if (!found) throw new Error(`there is no word for ${key}`);
  return fill(found[1], values);
}

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { settings } from "./zh.settings";

/** The names in the server's own table of settings. */
function names(): string[] {
  const source = readFileSync(new URL("../../../crates/server/src/config.rs", import.meta.url), "utf8");
  const [, table = ""] = /pub const SETTINGS: &\[Setting\] = &\[\n(.*?)\n\];/s.exec(source) ?? [];
  const found = [...table.matchAll(/\bsetting\(\s*"([\w.]+)"/g)].map(([, name = ""]) => name);
  expect(found.length).toBe(table.split("setting(").length - 1);
  return found;
}

test("every setting of the server is explained in Chinese, and no other", () => {
  const known = names();

  expect(known).toContain("auth.registration");
  expect(Object.keys(settings).sort()).toEqual(known.sort());
});

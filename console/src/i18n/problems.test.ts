import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { problems } from "./problems";

test("every failure that the API documents has words in Chinese, and no other", () => {
  const document = readFileSync(new URL("../../../docs/API.md", import.meta.url), "utf8");
  const [, table = ""] = /\n\| code \| status \| meaning \|\n(.*?)\n\n/s.exec(`${document}\n\n`) ?? [];
  const codes = [...table.matchAll(/^\| `(\w+)` \|/gm)].map(([, code = ""]) => code);

  expect(codes.length).toBeGreaterThan(150);
  expect(Object.keys(problems).sort()).toEqual(codes.sort());
});

import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { problems } from "./problems";

const root = (path: string) => new URL(`../../../${path}`, import.meta.url);

/** The codes that `docs/API.md` lists. */
function documented(): string[] {
  const document = readFileSync(root("docs/API.md"), "utf8");
  const [, table = ""] = /\n\| code \| status \| meaning \|\n(.*?)\n\n/s.exec(`${document}\n\n`) ?? [];
  return [...table.matchAll(/^\| `(\w+)` \|/gm)].map(([, code = ""]) => code);
}

/** What is said to whoever starts the server or types a command on its host, by a job to itself, and by the oldest interface alone. */
const NOT_IN_THE_API = "acme backup build_lost data_folder_in_use file git_server invalid_page tls".split(" ");

/** The codes in the server's source. */
function given(): string[] {
  const CODE =
    /(?:Error::(?:conflict|unavailable|forbidden|unauthenticated)\(\s*|ErrorKind::\w+(?:\([^)]*\))?,\s*)"(\w+)"/g;
  return readdirSync(root("crates/server/src"), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".rs"))
    .flatMap((file) => [...readFileSync(root(`crates/server/src/${file}`), "utf8").matchAll(CODE)])
    .map(([, code = ""]) => code);
}

test("every failure that the API documents has words in Chinese, and no other", () => {
  const codes = documented();

  expect(codes.length).toBeGreaterThan(150);
  expect(Object.keys(problems).sort()).toEqual(codes.sort());
});

test("every failure that the server gives is documented", () => {
  const known = new Set(documented());
  const codes = new Set(given());

  expect(codes.size).toBeGreaterThan(150);
  expect([...codes].filter((code) => !known.has(code)).sort()).toEqual(NOT_IN_THE_API);
});

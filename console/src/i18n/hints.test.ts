import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { hintInChinese, hints } from "./hints";

const root = (path: string) => new URL(`../../../${path}`, import.meta.url);
const LITERAL = /"((?:[^"\\]|\\[\s\S])*)"/;

/** A text of Rust as it comes out, `{}` for everything that is filled in. */
const plain = (literal: string) =>
  literal
    .replace(/\\\n\s*/g, "")
    .replaceAll('\\"', '"')
    .replace(/\{\w*\}/g, "{}");

/** The first text of what is given to `.hint(…)`; where a name is given, the text that it stands for. */
function given(source: string, from: number): string | undefined {
  const argument = source.slice(from).trimStart();
  const [, name] = /^(\w+),?\s*\)/.exec(argument) ?? [];
  if (!name) return new RegExp(`^(?:format!\\(\\s*)?${LITERAL.source}`).exec(argument)?.[1];
  return new RegExp(`(?:const|let) ${name}(?:: &str)? = ${LITERAL.source};`).exec(source)?.[1];
}

/** Every hint that the server gives, from its source. */
function said(): { hints: string[]; unread: string[] } {
  const found: string[] = [];
  const unread: string[] = [];
  for (const file of readdirSync(root("crates/server/src"), { recursive: true, encoding: "utf8" })) {
    if (!file.endsWith(".rs")) continue;
    const source = readFileSync(root(`crates/server/src/${file}`), "utf8");
    for (const call of source.matchAll(/\.hint\(/g)) {
      const text = given(source, call.index + call[0].length);
      if (text === undefined) unread.push(`${file}: ${source.slice(call.index, call.index + 60)}`);
      else found.push(plain(text));
    }
  }
  return { hints: found, unread };
}

/** What the errors of archives say behind their semicolon, which the server gives as a hint. */
function saidOfArchives(): string[] {
  const source = readFileSync(root("crates/formats/src/archive/error.rs"), "utf8");
  return [...source.matchAll(new RegExp(`#\\[error\\(\\s*${LITERAL.source}`, "g"))].flatMap(([, text = ""]) =>
    text.includes("; ") ? [plain(text.slice(text.lastIndexOf("; ") + 2))] : [],
  );
}

test("every hint that the server gives has words in Chinese, and no other", () => {
  const { hints: known, unread } = said();
  const archives = saidOfArchives();

  expect(known.length).toBeGreaterThan(150);
  expect(archives.length).toBeGreaterThan(20);
  expect(unread.map((it) => it.split(":")[0])).toEqual(["domain/build_contexts.rs"]);
  expect(Object.keys(hints).sort()).toEqual([...new Set([...known, ...archives])].sort());
});

test("a hint in Chinese has the holes of the English one", () => {
  const holes = (text: string) => text.split("{}").length - 1;
  for (const [english, words] of Object.entries(hints)) {
    expect([english, holes(words)]).toEqual([english, holes(english)]);
    expect([english, /\p{Script=Han}/u.test(words)]).toEqual([english, true]);
  }
});

test("what the server fills in stands in the Chinese hint, too", () => {
  expect(hintInChinese("try again in 7 seconds")).toBe("请 7 秒后重试");
  expect(hintInChinese("build it as `alice/web:v1`")).toBe("请构建为 `alice/web:v1`");
  expect(hintInChinese("service `web` has: http, 8080")).toBe("服务 `web` 的端口有：http, 8080");
  expect(hintInChinese("see `longshore namespace show a {} b`")).toBe("见 `longshore namespace show a {} b`");
});

test("a hint that nobody knows stays as it is", () => {
  expect(hintInChinese("turn it off and on again")).toBe("turn it off and on again");
});

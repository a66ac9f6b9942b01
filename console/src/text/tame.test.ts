import { expect, test } from "vitest";
import { isHeavy, linkOf, tame } from "./tame";

test("only addresses of other pages become links", () => {
  expect(linkOf("https://example.org/a?b#c")).toBe("https://example.org/a?b#c");
  for (const address of [
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "data:text/html,<script>",
    "/ui/me",
    "//evil.example",
    "https://you@evil.example/",
    "https://",
    "",
    undefined,
  ])
    expect([address, linkOf(address)]).toEqual([address, undefined]);
});

test("what hides in a text is made visible, and lines stay lines", () => {
  expect(tame("a\r\nb\rc\u202e")).toBe("a\nb\nc‹U+202E›");
});

test("texts that parsers take very long for stay as they are", () => {
  for (const text of [">".repeat(10_000), "[".repeat(5000), "*".repeat(1000), "- ".repeat(100), "a".repeat(400_000)])
    expect(isHeavy(text)).toBe(true);
  expect(isHeavy("# Title\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n- one\n  - two\n> quote\n")).toBe(false);
});

import { expect, test } from "vitest";
import { en } from "./en";
import { zh } from "./zh";

const holes = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1]).sort();

test("both languages leave the same holes", () => {
  for (const [key, text] of Object.entries(en))
    expect([key, holes(Object.entries(zh).find(([name]) => name === key)?.[1] ?? "")]).toEqual([key, holes(text)]);
});

test("no sentence is left in the other language", () => {
  for (const [key, text] of Object.entries(zh))
    if (/[a-z]{4,} [a-z]{4,}/i.test(text.replace("docker login", ""))) expect([key, text]).toEqual([key, ""]);
  for (const [key, text] of Object.entries(en)) expect([key, /\p{Script=Han}/u.test(text)]).toEqual([key, false]);
});

import { expect, test } from "vitest";
import { isAfter, newestAbove } from "./newest";

const list = (...versions: string[]) => versions.map((version) => ({ version, deprecated: false }));

test("versions come after one another as their numbers do, not as their letters", () => {
  const rising =
    "0.9.0 1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1 1.0.0 1.2.0 1.10.0".split(
      " ",
    );
  for (const [at, one] of rising.entries())
    for (const [other, it] of rising.entries()) expect([one, it, isAfter(one, it)]).toEqual([one, it, at > other]);
});

test("an upgrade is to the newest version above the installed one", () => {
  expect(newestAbove(list("1.10.0", "1.9.0", "1.0.0"), "1.0.0")).toBe("1.10.0");
  expect(newestAbove(list("1.0.0", "1.9.0", "v1.10.0"), "1.0.0")).toBe("v1.10.0");
  expect(newestAbove(list("1.10.0", "1.9.0"), "1.5.0")).toBe("1.10.0");
});

test("where nothing is newer, nothing is offered", () => {
  expect(newestAbove(list("1.10.0", "1.9.0"), "1.10.0")).toBeUndefined();
  expect(newestAbove(list("1.10.0"), "2.0.0")).toBeUndefined();
  expect(newestAbove([], "1.0.0")).toBeUndefined();
});

test("nobody is led to what is not ready or not wanted any more", () => {
  expect(newestAbove(list("2.0.0-rc.1", "1.1.0", "1.0.0"), "1.0.0")).toBe("1.1.0");
  expect(newestAbove(list("2.0.0-rc.2", "2.0.0-rc.1"), "2.0.0-rc.1")).toBe("2.0.0-rc.2");
  expect(newestAbove([{ version: "1.2.0", deprecated: true }, ...list("1.1.0", "1.0.0")], "1.0.0")).toBe("1.1.0");
});

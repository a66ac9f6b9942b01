import { expect, test } from "vitest";
import { changes } from "./diff";

test("lines that are gone, new and kept are told apart", () => {
  expect(changes(["a", "b", "c"], ["a", "x", "c", "d"])).toEqual([" a", "-b", "+x", " c", "+d"]);
  expect(changes(["a"], ["a"])).toEqual([" a"]);
  expect(changes([], ["a"], true)).toEqual([" a"]);
});

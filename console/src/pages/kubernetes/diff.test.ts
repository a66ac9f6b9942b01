import { expect, test } from "vitest";
import { changes, nearby } from "./diff";

test("lines that are gone, new and kept are told apart", () => {
  expect(changes(["a", "b", "c"], ["a", "x", "c", "d"])).toEqual([" a", "-b", "+x", " c", "+d"]);
  expect(changes(["a"], ["a"])).toEqual([" a"]);
  expect(changes([], ["a"], true)).toEqual([" a"]);
});

test("of a long text only what changes is shown, with a few lines around it", () => {
  const kept = Array.from({ length: 9 }, (_, at) => ` ${at}`);

  expect(nearby([...kept, "-old", "+new", ...kept])).toEqual([
    ...[" ⋯", " 6", " 7", " 8", "-old", "+new", " 0", " 1", " 2", " ⋯"],
  ]);
  expect(nearby(["+first", " a"])).toEqual(["+first", " a"]);
  expect(nearby(kept)).toEqual(kept);
});

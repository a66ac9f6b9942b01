import { expect, test } from "vitest";
import { en } from "./en";
import { fill } from "./fill";

test("one of a thing is not called many", () => {
  const sentence = "{count} {count|image|images}, {size}";

  expect(fill(sentence, { count: 1, size: "3 MiB" })).toBe("1 image, 3 MiB");
  expect(fill(sentence, { count: "1", size: "3 MiB" })).toBe("1 image, 3 MiB");
  expect(fill(sentence, { count: 0, size: "0 B" })).toBe("0 images, 0 B");
  expect(fill(sentence, { count: "1,001", size: "3 MiB" })).toBe("1,001 images, 3 MiB");
});

test("what has no value stays to be seen", () => {
  expect(fill("{name} is deleted", {})).toBe("{name} is deleted");
});

test("a number has no fixed word after it that would be wrong for one", () => {
  // Names and sizes may stand before such words; these holes are what is counted.
  const COUNTED = /\{(count|changes|charts|cores|days|minutes|versions)\} [a-z]+s\b/;
  for (const [key, text] of Object.entries(en)) expect([key, COUNTED.test(text)]).toEqual([key, false]);
});

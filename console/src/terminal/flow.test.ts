import { expect, test } from "vitest";
import { Flow } from "./flow";

const MIB = 1024 * 1024;
const text = (data: Uint8Array) => new TextDecoder().decode(data);
const bytes = (words: string) => new TextEncoder().encode(words);

/** A page that draws when it is told to, and what it has shown. */
function page() {
  const shown: (string | number)[] = [];
  const drawing: (() => void)[] = [];
  const flow = new Flow(
    (data, drawn) => {
      shown.push(text(data));
      drawing.push(drawn);
    },
    (count) => shown.push(count),
  );
  return { flow, shown, drawing, draw: () => drawing.shift()?.() };
}

test("what is printed is drawn in order, and small pieces together", () => {
  const { flow, shown, draw } = page();

  for (const word of ["a", "b", "c"]) flow.push(bytes(word));
  expect(shown).toEqual(["a"]);
  draw();

  expect(shown).toEqual(["a", "bc"]);
});

test("a flood is cut to what can be read, its end is shown, and the rest is counted", () => {
  const { flow, shown, drawing, draw } = page();
  const piece = new Uint8Array(32 * 1024).fill(120);
  const count = (64 * MIB) / piece.length;

  for (let number = 0; number < count; number += 1) flow.push(piece);
  flow.push(bytes("the end"));
  // Nothing more is handed to a page that has not drawn what it has.
  expect(drawing.length).toBe(1);
  while (drawing.length > 0) draw();

  const drawn = shown.filter((one) => typeof one === "string");
  const left = shown.filter((one) => typeof one === "number");
  const length = drawn.reduce((sum, one) => sum + one.length, 0);
  expect(length).toBeLessThanOrEqual(4 * MIB + piece.length);
  expect(left.length).toBe(1);
  expect(length + (left[0] ?? 0)).toBe(64 * MIB + "the end".length);
  expect(drawn.at(-1)?.endsWith("the end")).toBe(true);
});

test("what is to be told or done between is done where it belongs", () => {
  const { flow, shown, drawing, draw } = page();

  flow.push(bytes("before"));
  flow.leaveOut(5);
  flow.after(() => shown.push("then"));
  flow.push(bytes("after"));
  expect(shown).toEqual(["before"]);
  while (drawing.length > 0) draw();

  expect(shown).toEqual(["before", 5, "then", "after"]);
});

import { expect, test } from "vitest";
import { LogModel } from "./model";

const lines = (model: LogModel) => Array.from({ length: model.count }, (_, index) => model.line(index)?.text);

test("lines come together however their pieces are cut", () => {
  const model = new LogModel();
  for (const piece of ["on", "e\ntw", "o", "\n\nfo", "ur"]) model.push(piece);
  expect(lines(model)).toEqual(["one", "two", "", "four"]);
});

test("progress that writes over itself ends as its last state", () => {
  const model = new LogModel();
  for (const piece of ["10 %\r20", " %\r30 %\r", "\ndone\r\n"]) model.push(piece);
  expect(lines(model).map((line) => line?.replace(/\r$/, ""))).toEqual(["30 %", "done"]);
});

test("a million lines keep the newest, count those that are gone, and take a moment", () => {
  const model = new LogModel();
  const began = performance.now();
  for (let block = 0; block < 1000; block += 1)
    model.push(Array.from({ length: 1000 }, (_, line) => `line ${block * 1000 + line}\n`).join(""));
  expect(model.count + model.dropped).toBe(1_000_000);
  expect(model.count).toBeLessThanOrEqual(200_000);
  expect(model.line(model.count - 1)?.text).toBe("line 999999");
  expect(performance.now() - began).toBeLessThan(5000);
});

test("the line that tells of a failure is found", () => {
  const model = new LogModel();
  model.push("Step 1/2 : FROM scratch\nError: no such file\nremoved\n");
  expect(model.failure()).toBe(1);
  expect(model.find("STEP")).toEqual([0]);
});

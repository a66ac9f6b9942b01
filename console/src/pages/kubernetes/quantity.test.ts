import { expect, test } from "vitest";
import { isBytes, quantity } from "./quantity";

test("amounts are read as Kubernetes writes them", () => {
  expect(quantity("20")).toBe(20);
  expect(quantity("500m")).toBe(0.5);
  expect(quantity("2Gi")).toBe(2 * 1024 ** 3);
  expect(quantity("1.5k")).toBe(1500);
  for (const wrong of ["", "much", "-1", "2Gb", "1 2"]) expect(quantity(wrong)).toBeUndefined();
  expect(isBytes("requests.memory")).toBe(true);
  expect(isBytes("pods")).toBe(false);
});

import { expect, test } from "vitest";
import { named } from "./named";

test("a repository is called by what tells its address from others, and never by a number", () => {
  expect(named("https://charts.bitnami.com/bitnami")).toBe("bitnami");
  expect(named("https://prometheus-community.github.io/helm-charts")).toBe("prometheus-community");
  expect(named("http://127.0.0.1:34285/shop")).toBe("shop");
  expect(named("http://127.0.0.1:34285")).toBe("");
  expect(named("not an address")).toBe("");
});

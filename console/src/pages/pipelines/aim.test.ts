import { expect, test } from "vitest";
import { aimedAt, aimWords } from "./aim";

const rows = [
  { kind: "Deployment", name: "web", namespace: "alice-live" },
  { kind: "Service", name: "web", namespace: "alice-live" },
  { kind: "Deployment", name: "web", namespace: "alice-test" },
  { kind: "StatefulSet", name: "db", namespace: "alice-live" },
] as const;

test("what a run rolled out to is found by kind, name and namespace", () => {
  const find = (target: { workload?: string; namespace?: string; container?: string }) =>
    aimedAt(target, "alice", [...rows]);

  expect(find({ workload: "deployment/web", namespace: "live" })).toBe(rows[0]);
  expect(find({ workload: "deployment/web", namespace: "alice-test" })).toBe(rows[2]);
  expect(find({ workload: "statefulset/db" })).toBe(rows[3]);
});

test("what may be one of several, or is gone, is no link", () => {
  expect(aimedAt({ workload: "deployment/web" }, "alice", [...rows])).toBeUndefined();
  expect(aimedAt({ workload: "deployment/old", namespace: "live" }, "alice", [...rows])).toBeUndefined();
  expect(aimedAt({ container: "web" }, "alice", [...rows])).toBeUndefined();
});

test("a target in a few words", () => {
  expect(aimWords({ workload: "deployment/web", namespace: "live" })).toBe("live / deployment/web");
  expect(aimWords({ container: "web" })).toBe("web");
  expect(aimWords(undefined)).toBe("");
});

import { beforeAll, expect, test, vi } from "vitest";
import type { Schemas } from "../../api/client";
import { commandToAdd, commandToChange } from "./command";

beforeAll(() => vi.stubGlobal("window", { location: { origin: "http://here" } }));

const plain = {
  name: "shop",
  url: "https://charts.example.org/stable",
  type: "external",
  description: "",
  username: null,
  password: null,
  ca_certificate: null,
  sync_minutes: 60,
  is_public: true,
  requires_signature: false,
} as const;

test("what the command line has words for is added by it", () => {
  expect(commandToAdd(plain)).toBe("longshore k8s-repo-create --public shop https://charts.example.org/stable");
  expect(commandToAdd({ ...plain, type: "internal", requires_signature: true })).toBe(
    "longshore k8s-repo-create --public --type internal shop https://charts.example.org/stable\nlongshore chart key require shop",
  );
});

test("all else is added by the API, whole and without the password", () => {
  const command = commandToAdd({ ...plain, is_public: false, username: "bob", password: "s3cret", sync_minutes: 0 });

  expect(command).toContain("curl -X POST http://here/api/v1/chart-repos");
  const [, body = ""] = /-d '(.*)'$/s.exec(command) ?? [];
  expect(JSON.parse(body)).toEqual({
    name: "shop",
    url: "https://charts.example.org/stable",
    type: "external",
    is_public: false,
    requires_signature: false,
    username: "bob",
    password: "PASSWORD",
    sync_minutes: 0,
  });
});

const repo: Schemas["ChartRepoView"] = {
  ...plain,
  id: "0198",
  owner: "alice",
  project_domain: "default",
  backend: "common",
  status: "ready",
  has_password: false,
  release_count: 0,
  created_at: "2026-01-01T00:00:00Z",
  updated_at: "2026-01-01T00:00:00Z",
};

test("a change says what is another, and nothing else", () => {
  const { type: _, ...same } = plain;

  expect(commandToChange(repo, { ...same, name: "store" })).toBe("longshore k8s-repo-update --name store shop");
  expect(commandToChange(repo, { ...same, requires_signature: true, url: "https://x" })).toBe(
    "longshore chart key require shop\nlongshore k8s-repo-update --url https://x shop",
  );
  const private_ = commandToChange(repo, { ...same, is_public: false, password: "s3cret" });
  expect(private_).toContain("curl -X PATCH http://here/api/v1/chart-repos/0198");
  expect(private_).toContain(`-d '{"is_public":false,"password":"PASSWORD"}'`);
});

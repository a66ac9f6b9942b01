import { expect, test } from "vitest";
import type { Container, Machine } from "./api/client";
import { address } from "./states";

type Known = Pick<Machine, "machine_id" | "ip" | "joined_at">;
const machines: Known[] = [
  { machine_id: "server", ip: "192.0.2.1", joined_at: null },
  { machine_id: "box", ip: "192.0.2.9", joined_at: "2026-01-02T03:04:05Z" },
];
const open = (machine_id: string, bind: "lan" | "loopback", host: string) => {
  const ports: Container["ports"] = [{ container: 80, host: 28_000, protocol: "tcp", bind, is_pooled: true }];
  return address({ machine_id, ports, state: "running" }, host, machines);
};

test("a port on the server's own machine is opened by the name that the browser has for it", () => {
  expect(open("server", "loopback", "localhost")).toBe("http://127.0.0.1:28000");
  expect(open("server", "loopback", "cloud.example.org")).toBeUndefined();
  expect(open("server", "lan", "cloud.example.org")).toBe("http://cloud.example.org:28000");
});

test("a port on another machine is opened there, or not at all", () => {
  expect(open("box", "loopback", "localhost")).toBeUndefined();
  expect(open("box", "lan", "localhost")).toBe("http://192.0.2.9:28000");
  expect(open("gone", "lan", "localhost")).toBeUndefined();
});

import { expect, test } from "vitest";
import type { Gpu } from "../api/client";
import { usersOf } from "./gpu-users";

type Part = Pick<Gpu, "state" | "memory_used" | "processes">;
const process = (container: string | undefined, memory: number) => ({
  pid: 1,
  name: "python",
  memory,
  ...(container ? { container_id: 7, container, account: "alice" } : {}),
});
const users = (gpu: Part) => usersOf(gpu, "others", "somebody").map(({ name, memory, kind }) => [name, memory, kind]);

test("memory is split by container, and what nobody owns up to is the holder's", () => {
  const processes = [process("train", 1000), process("train", 500), process("look", 2000)];
  expect(users({ state: "leased", memory_used: 3800, processes })).toEqual([
    ["alice / look", 2300, undefined],
    ["alice / train", 1500, "second"],
  ]);
  expect(users({ state: "free", memory_used: 0, processes: [] })).toEqual([]);
});

test("what is used from outside is not put on a container", () => {
  const processes = [process("train", 1000), process(undefined, 700)];
  expect(users({ state: "outside", memory_used: 1800, processes })).toEqual([
    ["alice / train", 1000, undefined],
    ["others", 800, "other"],
  ]);
});

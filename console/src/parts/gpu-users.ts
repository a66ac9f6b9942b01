/** Whose containers use the memory of a GPU. */
import type { Gpu } from "../api/client";

interface User {
  name: string;
  /** MiB. */
  memory: number;
  kind?: "second" | "third" | "other";
}

const KINDS: User["kind"][] = [undefined, "second", "third"];

/** Whose containers use a GPU's memory, most first; what none of ours uses comes last. */
export function usersOf(
  gpu: Pick<Gpu, "state" | "memory_used" | "processes">,
  others: string,
  somebody: string,
): User[] {
  const memory = new Map<string, number>();
  for (const it of gpu.processes) {
    const name = it.container_id != null ? `${it.account ?? somebody} / ${it.container ?? it.container_id}` : others;
    memory.set(name, (memory.get(name) ?? 0) + (it.memory ?? 0));
  }
  const ours = [...memory].filter(([name]) => name !== others).sort(([, one], [, other]) => other - one);
  const known = ours.reduce((sum, [, used]) => sum + used, 0);
  // The driver keeps some for itself, which belongs to whoever holds it.
  const rest = Math.max(0, (gpu.memory_used ?? 0) - known);
  const users = ours.map(([name, used], index): User => ({ name, memory: used, kind: KINDS[index % KINDS.length] }));
  if (rest > 0 && gpu.state === "leased" && users[0] && !memory.has(others)) users[0].memory += rest;
  else if (rest > 0) users.push({ name: others, memory: rest, kind: "other" });
  return users;
}

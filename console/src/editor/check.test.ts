import { expect, test } from "vitest";
import { check } from "./check";
import { examples, kindOf, manifestSchema } from "./kubernetes";

const look = (text: string) => check(text, (lines) => manifestSchema(kindOf(lines)));

test("nothing is said of what is in order", () => {
  for (const example of Object.values(examples)) expect(look(example("alice/app:v1"))).toEqual([]);
  expect(look("")).toEqual([]);
  expect(look("apiVersion: example.org/v1\nkind: Foreign\nspec: { anything: [1] }\n")).toMatchObject([{}, {}]);
});

test("a key that is misspelt is pointed at, with what was probably meant", () => {
  const text = examples.deployment("a/b:1").replace("replicas: 1", "replica: 1").replace("image:", "imgae:");
  const found = look(text);
  expect(found.map(({ kind, text, given }) => [kind, given, text])).toEqual([
    ["meant", "replica", "replicas"],
    ["meant", "imgae", "image"],
  ]);
  expect(text.slice(found[0]?.from, found[0]?.to)).toBe("replica");
});

test("values of the wrong kind are pointed at", () => {
  expect(
    look("kind: Service\nspec:\n  type: NodePorts\n  ports: 80\n").map(({ kind, given }) => [kind, given]),
  ).toEqual([
    ["choice", "NodePorts"],
    ["type", "80"],
  ]);
  expect(look("kind: Deployment\nspec:\n  replicas: many\n  paused: 1\n").map(({ text }) => text)).toEqual([
    "integer",
    "boolean",
  ]);
});

test("what is no YAML says so where it is", () => {
  const found = look("kind: Service\nspec:\n\tports: []\n");
  expect(found[0]?.kind).toBe("syntax");
  expect(look(`a: ${"[".repeat(200)}`)[0]?.kind).toBe("syntax");
});

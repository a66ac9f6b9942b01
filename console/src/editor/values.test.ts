import { expect, test } from "vitest";
import { typed, valueAt, valuesSchema, withValue } from "./values";

const VALUES = `# How many of it
replicas: 1
image:
  # Where it is from
  repository: a/b
  tag: ""
service: { type: ClusterIP, port: 80 }
args: [one]
nothing:
`;

test("what there is to set is read from values and their comments", () => {
  const schema = valuesSchema(VALUES, undefined);
  expect(schema.properties?.replicas).toEqual({ type: "integer", description: "How many of it", default: 1 });
  expect(schema.properties?.image?.properties?.repository).toEqual({
    type: "string",
    description: "Where it is from",
    default: "a/b",
  });
  expect(schema.properties?.service?.properties?.port?.default).toBe(80);
  expect(schema.properties?.args?.type).toBe("array");
});

test("a schema says more than the values, and the values what it leaves out", () => {
  const schema = valuesSchema(VALUES, {
    properties: { service: { properties: { type: { enum: ["ClusterIP", "NodePort"] } } }, extra: { type: "boolean" } },
  });
  expect(schema.properties?.service?.properties?.type).toMatchObject({
    choices: ["ClusterIP", "NodePort"],
    default: "ClusterIP",
  });
  expect(schema.properties?.service?.properties?.port?.default).toBe(80);
  expect(schema.properties?.extra?.type).toBe("boolean");
  expect(schema.properties?.replicas?.default).toBe(1);
});

test("one value is changed, and comments and order stay", () => {
  const text = "# mine\nb: 1 # one\na:\n  c: x\n";
  expect(withValue(text, ["b"], 2)).toBe("# mine\nb: 2 # one\na:\n  c: x\n");
  expect(withValue(text, ["a", "d"], "y")).toBe("# mine\nb: 1 # one\na:\n  c: x\n  d: y\n");
  expect(withValue(text, ["a", "c"], undefined)).toBe("# mine\nb: 1 # one\n");
  expect(withValue("", ["a", "b"], true)).toBe("a:\n  b: true\n");
  expect(withValue("a: 1\n", ["a"], undefined)).toBe("");
  expect(withValue("a: [", ["a"], 1)).toBe("a: [");
  expect(valueAt(text, ["a", "c"])).toBe("x");
  expect(valueAt(text, ["a"])).toBeUndefined();
});

test("what is typed becomes the kind of value that belongs there", () => {
  expect(typed("3", { type: "integer" })).toBe(3);
  expect(typed("3", { type: "string" })).toBe("3");
  expect(typed("many", { type: "integer" })).toBe("many");
  expect(typed(" ", { type: "string" })).toBeUndefined();
});

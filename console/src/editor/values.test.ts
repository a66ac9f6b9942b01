import { expect, test } from "vitest";
import { typed, valueAt, valuesSchema, withValue } from "./values";

test("what the server found becomes what the editor knows", () => {
  const field = { enum: [], is_required: false, is_secret: false };
  const schema = valuesSchema({
    sections: [
      { fields: [{ ...field, path: ["replicas"], type: "integer", description: "How many", default: 1, maximum: 3 }] },
      {
        title: "service",
        fields: [
          { ...field, path: ["service", "type"], type: "string", enum: ["ClusterIP", "NodePort"], is_required: true },
          { ...field, path: ["service", "args"], type: "array", default: ["one"] },
        ],
      },
    ],
    is_shortened: false,
  });
  expect(schema.properties?.replicas).toMatchObject({
    type: "integer",
    description: "How many",
    default: 1,
    maximum: 3,
  });
  expect(schema.properties?.service?.properties?.type?.choices).toEqual(["ClusterIP", "NodePort"]);
  expect(schema.properties?.service?.required).toEqual(["type"]);
  expect(valuesSchema(undefined)).toEqual({ type: "object" });
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

import { expect, test } from "vitest";
import { manifestSchema } from "./kubernetes";
import { meant, schemaAt, schemaOf } from "./schema";

test("a schema that refers to itself ends", () => {
  const schema = schemaOf({
    $ref: "#/definitions/node",
    definitions: { node: { type: "object", properties: { next: { $ref: "#/definitions/node" } } } },
  });
  expect(schema?.properties?.next?.properties?.next?.type).toBe("object");
  expect(schemaOf({ $ref: "#/definitions/a", definitions: { a: { $ref: "#/definitions/a" } } })).toBeUndefined();
});

test("what is no schema is none", () => {
  for (const given of [undefined, null, 7, "x", []]) expect(schemaOf(given)).toBeUndefined();
  expect(schemaOf({ type: ["null", "string"], enum: [null, "a", 1], required: [1, "b"] })).toMatchObject({
    type: "string",
    choices: ["a", "1"],
    required: ["b"],
  });
  // What every object has is no key of ours.
  expect(schemaAt(schemaOf({ properties: { a: {} } }), ["constructor"])).toBeUndefined();
});

test("what is meant by a wrong key", () => {
  expect(meant("replica", ["replicas", "selector"])).toBe("replicas");
  expect(meant("Image", ["image", "imagePullPolicy"])).toBe("image");
  expect(meant("comands", ["command", "args"])).toBe("command");
  expect(meant("app", ["args", "name"])).toBeUndefined();
  expect(meant("name", ["name"])).toBeUndefined();
});

test("each kind has its own keys", () => {
  const keys = (kind: string, ...path: string[]) => Object.keys(schemaAt(manifestSchema(kind), path)?.properties ?? {});
  expect(keys("Deployment", "spec", "template", "spec", "containers", "[]")).toContain("image");
  expect(keys("CronJob", "spec", "jobTemplate", "spec", "template", "spec")).toContain("restartPolicy");
  expect(keys("Service", "spec", "ports", "[]")).toContain("targetPort");
  expect(keys("", "spec")).toEqual([]);
});

import { expect, test } from "vitest";
import { placeAt } from "./place";

const TEXT = `kind: Service
spec:
  ports:
  - port: 80
    targetPort: 8000
---
kind: Deployment
spec:
  template:
    metadata:
      labels: { app: web }
    spec:
      containers:
        - name: web
          env:
            - name: A
              value: "1"
            - name: B
          # here
          image: a/b:1
          resources:
            limits:
              memory: 
`;

/** The place at the end of the line that holds a text. */
function at(text: string, end?: string) {
  const lines = TEXT.split("\n");
  const row = lines.findIndex((line) => line.includes(text));
  const line = lines[row] ?? "";
  return placeAt(lines, row, end === undefined ? line.length : line.indexOf(end));
}

test("the keys above a place are found by how lines are indented", () => {
  expect(at("targetPort", "targetPort").path).toEqual(["spec", "ports", "[]"]);
  expect(at("- port", "port: 80").path).toEqual(["spec", "ports", "[]"]);
  expect(at("name: B", "name").path).toEqual(["spec", "template", "spec", "containers", "[]", "env", "[]"]);
  expect(at('value: "1"', "value").path).toEqual(["spec", "template", "spec", "containers", "[]", "env", "[]"]);
  expect(at("image:", "image").path).toEqual(["spec", "template", "spec", "containers", "[]"]);
  expect(at("labels:", "labels").path).toEqual(["spec", "template", "metadata"]);
});

test("a value is told from a key", () => {
  const memory = at("memory:");
  expect([memory.path, memory.key, memory.word]).toEqual([
    ["spec", "template", "spec", "containers", "[]", "resources", "limits"],
    "memory",
    "",
  ]);
  const image = at("image:");
  expect([image.key, image.word]).toEqual(["image", "a/b:1"]);
  expect(at("targetPort", "Port").key).toBeUndefined();
});

test("each document of a text has its own lines", () => {
  expect(at("targetPort").lines[0]).toBe("kind: Service");
  expect(at("image:").lines[0]).toBe("kind: Deployment");
});

test("an empty line under a key belongs into it", () => {
  expect(placeAt(["spec:", "  replicas: 1", "  "], 2, 2).path).toEqual(["spec"]);
  expect(placeAt(["spec:", "  template:", "    "], 2, 4).path).toEqual(["spec", "template"]);
  expect(placeAt(["a: 1", ""], 1, 0).path).toEqual([]);
});

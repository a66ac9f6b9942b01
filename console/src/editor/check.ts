/** What is wrong with a YAML text, as far as that can be said before anybody is asked. */
import { isMap, isScalar, isSeq, LineCounter, type Node, type ParsedNode, parseAllDocuments } from "yaml";
import { meant, type Schema } from "./schema";

export interface Finding {
  from: number;
  to: number;
  /** A sentence of the parser's, or the key of a hint of ours. */
  kind: "syntax" | "meant" | "choice" | "type";
  text: string;
  /** What was typed, for hints. */
  given: string;
}

const FINDINGS_MAX = 100;
const DEPTH_MAX = 40;

/** Looks a text through; `schemaOf` tells what each document may hold. */
export function check(text: string, schemaOf: (lines: string[]) => Schema | undefined): Finding[] {
  const findings: Finding[] = [];
  const lines = new LineCounter();
  for (const document of parseAllDocuments<ParsedNode>(text, { lineCounter: lines, prettyErrors: false })) {
    if (!("errors" in document)) continue;
    for (const error of document.errors)
      findings.push({
        from: error.pos[0],
        to: Math.max(error.pos[1], error.pos[0] + 1),
        kind: "syntax",
        text: error.message,
        given: "",
      });
    if (document.errors.length > 0 || !document.contents) continue;
    const [from, , to] = document.range;
    walk(document.contents, schemaOf(text.slice(from, to).split("\n")), findings, 0);
  }
  return findings.slice(0, FINDINGS_MAX);
}

function walk(node: Node, schema: Schema | undefined, findings: Finding[], depth: number) {
  if (!schema || depth > DEPTH_MAX || findings.length >= FINDINGS_MAX) return;
  if (isMap(node)) {
    const known = Object.keys(schema.properties ?? {});
    for (const { key, value } of node.items) {
      if (!isScalar(key) || typeof key.value !== "string") continue;
      const name = key.value;
      const child = known.includes(name) ? schema.properties?.[name] : schema.values;
      if (!child && known.length > 0) {
        const right = meant(name, known);
        if (right) add(findings, key, "meant", right, name);
      }
      if (value && typeof value === "object" && "range" in value) walkNode(value, child, findings, depth + 1);
    }
  } else if (isSeq(node)) {
    for (const item of node.items)
      if (item && typeof item === "object" && "range" in item) walkNode(item, schema.items, findings, depth + 1);
  }
}

function walkNode(node: object, schema: Schema | undefined, findings: Finding[], depth: number) {
  if (!schema) return;
  if (isMap(node) || isSeq(node)) {
    const isRight = isMap(node) ? schema.type !== "array" : schema.type !== "object";
    if (!isRight || ["string", "integer", "number", "boolean"].includes(schema.type ?? ""))
      add(findings, node, "type", schema.type ?? "", "");
    else walk(node, schema, findings, depth);
    return;
  }
  if (!isScalar(node) || node.value === null || node.value === undefined) return;
  const given = String(node.value);
  if (schema.choices && schema.choices.length > 0 && !schema.choices.includes(given))
    add(findings, node, "choice", schema.choices.slice(0, 12).join(", "), given);
  else if (schema.type === "boolean" && typeof node.value !== "boolean") add(findings, node, "type", "boolean", given);
  else if (
    (schema.type === "integer" || schema.type === "number") &&
    typeof node.value !== "number" &&
    !/^\d+%$/.test(given)
  )
    add(findings, node, "type", schema.type, given);
  else if ((schema.type === "object" || schema.type === "array") && given !== "")
    add(findings, node, "type", schema.type, given);
}

function add(
  findings: Finding[],
  node: { range?: [number, number, number] | null },
  kind: Finding["kind"],
  text: string,
  given: string,
) {
  if (node.range)
    findings.push({ from: node.range[0], to: Math.max(node.range[1], node.range[0] + 1), kind, text, given });
}

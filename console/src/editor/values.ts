/** A chart's values as a form: what there is to set, read from its schema or from its values with their comments; and one's own text, changed in one place. */
import { Document, isMap, isScalar, type Node, type ParsedNode, parseDocument } from "yaml";
import { type Schema, schemaOf } from "./schema";

const DEPTH_MAX = 5;
const FIELDS_MAX = 400;

/** What the values of a chart may be. What its schema does not say is taken from its values. */
export function valuesSchema(values: string, given: unknown): Schema {
  const read = ofValues(values);
  const schema = schemaOf(given);
  return schema ? merged(schema, read) : read;
}

function merged(schema: Schema, read: Schema | undefined, depth = 0): Schema {
  if (!read || depth > DEPTH_MAX) return schema;
  const properties: Record<string, Schema> = { ...read.properties };
  for (const [name, child] of Object.entries(schema.properties ?? {}))
    properties[name] = merged(child, Object.hasOwn(properties, name) ? properties[name] : undefined, depth + 1);
  return {
    ...read,
    ...Object.fromEntries(Object.entries(schema).filter(([, value]) => value !== undefined)),
    default: schema.default ?? read.default,
    description: schema.description ?? read.description,
    properties: Object.keys(properties).length > 0 ? properties : undefined,
  };
}

function ofValues(text: string): Schema {
  let left = FIELDS_MAX;
  const read = (node: unknown, comment: string | null | undefined, depth: number): Schema => {
    const description =
      comment
        ?.replace(/^[#\s-]+/gm, "")
        .trim()
        .slice(0, 400) || undefined;
    if (isMap<Node, Node>(node)) {
      const properties: Record<string, Schema> = {};
      for (const { key, value } of node.items) {
        if (!isScalar(key) || typeof key.value !== "string" || left <= 0 || depth >= DEPTH_MAX) continue;
        left -= 1;
        // What stands before the first key stands before the map.
        const first = node.items[0]?.key === key ? node.commentBefore : undefined;
        properties[key.value] = read(value, key.commentBefore ?? first, depth + 1);
      }
      return { type: "object", description, properties };
    }
    if (!isScalar(node)) return { type: node ? "array" : undefined, description };
    const value = node.value;
    const type = Number.isInteger(value) ? "integer" : typeof value;
    return { type: value === null ? undefined : type, description, default: value ?? undefined };
  };
  const document = parseDocument<ParsedNode>(text, { prettyErrors: false });
  return document.errors.length > 0 ? { type: "object" } : read(document.contents, undefined, 0);
}

/** What one's own text says at a path; nothing where it says nothing, or is no YAML. */
export function valueAt(text: string, path: string[]): unknown {
  const document = parseDocument(text, { prettyErrors: false });
  if (document.errors.length > 0 || !isMap(document.contents)) return undefined;
  const found = document.getIn(path);
  return typeof found === "object" ? undefined : found;
}

/** The same text with another value at a path; without any when it is `undefined`. Comments and order stay. */
export function withValue(text: string, path: string[], value: unknown): string {
  let document: Document = parseDocument(text, { prettyErrors: false });
  if (document.errors.length > 0) return text;
  if (!isMap(document.contents)) document = new Document({});
  if (value === undefined) {
    document.deleteIn(path);
    // What held nothing but this goes, too.
    for (let length = path.length - 1; length > 0; length -= 1) {
      const parent = document.getIn(path.slice(0, length));
      if (isMap(parent) && parent.items.length === 0) document.deleteIn(path.slice(0, length));
    }
  } else document.setIn(path, value);
  return isMap(document.contents) && document.contents.items.length === 0 ? "" : document.toString({ lineWidth: 0 });
}

/** What was typed, as the kind of value that belongs there; `undefined` for nothing. */
export function typed(text: string, schema: Schema): unknown {
  if (text.trim() === "") return undefined;
  if (schema.type === "integer" || schema.type === "number") {
    const number = Number(text);
    return Number.isFinite(number) ? number : text;
  }
  return text;
}

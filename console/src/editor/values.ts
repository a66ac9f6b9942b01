/** A chart's values as a form: what there is to set, as the server found it; and one's own text, changed in one place. */
import { Document, isMap, parseDocument } from "yaml";
import type { Schemas } from "../api/client";
import type { Schema } from "./schema";

export type FormOfValues = Schemas["ValuesFormView"];
export type ValuesField = Schemas["ValuesField"];

/** What the server found in a chart's values, as the editor knows it. */
export function valuesSchema(form: FormOfValues | undefined): Schema {
  const root: Schema = { type: "object" };
  for (const field of form?.sections.flatMap((section) => section.fields) ?? []) {
    let at = root;
    for (const key of field.path.slice(0, -1)) {
      at.properties ??= {};
      at = at.properties[key] ??= { type: "object" };
    }
    const name = field.path.at(-1);
    if (name === undefined) continue;
    at.properties ??= {};
    at.properties[name] = schemaOfField(field);
    if (field.is_required) at.required = [...(at.required ?? []), name];
  }
  return root;
}

/** What a field may hold. */
export function schemaOfField(field: ValuesField): Schema {
  return {
    type: field.type ?? undefined,
    title: field.title ?? undefined,
    description: field.description ?? undefined,
    default: field.default ?? undefined,
    choices: field.enum.length > 0 ? field.enum.map(String) : undefined,
    minimum: field.minimum ?? undefined,
    maximum: field.maximum ?? undefined,
  };
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

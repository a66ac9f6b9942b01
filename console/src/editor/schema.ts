/** What a text may hold: the part of JSON Schema that hints and forms need, read from whatever somebody wrote into a chart. */

export interface Schema {
  type?: string;
  title?: string;
  description?: string;
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  /** What values of a map look like. */
  values?: Schema;
  choices?: string[];
  default?: unknown;
  minimum?: number;
  maximum?: number;
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const text = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);
const whole = (value: unknown): number | undefined => (typeof value === "number" ? value : undefined);

const DEPTH_MAX = 12;
const PROPERTIES_MAX = 4000;

/** Reads a JSON schema that others wrote. What is not understood is left out, and what goes round ends somewhere. */
export function schemaOf(given: unknown): Schema | undefined {
  const root = given;
  let left = PROPERTIES_MAX;
  const find = (pointer: string): unknown => {
    if (!pointer.startsWith("#/")) return undefined;
    let at: unknown = root;
    for (const part of pointer.slice(2).split("/")) {
      if (!isRecord(at)) return undefined;
      at = at[part.replaceAll("~1", "/").replaceAll("~0", "~")];
    }
    return at;
  };
  const read = (node: unknown, depth: number): Schema | undefined => {
    if (!isRecord(node) || depth > DEPTH_MAX) return undefined;
    const pointer = text(node.$ref);
    if (pointer !== undefined) return read(find(pointer), depth + 1);
    const types = Array.isArray(node.type) ? node.type.filter((it) => it !== "null") : [node.type];
    const schema: Schema = {
      type: text(types[0]),
      title: text(node.title),
      description: text(node.description),
      default: node.default,
      minimum: whole(node.minimum),
      maximum: whole(node.maximum),
    };
    if (Array.isArray(node.enum)) schema.choices = node.enum.filter((it) => it !== null).map(String);
    if (Array.isArray(node.required)) schema.required = node.required.flatMap((it) => text(it) ?? []);
    const properties = isRecord(node.properties) ? Object.entries(node.properties) : [];
    for (const [name, child] of properties) {
      if (left <= 0) break;
      left -= 1;
      schema.properties ??= {};
      schema.properties[name] = read(child, depth + 1) ?? {};
    }
    if (schema.properties) schema.type ??= "object";
    schema.items = read(node.items, depth + 1);
    schema.values = read(node.additionalProperties, depth + 1);
    return schema;
  };
  return read(given, 0);
}

/** The schema of what stands at a path; `[]` is an item of a list. */
export function schemaAt(schema: Schema | undefined, path: string[]): Schema | undefined {
  let at = schema;
  for (const key of path) at = key === "[]" ? at?.items : (own(at?.properties, key) ?? at?.values);
  return at;
}

const own = (properties: Record<string, Schema> | undefined, key: string): Schema | undefined =>
  properties && Object.hasOwn(properties, key) ? properties[key] : undefined;

/** The known key that a wrong one was probably meant to be. */
export function meant(key: string, known: string[]): string | undefined {
  if (known.includes(key)) return undefined;
  const wrong = key.toLowerCase();
  let best: string | undefined;
  let least = wrong.length > 4 ? 3 : 2;
  for (const candidate of known) {
    const steps = distance(wrong, candidate.toLowerCase());
    if (steps < least) {
      least = steps;
      best = candidate;
    }
  }
  return best;
}

/** How many letters are to be added, removed or changed. */
function distance(left: string, right: string): number {
  if (Math.abs(left.length - right.length) > 3 || left.length > 64) return 99;
  let row = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (let a = 1; a <= left.length; a += 1) {
    const next = [a];
    for (let b = 1; b <= right.length; b += 1)
      next[b] = Math.min(
        (row[b] ?? 0) + 1,
        (next[b - 1] ?? 0) + 1,
        (row[b - 1] ?? 0) + (left[a - 1] === right[b - 1] ? 0 : 1),
      );
    row = next;
  }
  return row[right.length] ?? 99;
}

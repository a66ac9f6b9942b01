/** The typed client: every call goes through here, so that failures have one shape and an ended session is noticed once. */
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];
export type Account = Schemas["AccountView"];
export type Build = Schemas["BuildView"];
export type Container = Schemas["ContainerView"];
export type ContainerCreate = Schemas["ContainerCreate"];
export type Sample = Schemas["ContainerSample"];
export type Image = Schemas["ImageView"];
export type Machine = Schemas["MachineView"];
export type Gpu = Schemas["GpuView"];
export type FileView = Schemas["FileView"];
export type Problem = Schemas["Problem"];
export type Token = Schemas["TokenView"];

/** A list as the API gives it. */
export interface Page<T> {
  data: T[];
  total: number;
  limit: number;
  offset: number;
}

/** A call that failed. */
export class Failure extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly detail: string,
    readonly hint?: string,
    readonly field?: string,
    /** Further facts that stand beside the problem. */
    readonly facts: Record<string, unknown> = {},
  ) {
    super(detail);
  }

  /** Whether to try again may help. */
  get isPassing(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 502;
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;
const text = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);

/** What a body of an error says, whatever it is. */
export function failureOf(status: number, body: unknown): Failure {
  if (!isRecord(body)) return new Failure(status, "refused", text(body)?.slice(0, 300) || `HTTP ${status}`);
  const { code, detail, hint, field, ...facts } = body;
  const known = text(code) ?? "refused";
  return new Failure(status, known, text(detail) ?? `HTTP ${status}`, text(hint), text(field), facts);
}

/** The server could not be reached at all. */
export const unreachable = (): Failure => new Failure(0, "unreachable", "");

let onSessionEnd: (failure: Failure) => void = () => {};
/** Tells whom to call when the server does not know the session any more. */
export const whenSessionEnds = (listener: (failure: Failure) => void) => {
  onSessionEnd = listener;
};
/** Says that an answer was 401, for those who do not call through `call`. */
export const sessionEnded = (failure: Failure) => onSessionEnd(failure);

export const api = createClient<paths>({ credentials: "same-origin" });

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The body of a successful answer, or a `Failure`. */
export async function call<T>(request: Promise<Answer<T>>, options: { isSignIn?: boolean } = {}): Promise<T> {
  let answer: Answer<T>;
  try {
    answer = await request;
  } catch (error) {
    // This is how `fetch` says that nobody answered.
    if (error instanceof TypeError) throw unreachable();
    throw error;
  }
  const { data, error, response } = answer;
  if (!response.ok) {
    const failure = failureOf(response.status, error);
    if (response.status === 401 && !options.isSignIn) onSessionEnd(failure);
    throw failure;
  }
  if (data === undefined) throw failureOf(response.status, "the answer is empty");
  return data;
}

/** The same for calls whose success has no body. */
export async function done(request: Promise<Answer<unknown>>): Promise<void> {
  await call(request.then((answer) => ({ ...answer, data: answer.data ?? null })));
}

/** Every row of a list, page by page; at most `most`. */
export async function everyRow<T>(
  page: (offset: number, limit: number) => Promise<Page<T>>,
  most = 20_000,
): Promise<T[]> {
  const rows: T[] = [];
  for (;;) {
    const { data, total } = await page(rows.length, 1000);
    rows.push(...data);
    if (data.length === 0 || rows.length >= total || rows.length >= most) return rows;
  }
}

const HEX = /^[0-9a-f]{64}$/i;

/** What is sent instead of a password: its SHA-256, so that no server ever sees it. Plain where the browser has no digest. */
export async function secretOf(password: string): Promise<string> {
  if (!globalThis.crypto?.subtle || HEX.test(password)) return password;
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(password));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

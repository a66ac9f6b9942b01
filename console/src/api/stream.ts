/** Event streams over `fetch`: unlike `EventSource` it tells why a stream ended, and waits as we say. */
import { pause, wait } from "./backoff";
import { Failure, failureOf, sessionEnded, unreachable } from "./client";

export interface StreamEvent {
  name: string;
  data: string;
  id?: string;
}

/** Cuts an event stream into its events, however its pieces come. */
export class EventParser {
  private rest = "";
  private name = "";
  private data: string[] = [];
  private id: string | undefined;

  push(piece: string): StreamEvent[] {
    const events: StreamEvent[] = [];
    const lines = (this.rest + piece).split("\n");
    this.rest = lines.pop() ?? "";
    for (const raw of lines) {
      const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
      if (line === "") {
        if (this.data.length > 0)
          events.push({ name: this.name || "message", data: this.data.join("\n"), id: this.id });
        this.name = "";
        this.data = [];
        continue;
      }
      const colon = line.indexOf(":");
      if (colon === 0) continue;
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (field === "event") this.name = value;
      else if (field === "data") this.data.push(value);
      else if (field === "id") this.id = value;
    }
    return events;
  }
}

/** How a stream does. */
export type Link =
  | { state: "connecting" }
  | { state: "open" }
  | { state: "waiting"; until: number }
  | { state: "ended"; failure?: Failure };

export interface Following {
  /** Where to read; asked anew before each try, so that it can go on where it was. */
  url: () => string;
  onEvent: (event: StreamEvent) => void;
  onLink?: (link: Link) => void;
  /** The event after which nothing comes. */
  last?: string;
  /** Called before each try but the first. */
  onRetry?: () => void;
}

/** Follows a stream, over broken connections, until its last event or until it is called off. */
export async function follow(following: Following, signal: AbortSignal): Promise<void> {
  const tell = following.onLink ?? (() => {});
  let attempt = 0;
  let lastId: string | undefined;
  while (!signal.aborted) {
    tell({ state: "connecting" });
    try {
      const headers: Record<string, string> = { accept: "text/event-stream" };
      if (lastId !== undefined) headers["last-event-id"] = lastId;
      const response = await fetch(following.url(), { headers, credentials: "same-origin", signal, cache: "no-store" });
      if (!response.ok || !response.body) {
        const body: unknown = await response.json().catch(() => undefined);
        throw failureOf(response.status, body);
      }
      tell({ state: "open" });
      const isDone = await read(response.body, (event) => {
        // It lives: the next break is a first one.
        attempt = 0;
        if (event.id !== undefined) lastId = event.id;
        // A mistake of ours is no broken connection.
        try {
          following.onEvent(event);
        } catch (error) {
          reportError(error);
        }
        return event.name === following.last;
      });
      if (isDone) {
        tell({ state: "ended" });
        return;
      }
    } catch (error) {
      if (signal.aborted) return;
      const failure = error instanceof Failure ? error : unreachable();
      if (failure.status === 401) sessionEnded(failure);
      if (!failure.isPassing && failure.status !== 401 && failure.status !== 500) {
        tell({ state: "ended", failure });
        return;
      }
    }
    attempt += 1;
    const ms = pause(attempt);
    tell({ state: "waiting", until: Date.now() + ms });
    await wait(ms, signal);
    following.onRetry?.();
  }
}

/** How long events are taken without a pause. */
const SLICE_MS = 40;

async function read(body: ReadableStream<Uint8Array>, take: (event: StreamEvent) => boolean): Promise<boolean> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let since = performance.now();
  const parser = new EventParser();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return false;
      for (const event of parser.push(decoder.decode(value, { stream: true }))) {
        if (take(event)) return true;
        // However much comes at once: the page is drawn and hears its reader in between.
        if (performance.now() - since > SLICE_MS) {
          await new Promise((resolve) => setTimeout(resolve));
          since = performance.now();
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

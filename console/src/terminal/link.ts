/**
 * The connection of a terminal (docs/API.md, "Terminals"): opened with a ticket, and opened again where it was when it was lost. Bytes are
 * counted, so that nothing is missed and nothing is shown twice.
 */
import { pause, wait } from "../api/backoff";
import { Failure, type Schemas, unreachable } from "../api/client";

export interface Ending {
  /** `exited`, or why else; or a problem's code. */
  code: string;
  message: string;
  /** Whether the command ended by itself. */
  isPlain: boolean;
  exitCode?: number;
}

/** Asks for a ticket, wherever the terminal is. */
export type TicketOf = (body: Schemas["TerminalCreate"]) => Promise<{ path: string }>;

export type Status =
  | { state: "opening" }
  | { state: "open"; viewers: number }
  | { state: "waiting" }
  | { state: "ended"; ending: Ending };

export interface Viewer {
  size: () => { columns: number; rows: number };
  onOutput: (data: Uint8Array) => void;
  onDropped: (bytes: number) => void;
  /** What comes next has been shown before, or that is over. */
  onRepeat: (isRepeating: boolean) => void;
  /** The terminal has this size now, whoever changed it. */
  onSize: (columns: number, rows: number) => void;
  onStatus: (status: Status) => void;
}

const INPUT = 0;
const PIECE = 32 * 1024;

interface Told {
  type: string;
  session?: string;
  offset?: number;
  live_offset?: number;
  columns?: number;
  rows?: number;
  bytes?: number;
  count?: number;
  reason?: string;
  exit_code?: number | null;
  message?: string;
}

export class TerminalLink {
  session: string | undefined;
  private seen: number | undefined;
  /** Until here it is a repetition. */
  private liveAt = 0;
  private socket: WebSocket | undefined;
  private over = new AbortController();
  private viewers = 1;
  private hasEnded = false;
  /** What was typed while nobody listened. */
  private held: Uint8Array[] = [];

  constructor(
    private readonly ticket: TicketOf,
    session: string | undefined,
    private readonly viewer: Viewer,
  ) {
    this.session = session;
  }

  /** Opens it, and opens it again until it ends or is left. */
  async open() {
    for (let attempt = 1; !this.over.signal.aborted && !this.hasEnded; attempt += 1) {
      try {
        const wasOpen = await this.once();
        if (wasOpen) attempt = 1;
      } catch (error) {
        const failure = error instanceof Failure ? error : unreachable();
        if (!failure.isPassing && failure.status !== 401) {
          this.end({ code: failure.code, message: failure.detail, isPlain: false });
          return;
        }
      }
      if (this.over.signal.aborted || this.hasEnded) return;
      this.viewer.onStatus({ state: "waiting" });
      await wait(pause(attempt), this.over.signal);
    }
  }

  /** Leaves it; the command goes on for a while. */
  leave() {
    this.over.abort();
    this.socket?.close();
  }

  send(data: Uint8Array) {
    if (this.socket?.readyState !== WebSocket.OPEN) {
      if (this.held.length < 1000) this.held.push(data);
      return;
    }
    for (let at = 0; at < data.length; at += PIECE) {
      const piece = data.subarray(at, at + PIECE);
      const message = new Uint8Array(piece.length + 1);
      message[0] = INPUT;
      message.set(piece, 1);
      this.socket.send(message);
    }
  }

  resize(columns: number, rows: number) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ type: "resize", columns, rows }));
  }

  /** One connection, to its end; whether it came to be. */
  private async once(): Promise<boolean> {
    const { columns, rows } = this.viewer.size();
    const body = this.session ? { session: this.session, columns, rows, from: this.seen ?? null } : { columns, rows };
    const { path } = await this.ticket(body);
    if (this.over.signal.aborted) return false;
    const address = new URL(path, window.location.href);
    address.protocol = address.protocol.replace("http", "ws");
    const socket = new WebSocket(address, "longshore.terminal.v1");
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    return new Promise((resolve) => {
      let wasOpen = false;
      socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
        wasOpen = true;
        if (typeof data === "string") this.take(JSON.parse(data));
        else this.show(new Uint8Array(data));
      };
      socket.onclose = () => resolve(wasOpen);
    });
  }

  private show(message: Uint8Array) {
    const output = message.subarray(1);
    const repeated = Math.max(this.liveAt - (this.seen ?? 0), 0);
    if (repeated > 0) this.viewer.onOutput(output.subarray(0, repeated));
    this.advance(output.length);
    if (repeated < output.length) this.viewer.onOutput(output.subarray(repeated));
  }

  private advance(bytes: number) {
    const wasRepeating = (this.seen ?? 0) < this.liveAt;
    this.seen = (this.seen ?? 0) + bytes;
    if (wasRepeating && this.seen >= this.liveAt) this.viewer.onRepeat(false);
  }

  private take(told: Told) {
    if (told.type === "opened") {
      this.session = told.session;
      this.seen = told.offset ?? 0;
      this.liveAt = told.live_offset ?? 0;
      this.viewer.onRepeat(this.seen < this.liveAt);
      const size = this.viewer.size();
      if (told.columns !== size.columns || told.rows !== size.rows) this.resize(size.columns, size.rows);
      this.viewer.onStatus({ state: "open", viewers: this.viewers });
      for (const data of this.held.splice(0)) this.send(data);
    } else if (told.type === "dropped") {
      this.advance(told.bytes ?? 0);
      this.viewer.onDropped(told.bytes ?? 0);
    } else if (told.type === "resized" && told.columns && told.rows) this.viewer.onSize(told.columns, told.rows);
    else if (told.type === "viewers") {
      this.viewers = told.count ?? 1;
      this.viewer.onStatus({ state: "open", viewers: this.viewers });
    } else if (told.type === "ended") {
      const code = told.reason ?? "exited";
      this.end({
        code,
        message: told.message ?? code,
        isPlain: code === "exited",
        exitCode: told.exit_code ?? undefined,
      });
    }
  }

  private end(ending: Ending) {
    this.hasEnded = true;
    this.viewer.onStatus({ state: "ended", ending });
  }
}

/** A log in memory: lines as they come, the newest kept, and readers told at most once for each picture on the screen. */

const LINES_MAX = 200_000;
const CHARS_MAX = 48 << 20;

export interface Line {
  text: string;
  isError: boolean;
}

export class LogModel {
  private lines: Line[] = [];
  private open: Line | undefined;
  private chars = 0;
  private listeners = new Set<() => void>();
  private frame = 0;
  /** Changes whenever anything does. */
  version = 0;
  /** Lines that were here and are not kept. */
  dropped = 0;

  get count(): number {
    return this.lines.length + (this.open ? 1 : 0);
  }

  line(index: number): Line | undefined {
    return index < this.lines.length ? this.lines[index] : index === this.lines.length ? this.open : undefined;
  }

  /** Adds what was printed; a line goes on until it ends. */
  push(text: string, isError = false) {
    const parts = text.split("\n");
    for (const [index, part] of parts.entries()) {
      if (index > 0) this.close();
      if (part === "") continue;
      if (this.open) this.open.text = overwrite(this.open.text, part);
      else this.open = { text: overwrite("", part), isError };
      // The end of a last line that never ends would make each piece dearer than the one before.
      if (this.open.text.length > 64_000) this.close();
    }
    this.change();
  }

  clear() {
    this.lines = [];
    this.open = undefined;
    this.chars = 0;
    this.dropped = 0;
    this.change();
  }

  /** Numbers of the lines that hold a text. */
  find(text: string, most = 50_000): number[] {
    const wanted = text.toLowerCase();
    const found: number[] = [];
    for (let index = 0; wanted !== "" && index < this.count && found.length < most; index += 1)
      if (this.line(index)?.text.toLowerCase().includes(wanted)) found.push(index);
    return found;
  }

  /** The last line that looks like the reason of a failure. */
  failure(): number | undefined {
    const pattern = /\b(error|failed|fatal|exception|not found|denied|returned a non-zero code|no such)\b/i;
    for (let index = this.count - 1; index >= Math.max(0, this.count - 5000); index -= 1)
      if (pattern.test(this.line(index)?.text ?? "")) return index;
    return undefined;
  }

  subscribe = (listener: () => void) => {
    this.listeners.add(listener);
    return () => {
      this.listeners.delete(listener);
    };
  };

  private close() {
    const line = this.open ?? { text: "", isError: false };
    this.open = undefined;
    this.lines.push(line);
    this.chars += line.text.length;
    if (this.lines.length > LINES_MAX || this.chars > CHARS_MAX) {
      const gone = this.lines.splice(0, Math.ceil(this.lines.length / 10));
      this.dropped += gone.length;
      for (const line of gone) this.chars -= line.text.length;
    }
  }

  private change() {
    this.version += 1;
    if (this.frame) return;
    const tell = () => {
      this.frame = 0;
      for (const listener of this.listeners) listener();
    };
    this.frame = typeof requestAnimationFrame === "function" ? requestAnimationFrame(tell) : 1;
    if (typeof requestAnimationFrame !== "function") tell();
  }
}

/** What a carriage return leaves: progress that writes over itself ends as its last state. */
function overwrite(before: string, part: string): string {
  const text = before + part;
  const body = text.endsWith("\r") ? text.slice(0, -1) : text;
  const at = body.lastIndexOf("\r");
  return at < 0 ? text : text.slice(at + 1);
}

/**
 * Between a program that prints and a page that draws: what can be drawn waits its turn, and when more waits than anybody could read,
 * the oldest of it is left out and counted. So a flood costs the page neither its memory nor its keys.
 */

/** More than the terminal keeps of what has left its screen. */
const WAITING_BYTES_MAX = 4 * 1024 * 1024;
const DRAWN_TOGETHER_BYTES = 256 * 1024;

export class Flow {
  /** What was printed, and between that how many bytes were left out, and what is to be done when the page is there. */
  private readonly queue: (Uint8Array | number | (() => void))[] = [];
  private waiting = 0;
  private isDrawing = false;

  constructor(
    private readonly draw: (data: Uint8Array, drawn: () => void) => void,
    private readonly onLeftOut: (bytes: number) => void,
  ) {}

  push(data: Uint8Array) {
    this.queue.push(data);
    this.waiting += data.length;
    this.trim();
    this.next();
  }

  /** Somebody else has left out so many bytes here. */
  leaveOut(bytes: number) {
    this.queue.push(bytes);
    this.next();
  }

  /** Does something when all that was printed before is drawn. */
  after(act: () => void) {
    this.queue.push(act);
    this.next();
  }

  private trim() {
    let left = 0;
    while (this.waiting > WAITING_BYTES_MAX) {
      const oldest = this.queue.shift() ?? 0;
      if (typeof oldest === "function") oldest();
      else if (typeof oldest === "number") left += oldest;
      else {
        this.waiting -= oldest.length;
        left += oldest.length;
      }
    }
    if (left > 0) this.queue.unshift(left);
  }

  private next() {
    while (!this.isDrawing) {
      const [first] = this.queue;
      if (first === undefined) return;
      if (typeof first === "number") {
        this.queue.shift();
        this.onLeftOut(first);
      } else if (typeof first === "function") {
        this.queue.shift();
        first();
      } else {
        this.isDrawing = true;
        this.draw(this.together(), () => {
          this.isDrawing = false;
          this.next();
        });
      }
    }
  }

  /** What can be drawn at once: many small pieces take longer than one. */
  private together(): Uint8Array {
    const pieces: Uint8Array[] = [];
    let length = 0;
    for (const piece of this.queue) {
      if (!(piece instanceof Uint8Array) || (length > 0 && length + piece.length > DRAWN_TOGETHER_BYTES)) break;
      pieces.push(piece);
      length += piece.length;
    }
    this.queue.splice(0, pieces.length);
    this.waiting -= length;
    const data = new Uint8Array(length);
    let at = 0;
    for (const piece of pieces) {
      data.set(piece, at);
      at += piece.length;
    }
    return data;
  }
}

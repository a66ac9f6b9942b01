/** What a terminal shows: xterm.js, with copy and paste, and in the size of its place. */
import { FitAddon } from "@xterm/addon-fit";
import { Terminal } from "@xterm/xterm";
import { Flow } from "./flow";

const encoder = new TextEncoder();

/** What a screen answers to programs that ask it: what it is, where its cursor is, its colours, its settings. No key sends these. */
const ANSWER = /^\u001b(?:\[[?>=]?[\d;]*\$?[cnRtyu]|[\]P])/;

export class Screen {
  onInput: (data: Uint8Array) => void = () => {};
  onResize: (columns: number, rows: number) => void = () => {};
  /** More was printed than can be shown. */
  onLeftOut: (bytes: number) => void = () => {};
  private readonly terminal: Terminal;
  private readonly flow = new Flow(
    (data, drawn) => this.terminal.write(data, drawn),
    (bytes) => this.onLeftOut(bytes),
  );
  private readonly fit = new FitAddon();
  private readonly observer: ResizeObserver;
  private sheets: CSSStyleSheet[] = [];
  private isRepeating = false;

  constructor(place: HTMLElement) {
    const style = getComputedStyle(document.documentElement);
    this.terminal = new Terminal({
      fontFamily: style.getPropertyValue("--mono"),
      fontSize: 13.5,
      cursorBlink: !window.matchMedia("(prefers-reduced-motion: reduce)").matches,
      scrollback: 20_000,
      theme: { background: "#0a1015", foreground: "#d7e3ea", cursor: "#63c3e0", selectionBackground: "#31576a" },
      documentOverride: underThePolicy(document, this.sheets),
    });
    this.terminal.loadAddon(this.fit);
    withStyleHolders(this.sheets, () => this.terminal.open(place));
    this.terminal.attachCustomKeyEventHandler((event) => this.key(event));
    this.terminal.onData((text) => {
      // Whoever asked had its answer when this was new.
      if (!this.isRepeating || !ANSWER.test(text)) this.onInput(encoder.encode(text));
    });
    this.terminal.onBinary((text) => this.onInput(Uint8Array.from(text, (char) => char.charCodeAt(0))));
    this.terminal.onResize(({ cols, rows }) => this.onResize(cols, rows));
    this.observer = new ResizeObserver(() => this.refit());
    this.observer.observe(place);
    this.show();
  }

  size() {
    return { columns: this.terminal.cols, rows: this.terminal.rows };
  }

  write(data: Uint8Array) {
    this.flow.push(data);
  }

  /** So many bytes did not come. */
  leaveOut(bytes: number) {
    this.flow.leaveOut(bytes);
  }

  /** What comes next has been shown before, or that is over. */
  repeat(isRepeating: boolean) {
    this.flow.after(() => {
      this.isRepeating = isRepeating;
    });
  }

  /** Words of ours, set apart from what the program prints. */
  say(text: string) {
    this.terminal.write(`\r\n\u001b[33m[${text}]\u001b[0m\r\n`);
  }

  /** Somebody else changed the size: what is drawn is drawn for that. */
  follow(columns: number, rows: number) {
    if (columns !== this.terminal.cols || rows !== this.terminal.rows) this.terminal.resize(columns, rows);
  }

  show() {
    this.refit();
    this.terminal.focus();
  }

  dispose() {
    this.observer.disconnect();
    this.terminal.dispose();
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((sheet) => !this.sheets.includes(sheet));
  }

  private refit() {
    // A place that is not shown has no size.
    const size = this.fit.proposeDimensions();
    if (size && size.cols > 1 && size.rows > 1 && Number.isFinite(size.cols)) this.fit.fit();
  }

  private key(event: KeyboardEvent): boolean {
    if (event.type !== "keydown" || !event.ctrlKey || !event.shiftKey) return true;
    if (event.code === "KeyC" && this.terminal.hasSelection()) {
      // There is no clipboard for pages that came without TLS from elsewhere; the browser's menu copies there.
      navigator.clipboard?.writeText(this.terminal.getSelection()).catch(() => {});
      event.preventDefault();
      return false;
    }
    // The browser pastes; xterm takes it from there.
    return event.code !== "KeyV";
  }
}

/**
 * A document for xterm.js. It writes `<style>` elements and attributes `style`, which the policy of the page refuses. What it writes
 * goes another way instead, which is allowed because no text of others can take it: style sheets and properties set by script.
 */
function underThePolicy(document: Document, sheets: CSSStyleSheet[]): Document {
  const createElement = (name: string) => {
    if (name === "style") return styleHolder(document, sheets);
    const element = document.createElement(name);
    if (name === "span") element.setAttribute = setAttribute;
    return element;
  };
  return new Proxy(document, {
    get(target, name) {
      if (name === "createElement") return createElement;
      const value: unknown = Reflect.get(target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
    set: (target, name, value) => Reflect.set(target, name, value),
  });
}

function setAttribute(this: HTMLElement, name: string, value: string) {
  if (name === "style") this.style.cssText = value;
  else Element.prototype.setAttribute.call(this, name, value);
}

/** Does something while style elements of the page's own document go the other way, too: one part of xterm.js asks no other. */
function withStyleHolders(sheets: CSSStyleSheet[], act: () => void) {
  const createElement = (name: string, options?: ElementCreationOptions) =>
    name === "style" ? styleHolder(document, sheets) : Document.prototype.createElement.call(document, name, options);
  Object.defineProperty(document, "createElement", { value: createElement, configurable: true });
  try {
    act();
  } finally {
    Reflect.deleteProperty(document, "createElement");
  }
}

function styleHolder(document: Document, sheets: CSSStyleSheet[]): HTMLElement {
  const sheet = new CSSStyleSheet();
  sheets.push(sheet);
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  const holder = Document.prototype.createElement.call(document, "span");
  holder.hidden = true;
  Object.defineProperty(holder, "textContent", { set: (text: string) => sheet.replaceSync(text), get: () => "" });
  const remove = holder.remove.bind(holder);
  holder.remove = () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((it) => it !== sheet);
    remove();
  };
  return holder;
}

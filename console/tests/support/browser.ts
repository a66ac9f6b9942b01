/** Debian's Chromium, driven by playwright-core; a page that complains of anything fails its journey. */
import { existsSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { type Browser, type BrowserContext, chromium, type Locator, type Page } from "playwright-core";
import { inject, onTestFailed } from "vitest";
import { say } from "./words";

export type Language = "en" | "zh";
export type Theme = "light" | "dark";

export interface Look {
  language: Language;
  theme?: Theme;
  width?: number;
  height?: number;
}

let browser: Browser | undefined;

async function theBrowser(): Promise<Browser> {
  const program = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);
  if (!program) throw new Error("there is no Chromium here; ./test installs it");
  // Root has no sandbox of Chromium's; the pages are our own.
  browser ??= await chromium.launch({
    executablePath: program,
    args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
  });
  return browser;
}

export async function closeBrowser() {
  await browser?.close();
  browser = undefined;
}

const place = ({ url, lineNumber, columnNumber }: { url: string; lineNumber: number; columnNumber: number }) =>
  `${url}:${lineNumber + 1}:${columnNumber + 1}`;

/** Chromium gives up a page that it is loading when a container's network comes or goes on this host; a person would go there again. */
function goWhateverTheNetwork(page: Page) {
  const go = page.goto.bind(page);
  page.goto = async (url, options) => {
    for (let tries = 1; ; tries++) {
      try {
        return await go(url, options);
      } catch (error) {
        // The next try can also meet the page of that failure, which is still on its way.
        const isOfNetwork = /ERR_NETWORK_CHANGED|another navigation to "chrome-error:/.test(String(error));
        if (tries === 5 || !isOfNetwork) throw error;
      }
    }
  };
}

/** A person at a browser. */
export class Visitor {
  private constructor(
    readonly context: BrowserContext,
    readonly page: Page,
    readonly look: Look,
    readonly complaints: string[],
    readonly url: string,
  ) {}

  static async arrive(look: Look, url = inject("url")): Promise<Visitor> {
    const { language, theme = "light", width = 1280, height = 860 } = look;
    const context = await (await theBrowser()).newContext({
      baseURL: url,
      viewport: { width, height },
      locale: language === "zh" ? "zh-CN" : "en-US",
      colorScheme: theme,
      timezoneId: "Asia/Shanghai",
      reducedMotion: "reduce",
    });
    context.setDefaultTimeout(15_000);
    const page = await context.newPage();
    goWhateverTheNetwork(page);
    const visitor = new Visitor(context, page, look, [], url);
    visitor.watch(page);
    // What was to be seen when it failed; a page that is closed already has nothing to show.
    onTestFailed(() => visitor.picture("failed").catch(() => {}));
    return visitor;
  }

  watch(page: Page) {
    page.on("pageerror", (error) => this.complaints.push(`error: ${error.message}`));
    page.on("console", (message) => {
      // The browser notes each refusal by the server, also those that are asked for: who is not signed in, what does not exist.
      const isRefusal = /Failed to load resource|WebSocket connection|net::ERR/.test(message.text());
      if (["error", "warning"].includes(message.type()) && !isRefusal)
        this.complaints.push(`${message.type()}: ${message.text()} (${place(message.location())})`);
    });
    page.on("request", (request) => {
      const url = new URL(request.url());
      if (url.origin !== this.url && !["data:", "blob:"].includes(url.protocol))
        this.complaints.push(`asked another host: ${request.url()}`);
    });
  }

  /** What the console says for this key, in this visitor's language. */
  t(key: string, values: Record<string, string | number> = {}): string {
    return say(this.look.language, key, values);
  }

  button(key: string, values: Record<string, string | number> = {}) {
    return this.page.getByRole("button", { name: this.t(key, values), exact: true });
  }

  /** A button or a link of this name; the last one, where a dialog lies over the page. */
  async press(key: string) {
    const name = this.t(key);
    await this.page
      .getByRole("button", { name, exact: true })
      .or(this.page.getByRole("link", { name, exact: true }))
      .last()
      .click();
  }

  async fill(key: string, value: string) {
    await this.page.getByLabel(this.t(key), { exact: true }).last().fill(value);
  }

  /** Goes on with the tabulator until something of this name has the focus, as whoever has no mouse does. */
  async tabTo(key: string) {
    const name = this.t(key);
    const seen: string[] = [];
    for (let step = 0; step < 80; step++) {
      await this.page.keyboard.press("Tab");
      const now = await this.page.evaluate<string>(
        `(() => { const it = document.activeElement; return (it.labels?.[0] ?? it).innerText?.trim() || it.getAttribute("aria-label") || ""; })()`,
      );
      if (now === name) return;
      seen.push(now);
    }
    throw new Error(`“${name}” is not reached with the tabulator, only: ${seen.join(", ")}`);
  }

  /** Pastes over all that an editor holds. */
  async paste(editor: Locator, text: string) {
    await editor.focus();
    await this.page.keyboard.press("Control+a");
    await editor.evaluate((element, text) => {
      const clipboardData = new DataTransfer();
      clipboardData.setData("text/plain", text);
      element.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
    }, text);
  }

  async register(account: string, password: string) {
    await this.page.goto("/");
    await this.press("door.no_account");
    await this.fill("door.account", account);
    await this.fill("field.password", password);
    await this.press("door.sign_up");
    await this.page.getByRole("heading", { level: 1, name: this.t("overview.hello", { name: account }) }).waitFor();
  }

  async signIn(account: string, password: string) {
    await this.page.goto("/");
    await this.fill("door.account", account);
    await this.fill("field.password", password);
    await this.press("door.sign_in");
    await this.page.getByRole("heading", { level: 1, name: this.t("overview.hello", { name: account }) }).waitFor();
  }

  /** What axe finds wrong on the page as it is now. */
  async axe(): Promise<string[]> {
    const source = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
    // Through the debugger, which the policy of the page does not concern.
    await this.page.evaluate(await (await import("node:fs/promises")).readFile(source, "utf8"));
    const found: { id: string; impact: string; nodes: string[] }[] = await this.page.evaluate(
      `axe.run(document, { resultTypes: ["violations"] }).then((it) => it.violations.map(({ id, impact, nodes }) => ({ id, impact, nodes: nodes.map((node) => node.html.slice(0, 160)) })))`,
    );
    return found
      .filter(({ impact }) => impact === "serious" || impact === "critical")
      .map((it) => `${it.id}: ${it.nodes.join(" ")}`);
  }

  /** A picture of the page, kept where LONGSHORE_TEST_PICTURES says. */
  async picture(name: string) {
    const folder = process.env.LONGSHORE_TEST_PICTURES;
    if (!folder) return;
    mkdirSync(folder, { recursive: true });
    const { language, theme = "light", width = 1280 } = this.look;
    await this.page.screenshot({
      path: join(folder, `${name}-${language}-${theme}${width < 800 ? "-phone" : ""}.png`),
    });
  }

  /** Leaves; fails when the page complained of anything. */
  async leave() {
    await this.context.close();
    if (this.complaints.length > 0) throw new Error(`the page complained:\n${this.complaints.join("\n")}`);
  }
}

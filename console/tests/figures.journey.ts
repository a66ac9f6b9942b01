/**
 * What the console promises in figures: how large its shell is, how soon a page can be used, how soon a key shows, how much a page
 * takes that is left open. Each is measured some times over, and the best one counts: something else on this machine may be in the way.
 * With LONGSHORE_TEST_SOAK the page is left open for half an hour.
 */
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { shell } from "./support/archives";
import { closeBrowser, Visitor } from "./support/browser";
import { eventually } from "./support/server";

const SHELL_BYTES = 400 * 1024;
const COLD_MS = 1500;
const WARM_MS = 500;
const ECHO_MS = 30;
const KEYS = 40;
const GROWTH_BYTES = 20 * 1024 * 1024;
const OPEN_MS = process.env.LONGSHORE_TEST_SOAK ? 30 * 60_000 : 12_000;
const TRIES = 4;
/** How far from a goal in time a machine may be that does other things meanwhile; the line that is printed says how far it was. */
const SLACK = 2;

const headers = { authorization: "", "content-type": "application/json" };

async function call<T>(method: string, path: string, body?: BodyInit): Promise<T> {
  const answer = await fetch(inject("url") + path, { method, headers, body });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

/** A container with a shell, which says much. */
let container = 0;

beforeAll(async () => {
  const credentials = JSON.stringify({ account: "measured", password: "correct horse" });
  await call("POST", "/api/auth/register", credentials);
  const { access_token } = await call<{ access_token: string }>("POST", "/api/auth/login", credentials);
  headers.authorization = `Bearer ${access_token}`;
  const context = new Blob([new Uint8Array(await shell())]);
  const { id } = await call<{ id: string }>("POST", "/api/v1/builds?image=box:1", context);
  const isBuilt = async () => (await call<{ state: string }>("GET", `/api/v1/builds/${id}`)).state === "succeeded";
  await eventually("the image is built", isBuilt, 90);
  const talk = "while :; do seq -f 'a line that says how far it has come, and that is %g of 50' 50; sleep 1; done";
  const wanted = { image: "box:1", name: "talker", command: ["sh", "-c", talk] };
  container = (await call<{ id: number }>("POST", "/api/v1/containers", JSON.stringify(wanted))).id;
  const runs = async () =>
    (await call<{ state: string }>("GET", `/api/v1/containers/${container}`)).state === "running";
  await eventually("the container runs", runs, 60);
});

afterAll(closeBrowser);

/** The best of some tries; none after one that will do. */
async function best(what: string, goal: number, measure: () => Promise<number>): Promise<number> {
  const found: number[] = [];
  do found.push(await measure());
  while (found.length < TRIES && Math.min(...found) > goal);
  console.log(`${what}: ${found.map(Math.round).join(", ")} (at most ${goal})`);
  return Math.min(...found);
}

/** Milliseconds from asking for the console until somebody can begin to type. */
async function opened({ page }: Visitor): Promise<number> {
  const began = performance.now();
  await page.goto("/", { waitUntil: "commit" });
  await page.getByRole("textbox").first().waitFor();
  return performance.now() - began;
}

test("the shell is small, and the first page is there at once", async () => {
  let bytes = 0;
  let warm = Number.POSITIVE_INFINITY;
  const cold = await best("first page, cold (ms)", COLD_MS, async () => {
    const visitor = await Visitor.arrive({ language: "en" });
    const network = await visitor.context.newCDPSession(visitor.page);
    await network.send("Network.enable");
    bytes = 0;
    network.on("Network.loadingFinished", ({ encodedDataLength }) => {
      bytes += encodedDataLength;
    });
    const cold = await opened(visitor);
    await visitor.page.waitForLoadState("networkidle");
    await network.detach();
    warm = await best("first page, warm (ms)", WARM_MS, () => opened(visitor));
    await visitor.leave();
    return cold;
  });

  console.log(`shell: ${Math.round(bytes / 1024)} KiB over the line`);
  expect(bytes).toBeGreaterThan(10_000);
  expect(bytes).toBeLessThanOrEqual(SHELL_BYTES);
  expect(cold).toBeLessThanOrEqual(SLACK * COLD_MS);
  expect(warm).toBeLessThanOrEqual(SLACK * WARM_MS);
});

/** From a key to what it shows: milliseconds, by the page's own clock. */
const echo = `
  window.watchForEcho = () => { window.echo = new Promise((resolve) => {
    let began;
    const rows = document.querySelector(".xterm-rows");
    document.addEventListener("keydown", () => { began = performance.now(); }, { capture: true, once: true });
    const seen = new MutationObserver(() => {
      if (began === undefined) return;
      seen.disconnect();
      resolve(performance.now() - began);
    });
    seen.observe(rows, { childList: true, subtree: true, characterData: true });
  }); };
`;

test("a key that is pressed in a terminal shows at once", async () => {
  const visitor = await Visitor.arrive({ language: "en" });
  const { page } = visitor;
  await visitor.signIn("measured", "correct horse");
  await page.goto(`/ui/containers/${container}/terminal`);
  await page.getByText(visitor.t("log.live"), { exact: true }).waitFor();
  await page.keyboard.type("cat\n");
  await page.evaluate(echo);

  const most = await best("echo of a key, p95 (ms)", ECHO_MS, async () => {
    const times: number[] = [];
    for (let at = 0; at < KEYS; at++) {
      await page.evaluate("window.watchForEcho()");
      await page.keyboard.press("x");
      times.push(await page.evaluate<number>("window.echo"));
    }
    await page.keyboard.press("Enter");
    times.sort((a, b) => a - b);
    const part = (share: number) => times[Math.floor(times.length * share)] ?? Number.POSITIVE_INFINITY;
    console.log(`echo of a key, median: ${Math.round(part(0.5))} ms`);
    return part(0.95);
  });

  expect(most).toBeLessThanOrEqual(SLACK * ECHO_MS);
  await visitor.leave();
});

test(
  "a page that is left open with a log does not grow",
  async () => {
    const visitor = await Visitor.arrive({ language: "en" });
    const { page } = visitor;
    await visitor.signIn("measured", "correct horse");
    await page.goto(`/ui/containers/${container}/log`);
    await page
      .getByText(/a line that says how far/)
      .first()
      .waitFor();
    const debug = await visitor.context.newCDPSession(page);
    const heap = async () => {
      await debug.send("HeapProfiler.collectGarbage");
      return (await debug.send("Runtime.getHeapUsage")).usedSize;
    };
    const before = await heap();
    await new Promise((resolve) => setTimeout(resolve, OPEN_MS));
    const grown = (await heap()) - before;

    console.log(
      `heap: ${Math.round(before / 1024)} KiB, ${Math.round(grown / 1024)} KiB more after ${OPEN_MS / 1000} s`,
    );
    expect(grown).toBeLessThanOrEqual(GROWTH_BYTES);
    await visitor.leave();
  },
  OPEN_MS + 120_000,
);

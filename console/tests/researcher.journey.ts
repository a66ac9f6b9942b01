/** Somebody who works in containers: GPUs, terminal, files, log, statistics; and what happens to them when the server goes away. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { shell } from "./support/archives";
import { closeBrowser, type Look, Visitor } from "./support/browser";
import { eventually } from "./support/server";

const folder = mkdtempSync(join(tmpdir(), "longshore-researcher-"));
const headers = { authorization: "", "content-type": "application/json" };

async function call<T>(method: string, path: string, body?: BodyInit): Promise<T> {
  const answer = await fetch(inject("url") + path, { method, headers, body });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

const text = async (path: string) => (await fetch(inject("url") + path, { headers })).text();

/** An account whose image `box:1` has a shell. */
beforeAll(async () => {
  const credentials = JSON.stringify({ account: "researcher", password: "correct horse" });
  await call("POST", "/api/auth/register", credentials);
  const { access_token } = await call<{ access_token: string }>("POST", "/api/auth/login", credentials);
  headers.authorization = `Bearer ${access_token}`;
  await build("box:1", await shell());
});

async function build(image: string, context: Uint8Array) {
  const { id } = await call<{ id: string }>(
    "POST",
    `/api/v1/builds?image=${image}`,
    new Blob([new Uint8Array(context)]),
  );
  await eventually(
    `${image} is built`,
    async () => {
      const { state, message } = await call<{ state: string; message?: string }>("GET", `/api/v1/builds/${id}`);
      if (state === "failed") throw new Error(message);
      return state === "succeeded";
    },
    90,
  );
}

async function container(body: Record<string, unknown>): Promise<number> {
  const { id } = await call<{ id: number }>("POST", "/api/v1/containers", JSON.stringify(body));
  await eventually(
    "the container runs",
    async () => (await call<{ state: string }>("GET", `/api/v1/containers/${id}`)).state === "running",
    60,
  );
  return id;
}

afterAll(async () => {
  await closeBrowser();
  rmSync(folder, { recursive: true });
});

const looks: Look[] = [{ language: "zh" }, { language: "en", theme: "dark" }];

test.each(looks)(
  "a researcher takes a GPU, works in a terminal, and brings files in and out ($language)",
  async (look) => {
    const visitor = await Visitor.arrive(look);
    const name = `work-${look.language}`;
    const { page } = visitor;
    await visitor.signIn("researcher", "correct horse");
    const hasGpus = Boolean(process.env.LONGSHORE_TEST_NVML);

    await page.goto("/ui/containers/new?image=researcher%2Fbox%3A1");
    await visitor.fill("field.name", name);
    if (hasGpus) {
      await page.getByLabel(visitor.t("create.gpus")).selectOption("1");
      await page.getByLabel(visitor.t("create.model")).selectOption("NVIDIA A100-SXM4-40GB");
    }
    await visitor.press("create.begin");
    await page.getByText(visitor.t("state.running"), { exact: true }).first().waitFor({ timeout: 60_000 });

    await page.getByRole("link", { name: visitor.t("container.terminal") }).click();
    await page.locator(".xterm-rows").waitFor();
    await page.getByText(visitor.t("log.live"), { exact: true }).waitFor();
    await page.keyboard.type("echo $((6*7))-works > /tmp/note.txt; cat /tmp/note.txt\n");
    await expect.poll(() => page.locator(".xterm-rows").innerText()).toContain("42-works");
    await visitor.picture("terminal");
    expect(await visitor.axe()).toEqual([]);

    await page.getByRole("link", { name: visitor.t("container.files") }).click();
    await page.getByRole("button", { name: "tmp", exact: true }).click();
    const [note] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("link", { name: "note.txt", exact: true }).click(),
    ]);
    expect(readFileSync(await note.path(), "utf8")).toBe("42-works\n");
    writeFileSync(join(folder, "数据 1.csv"), "a,b\n1,2\n");
    await page.getByLabel(visitor.t("files.choose")).last().setInputFiles(join(folder, "数据 1.csv"));
    await page.getByRole("link", { name: "数据 1.csv", exact: true }).waitFor();
    await visitor.picture("files");
    expect(await visitor.axe()).toEqual([]);

    await visitor.press("save.begin");
    await page
      .getByText(visitor.t("save.most", { size: "" }).trim())
      .first()
      .waitFor();
    await page.getByRole("dialog").getByLabel(visitor.t("field.image_name")).fill(`kept:${look.language}`);
    await visitor.picture("save");
    expect(await visitor.axe()).toEqual([]);
    await page
      .getByRole("dialog")
      .getByRole("button", { name: visitor.t("save.begin"), exact: true })
      .click();
    await page.getByText(visitor.t("build.ready"), { exact: true }).waitFor({ timeout: 60_000 });
    await page.goBack();

    await page.getByRole("link", { name: visitor.t("container.stats") }).click();
    await page.locator("canvas").first().waitFor();
    await visitor.picture("statistics");
    if (hasGpus) {
      await page.goto("/ui/overview");
      await page.getByRole("article", { name: /A100/ }).getByText(`researcher / ${name}`).waitFor();
      await visitor.picture("overview-busy");
      expect(await visitor.axe()).toEqual([]);
    }
    await visitor.leave();
  },
);

test("a terminal comes back where it was after the connection was lost, and shows nothing twice", async () => {
  const visitor = await Visitor.arrive({ language: "en" });
  const { page } = visitor;
  const id = await container({ image: "box:1", name: "steady" });
  await visitor.signIn("researcher", "correct horse");
  await page.goto(`/ui/containers/${id}/terminal`);
  await page.getByText(visitor.t("log.live"), { exact: true }).waitFor();
  const rows = () => page.locator(".xterm-rows").innerText();
  // A program asks what kind of terminal this is, and the shell shows the answer as if it was typed.
  await page.keyboard.type("printf '\\033[c'\n");
  await expect.poll(rows).toContain("?1;2c");
  await page.keyboard.type("\n");
  await page.keyboard.type("echo before-$((40+2))\n");
  await expect.poll(rows).toContain("before-42");
  const answers = async () => (await rows()).split("?1;2c").length;
  const before = await answers();

  await visitor.context.setOffline(true);
  await page.evaluate("window.dispatchEvent(new Event('offline'))");
  // Sockets that are open live on in Chromium when it is told to be offline: the page is reloaded, and meets no server.
  await page.reload().catch(() => {});
  await visitor.context.setOffline(false);
  await page.goto(`/ui/containers/${id}/terminal`);

  await expect.poll(rows).toContain("before-42");
  await page.getByText(visitor.t("log.live"), { exact: true }).waitFor();
  await page.keyboard.type("echo after-$((40+2))\n");
  await expect.poll(rows).toContain("after-42");
  expect((await rows()).split("before-42").length).toBe(2);
  expect(await answers()).toBe(before);
  await visitor.leave();
});

test("a flood in a terminal harms no page: its end is seen, what is left out is counted, and odd codes do nothing", async () => {
  const visitor = await Visitor.arrive({ language: "en" });
  const { page } = visitor;
  const thrown: Error[] = [];
  page.on("pageerror", (error) => thrown.push(error));
  const id = await container({ image: "box:1", name: "flood" });
  await visitor.signIn("researcher", "correct horse");
  await page.goto(`/ui/containers/${id}/terminal`);
  await page.getByText(visitor.t("log.live"), { exact: true }).waitFor();
  const rows = () => page.locator(".xterm-rows").innerText();

  // A title, a clipboard, a way out of the page, and then more than a page should hold.
  const odd = "\\033]0;owned\\007\\033]52;c;b3duZWQ=\\007\\033]8;;javascript:document.title=1\\007link\\033]8;;\\007";
  await page.keyboard.type(`printf '${odd}'; seq 1 9000000; echo end-$((40+2))\n`);
  await expect.poll(rows, { timeout: 120_000 }).toContain("end-42");
  await page.keyboard.type("echo after-$((40+2))\n");
  await expect.poll(rows).toContain("after-42");

  expect(await page.title()).toBe("Longshore");
  expect(thrown).toEqual([]);
  await visitor.leave();
});

test("a log of many lines is read, searched and followed without standing still, and what is in it does nothing", async () => {
  const visitor = await Visitor.arrive({ language: "en" });
  const { page } = visitor;
  const hostile = "<img src=x onerror=document.title=1><script>document.title=2</script>";
  const id = await container({
    image: "box:1",
    name: "chatty",
    command: [
      "/bin/sh",
      "-c",
      `seq 1 300000; echo '${hostile}'; printf '\\033]0;title\\007\\033[31mred needle\\033[0m \\342\\200\\256back\\n'; while :; do sleep 1; echo tick; done`,
    ],
  });
  await eventually(
    "all is printed",
    async () => (await text(`/api/v1/containers/${id}/log?tail=3`)).includes("tick"),
    60,
  );
  await visitor.signIn("researcher", "correct horse");
  await page.addInitScript(() => {
    const long: number[] = [];
    new PerformanceObserver((list) => long.push(...list.getEntries().map((entry) => entry.duration))).observe({
      entryTypes: ["longtask"],
    });
    Object.assign(window, { longTasks: long });
  });

  await page.goto(`/ui/containers/${id}/log`);
  await expect.poll(() => page.getByRole("log").innerText(), { timeout: 60_000 }).toContain("tick");
  await page.getByRole("searchbox").fill("needle");
  await page.locator(".log-line.now mark").waitFor();
  await visitor.picture("log");

  expect(await page.locator(".log-line").count()).toBeLessThan(120);
  expect(await page.getByRole("log").innerText()).toContain(hostile);
  expect(await page.getByRole("log").innerText()).toContain("‹U+202E›back");
  expect(await page.title()).toBe("Longshore");
  expect(await visitor.axe()).toEqual([]);
  const long: number[] = await page.evaluate("window.longTasks");
  expect(Math.max(0, ...long)).toBeLessThan(1000);
  await visitor.leave();
});

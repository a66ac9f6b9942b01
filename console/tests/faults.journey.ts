/** What people see when the server goes away under them, and that they find everything again. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { sample, shell } from "./support/archives";
import { closeBrowser, Visitor } from "./support/browser";
import { eventually, TestServer } from "./support/server";

const server = new TestServer();
const headers = { authorization: "", "content-type": "application/json" };
let container = 0;

async function call<T>(method: string, path: string, body?: BodyInit): Promise<T> {
  const answer = await fetch(server.url + path, { method, headers, body });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

beforeAll(async () => {
  await server.start();
  const credentials = JSON.stringify({ account: "patient", password: "correct horse" });
  await call("POST", "/api/auth/register", credentials);
  const { access_token } = await call<{ access_token: string }>("POST", "/api/auth/login", credentials);
  headers.authorization = `Bearer ${access_token}`;
  const context = await shell(
    JSON.stringify(["/bin/sh", "-c", "n=0; while :; do n=$((n+1)); echo line-$n; sleep 1; done"]),
  );
  const { id } = await call<{ id: string }>(
    "POST",
    "/api/v1/builds?image=ticks:1",
    new Blob([new Uint8Array(context)]),
  );
  await eventually(
    "the image is built",
    async () => (await call<{ state: string }>("GET", `/api/v1/builds/${id}`)).state === "succeeded",
    90,
  );
  container = (
    await call<{ id: number }>("POST", "/api/v1/containers", JSON.stringify({ image: "ticks:1", name: "ticks" }))
  ).id;
  await eventually(
    "the container runs",
    async () => (await call<{ state: string }>("GET", `/api/v1/containers/${container}`)).state === "running",
    60,
  );
});

afterAll(async () => {
  await closeBrowser();
  await call("DELETE", `/api/v1/containers/${container}`);
  await eventually(
    "the container is gone",
    async () => (await fetch(`${server.url}/api/v1/containers/${container}`, { headers })).status === 404,
    60,
  );
  await server.stop();
  server.clean();
});

test("a log goes on after the server was killed, and the page says what it waits for meanwhile", async () => {
  const visitor = await Visitor.arrive({ language: "en" }, server.url);
  const { page } = visitor;
  await visitor.signIn("patient", "correct horse");
  await page.goto(`/ui/containers/${container}/log`);
  const log = page.getByRole("log");
  await expect.poll(() => log.innerText()).toMatch(/line-\d+/);

  await server.stop("SIGKILL");
  await page
    .getByText(/The connection is lost\. Next try in \d+ s/)
    .first()
    .waitFor();
  await visitor.picture("connection-lost");
  await server.start();
  await page.getByText(visitor.t("log.live"), { exact: true }).waitFor({ timeout: 60_000 });

  const last = async () =>
    Math.max(...[...(await log.innerText()).matchAll(/line-(\d+)/g)].map((match) => Number(match[1])));
  const before = await last();
  await expect.poll(last, { timeout: 30_000 }).toBeGreaterThan(before + 1);
  await page.locator(".linkbar").waitFor({ state: "detached", timeout: 60_000 });
  await visitor.leave();
});

test("what changes is shown in every tab over one stream, also after the server came back", async () => {
  const visitor = await Visitor.arrive({ language: "zh" }, server.url);
  const { page } = visitor;
  const streams: string[] = [];
  visitor.context.on("request", (request) => request.url().endsWith("/api/v1/events") && streams.push(request.url()));
  await visitor.signIn("patient", "correct horse");
  await page.goto("/ui/containers");
  const second = await visitor.context.newPage();
  visitor.watch(second);
  await second.goto("/ui/containers");
  for (const tab of [page, second])
    await tab.getByRole("row", { name: /ticks/ }).getByText(visitor.t("state.running"), { exact: true }).waitFor();
  const begun = streams.length;

  await page
    .getByRole("row", { name: /ticks/ })
    .getByRole("button", { name: visitor.t("act.stop") })
    .click();
  for (const tab of [page, second])
    await tab.getByRole("row", { name: /ticks/ }).getByText(visitor.t("state.stopped")).waitFor({ timeout: 30_000 });
  expect(streams.length).toBe(begun);

  await server.stop("SIGKILL");
  await server.start();
  await call("POST", `/api/v1/containers/${container}/start`);
  for (const tab of [page, second])
    await tab
      .getByRole("row", { name: /ticks/ })
      .getByText(visitor.t("state.running"), { exact: true })
      .waitFor({ timeout: 60_000 });
  await visitor.leave();
});

test("an upload that meets no server says when it tries again, and becomes an image when there is one", async () => {
  const visitor = await Visitor.arrive({ language: "zh" }, server.url);
  const { page } = visitor;
  await visitor.signIn("patient", "correct horse");
  await page.goto("/ui/images/upload");
  const zip = { name: "late.zip", mimeType: "application/zip", buffer: sample() };
  await page.getByLabel(visitor.t("upload.choose_zip")).last().setInputFiles(zip);
  await server.stop("SIGKILL");
  await visitor.press("upload.begin");
  await page.getByText(new RegExp(visitor.t("upload.retry", { seconds: "\\d+" }))).waitFor();
  await visitor.picture("upload-waits");
  expect(await visitor.axe()).toEqual([]);

  await server.start();
  await page.getByText(visitor.t("build.ready"), { exact: true }).waitFor({ timeout: 90_000 });
  await visitor.leave();
});

test("a terminal whose server was killed says so, and another one is a click away", async () => {
  const visitor = await Visitor.arrive({ language: "en" }, server.url);
  const { page } = visitor;
  await visitor.signIn("patient", "correct horse");
  await page.goto(`/ui/containers/${container}/terminal`);
  await page.getByText(visitor.t("log.live"), { exact: true }).waitFor();

  await server.stop("SIGKILL");
  await page.getByText(visitor.t("terminal.lost"), { exact: true }).waitFor();
  await server.start();
  const again = page.getByRole("status").getByRole("button", { name: visitor.t("terminal.new") });
  await again.click({ timeout: 60_000 });
  await page.getByText(visitor.t("log.live"), { exact: true }).waitFor({ timeout: 30_000 });
  await page.keyboard.type("echo again-$((6*7))\n");

  await expect.poll(() => page.locator(".xterm-rows").innerText()).toContain("again-42");
  await visitor.leave();
});

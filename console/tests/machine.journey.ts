/** What people see when the link to a machine is lost: nothing pretends, and everything is known again when it is back. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { Agent } from "./support/agent";
import { shell } from "./support/archives";
import { closeBrowser, Visitor } from "./support/browser";
import { ADMIN_PASSWORD, eventually, TestServer } from "./support/server";

const server = new TestServer();
const headers = { authorization: "", "content-type": "application/json" };
let agent: Agent | undefined;
let container = 0;

async function call<T>(method: string, path: string, body?: BodyInit): Promise<T> {
  const answer = await fetch(server.url + path, { method, headers, body });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

async function login(account: string, password: string) {
  const credentials = JSON.stringify({ account, password });
  const { access_token } = await call<{ access_token: string }>("POST", "/api/auth/login", credentials);
  headers.authorization = `Bearer ${access_token}`;
}

const stateIs = (state: string) => async () =>
  (await call<{ state: string }>("GET", `/api/v1/containers/${container}`)).state === state;

beforeAll(async () => {
  // The only machine is the one whose link is lost.
  server.settings.LONGSHORE_MACHINE_ENABLED = "false";
  await server.start();
  await login("admin", ADMIN_PASSWORD);
  const { url, token } = await call<{ url: string; token: string }>("POST", "/api/v1/invites", "{}");
  agent = await Agent.join(server, `longshore agent join ${url} ${token}`);
  const machines = () => call<{ data: { online: boolean }[] }>("GET", "/api/v1/machines");
  await eventually("the machine is there", async () => (await machines()).data.some((it) => it.online));
  await call("POST", "/api/auth/register", JSON.stringify({ account: "farmer", password: "correct horse" }));
  await login("farmer", "correct horse");
  const context = new Blob([new Uint8Array(await shell())]);
  const { id } = await call<{ id: string }>("POST", "/api/v1/builds?image=box:1", context);
  const isBuilt = async () => (await call<{ state: string }>("GET", `/api/v1/builds/${id}`)).state === "succeeded";
  await eventually("the image is built", isBuilt, 90);
  const wanted = JSON.stringify({ image: "box:1", name: "field", command: ["sleep", "3600"] });
  container = (await call<{ id: number }>("POST", "/api/v1/containers", wanted)).id;
  await eventually("the container runs", stateIs("running"), 60);
});

afterAll(async () => {
  await closeBrowser();
  await fetch(`${server.url}/api/v1/containers/${container}`, { method: "DELETE", headers });
  const isGone = async () => (await fetch(`${server.url}/api/v1/containers/${container}`, { headers })).status === 404;
  await eventually("the container is gone", isGone, 60);
  await agent?.stop();
  await server.stop();
  server.clean();
});

test("a machine that cannot be reached is said to be so, and its containers are known again when it is back", async () => {
  const visitor = await Visitor.arrive({ language: "en" }, server.url);
  const { page } = visitor;
  await visitor.signIn("farmer", "correct horse");
  await page.goto(`/ui/containers/${container}/terminal`);
  await page.getByText(visitor.t("log.live"), { exact: true }).waitFor();

  await agent?.stop("SIGKILL");

  // The open terminal has ended, the state is not known, and nothing has to be reloaded for it.
  await page.getByText(visitor.t("state.unknown"), { exact: true }).first().waitFor({ timeout: 60_000 });
  await page
    .getByRole("status")
    .filter({ hasText: visitor.t("terminal.closed", { reason: "" }).trim() })
    .waitFor();
  await page.getByText(visitor.t("container.unknown"), { exact: true }).waitFor();
  await visitor.picture("machine-lost");
  expect(await visitor.axe()).toEqual([]);
  await page.goto("/ui/machines");
  await page.getByText(visitor.t("machine.unknown"), { exact: true }).first().waitFor();
  // What is asked of it meanwhile is refused in plain words, and what was typed stays.
  await page.goto("/ui/containers/new");
  await visitor.fill("field.image", "farmer/box:1");
  await visitor.fill("field.name", "later");
  await visitor.press("create.begin");
  await page.getByRole("alert").first().waitFor();
  expect(await page.getByLabel(visitor.t("field.name"), { exact: true }).inputValue()).toBe("later");

  agent?.start();
  await page.goto(`/ui/containers/${container}`);
  await page.getByText(visitor.t("state.running"), { exact: true }).first().waitFor({ timeout: 60_000 });
  // What happened is written down.
  const events = page.getByRole("region", { name: visitor.t("container.events") });
  await events.getByText(visitor.t("state.unknown"), { exact: true }).first().waitFor();
  // And what it uses is in the list, once its machine has looked twice.
  await page.goto("/ui/containers");
  await page
    .getByRole("row", { name: /field/ })
    .getByText(/cores · \d/)
    .waitFor({ timeout: 60_000 });
  await visitor.leave();
});

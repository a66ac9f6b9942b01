/** An admin: invites a machine, sets a quota, sees who holds which GPU, reads the audit log, drains, and tidies up. */
import { afterAll, afterEach, beforeEach, expect, test } from "vitest";
import { Agent } from "./support/agent";
import { shell } from "./support/archives";
import { closeBrowser, type Look, Visitor } from "./support/browser";
import { hasCluster, kubeconfig } from "./support/cluster";
import { ADMIN_PASSWORD, eventually, TestServer } from "./support/server";

let server = new TestServer();
let agent: Agent | undefined;
const driver = process.env.LONGSHORE_TEST_NVML;

beforeEach(async () => {
  server = new TestServer();
  // The only machine is the one that will be invited.
  server.settings.LONGSHORE_MACHINE_ENABLED = "false";
  // A tidying up waits until no token is left that could begin a push.
  server.settings.LONGSHORE_REGISTRY_TOKEN_SECS = "5";
  await server.start();
});

afterEach(async () => {
  await agent?.stop();
  agent = undefined;
  await server.stop();
  server.clean();
});

afterAll(closeBrowser);

const headers = { "content-type": "application/json", authorization: "" };

async function call<T>(method: string, path: string, body?: BodyInit): Promise<T> {
  const answer = await fetch(server.url + path, { method, headers, body });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

/** What the new account does with its GPU, while the admin looks. */
async function takesGpu(account: string) {
  const credentials = JSON.stringify({ account, password: "correct horse" });
  const { access_token } = await call<{ access_token: string }>("POST", "/api/auth/login", credentials);
  headers.authorization = `Bearer ${access_token}`;
  const context = new Blob([new Uint8Array(await shell())]);
  const { id } = await call<{ id: string }>("POST", "/api/v1/builds?image=box:1", context);
  await eventually(
    "the image is built",
    async () => (await call<{ state: string }>("GET", `/api/v1/builds/${id}`)).state === "succeeded",
    90,
  );
  const wanted = { image: "box:1", name: "training", gpus: { count: 1 } };
  const made = await call<{ id: number }>("POST", "/api/v1/containers", JSON.stringify(wanted));
  await eventually(
    "the container runs",
    async () => (await call<{ state: string }>("GET", `/api/v1/containers/${made.id}`)).state === "running",
    60,
  );
  return made.id;
}

const looks: Look[] = [{ language: "en" }, { language: "zh", theme: "dark", width: 390, height: 800 }];

test.each(looks)("an admin brings a machine in and keeps order ($language)", async (look) => {
  const visitor = await Visitor.arrive(look, server.url);
  const { page } = visitor;
  await visitor.signIn("admin", ADMIN_PASSWORD);

  // A machine comes in by one line, and shows itself without a reload.
  await page.goto("/ui/machines");
  await page.getByText(visitor.t("machine.empty")).waitFor();
  await visitor.press("machine.add");
  await visitor.press("machine.make_line");
  await page.getByText(visitor.t("machine.without_service")).click();
  const line = await page.getByText(/longshore agent join http\S+ lsj_\S+ && longshore agent run/).innerText();
  agent = await Agent.join(server, line);
  await visitor.press("act.close");
  await page.getByText(visitor.t("machine.online"), { exact: true }).waitFor({ timeout: 30_000 });
  await visitor.picture("admin-machine");

  // An account with a quota.
  await page.goto("/ui/admin/accounts");
  await visitor.press("account.add");
  await visitor.fill("field.account", "student");
  await visitor.fill("field.password", "correct horse");
  await page
    .getByRole("dialog")
    .getByRole("button", { name: visitor.t("account.add") })
    .click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  const row = page.getByRole("row", { name: /student/ });
  await row.getByRole("button", { name: visitor.t("quota.title") }).click();
  const quota = page.getByRole("dialog");
  await quota.getByRole("textbox", { name: "GPU" }).fill("1");
  await quota.getByRole("textbox", { name: visitor.t("quota.disk") }).fill("50g");
  await visitor.picture("admin-quota");
  expect(await visitor.axe()).toEqual([]);
  await quota.getByRole("button", { name: visitor.t("act.save") }).click();
  await quota.waitFor({ state: "detached" });
  await row.getByRole("button", { name: visitor.t("quota.title") }).click();
  expect(
    await page
      .getByRole("dialog")
      .getByRole("textbox", { name: visitor.t("quota.disk") })
      .inputValue(),
  ).toBe("50g");
  await page.keyboard.press("Escape");

  // Who holds which GPU.
  if (driver) {
    const container = await takesGpu("student");
    await page.goto("/ui/machines");
    const tile = page.getByRole("article", { name: /NVIDIA L4/ });
    await tile.getByText(visitor.t("gpu.leased"), { exact: true }).waitFor();
    await tile.getByRole("link", { name: "student / training" }).waitFor();
    await visitor.picture("admin-gpus");
    // The quota is used up, so a second one waits, and the admin sees who waits for what.
    const more = JSON.stringify({ image: "box:1", name: "second", gpus: { count: 1 } });
    const { id } = await call<{ id: number }>("POST", "/api/v1/containers", more);
    await page.goto("/ui/overview");
    await page.getByRole("link", { name: "student / second" }).waitFor();
    await visitor.picture("admin-line");
    for (const it of [id, container])
      await fetch(`${server.url}/api/v1/containers/${it}`, { method: "DELETE", headers });
    await page.goto("/ui/machines");
    await tile.getByText(visitor.t("gpu.free"), { exact: true }).waitFor({ timeout: 30_000 });
  }

  // No new work for the machine, and then again.
  await page.goto("/ui/machines");
  await visitor.press("machine.drain");
  await visitor.fill("machine.reason", "new memory on Friday");
  await page
    .getByRole("dialog")
    .getByRole("button", { name: visitor.t("machine.drain") })
    .click();
  await page.getByText("new memory on Friday").waitFor();
  await visitor.press("machine.resume");
  await page.getByText("new memory on Friday").waitFor({ state: "detached" });

  // A cluster, first with something that is no kubeconfig.
  if (hasCluster) {
    await page.goto("/ui/kubernetes");
    await visitor.press("cluster.add");
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel(visitor.t("field.name"), { exact: true }).fill("lab");
    await dialog.getByLabel("kubeconfig", { exact: true }).fill("apiVersion: v1\nkind: Config\n");
    await dialog.getByRole("button", { name: visitor.t("cluster.add") }).click();
    await dialog.getByRole("alert").waitFor();
    await dialog.getByLabel("kubeconfig", { exact: true }).fill(kubeconfig());
    await visitor.picture("admin-cluster-add");
    expect(await visitor.axe()).toEqual([]);
    await dialog.getByRole("button", { name: visitor.t("cluster.add") }).click();
    await dialog.waitFor({ state: "detached" });
    const clusters = page.getByRole("region", { name: visitor.t("kube.clusters") });
    await clusters.getByText(visitor.t("cluster.ready"), { exact: true }).first().waitFor();
    await visitor.picture("admin-cluster");
    await clusters.getByRole("button", { name: visitor.t("act.delete") }).click();
    await dialog.getByRole("button", { name: visitor.t("act.delete") }).click();
    await clusters.getByText(visitor.t("cluster.first")).waitFor();
  }

  // Who did what.
  await page.goto("/ui/admin/audit?q=account.quota");
  await page
    .getByRole("row", { name: /student/ })
    .first()
    .waitFor();
  await visitor.picture("admin-audit");

  // What the registry's disk can give back.
  await page.goto("/ui/admin/installation");
  await visitor.press("collection.begin");
  await page.getByText(visitor.t("state.succeeded"), { exact: true }).first().waitFor({ timeout: 60_000 });
  await visitor.picture("admin-tidied");
  expect(await visitor.axe()).toEqual([]);
  await visitor.leave();
});

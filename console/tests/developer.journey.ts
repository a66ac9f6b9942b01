/** A developer: from a git repository over a run to an image, into a cluster, to the next version, and back. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { examples } from "../src/editor/kubernetes";
import { closeBrowser, type Look, Visitor } from "./support/browser";
import { Gate, hasCluster, kubeconfig } from "./support/cluster";
import { GitServer } from "./support/git";
import { ADMIN_PASSWORD, TestServer } from "./support/server";

const server = new TestServer();
const git = new GitServer();
const gate = new Gate();

const DOCKERFILE = `FROM scratch
COPY busybox /bin/busybox
COPY busybox /bin/sh
COPY index.html /www/index.html
CMD ["/bin/busybox", "httpd", "-f", "-v", "-p", "8000", "-h", "/www"]
`;

beforeAll(async () => {
  await git.start();
  git.commit({ Dockerfile: DOCKERFILE, busybox: readFileSync("/bin/busybox"), "index.html": "the first" });
  if (hasCluster) {
    await gate.open();
    server.settings.LONGSHORE_REGISTRY_ADVERTISE = gate.address;
  }
  await server.start();
  if (!hasCluster) return;
  gate.target = server.registry;
  const headers = { "content-type": "application/json", authorization: "" };
  const post = async (path: string, body: unknown) => {
    const answer = await fetch(server.url + path, { method: "POST", headers, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  };
  const { access_token } = await post("/api/auth/login", { account: "admin", password: ADMIN_PASSWORD });
  headers.authorization = `Bearer ${access_token}`;
  await post("/api/v1/clusters", { name: "test", kubeconfig: kubeconfig(), pod_ranges: ["10.244.0.0/16"] });
});

afterAll(async () => {
  await closeBrowser();
  await server.stop();
  server.clean();
  await gate.close();
  await git.stop();
});

const looks: (Look & { account: string })[] = [
  { account: "deven", language: "en" },
  { account: "devzh", language: "zh", theme: "dark" },
  { account: "devphone", language: "zh", width: 390, height: 800 },
];
/** Accounts of several runs share the cluster. */
const mark = Date.now().toString(36).slice(-5);

/** Adds the repository, runs it, and waits for its image; the image. */
async function runs(visitor: Visitor, name: string): Promise<string> {
  const { page } = visitor;
  await page.goto("/ui/pipelines");
  await visitor.button("git.add").first().click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel(visitor.t("git.url")).fill(git.url);
  expect(await dialog.getByLabel(visitor.t("field.name"), { exact: true }).inputValue()).toBe("app");
  await dialog.getByLabel(visitor.t("field.name"), { exact: true }).fill(name);
  await visitor.picture("git-add");
  await dialog.getByRole("button", { name: visitor.t("git.add") }).click();
  await page.getByRole("heading", { level: 1, name }).waitFor();
  await visitor.press("git.test");
  await page.getByText(visitor.t("git.tested")).waitFor();
  await visitor.picture("git-repo");
  expect(await visitor.axe()).toEqual([]);
  await startRun(visitor);
  await visitor.picture("run");
  expect(await visitor.axe()).toEqual([]);
  return page.getByRole("status").getByText(/:v\d/).innerText();
}

async function startRun(visitor: Visitor) {
  const { page } = visitor;
  await visitor.press("run.start");
  await page
    .getByRole("dialog")
    .getByRole("button", { name: visitor.t("run.start") })
    .click();
  await page.waitForURL("**/ui/pipelines/runs/*");
  await page.getByText(visitor.t("build.ready"), { exact: true }).waitFor({ timeout: 90_000 });
  await page.getByText(visitor.t("step.push")).waitFor();
  await page
    .getByRole("log")
    .getByText(/Successfully built|Step 5/)
    .first()
    .waitFor();
  // A log that has ended is not followed.
  await page.getByText(visitor.t("log.end"), { exact: true }).waitFor();
  expect(await visitor.button("log.following").count()).toBe(0);
}

/** Says what a repository does by itself and whom it tells; the server has it so, and the page shows it. */
async function automates(visitor: Visitor, name: string) {
  const { page } = visitor;
  await page.goto("/ui/pipelines");
  await page.getByRole("link", { name, exact: true }).first().click();
  const card = page.getByRole("region", { name: visitor.t("auto.title") });
  await card.getByRole("button", { name: visitor.t("act.edit") }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel(visitor.t("auto.branches")).fill("main, v*");
  await dialog.getByLabel(visitor.t("auto.poll")).fill("often");
  expect(await dialog.getByRole("button", { name: visitor.t("act.save") }).isDisabled()).toBe(true);
  await dialog.getByLabel(visitor.t("auto.poll")).fill("15");
  await dialog.getByLabel(visitor.t("auto.schedule")).fill("nonsense");
  await dialog.getByLabel(visitor.t("auto.executor")).selectOption("docker");
  await dialog.getByLabel(visitor.t("auto.deploy"), { exact: true }).selectOption("container");
  await dialog.getByLabel(visitor.t("auto.container"), { exact: true }).fill("web");
  await dialog.getByRole("button", { name: visitor.t("act.save") }).click();
  await dialog.getByRole("alert").waitFor();
  await dialog.getByLabel(visitor.t("auto.schedule")).fill("30 2 * * 1-5");
  await visitor.picture("git-auto");
  expect(await visitor.axe()).toEqual([]);
  await dialog.getByRole("button", { name: visitor.t("act.save") }).click();
  await dialog.waitFor({ state: "detached" });
  await card.getByText("main, v*").waitFor();
  await card.getByText(/30 2 \* \* 1-5/).waitFor();
  await card.getByText("web", { exact: true }).waitFor();

  await visitor.press("notify.add");
  await dialog.getByLabel(visitor.t("notify.kind")).selectOption("webhook");
  await dialog.getByLabel(visitor.t("notify.address")).fill("http://127.0.0.1:9/told");
  await dialog.getByRole("button", { name: visitor.t("notify.add") }).click();
  await dialog.waitFor({ state: "detached" });
  const told = page.getByRole("region", { name: visitor.t("notify.title") });
  await told.getByText("http://127.0.0.1:9/***").waitFor();
  await visitor.picture("git-automated");
  await told.getByRole("button", { name: visitor.t("act.delete") }).click();
  await dialog.getByRole("button", { name: visitor.t("act.delete") }).click();
  await told.getByText(visitor.t("notify.empty")).waitFor();
}

test.each<Look & { account: string }>([
  { account: "gitonly", language: "en" },
  { account: "gitzh", language: "zh", theme: "dark" },
])(
  "a git repository that cannot be read says so, and one that can becomes an image ($account)",
  async ({ account, ...look }) => {
    const visitor = await Visitor.arrive(look, server.url);
    const { page } = visitor;
    await visitor.register(account, "correct horse");
    await page.goto("/ui/pipelines");
    await visitor.button("git.add").first().click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel(visitor.t("git.url")).fill(git.url.replace("app.git", "none.git"));
    await dialog.getByRole("button", { name: visitor.t("git.add") }).click();
    await page.getByRole("heading", { level: 1, name: "none" }).waitFor();
    await visitor.press("git.test");
    await page.getByRole("alert").waitFor();
    await visitor.picture("git-refused");
    expect(await runs(visitor, "right")).toMatch(new RegExp(`^${account}/right:v\\d{12}`));
    await automates(visitor, "right");
    await visitor.leave();
  },
);

describe.skipIf(!hasCluster)("with a cluster", () => {
  test.each(looks)(
    "code goes into the cluster, and back ($account)",
    async ({ account, ...look }) => {
      const visitor = await Visitor.arrive(look, server.url);
      const { page } = visitor;
      const name = account + mark;
      await visitor.register(name, "correct horse");
      const image = await runs(visitor, "web");

      // A room in the cluster, and the manifest.
      await visitor.press("kube.deploy");
      await visitor.press("kube.namespace_new");
      const dialog = page.getByRole("dialog");
      await dialog.getByLabel(visitor.t("field.name")).fill("live");
      await dialog.getByRole("button", { name: visitor.t("kube.namespace_new") }).click();
      await dialog.waitFor({ state: "detached" });
      await visitor.button("kube.example_deployment").click();
      const editor = page.getByRole("textbox", { name: visitor.t("kube.manifest") });
      await editor.getByText(image).waitFor();

      // What is misspelt is pointed at before anybody is asked, and what is not allowed is said with its place.
      const right = examples.deployment(image);
      await visitor.paste(editor, right.replace("replicas: 1", "replica: 1"));
      await page.locator(".cm-lintRange").first().hover();
      await page.getByText(visitor.t("editor.meant", { text: "replicas" })).waitFor();
      await visitor.picture("apply-hint");
      await visitor.paste(editor, right.replace("replicas: 1", "replicas: 1\n  oops: true"));
      await visitor.press("kube.try");
      await page.getByRole("alert").waitFor({ timeout: 30_000 });
      await visitor.picture("apply-refused");
      await visitor.paste(editor, right);
      await visitor.press("kube.try");
      await page.getByText(/Deployment .*my-app/).waitFor({ timeout: 30_000 });
      await visitor.picture("apply-tried");
      expect(await visitor.axe()).toEqual([]);
      await page
        .getByRole("main")
        .getByRole("button", { name: visitor.t("kube.apply"), exact: true })
        .click();

      // It comes up.
      await page.waitForURL(`**/ui/kubernetes/namespaces/${name}-live`);
      await page.getByText(`${visitor.t("workload.ready")} · 1/1`).waitFor({ timeout: 90_000 });
      await page.getByText("Running · 1/1").waitFor({ timeout: 30_000 });
      await visitor.picture("namespace");
      expect(await visitor.axe()).toEqual([]);
      await page
        .getByRole("button", { name: visitor.t("container.terminal") })
        .first()
        .click();
      await page.getByText(visitor.t("log.live"), { exact: true }).waitFor({ timeout: 30_000 });
      // It opens below what was pressed, and comes into sight by itself.
      const top = async () => (await page.locator(".terminal-box").boundingBox())?.y;
      await expect.poll(top).toBeLessThan((look.height ?? 860) / 2);
      await page.keyboard.type("busybox cat /www/index.html\n");
      await expect.poll(() => page.locator(".xterm-rows").innerText(), { timeout: 15_000 }).toContain("the first");
      await visitor.picture("pod-terminal");

      // The next version.
      await page.getByRole("link", { name: "my-app", exact: true }).click();
      await page.getByRole("heading", { level: 1, name: "my-app" }).waitFor();
      await visitor.press("kube.edit");
      await page.getByRole("heading", { level: 1, name: visitor.t("kube.edit_of", { name: "my-app" }) }).waitFor();
      await editor.getByText(image).waitFor();
      await visitor.paste(editor, right.replace("replicas: 1", "replicas: 2"));
      await visitor.press("kube.try");
      await page.getByText("+  replicas: 2").waitFor({ timeout: 30_000 });
      await visitor.picture("apply-changes");
      await page
        .getByRole("main")
        .getByRole("button", { name: visitor.t("kube.apply"), exact: true })
        .click();
      await page.waitForURL("**/ui/kubernetes/workloads/*");
      await page.getByText(visitor.t("kube.ready", { ready: 2, desired: 2 })).waitFor({ timeout: 90_000 });
      await page.getByText(visitor.t("kube.revision", { number: 2 })).waitFor();
      await visitor.picture("workload");
      expect(await visitor.axe()).toEqual([]);

      // And back.
      await page.getByText(visitor.t("kube.revision", { number: 1 })).click();
      await visitor.button("kube.undo").click();
      await dialog.getByText("+  replicas: 1").waitFor();
      expect(await dialog.evaluate((it) => it.scrollTop)).toBe(0);
      await visitor.picture("workload-undo");
      expect(await visitor.axe()).toEqual([]);
      await dialog.getByRole("button", { name: visitor.t("kube.undo") }).click();
      await page.getByText(visitor.t("kube.revision", { number: 3 })).waitFor({ timeout: 30_000 });
      await page.getByText(visitor.t("kube.ready", { ready: 1, desired: 1 })).waitFor({ timeout: 90_000 });

      // A way to it: what it shows is a press away.
      await page.goto(`/ui/kubernetes/apply?namespace=${name}-live`);
      await editor.waitFor();
      await visitor.paste(editor, examples.service(image).split("---\n")[1] ?? "");
      await page
        .getByRole("main")
        .getByRole("button", { name: visitor.t("kube.apply"), exact: true })
        .click();
      await page.waitForURL(`**/ui/kubernetes/namespaces/${name}-live`);
      const open = page.getByRole("link", { name: visitor.t("container.open"), exact: true });
      await open.waitFor({ timeout: 60_000 });
      const [shown] = await Promise.all([visitor.context.waitForEvent("page"), open.click()]);
      await expect.poll(() => shown.locator("body").innerText(), { timeout: 30_000 }).toContain("the first");
      await shown.close();
      // How much of the quota is used, and what the cluster tells.
      const quota = page.getByRole("region", { name: visitor.t("quota.title") });
      await quota.getByRole("img", { name: new RegExp(`^${visitor.t("resource.pods")}`) }).waitFor();
      const events = page.getByRole("region", { name: visitor.t("kube.events") });
      await events.getByText("Pod my-app-").first().waitFor({ timeout: 30_000 });
      await visitor.picture("namespace-service");
      expect(await visitor.axe()).toEqual([]);

      // Tidied up.
      await page.goto(`/ui/kubernetes/namespaces/${name}-live`);
      await visitor.button("act.delete").click();
      await dialog.getByRole("button", { name: visitor.t("act.delete") }).click();
      await page.waitForURL("**/ui/kubernetes");
      await visitor.leave();
    },
    240_000,
  );
});

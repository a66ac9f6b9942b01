/** Whoever uses charts in a cluster: finds one, sets its values, installs it, changes it with the difference in sight, goes back, removes it. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { closeBrowser, type Look, Visitor } from "./support/browser";
import { ChartServer, chartPackage } from "./support/charts";
import { hasCluster, kubeconfig } from "./support/cluster";
import { ADMIN_PASSWORD, TestServer } from "./support/server";

const helm = process.env.LONGSHORE_TEST_HELM ?? "";
const server = new TestServer();
const charts = new ChartServer();
/** Accounts of several runs share the cluster. */
const mark = Date.now().toString(36).slice(-5);

const MAP = `apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
data:
  greeting: {{ .Values.greeting | quote }}
  level: {{ .Values.level | quote }}
  version: {{ .Chart.Version | quote }}
`;

beforeAll(async () => {
  if (!hasCluster || !helm) return;
  await charts.start();
  for (const version of ["1.0.0", "1.1.0"])
    charts.add({
      name: "greeter",
      version,
      description: "Greets whoever comes",
      package: await chartPackage("greeter", {
        "Chart.yaml": `apiVersion: v2\nname: greeter\nversion: ${version}\nappVersion: "1"\ndescription: Greets\n`,
        "values.yaml": "# What it says\ngreeting: hello\n# How loud, from 1 to 3\nlevel: 1\n",
        "values.schema.json": JSON.stringify({ properties: { level: { type: "integer", minimum: 1, maximum: 3 } } }),
        "templates/map.yaml": MAP,
        "templates/NOTES.txt": "It says {{ .Values.greeting }}. <script>document.title='owned'</script>\n",
      }),
    });
  server.settings.LONGSHORE_CHARTS_HELM = helm;
  await server.start();
  const headers = { "content-type": "application/json", authorization: "" };
  const post = async (path: string, body: unknown) => {
    const answer = await fetch(server.url + path, { method: "POST", headers, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  };
  const { access_token } = await post("/api/auth/login", { account: "admin", password: ADMIN_PASSWORD });
  headers.authorization = `Bearer ${access_token}`;
  await post("/api/v1/clusters", { name: "test", kubeconfig: kubeconfig(), pod_ranges: ["10.244.0.0/16"] });
  await post("/api/v1/chart-repos", { name: "shop", url: charts.url, is_public: true });
});

afterAll(async () => {
  await closeBrowser();
  await server.stop();
  server.clean();
  await charts.stop();
});

const looks: (Look & { account: string })[] = [
  { account: "relen", language: "en" },
  { account: "relzh", language: "zh", theme: "dark" },
  { account: "relphone", language: "zh", width: 390, height: 800 },
];

describe.skipIf(!hasCluster || !helm)("with a cluster and Helm", () => {
  test.each(looks)(
    "a chart is installed, changed, taken back and removed ($account)",
    async ({ account, ...look }) => {
      const visitor = await Visitor.arrive(look, server.url);
      const { page } = visitor;
      const name = account + mark;
      await visitor.register(name, "correct horse");
      const dialog = page.getByRole("dialog");
      const settled = (revision: number) =>
        Promise.all([
          page
            .locator(".page-head")
            .getByText(visitor.t("kube.revision", { number: revision }))
            .waitFor({ timeout: 90_000 }),
          page
            .locator(".page-head")
            .getByText(visitor.t("release.deployed"), { exact: true })
            .waitFor({ timeout: 90_000 }),
        ]);

      // Found, and its values set.
      await page.goto("/ui/charts");
      await page.getByLabel(visitor.t("chart.search"), { exact: true }).fill("greets");
      await page.waitForURL(/q=greets/);
      await page.locator(".chart-card").first().click();
      await page.getByLabel(visitor.t("chart.version"), { exact: true }).selectOption("1.0.0");
      await page.waitForURL(/version=1\.0\.0/);
      await visitor.press("release.install");
      await visitor.press("kube.namespace_new");
      await dialog.getByLabel(visitor.t("field.name")).fill("shop");
      await dialog.getByRole("button", { name: visitor.t("kube.namespace_new") }).click();
      await dialog.waitFor({ state: "detached" });
      await page.getByLabel("level", { exact: true }).fill("7");
      await page.getByText(visitor.t("values.number", { least: 1, most: 3 })).waitFor();
      await visitor.press("release.try");
      await page.locator(".notice.bad").waitFor({ timeout: 60_000 });
      await visitor.picture("release-refused");
      await page.getByLabel("level", { exact: true }).fill("2");
      await visitor.button("values.yaml").click();
      await page
        .getByRole("textbox", { name: visitor.t("values.own") })
        .getByText("level: 2")
        .waitFor();
      await visitor.button("values.form").click();
      await visitor.press("release.try");
      await page
        .getByRole("region", { name: visitor.t("release.plan") })
        .getByText("ConfigMap")
        .first()
        .waitFor({ timeout: 60_000 });
      await visitor.picture("release-new");
      expect(await visitor.axe()).toEqual([]);
      await page
        .getByRole("main")
        .getByRole("button", { name: visitor.t("release.install"), exact: true })
        .click();

      // Installed.
      await page.getByRole("heading", { level: 1, name: "greeter" }).waitFor({ timeout: 60_000 });
      await settled(1);
      await page
        .getByText(/It says hello\. <script>/)
        .first()
        .waitFor();
      await visitor.picture("release");
      expect(await visitor.axe()).toEqual([]);

      // Another version, and other words.
      await visitor.press("release.upgrade");
      expect(await page.getByLabel(visitor.t("chart.version"), { exact: true }).inputValue()).toBe("1.1.0");
      await page.getByText(visitor.t("release.installed", { version: "1.0.0" })).waitFor();
      await page.getByLabel("greeting", { exact: true }).fill("good day");
      expect(await page.getByLabel("level", { exact: true }).inputValue()).toBe("2");
      await visitor.press("release.try");
      await page.getByText(/^\+.*good day/).waitFor({ timeout: 60_000 });
      await page
        .getByText(/^-.*hello/)
        .first()
        .waitFor();
      await visitor.picture("release-upgrade");
      expect(await visitor.axe()).toEqual([]);
      await page
        .getByRole("main")
        .getByRole("button", { name: visitor.t("release.upgrade"), exact: true })
        .click();
      await page.getByRole("heading", { level: 1, name: "greeter" }).waitFor({ timeout: 60_000 });
      await settled(2);
      await page
        .getByText(/It says good day/)
        .first()
        .waitFor();

      // And back.
      const first = page.getByRole("listitem").filter({ hasText: visitor.t("kube.revision", { number: 1 }) });
      await first.getByRole("button", { name: visitor.t("kube.undo") }).click();
      await dialog.getByText(/^\+.*hello/).waitFor({ timeout: 60_000 });
      await visitor.picture("release-back");
      expect(await visitor.axe()).toEqual([]);
      await dialog.getByRole("button", { name: visitor.t("kube.undo") }).click();
      await settled(3);

      // In the list, and gone.
      await page.goto("/ui/releases");
      await visitor.picture("releases");
      await page.getByRole("link", { name: "greeter", exact: true }).click();
      await visitor.button("release.uninstall").click();
      await visitor.picture("release-uninstall");
      await dialog.getByRole("button", { name: visitor.t("release.uninstall") }).click();
      await page.getByText(visitor.t("release.gone", { name: "greeter" })).waitFor({ timeout: 90_000 });
      await page.goto("/ui/releases");
      await page.getByText(visitor.t("release.empty")).waitFor();
      expect(await page.title()).toBe("Longshore");
      await visitor.leave();
    },
    240_000,
  );
});

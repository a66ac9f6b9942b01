/** Whoever uses charts: adds a repository, finds a chart, reads it, keeps one of their own; and nothing that others wrote does anything. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { closeBrowser, type Look, Visitor } from "./support/browser";
import { ChartServer, chartPackage } from "./support/charts";

const HOSTILE = `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script> \u202egnp.exe`;
const README = `# Notes\n\n${HOSTILE}\n\n[good](https://example.org/good) [bad](javascript:document.title='owned') ![spy](https://evil.example/spy.png)\n\n| Value | Meaning |\n|---|---|\n| \`text\` | What is shown |\n\n<div onclick="document.title='owned'">raw</div>\n`;
const VALUES = "# What is shown\ntext: hello\nreplicas: 1\n";
/** The public key of the tests' own signer. */
const SIGNER = join(import.meta.dirname, "../../crates/longshore/tests/it/support/signer/public.asc");
const DRAWING = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10"><script>document.title='owned'</script><circle cx="5" cy="5" r="4" fill="#0b6683"/></svg>`;

const charts = new ChartServer();
const folder = mkdtempSync(join(tmpdir(), "longshore-charts-"));

const meta = (name: string, version: string, description: string) =>
  `apiVersion: v2\nname: ${name}\nversion: ${version}\nappVersion: "1"\ndescription: ${JSON.stringify(description)}\n`;

beforeAll(async () => {
  await charts.start();
  charts.put("/icon.svg", DRAWING, "image/svg+xml");
  for (const version of ["1.0.0", "1.1.0"])
    charts.add({
      name: "notes",
      version,
      description: `Notes for everybody ${HOSTILE}`,
      keywords: ["notes", HOSTILE],
      icon: `${charts.url}/icon.svg`,
      package: await chartPackage("notes", {
        "Chart.yaml": meta("notes", version, HOSTILE),
        "values.yaml": VALUES,
        "README.md": README,
        "templates/map.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\n",
      }),
    });
  for (let number = 1; number <= 150; number += 1)
    charts.add({
      name: `service-${number}`,
      version: "1.0.0",
      description: `Service number ${number}`,
      package: Buffer.from("none"),
    });
  writeFileSync(
    join(folder, "mine-0.1.0.tgz"),
    await chartPackage("mine", { "Chart.yaml": meta("mine", "0.1.0", "My own"), "values.yaml": "a: 1\n" }),
  );
  writeFileSync(join(folder, "nothing.tgz"), "no package");
});

afterAll(async () => {
  await closeBrowser();
  await charts.stop();
  rmSync(folder, { recursive: true });
});

const looks: (Look & { account: string })[] = [
  { account: "chartsen", language: "en" },
  { account: "chartszh", language: "zh", theme: "dark" },
  { account: "chartsphone", language: "zh", width: 390, height: 800 },
];

test.each(looks)("a chart is found, read, and one's own is kept ($account)", async ({ account, ...look }) => {
  const visitor = await Visitor.arrive(look);
  const { page } = visitor;
  await visitor.register(account, "correct horse");
  await page.goto("/ui/charts");
  await visitor.button("chart.upload").waitFor();

  // A repository, first with an address at which there is none.
  await page.goto("/ui/charts/repos");
  await visitor.button("chart.add").first().click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel(visitor.t("git.url")).fill(`${charts.url}/nowhere`);
  await dialog.getByLabel(visitor.t("field.name"), { exact: true }).fill(`shop-${account}`);
  await dialog.getByText(visitor.t("chart.public")).click();
  await visitor.picture("chart-repo-add");
  await dialog.getByRole("button", { name: visitor.t("chart.add") }).click();
  await dialog.getByRole("alert").waitFor();
  await dialog.getByLabel(visitor.t("git.url")).fill(charts.url);
  await dialog.getByRole("button", { name: visitor.t("chart.add") }).click();
  await page.getByRole("heading", { level: 1, name: `shop-${account}` }).waitFor();
  await page.getByText(visitor.t("chart.ready"), { exact: true }).waitFor();
  await visitor.button("chart.sync").click();
  await page.getByText(visitor.t("chart.sync_begun", { name: `shop-${account}` })).waitFor();
  const asked = page.getByRole("listitem").filter({ hasText: visitor.t("sync.manual") });
  await asked.getByText(visitor.t("state.succeeded")).waitFor();
  await page.getByText(visitor.t("chart.counts", { charts: 151, versions: 152 })).waitFor();
  await visitor.picture("chart-repo");
  expect(await visitor.axe()).toEqual([]);

  // The catalogue.
  await visitor.press("chart.look");
  const cards = page.locator(".chart-card");
  await expect.poll(() => cards.count()).toBe(60);
  await page.getByRole("button", { name: /60/ }).click();
  await expect.poll(() => cards.count()).toBe(120);
  await page.getByLabel(visitor.t("chart.search"), { exact: true }).fill("everybody notes");
  await expect.poll(() => cards.count()).toBe(1);
  await page.getByText(visitor.t("chart.found", { count: 1 })).waitFor();
  expect(await page.locator("img.chart-icon").getAttribute("src")).toMatch(/^\/api\/v1\/charts\//);
  await visitor.picture("charts-found");
  expect(await visitor.axe()).toEqual([]);
  await cards.first().click();

  // What is in it, and that what others wrote stays text.
  const prose = page.locator(".prose");
  await prose.getByRole("heading", { name: "Notes" }).waitFor();
  expect(await prose.getByRole("link").evaluateAll((links) => links.map((it) => it.getAttribute("href")))).toEqual([
    "https://example.org/good",
  ]);
  expect(await prose.locator("img, script, [onclick], [onerror]").count()).toBe(0);
  expect(await prose.innerText()).toContain("[spy]");
  await visitor.picture("chart");
  expect(await visitor.axe()).toEqual([]);
  await page.getByRole("tab", { name: visitor.t("chart.values") }).click();
  await page.getByText("# What is shown").waitFor();
  await page.getByLabel(visitor.t("chart.version"), { exact: true }).selectOption("1.0.0");
  await page.waitForURL(/version=1\.0\.0/);
  await page.getByRole("tab", { name: visitor.t("chart.versions") }).click();
  await page.getByRole("link", { name: "1.1.0" }).waitFor();
  await page.getByRole("tab", { name: visitor.t("files.title") }).click();
  await page.getByRole("button", { name: "templates/map.yaml" }).click();
  await page.getByText("kind: ConfigMap").waitFor();
  await visitor.picture("chart-files");
  expect(await visitor.axe()).toEqual([]);

  // One's own.
  await page.goto("/ui/charts");
  await visitor.button("chart.upload").click();
  await dialog.locator("input[type=file]").setInputFiles(join(folder, "nothing.tgz"));
  await dialog.getByRole("button", { name: visitor.t("upload.sending") }).click();
  await dialog.getByRole("alert").waitFor();
  await dialog.locator("input[type=file]").setInputFiles(join(folder, "mine-0.1.0.tgz"));
  await dialog.getByRole("button", { name: visitor.t("upload.sending") }).click();
  await page.getByRole("heading", { level: 1, name: "mine" }).waitFor();
  await page.getByRole("tab", { name: visitor.t("chart.versions") }).click();
  await page.getByRole("button", { name: visitor.t("chart.delete", { name: "mine 0.1.0" }) }).click();
  await dialog.getByRole("button", { name: visitor.t("act.delete") }).click();
  await page.waitForURL("**/ui/charts");

  // Who may sign what is in it.
  await page.goto("/ui/charts/repos");
  await page.getByRole("link", { name: `shop-${account}` }).click();
  await visitor.button("chart.key_add").click();
  await dialog.getByLabel(visitor.t("chart.key"), { exact: true }).fill("no key");
  await dialog.getByRole("button", { name: visitor.t("chart.key_add") }).click();
  await dialog.getByRole("alert").waitFor();
  await dialog.getByLabel(visitor.t("chart.key"), { exact: true }).fill(readFileSync(SIGNER, "utf8"));
  await dialog.getByRole("button", { name: visitor.t("chart.key_add") }).click();
  await dialog.waitFor({ state: "detached" });
  const keys = page.getByRole("region", { name: visitor.t("chart.keys") });
  await keys.getByRole("listitem").waitFor();
  await visitor.picture("chart-keys");
  expect(await visitor.axe()).toEqual([]);
  await keys.getByRole("button", { name: visitor.t("act.delete") }).click();
  await dialog.getByRole("button", { name: visitor.t("act.delete") }).click();
  await keys.getByText(visitor.t("chart.keys_empty")).waitFor();

  // And gone again.
  await page.goto("/ui/charts/repos");
  await page.getByRole("link", { name: `shop-${account}` }).click();
  await visitor.button("act.delete").click();
  await dialog.getByText(/151/).waitFor();
  await dialog.getByRole("button", { name: visitor.t("act.delete") }).click();
  await page.waitForURL("**/ui/charts/repos");
  await page.getByRole("link", { name: `shop-${account}` }).waitFor({ state: "detached" });
  expect(await page.title()).toBe("Longshore");
  await visitor.leave();
});

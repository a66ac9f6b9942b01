/** Somebody who has never been here: signs up, uploads, watches it being built, and opens the running page. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { sample } from "./support/archives";
import { closeBrowser, type Look, Visitor } from "./support/browser";

const folder = mkdtempSync(join(tmpdir(), "longshore-sample-"));
writeFileSync(join(folder, "hello.zip"), sample());

afterAll(async () => {
  await closeBrowser();
  rmSync(folder, { recursive: true });
});

const looks: (Look & { account: string })[] = [
  { account: "newcomeren", language: "en" },
  { account: "newcomerzh", language: "zh", theme: "dark" },
  { account: "phonezh", language: "zh", width: 390, height: 800 },
];

test.each(looks)("a newcomer gets from nothing to a page that answers ($account)", async ({ account, ...look }) => {
  const visitor = await Visitor.arrive(look);
  const { page } = visitor;
  await page.goto("/");
  await page.getByRole("heading", { name: visitor.t("door.words") }).waitFor();
  await visitor.picture("sign-in");
  expect(await visitor.axe()).toEqual([]);

  await visitor.register(account, "correct horse");
  await page.getByRole("heading", { name: visitor.t("overview.first") }).waitFor();
  await visitor.picture("overview-new");
  expect(await visitor.axe()).toEqual([]);

  await page
    .getByRole("link", { name: visitor.t("upload.title") })
    .first()
    .click();
  await page.getByRole("heading", { level: 1, name: visitor.t("upload.title") }).waitFor();
  await page.getByLabel(visitor.t("upload.choose_zip")).last().setInputFiles(join(folder, "hello.zip"));
  expect(await page.getByLabel(visitor.t("field.image_name")).inputValue()).toBe("hello:v1");
  await visitor.picture("upload");
  expect(await visitor.axe()).toEqual([]);
  await visitor.press("upload.begin");

  await page.getByText(visitor.t("build.ready"), { exact: true }).waitFor({ timeout: 90_000 });
  await page.getByText("Step 2/").first().waitFor();
  await visitor.picture("build");
  expect(await visitor.axe()).toEqual([]);

  await page
    .getByRole("link", { name: visitor.t("act.run"), exact: true })
    .first()
    .click();
  await page.getByLabel(visitor.t("field.ports"), { exact: true }).waitFor();
  await expect.poll(() => page.getByLabel(visitor.t("field.ports"), { exact: true }).inputValue()).toBe("8000");
  await visitor.fill("field.name", "first");
  await visitor.picture("container-new");
  expect(await visitor.axe()).toEqual([]);
  await visitor.press("create.begin");

  const link = page.getByRole("link", { name: /^http:\/\/127\.0\.0\.1:\d+$/ });
  await link.waitFor({ timeout: 60_000 });
  await visitor.picture("container");
  const [answer] = await Promise.all([visitor.context.waitForEvent("page"), link.click()]);
  await answer.waitForLoadState();
  expect(await answer.locator("body").innerText()).toMatch(/hello/i);
  await answer.close();
  await visitor.leave();
});

test("a newcomer who has no mouse gets to a container that runs, and stops it", async () => {
  const visitor = await Visitor.arrive({ language: "en" });
  const { page } = visitor;
  const { keyboard } = page;
  await page.goto("/");
  await page.getByRole("heading", { name: visitor.t("door.words") }).waitFor();
  await visitor.tabTo("door.no_account");
  await keyboard.press("Enter");
  await page.getByRole("button", { name: visitor.t("door.sign_up") }).waitFor();
  await page.getByLabel(visitor.t("door.account")).focus();
  await keyboard.type("mouseless");
  await keyboard.press("Tab");
  await keyboard.type("correct horse");
  await keyboard.press("Enter");
  await page.getByRole("heading", { name: visitor.t("overview.first") }).waitFor();

  await visitor.tabTo("upload.title");
  await keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: visitor.t("upload.title") }).waitFor();
  await visitor.tabTo("upload.choose_zip");
  // What a press opens here is the browser's own.
  await page.getByLabel(visitor.t("upload.choose_zip")).last().setInputFiles(join(folder, "hello.zip"));
  await visitor.tabTo("upload.begin");
  await keyboard.press("Enter");
  await page.getByText(visitor.t("build.ready"), { exact: true }).waitFor({ timeout: 90_000 });

  await visitor.tabTo("act.run");
  await keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: visitor.t("create.title") }).waitFor();
  await visitor.tabTo("field.name");
  await keyboard.type("typed");
  await keyboard.press("Enter");
  await page.getByText(visitor.t("state.running"), { exact: true }).first().waitFor({ timeout: 60_000 });
  await visitor.tabTo("container.log");
  await keyboard.press("Enter");
  await page.getByRole("log").waitFor();
  await visitor.tabTo("act.stop");
  await keyboard.press("Enter");
  await visitor.button("act.start").waitFor({ timeout: 60_000 });
  // Asked first, and Escape leaves everything as it is.
  await visitor.tabTo("act.delete");
  await keyboard.press("Enter");
  await page.getByRole("dialog").waitFor();
  await keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await visitor.leave();
});

test("a folder that is dropped becomes an image, and one without a Dockerfile is told so before it is sent", async () => {
  const visitor = await Visitor.arrive({ language: "en" });
  const { page } = visitor;
  await visitor.register("dropper", "correct horse");
  await page.goto("/ui/images/upload");
  const place = page.locator(".drop");
  await place.waitFor();
  const drop = (name: string) =>
    place.evaluate((box, name) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File(["FROM scratch\n"], name));
      box.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
    }, name);

  await drop("notes.txt");
  await page.getByText(visitor.t("upload.neither")).waitFor();
  await drop("app.zip");
  await page.getByText(/app · archive/).waitFor();
  await visitor.press("upload.begin");
  await page.getByRole("alert").waitFor();

  expect(await page.getByRole("alert").innerText()).toMatch(/archive|zip/i);
  expect(await page.getByLabel(visitor.t("field.image_name")).inputValue()).toBe("app:v1");
  await visitor.leave();
});

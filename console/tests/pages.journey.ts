/** Every page, in both languages and both themes, on a desk and on a phone: nothing to complain of for axe, for the browser, or for the eye. */
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { shell } from "./support/archives";
import { closeBrowser, type Look, Visitor } from "./support/browser";
import { ADMIN_PASSWORD, eventually } from "./support/server";

const HOSTILE = `<img src=x onerror="document.title='owned'"> \u202egnp.exe ${"long ".repeat(30)}`;

const looks: Look[] = [
  { language: "en", theme: "light" },
  { language: "en", theme: "dark" },
  { language: "zh", theme: "light" },
  { language: "zh", theme: "dark" },
  { language: "en", theme: "light", width: 390, height: 800 },
  { language: "zh", theme: "dark", width: 390, height: 800 },
];

const pages = [
  ["overview", "/ui/overview"],
  ["images", "/ui/images"],
  ["upload", "/ui/images/upload"],
  ["builds", "/ui/builds"],
  ["containers", "/ui/containers?all=true"],
  ["container-new", "/ui/containers/new"],
  ["kubernetes", "/ui/kubernetes"],
  ["apply", "/ui/kubernetes/apply"],
  ["pipelines", "/ui/pipelines"],
  ["charts", "/ui/charts"],
  ["chart-repos", "/ui/charts/repos"],
  ["releases", "/ui/releases"],
  ["machines", "/ui/machines"],
  ["accounts", "/ui/admin/accounts"],
  ["audit", "/ui/admin/audit"],
  ["installation", "/ui/admin/installation"],
  ["settings", "/ui/admin/settings"],
  ["volumes", "/ui/volumes"],
  ["kept-logs", "/ui/kept-logs"],
  ["me", "/ui/me"],
  ["missing", "/ui/nothing/here"],
] satisfies [string, string][];

/** Pages of what there is, with text of others wherever it may stand. */
const things: [string, string][] = [];

beforeAll(async () => {
  const headers = { "content-type": "application/json", authorization: "" };
  const send = (method: string, path: string, body: BodyInit) => fetch(inject("url") + path, { method, headers, body });
  const post = (path: string, body: unknown) => send("POST", path, JSON.stringify(body));
  const patch = (path: string, body: unknown) => send("PATCH", path, JSON.stringify(body));
  const get = async <T>(path: string): Promise<T> => (await fetch(inject("url") + path, { headers })).json();
  const login = await post("/api/auth/login", { account: "admin", password: ADMIN_PASSWORD });
  const { access_token }: { access_token: string } = await login.json();
  headers.authorization = `Bearer ${access_token}`;
  // Text of others, wherever it may stand.
  expect((await post("/api/user/set_profile", { field: "nickname", value: HOSTILE.slice(0, 44) })).status).toBe(200);
  expect((await post("/api/v1/tokens", { name: HOSTILE.slice(0, 60) })).status).toBe(201);
  const context = new Blob([new Uint8Array(await shell())]);
  const { id }: { id: string } = await (await send("POST", "/api/v1/builds?image=hostile:1", context)).json();
  const build = await eventually(
    "the image is built",
    async () => {
      const build = await get<{ state: string; image_id: number }>(`/api/v1/builds/${id}`);
      return build.state === "succeeded" && build;
    },
    90,
  );
  const named = { display_name: HOSTILE.slice(0, 90), description: HOSTILE };
  expect((await patch(`/api/v1/images/${build.image_id}`, named)).status).toBe(200);
  const wanted = { image: "hostile:1", display_name: HOSTILE.slice(0, 90), env: { TEXT: HOSTILE } };
  const made = await post("/api/v1/containers", { ...wanted, command: ["sh", "-c", `echo '${HOSTILE}'; sleep 3600`] });
  expect(made.status).toBe(201);
  const { id: container }: { id: number } = await made.json();
  await eventually(
    "the container runs",
    async () => (await get<{ state: string }>(`/api/v1/containers/${container}`)).state === "running",
    60,
  );
  const { data: machines } = await get<{ data: { machine_id: string }[] }>("/api/v1/machines");
  const label = async (label: string) => {
    for (const { machine_id } of machines)
      expect((await patch(`/api/v1/machines/${machine_id}`, { label })).status).toBe(200);
  };
  await label(HOSTILE.slice(0, 60));
  // Other journeys take pictures of the same machine.
  tidyUp = () => label("");
  things.push(["hostile-image", `/ui/images/${build.image_id}`], ["hostile-build", `/ui/builds/${id}`]);
  for (const tab of ["", "/log", "/terminal", "/stats", "/files"])
    things.push([`hostile-container${tab.replace("/", "-")}`, `/ui/containers/${container}${tab}`]);
});

let tidyUp = async () => {};

afterAll(async () => {
  await closeBrowser();
  await tidyUp();
});

test("whatever is typed for the console leads into it", async () => {
  const visitor = await Visitor.arrive({ language: "en" });
  const { page } = visitor;
  await visitor.register("visitor", "correct horse");
  for (const path of ["/", "/ui", "/ui/", "/ui/overview"]) {
    await page.goto(path);
    await page.getByRole("heading", { level: 1, name: visitor.t("overview.hello", { name: "visitor" }) }).waitFor();
    expect(new URL(page.url()).pathname).toBe("/ui/overview");
  }
  await visitor.leave();
});

test.each(looks)("every page is in order ($language, $theme, $width)", async (look) => {
  const visitor = await Visitor.arrive(look);
  const { page } = visitor;
  await page.goto("/");
  await visitor.fill("door.account", "admin");
  await visitor.fill("field.password", ADMIN_PASSWORD);
  await visitor.press("door.sign_in");
  await page.locator("#page h1").waitFor();

  const wrong: string[] = [];
  for (const [name, path] of [...pages, ...things]) {
    await page.goto(path);
    await page.locator("#page h1").waitFor();
    await page.locator(".skeleton").first().waitFor({ state: "detached" });
    await visitor.picture(name);
    wrong.push(...(await visitor.axe()).map((it) => `${name}: ${it}`));
    const wide: number = await page.evaluate("document.documentElement.scrollWidth - window.innerWidth");
    // Visitors here ask for less motion.
    const moving: number = await page.evaluate(
      "document.getAnimations().filter((it) => it.effect.getComputedTiming().duration > 1).length",
    );
    if (moving > 0) wrong.push(`${name}: ${moving} things move`);
    if (wide > 0) wrong.push(`${name}: ${wide} pixels wider than the screen`);
    expect(await page.title()).toBe("Longshore");
  }
  expect(wrong).toEqual([]);
  await visitor.leave();
});

test("the whole console can be used with the keyboard alone", async () => {
  const visitor = await Visitor.arrive({ language: "en" });
  const { page } = visitor;
  await page.goto("/");
  await page.getByLabel(visitor.t("door.account")).focus();
  await page.keyboard.type("admin");
  await page.keyboard.press("Tab");
  await page.keyboard.type(ADMIN_PASSWORD);
  await page.keyboard.press("Enter");
  await page.locator("#page h1").waitFor();

  await page.keyboard.press("Control+k");
  await page.getByRole("combobox").waitFor();
  await page.keyboard.type("machin");
  await page.keyboard.press("Enter");
  await page.waitForURL("**/ui/machines");
  await page.getByRole("button", { name: visitor.t("machine.add") }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor();
  await page.keyboard.press("Tab");
  expect(await page.evaluate("document.activeElement.closest('dialog') !== null")).toBe(true);
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await visitor.leave();
});

test("an admin invites a machine with one line, and takes the invitation back", async () => {
  const visitor = await Visitor.arrive({ language: "zh" });
  const { page } = visitor;
  await page.goto("/");
  await visitor.fill("door.account", "admin");
  await visitor.fill("field.password", ADMIN_PASSWORD);
  await visitor.press("door.sign_in");
  await page.locator("#page h1").waitFor();
  await page.goto("/ui/machines");
  await visitor.press("machine.add");
  await visitor.press("machine.make_line");

  await page.getByText(/longshore agent join http\S+ lsj_\S+ --service/).waitFor();
  await page.getByText(visitor.t("machine.without_service")).click();
  await page.getByText(/longshore agent join http\S+ lsj_\S+ && longshore agent run/).waitFor();
  await visitor.picture("machine-add");
  expect(await visitor.axe()).toEqual([]);
  await visitor.press("act.close");
  await visitor.button("machine.uninvite").click();
  await visitor.button("machine.uninvite").waitFor({ state: "detached" });
  await page.goto("/ui/admin/audit");
  await page
    .getByText(/invite/)
    .first()
    .waitFor();
  await visitor.leave();
});

test("an admin closes registration, which holds at once, and takes that back", async () => {
  const visitor = await Visitor.arrive({ language: "en" });
  const { page } = visitor;
  await page.goto("/");
  await visitor.fill("door.account", "admin");
  await visitor.fill("field.password", ADMIN_PASSWORD);
  await visitor.press("door.sign_in");
  await page.locator("#page h1").waitFor();
  await page.goto("/ui/admin/accounts");
  await page.getByText(visitor.t("registration.now", { who: visitor.t("registration.open") })).waitFor();
  await visitor.press("registration.change");
  const choice = page.getByLabel(visitor.t("registration.title"), { exact: true });
  await choice.selectOption("closed");
  await page.getByText(visitor.t("said.saved")).first().waitFor();

  const stranger = await Visitor.arrive({ language: "zh" });
  await stranger.page.goto("/");
  await stranger.page.getByText(stranger.t("door.closed")).waitFor();
  await stranger.leave();

  await visitor.press("setting.reset");
  await expect.poll(() => choice.inputValue()).toBe("open");
  await visitor.leave();
});

test("a session that ends in the middle of a form is renewed over it, and nothing typed is lost", async () => {
  const visitor = await Visitor.arrive({ language: "en" });
  const { page } = visitor;
  await visitor.register("forgetful", "correct horse");
  await page.goto("/ui/containers/new");
  await visitor.fill("field.image", "forgetful/nothing:1");
  await visitor.fill("field.name", "typed-with-care");

  // The page finds out by itself, with the next thing that it looks up.
  await visitor.context.clearCookies();
  await page.getByRole("dialog", { name: visitor.t("door.ended") }).waitFor();
  await page.getByRole("dialog").getByLabel(visitor.t("field.password")).fill("correct horse");
  await page
    .getByRole("dialog")
    .getByRole("button", { name: visitor.t("door.sign_in") })
    .click();
  await page.getByRole("dialog").waitFor({ state: "detached" });

  expect(await page.getByLabel(visitor.t("field.name"), { exact: true }).inputValue()).toBe("typed-with-care");
  await visitor.press("create.begin");
  await page.getByRole("alert").first().waitFor();
  expect(new URL(page.url()).pathname).toBe("/ui/containers/new");
  await visitor.leave();
});

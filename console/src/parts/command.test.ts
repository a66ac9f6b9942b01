import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";

const here = (path: string) => new URL(`../../${path}`, import.meta.url);
const HELP = "../crates/longshore/tests/it/snapshots/";

/** What the command line says of each of its commands. */
function helps(): Map<string, string> {
  const found = new Map<string, string>();
  for (const file of readdirSync(here(HELP)).filter((name) => name.startsWith("it__cli__help_")))
    for (const part of readFileSync(here(HELP + file), "utf8")
      .split(/^\$ /m)
      .slice(1)) {
      const [line = "", ...rest] = part.split("\n");
      found.set(line.replace(" --help", ""), rest.join("\n"));
    }
  // These are read by hand, and say in one line what they take.
  const byHand = readFileSync(here("../crates/longshore/src/cli/k8s_repo.rs"), "utf8");
  for (const [, name = "", usage = ""] of byHand.matchAll(/usage: "Usage: climc (k8s-repo-[a-z]+) ([^"]*)"/g))
    found.set(`longshore ${name}`, usage);
  return found;
}

/** Every command that a page shows, as it stands in the code: values are still `${…}`. */
function shown(): { file: string; text: string }[] {
  const files = readdirSync(here("src"), { recursive: true, encoding: "utf8" });
  return files
    .filter((file) => /\.tsx?$/.test(file) && !file.endsWith(".test.ts"))
    .flatMap((file) => {
      const source = readFileSync(here(`src/${file}`), "utf8");
      return [...source.matchAll(/["`](longshore [a-z][^"`]*)/g)].map(([, text = ""]) => ({ file, text }));
    });
}

test("the commands that pages show are there, with the options that are named", () => {
  const known = helps();
  const commands = shown();
  expect(known.size).toBeGreaterThan(100);
  expect(commands.length).toBeGreaterThan(50);

  const wrong = commands.filter(({ text }) => {
    let name = "longshore";
    for (const word of text.replaceAll("${", " ${").split(/\s+/).slice(1)) {
      if (!known.has(`${name} ${word}`)) break;
      name = `${name} ${word}`;
    }
    const help = known.get(name) ?? "";
    const options = text.match(/(?<![\w-])--[a-z][a-z-]*/g) ?? [];
    // Where the verb itself is a value, the group of commands is what can be looked up.
    const isGroup = help.includes("\nCommands:") && !/^longshore [a-z-]+ \$\{/.test(text);
    return name === "longshore" || isGroup || options.some((option) => !help.includes(option));
  });

  expect(wrong).toEqual([]);
});

// What neither the compiler nor the linter keeps: no assertion of types, links only through paths.ts, no sentence outside the
// dictionaries, no address of another host.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const rules = [
  {
    name: "`as` asserts a type; let the compiler find it",
    pattern: /\bas (?!const\b)(?:unknown|[A-Z{]|string|number)/,
    outside: [],
  },
  { name: "links go through paths.ts", pattern: /(?:to|href|navigate\()=?\{?["'`]\/ui/, outside: ["src/paths.ts"] },
  {
    name: "Chinese belongs into i18n",
    pattern: /\p{Script=Han}/u,
    outside: [
      "src/i18n/zh.ts",
      "src/i18n/zh.admin.ts",
      "src/i18n/zh.charts.ts",
      "src/i18n/zh.kubernetes.ts",
      "src/i18n/zh.pipelines.ts",
      "src/i18n/zh.settings.ts",
      "src/i18n/hints.ts",
      "src/i18n/index.tsx",
      "src/i18n/problems.ts",
    ],
  },
  { name: "no other host", pattern: /["'`]https?:\/\/(?![$"'`])/, outside: [] },
  { name: "no markup from text", pattern: /dangerouslySetInnerHTML|\.innerHTML|insertAdjacentHTML/, outside: [] },
];

const broken = [];
for (const entry of readdirSync("src", { recursive: true, withFileTypes: true })) {
  const path = join(entry.parentPath ?? entry.path, entry.name);
  if (!entry.isFile() || !/\.tsx?$/.test(path) || /\.test\.ts$/.test(path) || path === "src/api/schema.ts") continue;
  const lines = readFileSync(path, "utf8").split("\n");
  for (const { name, pattern, outside } of rules)
    for (const [index, line] of lines.entries())
      if (!outside.includes(path) && !/^\s*(\/\/|\*|import |export \{)/.test(line) && pattern.test(line))
        broken.push(`${path}:${index + 1}: ${name}: ${line.trim()}`);
  if (lines.length > 600) broken.push(`${path}: ${lines.length} lines; split it`);
}
for (const line of broken) console.error(line);
process.exit(broken.length > 0 ? 1 : 0);

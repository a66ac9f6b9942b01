import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { imageName } from "./drop";
import { tar } from "./tar";

test("tar itself unpacks what is packed here: long names, other scripts, empty and odd sizes", async () => {
  const long = `${"folder/".repeat(20)}file.txt`;
  const contents: Record<string, string> = {
    Dockerfile: "FROM scratch\n",
    [long]: "deep",
    "数据/文件.txt": "中文",
    empty: "",
    block: "x".repeat(512),
  };
  const files = Object.entries(contents).map(([path, content]) => ({
    path,
    file: new File([content], path, { lastModified: 1_700_000_000_000 }),
  }));
  const folder = mkdtempSync(join(tmpdir(), "longshore-tar-"));
  try {
    writeFileSync(join(folder, "a.tar"), new Uint8Array(await tar(files).arrayBuffer()));
    execFileSync("tar", ["-xf", "a.tar"], { cwd: folder });
    for (const [path, content] of Object.entries(contents))
      expect(readFileSync(join(folder, path), "utf8")).toBe(content);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("a name for an image is made of any name", () => {
  expect(imageName("My App (2)")).toBe("my-app-2:v1");
  expect(imageName("数据")).toBe("app:v1");
});

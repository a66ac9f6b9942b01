// Puts a gzip in the place of each file of dist/ that gets smaller by it: the server sends it as it is, and unpacks it for the few
// who do not take it. Fails when what every visitor loads first has become too large.
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const FIRST_LOAD_MAX = 400 * 1024;

const files = (folder) =>
  readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? files(path) : [path];
  });

const sent = new Map();
for (const path of files(join("dist", "assets"))) {
  const content = readFileSync(path);
  const packed = gzipSync(content, { level: 9 });
  const isSmaller = packed.length < content.length * 0.9;
  if (isSmaller) {
    writeFileSync(`${path}.gz`, packed);
    rmSync(path);
  }
  sent.set(`/ui/${path.slice("dist/".length)}`, isSmaller ? packed.length : content.length);
}

const named = readFileSync(join("dist", "index.html"), "utf8").match(/\/ui\/assets\/[^"]+/g) ?? [];
const first = named.reduce((sum, name) => sum + (sent.get(name) ?? 0), 0);
console.log(`first load: ${Math.round(first / 1024)} KiB packed, of ${FIRST_LOAD_MAX / 1024} at most`);
if (named.length === 0 || first > FIRST_LOAD_MAX) process.exit(1);

// Puts a gzip beside each file of dist/ that gets smaller by it; the server sends that to whoever takes it.
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const files = (folder) =>
  readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? files(path) : [path];
  });

for (const path of files(join("dist", "assets"))) {
  const content = readFileSync(path);
  const packed = gzipSync(content, { level: 9 });
  if (packed.length < content.length * 0.9) writeFileSync(`${path}.gz`, packed);
}

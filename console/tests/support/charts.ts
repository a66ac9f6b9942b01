/** A Helm repository of the tests' own: an index, packages and pictures on loopback. */
import { createHash } from "node:crypto";
import { createServer, type Server } from "node:http";
import { gzipSync } from "node:zlib";
import { tar } from "../../src/upload/tar";

/** A chart's package. */
export async function chartPackage(name: string, files: Record<string, string>): Promise<Buffer> {
  const packed = Object.entries(files).map(([path, text]) => ({
    path: `${name}/${path}`,
    file: new File([text], path),
  }));
  return gzipSync(Buffer.from(await tar(packed).arrayBuffer()));
}

interface Entry {
  name: string;
  version: string;
  description: string;
  keywords?: string[];
  icon?: string;
  package: Buffer;
}

export class ChartServer {
  url = "";
  private readonly files = new Map<string, { body: Buffer; kind: string }>();
  private readonly entries: Entry[] = [];
  private server: Server | undefined;

  async start(): Promise<this> {
    const server = createServer((request, response) => {
      const file = this.files.get(new URL(request.url ?? "/", "http://x").pathname);
      if (file) response.writeHead(200, { "content-type": file.kind, "content-length": file.body.length });
      else response.writeHead(404);
      response.end(file?.body);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    if (typeof address !== "object" || !address) throw new Error("no port");
    this.url = `http://127.0.0.1:${address.port}`;
    this.server = server;
    this.write();
    return this;
  }

  put(path: string, body: Buffer | string, kind = "application/octet-stream") {
    this.files.set(path, { body: Buffer.from(body), kind });
  }

  add(entry: Entry) {
    this.entries.push(entry);
    this.put(`/${entry.name}-${entry.version}.tgz`, entry.package);
    this.write();
  }

  /** JSON is YAML, and keeps whatever is in a text. */
  private write() {
    const entries: Record<string, unknown[]> = {};
    for (const it of this.entries) {
      entries[it.name] ??= [];
      entries[it.name]?.unshift({
        apiVersion: "v2",
        name: it.name,
        version: it.version,
        appVersion: `${it.version}-app`,
        description: it.description,
        keywords: it.keywords ?? [],
        icon: it.icon,
        created: "2026-01-02T03:04:05Z",
        home: "https://example.org/app",
        digest: createHash("sha256").update(it.package).digest("hex"),
        urls: [`${it.name}-${it.version}.tgz`],
      });
    }
    this.put("/index.yaml", JSON.stringify({ apiVersion: "v1", entries }), "application/yaml");
  }

  async stop() {
    this.server?.closeAllConnections();
    await new Promise((resolve) => this.server?.close(resolve));
  }
}

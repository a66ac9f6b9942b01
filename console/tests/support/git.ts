/** A git server of the tests' own: git's HTTP back end behind a small server on loopback. */
import { execFileSync, spawn } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const OWN = { GIT_CONFIG_GLOBAL: "/dev/null", GIT_CONFIG_NOSYSTEM: "1", PATH: "/usr/local/bin:/usr/bin:/bin" };

function git(folder: string, ...words: string[]): string {
  const settings = ["user.name=Alice", "user.email=alice@example.org", "init.defaultBranch=main"];
  const options = settings.flatMap((it) => ["-c", it]);
  return execFileSync("git", [...options, ...words], { cwd: folder, env: OWN, encoding: "utf8" }).trim();
}

export class GitServer {
  url = "";
  private readonly root = mkdtempSync(join(tmpdir(), "longshore-git-"));
  private server: Server | undefined;

  /** Serves one repository, `app.git`. */
  async start(): Promise<this> {
    git(this.root, "init", "--quiet", "work");
    git(this.root, "init", "--quiet", "--bare", "app.git");
    const server = createServer((request, response) => this.answer(request, response));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    if (typeof address !== "object" || !address) throw new Error("no port");
    this.url = `http://127.0.0.1:${address.port}/app.git`;
    this.server = server;
    return this;
  }

  /** Commits files and pushes them; the commit. */
  commit(files: Record<string, string | Buffer>, message = "a commit"): string {
    const work = join(this.root, "work");
    for (const [name, content] of Object.entries(files)) {
      mkdirSync(dirname(join(work, name)), { recursive: true });
      writeFileSync(join(work, name), content);
      if (typeof content !== "string") chmodSync(join(work, name), 0o755);
    }
    git(work, "add", "--all");
    git(work, "commit", "--quiet", "-m", message);
    git(work, "push", "--quiet", "../app.git", "HEAD");
    return git(work, "rev-parse", "HEAD");
  }

  async stop() {
    this.server?.closeAllConnections();
    await new Promise((resolve) => this.server?.close(resolve));
    rmSync(this.root, { recursive: true, force: true });
  }

  /** git-http-backend as a CGI program. */
  private answer(request: IncomingMessage, response: ServerResponse) {
    const url = new URL(request.url ?? "/", "http://localhost");
    const text = (name: string) => String(request.headers[name] ?? "");
    const child = spawn("git", ["http-backend"], {
      env: {
        ...OWN,
        GIT_PROJECT_ROOT: this.root,
        GIT_HTTP_EXPORT_ALL: "1",
        GIT_CONFIG_COUNT: "1",
        GIT_CONFIG_KEY_0: "safe.directory",
        GIT_CONFIG_VALUE_0: "*",
        PATH_INFO: url.pathname,
        QUERY_STRING: url.search.slice(1),
        REQUEST_METHOD: request.method ?? "GET",
        CONTENT_TYPE: text("content-type"),
        HTTP_CONTENT_ENCODING: text("content-encoding"),
        GIT_PROTOCOL: text("git-protocol"),
      },
      stdio: ["pipe", "pipe", "ignore"],
    });
    const parts: Buffer[] = [];
    child.stdout.on("data", (part: Buffer) => parts.push(part));
    // A back end that refuses does not read what it was sent.
    child.stdin.on("error", () => {});
    request.pipe(child.stdin);
    child.on("close", () => {
      const output = Buffer.concat(parts);
      const end = output.indexOf("\r\n\r\n");
      let status = 200;
      for (const line of output.subarray(0, Math.max(end, 0)).toString().split("\r\n")) {
        const colon = line.indexOf(": ");
        if (colon < 0) continue;
        const [name, value] = [line.slice(0, colon), line.slice(colon + 2)];
        if (name === "Status") status = Number(value.split(" ")[0]);
        else response.setHeader(name, value);
      }
      response.writeHead(status);
      response.end(output.subarray(end + 4));
    });
  }
}

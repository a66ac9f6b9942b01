/** Stands before the server and answers one address itself: what the page does with an answer that would take long to come about. */
import { createServer, request, type Server } from "node:http";
import { Readable } from "node:stream";

export class Front {
  url = "";
  private server: Server | undefined;

  /** Answers each address that `path` matches with an event stream of these events. */
  async start(target: string, path: RegExp, events: () => Iterable<string>): Promise<this> {
    const { hostname, port } = new URL(target);
    const server = createServer((asked, answer) => {
      if (path.test(asked.url ?? "")) {
        answer.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
        Readable.from(events()).pipe(answer);
        return;
      }
      const { method, headers, url: path_ } = asked;
      const passed = request({ hostname, port, path: path_, method, headers }, (given) => {
        answer.writeHead(given.statusCode ?? 502, given.headers);
        given.pipe(answer);
      });
      passed.on("error", () => answer.destroy());
      answer.on("close", () => passed.destroy());
      asked.pipe(passed);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    if (typeof address !== "object" || !address) throw new Error("no port");
    this.url = `http://127.0.0.1:${address.port}`;
    this.server = server;
    return this;
  }

  async stop() {
    this.server?.closeAllConnections();
    await new Promise((resolve) => this.server?.close(resolve));
  }
}

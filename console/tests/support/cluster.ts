/** The Kubernetes cluster that the tests share (tests/cluster has its recipe), and the way from its nodes to a registry on loopback. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { dirname, join } from "node:path";

const path = process.env.LONGSHORE_TEST_KUBECONFIG ?? "";

/** Whether there is one, made by our recipe: its nodes reach this machine. */
export const hasCluster = path !== "" && existsSync(join(dirname(path), "host_ip"));

export const kubeconfig = (): string => readFileSync(path, "utf8");

/** An address of this machine that nodes reach, for a registry that listens on loopback alone. */
export class Gate {
  address = "";
  target = "";
  private server: Server | undefined;

  async open(): Promise<this> {
    const ip = readFileSync(join(dirname(path), "host_ip"), "utf8").trim();
    const server = createServer((client) => {
      const [host, port] = this.target.split(":");
      const far = connect(Number(port), host);
      for (const [one, other] of [
        [client, far],
        [far, client],
      ] as const) {
        one.on("error", () => other.destroy());
        one.on("close", () => other.destroy());
        one.pipe(other);
      }
    });
    await new Promise<void>((resolve) => server.listen(0, ip, resolve));
    const address = server.address();
    if (typeof address !== "object" || !address) throw new Error("no port");
    this.address = `${ip}:${address.port}`;
    this.server = server;
    // Nodes reach it without TLS.
    const folder = join(dirname(path), "registries", this.address);
    mkdirSync(folder, { recursive: true });
    const host = `http://${this.address}`;
    writeFileSync(
      join(folder, "hosts.toml"),
      `server = "${host}"\n[host."${host}"]\n  capabilities = ["pull", "resolve"]\n`,
    );
    return this;
  }

  async close() {
    await new Promise((resolve) => {
      this.server?.close(resolve);
      setTimeout(resolve, 500);
    });
  }
}

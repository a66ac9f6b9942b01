/**
 * A server of the tests' own. Needs, in the environment: LONGSHORE_TEST_BINARY (the program), LONGSHORE_TEST_DOCKER (a private engine),
 * LONGSHORE_TEST_HELLO (the sample with its static program); LONGSHORE_TEST_NVML (the simulated driver) where GPUs are to be seen.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { copyFileSync, createWriteStream, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const ADMIN_PASSWORD = "admin password of the tests";

export function setting(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set; ./test sets it`);
  return value;
}

export async function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() =>
        typeof address === "object" && address ? resolve(address.port) : reject(new Error("no port")),
      );
    });
  });
}

/** Waits until something holds; fails with the last error after the deadline. */
export async function eventually<T>(
  what: string,
  look: () => Promise<T | undefined | false>,
  seconds = 30,
): Promise<T> {
  const deadline = Date.now() + seconds * 1000;
  let last: unknown;
  for (;;) {
    try {
      const found = await look();
      if (found) return found;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline) throw new Error(`${what}: not within ${seconds} s${last ? ` (${last})` : ""}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const gpu = (index: number, name: string, memory_mib: number, memory_used_mib: number) => ({
  uuid: `GPU-0000000${index}-1111-2222-3333-444444444444`,
  name,
  memory_mib,
  memory_used_mib,
  utilization_percent: memory_used_mib > 1000 ? 93 : 0,
  temperature_celsius: 41 + index,
  power_watts: 55,
});

export class TestServer {
  readonly folder = mkdtempSync(join(tmpdir(), "longshore-console-"));
  url = "";
  private process: ChildProcess | undefined;
  private listen = "";
  registry = "";
  /** Settings besides those that every journey needs. */
  readonly settings: Record<string, string> = {};

  /** A port that was free may be somebody else's a moment later: the first start then takes others. A later one keeps its own. */
  async start() {
    const isFirst = !this.listen;
    for (let tries = 1; ; tries++) {
      if (isFirst) {
        this.listen = `127.0.0.1:${await freePort()}`;
        this.registry = `127.0.0.1:${await freePort()}`;
      }
      try {
        return await this.begin();
      } catch (error) {
        if (!isFirst || tries >= 3 || !String(error).includes("in use")) throw error;
      }
    }
  }

  private async begin() {
    this.url = `http://${this.listen}`;
    const env: NodeJS.ProcessEnv = {
      ...process.env,
      LONGSHORE_ADMIN_PASSWORD: ADMIN_PASSWORD,
      LONGSHORE_MACHINE_DOCKER: setting("LONGSHORE_TEST_DOCKER"),
      ...this.settings,
      // The tests' own git servers and chart repositories.
      LONGSHORE_OUTBOUND_ALLOW: "127.0.0.1/32",
    };
    const driver = process.env.LONGSHORE_TEST_NVML;
    if (driver) {
      mkdirSync(join(this.folder, "nvml"), { recursive: true });
      copyFileSync(driver, join(this.folder, "nvml/libnvidia-ml.so.1"));
      const gpus = [
        gpu(0, "NVIDIA A100-SXM4-40GB", 40_960, 512),
        gpu(1, "NVIDIA A100-SXM4-40GB", 40_960, 512),
        gpu(2, "NVIDIA GeForce RTX 3090", 24_576, 400),
      ];
      writeFileSync(join(this.folder, "nvml/scenario.json"), JSON.stringify({ gpus }));
      env.LONGSHORE_MACHINE_NVML = join(this.folder, "nvml/libnvidia-ml.so.1");
    }
    const log = createWriteStream(join(this.folder, "server.log"), { flags: "a" });
    const child = spawn(
      setting("LONGSHORE_TEST_BINARY"),
      ["server", "--data-dir", join(this.folder, "data"), "--listen", this.listen, "--registry-listen", this.registry],
      { env, stdio: ["ignore", "pipe", "pipe"] },
    );
    child.stdout.pipe(log, { end: false });
    child.stderr.pipe(log, { end: false });
    this.process = child;
    let isEnded = false;
    await eventually(
      "the server is ready",
      async () => {
        isEnded = child.exitCode !== null;
        return isEnded || (await fetch(`${this.url}/readyz`)).ok;
      },
      60,
    );
    if (isEnded) {
      const said = readFileSync(join(this.folder, "server.log"), "utf8").slice(-2000);
      throw new Error(`the server ended with ${child.exitCode}: ${said}`);
    }
  }

  /** Ends it as an operator does, or as a power cut does. */
  async stop(signal: "SIGTERM" | "SIGKILL" = "SIGTERM") {
    const child = this.process;
    if (!child || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await ended;
  }

  clean() {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** The agent of a machine that was invited: joined as the page says, and started and ended as machines are. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { freePort, setting, type TestServer } from "./server";

export class Agent {
  private process: ChildProcess | undefined;

  private constructor(private readonly options: string[]) {}

  /** Does on a machine what the page says, and keeps the agent running. With the simulated driver it has one GPU. */
  static async join(server: TestServer, line: string): Promise<Agent> {
    const [, , , url, token] = line.split(" ");
    if (!url || !token) throw new Error(`this is no line to join with: ${line}`);
    const folder = join(server.folder, "machine");
    const data = ["--data-dir", folder];
    execFileSync(setting("LONGSHORE_TEST_BINARY"), ["agent", "join", url, token, ...data, "--machine-id", "gpu-box"], {
      stdio: "ignore",
    });
    const engine = ["--docker", setting("LONGSHORE_TEST_DOCKER"), "--registry-listen", `127.0.0.1:${await freePort()}`];
    const gpus: string[] = [];
    const driver = process.env.LONGSHORE_TEST_NVML;
    if (driver) {
      mkdirSync(join(folder, "nvml"), { recursive: true });
      copyFileSync(driver, join(folder, "nvml/libnvidia-ml.so.1"));
      const uuid = "GPU-0000000a-1111-2222-3333-444444444444";
      const scenario = { gpus: [{ uuid, name: "NVIDIA L4", memory_mib: 23_034, memory_used_mib: 300 }] };
      writeFileSync(join(folder, "nvml/scenario.json"), JSON.stringify(scenario));
      gpus.push("--nvml", join(folder, "nvml/libnvidia-ml.so.1"));
    }
    const agent = new Agent([...data, ...engine, ...gpus]);
    agent.start();
    return agent;
  }

  start() {
    this.process = spawn(setting("LONGSHORE_TEST_BINARY"), ["agent", "run", ...this.options], { stdio: "ignore" });
  }

  /** Ends it as an operator does, or as a power cut does. */
  async stop(signal: "SIGTERM" | "SIGKILL" = "SIGTERM") {
    const child = this.process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await ended;
  }
}

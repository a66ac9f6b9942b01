#!/usr/bin/env python3
"""What 1,000 machines cost a server: agents with the real agent's code, many in one process and without an engine, joined with keys of
their own and connected over WebSockets. Memory for each, processor time while nothing happens, and how soon all are back after the
server was killed and started again."""

import os
import resource
import subprocess
import sys
import time

from common import ADMIN_PASSWORD, FOLDER, Result, Server, call, cpu, end, memory, spread, wait_until

COUNT = int(os.environ.get("LONGSHORE_BENCH_AGENTS", "1000"))
PROGRAM = os.environ.get("LONGSHORE_BENCH_SIMULATED_AGENTS", "")
IDLE_SECONDS = 30
SETTLE_SECONDS = 15


def main():
    result = Result("agents")
    # Each machine keeps several connections open, on both sides.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with Server("agents", engine=False) as server:
        admin = server.login("admin", ADMIN_PASSWORD)
        time.sleep(5)
        alone = memory(server.pid)
        quiet = cpu([server.pid])
        time.sleep(IDLE_SECONDS)
        quiet = cpu([server.pid]) - quiet
        agents = subprocess.Popen([PROGRAM, server.url, str(FOLDER / "agents-state"), str(COUNT)], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                  env={**os.environ, "SIMULATED_AGENTS_TOKEN": admin})
        try:
            if agents.stdout.readline().strip() != "joined":
                raise SystemExit("the agents did not join")
            connected = lambda: all_back(server, admin, COUNT)
            wait_until("all agents", 120, connected, 0.1)
            time.sleep(SETTLE_SECONDS)
            with_agents = memory(server.pid)
            spent = cpu([server.pid])
            time.sleep(IDLE_SECONDS)
            spent = cpu([server.pid]) - spent
            result.figure("each", f"memory of the server for each of {COUNT:,} agents", "KiB",
                          spread([(with_agents["anonymous"] - alone["anonymous"]) * 1024 / COUNT]), goal=24, digits=1)
            result.figure("idle", f"processor for {COUNT:,} idle agents, beside a server without", "% of a core",
                          spread([100 * (spent - quiet) / IDLE_SECONDS]), goal=0.5)
            back = []
            for _ in range(3):
                server.process.kill()
                server.process.wait()
                server.start()
                began = time.monotonic()
                admin = server.login("admin", ADMIN_PASSWORD)
                wait_until("all agents are back", 120, lambda: all_back(server, admin, COUNT), 0.1)
                back.append(time.monotonic() - began)
            result.figure("back", f"until all {COUNT:,} are back after the server was killed and is ready again", "s", spread(back), goal=10)
        finally:
            end(agents)
    result.write()


def all_back(server, admin, count):
    text = call(f"{server.url}/metrics", token=admin)[1]
    line = next((line for line in text.splitlines() if line.startswith("longshore_machines_connected")), "0")
    return float(line.split()[-1]) >= count


if __name__ == "__main__":
    sys.exit(main())

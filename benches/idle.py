#!/usr/bin/env python3
"""What the server costs while nothing happens: memory, processor time, bytes written; how soon it is ready with a data folder
that exists; how large the program is. The registry beside it is measured too, for scale."""

import os
import sys
import time

from common import BINARY, PAIRS, Result, Server, call, cpu, memory, spread, tree, wait_until, written_bytes

IDLE_SECONDS = int(os.environ.get("LONGSHORE_BENCH_IDLE", "60"))
# The server asks its own parts now and then; what it costs right after the start is not what it costs for weeks.
SETTLE_SECONDS = 10


def main():
    result = Result("idle")
    with Server("idle") as server:
        server.register("bench")

    alive, ready = [], []
    for _ in range(max(PAIRS, 5)):
        began = time.monotonic()
        server.start(wait=False)
        wait_until("an answer", 30, lambda: call(f"{server.url}/healthz", timeout=5))
        alive.append((time.monotonic() - began) * 1000)
        wait_until("readiness", 60, server.is_ready)
        ready.append((time.monotonic() - began) * 1000)
        server.stop()
    result.figure("alive", "start to first answer (/healthz)", "ms", spread(alive), digits=0)
    result.figure("ready", "start to ready (/readyz: database, registry, engine)", "ms", spread(ready), goal=300, digits=0)

    with server:
        token = server.login("bench")
        for path in ("me", "images", "containers", "machines", "builds"):
            call(f"{server.url}/api/v1/{path}", token=token)
        time.sleep(SETTLE_SECONDS)
        children = [pid for pid in tree(server.pid) if pid != server.pid]
        spent, written = cpu([server.pid]), written_bytes(server.pid)
        samples, peaks, beside = [], [], []
        for _ in range(5):
            time.sleep(IDLE_SECONDS / 5)
            now = memory(server.pid)
            samples.append(now["rss"])
            peaks.append(now["anonymous"])
            beside.append(sum(memory(pid)["rss"] for pid in children))
        spent, written = cpu([server.pid]) - spent, written_bytes(server.pid) - written
        result.figure("rss", "server with built-in agent, idle: resident", "MiB", spread(samples), goal=32, digits=1)
        result.figure("anonymous", "of that anonymous (the rest is the program's file)", "MiB", spread(peaks), digits=1)
        result.figure("registry", "the registry beside it, resident", "MiB", spread(beside), digits=1)
        result.figure("cpu", f"processor, {IDLE_SECONDS} idle seconds (with the registry)", "% of a core",
                      spread([100 * spent / IDLE_SECONDS]))
        result.figure("written", f"written in {IDLE_SECONDS} idle seconds", "bytes", spread([written]), goal=0, digits=0)
    size = os.path.getsize(BINARY) / 1e6
    result.figure("binary", "size of the program (release)", "MB", spread([size]), goal=40, digits=1)
    result.write()


if __name__ == "__main__":
    sys.exit(main())

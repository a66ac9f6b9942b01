#!/usr/bin/env python3
"""The first use of an image on a machine that has never seen it, beside `docker pull && docker run` by hand.

Both arms on one private engine, each with fresh bytes of the same kind and size, order rotated:
  longshore   POST /api/v1/containers; an agent in a process of its own fetches the image through its own door and the link
  plain       docker pull && docker run from a docker-registry of its own, without accounts and without a link
Before each the image is built and pushed with the Docker client, and then removed from the engine.
"""

import os
import subprocess
import sys
import time

from common import (ADMIN_PASSWORD, BINARY, DOCKER, FOLDER, PAIRS, PASSWORD, Result, Server, call, cpu, end, free_port, ratios,
                    rotated, spread, wait_until)
from upload_to_answer import ByHand, answers, context, plain_registry

MACHINE = "bench"


class Plain(ByHand):
    """By hand, from an image that is only in the registry."""

    def prepare(self, files, kind):
        super().prepare(files, kind)
        self.docker("build", "--no-cache", "--quiet", "--tag", self.image, str(self.folder))
        self.docker("push", "--quiet", self.image)
        self.docker("rmi", "--force", self.image)

    def run(self):
        self.docker("pull", "--quiet", self.image)
        self.container = self.docker("run", "--detach", "--publish", "127.0.0.1::8000", self.image)
        port = self.docker("port", self.container, "8000").rsplit(":", 1)[1]
        wait_until("the container's answer", 60, lambda: answers(port))


class Longshore(Plain):
    """Prepared by hand as well, and used through the API."""

    def __init__(self, server, token):
        super().__init__("longshore", server.registry, "bench")
        self.server, self.token = server, token

    def run(self):
        name = f"byhand{self.number}"
        wish = {"image": f"{name}:1", "name": name, "machine": MACHINE, "ports": [{"container": 8000}]}
        made = call(f"{self.server.url}/api/v1/containers", "POST", wish, self.token)[1]
        self.container = made["id"]
        shown = f"{self.server.url}/api/v1/containers/{self.container}"
        wait_until("the container to run", 60, lambda: call(shown, token=self.token)[1]["state"] == "running")
        wait_until("the container's answer", 60, lambda: answers(made["ports"][0]["host"]))

    def clean(self):
        url, token = self.server.url, self.token
        call(f"{url}/api/v1/containers/{self.container}", "DELETE", None, token)
        gone = lambda: call(f"{url}/api/v1/containers/{self.container}", token=token, expect=(404,), timeout=10)
        wait_until("the container to go", 60, gone, 0.05)
        # The engine knows it by its digest, at the agent's door.
        for image in self.docker("images", "--digests", "--format", "{{.Repository}}@{{.Digest}}").split():
            if f"/bench/byhand{self.number}@" in image:
                self.docker("rmi", "--force", image)


def main():
    result = Result("first_use")
    registry, address = plain_registry()
    engine = [int(pid) for pid in os.environ["LONGSHORE_BENCH_ENGINE_PIDS"].split(",")]
    try:
        with Server("first-use", engine=False) as server:
            token, admin = server.register("bench"), server.login("admin", ADMIN_PASSWORD)
            invite = call(f"{server.url}/api/v1/invites", "POST", {}, admin)[1]["token"]
            joined = ["--data-dir", str(FOLDER / "first-use-agent")]
            subprocess.run([BINARY, "agent", "join", server.url, invite, *joined, "--machine-id", MACHINE], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            door = f"127.0.0.1:{free_port()}"
            agent = subprocess.Popen([BINARY, "agent", "run", *joined, "--docker", DOCKER, "--registry-listen", door],
                                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                     env={**os.environ, "LONGSHORE_LOG_FILTER": "warn"})
            try:
                machines = lambda: call(f"{server.url}/api/v1/machines", token=token)[1]["data"]
                wait_until("the machine", 60, lambda: [one for one in machines() if one["state"] == "online"], 0.05)
                arms = {"longshore": Longshore(server, token), "plain": Plain("plain", address, "bench")}
                arms["longshore"].docker("login", server.registry, "--username", "bench", "--password-stdin", input=PASSWORD)
                pids = [*engine, server.pid, agent.pid, registry.pid, os.getpid()]
                measure(result, arms, pids, 64)
            finally:
                end(agent)
    finally:
        end(registry)
    result.write()


def measure(result, arms, pids, size):
    seconds, work = {name: [] for name in arms}, {name: [] for name in arms}
    for round_number in range(-1, PAIRS):
        for name in rotated(arms, max(round_number, 0)):
            arm = arms[name]
            arm.prepare(context(size), "folder")
            os.sync()
            spent, began = cpu(pids), time.monotonic()
            arm.run()
            took, spent = time.monotonic() - began, cpu(pids) - spent
            arm.clean()
            # The first round warms everything up and does not count.
            if round_number >= 0:
                seconds[name].append(took)
                work[name].append(spent)
    for name in arms:
        result.figure(name, f"{size} MiB, {name}: from asking to the first answer", "s", spread(seconds[name]), digits=3)
        result.figure(f"{name}-cpu", f"{size} MiB, {name}: processor time of everything", "s", spread(work[name]))
    result.figure("ratio", f"{size} MiB: Longshore / plain, wall", "×", ratios(seconds["longshore"], seconds["plain"]), goal=1.05)
    result.figure("cpu-ratio", f"{size} MiB: Longshore / plain, processor time", "×", ratios(work["longshore"], work["plain"]))


if __name__ == "__main__":
    sys.exit(main())

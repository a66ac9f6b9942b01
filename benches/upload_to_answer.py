#!/usr/bin/env python3
"""From a folder with a Dockerfile to a container that answers: Longshore's API against the Docker client by hand.

Three arms on one private engine, each with fresh bytes of the same kind and size, order rotated:
  longshore   archive through POST /api/v1/builds, log followed, POST /api/v1/containers, first answer over HTTP
  plain       docker build && docker push && docker run against a docker-registry of its own, without accounts
  door        the same against Longshore's registry, logged in
By hand starts from the unpacked folder; Longshore starts from the archive.
"""

import io
import os
import shutil
import subprocess
import sys
import tarfile
import time
import urllib.request
import zipfile

from common import (DOCKER, FOLDER, MIB, PAIRS, PASSWORD, Refused, Result, Server, call, cpu, end, free_port, ratios, rotated,
                    spread, wait_until)

HELLO = os.environ["LONGSHORE_BENCH_HELLO"]
DOCKERFILE = b"FROM scratch\nCOPY hello /hello\nCOPY payload /payload\nEXPOSE 8000\nSTOPSIGNAL SIGKILL\nCMD [\"/hello\"]\n"


def context(size_mib):
    """A new context: half of the payload can be compressed, half cannot, and no byte was seen before."""
    pieces = [os.urandom(MIB // 2) + bytes(MIB // 2) for _ in range(size_mib)]
    with open(f"{HELLO}/hello", "rb") as program:
        return {"Dockerfile": DOCKERFILE, "hello": program.read(), "payload": b"".join(pieces)}


def packed(files, kind):
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            for name, content in files.items():
                entry = zipfile.ZipInfo(name)
                entry.external_attr = (0o100755 if name == "hello" else 0o100644) << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, content)
    else:
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(content), 0o755 if name == "hello" else 0o644
                archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def answers(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2) as answer:
        return b"Hello" in answer.read()


class Longshore:
    def __init__(self, server, token):
        self.server, self.token, self.number = server, token, 0

    def prepare(self, files, kind):
        self.body = packed(files, kind)
        self.number += 1
        self.name = f"bench{self.number}"

    def run(self):
        url = f"{self.server.url}/api/v1/builds?image={self.name}:1"
        build = call(url, "POST", self.body, self.token, {"Content-Type": "application/octet-stream"})[1]
        ended = self.server.follow_build(build["id"], self.token)
        if ended["state"] != "succeeded":
            raise Refused(f"the build {ended['state']}: {ended['message']}")
        wish = {"image": f"{self.name}:1", "name": self.name, "ports": [{"container": 8000}]}
        container = call(f"{self.server.url}/api/v1/containers", "POST", wish, self.token)[1]
        self.container = container["id"]
        # As by hand, where `docker run` returns when the process runs: a connection that comes before is taken by the
        # engine's proxy, lost on its way to the container, and tried again a second later.
        shown = f"{self.server.url}/api/v1/containers/{self.container}"
        wait_until("the container to run", 60, lambda: call(shown, token=self.token)[1]["state"] == "running")
        wait_until("the container's answer", 60, lambda: answers(container["ports"][0]["host"]))

    def clean(self):
        url, token = self.server.url, self.token
        call(f"{url}/api/v1/containers/{self.container}", "DELETE", None, token)
        gone = lambda: call(f"{url}/api/v1/containers/{self.container}", token=token, expect=(404,), timeout=10)
        wait_until("the container to go", 60, gone, 0.05)
        image = call(f"{url}/api/v1/images?name=bench/{self.name}:1", token=token)[1]["data"][0]["id"]
        call(f"{url}/api/v1/images/{image}", "DELETE", None, token)


class ByHand:
    def __init__(self, name, registry, owner):
        self.folder, self.owner, self.number = FOLDER / f"context-{name}", f"{registry}/{owner}", 0
        self.environment = {**os.environ, "DOCKER_HOST": DOCKER, "DOCKER_BUILDKIT": "0",
                            "DOCKER_CONFIG": str(FOLDER / f"docker-{name}")}

    def docker(self, *words, **more):
        done = subprocess.run(["docker", *words], env=self.environment, capture_output=True, text=True, **more)
        if done.returncode != 0:
            raise Refused(f"docker {' '.join(words)}: {done.stderr}")
        return done.stdout.strip()

    def prepare(self, files, _kind):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        for name, content in files.items():
            (self.folder / name).write_bytes(content)
        (self.folder / "hello").chmod(0o755)
        self.number += 1
        self.image = f"{self.owner}/byhand{self.number}:1"

    def run(self):
        self.docker("build", "--no-cache", "--quiet", "--tag", self.image, str(self.folder))
        self.docker("push", "--quiet", self.image)
        self.container = self.docker("run", "--detach", "--publish", "127.0.0.1::8000", self.image)
        port = self.docker("port", self.container, "8000").rsplit(":", 1)[1]
        wait_until("the container's answer", 60, lambda: answers(port))

    def clean(self):
        self.docker("rm", "--force", self.container)
        self.docker("rmi", "--force", self.image)


def plain_registry():
    """The same Distribution, with nothing but a folder."""
    port, folder = free_port(), FOLDER / "plain-registry"
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/content}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n")
    log = (folder / "log").open("ab")
    process = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log)
    wait_until("the plain registry", 20, lambda: call(f"http://127.0.0.1:{port}/v2/"), 0.05)
    return process, f"127.0.0.1:{port}"


def main():
    result = Result("upload_to_answer")
    registry, address = plain_registry()
    engine = [int(pid) for pid in os.environ["LONGSHORE_BENCH_ENGINE_PIDS"].split(",")]
    try:
        with Server("upload") as server:
            token = server.register("bench")
            door = ByHand("door", server.registry, "bench")
            door.docker("login", server.registry, "--username", "bench", "--password-stdin", input=PASSWORD)
            arms = {"longshore": Longshore(server, token), "plain": ByHand("plain", address, "bench"), "door": door}
            pids = [*engine, server.pid, registry.pid, os.getpid()]
            for size, kind in ((1, "zip"), (64, "zip"), (64, "tar")):
                measure(result, arms, pids, size, kind)
    finally:
        end(registry)
    result.write()


def measure(result, arms, pids, size, kind):
    seconds, work = {name: [] for name in arms}, {name: [] for name in arms}
    for round_number in range(-1, PAIRS):
        for name in rotated(arms, max(round_number, 0)):
            arm = arms[name]
            arm.prepare(context(size), kind)
            # What was written before belongs to whoever wrote it.
            os.sync()
            spent, began = cpu(pids), time.monotonic()
            arm.run()
            took, spent = time.monotonic() - began, cpu(pids) - spent
            arm.clean()
            # The first round warms everything up and does not count.
            if round_number >= 0:
                seconds[name].append(took)
                work[name].append(spent)
    what = f"{size} MiB {kind}"
    for name in arms:
        result.figure(f"{size}-{kind}-{name}", f"{what}, {name}: wall", "s", spread(seconds[name]), digits=3)
        result.figure(f"{size}-{kind}-{name}-cpu", f"{what}, {name}: processor time of everything", "s", spread(work[name]))
    for other in ("plain", "door"):
        wall = ratios(seconds["longshore"], seconds[other])
        result.figure(f"{size}-{kind}-{other}-ratio", f"{what}: Longshore / {other}, wall", "×", wall, goal=1.10)
        result.figure(f"{size}-{kind}-{other}-cpu-ratio", f"{what}: Longshore / {other}, processor time", "×",
                      ratios(work["longshore"], work[other]))


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Pipelines on a private engine, with a real git server on this host: from a webhook to the first line of the run's log (what the platform
takes, before the git server is asked anything); a whole run against `git clone --depth 1 && docker build && docker push` by hand, with fresh
bytes each time; the same commit once more, when nothing has changed; a step that prints a million lines, followed by 20 viewers; and a hundred
runs of two accounts that wait behind one that does not end: what the server spends on each until its turn, and whose turn comes when."""

import hashlib
import hmac
import http.client
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import link
from common import (FOLDER, PAIRS, Refused, Result, Server, call, cpu, end, forget_peak, memory, percentile, ratios, rotated, spread,
                    wait_until)
from upload_to_answer import ByHand, context, plain_registry

HOOKS = int(os.environ.get("LONGSHORE_BENCH_HOOKS", "30"))
SIZE_MIB = int(os.environ.get("LONGSHORE_BENCH_RUN_MIB", "16"))
LINES = int(os.environ.get("LONGSHORE_BENCH_LINES", "1000000"))
VIEWERS = 20
WAITING = 100
SECRET = "bench secret"
QUIET = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}


def git(*words, folder):
    environment = {**os.environ, **QUIET}
    name = ("-c", "user.name=Bench", "-c", "user.email=bench@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(["git", *name, *words], cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise Refused(f"git {' '.join(words)}: {done.stderr}")
    return done.stdout.strip()


class Backend(BaseHTTPRequestHandler):
    """git's own HTTP back end as a CGI program."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        environment = {
            "PATH": os.environ["PATH"], **QUIET, "GIT_PROJECT_ROOT": str(self.server.root), "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
            "PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("content-type") or "",
            "HTTP_CONTENT_ENCODING": self.headers.get("content-encoding") or "",
            "GIT_PROTOCOL": self.headers.get("git-protocol") or "",
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        status, headers = 200, []
        for line in head.decode().splitlines():
            name, _, value = line.partition(": ")
            if name == "Status":
                status = int(value.split()[0])
            else:
                headers.append((name, value))
        self.send_response(status)
        for name, value in [*headers, ("Content-Length", str(len(content)))]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET


class Repository:
    """A repository with a working copy, and a server for it."""

    def __init__(self, name):
        self.root = FOLDER / f"git-{name}"
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True)
        git("init", "--quiet", "--bare", "app.git", folder=self.root)
        git("init", "--quiet", "work", folder=self.root)
        self.work = self.root / "work"
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Backend)
        self.server.root = self.root
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/app.git"

    def commit(self, files=None):
        for name, content in (files or {}).items():
            (self.work / name).write_bytes(content)
            (self.work / name).chmod(0o755)
        git("add", "--all", folder=self.work)
        git("commit", "--quiet", "--allow-empty", "--message", "bench", folder=self.work)
        git("push", "--quiet", "../app.git", "HEAD:main", folder=self.work)
        return git("rev-parse", "HEAD", folder=self.work)


class Pipeline:
    """What Longshore does."""

    def __init__(self, server, token, repository, name):
        self.server, self.token, self.name = server, token, name
        wish = {"repo_name": name, "url": repository.url, "branch": "main", "webhook_secret": SECRET}
        self.repo = call(f"{server.url}/api/v1/git-repos", "POST", wish, token)[1]["id"]

    def ended(self, run):
        # On the log's own stream: whoever asks again and again takes part in what is measured.
        return self.server.follow_build(run["uuid"], self.token) and self.final(run)

    def final(self, run):
        shown = f"{self.server.url}/api/v1/runs/{run['id']}"
        is_final = lambda: (now := call(shown, token=self.token)[1])["state"] in ("succeeded", "failed", "cancelled") and now
        return wait_until("the run's end", 600, is_final, 0.01)

    def start(self):
        return call(f"{self.server.url}/api/v1/runs", "POST", {"git_repo_id": self.repo}, self.token)[1]

    def run(self):
        run = self.start()
        shown = f"{self.server.url}/api/v1/builds/{run['uuid']}"
        wait_until("the run's build", 600, lambda: call(shown, token=self.token), 0.01)
        ended = self.ended(run)
        if ended["state"] != "succeeded":
            raise Refused(f"the run {ended['state']}: {ended['message']}")

    def hook(self, commit):
        body = json.dumps({"ref": "refs/heads/main", "after": commit, "repository": {"full_name": self.name}})
        signature = hmac.new(SECRET.encode(), body.encode(), hashlib.sha256).hexdigest()
        headers = {"X-Gitea-Event": "push", "X-Gitea-Signature": signature, "Content-Type": "application/json"}
        return call(f"{self.server.url}/hook/{self.name}", "POST", body, headers=headers)[1]["event"]


class CloneAndBuild(ByHand):
    """The same by hand: a shallow clone, a build that may use what was built before, a push."""

    def __init__(self, registry, repository):
        super().__init__("runs", registry, "bench")
        self.repository = repository

    def run(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        git("clone", "--quiet", "--depth", "1", "--branch", "main", self.repository.url, str(self.folder), folder=FOLDER)
        self.docker("build", "--quiet", "--tag", f"{self.owner}/runs:1", str(self.folder))
        self.docker("push", "--quiet", f"{self.owner}/runs:1")


def first_lines(result, pipeline, repository):
    """A log is a file; the moment at which a new one has its first line is seen there without asking anybody."""
    logs = pipeline.server.folder / "data" / "blobs" / "build-logs"
    took = []
    for number in range(HOOKS + 2):
        commit = repository.commit()
        known = set(os.listdir(logs))
        began = time.perf_counter()
        event = pipeline.hook(commit)

        def has_line():
            return any((logs / name).stat().st_size for name in os.listdir(logs) if name not in known)
        wait_until("the first line", 60, has_line, 0.0002)
        # The first ones warm everything up.
        if number >= 2:
            took.append((time.perf_counter() - began) * 1000)
        listed = call(f"{pipeline.server.url}/api/v1/runs?limit=5", token=pipeline.token)[1]["data"]
        run = next(run for run in listed if run["name"] == event)
        pipeline.final(run)
    middle = {"value": percentile(took, 0.5), "low": min(took), "high": max(took)}
    result.figure("first-line-p50", "Webhook to the first line of the log, p50", "ms", middle, goal=20, digits=1)


def whole_runs(result, pipeline, by_hand, repository, pids):
    arms = {"longshore": pipeline.run, "byhand": by_hand.run}
    wall, work = ({name: {"first": [], "second": []} for name in arms} for _ in range(2))
    for round_number in range(-1, PAIRS):
        for name in rotated(arms, max(round_number, 0)):
            # Bytes of its own: they share an engine, and with it what was built before.
            repository.commit(context(SIZE_MIB))
            for which in ("first", "second"):
                os.sync()
                spent, began = cpu(pids), time.monotonic()
                arms[name]()
                took, spent = time.monotonic() - began, cpu(pids) - spent
                # The first round warms everything up and does not count.
                if round_number >= 0:
                    wall[name][which].append(took)
                    work[name][which].append(spent)
    what = f"{SIZE_MIB} MiB"
    for name in arms:
        for which in ("first", "second"):
            result.figure(f"{name}-{which}", f"{what}, {name}, {which} run: wall", "s", spread(wall[name][which]), digits=3)
            result.figure(f"{name}-{which}-cpu", f"{what}, {name}, {which} run: processor time of everything", "s",
                          spread(work[name][which]))
    result.figure("whole-ratio", f"{what}: a run / by hand, wall", "×", ratios(wall["longshore"]["first"], wall["byhand"]["first"]), goal=1.10)
    result.figure("second-ratio", f"{what}: the second run / the first, wall", "×",
                  ratios(wall["longshore"]["second"], wall["longshore"]["first"]), goal=0.3)


def viewer(pipeline, run, counts, number):
    """Follows a run's log to its end; how many of the million lines came, and whether each came in its turn."""
    parts = urllib.parse.urlsplit(pipeline.server.url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=600)
    connection.request("GET", f"/api/v1/runs/{run['id']}/log", None,
                       {"Authorization": f"Bearer {pipeline.token}", "Accept": "text/event-stream"})
    event, rest, count = "", "", 0
    for line in connection.getresponse():
        line = line.decode().rstrip("\r\n")
        if line.startswith("event:"):
            event = line[6:].strip()
            if event == "end":
                break
        elif line.startswith("data:") and event == "log":
            *lines, rest = (rest + json.loads(line[5:])["text"]).split("\n")
            for text in lines:
                if text == str(count + 1):
                    count += 1
    connection.close()
    counts[number] = count


def flood(result, pipeline, repository):
    with tarfile.open(fileobj=io.BytesIO(link.context())) as programs:
        programs.extractall(repository.work)
    repository.commit({"Dockerfile": f'FROM scratch\nCOPY root /\nRUN ["/bin/seq", "{LINES}"]\n'.encode()})
    before = memory(pipeline.server.pid)["rss"]
    forget_peak(pipeline.server.pid)
    run, counts = pipeline.start(), [0] * VIEWERS
    viewers = [threading.Thread(target=viewer, args=(pipeline, run, counts, number)) for number in range(VIEWERS)]
    for thread in viewers:
        thread.start()
    for thread in viewers:
        thread.join()
    more = memory(pipeline.server.pid)["peak"] - before
    ended = pipeline.final(run)
    if ended["state"] != "succeeded":
        raise Refused(f"the run {ended['state']}: {ended['message']}")
    result.figure("flood-memory", f"{LINES} lines, {VIEWERS} viewers: more memory of the server", "MiB", spread([more]), goal=32)
    result.figure("flood-lost", f"{LINES} lines, {VIEWERS} viewers: lines that a viewer missed", "lines",
                  spread([LINES - count for count in counts]), goal=0, digits=0)


def waiting(turn):
    """The processor time that a waiting run costs, in milliseconds, and how many of the first turns the account that came second had.

    One place, and somebody in it. The runs that wait build nothing, so that their turns come quickly: they have no Dockerfile."""
    settings = {"LONGSHORE_OUTBOUND_ALLOW": "127.0.0.0/8", "LONGSHORE_BUILDS_QUEUED_PER_ACCOUNT": "1000", "LONGSHORE_BUILDS_WORKERS": "1"}
    with Server(f"runs-waiting-{turn}", settings=settings) as server:
        tokens = [server.register(name) for name in ("first", "second")]
        slow, empty = Repository("slow"), Repository("empty")
        with tarfile.open(fileobj=io.BytesIO(link.context())) as programs:
            programs.extractall(slow.work)
        slow.commit({"Dockerfile": b'FROM scratch\nCOPY root /\nRUN ["/bin/sleep", "600"]\n'})
        empty.commit({"README": b"nothing to build"})
        in_the_way = Pipeline(server, tokens[0], slow, "slow")
        blocking = in_the_way.start()
        shown = f"{server.url}/api/v1/builds/{blocking['uuid']}"
        is_asleep = lambda: (call(shown, token=tokens[0], expect=(200, 404))[1] or {}).get("step") == 3
        wait_until("the step that sleeps", 120, is_asleep, 0.05)
        pipelines = [Pipeline(server, token, empty, name) for token, name in zip(tokens, ("one", "two"))]
        time.sleep(2)
        before = cpu([server.pid])
        for pipeline in pipelines:
            for _ in range(WAITING // 2):
                pipeline.start()
        time.sleep(5)
        spent = (cpu([server.pid]) - before) / WAITING * 1000
        call(f"{server.url}/api/v1/runs/{blocking['id']}/cancel", "POST", None, tokens[0])

        def ended():
            rows = [row for token in tokens for row in call(f"{server.url}/api/v1/runs?limit=2048", token=token)[1]["data"]
                    if row["id"] != blocking["id"]]
            return len(rows) == WAITING and all(row["ended_at"] for row in rows) and rows
        rows = sorted(wait_until("the runs that waited", 600, ended, 0.5), key=lambda row: (row["ended_at"], row["id"]))
        # The first account asked for all of its runs before the second one asked for any.
        early = sum(row["repo_name"] == "two" for row in rows[:WAITING // 5])
        return spent, early


def main():
    result = Result("runs")
    registry, address = plain_registry()
    engine = [int(pid) for pid in os.environ["LONGSHORE_BENCH_ENGINE_PIDS"].split(",")]
    try:
        settings = {"LONGSHORE_OUTBOUND_ALLOW": "127.0.0.0/8", "LONGSHORE_BUILDS_QUEUED_PER_ACCOUNT": "1000"}
        with Server("runs", settings=settings) as server:
            token = server.register("bench")
            repository = Repository("app")
            repository.commit(context(1))
            pipeline = Pipeline(server, token, repository, "app")
            first_lines(result, pipeline, repository)
            pids = [*engine, server.pid, registry.pid, os.getpid()]
            whole_runs(result, pipeline, CloneAndBuild(address, repository), repository, pids)
            talkative = Repository("flood")
            flood(result, Pipeline(server, token, talkative, "flood"), talkative)
        spent, early = zip(*(waiting(turn) for turn in range(PAIRS)))
        result.figure("waiting-cpu", f"{WAITING} runs that wait: processor time of the server for each", "ms", spread(spent), goal=1)
        result.figure("waiting-share", f"Of the first {WAITING // 5} turns, those of the account that came second", "turns",
                      spread(early), goal=WAITING // 5 * 0.4, better="higher", digits=0)
    finally:
        end(registry)
    result.write()


if __name__ == "__main__":
    sys.exit(main())

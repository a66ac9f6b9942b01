#!/usr/bin/env python3
"""A chart repository of 150 charts and 20,100 versions (25 MB): processor time and memory of a sync that stores it and makes it searchable,
against `helm repo update` on the same bytes; of a sync that finds nothing new; and of a search. The index differs in every round, so that
every chart is read and some are written; it is served packed to those who ask for it, which Helm does not."""

import gzip
import hashlib
import http.server
import os
import random
import subprocess
import sys
import threading
import time

from common import FOLDER, PAIRS, Result, Server, call, forget_peak, free_port, memory, processor_time, ratios, spread, wrk

HELM = os.environ.get("LONGSHORE_BENCH_HELM", "helm")
CHARTS, VERSIONS = 150, 134
WORDS = ("database cache queue broker proxy gateway storage search engine metrics logging dashboard registry identity session cluster "
         "operator stream event analytics notebook gpu inference vector graph ledger wiki blog backup policy mesh ingress").split()


def entries(round_number, charts=CHARTS, versions=VERSIONS):
    """The charts of an index with their versions, newest first; in every round each chart has one version more."""
    chance = random.Random(7)
    for number in range(charts):
        name = f"{chance.choice(WORDS)}-{number}"
        words = chance.sample(WORDS, 5)
        about = f"{name} is a {words[0]} {words[1]} for {words[2]} and {words[3]}, packaged for clusters with {' '.join(chance.sample(WORDS, 6))}."
        yield name, [{
            "annotations": {"category": "Infrastructure", "images": f"- name: {name}\n  image: docker.io/lab/{name}:{version_of(version)}-debian-12-r3\n",
                            "licenses": "Apache-2.0"},
            "apiVersion": "v2", "appVersion": version_of(version), "created": "2024-05-06T07:08:09.123456789Z",
            "dependencies": [{"name": "common", "repository": "oci://registry.lab.example/charts", "tags": ["lab-common"], "version": "2.x.x"}],
            "description": about, "digest": hashlib.sha256(f"{name} {version_of(version)}".encode()).hexdigest(),
            "home": f"https://lab.example/charts/{name}", "icon": f"https://lab.example/img/{name}.png", "keywords": words,
            "maintainers": [{"name": "Lab Charts Team", "url": "https://lab.example/charts"}], "name": name,
            "sources": [f"https://lab.example/charts/tree/main/lab/{name}"], "urls": [f"{name}-{version_of(version)}.tgz"],
            "version": version_of(version),
        } for version in reversed(range(versions + round_number))]


def version_of(number):
    return f"{number // 40}.{number % 40}.{number % 7}"


def as_helm_writes(charts, anchors=False):
    """In Helm's own layout; or with what the versions of a chart have in common written once, behind anchors."""
    lines = ["apiVersion: v1", "entries:"]
    for name, versions in charts:
        lines.append(f"  {name}:")
        for number, entry in enumerate(versions):
            notes, need, keeper = entry["annotations"], entry["dependencies"][0], entry["maintainers"][0]
            common = {"keywords": [f"    - {word}" for word in entry["keywords"]],
                      "maintainers": [f"    - name: {keeper['name']}", f"      url: {keeper['url']}"],
                      "sources": [f"    - {entry['sources'][0]}"]}
            for field, items in common.items():
                if not anchors:
                    common[field] = [f"    {field}:", *items]
                elif number == 0:
                    common[field] = [f"    {field}: &{field}", *items]
                else:
                    common[field] = [f"    {field}: *{field}"]
            lines += ["  - annotations:", f"      category: {notes['category']}", "      images: |",
                      *(f"        {line}" for line in notes["images"].splitlines()), f"      licenses: {notes['licenses']}",
                      f"    apiVersion: {entry['apiVersion']}", f"    appVersion: {entry['appVersion']}", f'    created: "{entry["created"]}"',
                      "    dependencies:", f"    - name: {need['name']}", f"      repository: {need['repository']}", "      tags:",
                      f"      - {need['tags'][0]}", f"      version: {need['version']}", f"    description: {entry['description']}",
                      f"    digest: {entry['digest']}", f"    home: {entry['home']}", f"    icon: {entry['icon']}", *common["keywords"],
                      *common["maintainers"], f"    name: {name}", *common["sources"], "    urls:", f"    - {entry['urls'][0]}",
                      f"    version: {entry['version']}"]
    return ("\n".join(lines) + '\ngenerated: "2024-05-06T07:08:09Z"\n').encode()


def index(round_number):
    """An index as Helm writes it."""
    return as_helm_writes(entries(round_number))


class Repository(http.server.BaseHTTPRequestHandler):
    """Serves what `content` is, with or without validators."""

    content, packed, has_validators = b"", b"", True
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        etag = f'"{hashlib.sha256(self.content).hexdigest()}"'
        if self.has_validators and self.headers.get("If-None-Match") == etag:
            self.send_response(304)
            self.end_headers()
            return
        is_packed = "gzip" in self.headers.get("Accept-Encoding", "")
        body = self.packed if is_packed else self.content
        self.send_response(200)
        if is_packed:
            self.send_header("Content-Encoding", "gzip")
        if self.has_validators:
            self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def serve(content):
    Repository.content, Repository.packed = content, gzip.compress(content, 6)


def helm_environment(home):
    return {**os.environ, "HELM_CACHE_HOME": f"{home}/cache", "HELM_CONFIG_HOME": f"{home}/config", "HELM_DATA_HOME": f"{home}/data"}


def helm_update(home, url):
    """Processor seconds and the highest resident memory (MiB) of `helm repo update`."""
    environment = helm_environment(home)
    if not os.path.exists(f"{home}/config/repositories.yaml"):
        subprocess.run([HELM, "repo", "add", "bench", url], env=environment, check=True, capture_output=True)
    process = subprocess.Popen([HELM, "repo", "update"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, status
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    result = Result("chart_sync")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    repository = http.server.ThreadingHTTPServer(("127.0.0.1", port), Repository)
    threading.Thread(target=repository.serve_forever, daemon=True).start()
    serve(index(0))
    server = Server("chart_sync", engine=False, settings={"LONGSHORE_OUTBOUND_ALLOW": "127.0.0.0/8"})
    home = FOLDER / "chart_sync" / "helm"
    with server:
        token = server.register("bench")
        call(f"{server.url}/api/repos", "POST", {"name": "bench", "url": url, "sync_minutes": 0}, token, expect=(200, 409))

        def sync():
            return call(f"{server.url}/api/repos/bench/sync", "POST", token=token)[1]["sync"]

        ours, theirs, grown, peaks, wall = [], [], [], [], []
        for round_number in range(1, PAIRS + 2):
            serve(index(round_number))
            for arm in (("helm", "longshore") if round_number % 2 else ("longshore", "helm")):
                if arm == "helm":
                    spent, peak = helm_update(home, url)
                    if round_number > 1:
                        theirs.append(spent)
                        peaks.append(peak)
                    continue
                before, rss = processor_time(server.pid), memory(server.pid)["rss"]
                forget_peak(server.pid)
                began = time.monotonic()
                found = sync()
                assert found["changed_count"] == CHARTS and found["version_count"] == CHARTS * (VERSIONS + round_number), found
                if round_number > 1:
                    wall.append(time.monotonic() - began)
                    ours.append(processor_time(server.pid) - before)
                    grown.append(memory(server.pid)["peak"] - rss)
        result.figure("sync", "changed index stored: processor time", "s", spread(ours), digits=3)
        result.figure("helm", "`helm repo update`: processor time", "s", spread(theirs))
        result.figure("ratio", "Longshore / Helm, processor time", "×", ratios(ours, theirs), goal=0.1, digits=3)
        result.figure("memory", "growth of the server's memory", "MiB", spread(grown), digits=1)
        result.figure("helm-memory", "`helm repo update`: highest resident memory", "MiB", spread(peaks), digits=0)
        result.figure("memory-ratio", "Longshore / Helm, memory", "×", ratios([max(one, 0.1) for one in grown], peaks), goal=0.05, digits=3)
        result.figure("wall", "changed index stored: time on the clock", "s", spread(wall), digits=2)
        for has_validators, goal, count, label in ((True, 4, 100, "304"), (False, 50, 10, "the same hash")):
            Repository.has_validators = has_validators
            serve(Repository.content + b"# once more\n")
            sync()
            runs = []
            for _ in range(3):
                before = processor_time(server.pid)
                for _ in range(count):
                    assert sync()["not_modified"]
                runs.append((processor_time(server.pid) - before) / count * 1000)
            result.figure(f"unchanged-{has_validators}", f"unchanged index ({label}): processor time", "ms", spread(runs), goal=goal)
        api_token = server.api_token(token)
        runs = [wrk(f"{server.url}/api/v1/charts?search=inference", server.pid, connections=50, headers=[f"Authorization: Bearer {api_token}"]) for _ in range(3)]
        result.figure("search", "search in 150 charts: processor time of a request", "ms", spread([run["cpu_micros"] / 1000 for run in runs]), goal=1)
        result.figure("search-p90", "search with 50 connections: p90", "ms", spread([run["p90_ms"] for run in runs]), goal=10)
    result.write()


if __name__ == "__main__":
    sys.exit(main())

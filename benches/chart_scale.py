#!/usr/bin/env python3
"""Chart repositories beyond what one has every day: an index of 68 MB and 65,000 versions; the same charts spelled as JSON, as YAML in one line and with
anchors, against `helm repo update` on the same bytes and with the same result; and 100 repositories of 5,000 versions whose indexes all
changed: processor time of the round, size of the database."""

import http.server
import json
import subprocess
import sys
import threading

from chart_sync import HELM, Repository, as_helm_writes, entries, helm_environment, helm_update, serve
from common import FOLDER, PAIRS, Result, Server, call, forget_peak, free_port, memory, processor_time, ratios, rotated, spread

REPOSITORIES = 100


def as_json(charts):
    return json.dumps({"apiVersion": "v1", "entries": dict(charts), "generated": "2024-05-06T07:08:09Z"}).encode()


FORMS = {
    "large": ("68 MB, 65,000 versions", lambda number: as_helm_writes(entries(number, 435, 150)), 0.1),
    "json": ("JSON", lambda number: as_json(entries(number)), 0.25),
    "flow": ("YAML in one line", lambda number: b"# in one line\n" + as_json(entries(number)), 0.25),
    "anchors": ("anchors", lambda number: as_helm_writes(entries(number), anchors=True), 0.25),
}


def stored(server, token, repo):
    """Every (name, version, digest, urls) that the server has of a repository."""
    found = set()
    offset, total = 0, 1
    names = []
    while offset < total:
        page = call(f"{server.url}/api/v1/charts?repo={repo}&limit=2048&offset={offset}", token=token)[1]
        names += [chart["name"] for chart in page["data"]]
        offset, total = offset + 2048, page["total"]
    for name in names:
        versions = call(f"{server.url}/api/v1/charts/{repo}/{name}/versions?limit=2048", token=token)[1]["data"]
        found.update((name, one["version"], one["digest"], *one["urls"]) for one in versions)
    return found


def expected(charts):
    return {(name, entry["version"], entry["digest"], *entry["urls"]) for name, versions in charts for entry in versions}


def form(result, server, token, url, key):
    label, make, goal = FORMS[key]
    home = FOLDER / "chart_scale" / f"helm-{key}"
    serve(make(0))
    call(f"{server.url}/api/repos", "POST", {"name": key, "url": f"{url}/{key}", "sync_minutes": 0}, token)
    ours, theirs, grown, peaks = [], [], [], []
    for number in range(1, PAIRS + 2):
        content = make(number)
        serve(content)
        for arm in rotated(("helm", "longshore"), number % 2):
            if arm == "helm":
                spent, peak = helm_update(home, f"{url}/{key}")
                theirs.append(spent)
                peaks.append(peak)
                continue
            before, rss = processor_time(server.pid), memory(server.pid)["rss"]
            forget_peak(server.pid)
            found = call(f"{server.url}/api/repos/{key}/sync", "POST", token=token)[1]["sync"]
            ours.append(processor_time(server.pid) - before)
            grown.append(max(memory(server.pid)["peak"] - rss, 0.1))
            assert found["skipped_count"] == 0 and found["changed_count"] == found["chart_count"], found
    charts = list(entries(PAIRS + 1, 435, 150) if key == "large" else entries(PAIRS + 1))
    assert stored(server, token, key) == expected(charts), f"{key}: another result than what was served"
    listed = json.loads(subprocess.run([HELM, "search", "repo", "bench/", "--versions", "--devel", "-o", "json"], env=helm_environment(home), check=True,
                                       capture_output=True).stdout)
    said = {(one["name"].removeprefix("bench/"), one["version"]) for one in listed}
    assert said == {known[:2] for known in expected(charts)}, f"{key}: Helm has another result"
    # The first pair is the one in which both make their files.
    ours, theirs, grown, peaks = ours[1:], theirs[1:], grown[1:], peaks[1:]
    result.figure(f"{key}-bytes", f"{label}: index", "MB", spread([len(content) / 1e6]), digits=1)
    result.figure(f"{key}-sync", f"{label}: processor time", "s", spread(ours), digits=3)
    result.figure(f"{key}-helm", f"{label}: `helm repo update`", "s", spread(theirs))
    result.figure(f"{key}-ratio", f"{label}: Longshore / Helm, processor time", "×", ratios(ours, theirs), goal=goal, digits=3)
    result.figure(f"{key}-memory", f"{label}: growth of the server's memory", "MiB", spread(grown), digits=1)
    result.figure(f"{key}-memory-ratio", f"{label}: Longshore / Helm, memory", "×", ratios(grown, peaks), goal=0.05, digits=3)


def many(result, server, url):
    """A hundred repositories of four accounts: no account may have so many."""
    tokens = [server.register(f"bench{number}") for number in range(4)]
    serve(as_helm_writes(entries(0, 50, 100)))
    for number in range(REPOSITORIES):
        body = {"name": f"many-{number}", "url": f"{url}/many/{number}", "sync_minutes": 0, "is_public": False}
        call(f"{server.url}/api/repos", "POST", body, tokens[number % 4])
    rounds = []
    for number in range(1, 4):
        # A version more in every chart of every repository.
        serve(as_helm_writes(entries(number, 50, 100)))
        before = processor_time(server.pid)
        for repo in range(REPOSITORIES):
            found = call(f"{server.url}/api/repos/many-{repo}/sync", "POST", token=tokens[repo % 4])[1]["sync"]
            assert found["changed_count"] == 50 and found["version_count"] == 50 * (100 + number), found
        rounds.append(processor_time(server.pid) - before)
    files = (server.folder / "data").glob("longshore.db*")
    result.figure("round", "100 changed indexes of 5,000 versions: processor time", "s", spread(rounds), goal=60, digits=1)
    result.figure("database", "the database then", "MB", spread([sum(file.stat().st_size for file in files) / 1e6]), goal=500, digits=0)


def main():
    result = Result("chart_scale")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    repository = http.server.ThreadingHTTPServer(("127.0.0.1", port), Repository)
    threading.Thread(target=repository.serve_forever, daemon=True).start()
    for part in (*FORMS, "many"):
        with Server(f"chart_scale/{part}", engine=False, settings={"LONGSHORE_OUTBOUND_ALLOW": "127.0.0.0/8"}) as server:
            if part == "many":
                many(result, server, url)
            else:
                form(result, server, server.register("bench"), url, part)
    result.write()


if __name__ == "__main__":
    sys.exit(main())

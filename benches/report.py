#!/usr/bin/env python3
"""Writes docs/BENCHMARKS.md from the results of the last three runs of each benchmark. A goal holds when the worst of them holds."""

import ast
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from common import RESULTS

HERE = Path(__file__).parent
ORDER = ("upload_to_answer", "idle", "upload_memory", "lists", "registry_tokens", "logins", "link", "first_use", "agents", "runs", "workloads",
         "chart_sync", "chart_scale", "chart_install")
TITLES = {
    "upload_to_answer": "From an upload to a container that answers",
    "idle": "What the server costs while nothing happens",
    "upload_memory": "Memory during a large upload",
    "lists": "Lists with 100,000 rows",
    "registry_tokens": "Registry tokens",
    "logins": "Logins",
    "link": "The link to a machine",
    "runs": "Runs of pipelines",
    "first_use": "An image on a machine that has never seen it",
    "agents": "1,000 machines",
    "workloads": "1,000 pods in a cluster",
    "chart_sync": "A chart repository of 20,100 versions",
    "chart_scale": "Larger, odder and more chart repositories",
    "chart_install": "Installing a chart",
}


def output(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "not there"


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def system():
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.split("=", 1)[1].strip('"')
    return platform.system()


def describe(name):
    """What a benchmark says of itself."""
    return ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text()))


def runs(name):
    documents = [json.loads(path.read_text()) for path in sorted(RESULTS.glob(f"{name}-*.json"))]
    return documents[-3:]


def holds(figure, value):
    if figure["goal"] is None:
        return None
    return value <= figure["goal"] if figure["better"] == "lower" else value >= figure["goal"]


def number(value, digits):
    return f"{value:,.{digits}f}"


def rows(documents):
    latest = documents[-1]
    for figure in latest["figures"]:
        same = [f for document in documents for f in document["figures"] if f["key"] == figure["key"]]
        medians = [f["value"] for f in same]
        worst = max(medians) if figure["better"] == "lower" else min(medians)
        digits = figure["digits"]
        span = f"{number(min(f['low'] for f in same), digits)} to {number(max(f['high'] for f in same), digits)}"
        goal, verdict = "", ""
        if figure["goal"] is not None:
            sign = "≤" if figure["better"] == "lower" else "≥"
            goal = f"{sign} {figure['goal']:,g}"
            verdict = "reached" if holds(figure, worst) else "**short**"
        yield (figure["label"], number(medians[-1], digits), number(worst, digits), span, figure["unit"], goal, verdict)


def section(name):
    documents = runs(name)
    if not documents:
        return
    yield f"## {TITLES[name]}\n"
    yield describe(name) + "\n"
    if len(documents) > 1:
        yield "| figure | latest median | worst median | lowest to highest | unit | goal | |"
        yield "|---|---:|---:|---:|---|---|---|"
    else:
        yield "| figure | median | lowest to highest | unit | goal | |"
        yield "|---|---:|---:|---|---|---|"
    for label, latest, worst, span, unit, goal, verdict in rows(documents):
        cells = [label, latest, worst, span, unit, goal, verdict]
        if len(documents) == 1:
            del cells[2]
        yield "| " + " | ".join(cells) + " |"
    yield ""
    when = "; ".join(f"{d['began']} (revision {d['revision'] or 'unknown'}, load {d['load_before']:.1f} to {d['load_after']:.1f})"
                     for d in documents)
    yield f"{len(documents)} {'run' if len(documents) == 1 else 'runs'}: {when}. {documents[-1]['pairs']} pairs each.\n"


def document():
    yield "# Benchmarks\n"
    yield "Written by `./bench`; do not edit, but `benches/notes.md`, which follows.\n"
    yield (HERE / "notes.md").read_text()
    yield "## Machine and versions\n"
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / (1 << 20)
    registry = output("dpkg-query", "-W", "-f", "${Version}", "docker-registry")
    yield f"- {os.cpu_count()} × {processor()}, {memory:.0f} GiB, {system()}, Linux {platform.release().split('-')[0]}"
    yield f"- {output('docker', '--version')}; docker-registry (CNCF Distribution) {registry}; {output('rustc', '--version')}"
    yield f"- wrk {output('dpkg-query', '-W', '-f', '${Version}', 'wrk')}; Python {platform.python_version()}; the release build (`cargo build --release`)\n"
    yield "Run them with `./bench`, or one with `./bench lists`. `LONGSHORE_BENCH_PAIRS` sets the number of pairs.\n"
    for name in ORDER:
        yield from section(name)
    missing = [f"`{name}`" for name in ORDER if not runs(name)]
    if missing:
        yield f"Not measured yet: {', '.join(missing)}.\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text("\n".join(document()).rstrip() + "\n")

#!/usr/bin/env python3
"""A page of 50 images out of 100,000 rows: processor time of a request on page 1 and on page 2,000, in turns, against one bare SQLite
query of the same page. Nine rows in ten belong to the caller, one in ten is public, mixed: the list has to merge both."""

import hashlib
import json
import sqlite3
import sys
import time

from common import MIB, PAIRS, Result, Server, call, ratios, spread, wrk

ROWS = 100_000
PAGE = 50


def fill(database, account):
    """Writes rows as builds would have: every repository has twenty tags."""
    layers = json.dumps([{"digest": "sha256:" + hashlib.sha256(str(n).encode()).hexdigest(), "size_bytes": MIB} for n in range(5)])
    parameters = json.dumps({"exposed_ports": ["8000/tcp"], "env": {"PATH": "/bin"}, "entrypoint": [], "command": ["/hello"],
                             "working_dir": None, "user": None, "volumes": [], "labels": {}})
    now = time.time_ns() // 1000

    def row(number):
        owner = "public" if number % 10 == 0 else "bench"
        repo, tag = f"app{number // 20}", f"v{number % 20}"
        digest = "sha256:" + hashlib.sha256(f"image {number}".encode()).hexdigest()
        return (account, owner, repo, tag, f"{owner}/{repo}:{tag}", digest, 5 * MIB, layers, 5, parameters, "build", "ready",
                now + number, now + number)

    columns = ("account_id", "owner", "repo", "tag", "name", "digest", "size_bytes", "layers", "layer_count", "create_parameters",
               "source", "state", "created_at", "updated_at")
    insert = f"INSERT INTO images ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    with sqlite3.connect(database) as connection:
        connection.executemany(insert, (row(number) for number in range(ROWS)))


def bare_query(database, count=2000):
    """Processor microseconds of reading one page by its key, and nothing else."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    query = f"SELECT * FROM images WHERE owner = 'bench' AND id < ? ORDER BY id DESC LIMIT {PAGE}"
    began = time.thread_time()
    for number in range(count):
        connection.execute(query, (ROWS - number * 10,)).fetchall()
    return (time.thread_time() - began) / count * 1e6


def main():
    result = Result("lists")
    server = Server("lists", engine=False)
    with server:
        token = server.register("bench")
        account = call(f"{server.url}/api/v1/me", token=token)[1]["user_id"]
    database = server.folder / "data" / "longshore.db"
    fill(database, account)
    with server:
        token = server.api_token(server.login("bench"))
        pages = {"page 1": f"{server.url}/api/v1/images?limit={PAGE}",
                 "page 2,000": f"{server.url}/api/v1/images?limit={PAGE}&offset={ROWS - PAGE}"}
        first = {}
        for name, url in reversed(pages.items()):
            began = time.monotonic()
            page = call(url, token=token)[1]
            first[name] = (time.monotonic() - began) * 1000
            assert len(page["data"]) == PAGE and page["total"] == ROWS, (name, len(page["data"]), page["total"])
        micros, p90, bare = {name: [] for name in pages}, {name: [] for name in pages}, []
        for round_number in range(-1, PAIRS):
            for name in list(pages)[:: 1 if round_number % 2 else -1]:
                run = wrk(pages[name], server.pid, headers=[f"Authorization: Bearer {token}"])
                if round_number >= 0:
                    micros[name].append(run["cpu_micros"])
                    p90[name].append(run["p90_ms"])
            if round_number >= 0:
                bare.append(bare_query(database))
        result.figure("page1", "page 1: processor time of a request", "µs", spread(micros["page 1"]), goal=200, digits=0)
        result.figure("page2000", "page 2,000: processor time of a request", "µs", spread(micros["page 2,000"]), goal=200, digits=0)
        result.figure("deep", "page 2,000 / page 1", "×", ratios(micros["page 2,000"], micros["page 1"]), goal=1.2)
        result.figure("bare", "bare SQLite query of such a page", "µs", spread(bare), digits=0)
        result.figure("page1-p90", "page 1: p90 with 8 connections", "ms", spread(p90["page 1"]))
        result.figure("page2000-p90", "page 2,000: p90 with 8 connections", "ms", spread(p90["page 2,000"]))
        result.figure("first", "page 2,000: the very first look after a start", "ms", spread([first["page 2,000"]]), digits=1)
    result.write()


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""How many registry tokens one second of processor time gives: an API token in, an ES256 token for one repository out."""

import base64
import sys

from common import PAIRS, Result, Server, call, spread, wrk


def main():
    result = Result("registry_tokens")
    with Server("tokens", engine=False) as server:
        secret = server.api_token(server.register("bench"))
        basic = base64.b64encode(f"bench:{secret}".encode()).decode()
        url = f"{server.url}/api/registry/token?service=longshore-registry&scope=repository:bench/app:pull,push"
        answer = call(url, headers={"Authorization": f"Basic {basic}"})[1]
        assert answer["token"].count(".") == 2, answer
        rates, micros, latencies = [], [], []
        for round_number in range(-1, PAIRS):
            run = wrk(url, server.pid, headers=[f"Authorization: Basic {basic}"])
            if round_number >= 0:
                rates.append(1e6 / run["cpu_micros"])
                micros.append(run["cpu_micros"])
                latencies.append(run["p90_ms"])
        result.figure("rate", "registry tokens per second of processor time", "1/s", spread(rates), goal=20_000, better="higher",
                      digits=0)
        result.figure("micros", "processor time of one token", "µs", spread(micros), digits=1)
        result.figure("p90", "p90 with 8 connections", "ms", spread(latencies))
    result.write()


if __name__ == "__main__":
    sys.exit(main())

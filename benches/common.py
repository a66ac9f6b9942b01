"""What the benchmarks share: starting the server, counting processor time and memory, pairing arms, keeping results.

Nothing but Python's standard library. `./bench` sets the environment: LONGSHORE_BENCH_BINARY (the release build),
LONGSHORE_BENCH_DOCKER (a private engine, unix://…), LONGSHORE_BENCH_FOLDER (scratch), LONGSHORE_BENCH_RESULTS.
"""

import http.client
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import time
import urllib.parse
from pathlib import Path

HERTZ = os.sysconf("SC_CLK_TCK")
BINARY = os.environ.get("LONGSHORE_BENCH_BINARY", "")
DOCKER = os.environ.get("LONGSHORE_BENCH_DOCKER", "")
FOLDER = Path(os.environ.get("LONGSHORE_BENCH_FOLDER", "/tmp/longshore-bench"))
RESULTS = Path(os.environ.get("LONGSHORE_BENCH_RESULTS", FOLDER / "results"))
PAIRS = max(int(os.environ.get("LONGSHORE_BENCH_PAIRS", "5")), 1)

MIB = 1 << 20
ADMIN_PASSWORD = "bench admin password"
PASSWORD = "bench password"


# --- Processes -------------------------------------------------------------------------------------------------------

def tree(pid):
    """A process and all its descendants."""
    found = [pid]
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                found += tree(int(child))
    except OSError:
        pass
    return found


def processor_time(pid):
    """Processor seconds of one process to the nanosecond, with those of children that it has waited for, to a tick of the clock."""
    try:
        # The clock of a whole process by its id: `CPUCLOCK_SCHED` in Linux's posix-timers.h. Ticks are a tenth of what is measured.
        own = time.clock_gettime((~pid << 3) | 2)
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0
    return own + sum(int(field) for field in fields[13:15]) / HERTZ


def cpu(pids):
    """Processor seconds of these processes and everything below them."""
    return sum(processor_time(process) for pid in pids for process in tree(pid))


def memory(pid):
    """Memory in MiB: resident, of that anonymous, and the highest resident so far."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    status = Path(f"/proc/{pid}/status").read_text()
    number = lambda text, key: int(re.search(rf"^{key}:\s+(\d+)", text, re.M)[1]) / 1024
    return {"rss": number(rollup, "Rss"), "anonymous": number(rollup, "Anonymous"), "peak": number(status, "VmHWM")}


def forget_peak(pid):
    """Makes the highest resident memory start over from now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def written_bytes(pid):
    """Bytes that a process has sent to the disk."""
    return int(re.search(r"^write_bytes: (\d+)", Path(f"/proc/{pid}/io").read_text(), re.M)[1])


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def end(process, seconds=30):
    """Asks a process that we started to end, and waits."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# --- HTTP ------------------------------------------------------------------------------------------------------------

class Refused(Exception):
    """An answer that is not the one expected."""


def call(url, method="GET", body=None, token=None, headers=None, timeout=600, expect=range(200, 300)):
    """One request on a connection of its own; (status, parsed JSON or text)."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    headers = dict(headers or {})
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if isinstance(body, (dict, list)):
        body = json.dumps(body)
        headers["Content-Type"] = "application/json"
    try:
        connection.request(method, parts.path + ("?" + parts.query if parts.query else ""), body, headers)
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
    finally:
        connection.close()
    if answer.status not in expect:
        raise Refused(f"{method} {url}: {answer.status} {text[:500]}")
    try:
        return answer.status, json.loads(text)
    except ValueError:
        return answer.status, text


def wait_until(what, seconds, check, pause=0.002):
    """Repeats a check until it is true; its last value."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            value = check()
        except (OSError, http.client.HTTPException, Refused):
            value = None
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} seconds")
        time.sleep(pause)


# --- The server ------------------------------------------------------------------------------------------------------

class Server:
    """A server of our own on free ports and its own data folder."""

    def __init__(self, name, engine=True, settings=None):
        self.folder = FOLDER / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = self.folder / "server.log"
        self.port, self.registry_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.registry = f"127.0.0.1:{self.registry_port}"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/root"),
            "LONGSHORE_ADMIN_PASSWORD": ADMIN_PASSWORD,
            "LONGSHORE_LOG_FILTER": "warn",
            "LONGSHORE_MACHINE_ENABLED": "true" if engine else "false",
            **({"LONGSHORE_MACHINE_DOCKER": DOCKER} if engine else {}),
            **(settings or {}),
        }
        self.process = None

    def start(self, wait=True):
        log = self.log.open("ab")
        self.process = subprocess.Popen(
            [BINARY, "server", "--data-dir", str(self.folder / "data"), "--listen", f"127.0.0.1:{self.port}",
             "--registry-listen", self.registry],
            env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if wait:
            wait_until("the server", 60, self.is_ready, 0.01)
        return self

    def is_ready(self):
        if self.process.poll() is not None:
            raise SystemExit(f"the server ended; see {self.log}\n" + self.log.read_text()[-2000:])
        return call(f"{self.url}/readyz", timeout=5)

    @property
    def pid(self):
        return self.process.pid

    def stop(self):
        end(self.process)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def login(self, account, password=PASSWORD):
        body = {"account": account, "password": password}
        return call(f"{self.url}/api/auth/login", "POST", body)[1]["access_token"]

    def register(self, account):
        """Makes an account if it is not there; its token."""
        body = {"account": account, "password": PASSWORD}
        call(f"{self.url}/api/auth/register", "POST", body, expect=(200, 409))
        return self.login(account)

    def api_token(self, token, name="bench"):
        return call(f"{self.url}/api/v1/tokens", "POST", {"name": name}, token)[1]["token"]

    def follow_build(self, build, token):
        """Waits for a build's end on its event stream; the build."""
        parts = urllib.parse.urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=600)
        connection.request("GET", f"/api/v1/builds/{build}/log", None,
                           {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"})
        event, last = "", None
        for line in connection.getresponse():
            line = line.decode(errors="replace").rstrip("\r\n")
            if line.startswith("event:"):
                event = line[6:].strip()
            elif line.startswith("data:") and event in ("state", "end"):
                last = json.loads(line[5:])
                if last["state"] in ("succeeded", "failed", "cancelled"):
                    break
        connection.close()
        return last


# --- Load ------------------------------------------------------------------------------------------------------------

def wrk(url, pid, seconds=4, connections=8, headers=()):
    """Bounded load; requests, processor microseconds of the server per request, and p50/p90 in milliseconds."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "10s"]
    for header in headers:
        command += ["-H", header]
    before = processor_time(pid)
    output = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    spent = processor_time(pid) - before
    requests = int(re.search(r"(\d+) requests in", output)[1])
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    if refused:
        raise Refused(f"{url}: {refused[1]} of {requests} answers were failures")
    return {"requests": requests, "cpu_micros": spent * 1e6 / max(requests, 1),
            "p50_ms": latency(output, 50), "p90_ms": latency(output, 90)}


def latency(output, percentile):
    number, unit = re.search(rf"^\s+{percentile}%\s+([\d.]+)(us|ms|s)", output, re.M).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


# --- Results ---------------------------------------------------------------------------------------------------------

def rotated(arms, round_number):
    """The arms in another order each round: whoever goes first pays for cold caches."""
    arms = list(arms)
    shift = round_number % len(arms)
    return arms[shift:] + arms[:shift]


def ratios(ours, theirs):
    """Median, lowest and highest of the paired ratios."""
    paired = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {"value": statistics.median(paired), "low": min(paired), "high": max(paired)}


def spread(values):
    return {"value": statistics.median(values), "low": min(values), "high": max(values)}


def percentile(values, part):
    values = sorted(values)
    return values[min(int(len(values) * part), len(values) - 1)]


def load():
    return os.getloadavg()[0]


class Result:
    """Figures of one run, written as JSON for the report."""

    def __init__(self, name):
        self.name = name
        self.figures = []
        self.began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.load_before = load()

    def figure(self, key, label, unit, values, goal=None, better="lower", digits=2):
        """One figure: `values` has `value`, `low`, `high`; `goal` is the bound that it must keep."""
        self.figures.append({"key": key, "label": label, "unit": unit, "goal": goal, "better": better,
                             "digits": digits, **values})
        print(f"  {label}: {values['value']:.{digits}f} {unit}"
              f" ({values['low']:.{digits}f} to {values['high']:.{digits}f})"
              + (f", goal {'at most' if better == 'lower' else 'at least'} {goal}" if goal is not None else ""), flush=True)

    def write(self):
        RESULTS.mkdir(parents=True, exist_ok=True)
        stamp = self.began.replace(":", "").replace("-", "")
        document = {"name": self.name, "began": self.began, "load_before": self.load_before, "load_after": load(),
                    "revision": os.environ.get("LONGSHORE_BENCH_REVISION", ""), "pairs": PAIRS,
                    "figures": self.figures}
        (RESULTS / f"{self.name}-{stamp}.json").write_text(json.dumps(document, indent=1, ensure_ascii=False))

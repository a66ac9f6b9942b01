#!/usr/bin/env python3
"""The link between the server and a machine: an agent in a process of its own, over a WebSocket on this host. A keystroke to a
container and back beside the same keystroke on the engine's own socket; what bulk costs the server and the agent together; what a reader
that stands still costs, and whether it or a bulk copy is felt by somebody who types."""

import base64
import io
import json
import os
import socket
import struct
import subprocess
import sys
import tarfile
import time

from common import ADMIN_PASSWORD, BINARY, DOCKER, FOLDER, MIB, PAIRS, Result, Server, call, cpu, end, free_port, memory, percentile
from common import rotated, spread, wait_until

KEYS = int(os.environ.get("LONGSHORE_BENCH_KEYS", "300"))
BULK = int(os.environ.get("LONGSHORE_BENCH_BULK_MIB", "512")) * MIB
# About as many as engines keep of one container.
LINES = 150_000
# So many times in one measurement, so that what the machine does besides weighs less.
LOG_READS = 3
PROGRAMS = ("dash", "cat", "stty", "head", "sleep", "seq")


def context():
    """A build context with a shell and some programs of this machine's own."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        def add(name, data):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755
            tar.addfile(entry, io.BytesIO(data))
        add("Dockerfile", b'FROM scratch\nCOPY root /\nCMD ["/bin/sleep", "36000"]\n')
        libraries = set()
        for program in PROGRAMS:
            path = next(f"{folder}/{program}" for folder in ("/bin", "/usr/bin") if os.path.exists(f"{folder}/{program}"))
            listed = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
            libraries.update(word for word in listed.split() if word.startswith("/"))
            add(f"root/bin/{'sh' if program == 'dash' else program}", open(path, "rb").read())
        for library in sorted(libraries):
            add(f"root{library}", open(library, "rb").read())
        add("root/tmp/.keep", b"")
    return out.getvalue()


class WebSocket:
    """As much of a WebSocket client as is needed here."""

    def __init__(self, server, path, token):
        self.socket = socket.create_connection(("127.0.0.1", server.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall((f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                             f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nAuthorization: Bearer {token}\r\n\r\n").encode())
        self.buffer = b""
        head = self.until(b"\r\n\r\n")
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise SystemExit(f"no WebSocket: {head[:300]!r}")

    def fill(self):
        piece = self.socket.recv(1 << 20)
        if not piece:
            raise EOFError
        self.buffer += piece

    def until(self, end_of_it):
        while end_of_it not in self.buffer:
            self.fill()
        head, self.buffer = self.buffer.split(end_of_it, 1)
        return head

    def take(self, count):
        while len(self.buffer) < count:
            self.fill()
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def send(self, payload, opcode=2):
        length = len(payload)
        head = bytes([0x80 | opcode])
        head += bytes([0x80 | length]) if length < 126 else bytes([0x80 | 126]) + struct.pack(">H", length)
        # A mask of zeros leaves the bytes as they are.
        self.socket.sendall(head + b"\0\0\0\0" + payload)

    def receive(self):
        """Opcode and payload of the next whole message that carries something."""
        whole = b""
        while True:
            first, second = self.take(2)
            length = second & 0x7F
            if length == 126:
                length = struct.unpack(">H", self.take(2))[0]
            elif length == 127:
                length = struct.unpack(">Q", self.take(8))[0]
            payload = self.take(length)
            opcode = first & 0x0F
            if opcode == 9:
                self.send(payload, 10)
            elif opcode == 8:
                raise EOFError
            elif opcode in (0, 1, 2):
                kind = opcode or kind
                whole += payload
                if first & 0x80:
                    return kind, whole

    def close(self):
        self.socket.close()


class Terminal:
    """A command in a container through the server."""

    def __init__(self, server, token, container, query):
        self.web = WebSocket(server, f"/api/v1/containers/{container}/terminal?{query}", token)
        self.seen = b""

    def write(self, data):
        self.web.send(b"\0" + data)

    def read(self):
        """Output; None when the command has ended."""
        while True:
            try:
                kind, payload = self.web.receive()
            except EOFError:
                return None
            if kind == 2:
                return payload[1:]
            if json.loads(payload)["type"] == "ended":
                return None

    def shows(self, text):
        while text not in self.seen:
            self.seen += self.read() or b""
        self.seen = self.seen.split(text, 1)[1]

    def key(self):
        began = time.perf_counter()
        self.write(b"x")
        while not self.read():
            pass
        return time.perf_counter() - began


class Direct:
    """The same on the engine's socket, without anything of ours."""

    def __init__(self, engine_id, command):
        def ask(path, body):
            connection = self.connect()
            data = json.dumps(body).encode()
            connection.sendall(f"POST {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\nContent-Type: application/json\r\n"
                               f"Content-Length: {len(data)}\r\n\r\n".encode() + data)
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
            return json.loads(answer.split(b"\r\n\r\n", 1)[1].split(b"\r\n")[-1] or answer.split(b"\r\n\r\n", 1)[1])
        made = ask(f"/v1.40/containers/{engine_id}/exec",
                   {"AttachStdin": True, "AttachStdout": True, "AttachStderr": True, "Tty": True, "Cmd": command})
        self.socket = self.connect()
        data = b'{"Tty":true}'
        self.socket.sendall(f"POST /v1.40/exec/{made['Id']}/start HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
                            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
        self.seen = b""
        self.shows(b"\r\n\r\n")

    @staticmethod
    def connect():
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(DOCKER.removeprefix("unix://"))
        return connection

    def shows(self, text):
        while text not in self.seen:
            self.seen += self.socket.recv(65536)
        self.seen = self.seen.split(text, 1)[1]

    def key(self):
        began = time.perf_counter()
        self.socket.sendall(b"x")
        self.socket.recv(65536)
        return time.perf_counter() - began


def direct_log(engine_id):
    """Processor seconds of whoever reads a log from the engine itself, line by line as it sends them, and throws it away."""
    began = time.process_time()
    for _ in range(LOG_READS):
        connection = Direct.connect()
        connection.sendall(f"GET /v1.40/containers/{engine_id}/logs?stdout=1&stderr=1 HTTP/1.1\r\nHost: docker\r\n"
                           f"Connection: close\r\n\r\n".encode())
        while connection.recv(1 << 16):
            pass
        connection.close()
    return time.process_time() - began


def query(*command, tty):
    return "&".join([f"tty={tty}"] + [f"command={word}" for word in command]).replace(" ", "%20").replace(";", "%3B")


ECHO = ("sh", "-c", "stty raw -echo; echo ready; exec cat")


def main():
    result = Result("link")
    with Server("link", engine=False) as server:
        token = server.register("bench")
        admin = server.login("admin", ADMIN_PASSWORD)
        invite = call(f"{server.url}/api/v1/invites", "POST", {}, admin)[1]["token"]
        folder = FOLDER / "link-agent"
        joined = ["--data-dir", str(folder)]
        subprocess.run([BINARY, "agent", "join", server.url, invite, *joined, "--machine-id", "bench"], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        agent = subprocess.Popen([BINARY, "agent", "run", *joined, "--docker", DOCKER, "--registry-listen", f"127.0.0.1:{free_port()}"],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                 env={**os.environ, "LONGSHORE_LOG_FILTER": "warn"})
        try:
            measure(result, server, agent, token)
        finally:
            end(agent)
    result.write()


def warm(arm):
    arm.shows(b"ready")
    for _ in range(50):
        arm.key()
    return arm


def measure(result, server, agent, token):
    get = lambda path: call(f"{server.url}/api/v1/{path}", token=token)[1]
    wait_until("the machine", 60, lambda: get("machines")["data"] and get("machines")["data"][0]["state"] == "online", 0.05)
    build = call(f"{server.url}/api/v1/builds?image=box:1", "POST", context(), token)[1]
    if (ended := server.follow_build(build["id"], token))["state"] != "succeeded":
        raise SystemExit(f"the build failed: {ended}")
    made = call(f"{server.url}/api/v1/containers", "POST", {"image": "box:1", "memory_bytes": 256 * MIB}, token)[1]["id"]
    wait_until("the container", 120, lambda: get(f"containers/{made}")["state"] == "running", 0.05)
    listed = subprocess.run(["docker", "-H", DOCKER, "ps", "-q", "--no-trunc", "--filter", f"label=longshore.container={made}"],
                            capture_output=True, text=True, check=True).stdout.split()
    direct, ours = warm(Direct(listed[0], list(ECHO))), warm(Terminal(server, token, made, query(*ECHO, tty="true")))

    added, slower, quiet, quiet_direct = [], [], [], []
    for round_number in range(PAIRS):
        times = {}
        for name, arm in rotated([("direct", direct), ("ours", ours)], round_number):
            times[name] = [arm.key() for _ in range(KEYS)]
        quiet_direct.append(percentile(times["direct"], 0.9) * 1e6)
        added.append((percentile(times["ours"], 0.5) - percentile(times["direct"], 0.5)) * 1e6)
        slower.append(percentile(times["ours"], 0.9) / percentile(times["direct"], 0.9))
        quiet.append(percentile(times["ours"], 0.9) * 1e6)
    result.figure("keystroke", "keystroke through server and agent, added to the engine's own (p50)", "µs", spread(added), goal=70, digits=0)
    result.figure("keystroke_p90", "the same, p90 beside the engine's own", "ratio", spread(slower), goal=1.5)

    both = [server.pid, agent.pid]
    costs = []
    for _ in range(PAIRS):
        copy = Terminal(server, token, made, query("head", "-c", str(BULK), "/dev/zero", tty="false"))
        before, moved = cpu(both), 0
        while piece := copy.read():
            moved += len(piece)
        if moved != BULK:
            raise SystemExit(f"{moved} bytes of {BULK} came")
        costs.append((cpu(both) - before) / (moved / 1e9))
        copy.web.close()
    result.figure("bulk", "output of a command, processor time of server and agent", "s/GB", spread(costs), goal=1.1)

    logged = call(f"{server.url}/api/v1/containers", "POST",
                  {"image": "box:1", "command": ["sh", "-c", f"exec seq -f 'a line of a log that says nothing at all, number %09.0f' {LINES}"]},
                  token)[1]["id"]
    wait_until("the log", 300, lambda: get(f"containers/{logged}")["state"] == "stopped", 0.1)
    engine_id = subprocess.run(["docker", "-H", DOCKER, "ps", "-aq", "--no-trunc", "--filter", f"label=longshore.container={logged}"],
                               capture_output=True, text=True, check=True).stdout.strip()
    costs, own, over = [], [], []
    for _ in range(PAIRS):
        before = cpu(both)
        for _ in range(LOG_READS):
            text = call(f"{server.url}/api/v1/containers/{logged}/log", token=token)[1]
            if text.count("\n") != LINES:
                raise SystemExit(f"{text.count(chr(10))} lines of {LINES} came")
        gigabytes = LOG_READS * len(text) / 1e9
        costs.append((cpu(both) - before) / gigabytes)
        own.append(direct_log(engine_id) / gigabytes)
        over.append(costs[-1] - own[-1])
    result.figure("log", f"log of {LINES:,} lines, processor time of server and agent", "s/GB", spread(costs))
    result.figure("log_direct", "the same from the engine's own socket, processor time of the bare reader", "s/GB", spread(own))
    result.figure("log_added", "what server and agent add to that", "s/GB", spread(over), goal=4)

    # The one of before was not looked at for so long that the server has let go of it.
    ours.web.close()
    ours = warm(Terminal(server, token, made, query(*ECHO, tty="true")))
    held, during = [], []
    for _ in range(PAIRS):
        before = [memory(pid)["anonymous"] for pid in both]
        stalled = Terminal(server, token, made, query("cat", "/dev/zero", tty="false"))
        time.sleep(2)
        during.append(percentile([ours.key() for _ in range(KEYS)], 0.9) * 1e6)
        held.append(max(0.0, *(memory(pid)["anonymous"] - was for pid, was in zip(both, before, strict=True))))
        stalled.web.close()
        time.sleep(1)
    result.figure("stalled", "memory that a reader who stands still holds, in the server or in the agent", "MiB", spread(held), goal=2)
    base = percentile(quiet, 0.5)
    result.figure("stalled_keystroke", "keystroke meanwhile, p90 beside a quiet one", "ratio", spread([p90 / base for p90 in during]), goal=2)

    during, during_direct = [], []
    for _ in range(PAIRS):
        copy = Terminal(server, token, made, query("head", "-c", str(4 * BULK), "/dev/zero", tty="false"))
        reader = os.fork()
        if reader == 0:
            while copy.read():
                pass
            os._exit(0)
        during.append(percentile([ours.key() for _ in range(KEYS)], 0.9) * 1e6)
        during_direct.append(percentile([direct.key() for _ in range(KEYS)], 0.9) * 1e6)
        os.kill(reader, 9)
        os.waitpid(reader, 0)
        copy.web.close()
        time.sleep(1)
    result.figure("bulk_keystroke", "keystroke during a bulk copy, p90 beside a quiet one", "ratio",
                  spread([p90 / base for p90 in during]), goal=2)
    base = percentile(quiet_direct, 0.5)
    result.figure("bulk_keystroke_direct", "keystroke on the engine's own socket during a bulk copy, p90 beside a quiet one", "ratio",
                  spread([p90 / base for p90 in during_direct]))
    result.figure("agent", "agent, resident", "MiB", spread([memory(agent.pid)["rss"]]), digits=1)
    for container in (made, logged):
        call(f"{server.url}/api/v1/containers/{container}", "DELETE", token=token)


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""What logins cost against the bare password hash; whether many of them disturb others; whether an answer's time tells if an
account exists.

The bare hash is Argon2id (19 MiB, 2 passes) of the reference library, called from this process in turns with the server. The
limits on wrong passwords are raised for the measurement: they are another matter, and all logins here come from one address.
"""

import ctypes
import ctypes.util
import os
import sys
import threading
import time

from common import PAIRS, PASSWORD, Result, Server, call, memory, percentile, processor_time, ratios, spread

LOGINS = 60
STORM = 200
NAMES = 10
Settings = {"LONGSHORE_AUTH_FAILURES_PER_MINUTE": "100000", "LONGSHORE_AUTH_FAILURES_PER_MINUTE_ADDRESS": "100000"}


class Reference:
    """The reference implementation, from the system's libargon2."""

    def __init__(self):
        self.library = ctypes.CDLL(ctypes.util.find_library("argon2") or "libargon2.so.1")
        # Without the types, the upper half of a `size_t` on the stack is whatever was there before.
        numbers, bytes_ = [ctypes.c_uint32] * 3, [ctypes.c_void_p, ctypes.c_size_t] * 3
        self.library.argon2id_hash_raw.argtypes = numbers + bytes_
        self.out = ctypes.create_string_buffer(32)

    def hash(self):
        done = self.library.argon2id_hash_raw(2, 19 * 1024, 1, b"x" * 64, 64, b"saltsaltsaltsalt", 16, self.out, 32)
        assert done == 0, done

    def rate(self, count):
        """Hashes per second of processor time."""
        began = time.thread_time()
        for _ in range(count):
            self.hash()
        return count / (time.thread_time() - began)


def in_parallel(count, work):
    """Runs `work(number)` in as many threads at once; how long each took."""
    took, gate = [0.0] * count, threading.Barrier(count)

    def run(number):
        gate.wait()
        began = time.monotonic()
        work(number)
        took[number] = time.monotonic() - began

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took


def login(server, name, password=PASSWORD, expect=(200,)):
    began = time.monotonic()
    call(f"{server.url}/api/auth/login", "POST", {"account": name, "password": password}, expect=expect)
    return time.monotonic() - began


def rate(server, count):
    """Logins per second of the server's processor time, two at a time."""
    began = processor_time(server.pid)
    in_parallel(2, lambda half: [login(server, f"bench{number % NAMES}") for number in range(half, count, 2)])
    return count / (processor_time(server.pid) - began)


class Probe(threading.Thread):
    """Asks for the list of images again and again until told to stop."""

    def __init__(self, server, token):
        super().__init__()
        self.server, self.token, self.enough, self.took = server, token, threading.Event(), []

    def run(self):
        while not self.enough.wait(0.005):
            began = time.monotonic()
            call(f"{self.server.url}/api/v1/images?limit=50", token=self.token)
            self.took.append((time.monotonic() - began) * 1000)

    def stop(self):
        self.enough.set()
        self.join()
        return percentile(self.took, 0.9)


def measure_rate(result, server):
    reference = Reference()
    reference.rate(10), rate(server, 10)
    ours, bare = [], []
    for round_number in range(PAIRS):
        arms = [lambda: ours.append(rate(server, LOGINS)), lambda: bare.append(reference.rate(LOGINS))]
        for arm in arms[::1 if round_number % 2 else -1]:
            arm()
    result.figure("rate", "logins per second of processor time", "1/s", spread(ours), better="higher", digits=1)
    result.figure("bare", "bare Argon2id (reference library) per second of processor time", "1/s", spread(bare), better="higher",
                  digits=1)
    result.figure("ratio", "logins / bare hashes", "×", ratios(ours, bare), goal=0.9, better="higher")


def measure_storm(result, server, token):
    quiet, stormy, peaks, whole = [], [], [], []
    for _ in range(PAIRS):
        probe = Probe(server, token)
        probe.start()
        time.sleep(4)
        quiet.append(probe.stop())
        probe = Probe(server, token)
        probe.start()
        began = time.monotonic()
        in_parallel(STORM, lambda number: login(server, f"bench{number % NAMES}"))
        whole.append(time.monotonic() - began)
        stormy.append(probe.stop())
        peaks.append(memory(server.pid)["peak"])
    result.figure("quiet", "GET /api/v1/images while quiet: p90", "ms", spread(quiet))
    result.figure("storm", f"the same during {STORM} parallel logins: p90", "ms", spread(stormy))
    result.figure("storm-ratio", "storm / quiet", "×", ratios(stormy, quiet), goal=2)
    result.figure("storm-whole", f"{STORM} parallel logins: until the last has its token", "s", spread(whole))
    result.figure("storm-peak", "highest resident memory of the server", "MiB", spread(peaks), digits=1)


def measure_secrecy(result, server):
    wrong, unknown = [], []
    for _ in range(PAIRS):
        pair = [[], []]
        for number in range(LOGINS):
            arms = [lambda: pair[0].append(login(server, f"bench{number % NAMES}", "wrong", (401,))),
                    lambda: pair[1].append(login(server, f"nobody{number % NAMES}", "wrong", (404,)))]
            for arm in arms[::1 if number % 2 else -1]:
                arm()
        wrong.append(percentile(pair[0], 0.5) * 1000)
        unknown.append(percentile(pair[1], 0.5) * 1000)
    result.figure("wrong", "wrong password: median", "ms", spread(wrong))
    result.figure("unknown", "unknown account: median", "ms", spread(unknown))
    difference = [abs(u / w - 1) * 100 for u, w in zip(unknown, wrong, strict=True)]
    result.figure("difference", "difference between the two", "%", spread(difference), goal=5, digits=1)


def main():
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    result = Result("logins")
    with Server("logins", engine=False, settings=Settings) as server:
        tokens = [server.register(f"bench{number}") for number in range(NAMES)]
        measure_rate(result, server)
        measure_storm(result, server, tokens[0])
        measure_secrecy(result, server)
    result.write()


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""How much more memory the server takes while 1 GiB is uploaded, checked, stored and handed to the engine. The archive is made
while it is sent, so that it costs this script no memory either. Nothing in it can be compressed."""

import http.client
import io
import json
import os
import struct
import sys
import tarfile
import zlib

from common import MIB, PAIRS, Result, Server, call, forget_peak, memory, spread, wait_until

SIZE_MIB = int(os.environ.get("LONGSHORE_BENCH_UPLOAD_MIB", "1024"))
DOCKERFILE = b"FROM scratch\nCOPY payload /payload\n"
BLOCK = os.urandom(MIB)


def tar():
    """A tar, piece by piece."""
    for name, content in (("Dockerfile", DOCKERFILE), ("payload", None)):
        entry = tarfile.TarInfo(name)
        entry.size = len(content) if content else SIZE_MIB * MIB
        yield entry.tobuf()
        if content:
            yield content + bytes(-len(content) % 512)
        else:
            for _ in range(SIZE_MIB):
                yield BLOCK
    yield bytes(10240)


def stored_zip():
    """A zip whose entries are stored as they are, piece by piece."""
    size = SIZE_MIB * MIB
    check = 0
    for _ in range(SIZE_MIB):
        check = zlib.crc32(BLOCK, check)
    offset, directory = 0, io.BytesIO()
    for name, length, crc in (("Dockerfile", len(DOCKERFILE), zlib.crc32(DOCKERFILE)), ("payload", size, check)):
        common = struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 33, crc, length, length, len(name), 0)
        directory.write(b"PK\x01\x02" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0o644 << 16, offset)
                        + name.encode())
        head = b"PK\x03\x04" + common + name.encode()
        yield head
        if name == "Dockerfile":
            yield DOCKERFILE
        else:
            for _ in range(SIZE_MIB):
                yield BLOCK
        offset += len(head) + length
    listing = directory.getvalue()
    yield listing + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 2, 2, len(listing), offset, 0)


def upload(server, token, name, pieces):
    """Sends the archive in chunks; the build."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
    connection.request("POST", f"/api/v1/builds?image={name}:1", pieces, encode_chunked=True,
                       headers={"Authorization": f"Bearer {token}", "Transfer-Encoding": "chunked"})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    if answer.status != 202:
        raise SystemExit(f"the upload was refused: {answer.status} {text[:500]}")
    return json.loads(text)["id"]


def main():
    result = Result("upload_memory")
    with Server("upload-memory") as server:
        token = server.register("bench")
        for kind, make in (("tar", tar), ("zip", stored_zip)):
            stored, handed = [], []
            for number in range(min(PAIRS, 3)):
                forget_peak(server.pid)
                before = memory(server.pid)["rss"]
                build = upload(server, token, f"{kind}{number}", make())
                stored.append(memory(server.pid)["peak"] - before)
                url = f"{server.url}/api/v1/builds/{build}"
                at = lambda: call(url, token=token)[1]
                # The first step is reported when the engine has the whole context.
                wait_until("the engine to have the context", 300, lambda: at()["step"] or at()["phase"] != "building" and at()["phase"] != "waiting", 0.1)
                handed.append(memory(server.pid)["peak"] - before)
                call(f"{url}/cancel", "POST", None, token, expect=range(200, 500))
                final = ("succeeded", "failed", "cancelled")
                wait_until("the build's end", 300, lambda: at()["state"] in final, 0.1)
            what = f"{SIZE_MIB} MiB {kind}"
            result.figure(f"{kind}-stored", f"{what}: memory above idle until the 202", "MiB", spread(stored), goal=64, digits=1)
            result.figure(f"{kind}-handed", f"{what}: memory above idle until the engine has it", "MiB", spread(handed),
                          goal=64, digits=1)
    result.write()


if __name__ == "__main__":
    sys.exit(main())

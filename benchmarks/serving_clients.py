"""Clients for the benchmarks of `zoo serve`: many at a time in one process, with little work of their own."""

import asyncio
import base64
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass
class Tally:
    """What the clients of one kind saw: seconds of each answer, and what was wrong."""

    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """Milliseconds."""
        ordered = sorted(self.seconds)
        return 1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


@contextlib.contextmanager
def server(*arguments: object, cwd: Path = ROOT) -> Iterator[tuple[subprocess.Popen, str, int, str]]:
    """A `zoo serve` on free ports: the process, its host and port, and the address of gRPC."""
    command = [sys.executable, "-c", "from zoo.cli import console; console()", "serve", *map(str, arguments)]
    with tempfile.TemporaryFile("w+b") as log:
        process = subprocess.Popen(
            [*command, "--port", "0", "--grpc-port", "0"], stdout=log, stderr=subprocess.STDOUT, cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        try:
            while True:
                log.seek(0)
                text = log.read().decode()
                if found := re.search(r"http://([\d.]+):(\d+)/   gRPC: (\S+)", text):
                    yield process, found[1], int(found[2]), found[3]
                    break
                if process.poll() is not None:
                    sys.exit(f"the server did not start: {text}")
                time.sleep(0.05)
        finally:
            process.terminate()
            process.wait(60)
            log.seek(0)
            if "Traceback" in (text := log.read().decode()):
                print(f"the server wrote:\n{text[-5000:]}")


def rest_request(path: str, body: object) -> bytes:
    """A POST request as bytes, for a connection that stays open."""
    content = json.dumps(body).encode()
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


def image_request(model: str, images: Sequence[bytes]) -> bytes:
    """A request for the classes of PNG files."""
    rows = [{"image_bytes": {"b64": base64.b64encode(image).decode()}} for image in images]
    return rest_request(f"/v1/models/{model}:predict", {"signature_name": "image_bytes", "instances": rows})


async def rest_client(
    host: str, port: int, requests: Sequence[bytes], check: Callable[[int, dict], bool], ends: float, tally: Tally
) -> None:
    """Sends one request after the other over one connection until `ends`."""
    reader, writer = await asyncio.open_connection(host, port)
    number = 0
    while time.perf_counter() < ends:
        which = number % len(requests)
        start = time.perf_counter()
        try:
            writer.write(requests[which])
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(int(re.search(rb"content-length: (\d+)", head)[1]))
        except (OSError, asyncio.IncompleteReadError) as error:
            tally.wrong.append(repr(error))
            reader, writer = await asyncio.open_connection(host, port)
            continue
        tally.seconds.append(time.perf_counter() - start)
        if not head.startswith(b"HTTP/1.1 200 ") or not check(which, json.loads(body)):
            tally.wrong.append((head.partition(b"\r\n")[0] + b" " + body[:200]).decode())
        number += 1
    writer.close()


def resident_mb(pid: int) -> float:
    """Resident memory of a process, MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

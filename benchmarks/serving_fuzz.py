"""Sends mutated requests to `zoo serve` by REST and gRPC and checks what comes back.

    python benchmarks/serving_fuzz.py --bodies 100000

Requests that each export answers are changed: their bytes, their JSON, the images in them, their paths and headers.
No answer may be an error of the server (5xx), none may name a file of the machine, and the server must go on answering.
Exits with 1, and prints the requests, where that is not so.
"""

import argparse
import asyncio
import os
import random
import re
import sys
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import grpc
from serving_clients import ROOT, server
from serving_mutations import change_bytes, messages, mutated, seeds

MODELS = ("char_rnn_tiny_shakespeare_fast", "lenet5_mnist", "resnet20_cifar10_fast", "seq2seq_dates")
LIMITS = ("--max-length", "50", "--max-text-bytes", "300", "--max-pixels", "100000", "--max-body-bytes", "200000")
LEAKS = re.compile(rb'(?:^|[\s"\'(=])(?:/[\w.-]+){2,}|site-packages|Traceback|\.py\b|File \\"')


class Findings:
    """What came back: how often each status, and the requests whose answer is wrong."""

    def __init__(self):
        self.statuses: Counter = Counter()
        self.wrong: list[str] = []

    def add(self, kind: str, status: str, answer: bytes, request: bytes, failed: bool) -> None:
        self.statuses[f"{kind} {status}"] += 1
        if failed:
            self.wrong.append(f"{kind} {status}: {answer[:300]!r} to {request[:600]!r}")


async def rest_client(host: str, port: int, draw: Callable[[], bytes | None], findings: Findings) -> None:
    """Sends what `draw` gives until it gives nothing, over one connection while it stays open."""
    reader = writer = None
    while (request := draw()) is not None:
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection(host, port)
            writer.write(request)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
            body = b""
            if request.startswith(b"HEAD"):
                pass
            elif length := re.search(rb"content-length: (\d+)", head):
                body = await reader.readexactly(int(length[1]))
            else:
                while not body.endswith(b"0\r\n\r\n"):
                    body += await reader.readuntil(b"\r\n")
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            # A client that goes on sending much more than the limit is cut off.
            findings.add("REST", type(error).__name__, b"", request, len(request) < 4 * 200_000)
            writer = None
            continue
        status = head[9:12].decode()
        asked = urllib.parse.unquote_to_bytes(request.split(b" ")[1])  # which an error may repeat
        leak = status[0] != "2" and LEAKS.search(body.replace(asked, b""))
        findings.add("REST", status, body, request, status[0] == "5" or bool(leak))
        if b"connection: close" in head.lower():
            writer.close()
            writer = None


async def grpc_client(address: str, draw: Callable[[], bytes | None], findings: Findings) -> None:
    """Sends what `draw` gives as the message of Predict."""
    async with grpc.aio.insecure_channel(address) as channel:
        predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        while (request := draw()) is not None:
            try:
                await predict(request, timeout=60)
                findings.add("gRPC", "OK", b"", request, False)
            except grpc.aio.AioRpcError as error:
                # What is not a message at all is refused by gRPC itself, as INTERNAL.
                unread = error.code() is grpc.StatusCode.INTERNAL and "deserializ" in error.details()
                allowed = {
                    "INVALID_ARGUMENT",
                    "NOT_FOUND",
                    "FAILED_PRECONDITION",
                    "RESOURCE_EXHAUSTED",
                    "UNIMPLEMENTED",
                }
                leak = LEAKS.search(error.details().encode())
                failed = bool(leak) or not (unread or error.code().name in allowed)
                findings.add("gRPC", error.code().name, error.details().encode(), request, failed)


async def run(options: argparse.Namespace, host: str, port: int, address: str) -> Findings:
    rng, findings = random.Random(options.seed), Findings()
    bodies, calls = seeds(rng), messages(rng)
    left = {"REST": int(options.bodies * 0.8), "gRPC": options.bodies - int(options.bodies * 0.8)}

    def next_request() -> bytes | None:
        left["REST"] -= 1
        return mutated(rng, *rng.choice(bodies)) if left["REST"] >= 0 else None

    def next_call() -> bytes | None:
        left["gRPC"] -= 1
        return change_bytes(rng, rng.choice(calls)) if left["gRPC"] >= 0 else None

    rest = [rest_client(host, port, next_request, findings) for _ in range(8)]
    await asyncio.gather(*rest, *(grpc_client(address, next_call, findings) for _ in range(2)))
    return findings


def main() -> int:
    """Prints what came back; 1 where anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bodies", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    begin = time.perf_counter()
    with server(*(ROOT / "saved_models" / name for name in MODELS), *LIMITS) as (process, host, port, address):
        findings = asyncio.run(run(options, host, port, address))
        alive = process.poll() is None
    for status, count in sorted(findings.statuses.items()):
        print(f"{status}: {count:,}")
    print(f"{options.bodies:,} requests in {time.perf_counter() - begin:.0f} s, wrong: {len(findings.wrong)}", end="")
    print(f", server {'alive' if alive else 'dead'}, exit status {process.returncode}")
    print("\n".join(findings.wrong[:20]))
    return int(bool(findings.wrong) or not alive or process.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())

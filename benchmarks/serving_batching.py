"""What batching gives: throughput of `zoo serve` for LeNet-5's `image_bytes` by REST, one image a request.

    python benchmarks/serving_batching.py --seconds 20 --clients 64

A server without batching and one with it run in turn, several rounds each, with the same clients. Processor time of
the server for each request is printed, too: it depends less on what else the machine does. The same is measured without
HTTP, by as many threads that call the signature.
"""

import argparse
import asyncio
import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from serving_clients import ROOT, Tally, image_request, rest_client, server

from zoo.serve.servable import Servable
from zoo.serve.settings import Batching

BATCHING = ("--max-batch-size", "32", "--batch-timeout-micros", "10000", "--allowed-batch-sizes", "1,2,4,8,16,32")


def processor_seconds(pid: int) -> float:
    """Of a process, in user and system mode."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(
    host: str, port: int, pid: int, requests: list[bytes], clients: int, seconds: float
) -> tuple[float, float]:
    """Answers a second, and milliseconds of processor for each."""
    tally, begin = Tally(), time.perf_counter()
    used = processor_seconds(pid)
    good = lambda which, answer: len(answer["predictions"]) == 1  # noqa: E731
    await asyncio.gather(*(rest_client(host, port, requests, good, begin + seconds, tally) for _ in range(clients)))
    if tally.wrong:
        raise SystemExit(f"wrong answers: {tally.wrong[:3]}")
    count = len(tally.seconds)
    return count / (time.perf_counter() - begin), 1e3 * (processor_seconds(pid) - used) / count


def without_http(images: list[bytes], clients: int, seconds: float, batching: Batching) -> tuple[float, float]:
    """Rows a second, and milliseconds of processor for each, with a thread for each client."""
    servable = Servable(ROOT / "saved_models" / "lenet5_mnist" / "1", batching)
    signature = servable.signature("image_bytes")

    def loop(number: int) -> int:
        row = np.empty(1, object)
        row[0] = images[number % len(images)]
        count = 0
        while time.perf_counter() < ends:
            servable.run(signature, {"image_bytes": row}, seconds=60)
            count += 1
        return count

    with ThreadPoolExecutor(clients) as pool:
        ends = time.perf_counter() + 2
        list(pool.map(loop, range(clients)))  # warm
        begin, used = time.perf_counter(), time.process_time()
        ends = begin + seconds
        rows = sum(pool.map(loop, range(clients)))
        rate, cost = rows / (time.perf_counter() - begin), 1e3 * (time.process_time() - used) / rows
    servable.close()
    return rate, cost


def main() -> None:
    """Prints each round, and the ratio of the medians."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=64)
    options = parser.parse_args()
    random = np.random.default_rng(0)
    images = [tf.io.encode_png(random.integers(0, 256, (28, 28, 1), np.uint8)).numpy() for _ in range(16)]
    requests = [image_request("lenet5_mnist", [image]) for image in images]
    export = ROOT / "saved_models" / "lenet5_mnist"
    rates: dict[str, list[float]] = {"off": [], "on": []}
    with server(export) as off, server(export, *BATCHING) as on:
        for process, host, port, _ in (off, on):
            asyncio.run(measure(host, port, process.pid, requests, options.clients, 3))  # warm
        for _ in range(options.rounds):
            for name, (process, host, port, _) in (("off", off), ("on", on)):
                rate, cost = asyncio.run(measure(host, port, process.pid, requests, options.clients, options.seconds))
                rates[name].append(rate)
                print(f"batching {name}: {rate:,.0f} answers/s, {cost:.2f} ms of processor each", flush=True)
    ratio = statistics.median(rates["on"]) / statistics.median(rates["off"])
    for name, batching in (("off", Batching()), ("on", Batching(32, 10_000, 100, (1, 2, 4, 8, 16, 32)))):
        rate, cost = without_http(images, options.clients, options.seconds, batching)
        print(f"without HTTP, batching {name}: {rate:,.0f} rows/s, {cost:.2f} ms of processor each", flush=True)
    print(f"batching on / off: {ratio:.2f} with {options.clients} clients on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()

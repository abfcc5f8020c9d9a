"""Load on `zoo serve`: many clients by REST and gRPC while versions change. Prints latencies, errors and memory.

    python benchmarks/serving_load.py --seconds 60 --clients 64 --swap-seconds 10

Half of the clients use REST, half gRPC. Each answer is compared with what the export answers by itself. Exits with 1
where an answer was missing or wrong.
"""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import grpc
import numpy as np
import tensorflow as tf
from serving_clients import ROOT, Tally, image_request, resident_mb, rest_client, server
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

WARM_UP = 0.25  # of the time: what memory is compared with comes after


def examples(export: Path, count: int = 16) -> tuple[list[bytes], np.ndarray, np.ndarray]:
    """PNG files, their pixels, and the export's own probabilities."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (count, 28, 28, 1), np.uint8)
    files = [tf.io.encode_png(image).numpy() for image in pixels]
    answers = tf.saved_model.load(str(export)).signatures["serving_default"](images=tf.constant(pixels))
    return files, pixels, answers["probabilities"].numpy()


async def grpc_client(address: str, requests: list, check, ends: float, tally: Tally) -> None:
    """Sends one request after the other over one channel until `ends`."""
    async with grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        number = 0
        while time.perf_counter() < ends:
            which, start = number % len(requests), time.perf_counter()
            try:
                response = await stub.Predict(requests[which], timeout=30)
            except grpc.RpcError as error:
                tally.wrong.append(f"{error.code()}: {error.details()}")
                continue
            tally.seconds.append(time.perf_counter() - start)
            if not check(which, tf.make_ndarray(response.outputs["probabilities"])):
                tally.wrong.append(f"another answer to request {which}")
            number += 1


def swap_versions(base: Path, seconds: float, stop: threading.Event, swaps: list) -> None:
    """Puts the same model there again as the next version, and takes the oldest away."""
    version = 1
    while not stop.wait(seconds):
        version += 1
        shutil.copytree(base / str(version - 1), base / f".{version}")
        (base / f".{version}").rename(base / str(version))
        if version > 2:
            shutil.rmtree(base / str(version - 2))
        swaps.append(version)


async def run(options: argparse.Namespace, host: str, port: int, address: str, pid: int, export: Path) -> int:
    files, pixels, probabilities = examples(export)
    ends = time.perf_counter() + options.seconds
    tallies = {"REST": Tally(), "gRPC": Tally()}
    rest = [image_request("lenet5_mnist", [file]) for file in files]
    calls = []
    for image in pixels:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "lenet5_mnist"
        request.inputs["images"].CopyFrom(tf.make_tensor_proto(image[None]))
        calls.append(request)

    def equal(which: int, found: np.ndarray) -> bool:
        return bool(np.allclose(found, probabilities[which], atol=1e-4))

    clients = []
    for number in range(options.clients):
        if number % 2:
            check = lambda which, answer: equal(which, answer["predictions"][0]["probabilities"])  # noqa: E731
            clients.append(rest_client(host, port, rest, check, ends, tallies["REST"]))
        else:
            clients.append(
                grpc_client(address, calls, lambda which, found: equal(which, found[0]), ends, tallies["gRPC"])
            )
    memory: list[float] = []

    async def watch() -> None:
        while time.perf_counter() < ends:
            memory.append(resident_mb(pid))
            await asyncio.sleep(options.seconds / 120)

    await asyncio.gather(*clients, watch())
    settled = memory[int(WARM_UP * len(memory)) :]
    print(f"{options.clients} clients, {options.seconds:g} s, {os.cpu_count()} cores")
    for kind, tally in tallies.items():
        p50, p99 = tally.percentile(0.5), tally.percentile(0.99)
        rate = len(tally.seconds) / options.seconds
        print(
            f"{kind}: {len(tally.seconds):,} answers ({rate:,.0f}/s), p50 {p50:.1f} ms, p99 {p99:.1f} ms "
            f"({p99 / p50:.1f} ×), errors and wrong answers: {len(tally.wrong)} {tally.wrong[:3] or ''}"
        )
    middle = sorted(settled)[len(settled) // 2]
    print(f"memory after warm-up: {min(settled):.0f} to {max(settled):.0f} MB, median {middle:.0f} MB")
    return sum(len(tally.wrong) for tally in tallies.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=f"{__doc__.partition(chr(10))[0]} Other flags are those of zoo serve.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--swap-seconds", type=float, default=10)
    options, serve_flags = parser.parse_known_args()
    if options.clients < 2 or options.seconds <= 0 or options.swap_seconds <= 0:
        parser.error("--clients must be at least 2, one for each protocol, and the seconds above 0")
    export = ROOT / "saved_models" / "lenet5_mnist" / "1"
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "lenet5_mnist"
        shutil.copytree(export, base / "1")
        with server(base, *serve_flags) as (process, host, port, address):
            stop, swaps = threading.Event(), []
            swapping = threading.Thread(target=swap_versions, args=(base, options.swap_seconds, stop, swaps))
            swapping.start()
            wrong = asyncio.run(run(options, host, port, address, process.pid, export))
            stop.set()
            swapping.join()
        print(f"versions that took over: {len(swaps)}; exit status after SIGTERM: {process.returncode}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())

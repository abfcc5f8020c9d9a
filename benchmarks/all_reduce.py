"""The time in which worker processes sum a model's gradients, and what a ring of many workers would take.

    python benchmarks/all_reduce.py [--workers 2]    # measures, on this machine's loopback, one CPU device a worker
    python benchmarks/all_reduce.py --predict        # computes, in a second and without TensorFlow

A worker is placed as a run's workers are, and sums as an optimizer does: one `all_reduce` of the list of all gradients
inside `strategy.run`, many in a loop of the graph. What it takes is fitted to a ring's cost model,

    seconds = latency · 2(N − 1) + bytes · 2(N − 1)/N / bandwidth,

2(N − 1) being a ring's messages one after the other, by least squares of the relative errors of the three models. A
step sends two single numbers besides, the count of its examples and its loss; what one takes is measured, not fitted.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import zoo
from zoo.distribute.launch import local_addresses, local_configs

NUMBER = "one number"
TIMES = {NUMBER: 500, "lenet5_modern": 500, "resnet20": 300, "resnet50": 5}  # all-reduces of a call
CALLS = 7  # of which the median counts
LATENCY = 10e-6  # seconds a message between machines; NCCL's tuning table has 9.6 for a ring
THROUGHPUT, BATCH = 2375, 256  # images/s of one accelerator, and its share of a batch; see docs/scaling.md


def shapes_of(name: str) -> list[list[int]]:
    """The shapes of a model's trainable weights."""
    return [[]] if name == NUMBER else [list(weight.shape) for weight in zoo.build(name).trainable_variables]


def work(models: dict[str, list[list[int]]]) -> dict[str, float]:
    """One worker's part: the seconds of an all-reduce, by model."""
    import tensorflow as tf

    from zoo.distribute.strategy import Devices, choose_strategy

    placement = choose_strategy(Devices(strategy="multi_worker"))
    strategy = placement.strategy

    def summed(gradients):
        gradients = [tf.identity(gradient) for gradient in gradients]  # on this replica's device, as gradients are
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)

    @tf.function
    def repeated(gradients, times):
        def body(done, gradients):
            return done + 1, strategy.run(summed, args=(gradients,))

        return tf.while_loop(lambda done, _: done < times, body, (0, gradients))[1]

    seconds = {}
    for name, shapes in models.items():
        ones = repeated([tf.ones(shape) for shape in shapes], tf.constant(1))
        assert all(float(tf.reduce_max(abs(one - placement.replicas))) == 0 for one in ones)
        zeros, times = [tf.zeros(shape) for shape in shapes], tf.constant(TIMES[name])
        taken = []
        for _ in range(CALLS):
            start = time.perf_counter()
            repeated(zeros, times)[0].numpy()
            taken.append((time.perf_counter() - start) / TIMES[name])
        seconds[name] = statistics.median(taken)
    placement.done()
    return seconds


def messages(workers: int) -> int:
    """How many messages a ring sends one after the other."""
    return 2 * (workers - 1)


def sent(size: int, workers: int) -> float:
    """The bytes that each worker of a ring sends to sum `size` bytes."""
    return size * 2 * (workers - 1) / workers


def fit(sizes: list[int], seconds: list[float], workers: int) -> tuple[float, float]:
    """Latency in seconds and bandwidth in bytes per second, by least squares of relative errors."""
    import numpy as np

    terms = [np.array([messages(workers), sent(n, workers)]) / t for n, t in zip(sizes, seconds, strict=True)]
    latency, per_byte = np.linalg.lstsq(np.stack(terms), np.ones(len(terms)), rcond=None)[0]
    return float(latency), float(1 / per_byte)


def measure(workers: int) -> None:
    """Starts the workers and prints what the first one measures."""
    models = {name: shapes_of(name) for name in TIMES}
    command = [sys.executable, __file__, "--work", json.dumps(models)]
    processes = []
    for config in local_configs(local_addresses(workers)):
        env = {**os.environ, "TF_CONFIG": config, "CUDA_VISIBLE_DEVICES": "-1"}
        processes.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True))
    answers = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        sys.exit("a worker failed")
    seconds = json.loads(answers[0].splitlines()[-1])
    weights = {name: sum(map(math.prod, shapes)) for name, shapes in models.items()}
    fitted = [name for name in models if name != NUMBER]
    latency, bandwidth = fit([4 * weights[name] for name in fitted], [seconds[name] for name in fitted], workers)
    print(f"{workers} workers\n")
    print("| gradients of | weights | bytes | ms an all-reduce | MB/s | ms by the fit | error |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, taken in seconds.items():
        size = 4 * weights[name]
        model = latency * messages(workers) + sent(size, workers) / bandwidth
        print(
            f"| {name} | {weights[name]:,} | {size:,} | {taken * 1e3:.2f} | {sent(size, workers) / taken / 1e6:,.0f} | "
            f"{model * 1e3:.2f} | {model / taken - 1:+.0%} |"
        )
    print(f"\nlatency {latency * 1e6:,.0f} µs a message, bandwidth {bandwidth / 1e6:,.0f} MB/s")


def predict() -> None:
    """Prints what models send a step, and what that costs ResNet-50 on many workers."""
    print("| model | parameters | MB of gradients | sent by each of 2 | of 8 | of 256 |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in ("lenet5_modern", "resnet20", "resnet50", "vgg16", "char_rnn"):
        count = zoo.describe(name).parameters
        cells = [f"{size / 1e6:,.2f}" for size in (4 * count, *(sent(4 * count, n) for n in (2, 8, 256)))]
        print(f"| `{name}` | {count:,} | {' | '.join(cells)} |")
    size, step = 4 * zoo.describe("resnet50").parameters, BATCH / THROUGHPUT
    print(f"\nResNet-50, {size / 1e6:.1f} MB, a step of {step * 1e3:.1f} ms, {LATENCY * 1e6:g} µs a message\n")
    print("| workers | Gbit/s | ms an all-reduce | efficiency, no overlap | full overlap |")
    print("|---:|---:|---:|---:|---:|")
    for workers in (8, 64, 256):
        for link in (10, 100, 400):
            reduce = LATENCY * messages(workers) + sent(size, workers) / (link * 1e9 / 8)
            none, full = step / (step + reduce), step / max(step, reduce)
            print(f"| {workers} | {link} | {reduce * 1e3:.1f} | {none:.0%} | {full:.0%} |")


def main() -> None:
    """Measures, or predicts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--predict", action="store_true")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.workers < 2:
        parser.error("--workers must be at least 2")
    if options.work:
        print(json.dumps(work(json.loads(options.work))))
    elif options.predict:
        predict()
    else:
        measure(options.workers)


if __name__ == "__main__":
    main()

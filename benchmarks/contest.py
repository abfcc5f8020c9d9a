"""What the training benchmarks share: each contender runs in a process of its own, and its epochs are timed."""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

PRECISIONS = ("float32", "bfloat16")


class Clock:
    """Collects the seconds between start and stop."""

    def __init__(self):
        self.seconds: list[float] = []

    def start(self, *_) -> None:
        self.at = time.perf_counter()

    def stop(self, *_) -> None:
        self.seconds.append(time.perf_counter() - self.at)

    def watch(self):
        """A Keras callback that times the training of each epoch, without its validation."""
        import keras

        clock = self

        class Watch(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                clock.start()
                self.running = True

            def on_test_begin(self, logs=None):
                self.halt()

            def on_epoch_end(self, epoch, logs=None):
                self.halt()

            def halt(self):
                if self.running:
                    clock.stop()
                self.running = False

        return Watch()


def set_policy(precision: str) -> None:
    """Makes Keras build models that compute in a precision, with weights in float32."""
    import keras

    keras.config.set_dtype_policy("float32" if precision == "float32" else f"mixed_{precision}")


def mixed(precision: str):
    """The context in which PyTorch computes in a precision, with weights in float32."""
    import torch

    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")


def arrays_of(data) -> dict[str, Any]:
    """The images and labels of a set's splits in memory, by name, for a process without TensorFlow."""
    return {
        f"{split}_{kind}": array
        for split, part in (("train", data.train), ("test", data.test))
        for kind, array in (("images", part.pictures), ("labels", part.labels))
    }


def timed(action, examples: int, seconds: float = 1.0) -> list[float]:
    """Examples per second of five calls, after one that does not count, each repeated for `seconds` and more."""
    action()
    rates = []
    for _ in range(5):
        count, start = 0, time.perf_counter()
        while (taken := time.perf_counter() - start) < seconds:
            action()
            count += 1
        rates.append(examples * count / taken)
    return rates


def in_a_process(script: str, call: Sequence[Any]) -> tuple[Any, float]:
    """What a script's function, `call[0]`, returns for the other arguments, and the gigabytes that it took at most."""
    done = subprocess.run([sys.executable, script, json.dumps(call)], check=True, stdout=subprocess.PIPE, text=True)
    result, peak = json.loads(done.stdout.splitlines()[-1])
    return result, peak


def given(about: str, takes: str = "", among: Collection[str] = ()) -> list[str]:
    """The arguments of a script that is described by `about`: those that it `takes`, if any. If there are only those of
    `among`, they are checked, and all of them are the default."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    if takes:
        parser.add_argument("names", nargs="*", metavar=takes)
    names = getattr(parser.parse_args(), "names", [])
    if among and (unknown := [name for name in names if name not in among]):
        parser.error(f"there is no {unknown[0]!r}; choose from {', '.join(among)}")
    return names or list(among)


def contest(functions: Mapping[str, Callable[..., Any]], main: Callable[[], None]) -> None:
    """A script's own main: the contest itself, or one contender's part in it, which is told by a JSON list."""
    if not sys.argv[1:] or not sys.argv[1].startswith("["):
        return main()
    name, *arguments = json.loads(sys.argv[1])
    result = functions[name](*arguments)
    print(json.dumps([result, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6]))

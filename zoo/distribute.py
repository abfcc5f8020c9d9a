"""Where a recipe runs: the device, and whether its train step is compiled with XLA."""

import os
import platform

import tensorflow as tf

from zoo.recipe import Recipe


def jit_compile(recipe: Recipe) -> bool:
    """Whether to compile the train step: as the recipe says, or by device.

    XLA wins on a GPU; on a CPU its convolutions and recurrent loops are slower than TensorFlow's own (see
    docs/performance.md), except for very small batches, where recipes ask for it.
    """
    if recipe.jit_compile is not None:
        return recipe.jit_compile
    return bool(tf.config.list_physical_devices("GPU"))


def hardware() -> str:
    """The devices in words, such as "2 CPU cores (Intel Xeon …)" or "1 GPU (NVIDIA …)"."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "unknown")
        return f"{len(gpus)} GPU{'s' if len(gpus) > 1 else ''} ({name})"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} CPU core{'s' if cores != 1 else ''} ({_processor()})"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()

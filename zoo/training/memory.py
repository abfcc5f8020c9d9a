"""An estimate of the memory that training needs."""

import math

import keras
import psutil
import tensorflow as tf

from zoo.errors import ZooError
from zoo.recipe import GradientRecipe


def estimate(model: keras.Model, rows: int, *, bytes_per_value: int = 4) -> int:
    """Bytes that a training step needs for `rows` examples at a time: weights with their gradients and optimizer
    state, and the activations of all layers, each kept once for the gradient.

    Layers whose output size depends on the data, as those of sequences do, are not counted.
    """
    weights = sum(math.prod(weight.shape) for weight in model.weights)
    activations = 0
    for layer in model.layers:
        for output in keras.tree.flatten(layer.output):
            size = output.shape[1:]
            if None not in size:
                activations += math.prod(size)
    return 4 * 4 * weights + bytes_per_value * rows * activations


def check(model: keras.Model, recipe: GradientRecipe, rows: int, *, bytes_per_value: int = 4) -> None:
    """Raises `ZooError` if a step on `rows` examples does not fit in this machine's memory, with the number of
    --accumulate-steps that would. On GPUs and TPUs nothing is checked."""
    if tf.config.list_physical_devices("GPU") or tf.config.list_physical_devices("TPU"):
        return
    available = psutil.virtual_memory().available
    needed = estimate(model, rows, bytes_per_value=bytes_per_value)
    if needed <= available:
        return
    divisors = (n for n in range(2, rows + 1) if recipe.batch_size % (n * recipe.accumulate_steps) == 0)
    fits = (n for n in divisors if estimate(model, -(-rows // n), bytes_per_value=bytes_per_value) < 0.8 * available)
    parts = next(fits, None)
    advice = f"use --accumulate-steps {parts * recipe.accumulate_steps}" if parts else "use a smaller --batch-size"
    raise ZooError(
        f"A training step on {rows} examples at a time needs about {needed / 2**30:.1f} GiB of memory, and "
        f"{available / 2**30:.1f} GiB are available; {advice}."
    )

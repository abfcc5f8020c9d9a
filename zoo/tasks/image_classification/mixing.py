"""Mixtures of two training images each: mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019).

The layers of Keras draw from a generator with a state and mix the rows of a batch; here the random numbers are a
function of the seed and the step, so that a run resumes exactly and several workers train as one does. The second image
of each pair is therefore one of another order of the training set, not another row of the batch.
"""

from collections.abc import Callable
from dataclasses import replace

import tensorflow as tf

from zoo.data import views
from zoo.data.stream import BatchRNG, EpochShuffle
from zoo.tasks.image_classification.recipe import ImageRecipe

Batches = Callable[[EpochShuffle], tf.data.Dataset]


def mixed_batches(
    batches: Batches, order: EpochShuffle, first_step: int, rows: range | None, recipe: ImageRecipe
) -> tf.data.Dataset:
    """Batches of `batches(order)`, dicts of "inputs" (N, H, W, C) and "labels" (N,), mixed with those of another order.

    Adds "other_labels" (N,), the labels of the second images, and "share" float32 (N,), what the first ones have in
    the mixture.
    """
    # Seeds of recipes are below 2**32, so that these are no other run's.
    others, seed = replace(order, seed=order.seed + 2**32), tf.constant(order.seed + 2**33, tf.int64)
    indices = tf.range(order.batch_size) if rows is None else tf.range(rows.start, rows.stop)

    def mix(step: tf.Tensor, pair: tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]) -> dict[str, tf.Tensor]:
        first, second = pair
        rng = BatchRNG(tf.stack([seed, step]), order.batch_size, indices)
        if recipe.mixup:
            images, share = mixup(first["inputs"], second["inputs"], rng.beta(recipe.mixup))
        else:
            one, other = rng.split()
            share, centres = one.beta(recipe.cutmix), other.uniform(2)
            images, share = cutmix(first["inputs"], second["inputs"], share, centres)
        return {**first, "inputs": images, "other_labels": second["labels"], "share": share}

    return tf.data.Dataset.zip((batches(order), batches(others))).enumerate(first_step).map(mix).prefetch(2)


def mixup(first: tf.Tensor, second: tf.Tensor, share: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The weighted mean of two batches of images (N, H, W, C), in which the first have `share` (N,)."""
    weight = tf.cast(share, first.dtype)[:, None, None, None]
    return weight * first + (1 - weight) * second, share


def cutmix(first: tf.Tensor, second: tf.Tensor, share: tf.Tensor, centres: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The first images (N, H, W, C) with a box of the second ones in them, and what is left of the first, (N,).

    A box has the sides of the image times the root of 1 - `share` (N,), and is cut off at the edges; its centre is at
    `centres` (N, 2) from 0 to 1, top to bottom and left to right.
    """
    starts, ends = [], []
    for axis, size in enumerate(first.shape[1:3]):
        half = tf.floor(size * tf.sqrt(1 - share) / 2)
        centre = tf.floor(size * centres[:, axis])
        starts.append(centre - half)
        ends.append(centre + half)
    box = views.box(*first.shape[1:3], starts, ends)
    left = 1 - tf.reduce_mean(tf.cast(box, tf.float32), axis=(1, 2))
    return tf.where(box[..., None], second, first), left

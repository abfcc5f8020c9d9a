"""The order of training examples, a function of (seed, step): any step is reached without replaying those before."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

CHUNK = 64  # examples handled by one call: smaller batches are cut from it, so that each costs little


@dataclass(frozen=True)
class Order:
    """Epochs of `count` examples, each in its own order, laid end to end and cut into full batches.

    Step s holds positions s·B to (s+1)·B − 1 of that sequence, so an epoch's remainder opens the next epoch.
    """

    count: int
    batch_size: int
    seed: int

    def batches(self, first_step: int, fetch: Callable[[tf.Tensor, tf.Tensor], Any]) -> tf.data.Dataset:
        """Batches without end from `first_step` on.

        `fetch` gets the indices (n,) of n examples and a random seed (2,) for all of them, which depends on this
        order's seed and the step alone; it returns tensors of n rows.
        """
        steps = max(1, CHUNK // self.batch_size)

        def chunk(number: tf.Tensor) -> Any:
            positions = number * steps * self.batch_size + tf.range(steps * self.batch_size, dtype=tf.int64)
            epochs, places = positions // self.count, positions % self.count
            seed = tf.fill(tf.shape(epochs), tf.constant(self.seed, tf.int64))
            # A bijection of 0 … count − 1 that is computed place by place: no list of the epoch's order is held.
            # (The raw operation, because its wrapper accepts a single epoch's seed only.)
            indices = tf.raw_ops.RandomIndexShuffle(
                index=places,
                seed=tf.stack([seed, epochs, tf.zeros_like(epochs)], axis=1),
                max_index=tf.constant(self.count - 1, tf.int64),
                rounds=4,
            )
            rows = fetch(indices, tf.stack([tf.constant(self.seed, tf.int64), number]))
            return tf.nest.map_structure(lambda row: tf.reshape(row, [steps, self.batch_size, *row.shape[1:]]), rows)

        # Chunks begin where they would have begun had the run never stopped, so that their seeds are the same.
        chunks = tf.data.Dataset.counter(first_step // steps).map(
            chunk, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        return chunks.unbatch().skip(first_step % steps).prefetch(tf.data.AUTOTUNE)

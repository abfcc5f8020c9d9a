"""The order of training examples, a function of (seed, step), so that a run can start at any step."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

CHUNK = 64  # examples per call; smaller batches are slices of it, which costs less
GROUP = 16  # record files that are read side by side
WINDOW = CHUNK  # batches that are sorted by length together; no fewer, for a chunk is handled as a whole
BUFFER = 2048  # records that are shuffled together


@dataclass(frozen=True)
class BatchRNG:
    """Random numbers for rows of a batch: those of a row do not depend on which rows are asked for."""

    seed: tf.Tensor  # (2,)
    count: int  # rows of the whole batch
    rows: tf.Tensor  # (n,), those that are asked for
    second_side: tf.Tensor | None = None  # bool (n,), see `second_sides`; None where the examples are streamed

    def split(self) -> tuple["BatchRNG", "BatchRNG"]:
        """Two of them, independent of each other."""
        one, other = tf.unstack(tf.random.split(self.seed, 2))
        return replace(self, seed=one), replace(self, seed=other)

    def uniform(self, columns: int) -> tf.Tensor:
        """From 0 to 1, float32 (n, columns)."""
        return tf.gather(tf.random.stateless_uniform([self.count, columns], self.seed), self.rows)

    def normal(self, columns: int) -> tf.Tensor:
        """Of mean 0 and deviation 1, float32 (n, columns)."""
        return tf.gather(tf.random.stateless_normal([self.count, columns], self.seed), self.rows)

    def beta(self, concentration: float) -> tf.Tensor:
        """From the distribution Beta(concentration, concentration), float32 (n,)."""
        one, other = tf.unstack(tf.random.split(self.seed, 2))
        x, y = (tf.random.stateless_gamma([self.count], seed, concentration) for seed in (one, other))
        return tf.gather(tf.math.divide_no_nan(x, x + y), self.rows)

    def seeds(self) -> tf.Tensor:
        """A seed for each row, (n, 2)."""
        return tf.gather(tf.random.split(self.seed, self.count), self.rows)


@dataclass(frozen=True)
class EpochShuffle:
    """A sequence of epochs of `count` examples, each in its own order, divided into full batches.

    Step s holds positions s·B to (s+1)·B − 1 of that sequence, so an epoch's remainder opens the next epoch.
    """

    count: int
    batch_size: int
    seed: int

    def batches(
        self, first_step: int, fetch: Callable[[tf.Tensor, BatchRNG], Any], rows: range | None = None
    ) -> tf.data.Dataset:
        """Endless batches from `first_step` on, of each the rows in `rows`, by default all.

        `fetch` gets the indices (n,) of n examples and a generator for them, which depends on `seed` and the step
        alone; it returns tensors of n rows.
        """
        rows = range(self.batch_size) if rows is None else rows
        steps = max(1, CHUNK // self.batch_size)
        count = steps * self.batch_size
        offsets = tf.constant(np.arange(count).reshape(steps, -1)[:, rows].flatten())

        def chunk(number: tf.Tensor) -> Any:
            positions = number * count + offsets
            epochs, within = positions // self.count, positions % self.count
            # The operation below takes 32 bits of each seed.
            seed, high = (
                tf.fill(tf.shape(epochs), tf.constant(n, tf.int64)) for n in (self.seed % 2**32, self.seed >> 32)
            )
            # A bijection of 0 … count − 1 that is computed position by position: no list of the epoch's order is held.
            # (The raw operation, because its wrapper accepts a single epoch's seed only.)
            indices = tf.raw_ops.RandomIndexShuffle(
                index=within,
                seed=tf.stack([seed, epochs, high], axis=1),
                max_index=tf.constant(self.count - 1, tf.int64),
                rounds=4,
            )
            rng = BatchRNG(tf.stack([tf.constant(self.seed, tf.int64), number]), count, offsets)
            fetched = fetch(indices, replace(rng, second_side=second_sides(indices, epochs, self.seed)))
            return tf.nest.map_structure(lambda row: tf.reshape(row, [steps, len(rows), *row.shape[1:]]), fetched)

        # Chunks begin at the same positions as in a run that never stopped, so that their seeds are the same.
        chunks = tf.data.Dataset.counter(first_step // steps).map(
            chunk, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        return chunks.unbatch().skip(first_step % steps).prefetch(tf.data.AUTOTUNE)


def second_sides(indices: tf.Tensor, epochs: tf.Tensor, seed: int) -> tf.Tensor:
    """Which of two sides examples (n,) show in their epochs (n,), bool (n,): a side that is random in epoch 0, a
    function of the seed and the index, and the other side in each epoch after it (Jordan 2024, section 3.6)."""
    random = tf.strings.to_hash_bucket_strong(tf.strings.as_string(indices), 2, key=[seed, 0])
    return (random + tf.cast(epochs, tf.int64)) % 2 == 1


@dataclass(frozen=True)
class Records:
    """Examples in TFRecord files that do not fit into memory and are read file by file."""

    files: tuple[str, ...]
    skip: tuple[int, ...]  # records at the start of each file that are not of this split
    take: tuple[int, ...]  # the records after those that are

    def __len__(self) -> int:
        return sum(self.take)

    def part(self, start: int, stop: int) -> "Records":
        """Records `start` to `stop` − 1."""
        rows, first = [], 0
        for file, skip, take in zip(self.files, self.skip, self.take, strict=True):
            low, high = max(start - first, 0), min(stop - first, take)
            if low < high:
                rows.append((file, skip + low, high - low))
            first += take
        return Records(*zip(*rows, strict=True))

    def in_order(self) -> tf.data.Dataset:
        """Every record once, as serialized strings."""
        return self._table().flat_map(_read)

    def shuffled(self, order: EpochShuffle, first_step: int, buffer: int = BUFFER) -> tf.data.Dataset:
        """Endless records, as (position, serialized string), from position `first_step` · B of `order` on.

        Each epoch the files come in another order, `GROUP` of them side by side, and each `buffer` records of theirs
        are shuffled; all a function of the order's seed and the epoch. Reading starts at a group of files, so that no
        more than the records of one group are skipped.
        """
        position = first_step * order.batch_size
        epoch, done = divmod(position, order.count)
        counts = np.array(self.take)[self._permutation(order.seed, epoch).numpy()]
        ends = np.cumsum([counts[i : i + GROUP].sum() for i in range(0, len(counts), GROUP)])
        group = int(np.searchsorted(ends, done, side="right"))
        groups = len(ends)
        skipped = done - (int(ends[group - 1]) if group else 0)
        seed = tf.constant(order.seed, tf.int64)

        def records_of(number: tf.Tensor) -> tf.data.Dataset:
            epoch, place = number // groups, number % groups
            chosen = self._permutation(order.seed, epoch)[place * GROUP : (place + 1) * GROUP]
            rows = tf.data.Dataset.from_tensor_slices(
                tuple(tf.gather(tf.constant(column), chosen) for column in (self.files, self.skip, self.take))
            )
            mixed = rows.interleave(_read, cycle_length=GROUP, block_length=1)

            def shuffled(window: tf.Tensor, records: tf.Tensor) -> tf.data.Dataset:
                key = tf.random.fold_in(tf.stack([seed, number]), window)
                return tf.data.Dataset.from_tensor_slices(tf.random.experimental.stateless_shuffle(records, key))

            # Not `Dataset.shuffle`: a seed that is a tensor and a global seed do not go together there.
            return mixed.batch(buffer).enumerate().flat_map(shuffled)

        records = tf.data.Dataset.counter(epoch * groups + group).flat_map(records_of).skip(skipped)
        return records.enumerate(position)

    def _table(self) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices((list(self.files), list(self.skip), list(self.take)))

    def _permutation(self, seed: int, epoch: int | tf.Tensor) -> tf.Tensor:
        indices = tf.range(len(self.files))
        return tf.random.experimental.stateless_shuffle(indices, tf.stack([tf.cast(seed, tf.int64), epoch]))


def _read(file: tf.Tensor, skip: tf.Tensor, take: tf.Tensor) -> tf.data.Dataset:
    return tf.data.TFRecordDataset(file).skip(tf.cast(skip, tf.int64)).take(tf.cast(take, tf.int64))


def bucketed(order: EpochShuffle, lengths: np.ndarray, first_step: int) -> tf.data.Dataset:
    """Endless batches, from `first_step` on, of indices (B,) of examples of about the same length.

    Each `WINDOW` batches of the order are sorted by length, cut, and yielded in a random order: an epoch still has
    every example once, and what is in a step is a function of seed and step.
    """
    sizes = tf.constant(lengths, tf.int32)

    def shuffled_batches(indices: tf.Tensor, rng: BatchRNG) -> tf.Tensor:
        by_length = tf.gather(indices, tf.argsort(tf.gather(sizes, indices), stable=True))
        batches = tf.reshape(by_length, (-1, order.batch_size))
        return tf.reshape(tf.random.experimental.stateless_shuffle(batches, rng.seed), (-1,))

    windows = EpochShuffle(order.count, order.batch_size * WINDOW, order.seed)
    steps = windows.batches(first_step // WINDOW, shuffled_batches)
    steps = steps.map(lambda indices: tf.reshape(indices, (WINDOW, order.batch_size))).unbatch()
    return steps.skip(first_step % WINDOW)


def take_rows(batches: tf.data.Dataset, rows: range | None) -> tf.data.Dataset:
    """Batches of the rows in `rows` of each batch, by default all."""
    if rows is None:
        return batches
    return batches.map(lambda batch: tf.nest.map_structure(lambda value: value[rows.start : rows.stop], batch))

"""What tasks on sequences of tokens share: batches of similar lengths, batches in order, word dropout."""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from zoo.data.stream import EpochShuffle, bucketed, take_rows
from zoo.data.vocabulary import WordsAndCharacters
from zoo.tasks.splits import SplitsTask


@dataclass(frozen=True)
class Sequences:
    """A split as batches are made from it: a length for each example, and a function from indices (B,) to a batch."""

    lengths: np.ndarray
    batch: Callable[[tf.Tensor], dict[str, Any]]


class SequenceTask(SplitsTask):
    """A task whose batches hold sequences of similar lengths, so that there is little padding."""

    evaluation_rows: ClassVar[int] = 100  # rows of a batch in evaluation

    @abc.abstractmethod
    def training_sequences(self) -> Sequences:
        """The training split; lengths may be any numbers that sort examples of similar lengths together."""

    @abc.abstractmethod
    def validation_sequences(self) -> Sequences | None:
        """The validation split, None without one."""

    def metrics(self) -> list[keras.metrics.Metric]:
        return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]

    def augment(self, batch: dict[str, Any], seed: tf.Tensor) -> dict[str, Any]:
        """What training does to a batch at random, a function of `seed` (2,): nothing by default."""
        return batch

    @property
    def train_examples(self) -> int:
        return len(self._training.lengths)

    @property
    def _training(self) -> Sequences:
        if not hasattr(self, "_training_sequences"):
            self._training_sequences = self.training_sequences()
        return self._training_sequences

    def training_batches(self, first_step: int, rows: range | None = None) -> tf.data.Dataset:
        sequences, recipe = self._training, self.recipe
        order = EpochShuffle(len(sequences.lengths), recipe.batch_size, recipe.seed)
        seed = tf.constant(recipe.seed, tf.int64)

        def batch(step: tf.Tensor, indices: tf.Tensor) -> dict[str, Any]:
            return self.augment(sequences.batch(indices), tf.stack([seed, step]))

        steps = bucketed(order, sequences.lengths, first_step).enumerate(first_step)
        batches = steps.map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return take_rows(batches, rows).prefetch(4)

    def validation_batches(self) -> tf.data.Dataset | None:
        sequences = self.validation_sequences()
        return None if sequences is None else self.in_order(sequences)[1]

    def in_order(self, sequences: Sequences) -> tuple[list[np.ndarray], tf.data.Dataset]:
        """Every example once, short ones first: the indices of each batch, and the batches."""
        indices, size = np.argsort(sequences.lengths, kind="stable"), self.evaluation_rows
        parts = [indices[i : i + size] for i in range(0, len(indices), size)]
        order = tf.constant(indices)
        starts = tf.data.Dataset.range(0, len(indices), size)
        batches = starts.map(lambda start: sequences.batch(order[start : start + size]), num_parallel_calls=2)
        return parts, batches.prefetch(2)


def with_word_dropout(
    batch: dict[str, Any], encoder: WordsAndCharacters, dropout: float, seed: tf.Tensor
) -> dict[str, Any]:
    """The batch with words replaced by the unknown word at random (Kiperwasser & Goldberg 2016, section 4)."""
    inputs = batch["inputs"]
    return {**batch, "inputs": {**inputs, "words": encoder.with_unknown(inputs["words"], dropout, seed)}}

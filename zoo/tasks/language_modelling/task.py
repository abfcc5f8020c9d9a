"""Training and evaluation of language models."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from zoo.data.progress import progress
from zoo.data.stream import take_rows
from zoo.data.text import Streams, encode_streams
from zoo.data.vocabulary import Characters
from zoo.tasks.base import Batch
from zoo.tasks.decoding import zero_state
from zoo.tasks.language_modelling.preprocessing import read_data, warn_of_unknown
from zoo.tasks.language_modelling.recipe import LanguageModelRecipe
from zoo.tasks.language_modelling.serving import PIECE, ServingLanguageModel
from zoo.tasks.losses import cross_entropy, masked_sum, update_token_metrics
from zoo.tasks.splits import SplitsTask
from zoo.tasks.vocabularies import character_rows
from zoo.weights.exports import output_layers
from zoo.weights.parent import Rows


class LanguageModelling(SplitsTask):
    """Trains, evaluates and serves a model of characters as a `LanguageModelRecipe` says.

    The text is read as `batch_size` parallel streams; a step advances each by `sequence_length` characters. The state
    after a step is the first state of the next one, also from one epoch to the next, and gradients stop at the borders
    of steps: truncated backpropagation through time. The model takes "tokens" int32 (N, T) and its states, and returns
    "logits" (N, T, V) and the states. Batches have "labels" int32 (N, T).
    """

    Recipe = LanguageModelRecipe
    monitor = ("val_nats_per_char", "min")

    def prepare(self) -> None:
        recipe: LanguageModelRecipe = self.recipe
        self.data = read_data(recipe, self.log)
        self.log(self.data.description)
        own = set("".join(self.data.train.rows))
        known = self.parent.characters("vocabulary", "table") if self.parent else []
        if self.parent:
            new = "".join(sorted(own - set(known)))
            self.log(
                f"characters: {len(known)} of {self.parent.name}, and {len(new)} new ones{f': {new!r}' * bool(new)}"
            )
        self.vocabulary = Characters(own | set(known))
        self._train = encode_streams(self.data.train, self.vocabulary.ids)
        warn_of_unknown(self.data, self.vocabulary.ids, self.log)
        self.log(f"{recipe.name}: {self._summary()}")

    def _summary(self) -> str:
        parts = [("training", self.data.train), ("validation", self.data.validation), ("test", self.data.test)]
        counts = [f"{len(part) * part.length:,} {name}" for name, part in parts if part]
        return f"{self.data.name}: {', '.join(counts)} characters, {len(self.vocabulary) - 1} different ones"

    def shorten(self, examples: int) -> None:
        self.data = replace(
            self.data,
            **{
                name: Streams(tuple(row[: examples + 1] for row in split.rows))
                for name, split in self.data.present.items()
                if name != "train"
            },
        )

    def model_args(self) -> dict[str, Any]:
        return {"vocabulary_size": len(self.vocabulary)}

    @property
    def train_examples(self) -> int:
        """Sequences per epoch, over all streams."""
        return self.data.train.length // self.recipe.sequence_length * self.recipe.batch_size

    def state(self, model: keras.Model) -> dict[str, tuple[int, ...]]:
        return {name: tuple(tensor.shape[1:]) for name, tensor in model.input.items() if name != "tokens"}

    def loss(self, batch: Batch, outputs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        losses = cross_entropy(batch["labels"], outputs["logits"])
        return masked_sum(losses, batch.get("mask")), self.count(batch)

    def count(self, batch: Batch) -> tf.Tensor:
        """Characters, or streams where the loss is summed over time."""
        streams = super().count(batch)
        if self.recipe.sum_over_time:
            return streams
        return streams * tf.cast(tf.shape(batch["labels"])[1], tf.float32)

    def metrics(self) -> list[keras.metrics.Metric]:
        return [keras.metrics.SparseCategoricalCrossentropy(name="nats_per_char", from_logits=True)]

    def update_metrics(self, metrics, batch: Batch, outputs: Any) -> None:
        update_token_metrics(metrics, batch["labels"], outputs["logits"], batch.get("mask"))

    def training_batches(self, first_step: int, rows: range | None = None) -> tf.data.Dataset:
        length = self.recipe.sequence_length
        streams, steps = tf.constant(self._train), self.data.train.length // length

        def batch(step: tf.Tensor) -> dict[str, Any]:
            start = step % steps * length
            sequence = tf.ensure_shape(streams[:, start : start + length + 1], (self.recipe.batch_size, length + 1))
            return {"inputs": {"tokens": sequence[:, :-1]}, "labels": sequence[:, 1:]}

        return take_rows(tf.data.Dataset.counter(first_step).map(batch), rows).prefetch(8)

    def validation_batches(self) -> tf.data.Dataset:
        return self._pieces(self.data.validation)

    def _pieces(self, streams: Streams) -> tf.data.Dataset:
        rows = encode_streams(streams, self.vocabulary.ids)
        length = self.recipe.sequence_length if len(streams) > 1 else PIECE
        pieces = [rows[:, start : start + length + 1] for start in range(0, streams.length, length)]
        spec = tf.TensorSpec((len(streams), None), tf.int32)
        return tf.data.Dataset.from_generator(
            lambda: ({"inputs": {"tokens": piece[:, :-1]}, "labels": piece[:, 1:]} for piece in pieces),
            output_signature={"inputs": {"tokens": spec}, "labels": spec},
        ).apply(tf.data.experimental.assert_cardinality(len(pieces)))

    def evaluate(self, model: keras.Model, folder: Path) -> dict[str, float]:
        """Nats per character of the validation and test splits, each stream read from a state of zeros to its end."""
        results = {}
        for name, streams in (("validation", self.data.validation), ("test", self.data.test)):
            if streams is None:
                continue
            total, state = 0.0, zero_state(model, len(streams))

            @tf.function(reduce_retracing=True)
            def nats(tokens, labels, state):
                outputs = dict(model({"tokens": tokens, **state}, training=False))
                logits = tf.cast(outputs.pop("logits"), "float32")
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
                return tf.reduce_sum(tf.cast(losses, tf.float64)), outputs

            pieces = self._pieces(streams)
            for piece in progress(pieces, f"scoring {name}", len(pieces)):
                part, state = nats(piece["inputs"]["tokens"], piece["labels"], state)
                total += float(part)
            results[f"{name}_nats_per_char"] = total / (len(streams) * streams.length)
        return results

    def head(self, model: keras.Model) -> list[keras.layers.Layer]:
        return output_layers(model, model.output["logits"])

    def parent_rows(self, model: keras.Model) -> dict[str, Rows]:
        old = character_rows(self.parent.characters("vocabulary", "table"), self.vocabulary)
        axes = {"embedding/embeddings": 0, "decoder/kernel": 1, "decoder/bias": 0}
        paths = [weight.path for weight in model.weights]
        if "embedding/embeddings" not in paths:  # characters are one-hot vectors, which the first kernel multiplies
            axes |= {path: 0 for path in paths if path.startswith("rnn1/") and path.endswith("/kernel")}
        return {path: Rows(axis, old) for path, axis in axes.items() if path in paths}

    def serving(self, model: keras.Model) -> tf.Module:
        return ServingLanguageModel(model, self.vocabulary)

    def serving_examples(self) -> dict[str, np.ndarray]:
        text = self.data.validation.rows[0]
        return {
            "prompt": np.array([text[:12].encode(), text[20:25].encode(), b""]),
            "length": np.array([20, 10, 5], np.int32),
            "temperature": np.array([0.0, 1.0, 0.5], np.float32),
            "seed": np.array([0, 1, 2], np.int32),
        }

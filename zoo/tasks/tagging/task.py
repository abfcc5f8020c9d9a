"""Training and evaluation of taggers."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from zoo.data.progress import progress
from zoo.data.sentences import Sentences, load_tagged
from zoo.data.splits import Splits, describe_counts
from zoo.report import plots
from zoo.tasks.base import Batch
from zoo.tasks.classes import choose_classes
from zoo.tasks.losses import cross_entropy, masked_sum, update_token_metrics
from zoo.tasks.sequence import Sequences, SequenceTask, with_word_dropout
from zoo.tasks.tagging.recipe import TaggingRecipe
from zoo.tasks.tagging.scoring import scores
from zoo.tasks.tagging.serving import ServingTagger
from zoo.tasks.vocabularies import WORDS, encoder, encoder_rows, known_words
from zoo.weights.parent import Rows


class Tagging(SequenceTask):
    """Trains, evaluates and serves a tagger as a `TaggingRecipe` says.

    The model takes "words" int32 (N, T) and "characters" int32 (N, T, C), both padded with 0, and returns logits
    (N, T, K). Batches have "tags" int32 (N, T); the mask (N, T) leaves out padding.
    """

    Recipe = TaggingRecipe

    def prepare(self) -> None:
        recipe: TaggingRecipe = self.recipe
        self.data: Splits[Sentences] = load_tagged(recipe.dataset, log=self.log)
        self.log(self.data.description)
        self.counts = Counter(token for row in self.data.train.tokens for token in row)
        self.classes = choose_classes(self, self.data.name, self.data.classes, may_lack=True)
        self.data = replace(self.data, classes=self.classes.names)
        self.encoder = encoder(self, self.counts, recipe.min_count)
        self._known = set(self.counts) | set(known_words(self, *WORDS))
        self.log(f"{recipe.name}: {self._summary()}")

    def _summary(self) -> str:
        data = self.data
        tokens = sum(self.counts.values())
        sizes = {split: len(part) for split, part in data.present.items()}
        return (
            f"{data.name}: {describe_counts(sizes, 'sentences')}, {tokens:,} tokens in train, "
            f"{len(data.classes)} tags, {len(self.encoder.words) - 2:,} words"
        )

    def model_args(self) -> dict[str, Any]:
        return {**self.encoder.sizes(), "num_tags": len(self.data.classes)}

    def loss(self, batch: Batch, outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        losses = cross_entropy(batch["tags"], outputs)
        return masked_sum(losses, batch["mask"]), self.count(batch)

    def update_metrics(self, metrics, batch: Batch, outputs: tf.Tensor) -> None:
        update_token_metrics(metrics, batch["tags"], outputs, batch["mask"])

    def training_sequences(self) -> Sequences:
        return self._sequences(self.data.train)

    def validation_sequences(self) -> Sequences | None:
        return self._sequences(self.data.validation) if self.data.validation else None

    def augment(self, batch: dict[str, Any], seed: tf.Tensor) -> dict[str, Any]:
        return with_word_dropout(batch, self.encoder, self.recipe.word_dropout, seed)

    def _sequences(self, split: Sentences) -> Sequences:
        lengths = np.array([len(row) for row in split.tokens])

        def ragged(rows: Sequence[Sequence[str]], ids: Mapping[str, int]) -> tf.RaggedTensor:
            flat = np.fromiter((ids.get(entry, 0) for row in rows for entry in row), np.int32, lengths.sum())
            return tf.RaggedTensor.from_row_lengths(flat, lengths)

        # Each distinct token is encoded once; index 0 is padding.
        distinct = sorted({token for row in split.tokens for token in row})
        words, characters = self.encoder(tf.RaggedTensor.from_tensor(tf.constant([distinct])))
        words = tf.concat([[0], words.flat_values], axis=0)
        characters = tf.concat([tf.RaggedTensor.from_row_lengths(tf.zeros(0, tf.int32), [0]), characters[0]], axis=0)
        tokens = ragged(split.tokens, {token: index for index, token in enumerate(distinct, 1)})
        # A tag that is not in the training split has no logit, so it takes the id of another here and counts as an
        # error in `evaluate`, which compares names.
        tags = ragged(split.tags, {tag: i for i, tag in enumerate(self.data.classes)})

        def batch(indices: tf.Tensor) -> dict[str, Any]:
            # With a static number of rows the LSTMs can be compiled.
            ids = tf.gather(tokens, indices).to_tensor(0, shape=(indices.shape[0], None))
            spelled = tf.gather(characters, tf.reshape(ids, [-1])).to_tensor(0)
            inputs = {
                "words": tf.gather(words, ids),
                "characters": tf.reshape(spelled, tf.concat([tf.shape(ids), [-1]], 0)),
            }
            return {
                "inputs": inputs,
                "tags": tf.gather(tags, indices).to_tensor(0),
                "mask": tf.cast(inputs["words"] > 0, tf.float32),
            }

        return Sequences(lengths, batch)

    def evaluate(self, model: keras.Model, folder: Path) -> dict[str, float]:
        results: dict[str, float] = {}
        run = tf.function(lambda inputs: tf.argmax(model(inputs, training=False), -1), reduce_retracing=True)
        for name, split in (("validation", self.data.validation), ("test", self.data.test)):
            if split is None:
                continue
            parts, batches = self.in_order(self._sequences(split))
            predicted: list[tuple[str, ...]] = [()] * len(split)
            for indices, batch in progress(zip(parts, batches, strict=True), f"scoring {name}", len(parts)):
                for index, row in zip(indices, run(batch["inputs"]).numpy(), strict=True):
                    predicted[index] = tuple(self.data.classes[i] for i in row[: len(split.tokens[index])])
            results |= scores(split, predicted, self._known, name)
            if split is self.data.scored:
                self._predicted = predicted
        return results

    def pictures(self) -> dict[str, Callable[[Path], None]]:
        ids = {tag: i for i, tag in enumerate(self.data.classes)}
        pairs = [
            (ids[tag], ids[guess])
            for row, guesses in zip(self.data.scored.tags, self._predicted, strict=True)
            for tag, guess in zip(row, guesses, strict=True)
            if tag in ids
        ]
        if not pairs:
            return {}
        truth, guesses = np.array(pairs).T
        draw = partial(plots.confusion_matrix, truth, guesses, self.data.classes, self.data.scored_name)
        return {"confusion.png": draw}

    def labels(self) -> tuple[str, ...]:
        return self.data.classes

    def new_weights(self, model: keras.Model) -> list[keras.Variable]:
        return [] if self.classes.kept else [weight for layer in self.head(model) for weight in layer.weights]

    def parent_rows(self, model: keras.Model) -> dict[str, Rows]:
        return encoder_rows(self, self.encoder)

    def serving(self, model: keras.Model) -> tf.Module:
        return ServingTagger(model, self.encoder, self.data.classes)

    def serving_examples(self) -> dict[str, np.ndarray]:
        return {"text": np.array([" ".join(row).encode() for row in self.data.scored.tokens[:4]])}

"""Training and evaluation of text classifiers."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from zoo.data.labelled import Texts, load_labelled
from zoo.data.progress import progress
from zoo.data.splits import Splits, describe_counts
from zoo.data.tokens import Tokenizer
from zoo.report import plots
from zoo.tasks.base import Batch
from zoo.tasks.classes import balanced_weights, check_outputs, choose_classes
from zoo.tasks.losses import cross_entropy, masked_sum, update_class_metrics
from zoo.tasks.sequence import Sequences, SequenceTask, with_word_dropout
from zoo.tasks.text_classification.recipe import TextClassificationRecipe
from zoo.tasks.text_classification.serving import MAX_CHARACTERS, ServingTextClassifier, read_words
from zoo.tasks.vocabularies import encoder, encoder_rows
from zoo.weights.parent import Rows


class TextClassification(SequenceTask):
    """Trains, evaluates and serves a classifier of texts as a `TextClassificationRecipe` says.

    The model takes "words" int32 (N, T) and "characters" int32 (N, T, C), both padded with 0, and returns logits
    (N, K). Batches have "labels" int64 (N,).
    """

    Recipe = TextClassificationRecipe
    evaluation_rows = 50

    def prepare(self) -> None:
        recipe: TextClassificationRecipe = self.recipe
        self.data: Splits[Texts] = load_labelled(
            recipe.dataset, validation_examples=recipe.validation_examples, seed=recipe.seed, log=self.log
        )
        self.log(self.data.description)
        self.classes = choose_classes(self, self.data.name, self.data.classes)
        relabelled = {
            name: Texts(part.texts, tuple(int(self.classes.ids[label]) for label in part.labels))
            for name, part in self.data.present.items()
        }
        self.data = replace(self.data, classes=self.classes.names, **relabelled)
        labels = np.array(self.data.train.labels)
        self._class_weights = tf.constant(balanced_weights(labels, len(self.data.classes)), tf.float32)
        self.tokenizer = Tokenizer("words", recipe.lower_case)
        self._training_tokens = self._tokens(self.data.train)
        counts = Counter(token.decode() for token in self._training_tokens.flat_values.numpy())
        self.encoder = encoder(self, counts, recipe.min_count)
        long = sum(count for word, count in counts.items() if len(word) == MAX_CHARACTERS)
        if long > counts.total() / 1000:
            self.log(
                f"warning: {long:,} of {counts.total():,} words have {MAX_CHARACTERS} characters or more, and what "
                "follows those is not read; letters without spaces between them, as in Chinese, are one word"
            )
        self.log(f"{recipe.name}: {self._summary()}")

    def _summary(self) -> str:
        data = self.data
        sizes = {split: len(part) for split, part in data.present.items()}
        return (
            f"{data.name}: {describe_counts(sizes, 'texts')}, {len(data.classes)} classes, "
            f"{len(self.encoder.words) - 2:,} words"
        )

    def model_args(self) -> dict[str, Any]:
        return {**self.encoder.sizes(), "num_classes": len(self.data.classes)}

    def check_model(self, model: keras.Model) -> None:
        check_outputs(self, model, len(self.data.classes))

    def loss(self, batch: Batch, outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        losses = cross_entropy(batch["labels"], outputs)
        if self.recipe.class_weights == "balanced":
            losses *= tf.gather(self._class_weights, batch["labels"])
        return masked_sum(losses, batch.get("mask")), self.count(batch)

    def update_metrics(self, metrics, batch: Batch, outputs: tf.Tensor) -> None:
        update_class_metrics(metrics, batch["labels"], outputs, batch.get("mask"))

    def training_sequences(self) -> Sequences:
        return self._sequences(self.data.train)

    def validation_sequences(self) -> Sequences | None:
        return self._sequences(self.data.validation) if self.data.validation else None

    def augment(self, batch: dict[str, Any], seed: tf.Tensor) -> dict[str, Any]:
        return with_word_dropout(batch, self.encoder, self.recipe.word_dropout, seed)

    def _tokens(self, part: Texts) -> tf.RaggedTensor:
        return read_words(self.tokenizer, tf.constant(part.texts), self.recipe.max_length)

    def _sequences(self, part: Texts) -> Sequences:
        tokens = self._training_tokens if part is self.data.train else self._tokens(part)
        labels = tf.constant(part.labels, tf.int64)

        def batch(indices: tf.Tensor) -> dict[str, Any]:
            inputs = self.encoder.padded(tf.gather(tokens, indices))
            # With a static number of rows the LSTMs can be compiled.
            inputs["words"] = tf.ensure_shape(inputs["words"], (indices.shape[0], None))
            return {"inputs": inputs, "labels": tf.gather(labels, indices)}

        return Sequences(tokens.row_lengths().numpy(), batch)

    def evaluate(self, model: keras.Model, folder: Path) -> dict[str, float]:
        results: dict[str, float] = {}
        run = tf.function(lambda inputs: tf.argmax(model(inputs, training=False), -1), reduce_retracing=True)
        for name, part in (("validation", self.data.validation), ("test", self.data.test)):
            if part is None:
                continue
            batches = self.in_order(self._sequences(part))[1]
            pairs = [
                (batch["labels"].numpy(), run(batch["inputs"]).numpy())
                for batch in progress(batches, f"scoring {name}", len(batches))
            ]
            truth, guesses = (np.concatenate(side) for side in zip(*pairs, strict=True))
            results[f"{name}_accuracy"] = float(np.mean(truth == guesses))
            if part is self.data.scored:
                self._confusion = (truth, guesses)
        return results

    def pictures(self) -> dict[str, Callable[[Path], None]]:
        draw = partial(plots.confusion_matrix, *self._confusion, self.data.classes, self.data.scored_name)
        return {"confusion.png": draw}

    def labels(self) -> tuple[str, ...]:
        return self.data.classes

    def new_weights(self, model: keras.Model) -> list[keras.Variable]:
        return [] if self.classes.kept else [weight for layer in self.head(model) for weight in layer.weights]

    def parent_rows(self, model: keras.Model) -> dict[str, Rows]:
        return encoder_rows(self, self.encoder)

    def serving(self, model: keras.Model) -> tf.Module:
        return ServingTextClassifier(model, self.tokenizer, self.encoder, self.data.classes, self.recipe.max_length)

    def serving_examples(self) -> dict[str, np.ndarray]:
        return {"text": np.array([text.encode() for text in self.data.scored.texts[:4]])}

"""Text classification: a text in, its class, label and probabilities out."""

import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from zoo import report
from zoo.data.labelled import Texts, load_labelled
from zoo.data.splits import describe_counts
from zoo.data.stream import EpochShuffle, bucketed, take_rows
from zoo.data.tokens import Tokenizer
from zoo.data.vocabulary import WordsAndCharacters
from zoo.errors import UsageError, ZooError
from zoo.recipe import TextRecipe, from_dict
from zoo.registry import Card
from zoo.tasks.inputs import texts_of
from zoo.tasks.losses import cross_entropy

SCORED = 50  # texts that are scored at a time
LETTERS = 24  # characters of a word that are read


class TextClassification:
    """Trains, scores and serves a classifier of texts as a `TextRecipe` says."""

    def __init__(self, recipe: TextRecipe, card: Card, say: Callable[[str], None]):
        self.recipe = recipe
        self.data = load_labelled(
            recipe.dataset, validation_examples=recipe.validation_examples, seed=recipe.seed, log=say
        )
        say(self.data.description)
        self.tokenizer = Tokenizer("words", recipe.lower_case)
        self.training_tokens = self._tokens(self.data.train)
        counts = Counter(token.decode() for token in self.training_tokens.flat_values.numpy())
        self.encoded = WordsAndCharacters(counts, recipe.least_count)

    @property
    def train_examples(self) -> int:
        return len(self.data.train)

    def summary(self) -> str:
        """One line on the data."""
        data = self.data
        sizes = {split: len(part) for split, part in data.present.items()}
        return (
            f"{data.name}: {describe_counts(sizes, 'texts')}, {len(data.classes)} classes, "
            f"{len(self.encoded.words) - 2:,} words"
        )

    def model_args(self) -> dict[str, Any]:
        """What the data decides about the model."""
        return {**self.encoded.sizes(), "num_classes": len(self.data.classes)}

    def score(self, logs: Mapping[str, float]) -> float:
        """Greater is better."""
        return logs["val_accuracy"]

    def loss(self, labels, logits):
        """The cross-entropy of each text, (N,)."""
        return cross_entropy(labels, logits)

    def metrics(self) -> list[keras.metrics.Metric]:
        return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]

    def callbacks(self) -> list[keras.callbacks.Callback]:
        return []

    def training_batches(self, first_step: int, own: range | None = None) -> tf.data.Dataset:
        order = EpochShuffle(len(self.data.train), self.recipe.batch_size, self.recipe.seed)
        lengths, batch = self._batches_of(self.data.train)
        seed = tf.constant(self.recipe.seed, tf.int64)

        def noisy(step: tf.Tensor, places: tf.Tensor):
            inputs, labels = batch(places)
            inputs["words"] = self.encoded.with_unknown(
                inputs["words"], self.recipe.word_dropout, tf.stack([seed, step])
            )
            return inputs, labels

        steps = bucketed(order, lengths, first_step).enumerate(first_step)
        batches = steps.map(noisy, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return take_rows(batches, own).prefetch(4)

    def validation_batches(self) -> tf.data.Dataset | None:
        return self._in_order(self.data.validation) if self.data.validation else None

    def _tokens(self, part: Texts) -> tf.RaggedTensor:
        return read(self.tokenizer, tf.constant(part.texts), self.recipe.longest)

    def _in_order(self, part: Texts) -> tf.data.Dataset:
        """Each text once, the short ones first."""
        lengths, batch = self._batches_of(part)
        order = tf.constant(np.argsort(lengths, kind="stable"))
        starts = tf.data.Dataset.range(0, len(part), SCORED)
        return starts.map(lambda start: batch(order[start : start + SCORED]), num_parallel_calls=2).prefetch(2)

    def _batches_of(self, part: Texts) -> tuple[np.ndarray, Callable[[tf.Tensor], tuple[dict, tf.Tensor]]]:
        """The words of each text, and a function from places of texts to what a step takes of them."""
        tokens = self.training_tokens if part is self.data.train else self._tokens(part)
        labels = tf.constant(part.labels, tf.int64)

        def batch(places: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
            inputs = self.encoded.padded(tf.gather(tokens, places))
            # A number of rows that is known lets the LSTMs be compiled.
            inputs["words"] = tf.ensure_shape(inputs["words"], (places.shape[0], None))
            return inputs, tf.gather(labels, places)

        return tokens.row_lengths().numpy(), batch

    def evaluate(self, model: keras.Model, folder: Path) -> dict[str, float]:
        """Accuracy on the validation split, where there is one, and on the test split."""
        results = {}
        run = tf.function(lambda inputs: tf.argmax(model(inputs, training=False), -1), reduce_retracing=True)
        for name, part in (("validation", self.data.validation), ("test", self.data.test)):
            if part is None:
                continue
            batches = self._in_order(part)
            pairs = [
                (labels.numpy(), run(inputs).numpy())
                for inputs, labels in report.progress(batches, f"scoring {name}", len(batches))
            ]
            truth, guesses = (np.concatenate(side) for side in zip(*pairs, strict=True))
            results[f"{name}_accuracy"] = float(np.mean(truth == guesses))
        report.confusion_matrix(truth, guesses, self.data.classes, folder / "confusion.png")
        return results

    def serving(self, model: keras.Model) -> tf.Module:
        """The export's signatures, as `ServingTextClassifier` describes them."""
        return ServingTextClassifier(model, self.tokenizer, self.encoded, self.data.classes, self.recipe.longest)

    def serving_examples(self) -> dict[str, np.ndarray]:
        """A few real requests to the default signature."""
        return {"text": np.array([text.encode() for text in self.data.test.texts[:4]])}


def read(tokenizer: Tokenizer, texts: tf.Tensor, longest: int) -> tf.RaggedTensor:
    """The words of texts (N,) that are read, (N, any), each as far as it is read."""
    tokens = tokenizer.split(texts)[:, :longest]
    return tokens.with_flat_values(tf.strings.substr(tokens.flat_values, 0, LETTERS, unit="UTF8_CHAR"))


class ServingTextClassifier(tf.Module):
    """A classifier of texts with its vocabularies, to be saved with this signature:

    * `serving_default`: `text` string (N,) → `classes` int64 (N,), `labels` string (N,), `probabilities` float32
      (N, K). A text without words is taken for one with an unknown sign.
    """

    def __init__(
        self,
        model: keras.Model,
        tokenizer: Tokenizer,
        encoder: WordsAndCharacters,
        classes: tuple[str, ...],
        longest: int,
    ):
        super().__init__()
        self.weights = [weight.value for weight in model.weights]  # what the export keeps, in the model's order
        self.encoder = encoder

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "text")])
        def serving_default(text):
            tokens = read(tokenizer, tf.where(tokenizer.split(text).row_lengths() > 0, text, "\ufffd"), longest)
            probabilities = tf.nn.softmax(tf.cast(model(encoder.padded(tokens), training=False), tf.float32))
            best = tf.argmax(probabilities, axis=-1)
            return {"classes": best, "labels": tf.gather(tf.constant(classes), best), "probabilities": probabilities}

        self.endpoints = {"serving_default": serving_default}


def predict(export: Path, options: Namespace) -> Iterator[dict[str, Any]]:
    """An export's labels for texts: those given, or whole files (`-` for standard input).

    Yields for each its `file` ("--text" for a text), `label`, `class` and `probability`, or the `error` that kept it
    from being read.
    """
    signature = tf.saved_model.load(str(export)).signatures["serving_default"]
    for name, content in texts_of(options):
        if isinstance(content, ZooError):
            yield {"file": name, "error": str(content)}
            continue
        answer = {key: value.numpy()[0] for key, value in signature(text=tf.constant([content])).items()}
        number = int(answer["classes"])
        probability = float(answer["probabilities"][number])
        yield {"file": name, "label": answer["labels"].decode(), "class": number, "probability": probability}


def shown(answer: Mapping[str, Any]) -> str:
    """An answer for people."""
    return f"{answer['file']}: {answer['label']} ({answer['probability']:.1%})"


def evaluate(export: Path, plain: Mapping[str, Any], card: Mapping[str, Any], dataset: str | None) -> dict[str, Any]:
    """Scores an export through its serving signature on the test split of a data set."""
    recipe = from_dict(plain)
    data = load_labelled(
        dataset or recipe.dataset,
        validation_examples=0,
        seed=recipe.seed,
        log=lambda text: print(text, file=sys.stderr),
    )
    signature = tf.saved_model.load(str(export)).signatures["serving_default"]
    right = []
    starts = range(0, len(data.test), SCORED)
    for start in report.progress(starts, "scoring", len(starts)):
        answer = signature(text=tf.constant(data.test.texts[start : start + SCORED]))["labels"].numpy()
        truth = [data.classes[label] for label in data.test.labels[start : start + SCORED]]
        right += [label.decode() == name for label, name in zip(answer, truth, strict=True)]
    if not right:
        raise UsageError(f"{data.name} has no test text.")
    return {"dataset": data.name, "test_accuracy": float(np.mean(right))}

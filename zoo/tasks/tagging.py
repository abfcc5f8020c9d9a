"""Tagging: sentences in, a tag and its probability for each token out."""

import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from zoo import report
from zoo.data.sentences import Sentences, load_tagged
from zoo.data.splits import Splits, describe_counts
from zoo.data.stream import EpochShuffle, bucketed, take_rows
from zoo.data.text_files import split_lines
from zoo.data.vocabulary import WordsAndCharacters
from zoo.errors import UsageError, ZooError
from zoo.recipe import TaggingRecipe, from_dict
from zoo.registry import Card
from zoo.tasks.inputs import texts_of
from zoo.tasks.losses import cross_entropy


class Tagging:
    """Trains, scores and serves a tagger as a `TaggingRecipe` says."""

    def __init__(self, recipe: TaggingRecipe, card: Card, say: Callable[[str], None]):
        self.recipe = recipe
        self.data = load_tagged(recipe.dataset, log=say)
        say(self.data.description)
        self.counts = Counter(token for row in self.data.train.tokens for token in row)
        self.encoded = WordsAndCharacters(self.counts, recipe.least_count)

    @property
    def train_examples(self) -> int:
        return len(self.data.train)

    def summary(self) -> str:
        """One line on the data."""
        data = self.data
        tokens = sum(self.counts.values())
        sizes = {split: len(part) for split, part in data.present.items()}
        return (
            f"{data.name}: {describe_counts(sizes, 'sentences')}, {tokens:,} tokens in train, "
            f"{len(data.classes)} tags, {len(self.encoded.words) - 2:,} words"
        )

    def model_args(self) -> dict[str, Any]:
        """What the data decides about the model."""
        return {
            **self.encoded.sizes(),
            "num_tags": len(self.data.classes),
        }

    def score(self, logs: Mapping[str, float]) -> float:
        """Greater is better."""
        return logs["val_accuracy"]

    def loss(self, labels, logits):
        """The cross-entropy of each token, (N, T)."""
        return cross_entropy(labels, logits)

    def metrics(self) -> list[keras.metrics.Metric]:
        return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]

    def callbacks(self) -> list[keras.callbacks.Callback]:
        return []

    def training_batches(self, first_step: int, own: range | None = None) -> tf.data.Dataset:
        split, recipe = self.data.train, self.recipe
        order = EpochShuffle(len(split), recipe.batch_size, recipe.seed)
        lengths = np.array([len(row) for row in split.tokens])
        seed = tf.constant(recipe.seed, tf.int64)
        batch = self._batches_of(split)

        def noisy(step: tf.Tensor, indices: tf.Tensor):
            inputs, tags, real = batch(indices)
            inputs["words"] = self.encoded.with_unknown(inputs["words"], recipe.word_dropout, tf.stack([seed, step]))
            return inputs, tags, real

        steps = bucketed(order, lengths, first_step).enumerate(first_step)
        batches = steps.map(noisy, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return take_rows(batches, own).prefetch(4)

    def validation_batches(self) -> tf.data.Dataset | None:
        return self._in_order(self.data.validation)[1] if self.data.validation else None

    def _in_order(self, split: Sentences) -> tuple[list[np.ndarray], tf.data.Dataset]:
        """Each sentence once, the short ones first: the places of each batch, and the batches."""
        places = np.argsort([len(row) for row in split.tokens], kind="stable")
        parts = [places[i : i + 100] for i in range(0, len(places), 100)]
        batch = self._batches_of(split)
        starts = tf.data.Dataset.range(0, len(places), 100)
        order = tf.constant(places)
        return parts, starts.map(lambda start: batch(order[start : start + 100]), num_parallel_calls=2).prefetch(2)

    def _batches_of(self, split: Sentences) -> Callable[[tf.Tensor], tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]]:
        """A function from places of sentences to what a step takes of them: inputs, tags and what is no padding."""
        lengths = np.array([len(row) for row in split.tokens])

        def ragged(rows: Sequence[Sequence[str]], numbers: Mapping[str, int]) -> tf.RaggedTensor:
            flat = np.fromiter((numbers.get(entry, 0) for row in rows for entry in row), np.int32, lengths.sum())
            return tf.RaggedTensor.from_row_lengths(flat, lengths)

        # Each token is encoded once, however often it occurs; place 0 is padding.
        distinct = sorted({token for row in split.tokens for token in row})
        words, characters = self.encoded(tf.RaggedTensor.from_tensor(tf.constant([distinct])))
        words = tf.concat([[0], words.flat_values], axis=0)
        characters = tf.concat([tf.RaggedTensor.from_row_lengths(tf.zeros(0, tf.int32), [0]), characters[0]], axis=0)
        tokens = ragged(split.tokens, {token: place for place, token in enumerate(distinct, 1)})
        # A tag that training never saw counts as an error: no logit has its number, so another's place is taken, and
        # `evaluate` compares by name.
        tags = ragged(split.tags, {tag: number for number, tag in enumerate(self.data.classes)})

        def batch(indices: tf.Tensor):
            # A number of rows that is known lets the LSTMs be compiled.
            places = tf.gather(tokens, indices).to_tensor(0, shape=(indices.shape[0], None))
            spelled = tf.gather(characters, tf.reshape(places, [-1])).to_tensor(0)
            inputs = {
                "words": tf.gather(words, places),
                "characters": tf.reshape(spelled, tf.concat([tf.shape(places), [-1]], 0)),
            }
            return inputs, tf.gather(tags, indices).to_tensor(0), tf.cast(inputs["words"] > 0, tf.float32)

        return batch

    def evaluate(self, model: keras.Model, folder: Path) -> dict[str, float]:
        """Token accuracy of the validation and test splits, and of the tokens among them that training never saw."""
        results = {}
        run = tf.function(lambda inputs: tf.argmax(model(inputs, training=False), -1), reduce_retracing=True)
        for name, split in (("validation", self.data.validation), ("test", self.data.test)):
            if split is None:
                continue
            parts, batches = self._in_order(split)
            predicted: list[tuple[str, ...]] = [()] * len(split)
            for places, (inputs, _, _) in report.progress(
                zip(parts, batches, strict=True), f"scoring {name}", len(parts)
            ):
                for place, row in zip(places, run(inputs).numpy(), strict=True):
                    predicted[place] = tuple(self.data.classes[i] for i in row[: len(split.tokens[place])])
            results |= accuracies(split, predicted, self.counts, name)
            if name == "test":
                numbers = {tag: number for number, tag in enumerate(self.data.classes)}
                pairs = [
                    (numbers[tag], numbers[guess])
                    for row, guesses in zip(split.tags, predicted, strict=True)
                    for tag, guess in zip(row, guesses, strict=True)
                    if tag in numbers
                ]
                truth, guesses = np.array(pairs).T
                report.confusion_matrix(truth, guesses, self.data.classes, folder / "confusion.png")
        return results

    def serving(self, model: keras.Model) -> tf.Module:
        """The export's signatures, as `ServingTagger` describes them."""
        return ServingTagger(model, self.encoded, self.data.classes)

    def serving_examples(self) -> dict[str, np.ndarray]:
        """A few real requests to the default signature."""
        return {"text": np.array([" ".join(row).encode() for row in scored_split(self.data).tokens[:4]])}


def scored_split(data: Splits[Sentences]) -> Sentences:
    """The test split, or what there is in its place."""
    return data.test or data.validation or data.train


def accuracies(split: Sentences, predicted, known: Mapping[str, int], name: str) -> dict[str, float]:
    """The share of right tags over all tokens, and over those that are not `known`."""
    right, unseen = [], []
    for tokens, tags, guesses in zip(split.tokens, split.tags, predicted, strict=True):
        right += [tag == guess for tag, guess in zip(tags, guesses, strict=True)]
        unseen += [token not in known for token in tokens]
    results = {f"{name}_accuracy": float(np.mean(right))}
    if any(unseen):
        results[f"{name}_unknown_word_accuracy"] = float(np.mean(np.array(right)[np.array(unseen)]))
    return results


class ServingTagger(tf.Module):
    """A tagger with its vocabularies, to be saved with this signature:

    * `serving_default`: `text` string (N,), tokens parted by spaces → `tokens` string (N, T), `tags` string (N, T) and
      `probabilities` float32 (N, T), the tag's own; shorter rows end in "", "" and 0.
    """

    def __init__(self, model: keras.Model, encoder: WordsAndCharacters, tags: tuple[str, ...]):
        super().__init__()
        self.weights = [weight.value for weight in model.weights]  # what the export keeps, in the model's order
        self.encoder = encoder

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "text")])
        def serving_default(text):
            # Bytes that are no UTF-8 become U+FFFD, so that what comes back is text again.
            text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace")
            tokens = tf.strings.split(text, " ")
            tokens = tf.ragged.boolean_mask(tokens, tokens != "")
            inputs = encoder.padded(tokens)
            probabilities = tf.nn.softmax(tf.cast(model(inputs, training=False), tf.float32))[:, :-1]
            best = tf.argmax(probabilities, axis=-1)
            real = inputs["words"][:, :-1] > 0
            return {
                "tokens": tokens.to_tensor(""),
                "tags": tf.where(real, tf.gather(tf.constant(tags), best), ""),
                "probabilities": tf.where(real, tf.reduce_max(probabilities, axis=-1), 0.0),
            }

        self.endpoints = {"serving_default": serving_default}


def predict(export: Path, options: Namespace) -> Iterator[dict[str, Any]]:
    """An export's tags for texts: those given, or the lines of files (`-` for standard input).

    Yields for each line its `tokens`, `tags` and `probabilities`, or the `file` and the `error` that kept it from being
    read.
    """
    signature = tf.saved_model.load(str(export)).signatures["serving_default"]
    for name, content in texts_of(options):
        if isinstance(content, ZooError):
            yield {"file": name, "error": str(content)}
            continue
        for line in split_lines(content) or [""]:
            answer = {key: value.numpy()[0] for key, value in signature(text=tf.constant([line])).items()}
            yield {
                "tokens": [token.decode() for token in answer["tokens"]],
                "tags": [tag.decode() for tag in answer["tags"]],
                "probabilities": answer["probabilities"].tolist(),
            }


def shown(answer: Mapping[str, Any]) -> str:
    """An answer for people."""
    return " ".join(f"{token}/{tag}" for token, tag in zip(answer["tokens"], answer["tags"], strict=True))


def evaluate(export: Path, plain: Mapping[str, Any], card: Mapping[str, Any], dataset: str | None) -> dict[str, Any]:
    """Scores an export through its serving signature on the test split of a data set."""
    recipe = from_dict(plain)
    data = load_tagged(dataset or recipe.dataset, log=lambda text: print(text, file=sys.stderr))
    split = scored_split(data)
    signature = tf.saved_model.load(str(export)).signatures["serving_default"]
    predicted: list[tuple[str, ...]] = []
    starts = range(0, len(split), 100)
    for start in report.progress(starts, "scoring", len(starts)):
        rows = split.tokens[start : start + 100]
        tags = signature(text=tf.constant([" ".join(row) for row in rows]))["tags"].numpy()
        predicted += [tuple(t.decode() for t in answer[: len(row)]) for row, answer in zip(rows, tags, strict=True)]
    if any(len(row) != len(guess) for row, guess in zip(split.tokens, predicted, strict=True)):
        raise UsageError(f"{data.name}: a token holds a space, so it cannot be sent as one.")
    seen = {token for row in data.train.tokens for token in row}
    known = dict.fromkeys(seen, 1)
    return {"dataset": data.name, **accuracies(split, predicted, known, "test")}

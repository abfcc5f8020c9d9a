"""Training and evaluation of translators."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from zoo.data.pairs import Pairs, load_pairs
from zoo.data.splits import Splits, describe_counts
from zoo.data.tokens import Tokenizer
from zoo.data.vocabulary import Words
from zoo.errors import ZooError
from zoo.report import plots
from zoo.tasks.base import Batch
from zoo.tasks.decoding import END, PADDING
from zoo.tasks.losses import masked_sum, smoothed_cross_entropy, update_token_metrics
from zoo.tasks.sequence import Sequences, SequenceTask
from zoo.tasks.translation.recipe import TranslationRecipe
from zoo.tasks.translation.scoring import bleu_by_length, scores, translate
from zoo.tasks.translation.serving import ServingTranslator, attention_of, with_end
from zoo.tasks.vocabularies import known_words, word_rows
from zoo.weights.exports import output_layers
from zoo.weights.parent import Rows

SIDES = ("source_words", "target_words")  # attributes of an export


class Translation(SequenceTask):
    """Trains, evaluates and serves an encoder-decoder as a `TranslationRecipe` says.

    The model takes "source" int32 (N, S) and "target" int32 (N, T), the target shifted right by one, and returns
    "logits" (N, T, V) and "attention". Batches have "labels" int32 (N, T); the mask (N, T) leaves out padding.
    """

    Recipe = TranslationRecipe

    def prepare(self) -> None:
        recipe: TranslationRecipe = self.recipe
        self.data: Splits[Pairs] = load_pairs(recipe.dataset, log=self.log)
        self.log(self.data.description)
        train = self.data.train
        self.tokenizer = Tokenizer(recipe.unit, recipe.lower_case)
        tokens = [self.tokenizer.split(tf.constant(side)) for side in (train.sources, train.targets)]
        self.source_words, self.target_words = (
            self._words(name, Counter(word.decode() for word in side.flat_values.numpy()))
            for name, side in zip(SIDES, tokens, strict=True)
        )
        self._train = self._encoded(train)
        lengths = np.maximum(*(side.row_lengths().numpy() for side in self._train)) - 1
        self._fitting = np.flatnonzero(lengths <= recipe.max_length)
        if not len(self._fitting):
            raise ZooError(
                f"{recipe.dataset}: every pair has more than {recipe.max_length} tokens; raise --max-length."
            )
        if long := len(lengths) - len(self._fitting):
            self.log(
                f"warning: {long:,} of {len(lengths):,} training pairs have more than {recipe.max_length} "
                f"{recipe.unit} on a side, and are not trained on; --max-length changes that"
            )
        self.log(f"{recipe.name}: {self._summary()}")

    def _words(self, side: str, counts: Counter) -> Words:
        """The vocabulary of a side: its words, and those of the parent."""
        known, min_count = known_words(self, side, "table", marks=1), self.recipe.min_count
        if self.parent:
            new = len({word for word, count in counts.items() if count >= min_count}.difference(known))
            self.log(f"{side.replace('_', ' ')}: {len(known):,} of {self.parent.name}, and {new:,} new ones")
        return Words(counts, min_count, marks=["end"], first=known)

    def _summary(self) -> str:
        data, unit = self.data, self.recipe.unit
        sizes = {split: len(part) for split, part in data.present.items()} | {"train": len(self._fitting)}
        return (
            f"{data.name}: {describe_counts(sizes, 'pairs')}, "
            f"{len(self.source_words):,} and {len(self.target_words):,} {unit}"
        )

    def model_args(self) -> dict[str, Any]:
        return {"source_vocabulary": len(self.source_words), "target_vocabulary": len(self.target_words)}

    def loss(self, batch: Batch, outputs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        losses = smoothed_cross_entropy(batch["labels"], outputs["logits"], self.recipe.label_smoothing)
        return masked_sum(losses, batch["mask"]), self.count(batch)

    def update_metrics(self, metrics, batch: Batch, outputs: Any) -> None:
        update_token_metrics(metrics, batch["labels"], outputs["logits"], batch["mask"])

    def training_sequences(self) -> Sequences:
        sources, targets = (side.row_lengths().numpy()[self._fitting] for side in self._train)
        by_length = targets * (sources.max() + 1) + sources  # sorts by target length, then by source length
        batch, fitting = _batches(*self._train), tf.constant(self._fitting)
        return Sequences(by_length, lambda indices: batch(tf.gather(fitting, indices)))

    def validation_sequences(self) -> Sequences | None:
        if self.data.validation is None:
            return None
        sides = self._encoded(self.data.validation)
        return Sequences(sides[1].row_lengths().numpy(), _batches(*sides))

    def _encoded(self, part: Pairs) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        """Token ids of both sides, int32 (N, any), each text followed by `END`."""
        return tuple(
            with_end(words.encode(self.tokenizer.split(tf.constant(texts))))
            for words, texts in ((self.source_words, part.sources), (self.target_words, part.targets))
        )

    def evaluate(self, model: keras.Model, folder: Path) -> dict[str, float]:
        """BLEU of the test split, or the share of exact matches, of greedy and of beam search; of the validation split
        where there is no other. The translations are written to `folder`."""
        endpoints, test = self.serving(model).endpoints, self.data.scored
        results: dict[str, float] = {}
        for kind, endpoint in (("", endpoints["serving_default"]), ("beam_", endpoints["beam"])):
            ours = translate(lambda texts, e=endpoint: e(texts), test.sources, f"scoring {kind.strip('_')}")
            found, way = scores(self.recipe, ours, test)
            if not kind and self.recipe.unit == "words":
                found |= bleu_by_length(self.recipe, ours, test, self.tokenizer)
            results |= {f"{self.data.scored_name}_{kind}{key}": value for key, value in found.items()}
            rows = zip(test.sources, test.targets, ours, strict=True)
            text = "".join(f"{source}\n= {target}\n> {translation}\n\n" for source, target, translation in rows)
            (folder / f"{kind}translations.txt").write_text(f"{way}\n\n{text}", encoding="utf-8")
        self._maps = list(attention_of(endpoints["serving_default"](tf.constant(test.sources[:3]))))
        return results

    def pictures(self) -> dict[str, Callable[[Path], None]]:
        return {"attention.png": partial(plots.attention_maps, self._maps)}

    def head(self, model: keras.Model) -> list[keras.layers.Layer]:
        return output_layers(model, model.output["logits"])

    def parent_rows(self, model: keras.Model) -> dict[str, Rows]:
        sides = zip(SIDES, (self.source_words, self.target_words), strict=True)
        source, target = (word_rows(self.parent.lines(name, "table"), words) for name, words in sides)
        return {
            "source_embedding/embeddings": Rows(0, source),
            "target_embedding/embeddings": Rows(0, target),
            "words/kernel": Rows(1, target),
            "words/bias": Rows(0, target),
        }

    def serving(self, model: keras.Model) -> tf.Module:
        return ServingTranslator(model, self.tokenizer, self.source_words, self.target_words, self.recipe)

    def serving_examples(self) -> dict[str, np.ndarray]:
        return {"text": np.array([text.encode() for text in self.data.scored.sources[:4]])}


def _batches(sources: tf.RaggedTensor, targets: tf.RaggedTensor) -> Callable[[tf.Tensor], dict[str, Any]]:
    """A function from indices of pairs to a batch. The token before the first is `END`."""

    def batch(indices: tf.Tensor) -> dict[str, Any]:
        labels = tf.gather(targets, indices).to_tensor(PADDING)
        before = tf.pad(labels[:, :-1], [[0, 0], [1, 0]], constant_values=END)
        return {
            "inputs": {"source": tf.gather(sources, indices).to_tensor(PADDING), "target": before},
            "labels": labels,
            "mask": tf.cast(labels != PADDING, tf.float32),
        }

    return batch

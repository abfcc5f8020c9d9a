"""Using the export of a language model: continuations of prompts, scores on a text."""

import argparse
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import tensorflow as tf

from zoo.data.text import repeated
from zoo.errors import UsageError, ZooError
from zoo.tasks.base import Log, Predictor
from zoo.tasks.inputs import add_text_flag, read_texts
from zoo.tasks.language_modelling.preprocessing import read_data, warn_of_unknown
from zoo.weights.parent import Parent

MOST_LENGTH = 10_000_000  # characters of one answer, which is held in memory
SEEDS = 2**31 - 1  # int32


class LanguageModelPredictor(Predictor):
    """Continuations of prompts: the texts given, or those in files."""

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        add_text_flag(parser)
        parser.add_argument("--length", type=int, default=200, help="number of characters to generate (200)")
        parser.add_argument(
            "--temperature", type=float, default=0.7, help="sampling temperature; 0 = greedy (default 0.7)"
        )
        parser.add_argument("--seed", type=int, default=0, help="seed of the sampling (0)")

    def predict(self, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
        """Yields for each its `prompt` and the `text` that follows, or the `file` and the `error` that prevented it
        from being read."""
        for flag, least, most in (("length", 0, MOST_LENGTH), ("seed", -SEEDS, SEEDS), ("temperature", 0, 1e30)):
            value = getattr(options, flag)
            if not least <= value <= most:
                raise UsageError(f"--{flag} is {value}; it must be from {least:,} to {most:,}.")
        signature = self.signatures["serving_default"]
        for name, prompt in read_texts(options):
            if isinstance(prompt, ZooError):
                yield {"file": name, "error": str(prompt)}
                continue
            answer = signature(
                prompt=tf.constant([prompt]),
                length=tf.constant([options.length]),
                temperature=tf.constant([options.temperature]),
                seed=tf.constant([options.seed]),
            )
            yield {"prompt": prompt, "text": answer["text"].numpy()[0].decode()}

    def format(self, answer: Mapping[str, Any]) -> str:
        return answer["prompt"] + answer["text"]

    def evaluate(self, dataset: str | None = None, log: Log = print) -> dict[str, Any]:
        recipe = self.recipe_on(dataset)
        score = self.signatures["score"]
        data = read_data(recipe, log, evaluation=dataset is not None)
        results: dict[str, Any] = self.check_data(data, dataset, log)
        load = partial(read_data, self.recipe, log)
        self.warn_of_training_examples(data, load, repeated, log)
        warn_of_unknown(data, set(Parent(self.export).characters("vocabulary", "table")), log)
        for name, streams in (("validation", data.validation), ("test", data.test)):
            if streams is not None:
                rows = score(text=tf.constant([row.encode() for row in streams.rows]))["nats_per_char"]
                results[f"{name}_nats_per_char"] = float(tf.reduce_mean(tf.cast(rows, tf.float64)))
        return results

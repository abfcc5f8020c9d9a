"""Using the export of a text classifier: labels for texts, scores on a data set."""

import argparse
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from zoo.data.labelled import load_labelled, repeated
from zoo.data.paths import display_path
from zoo.data.progress import progress
from zoo.data.splits import display_name
from zoo.errors import UsageError, ZooError
from zoo.tasks.answers import add_top_flag, check_top, class_answer, format_classes
from zoo.tasks.base import Log, Predictor
from zoo.tasks.inputs import add_text_flag, read_texts

ROWS = 50  # texts per request in evaluation


class TextClassificationPredictor(Predictor):
    """Labels for texts: those given, or whole files."""

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        add_text_flag(parser)
        add_top_flag(parser)

    def predict(self, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
        """Yields for each text its `file` (for a flag "--text", or "--text 1" if there are several), `label`, `class`
        and `probability`, and with --top-k the `top` classes; or the `error` that prevented it from being read."""
        check_top(options)
        signature = self.signatures["serving_default"]
        longest = self.recipe.max_length
        for name, content in read_texts(options, "a whole file"):
            if isinstance(content, ZooError):
                yield {"file": name, "error": str(content)}
                continue
            if (words := len(content.split())) > longest:
                shown = f"{display_path(name)} has {words:,} words"
                print(f"warning: {shown}, of which the first {longest:,} are read", file=sys.stderr)
            answer = {key: value.numpy()[0] for key, value in signature(text=tf.constant([content])).items()}
            yield {"file": name, **class_answer(answer, self.card["labels"], options.top_k)}

    def format(self, answer: Mapping[str, Any]) -> str:
        return format_classes(answer)

    def evaluate(self, dataset: str | None = None, log: Log = print) -> dict[str, Any]:
        recipe = self.recipe_on(dataset)
        data = load_labelled(
            recipe.dataset,
            validation_examples=0 if dataset else recipe.validation_examples,
            seed=recipe.seed,
            evaluation=dataset is not None,
            log=log,
        )
        results = self.check_data(data, dataset, log)
        own = self.recipe
        load = partial(load_labelled, own.dataset, validation_examples=own.validation_examples, seed=own.seed)
        self.warn_of_training_examples(data, load, repeated, log)
        unknown = sorted(set(data.classes) - set(self.card["labels"]))
        if unknown:
            raise UsageError(
                f"{data.name} has the class {display_name(unknown[0])!r}, which {self.export} does not know; its "
                f"classes are {', '.join(repr(display_name(label)) for label in self.card['labels'][:10])}."
            )
        split = data.scored
        signature = self.signatures["serving_default"]
        right: list[bool] = []
        starts = range(0, len(split), ROWS)
        for start in progress(starts, "scoring", len(starts)):
            answer = signature(text=tf.constant(split.texts[start : start + ROWS]))["labels"].numpy()
            truth = [data.classes[label] for label in split.labels[start : start + ROWS]]
            right += [label.decode() == name for label, name in zip(answer, truth, strict=True)]
        return {**results, f"{data.scored_name}_accuracy": float(np.mean(right))}

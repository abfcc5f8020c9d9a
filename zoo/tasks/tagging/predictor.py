"""Using the export of a tagger: tags for texts, scores on a treebank."""

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import tensorflow as tf

from zoo.data.progress import progress
from zoo.data.sentences import Sentences, load_tagged, repeated
from zoo.data.splits import few
from zoo.errors import UsageError, ZooError
from zoo.tasks.base import Log, Predictor
from zoo.tasks.inputs import add_text_flag, read_lines
from zoo.tasks.tagging.scoring import scores
from zoo.tasks.vocabularies import WORDS
from zoo.weights.parent import Parent

ROWS = 100  # sentences per request in evaluation


class TaggingPredictor(Predictor):
    """Tags for texts, one sentence per line, tokens separated by spaces."""

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        add_text_flag(parser)

    def predict(self, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
        """Yields for each line its `tokens`, `tags` and `probabilities`, or the `file` and the `error` that prevented
        it from being read."""
        signature = self.signatures["serving_default"]
        for name, line in read_lines(options):
            if isinstance(line, ZooError):
                yield {"file": name, "error": str(line)}
                continue
            answer = {key: value.numpy()[0] for key, value in signature(text=tf.constant([line])).items()}
            yield {
                "tokens": [token.decode() for token in answer["tokens"]],
                "tags": [tag.decode() for tag in answer["tags"]],
                "probabilities": answer["probabilities"].tolist(),
            }

    def format(self, answer: Mapping[str, Any]) -> str:
        return " ".join(f"{token}/{tag}" for token, tag in zip(answer["tokens"], answer["tags"], strict=True))

    def evaluate(self, dataset: str | None = None, log: Log = print) -> dict[str, Any]:
        data = load_tagged(self.recipe_on(dataset).dataset, evaluation=dataset is not None, log=log)
        results = self.check_data(data, dataset, log)
        load = partial(load_tagged, self.recipe.dataset)
        self.warn_of_training_examples(data, load, repeated, log)
        split = data.scored
        self._check_tags(data.name, split, log)
        signature = self.signatures["serving_default"]
        predicted: list[tuple[str, ...]] = []
        starts = range(0, len(split), ROWS)
        for start in progress(starts, "scoring", len(starts)):
            rows = split.tokens[start : start + ROWS]
            tags = signature(text=tf.constant([" ".join(row) for row in rows]))["tags"].numpy()
            predicted += [tuple(t.decode() for t in answer[: len(row)]) for row, answer in zip(rows, tags, strict=True)]
        if any(len(row) != len(guess) for row, guess in zip(split.tokens, predicted, strict=True)):
            raise UsageError(f"{data.name}: a token contains a space, so it cannot be sent as one token.")
        known = set(Parent(self.export).lines(*WORDS))
        if dataset is None:  # also the words of the training that are too rare for the vocabulary
            known |= {token for row in data.train.tokens for token in row}
        return {**results, **scores(split, predicted, known, data.scored_name)}

    def _check_tags(self, name: str, split: Sentences, log: Log) -> None:
        """Warns of tags that the export does not know, which count as errors; raises `UsageError` if it knows none."""
        labels, counts = self.card["labels"], Counter(tag for row in split.tags for tag in row)
        unknown = {tag: count for tag, count in counts.most_common() if tag not in labels}
        if len(unknown) == len(counts):
            raise UsageError(
                f"{name} has the tags {few(list(unknown))}, of which {self.export} knows none; it has {few(labels)}."
            )
        if unknown:
            log(
                f"warning: {sum(unknown.values()):,} of {counts.total():,} words have tags that {self.export} does not "
                f"know ({few(list(unknown))}), and count as errors"
            )

"""Using the export of a tagger: tags for texts, scores on a treebank."""

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from zoo.data.progress import progress
from zoo.data.sentences import load_tagged
from zoo.errors import UsageError, ZooError
from zoo.tasks.base import Log, Predictor
from zoo.tasks.inputs import add_text_flag, read_lines
from zoo.tasks.tagging.scoring import scores

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
        data = load_tagged(dataset or self.recipe.dataset, evaluation=dataset is not None, log=log)
        split = data.scored
        signature = self.signatures["serving_default"]
        predicted: list[tuple[str, ...]] = []
        starts = range(0, len(split), ROWS)
        for start in progress(starts, "scoring", len(starts)):
            rows = split.tokens[start : start + ROWS]
            tags = signature(text=tf.constant([" ".join(row) for row in rows]))["tags"].numpy()
            predicted += [tuple(t.decode() for t in answer[: len(row)]) for row, answer in zip(rows, tags, strict=True)]
        if any(len(row) != len(guess) for row, guess in zip(split.tokens, predicted, strict=True)):
            raise UsageError(f"{data.name}: a token contains a space, so it cannot be sent as one token.")
        known = None if data.train is None else {token for row in data.train.tokens for token in row}
        return {"dataset": data.name, **scores(split, predicted, known, "test")}

"""Using the export of a translator: translations of texts, scores on a data set."""

import argparse
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import tensorflow as tf

from zoo.data.pairs import load_pairs, repeated
from zoo.errors import ZooError, reason
from zoo.paths import user_path
from zoo.report import plots
from zoo.tasks.base import Log, Predictor
from zoo.tasks.inputs import add_text_flag, read_lines
from zoo.tasks.translation.scoring import scores, translate
from zoo.tasks.translation.serving import attention_of


class TranslationPredictor(Predictor):
    """Translations of texts, one per line."""

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        add_text_flag(parser)
        parser.add_argument("--beam", action="store_true", help="use beam search")
        parser.add_argument("--plot", metavar="PNG", help="draw the attention into this file")

    def predict(self, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
        """Yields for each line its `text`, `translation` and `score`, or the `file` and the `error` that prevented it
        from being read. With `options.plot` the attention is drawn into that file at the end."""
        signature, maps = self.signatures["beam" if options.beam else "serving_default"], []
        for name, line in read_lines(options):
            if isinstance(line, ZooError):
                yield {"file": name, "error": str(line)}
                continue
            answer = signature(text=tf.constant([line]))
            maps += [part for part in attention_of(answer) if part[1]]
            yield {
                "text": line,
                "translation": answer["translation"].numpy()[0].decode(),
                "score": float(answer["score"][0]),
            }
        if options.plot and maps:
            try:
                plots.attention_maps(maps, user_path(options.plot))
            except (OSError, ValueError) as error:
                raise ZooError(f"The picture cannot be written to {options.plot}: {reason(error)}.") from error

    def format(self, answer: Mapping[str, Any]) -> str:
        return answer["translation"]

    def evaluate(self, dataset: str | None = None, log: Log = print) -> dict[str, Any]:
        recipe = self.recipe_on(dataset)
        data = load_pairs(recipe.dataset, evaluation=dataset is not None, log=log)
        results: dict[str, Any] = self.check_data(data, dataset, log)
        load = partial(load_pairs, self.recipe.dataset)
        self.warn_of_training_examples(data, load, repeated, log)
        split = data.scored
        for kind, name in (("", "serving_default"), ("beam_", "beam")):
            signature = self.signatures[name]
            ours = translate(lambda texts, s=signature: s(text=texts), split.sources, f"scoring {name}")
            found, results["scored_by"] = scores(recipe, ours, split)
            results |= {f"{data.scored_name}_{kind}{key}": value for key, value in found.items()}
        return results

"""Using the export of an image classifier: answers for image files, scores on a data set."""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from zoo.building import build
from zoo.data.decoding import SUFFIXES, plain_image
from zoo.data.images import REPAIR, find_fault
from zoo.data.paths import display_path, files_below
from zoo.data.progress import progress
from zoo.data.splits import Splits
from zoo.data.text_files import normalize
from zoo.errors import UsageError, ZooError, reason
from zoo.exports.portable import Portable
from zoo.tasks.answers import add_top_flag, check_top, class_answer, format_classes
from zoo.tasks.base import Log, Predictor
from zoo.tasks.image_classification.portable import portable_classifier
from zoo.tasks.image_classification.preprocessing import Preprocessing, load_data
from zoo.tasks.image_classification.scoring import scores
from zoo.weights.parent import Parent


class ImagePredictor(Predictor):
    """Answers for image files, and scores on a data set of images."""

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        add_top_flag(parser)

    def predict(self, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
        """Yields for each file, in order, its `file`, `label`, `class` and `probability` (`score` for a perceptron),
        and with --top-k the `top` classes; or the `error` that prevented it from being read."""
        if not options.files:
            raise UsageError(f"{self.export} classifies images: give image files, folders of them, or - (stdin).")
        if "" in options.files:
            raise UsageError("The name of a file is empty; for the images of this folder, give a dot.")
        check_top(options)
        signature = self.signatures["image_bytes"]
        for name, content in _contents(options.files):
            if isinstance(content, OSError):
                yield {"file": name, "error": reason(content)}
                continue
            try:
                image = tf.constant([plain_image(content)])
                answer = {key: value.numpy()[0] for key, value in signature(image_bytes=image).items()}
            except ZooError as error:
                yield {"file": name, "error": str(error)}
                continue
            except tf.errors.OpError:
                yield {"file": name, "error": "the image is damaged or cut off"}
                continue
            yield {"file": name, **class_answer(answer, self.card["labels"], options.top_k)}

    def format(self, answer: Mapping[str, Any]) -> str:
        return format_classes(answer)

    def evaluate(self, dataset: str | None = None, log: Log = print) -> dict[str, Any]:
        recipe = self.recipe_on(dataset)
        signature = self.signatures["serving_default"]
        preprocessing = Preprocessing(recipe, self.card["input_shape"])
        data = load_data(recipe, preprocessing, log, evaluation=dataset is not None, scored_only=True)
        results: dict[str, Any] = self.check_data(data, dataset, log)
        ids = self._class_ids(data)
        batches = data.scored.batches(1 if recipe.test_views == "dense" else 250)
        parts: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []
        try:
            for images, labels in progress(batches, "scoring", int(batches.cardinality())):
                answer = signature(images=images)
                parts.append((labels.numpy(), {key: value.numpy() for key, value in answer.items()}))
        except tf.errors.OpError as error:
            if fault := find_fault(data, error, advice=f"{REPAIR}."):
                raise fault from error
            raise
        truth = ids[np.concatenate([labels for labels, _ in parts])]
        outputs = np.concatenate([answer.get("probabilities", answer.get("scores")) for _, answer in parts])
        # The signatures take the central window alone, whose scores are not those of the recipe's views.
        name = data.scored_name + ("_centre" if recipe.test_views in ("ten_crops", "dense") else "")
        results |= {f"{name}_examples": len(truth), **scores(truth, outputs, name)}
        if "probabilities" in parts[0][1]:
            right = np.maximum(outputs[np.arange(len(truth)), truth], np.finfo(np.float32).tiny)
            results[f"{name}_cross_entropy"] = float(-np.mean(np.log(right.astype(np.float64))))
        return results

    def portable(self) -> Portable:
        parent = Parent(self.export)
        preprocessing = Preprocessing(self.recipe, self.card["input_shape"])
        preprocessing.normalisation.take(parent.value)
        return portable_classifier(
            build(self.card["name"], weights=self.export),
            preprocessing,
            self.signatures["serving_default"],
            self.card["labels"],
            {key: str(value) for key, value in parent.origin().items()},
        )

    def _class_ids(self, data: Splits[Any]) -> np.ndarray:
        """The export's class id of each class of a data set, compared by name."""
        ids = {normalize(name): index for index, name in enumerate(self.card["labels"])}
        classes = [normalize(name) for name in data.classes]
        unknown = [name for name in classes if name not in ids]
        if unknown:
            raise UsageError(
                f"{data.name} has the class {unknown[0]!r}, which {self.export} does not know; its {len(ids)} classes "
                f"are {', '.join(map(repr, list(ids)[:10]))}{', …' if len(ids) > 10 else ''}. Rename the folders."
            )
        # Of names that are alike when normalised, the one that is written in the same way.
        exact = {name: index for index, name in enumerate(self.card["labels"])}
        return np.array([exact.get(name, ids[normalize(name)]) for name in data.classes])


def _contents(sources: Sequence[str]) -> Iterator[tuple[str, bytes | OSError]]:
    for source in sources:
        if source == "-":
            yield "-", sys.stdin.buffer.read()
            continue
        path = Path(source)
        files = [path]
        if path.is_dir():
            found = files_below(path, SUFFIXES)
            files = found.paths
            for note in found.notes():
                print(f"{display_path(path)}: {note}", file=sys.stderr)
            if not files:
                yield source, FileNotFoundError(0, "the folder holds no image file")
        for file in files:
            try:
                yield display_path(file), file.read_bytes()
            except OSError as error:
                yield display_path(file), error

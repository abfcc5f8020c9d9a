"""An ensemble of exports of image classifiers: its signatures, what its members must share, and its scores."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from zoo.data.splits import display_name, few
from zoo.errors import UsageError, ZooError
from zoo.exports import read
from zoo.paths import literal_path
from zoo.tasks.image_classification.predictor import ImagePredictor
from zoo.tasks.image_classification.preprocessing import Preprocessing
from zoo.tasks.table import recipe_from_dict


class ServingEnsemble(tf.Module):
    """Exports of image classifiers, to be saved together with these signatures:

    * `serving_default`: `images` uint8 (N, any, any, C) → `classes` int64 (N,), `labels` string (N,) and
      `probabilities` float32 (N, K), the mean of those of the members;
    * `image_bytes`: `image_bytes` string (N,), each a PNG, JPEG, GIF or BMP file → the same.
    """

    def __init__(self, folders: Sequence[Path], classes: Sequence[str]):
        super().__init__()
        self.members = [tf.saved_model.load(str(literal_path(folder))) for folder in folders]
        signatures = [member.signatures for member in self.members]

        def mean(name: str, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            answers = [signature[name](**inputs)["probabilities"] for signature in signatures]
            probabilities = tf.add_n(answers) / len(answers)
            index = tf.argmax(probabilities, axis=-1)
            return {"classes": index, "labels": tf.gather(tf.constant(classes), index), "probabilities": probabilities}

        spec = signatures[0]["serving_default"].structured_input_signature[1]["images"]

        @tf.function(input_signature=[spec])
        def serving_default(images):
            return mean("serving_default", images=images)

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "image_bytes")])
        def image_bytes(image_bytes):
            return mean("image_bytes", image_bytes=image_bytes)

        self.endpoints = {"serving_default": serving_default, "image_bytes": image_bytes}


class _EnsemblePredictor(ImagePredictor):
    """Scores an ensemble that is not saved yet, on the data of its first member."""

    def __init__(self, first: Path, serving: ServingEnsemble):
        super().__init__(first)
        self._endpoints = serving.endpoints

    @property
    def signatures(self) -> Mapping[str, Any]:
        return self._endpoints


def scores_of(serving: ServingEnsemble, folders: Sequence[Path], log: Callable[[str], None]) -> dict[str, float]:
    """Metrics on the data set of the first member; empty, with a warning, where it cannot be read. Warns of members
    that were trained on other data."""
    data = [read.read_card(folder).get("data", {}).get("sha256") for folder in folders]
    others = [str(folder) for folder, own in zip(folders, data, strict=True) if own != data[0]]
    if others:
        log(
            f"warning: {few(others)} {'was' if len(others) == 1 else 'were'} trained on other data than {folders[0]}; "
            "if test images of that one are among them, the score is too good"
        )
    try:
        results = _EnsemblePredictor(folders[0], serving).evaluate(log=log)
    except ZooError as error:
        log(f"warning: the ensemble is not scored ({error})")
        return {}
    return {key: value for key, value in results.items() if isinstance(value, float)}


def check_members(folders: Sequence[Path]) -> None:
    """Raises `UsageError` unless all exports give probabilities of the same classes for the same images."""
    kinds = [_images(folder) for folder in folders]
    for folder, kind in zip(folders, kinds, strict=True):
        labels, first = (tuple(read.read_card(path)["labels"]) for path in (folder, folders[0]))
        if labels != first:
            differing = next((pair for pair in zip(first, labels, strict=False) if pair[0] != pair[1]), None)
            found = f"{len(first)} and {len(labels)} classes"
            if differing:
                found = f"{display_name(differing[0])!r} and {display_name(differing[1])!r} as the same class"
            raise UsageError(f"{folders[0]} and {folder} have {found}; the members must have the same, in one order.")
        if kind != kinds[0]:
            raise UsageError(
                f"{folders[0]} takes {kinds[0]} and {folder} {kind}; the members of an ensemble must take the same."
            )


def _images(folder: Path) -> str:
    """What an export takes, in words, which are equal only for the same."""
    recipe = recipe_from_dict(read.read_recipe(folder))
    if recipe.loss == "perceptron":
        raise UsageError(f"{folder} gives scores; the members of an ensemble must give probabilities.")
    preprocessing = Preprocessing(recipe, read.read_card(folder)["input_shape"])
    height, width = preprocessing.served_size
    colour = "grey" if preprocessing.shape[2] == 1 else "colour"
    views = "" if recipe.test_views == "centre" else f", scored by {recipe.test_views}"
    return f"{height} × {width} in {colour}{'' if recipe.crop == 'none' else ', cropped'}{views}"


def example_images(folder: Path) -> np.ndarray:
    """Random images of the size that an export takes, uint8 (4, height, width, C)."""
    preprocessing = Preprocessing(recipe_from_dict(read.read_recipe(folder)), read.read_card(folder)["input_shape"])
    shape = (4, *preprocessing.served_size, preprocessing.shape[2])
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)

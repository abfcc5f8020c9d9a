"""Weights of a built model from an export."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import UsageError, nearest
from zoo.exports import read
from zoo.registry import Card
from zoo.shipped import shipped_folder

if TYPE_CHECKING:
    import keras


def export_folder(card: Card, weights: str | os.PathLike[str]) -> Path:
    """The export that a tag of the card, or a path, means."""
    if weights in card.weights:
        return read.find(shipped_folder("saved_models") / card.weights[weights])
    if not Path(weights).exists():
        known = [*card.weights, "default"] if card.weights else []
        raise UsageError(
            f"{card.name} has no weights {str(weights)!r}, and no export is there. {nearest(str(weights), known)}"
        )
    return read.find(weights)


def load_export(model: "keras.Model", folder: Path, *, head: bool = True) -> None:
    """Reads a model's weights from the SavedModel's own checkpoint; no code of the export runs.

    `head=False` leaves the classifier as it is. Raises `UsageError` where a weight is missing there or has another
    shape; then `model` is unchanged.
    """
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    keys = json.loads((folder / "assets.extra" / "weights.json").read_text(encoding="utf-8"))
    kept = set() if head else {id(variable) for variable in classifier(model).weights}
    values = []
    for variable in model.weights:
        if id(variable) in kept:
            continue
        key = keys.get(variable.path)
        if key is None:
            raise UsageError(f"{model.name}: {folder} has no weight {variable.path!r}.")
        value = reader.get_tensor(key)
        if value.shape != tuple(variable.shape):
            raise UsageError(
                f"{model.name}: {variable.path} has shape {tuple(variable.shape)} here and {value.shape} in {folder}."
            )
        values.append((variable, value))
    for variable, value in values:
        variable.assign(value)


def classifier(model: "keras.Model") -> "keras.layers.Layer":
    """The layer that makes the class scores: the last one, but for pooling and activations after it (All-CNN, NIN)."""
    import keras

    after = (keras.layers.GlobalAveragePooling2D, keras.layers.Activation, keras.layers.ReLU, keras.layers.Flatten)
    return next(layer for layer in reversed(model.layers) if not isinstance(layer, after))

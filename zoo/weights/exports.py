"""Weights of a built model from an export."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import UsageError, nearest
from zoo.exports import read
from zoo.paths import literal_path, user_path
from zoo.registry import APPLICATIONS, Card, describe
from zoo.weights.store import export_names, stored_export

if TYPE_CHECKING:
    import keras
    import numpy as np


def export_folder(card: Card, weights: str | os.PathLike[str]) -> Path:
    """The export for a tag of the card or a path."""
    if card.weights.get(weights) == APPLICATIONS:
        raise UsageError(
            f"{card.name}:{weights} are weights of Keras Applications, not an export; `zoo finetune "
            f"{card.name}:{weights}` makes one."
        )
    if weights in card.weights:
        return stored_export(card.weights[weights])
    if not os.path.exists(path := user_path(weights)):  # False, where Path.exists raises, for a name that is too long
        known = [*card.weights, "default"] if card.weights else []
        raise UsageError(
            f"{card.name} has no weights {str(weights)!r}, and no export is there. {nearest(str(weights), known)}"
        )
    return read.find(path)


def find_export(reference: str | os.PathLike[str]) -> Path:
    """The version folder of an export: a path, the name of a pretrained one (see `store`), or `MODEL:TAG`.

    Raises `UsageError` if there is none, `ZooError` if a file of it is missing or changed.
    """
    if os.path.exists(path := user_path(reference)):
        return read.find(path)
    name, _, tag = str(reference).partition(":")
    if tag:
        return export_folder(describe(name), tag)
    names = export_names()
    if name in names:
        return stored_export(name)
    raise UsageError(
        f"There is no folder {reference}, and no export of this name. {nearest(name, names)} Give a run directory, an "
        "export's folder, its name, or MODEL:TAG."
    )


def pinned(reference: str | os.PathLike[str], folder: Path) -> str:
    """What a recipe calls the export in `folder`, which `find_export(reference)` returned: a path is that of its
    version, so that a newer one changes nothing."""
    if not user_path(reference).exists():
        return str(reference)
    try:
        return str(folder.resolve().relative_to(Path.cwd().resolve()))
    except ValueError:
        return str(folder.resolve())


def weight_keys(folder: Path) -> dict[str, str]:
    """The key of each Keras weight, by its path, in the SavedModel's own checkpoint."""
    return json.loads((folder / "assets.extra" / "weights.json").read_text(encoding="utf-8"))


def read_weight(checkpoint: Any, key: str) -> "np.ndarray":
    """A weight of a SavedModel's checkpoint. int16 has the bits of float16 (see `zoo.exports.half`)."""
    value = checkpoint.get_tensor(key)
    return value.view("float16") if value.dtype == "int16" else value


def load_export(model: "keras.Model", folder: Path, *, head: bool = True) -> None:
    """Reads a model's weights from the SavedModel's own checkpoint; no code of the export runs.

    `head=False` leaves the classifier as it is. Raises `UsageError` if a weight is missing there or has another
    shape; then `model` is unchanged.
    """
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(literal_path(folder) / "variables" / "variables"))
    keys = weight_keys(folder)
    kept = set() if head else {id(variable) for variable in classifier(model).weights}
    values = []
    for variable in model.weights:
        if id(variable) in kept:
            continue
        key = keys.get(variable.path)
        if key is None:
            raise UsageError(f"{model.name}: {folder} has no weight {variable.path!r}.")
        value = read_weight(reader, key)
        if value.shape != tuple(variable.shape):
            raise UsageError(
                f"{model.name}: {variable.path} has shape {tuple(variable.shape)} here and {value.shape} in {folder}."
            )
        values.append((variable, value))
    for variable, value in values:
        variable.assign(value)


def classifier(model: "keras.Model") -> "keras.layers.Layer":
    """The layer that computes the class scores: the last one except for pooling, activation and scaling. It is replaced
    also where it has no trained weights, as the codes of LeNet-5, unlike the head of fine-tuning (`output_layers`)."""
    import keras

    after = (
        keras.layers.GlobalAveragePooling2D,
        keras.layers.Activation,
        keras.layers.ReLU,
        keras.layers.Flatten,
        keras.layers.Rescaling,
    )
    return next(layer for layer in reversed(model.layers) if not isinstance(layer, after))


def output_layers(model: "keras.Model", outputs: Any = None) -> "list[keras.layers.Layer]":
    """Before each of `outputs`, by default all of the model's, the last layers that have weights. Where none of a
    layer's weights is trained, those before it, too."""
    import keras

    makers = {id(tensor): op for op in model.operations for tensor in keras.tree.flatten(op.output)}
    waiting, seen, found = keras.tree.flatten(model.outputs if outputs is None else outputs), set(), []
    while waiting:
        operation = makers.get(id(waiting.pop(0)))
        if operation is None or id(operation) in seen:
            continue
        seen.add(id(operation))
        if isinstance(operation, keras.layers.Layer) and operation.weights:
            found.append(operation)
        if not (isinstance(operation, keras.layers.Layer) and operation.trainable_weights):
            waiting += keras.tree.flatten(operation.input)
    return found

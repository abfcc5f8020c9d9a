"""The export that a training starts from: its weights, vocabularies and statistics. No code of the export runs."""

import functools
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import UsageError, ZooError, reason
from zoo.exports import read
from zoo.paths import literal_path
from zoo.weights.exports import find_export, read_weight, weight_keys

if TYPE_CHECKING:
    import keras
    import numpy as np


@dataclass(frozen=True)
class Rows:
    """How the entries of a vocabulary are spread along an axis of a weight.

    `old[i]` is the index that entry i of the new vocabulary has in the export, -1 for a new entry.
    """

    axis: int
    old: Sequence[int]


class Parent:
    """An export that a training starts from."""

    def __init__(self, reference: str | os.PathLike[str]):
        """`reference` is what `find_export` takes. Raises `UsageError` if there is none and for an ensemble,
        `ZooError` if it is damaged or of a newer format."""
        self.folder = find_export(reference)
        self.card = read.read_card(self.folder)
        if members := self.card.get("members"):
            names = ", ".join(f"{member['name']}/{member['version']}" for member in members)
            raise UsageError(
                f"{self.folder} is an ensemble without weights of its own; use one of its members: {names}."
            )
        self.recipe = read.read_recipe(self.folder)
        self.name = f"{self.folder.parent.name}/{self.folder.name}"

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Names of the classes in the order of the model's outputs; None without classes."""
        labels = self.card.get("labels")
        return None if labels is None else tuple(labels)

    def origin(self) -> dict[str, Any]:
        """The entry in the card of a fine-tuned export."""
        return read.origin(self.folder)

    def value(self, key: str) -> "np.ndarray":
        """A variable by its attributes in the saved module, such as `preprocessing/normalisation/mean`."""
        return self._checkpoint.get_tensor(f"{key}/.ATTRIBUTES/VARIABLE_VALUE")

    def lines(self, *table: str) -> list[str]:
        """The lines of the file that a lookup table reads, such as `lines("encoder", "words", "table")`."""
        nodes, files = self._graph.object_graph_def.nodes, self._graph.asset_file_def
        node = nodes[0]
        for name in (*table, "_initializer", "_filename"):
            child = next((child for child in node.children if child.local_name == name), None)
            if child is None:
                raise ZooError(f"{self.folder} has no vocabulary {'.'.join(table)}; export it again with this version.")
            node = nodes[child.node_id]
        path = self.folder / "assets" / Path(files[node.asset.asset_file_def_index].filename).name
        return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")

    def characters(self, *table: str) -> list[str]:
        """The characters of a vocabulary in the order of their ids, from id 1; id 0 is the unknown character."""
        return [chr(int(line)) for line in self.lines(*table)[1:]]

    def load(
        self, model: "keras.Model", *, new: Collection[str] = (), rows: Mapping[str, Rows] | None = None
    ) -> list[str]:
        """Reads the weights of `model`, but for the paths in `new`; `rows` says by path which entries are moved.

        Returns the paths of the export's weights that `model` does not have. Raises `UsageError` if a weight is missing
        or has another shape; then `model` is unchanged.
        """
        keys, rows, values = weight_keys(self.folder), rows or {}, []
        for variable in model.weights:
            if variable.path in new:
                continue
            if variable.path not in keys:
                raise UsageError(self._misfit(model, f"it has no weight {variable.path!r}"))
            value = read_weight(self._checkpoint, keys[variable.path])
            if variable.path in rows:
                value = _moved(variable.numpy(), value, rows[variable.path])
            if value.shape != tuple(variable.shape):
                shapes = f"{variable.path} has shape {value.shape} there and {tuple(variable.shape)} here"
                raise UsageError(self._misfit(model, shapes))
            values.append((variable, value))
        for variable, value in values:
            variable.assign(value)
        return sorted(set(keys) - {variable.path for variable in model.weights})

    def _misfit(self, model: "keras.Model", found: str) -> str:
        built = {key: value for key, value in self.card["arguments_built"].items() if not _decided_by_data(key)}
        arguments = ", ".join(f"{key}={value!r}" for key, value in built.items()) or "its default arguments"
        return (
            f"The weights of {self.folder} do not fit this {model.name}: {found}. They are of {self.card['name']!r} "
            f"built with {arguments}; build it so, or choose other weights."
        )

    @functools.cached_property
    def _checkpoint(self) -> Any:
        import tensorflow as tf

        return tf.train.load_checkpoint(str(literal_path(self.folder) / "variables" / "variables"))

    @functools.cached_property
    def _graph(self) -> Any:
        from google.protobuf.message import DecodeError
        from tensorflow.core.protobuf import saved_model_pb2

        saved = saved_model_pb2.SavedModel()
        try:
            saved.ParseFromString((self.folder / "saved_model.pb").read_bytes())
        except DecodeError as error:
            raise ZooError(f"{self.folder}/saved_model.pb is not a SavedModel: {reason(error)}.") from error
        return saved.meta_graphs[0]


def _decided_by_data(argument: str) -> bool:
    return argument.startswith("num_") or "vocabulary" in argument


def _moved(fresh: "np.ndarray", saved: "np.ndarray", rows: Rows) -> "np.ndarray":
    """`fresh` with the entries that `saved` has, where they belong."""
    import numpy as np

    values, theirs = np.moveaxis(fresh.copy(), rows.axis, 0), np.moveaxis(saved, rows.axis, 0)
    old = np.asarray(rows.old)
    if values.shape[1:] != theirs.shape[1:]:  # the caller names the two shapes
        return saved
    values[old >= 0] = theirs[old[old >= 0]]
    return np.moveaxis(values, 0, rows.axis)

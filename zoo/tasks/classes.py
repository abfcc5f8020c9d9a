"""The classes of a task's head: the data's, or those of the export that training starts from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zoo.data.splits import as_read, display_name
from zoo.errors import UsageError
from zoo.tasks.base import Task

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Classes:
    """The names of the classes in the order of the model's outputs."""

    names: tuple[str, ...]
    ids: np.ndarray
    """The id that each class of the data has among `names`, int64."""
    kept: bool
    """Whether the head, too, is that of the export."""


def choose_classes(task: Task, data: str, classes: Sequence[str], *, may_lack: bool = False) -> Classes:
    """The classes that the model of a task scores, for data that has `classes`, and says so where there is a parent.

    The head is kept where the classes are those of the export. With `may_lack`, also where they are more than half of
    them, as in a small treebank, which need not have the rarest tags.

    Raises `UsageError` if the recipe keeps the head and the export lacks a class of the data.
    """
    names, own = tuple(classes), Classes(tuple(classes), np.arange(len(classes)), False)
    if not task.parent:
        return own
    recipe, labels = task.recipe, task.parent.labels or ()
    if recipe.head == "keep" and (unknown := [name for name in names if name not in labels]):
        raise UsageError(
            f"{data} has the class {display_name(unknown[0])!r}, which {task.parent.name} does not know; its "
            f"{len(labels)} classes are {_few(labels)}. Set head to 'new' for a new head."
        )
    same = set(names) == set(labels) or (may_lack and set(names) < set(labels) and 2 * len(names) > len(labels))
    if recipe.head == "keep" or (recipe.head == "auto" and same):
        task.log(f"head: kept, with the {len(labels)} classes of {task.parent.name} in their order")
        return Classes(labels, np.array([labels.index(name) for name in names]), True)
    task.log(f"head: new, for {len(names)} classes: {_few(names)} ({task.parent.name} has {len(labels)})")
    known = {as_read(label): label for label in labels}
    unknown = [name for name in names if name not in labels]
    if unknown and all(as_read(name) in known for name in unknown):
        here, there = display_name(unknown[0]), display_name(known[as_read(unknown[0])])
        task.log(
            f"warning: {here!r} of the data differs from {there!r} of {task.parent.name} in case or spacing only; the "
            "head is kept for the same names alone"
        )
    return own


def check_outputs(task: Task, model: "keras.Model", count: int) -> None:
    """Raises `UsageError` for a model that does not return logits for as many classes as there are."""
    import keras

    outputs = model.output if isinstance(model.output, Mapping) else {"logits": model.output}
    shape = tuple(outputs["logits"].shape) if "logits" in outputs else None
    if shape != (None, count):
        found = f"an output of shape {shape}" if shape else f"the outputs {', '.join(outputs)}"
        raise UsageError(
            f"{task.recipe.name}: {model.name} has {found}; for {count} classes it must be logits of shape "
            f"(None, {count}). Its builder gets num_classes={count}."
        )
    last = next(op for op in model.operations if any(t is outputs["logits"] for t in keras.tree.flatten(op.output)))
    while isinstance(last, keras.Model):
        last = last.layers[-1]
    if type(last).__name__ == "Softmax" or getattr(last, "activation", None) is keras.activations.softmax:
        raise UsageError(
            f"{task.recipe.name}: {model.name} ends in a softmax; it must return logits, of which the loss takes the "
            "softmax itself. Leave it out."
        )


def balanced_weights(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """A weight for each class (K,) with which all classes have the same share in a loss: N/(K·n) for a class with n of
    the N labels (N,), 0 for one without; their mean over the examples is 1."""
    counts = np.bincount(labels, minlength=num_classes)
    return np.where(counts > 0, len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1)), 0.0)


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(display_name, names[:10])) + (", …" if len(names) > 10 else "")

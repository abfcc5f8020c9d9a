"""Distillation: a classifier that learns from the probabilities of another export (Hinton, Vinyals & Dean 2015)."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf

from zoo.data.image_split import ImageSplit
from zoo.data.progress import progress
from zoo.data.splits import display_name
from zoo.data.stream import Records
from zoo.errors import UsageError
from zoo.exports import read
from zoo.paths import literal_path
from zoo.weights.exports import find_export

LEAST = float(np.finfo(np.float32).tiny)  # what a probability of zero counts as, so that its logarithm is finite


def soft_cross_entropy(probabilities: tf.Tensor, logits: tf.Tensor, temperature: float) -> tf.Tensor:
    """T² · Σ −q log p per example (N,), where q and p are the teacher's and the student's probabilities at the
    temperature T (section 2).

    With the teacher's `probabilities` (N, K) at temperature 1, q = softmax(log(probabilities) / T); with the student's
    `logits` (N, K), p = softmax(logits / T). The gradient by the logits is T · (p − q): without the factor T² it would
    shrink as 1/T², and the weights of the two parts of a loss would depend on the temperature.
    """
    teacher = tf.nn.softmax(tf.math.log(tf.maximum(probabilities, LEAST)) / temperature)
    student = tf.nn.log_softmax(logits / temperature)
    return -(temperature**2) * tf.reduce_sum(teacher * student, axis=-1)


def teacher_probabilities(
    reference: str, split: ImageSplit, classes: Sequence[str], log: Callable[[str], None]
) -> np.ndarray:
    """The probabilities (N, K) that an export gives for the images of a split, in the order of `classes`.

    The images are those of the split, without augmentation. Raises `UsageError` for an export of another task, of
    other classes or without probabilities, and for images that differ each time they are read.
    """
    folder = find_export(reference)
    card = read.read_card(folder)
    if (task := read.read_recipe(folder)["task"]) != "image_classification":
        raise UsageError(f"teacher is {reference!r}, an export for {task}; it must classify images.")
    if isinstance(split.pictures, Records) or split.view.random:
        raise UsageError(
            "teacher needs training images that are the same in each epoch; use crop='none' or 'square' and a data "
            "set that is not streamed."
        )
    labels = list(card["labels"])
    if set(labels) != set(classes):
        other = sorted(set(labels) ^ set(classes))[0]
        raise UsageError(
            f"teacher is {reference!r}, whose {len(labels)} classes are not the {len(classes)} of the data: "
            f"{display_name(other)!r} is in one of them only."
        )
    # A thread of its own is outside of the strategy's scope, whose replicas have no part in this.
    with ThreadPoolExecutor(1) as thread:
        probabilities = thread.submit(_answers, folder, split, reference, log).result()
    return probabilities[:, [labels.index(name) for name in classes]]


def _answers(folder: Path, split: ImageSplit, reference: str, log: Callable[[str], None]) -> np.ndarray:
    loaded = tf.saved_model.load(str(literal_path(folder)))
    signature = loaded.signatures["serving_default"]
    spec = signature.structured_input_signature[1]["images"]
    if "probabilities" not in signature.structured_outputs or spec.shape[-1] != split.view.shape[2]:
        raise UsageError(
            f"teacher is {reference!r}; it must give probabilities for images of {split.view.shape[2]} channels."
        )
    log(f"teacher: {folder.parent.name}/{folder.name} gives the probabilities of {len(split):,} images")
    batches = split.batches(250)
    parts = [
        signature(images=images)["probabilities"].numpy()
        for images, _ in progress(batches, "asking the teacher", int(batches.cardinality()))
    ]
    return np.concatenate(parts)

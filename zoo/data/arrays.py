"""Images that are given in Python: NumPy arrays, or `tf.data.Dataset`s that are read into memory."""

import hashlib
import numbers
import unicodedata
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from zoo.data.image_split import ImageSplit
from zoo.data.splits import Splits, display_name, fingerprint_of, repeated_warnings
from zoo.data.views import View
from zoo.errors import UsageError, reason

NAME = "arrays"  # of the data set, in recipes
SPLITS = ("train", "validation", "test")
ONE_HOT = " Of one-hot labels take the argmax along the last axis; from labels of length 1 remove that axis."


def array_splits(data: Mapping[str, Any], views: Mapping[str, View]) -> Splits[ImageSplit]:
    """The splits of images that are given in Python.

    Args:
      data: by the names "train", "validation" and "test", of which "train" is required, either a pair of images, uint8
        (N, height, width, C) or (N, height, width), and labels (N,), or a finite `tf.data.Dataset` of such pairs,
        batched or not, with images of one size. Labels are class ids from 0 on, or names. "classes", which may be
        absent, has the names of the ids.
      views: the view that is taken of the images of each split.

    Raises:
      UsageError: an unknown key, another type, shape or number of images and labels, or a label without a class.
    """
    if not isinstance(data, Mapping):
        raise UsageError(
            f'data is a {type(data).__name__}; it must be a dictionary, {{"train": (images, labels), "test": …}}.'
        )
    for key in data:
        if key not in (*SPLITS, "classes"):
            raise UsageError(f"data has the key {key!r}; it may have {', '.join(SPLITS)} and classes.")
    if data.get("train") is None:
        raise UsageError("data has no 'train'; give a pair of images and labels, or a tf.data.Dataset of pairs.")
    pairs = {split: _pair(split, data[split]) for split in SPLITS if data.get(split) is not None}
    classes = _classes(data.get("classes"), {split: labels for split, (_, labels) in pairs.items()})
    if len(classes) < 2:
        raise UsageError(f"data has one class, {display_name(classes[0])!r}; there must be two or more.")
    ids = {name: i for i, name in enumerate(classes)}
    splits: dict[str, ImageSplit | None] = dict.fromkeys(SPLITS)
    parts: list[str | bytes] = list(classes)
    for split, (images, labels) in pairs.items():
        if labels.dtype.kind in "US":
            labels = np.array([ids[str(label)] for label in labels])
        labels = labels.astype(np.int64)
        parts += [split, str(images.shape), images.tobytes(), labels.tobytes()]
        splits[split] = ImageSplit(_with_channels(images, views[split].shape[2]), labels, views[split])
    hashes = {split: [hashlib.sha256(i.tobytes()).digest() for i in images] for split, (images, _) in pairs.items()}
    warnings = tuple(repeated_warnings(hashes, "images"))
    fingerprint = fingerprint_of(parts, examples=sum(len(labels) for _, labels in pairs.values()))
    return Splits(NAME, **splits, classes=classes, warnings=warnings, fingerprint=fingerprint)


def _pair(split: str, given: Any) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(given, tf.data.Dataset):
        given = _read(split, given)
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise UsageError(f"data[{split!r}] must be a pair of images and labels, or a tf.data.Dataset of such pairs.")
    try:
        images, labels = np.asarray(given[0]), np.asarray(given[1])
    except ValueError as error:  # lists of parts of several lengths
        raise UsageError(
            f"data[{split!r}] is no pair of arrays ({reason(error)}); resize the images to one size."
        ) from error
    if images.dtype != np.uint8:
        raise UsageError(
            f"data[{split!r}]: the images are {images.dtype}; they must be uint8, with values from 0 to 255."
        )
    images = images[..., None] if images.ndim == 3 else images
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or labels.shape != images.shape[:1] or not len(images):
        raise UsageError(
            f"data[{split!r}]: images have shape {images.shape} and labels {labels.shape}; they must be "
            f"(N, height, width, 1 or 3) and (N,), with N of at least 1.{ONE_HOT if labels.ndim == 2 else ''}"
        )
    if labels.dtype.kind in "SOU":
        texts = (label.decode() if isinstance(label, bytes) else str(label) for label in labels)
        labels = np.array([unicodedata.normalize("NFC", text) for text in texts])
    if labels.dtype.kind not in "iuU" or (labels.dtype.kind != "U" and labels.min() < 0):
        raise UsageError(f"data[{split!r}]: labels must be class ids from 0 on, or names.")
    return images, labels


def _read(split: str, dataset: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    spec = dataset.element_spec
    pairs = isinstance(spec, tuple) and len(spec) == 2 and all(isinstance(part, tf.TensorSpec) for part in spec)
    if not pairs or dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise UsageError(f"data[{split!r}] must be a finite tf.data.Dataset of pairs of an image and a label.")
    _check_shapes(split, spec[0].shape, spec[1].shape)
    dataset = dataset.unbatch() if spec[1].shape.rank == 1 else dataset
    images, labels = [], []
    try:
        for image, label in dataset.as_numpy_iterator():
            if images and image.shape != images[0].shape:
                raise UsageError(
                    f"data[{split!r}] has images of {images[0].shape} and {image.shape}; resize them to one size."
                )
            images.append(image)
            labels.append(label)
    except tf.errors.InvalidArgumentError as error:  # batches of other shapes than their rank allows, too
        raise UsageError(f"data[{split!r}] cannot be read ({reason(error)}).{ONE_HOT}") from error
    if not images:
        raise UsageError(f"data[{split!r}] is empty.")
    return np.stack(images), np.array(labels)


def _check_shapes(split: str, image: tf.TensorShape, label: tf.TensorShape) -> None:
    """Raises `UsageError` for shapes of a tf.data.Dataset that are not those of an image and its label, or of batches.

    Of an image with channels and a label of rank 1, the label is one-hot: they look like a batch without channels.
    """
    if label.rank is None:
        raise UsageError(
            f"data[{split!r}] has labels of unknown shape; give tf.data.Dataset.from_generator an output_signature "
            "with shapes: (height, width, C) and () for examples, (None, height, width, C) and (None,) for batches."
        )
    known = (image.rank, label.rank) in ((2, 0), (3, 0), (3, 1), (4, 1), (None, 0), (None, 1))
    if known and label.rank == 1 and image.rank is not None:
        same = image[0] is None or label[0] is None or image[0] == label[0]
        known = same and not (image.rank == 3 and image[2] in (1, 3))
    if not known:
        raise UsageError(
            f"data[{split!r}] has images of shape {image} and labels of shape {label}; a label must be a class id or "
            f"a name, and elements may be batched once.{ONE_HOT}"
        )


def _classes(names: Any, labels: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    if len({"names" if part.dtype.kind == "U" else "ids" for part in labels.values()}) > 1:
        raise UsageError("data: the labels of one split are names and those of another class ids.")
    if names is not None and not (
        isinstance(names, (list, tuple)) or (isinstance(names, np.ndarray) and names.ndim == 1)
    ):
        raise UsageError(f"data['classes'] is a {type(names).__name__}; give a list of names in the order of the ids.")
    if names is not None:
        names = [name.decode() if isinstance(name, bytes) else name for name in names]
        wrong = [name for name in names if not isinstance(name, (str, numbers.Integral)) or not str(name).strip()]
        names = [unicodedata.normalize("NFC", str(name)) for name in names]
        if wrong or len(set(names)) < len(names):
            what = repr(wrong[0]) if wrong else f"{next(name for name in names if names.count(name) > 1)!r} twice"
            raise UsageError(f"data['classes'] has {what}; each class needs a name of its own.")
    named = next(iter(labels.values())).dtype.kind == "U"
    if named:
        seen = sorted({str(label) for part in labels.values() for label in part})
        names = seen if names is None else names
        if unknown := [label for label in seen if label not in names]:
            raise UsageError(f"data: the label {display_name(unknown[0])!r} is not among its classes.")
        return tuple(names)
    count = 1 + max(int(part.max()) for part in labels.values())
    names = [str(i) for i in range(count)] if names is None else names
    if count > len(names):
        raise UsageError(f"data: there are {len(names)} classes, and a label is {count - 1}.")
    return tuple(names)


def _with_channels(images: np.ndarray, channels: int) -> np.ndarray:
    if images.shape[-1] == channels:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=-1)
    return np.concatenate(
        [tf.image.rgb_to_grayscale(images[i : i + 1000]).numpy() for i in range(0, len(images), 1000)]
    )

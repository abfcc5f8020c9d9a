"""Images by name: any TFDS classification set, the embedded digits, the user's own folders."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from zoo.data import arrays
from zoo.data.file_hashes import cutting_keys, fingerprint_of_files, hash_files
from zoo.data.folders import SPLITS, Classes, copy_warnings, cut_classes, read_layout
from zoo.data.image_split import ImageSplit
from zoo.data.paths import display_path, own_path
from zoo.data.splits import (
    Splits,
    alike_warnings,
    class_warnings,
    describe_classes,
    describe_counts,
    display_name,
    fingerprint_of,
)
from zoo.data.stream import Records
from zoo.data.tfds_images import load_tfds, published_order
from zoo.data.views import View
from zoo.errors import UsageError, ZooError, inner_error

CACHE_LIMIT = 10**9  # bytes; larger data is decoded each time it is read
REPAIR = "Repair or remove such files"
ADVICE = f"{REPAIR}, or leave them out with --skip-bad-images."
LARGE = 500  # pixels; what the side of an image is taken to be where views keep its size


def load_images(
    dataset: str,
    train_view: View,
    test_view: View | None = None,
    *,
    seed: int = 0,
    validation_examples: int = 0,
    validation_cut: str = "random",
    skip_bad_images: bool = False,
    evaluation: bool = False,
    scored_only: bool = False,
    cache_limit: int = CACHE_LIMIT,
    log: Callable[[str], None] = print,
    given: Mapping[str, Any] | None = None,
) -> Splits[ImageSplit]:
    """Loads a data set with the views of training and of testing (also used for validation; by default the same).

    `dataset` is a TFDS name (`"mnist"`), an embedded set (`"digits"`, which needs no network) or `"folder:PATH"`: a
    folder with a subfolder of images for each class, or with train, val and test above those (see `zoo.data.folders`).
    A folder without splits is cut by the images' contents, about 80, 10 and 10 % of each class; with `evaluation` all
    of it is the test split. Data whose decoded size is above `cache_limit`, or whose view is random, is read and
    decoded each time; with `scored_only` also the training split of a TFDS set, of which nothing is read then. Where
    there is no validation split, `validation_examples` are cut from train: `"random"` by the seed (the last ones where
    a set is streamed, which TFDS has shuffled) or from the `"end"` of the authors' own order, which TFDS sets alone
    have. `"arrays"` is what is `given` in Python (see `zoo.data.arrays`).
    Raises `UsageError` for an unknown name, `ZooError` for data that cannot be read or had.
    """
    views = {"train": train_view, "validation": test_view or train_view, "test": test_view or train_view}
    if dataset == arrays.NAME:
        if given is None:
            raise UsageError(
                f"The data set {dataset!r} is given in Python, zoo.run(…, data=…); name another --dataset."
            )
        data = arrays.array_splits(given, views)
        data = replace(data, **{split: _stored(part) for split, part in data.present.items()})
        if data.validation is data.test is None and not validation_examples:
            raise UsageError("data has neither 'validation' nor 'test'; give one, or set validation_examples.")
    elif dataset.startswith("folder:"):
        data = _folder(
            own_path(dataset, "a folder with a subfolder of images for each class"),
            views,
            skip_bad_images=skip_bad_images,
            evaluation=evaluation,
            cache_limit=cache_limit,
        )
    elif dataset == "digits":
        data = _digits(views)
    else:
        data = load_tfds(dataset, views, cache_limit, log, scored_only=scored_only)
    if data.train is not None and data.validation is None and validation_examples:
        data = _cut_validation(data, views["validation"], seed, validation_examples, validation_cut)
    return _described(
        data, data.found.splitlines() if data.found else [], dataset.startswith("folder:") or given is not None
    )


def find_fault(data: Splits[ImageSplit], error: tf.errors.OpError, *, advice: str = ADVICE) -> ZooError | None:
    """What made TensorFlow fail with `error` while it read streamed images: the file that cannot be decoded.

    TensorFlow does not say which one it is, so that all are decoded until one fails. None where it is no file.
    """
    found = inner_error(error)
    if found is None and isinstance(error, tf.errors.InvalidArgumentError):
        faults = (part.first_fault(f"{data.name} {split}") for split, part in data.present.items())
        found = next(filter(None, faults), None)
    return ZooError(f"{found}. {advice}") if found else None


def _cut_validation(data: Splits[ImageSplit], view: View, seed: int, examples: int, cut_from: str) -> Splits:
    """The data with validation examples cut from its training split."""
    count = len(data.train)
    if examples >= count:
        raise UsageError(f"validation_examples is {examples}, but {data.name} has {count} training examples.")
    if isinstance(data.train.pictures, Records):
        cut = np.arange(count)[::-1]
    elif cut_from == "random":
        cut = np.random.default_rng([seed, 1]).permutation(count)
        if data.name == arrays.NAME or data.name.startswith("folder:"):
            cut, examples = _with_copies(data, cut, examples)
    elif data.name == arrays.NAME:
        cut = np.arange(count)[::-1]
    elif data.name.startswith("folder:"):
        raise UsageError(f"validation_cut is 'end', but the files of {data.name} have no published order.")
    else:
        cut = published_order(count)[::-1]
    validation, train = np.sort(cut[:examples]), np.sort(cut[examples:])
    held = replace(data.train.take(validation), view=view)
    return replace(data, train=data.train.take(train), validation=held)


def _with_copies(data: Splits[ImageSplit], order: np.ndarray, examples: int) -> tuple[np.ndarray, int]:
    """The order with the copies of each image behind it, and how many of the first make at least `examples` whole
    groups of copies."""
    pictures = data.train.pictures
    if pictures.dtype.kind == "S":
        hashes = hash_files([Path(os.fsdecode(path)) for path in pictures])
        keys = [hashes.get(Path(os.fsdecode(path)), path) for path in pictures]
    else:
        keys = [hashlib.sha256(picture.tobytes()).digest() for picture in pictures]
    groups: dict[Any, list[int]] = {}
    for i in order:
        groups.setdefault(keys[i], []).append(int(i))
    ends = np.cumsum([len(group) for group in groups.values()])
    whole = int(ends[np.searchsorted(ends, examples)])
    if whole >= len(order):
        raise ZooError(f"{data.name}: {examples} validation examples and their copies are all of the training split.")
    return np.concatenate([np.array(group) for group in groups.values()]), whole


def _described(data: Splits[ImageSplit], notes: Sequence[str], own: bool) -> Splits[ImageSplit]:
    """The data with what was found: the numbers of images, and of a folder those of each class."""
    sizes = {split: len(part) for split, part in data.present.items()}
    found = [f"{data.name}: {describe_counts(sizes, 'images')}, {len(data.classes):,} classes"]
    if not own:
        names = ", ".join(map(display_name, data.classes[:20])) + (", …" if len(data.classes) > 20 else "")
        return replace(data, found="\n".join([*found, f"  classes: {names}", *notes]))
    labels = {split: part.labels for split, part in data.present.items()}
    found += [*(f"  {note}" for note in notes), *describe_classes(data.classes, labels)]
    warnings = (*data.warnings, *alike_warnings(data.classes, "classes"), *class_warnings(data.classes, labels))
    return replace(data, found="\n".join(found), warnings=warnings)


def _digits(views: dict[str, View]) -> Splits[ImageSplit]:
    """scikit-learn's 1,797 scans of handwritten digits, 8 × 8, always cut into the same 1,297, 250 and 250."""
    from sklearn.datasets import load_digits

    scans, labels = load_digits(return_X_y=True)
    pixels = np.rint(scans.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    fingerprint = fingerprint_of([pixels.tobytes(), labels.tobytes()], examples=len(labels))
    pixels = np.repeat(pixels, views["test"].shape[2], axis=-1)
    order = np.random.default_rng(1797).permutation(len(labels))
    indices = dict(zip(SPLITS, np.split(order, [1297, 1547]), strict=True))
    splits = {
        split: _stored(ImageSplit(pixels[part], labels[part].astype(np.int64), views[split]))
        for split, part in indices.items()
    }
    return Splits("digits", **splits, classes=tuple("0123456789"), fingerprint=fingerprint)


def _stored(split: ImageSplit) -> ImageSplit:
    """The split with its views taken once, where they are the same each time."""
    if not split.view.storable:
        return split
    return replace(split, pictures=np.concatenate([images.numpy() for images, _ in split.batches(1000)]))


def _folder(
    root: Path, views: dict[str, View], *, skip_bad_images: bool, evaluation: bool, cache_limit: int
) -> Splits[ImageSplit]:
    name = f"folder:{display_path(root)}"
    layout = read_layout(root, evaluation=evaluation)
    notes, warnings, files = layout.notes, layout.warnings, layout.splits
    everything = [path for classes in files.values() for paths in classes.values() for path in paths]
    hashes = hash_files(everything)
    if "all" in files:
        if evaluation:
            files, how = {"test": files["all"]}, "all of it for evaluation"
        else:
            files, more = cut_classes(files["all"], hashes, cutting_keys(everything))
            how = "cut by a hash of each image: about 80 % train, 10 % validation and 10 % test of each class"
            warnings += more
        notes.append(how)
        different = len(set(hashes.values()))
        if different < len(hashes):
            notes.append(f"{len(hashes) - different:,} files are copies of others, and are cut with them")
    for split in ("train", "test") if "test" in files else ("train",):
        if not files.get(split) and not evaluation:
            counts = Counter({label: len(paths) for found in files.values() for label, paths in found.items()})
            most, count = counts.most_common(1)[0]
            raise ZooError(
                f"{name}: there are too few images for a {split} split: {count} in the largest class, "
                f"{display_name(most)}; at least 4 are needed, and 20 in each class are better."
            )
    classes = tuple(sorted({label for found in files.values() for label in found}))
    splits = {split: _of_files(found, classes, views[split]) for split, found in files.items() if found}
    warnings += copy_warnings(files, hashes)
    shape = [n or LARGE for n in views["test"].shape]
    held = sum(len(split) * int(np.prod(shape)) for split in splits.values()) <= cache_limit
    faults = []
    if held or skip_bad_images:  # for larger data, decoding every file once more would take too long
        for split, part in splits.items():
            keep = held and part.view.storable
            splits[split], bad = part.decoded(f"{display_path(root.name)} {split}", keep=keep)
            faults += bad
            if not len(splits[split]):
                raise ZooError(f"{name}: none of the {len(part)} files of the {split} split can be decoded: {bad[0]}.")
    if faults and not skip_bad_images:
        more = f"; and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise ZooError(f"{faults[0]}{more}. {f'{REPAIR}.' if evaluation else ADVICE}")
    if faults:
        more = f"; and {len(faults) - 1} more" if len(faults) > 1 else ""
        warnings.append(f"left out: {faults[0]}{more}")
        left = {int(label) for part in splits.values() for label in part.labels}
        for i, label in enumerate(classes):
            if i not in left:
                raise ZooError(
                    f"{name}: no file of the class {display_name(label)!r} can be decoded; remove its folder."
                )
    return Splits(
        name,
        splits.get("train"),
        splits.get("validation"),
        splits.get("test"),
        classes,
        "\n".join(notes),
        tuple(warnings),
        fingerprint_of_files(root, everything, hashes),
    )


def _of_files(found: Classes, classes: Sequence[str], view: View) -> ImageSplit:
    ids = {label: i for i, label in enumerate(classes)}
    paths = [bytes(path) for label in sorted(found) for path in found[label]]
    labels = [ids[label] for label in sorted(found) for _ in found[label]]
    return ImageSplit(np.array(paths), np.array(labels, np.int64), view)

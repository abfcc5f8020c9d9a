"""Texts with a label each: TFDS's sets of text classification, the user's own files."""

import random
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo.data.pairs import read_columns
from zoo.errors import UsageError, ZooError


@dataclass(frozen=True)
class Texts:
    """Texts and, one for each, the number of its class."""

    texts: tuple[str, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class LabelledData:
    """A data set of labelled texts, cut into its splits, and the names of its classes."""

    name: str
    classes: tuple[str, ...]
    train: Texts
    validation: Texts
    test: Texts


def load_labelled(
    dataset: str, *, validation_examples: int, seed: int, say: Callable[[str], None] = print
) -> LabelledData:
    """Loads labelled texts, normalised to NFC.

    `dataset` is a set of TFDS with a text and a label (`"imdb_reviews"`), or `"tsv:FILE"`: a text, a tab and its label
    a line, of which each tenth goes to test. The validation split is drawn from the training split by the seed. Raises
    `UsageError` for an unknown name, `ZooError` for data that cannot be read or are too few.
    """
    if dataset.startswith("tsv:"):
        rows = read_columns(Path(dataset.removeprefix("tsv:")), "a text, a tab and its label")
        classes = tuple(sorted({label for _, label in rows}))
        numbered = [(text, classes.index(label)) for text, label in rows]
        train = [row for i, row in enumerate(numbered) if i % 10 != 9]
        test = numbered[9::10]
    else:
        classes, train, test = _tfds(dataset, say)
    if validation_examples >= len(train) or not test:
        raise ZooError(
            f"{dataset} has {len(train):,} training and {len(test):,} test texts, too few with "
            f"{validation_examples:,} for validation; lower --validation-examples."
        )
    order = list(range(len(train)))
    random.Random(seed).shuffle(order)
    held = set(order[:validation_examples])
    validation = [row for i, row in enumerate(train) if i in held]
    train = [row for i, row in enumerate(train) if i not in held]
    return LabelledData(dataset, classes, *map(_texts, (train, validation, test)))


def _texts(rows: Sequence[tuple[str, int]]) -> Texts:
    return Texts(tuple(unicodedata.normalize("NFC", text) for text, _ in rows), tuple(label for _, label in rows))


def _tfds(dataset: str, say: Callable[[str], None]):
    import tensorflow_datasets as tfds

    from zoo.data.prepared import prepared

    unknown = f"TFDS has no labelled texts {dataset!r}; imdb_reviews are some. Or tsv:FILE."
    try:
        builder = tfds.builder(dataset)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise UsageError(unknown) from error
    features = builder.info.features
    if not ({"text", "label"} <= set(features) and isinstance(features["label"], tfds.features.ClassLabel)):
        raise UsageError(unknown)
    builder = prepared(dataset, "tsv:FILE", say, builder)
    parts = []
    for split in ("train", "test"):
        rows = builder.as_dataset(split=split).as_numpy_iterator()
        parts.append([(row["text"].decode(), int(row["label"])) for row in rows])
    return tuple(features["label"].names), *parts

"""Texts with a label each: TFDS's sets of text classification, names of CLDR, the user's own files."""

import random
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import chain
from pathlib import Path

from zoo.data.columns import read_columns
from zoo.data.names import KINDS, load_names
from zoo.data.paths import display_path, own_path, unknown_data
from zoo.data.splits import (
    Splits,
    alike_warnings,
    class_warnings,
    cut_by_content,
    describe_classes,
    describe_counts,
    display_name,
    fingerprint_of,
    repeated_warnings,
)
from zoo.errors import ZooError

# What the cells of the first line say where it is a header and not a text with its label.
TEXTS = (
    r"(texts?|sentences?|reviews?|comments?|content|documents?|messages?|tweets?|titles?|headlines?|descriptions?"
    r"|utterances?|questions?|body|input)\d?"
)
LABELS = (
    r"(labels?|class|classes|category|categories|sentiments?|tags?|target|topic|intent|genre|polarity|emotion|score"
    r"|rating|output|y)\d?"
)
TEXT_TITLE, LABEL_TITLE = (re.compile(rf"([a-z]+[ _-])?{words}([ _-]([a-z]+|\d))?") for words in (TEXTS, LABELS))
HEADER = re.compile(f"{TEXT_TITLE.pattern}|{LABEL_TITLE.pattern}")
MISSING = {"nan", "null", "none", "n/a", "na", "<na>"}  # what programs write for a value that is missing


@dataclass(frozen=True)
class Texts:
    """Texts and, one for each, the id of its class."""

    texts: tuple[str, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def first(self, count: int) -> "Texts":
        """The first `count` examples."""
        return Texts(self.texts[:count], self.labels[:count])


def load_labelled(
    dataset: str,
    *,
    validation_examples: int,
    seed: int,
    evaluation: bool = False,
    log: Callable[[str], None] = print,
) -> Splits[Texts]:
    """Loads labelled texts, normalised to NFC.

    `dataset` is a set of TFDS with a text and a label (`"imdb_reviews"`), whose validation split is drawn from its
    training split by the seed; `"cldr_names"`, names of cities, currencies, languages and territories in 29 languages
    (no network), cut by a hash of what they name, so that all names of a thing are in one split; or
    `"tsv:FILE"`: a text, a tab and its label a line, cut by a hash of the text, so that equal texts are in one split.
    A cut gives 10 % to test and `validation_examples` to validation. With `evaluation`, a file is not cut: all of it
    is the test split. Raises `UsageError` for an unknown name, `ZooError` for data that cannot be read, are too few, or
    whose labels cannot be used.
    """
    name, notes, warnings, files, size, source, whole = display_path(dataset), (), [], 0, 0, "", ()
    if dataset.startswith("tsv:"):
        path = own_path(dataset, "a file with a text, a tab and its label on each line")
        columns = read_columns(path, "a text, a tab and its label", HEADER)
        classes = _classes(path, columns.rows, evaluation)
        _check_header(path, columns.header)
        ids = {label: i for i, label in enumerate(classes)}
        rows = whole = [(text, ids[label]) for text, label in columns.rows]
        parts = {"test": rows} if evaluation else _cut(name, rows, [text for text, _ in rows], validation_examples)
        how = "all of it for evaluation" if evaluation else "cut by a hash of the text: 10 % for test"
        notes, files, size = (how, *columns.notes), 1, columns.size
        warnings = [*columns.warnings, *_label_warnings(classes, rows)]
    elif dataset == "cldr_names":
        classes = KINDS
        rows, things = load_names()
        source = f"Babel {metadata.version('babel')}"
        parts = _cut(name, rows, things, validation_examples)
        notes = (f"from {source}", "cut by a hash of what is named: 10 % for test")
    else:
        classes, train, test = _tfds(dataset, log)
        _check_sizes(name, len(train), len(test), validation_examples)
        order = list(range(len(train)))
        random.Random(seed).shuffle(order)
        held = set(order[:validation_examples])
        parts = {
            "train": [row for i, row in enumerate(train) if i not in held],
            "validation": [row for i, row in enumerate(train) if i in held],
            "test": test,
        }
    splits = {split: _texts(rows) for split, rows in parts.items() if rows}
    labels = {split: part.labels for split, part in splits.items()}
    sizes = {split: len(part) for split, part in splits.items()}
    found = [f"{name}: {describe_counts(sizes, 'texts')}, {len(classes):,} classes", *(f"  {n}" for n in notes)]
    # A file has one fingerprint, whether it is cut or not.
    hashed = [_texts(whole)] if whole else splits.values()
    content = chain.from_iterable((*part.texts, bytes(str(part.labels), "ascii")) for part in hashed)
    return Splits(
        name,
        splits.get("train"),
        splits.get("validation"),
        splits.get("test"),
        classes,
        "\n".join([*found, *describe_classes(classes, labels)]),
        (*warnings, *class_warnings(classes, labels), *repeated(splits)) if files else (),
        fingerprint_of(chain(classes, content), examples=sum(sizes.values()), files=files, size=size, source=source),
    )


def repeated(parts: Mapping[str, Texts]) -> list[str]:
    """Warnings of texts that are in two splits."""
    return repeated_warnings({split: part.texts for split, part in parts.items()}, "texts")


def _classes(path: Path, rows: Sequence[tuple[str, str]], evaluation: bool) -> tuple[str, ...]:
    """The class names of a file's rows. Raises `ZooError` if the second column cannot be labels."""
    texts, labels = {text for text, _ in rows}, Counter(label for _, label in rows)
    name = display_path(path)
    if not rows:
        raise ZooError(f"{name} has no row; a line is a text, a tab and its label.")
    if len(labels) == 1 and not evaluation:
        raise ZooError(f"{name}: every row has the label {display_name(rows[0][1])!r}; two or more are needed.")
    if evaluation:  # a score may be of any rows
        return tuple(sorted(labels))
    counted = f"{name}: {len(labels):,} different labels in {len(rows):,} rows"
    if len(rows) >= 20 and len(labels) > max(2, len(texts)):
        raise ZooError(f"{counted}, and {len(texts):,} different texts. The columns are swapped: text first.")
    if len(rows) >= 20 and len(labels) > len(rows) / 2:
        raise ZooError(f"{counted}; a class needs several texts. A line is a text, a tab and its label.")
    return tuple(sorted(labels))


def _check_header(path: Path, header: tuple[str, str] | None) -> None:
    """Refuses a file whose header says that the label comes first."""
    if header and not LABEL_TITLE.fullmatch(header[1]) and not TEXT_TITLE.fullmatch(header[0]):
        raise ZooError(
            f"{display_path(path)}: the header ({header[0]}, {header[1]}) says that the label comes first; a line is a "
            "text, a tab and its label."
        )


def _label_warnings(classes: Sequence[str], rows: Sequence[tuple[str, int]]) -> list[str]:
    counts = Counter(label for _, label in rows)
    warnings = [
        f"{counts[i]:,} rows have the label {name!r}, which programs write for a missing value"
        for i, name in enumerate(classes)
        if name.casefold() in MISSING
    ]
    warnings += alike_warnings(classes, "labels")
    first = rows[0]
    if len(classes) > 2 and counts[first[1]] == 1 and 1 not in [counts[i] for i in counts if i != first[1]]:
        warnings.append(
            f"the label of the first row, {display_name(classes[first[1]])!r}, is in no other row; if that row is a "
            "header, remove it"
        )
    several: dict[str, set[int]] = {}
    for text, label in rows:
        several.setdefault(text, set()).add(label)
    if differing := [text for text, labels in several.items() if len(labels) > 1]:
        how_many = f"{len(differing):,} text{'s have' if len(differing) > 1 else ' has'}"
        warnings.append(f"{how_many} several labels, for example {display_name(differing[0])!r}")
    return warnings


def _check_sizes(name: str, train: int, test: int, validation_examples: int) -> None:
    if validation_examples >= train or not test:
        raise _too_few(name, train, test, validation_examples)


def _too_few(name: str, train: int, test: int, validation_examples: int) -> ZooError:
    return ZooError(
        f"{name} has {train:,} training and {test:,} test texts, too few with {validation_examples:,} for validation; "
        "lower --validation-examples."
    )


def _cut(
    name: str, rows: Sequence[tuple[str, int]], contents: Sequence[str], validation_examples: int
) -> dict[str, list[tuple[str, int]]]:
    sides = cut_by_content(name, contents, validation=validation_examples, test=0.1)
    held = len(sides["train"]) + len(sides["validation"])
    if not sides["train"]:  # equal texts are in one split, so that a few more than asked for may be in validation
        raise _too_few(name, held, len(sides["test"]), validation_examples)
    return {split: [rows[i] for i in indices] for split, indices in sides.items()}


def _texts(rows: Sequence[tuple[str, int]]) -> Texts:
    return Texts(tuple(unicodedata.normalize("NFC", text) for text, _ in rows), tuple(label for _, label in rows))


def _tfds(dataset: str, log: Callable[[str], None]):
    import tensorflow_datasets as tfds

    from zoo.data.prepared import prepared

    known = ["cldr_names", "imdb_reviews"]  # and other sets of TFDS
    unknown = unknown_data(dataset, "There are no labelled texts", known, "tsv:FILE")
    try:
        builder = tfds.builder(dataset)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise unknown from error
    features = builder.info.features
    if not ({"text", "label"} <= set(features) and isinstance(features["label"], tfds.features.ClassLabel)):
        raise unknown
    builder = prepared(dataset, "cldr_names, or tsv:FILE", log, builder)
    parts = []
    for split in ("train", "test"):
        rows = builder.as_dataset(split=split).as_numpy_iterator()
        parts.append([(row["text"].decode(), int(row["label"])) for row in rows])
    return tuple(features["label"].names), *parts

"""What every data set is read into: its splits, its classes, what was found, and a fingerprint."""

import hashlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from zoo.errors import ZooError

T = TypeVar("T", bound=Sized)

OVERLAPS = (("validation", "train"), ("test", "train"), ("test", "validation"))  # a split, and one it must not share
SPLIT_WORDS = {"train": "training", "validation": "validation"}

MAX_LISTED = 20  # classes that are listed one by one
UNBALANCED = 10  # a warning is given from this ratio of the largest to the smallest class on


@dataclass(frozen=True)
class Splits(Generic[T]):
    """A data set cut into its splits.

    A split that is absent is None. `train` is None only where own data was loaded with `evaluation=True` and has no
    splits of its own: all of it is `test` then. `classes` names the classes of classification and the tags of tagging
    in the order of their ids; it is empty where there are none. `found` says what was read and how it was
    split, `warnings` what may be wrong with it, one line each. `fingerprint` is one of `fingerprint_of`.
    """

    name: str
    train: T | None
    validation: T | None
    test: T | None
    classes: tuple[str, ...] = ()
    found: str = ""
    warnings: tuple[str, ...] = ()
    fingerprint: Mapping[str, int | str] = field(default_factory=dict)

    @property
    def scored(self) -> T:
        """The split that results are reported on: test, else validation, else train."""
        return next(split for split in (self.test, self.validation, self.train) if split is not None)

    @property
    def scored_name(self) -> str:
        """The name of that split."""
        return next(name for name, split in self.present.items() if split is self.scored)

    @property
    def present(self) -> dict[str, T]:
        """The splits that there are, by name, in the order train, validation, test."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in splits.items() if split is not None}

    @property
    def description(self) -> str:
        """`found` and the warnings, to be printed before training."""
        return "\n".join([self.found, *(f"warning: {line}" for line in self.warnings)])


def first_examples(splits: Splits[T], count: int) -> Splits[T]:
    """The splits with only the first `count` examples of validation and test. A split has a method `first`."""
    shorter = {name: split.first(count) for name, split in splits.present.items() if name != "train"}
    return replace(splits, **shorter)


def describe_counts(sizes: Mapping[str, int], unit: str) -> str:
    """The number of examples in each split, for example "80 train, 10 validation and 10 test images"."""
    counts = [f"{count:,} {name}" for name, count in sizes.items()]
    listed = " and ".join([", ".join(counts[:-1]), counts[-1]]) if len(counts) > 1 else "".join(counts)
    return f"{listed} {unit}"


def describe_classes(classes: Sequence[str], labels: Mapping[str, Iterable[int]]) -> list[str]:
    """A line for each class with its number of examples in each split; beyond `MAX_LISTED` classes a summary.

    `labels` has the class ids of the examples of each split.
    """
    counts = {split: Counter(int(label) for label in ids) for split, ids in labels.items()}
    lines = [
        f"  {display_name(name)}: {', '.join(f'{count[i]:,} {split}' for split, count in counts.items())}"
        for i, name in enumerate(classes[:MAX_LISTED])
    ]
    rest = range(MAX_LISTED, len(classes))
    if rest:
        totals = [sum(count[i] for count in counts.values()) for i in rest]
        lines.append(f"  and {len(rest):,} more classes of {min(totals):,} to {max(totals):,} examples each")
    return lines


def class_warnings(classes: Sequence[str], labels: Mapping[str, Iterable[int]]) -> list[str]:
    """Classes with fewer than two training examples, and classes of very different sizes."""
    counts = Counter(int(label) for label in labels.get("train", ()))
    if not counts:
        return []
    warnings = []
    rare = [display_name(name) for i, name in enumerate(classes) if counts[i] < 2]
    if rare:
        warnings.append(f"{few(rare)} {'has' if len(rare) == 1 else 'have'} fewer than two training examples")
    largest = max(range(len(classes)), key=lambda i: counts[i])
    smallest = min(range(len(classes)), key=lambda i: counts[i])
    if counts[largest] >= UNBALANCED * max(counts[smallest], 1):
        share = counts[largest] / sum(counts.values())
        warnings.append(
            f"the classes are unbalanced: {counts[largest]:,} training examples of {display_name(classes[largest])}, "
            f"{counts[smallest]:,} of {display_name(classes[smallest])}; always answering the first is right for "
            f"{share:.0%} of them"
        )
    absent = []
    for split, ids in labels.items():
        seen = set(map(int, ids))
        missing = [display_name(name) for i, name in enumerate(classes) if i not in seen]
        if split != "train" and missing:
            absent.append(f"the {split} split has no example of {few(missing)}")
    return warnings + absent


def repeated_warnings(contents: Mapping[str, Sequence[Hashable]], unit: str) -> list[str]:
    """Examples that are in two splits; `contents` has those of each split."""
    warnings = []
    for split, other in OVERLAPS:
        known, part = set(contents.get(other, ())), contents.get(split, ())
        if count := sum(one in known for one in part):
            warnings.append(f"{count:,} of {len(part):,} {split} {unit} are in the {SPLIT_WORDS[other]} split, too")
    return warnings


def as_read(name: str) -> str:
    """A class name without regard to case, spacing and characters that cannot be seen."""
    visible = "".join(c for c in name if c.isprintable() or c.isspace())
    return " ".join(visible.casefold().split())


def alike_warnings(classes: Sequence[str], what: str) -> list[str]:
    """Class names that differ only in case, spacing or characters that cannot be seen."""
    alike: dict[str, list[str]] = {}
    for name in classes:
        alike.setdefault(as_read(name), []).append(name)
    return [
        f"the {what} {' and '.join(map(ascii, names))} differ in case or spacing only"
        for names in alike.values()
        if len(names) > 1
    ]


def few(names: Sequence[str]) -> str:
    """The first names, and how many more there are, as text."""
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def display_name(name: str) -> str:
    """A class name on one line: control characters escaped, at most 60 characters."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in name)
    return line if len(line) <= 60 else f"{line[:59]}…"


def fingerprint_of(
    parts: Iterable[str | bytes], *, examples: int, files: int = 0, size: int = 0, source: str = ""
) -> dict[str, int | str]:
    """A fingerprint over all parts of a data set, in order; each part is hashed with its length.

    Its keys are `files`, `examples`, `bytes` and `sha256`, and `source` where a package contains the data: its name and
    version, such as "Babel 2.18.0".
    """
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    fingerprint = {"files": files, "examples": examples, "bytes": size, "sha256": digest.hexdigest()}
    return {**fingerprint, "source": source} if source else fingerprint


def difference(there: Mapping[str, int | str], here: Mapping[str, int | str], when: str) -> str | None:
    """How the data of a fingerprint, `here`, differ from those of the time `when`, for an error; None for the same
    data, whatever they came with."""
    differing = [key for key in {**here, **there} if key != "source" and there.get(key) != here.get(key)]
    if not differing:
        return None
    counts = [f"{here.get(key)} {key} now, {there.get(key)} {when}" for key in differing if key != "sha256"]
    found = counts or ["as many files and examples, but other content"]
    if "source" in here:
        found.append(f"{here['source']} now, {there.get('source', 'not recorded')} {when}")
    return "; ".join(found)


def share_of(content: str) -> float:
    """A number from 0 to 1 that is a hash of a text, without regard to case and spacing: the same on every machine.

    Rows are cut by it: the same text is always on the same side, and rows that are added later move no other row.
    """
    digest = hashlib.sha256(" ".join(content.casefold().split()).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def cut_by_content(name: str, contents: Sequence[str], *, validation: float | int, test: float) -> dict[str, list[int]]:
    """The indices of rows of the data called `name` in train, validation and test, by the hash of their content.

    Rows whose `share_of` is below `test` go to test, those of the rest below `test + validation` to validation. An
    integer `validation` takes the rows of the rest with the lowest shares: as many, or a few more so that equal rows
    stay together. Each split gets one row at least. Raises `ZooError` if there are fewer different rows than splits.
    """
    shares = [share_of(content) for content in contents]
    counts = Counter(shares)
    distinct = sorted(counts)
    wanted = 1 + bool(validation) + bool(test)
    if len(distinct) < wanted:
        counted = f"{len(shares):,} row{'s' if len(shares) != 1 else ''}, {len(distinct):,} different"
        raise ZooError(f"{name} has {counted}; at least {wanted} different ones are needed to cut it.")
    last = len(distinct) - 1  # one is left for train
    first_cut = min(max(bisect_left(distinct, test), bool(test)), last - bool(validation))
    if isinstance(validation, int):
        second_cut = first_cut
        while validation > 0 and second_cut < len(distinct):
            validation -= counts[distinct[second_cut]]
            second_cut += 1
    else:
        second_cut = min(max(bisect_left(distinct, test + validation), first_cut + bool(validation)), last)
    ranks = {share: rank for rank, share in enumerate(distinct)}
    sides: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for index, share in enumerate(shares):
        rank = ranks[share]
        side = "test" if rank < first_cut else "validation" if rank < second_cut else "train"
        sides[side].append(index)
    return sides

"""Pairs of texts to translate: Multi30k, dates in thirty languages, the user's own files."""

import datetime
import random
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from zoo.data.text import read_utf8
from zoo.errors import UsageError, ZooError, nearest

EMBEDDED = ("dates",)
# Locales whose long and full formats write the month as a word, so that a day is never taken for a month.
LOCALES = (
    "bg", "ca", "cs", "da", "de", "el", "en_GB", "en_US", "es", "et", "fi", "fr", "hr", "hu", "id",
    "is", "it", "lt", "lv", "nb", "nl", "pl", "pt", "ro", "ru", "sk", "sl", "sv", "tr", "uk",
)  # fmt: skip
FIRST_DAY, LAST_DAY = datetime.date(1900, 1, 1), datetime.date(2099, 12, 31)


@dataclass(frozen=True)
class Pairs:
    """Texts and, one for each, their translations."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.sources)


@dataclass(frozen=True)
class PairData:
    """A data set of pairs, cut into its splits."""

    name: str
    train: Pairs
    validation: Pairs
    test: Pairs


def load_pairs(dataset: str, say: Callable[[str], None] = print) -> PairData:
    """Loads pairs of texts, normalised to NFC.

    `dataset` is `"multi30k/en-de"` or `"multi30k/en-fr"`; `"dates"`, dates from 1900 to 2099 as `LOCALES` write them,
    to be written as ISO 8601 (no network; no day is in two splits); or `"tsv:FILE"`, a pair a line parted by a tab,
    of which each twentieth goes to test and the one after it to validation. Raises `UsageError` for an unknown name,
    `ZooError` for data that cannot be read.
    """
    if dataset == "dates":
        parts = _dates()
    elif dataset.startswith("tsv:"):
        parts = _tsv(Path(dataset.removeprefix("tsv:")))
    elif dataset in ("multi30k/en-de", "multi30k/en-fr"):
        parts = _multi30k(dataset, say)
    else:
        known = ["multi30k/en-de", "multi30k/en-fr", *EMBEDDED]
        raise UsageError(f"There are no pairs {dataset!r}. {nearest(dataset, known)} Or tsv:FILE.")
    for split, part in zip(("training", "validation", "test"), parts, strict=True):
        if not len(part):
            raise ZooError(f"{dataset}: there is no pair in the {split} split.")
    return PairData(dataset, *parts)


def pairs(rows: Iterable[tuple[str, str]]) -> Pairs:
    """Rows of source and target, as one."""
    rows = [tuple(unicodedata.normalize("NFC", text) for text in row) for row in rows]
    return Pairs(tuple(source for source, _ in rows), tuple(target for _, target in rows))


def _multi30k(dataset: str, say: Callable[[str], None]) -> list[Pairs]:
    from zoo.data.multi30k import Multi30k
    from zoo.data.prepared import prepared

    config = dataset.partition("/")[2]
    source, target = config.split("-")
    builder = prepared(dataset, "dates, or tsv:FILE", say, Multi30k(config=config))
    parts = []
    for split in ("train", "validation", "test"):
        rows = builder.as_dataset(split=split).as_numpy_iterator()
        parts.append(pairs((row[source].decode(), row[target].decode()) for row in rows))
    return parts


def _dates() -> list[Pairs]:
    from babel.dates import format_date

    draw = random.Random(1900)
    days = [FIRST_DAY + datetime.timedelta(n) for n in range((LAST_DAY - FIRST_DAY).days + 1)]
    draw.shuffle(days)
    rows = [
        (format_date(day, format=draw.choice(("long", "full")), locale=draw.choice(LOCALES)), day.isoformat())
        for day in days[:44_000]
    ]
    return [pairs(rows[:40_000]), pairs(rows[40_000:42_000]), pairs(rows[42_000:])]


def _tsv(path: Path) -> list[Pairs]:
    rows = read_columns(path, "a text, a tab and its translation")
    held = {19: 2, 18: 1}
    return [pairs(row for i, row in enumerate(rows) if held.get(i % 20, 0) == part) for part in range(3)]


def read_columns(path: Path, expected: str) -> list[tuple[str, str]]:
    """The two columns of a file, parted by a tab; empty lines are passed over.

    Raises `UsageError` where there is no such file, `ZooError` that names the line where it is not as `expected`.
    """
    rows = []
    if not path.exists():
        raise UsageError(f"tsv:{path}: there is no such file.")
    for number, line in enumerate(read_utf8(path).splitlines(), start=1):
        if not line.strip():
            continue
        columns = line.split("\t")
        if len(columns) != 2 or not all(column.strip() for column in columns):
            raise ZooError(
                f"{path}, line {number}: {len(columns)} column{'s' if len(columns) > 1 else ''} parted by tabs; "
                f"a line is {expected}."
            )
        rows.append((columns[0].strip(), columns[1].strip()))
    return rows

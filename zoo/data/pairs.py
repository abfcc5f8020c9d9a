"""Pairs of texts to translate: Multi30k, dates in thirty languages, the user's own files."""

import datetime
import random
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from itertools import chain

from zoo.data.columns import Columns, read_columns
from zoo.data.paths import display_path, own_path, unknown_data
from zoo.data.splits import Splits, cut_by_content, describe_counts, fingerprint_of, repeated_warnings
from zoo.errors import ZooError

EMBEDDED = ("dates",)
# Locales whose long and full formats write the month as a word, so that a day is never taken for a month.
LOCALES = (
    "bg", "ca", "cs", "da", "de", "el", "en_GB", "en_US", "es", "et", "fi", "fr", "hr", "hu", "id",
    "is", "it", "lt", "lv", "nb", "nl", "pl", "pt", "ro", "ru", "sk", "sl", "sv", "tr", "uk",
)  # fmt: skip
FIRST_DAY, LAST_DAY = datetime.date(1900, 1, 1), datetime.date(2099, 12, 31)
# What the cells of the first line say where it is a header and not a pair.
CODES = (
    r"(ar|be|bg|bn|ca|cs|da|de|el|en|es|et|eu|fa|fi|fr|ga|he|hi|hr|hu|hy|id|is|it|ja|ka|ko|lt|lv|ms|nb|nl|nn|no|pl|pt"
    r"|ro|ru|sk|sl|sr|sv|ta|te|th|tr|uk|ur|vi|zh|ara|bul|cat|ces|dan|deu|ell|eng|est|fas|fin|fra|heb|hin|hrv|hun|ind|isl"
    r"|ita|jpn|kor|lav|lit|nld|nob|nor|pol|por|ron|rus|slk|slv|spa|srp|swe|tha|tur|ukr|vie|zho)"
)
WORDS = (
    r"(source|target|src|tgt|trg|input|output|text|translation|original|sentence|phrase|question|answer|prompt"
    r"|response)"
)
HEADER_LOCALES = (*LOCALES, "ar", "he", "hi", "ja", "ko", "vi", "zh")  # whose names of languages are known


@cache
def header() -> re.Pattern[str]:
    """What the cells of a header say: words such as source, codes of languages, or their names in many languages."""
    from babel import Locale

    codes = [code for code in CODES.strip("()").split("|") if len(code) == 2]
    locales = [Locale.parse(name) for name in HEADER_LOCALES]
    names = {locale.languages[code].casefold() for locale in locales for code in codes if code in locale.languages}
    languages = "|".join(map(re.escape, sorted(names)))
    return re.compile(
        rf"({WORDS}|{CODES}([_-][a-z]{{2,4}})?|{languages})[ _-]?(text|language|sentences?|translation|[12ab]|{CODES})?"
    )


@dataclass(frozen=True)
class Pairs:
    """Texts and, one for each, their translations."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.sources)

    def first(self, count: int) -> "Pairs":
        """The first `count` examples."""
        return Pairs(self.sources[:count], self.targets[:count])


def load_pairs(dataset: str, *, evaluation: bool = False, log: Callable[[str], None] = print) -> Splits[Pairs]:
    """Loads pairs of texts, normalised to NFC.

    `dataset` is `"multi30k/en-de"` or `"multi30k/en-fr"`; `"dates"`, dates from 1900 to 2099 as `LOCALES` write them,
    to be written as ISO 8601 (no network; no day is in two splits); or `"tsv:FILE"`, a pair a line separated by a tab,
    which is cut by a hash of the first column: 90 % train, 5 % validation and 5 % test. With `evaluation`, a file of
    one's own is not cut: all of it is the test split. Raises `UsageError` for an unknown name, `ZooError` for data
    that cannot be read.
    """
    name, notes, warnings, files, size, source, whole = display_path(dataset), (), [], 0, 0, "", None
    if dataset == "dates":
        parts, source = _dates(), f"Babel {metadata.version('babel')}"
        notes = (f"from {source}",)
    elif dataset.startswith("tsv:"):
        path = own_path(dataset, "a file with a text, a tab and its translation on each line")
        columns = read_columns(path, "a text, a tab and its translation", header())
        whole = pairs(columns.rows)
        parts = {"test": whole} if evaluation else _cut(name, columns)
        how = "all of it for evaluation" if evaluation else "cut by a hash of the first column: 90 %, 5 % and 5 %"
        notes, warnings, files, size = (how, *columns.notes), _row_warnings(columns), 1, columns.size
    elif dataset in ("multi30k/en-de", "multi30k/en-fr"):
        parts = _multi30k(dataset, log)
    else:
        known = ["multi30k/en-de", "multi30k/en-fr", *EMBEDDED]
        raise unknown_data(dataset, "There are no pairs", known, "tsv:FILE")
    for split, part in parts.items():
        if not len(part):
            raise ZooError(f"{name}: there is no pair in the {split} split.")
    sizes = {split: len(part) for split, part in parts.items()}
    found = f"{name}: {describe_counts(sizes, 'pairs')}"
    # A file has one fingerprint, whether it is cut or not.
    rows = chain.from_iterable((*part.sources, *part.targets) for part in ([whole] if whole else parts.values()))
    return Splits(
        name,
        parts.get("train"),
        parts.get("validation"),
        parts["test"],
        found="\n".join([found, *(f"  {note}" for note in notes)]),
        warnings=(*warnings, *repeated(parts)) if files else (),
        fingerprint=fingerprint_of(rows, examples=sum(sizes.values()), files=files, size=size, source=source),
    )


def repeated(parts: Mapping[str, Pairs]) -> list[str]:
    """Warnings of pairs that are in two splits."""
    rows = {split: tuple(zip(part.sources, part.targets, strict=True)) for split, part in parts.items()}
    return repeated_warnings(rows, "pairs")


def _row_warnings(columns: Columns) -> list[str]:
    """What may be wrong with the rows of a file: the same on both sides, or labels in place of translations."""
    warnings, rows = list(columns.warnings), columns.rows
    same = sum(source == target for source, target in rows)
    if same:
        warnings.append(f"{same:,} of {len(rows):,} rows have the same text on both sides")
    targets = len({target for _, target in rows})
    if len(rows) >= 20 and targets <= len(rows) / 10:
        warnings.append(f"{len(rows):,} rows have {targets:,} different translations, which may be labels")
    return warnings


def pairs(rows: Iterable[tuple[str, str]]) -> Pairs:
    """Rows of source and target, as one."""
    rows = [tuple(unicodedata.normalize("NFC", text) for text in row) for row in rows]
    return Pairs(tuple(source for source, _ in rows), tuple(target for _, target in rows))


def _multi30k(dataset: str, log: Callable[[str], None]) -> dict[str, Pairs]:
    from zoo.data.multi30k import Multi30k
    from zoo.data.prepared import prepared

    config = dataset.partition("/")[2]
    source, target = config.split("-")
    builder = prepared(dataset, "dates, or tsv:FILE", log, Multi30k(config=config))
    parts = {}
    for split in ("train", "validation", "test"):
        rows = builder.as_dataset(split=split).as_numpy_iterator()
        parts[split] = pairs((row[source].decode(), row[target].decode()) for row in rows)
    return parts


def _dates() -> dict[str, Pairs]:
    from babel.dates import format_date

    draw = random.Random(1900)
    days = [FIRST_DAY + datetime.timedelta(n) for n in range((LAST_DAY - FIRST_DAY).days + 1)]
    draw.shuffle(days)
    rows = [
        (format_date(day, format=draw.choice(("long", "full")), locale=draw.choice(LOCALES)), day.isoformat())
        for day in days[:44_000]
    ]
    return {"train": pairs(rows[:40_000]), "validation": pairs(rows[40_000:42_000]), "test": pairs(rows[42_000:])}


def _cut(name: str, columns: Columns) -> dict[str, Pairs]:
    sides = cut_by_content(name, [source for source, _ in columns.rows], validation=0.05, test=0.05)
    return {split: pairs(columns.rows[i] for i in indices) for split, indices in sides.items()}

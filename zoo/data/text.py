"""Running text by name: tiny Shakespeare, the documentation that CPython carries, the user's own files."""

import platform
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo.data.conllu import WORDS
from zoo.data.paths import absent, display_path, files_below, own_path, unknown_data
from zoo.data.splits import Splits, few, fingerprint_of
from zoo.data.text_files import read_text
from zoo.errors import UsageError, ZooError

EMBEDDED = ("python_docs",)
SUFFIXES = frozenset({".txt"})
PIECES, PIECE = 100, 50  # of a split: how many are looked for in the training split, and their characters
REPEATED = 0.1  # a warning is given where more than this share of them is found


@dataclass(frozen=True)
class Streams:
    """A text as parallel streams of characters, each read from its start to its end.

    Each character of a row but the first is predicted from those before it, so a row has one more than `length`.
    """

    rows: tuple[str, ...]  # all of one length

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def length(self) -> int:
        return len(self.rows[0]) - 1


def load_text(
    dataset: str,
    *,
    split: str,
    streams: int,
    sequence_length: int,
    evaluation: bool = False,
    log: Callable[[str], None] = print,
) -> Splits[Streams]:
    """Loads a text, normalised to NFC, and cuts it.

    `dataset` is `"tiny_shakespeare"`, `"python_docs"` (the English of CPython's own `pydoc_data`, which needs no
    network) or `"text:PATH"`, a text file or a folder of .txt files, which are read in the order of their names and
    joined by line breaks. `split` is one of

    * `"char_rnn"`: the text laid out as `streams` parallel streams first, then of each stream the first 95 % of its
      sequences of `sequence_length` to train, the rest to validation (karpathy/char-rnn's loader);
    * `"tfds"`: the first 90 % to train, the next 5 % to validation, the last 5 % to test;
    * `"nanogpt"`: the first 90 % to train, the last 10 % to validation.

    With `evaluation`, a text of one's own is not cut: all of it is the test split, in one stream.

    Raises `UsageError` for an unknown name, `ZooError` for a text that cannot be read or is too short.
    """
    name = display_path(dataset)
    text, notes, warnings, files = _read(dataset, log)
    count, source = len(text), f"Python {platform.python_version()}" if dataset in EMBEDDED else ""
    notes = [f"from {source}"] if source else notes
    if evaluation and dataset.startswith("text:"):
        if count < 2:
            raise ZooError(f"{name} has {count:,} characters; at least two are needed.")
        parts = {"test": Streams((text,))}
    else:
        parts = _cut(name, text, split, streams, sequence_length)
    counts = ", ".join(f"{part} {len(streams) * streams.length:,}" for part, streams in parts.items())
    found = [f"{name}: {count:,} characters, {len(set(text)):,} different; {counts} ({_how(split, parts)})"]
    return Splits(
        name,
        parts.get("train"),
        parts.get("validation"),
        parts.get("test"),
        found="\n".join([*found, *(f"  {note}" for note in notes)]),
        warnings=(*warnings, *repeated(parts)) if files else (),
        fingerprint=fingerprint_of([text], examples=count, files=files, size=len(text.encode()), source=source),
    )


def repeated(parts: Mapping[str, Streams]) -> list[str]:
    """Warnings of text of other splits that is in the training split, too: evenly spaced pieces are looked for."""
    warnings = []
    for split, streams in parts.items():
        text = "".join(streams.rows)
        starts = range(0, len(text) - PIECE, max(PIECE, len(text) // PIECES)) if split != "train" else ()
        train = parts["train"].rows if "train" in parts else ()
        count = sum(any(text[start : start + PIECE] in row for row in train) for start in starts)
        if count > REPEATED * len(starts):
            warnings.append(
                f"{count} of {len(starts)} pieces of {PIECE} {split} characters are in the training split, too"
            )
    return warnings


def _how(split: str, parts: Mapping[str, Streams]) -> str:
    if "train" not in parts:
        return "all of it for evaluation"
    ways = {
        "char_rnn": "the last 5 % of each of the parallel streams for validation",
        "tfds": "the last tenth, halved, for validation and test",
        "nanogpt": "the last tenth for validation",
    }
    return ways[split]


def _cut(name: str, text: str, split: str, streams: int, sequence_length: int) -> dict[str, Streams]:
    count = len(text)
    if split == "char_rnn":
        sequences = count // (streams * sequence_length)
        held = sequences - int(sequences * 0.95)
        if sequences < 3 or not held:
            raise _too_short(name, count, streams * sequence_length * 3)
        length, cut = sequences * sequence_length, (sequences - held) * sequence_length
        around = text + text[0]  # the very last target, as in char-rnn
        rows = [around[i * length : (i + 1) * length + 1] for i in range(streams)]
        train, validation = tuple(row[: cut + 1] for row in rows), tuple(row[cut:] for row in rows)
        return {"train": Streams(train), "validation": Streams(validation)}
    first = int(count * 0.9)
    second = first + (count - first) // 2 if split == "tfds" else count
    length = (first - 1) // streams
    if length < sequence_length or count - first < 4:
        raise _too_short(name, count, streams * (sequence_length + 1) * 10 // 9 + 10)
    train = Streams(tuple(text[i * length : (i + 1) * length + 1] for i in range(streams)))
    parts = {"train": train, "validation": Streams((text[first:second],))}
    return {**parts, "test": Streams((text[second:],))} if split == "tfds" else parts


def _too_short(name: str, count: int, needed: int) -> ZooError:
    return ZooError(
        f"{name} has {count:,} characters; this batch size, sequence length and split need about {needed:,}. "
        "Try a smaller --batch-size or --sequence-length."
    )


def _read(dataset: str, log: Callable[[str], None]) -> tuple[str, list[str], list[str], int]:
    """The text, notes and warnings about its files, and their number."""
    if dataset == "python_docs":
        from pydoc_data.topics import topics

        return unicodedata.normalize("NFC", "\n".join(topics[name] for name in sorted(topics))), [], [], 0
    if dataset.startswith("text:"):
        return _read_files(own_path(dataset, "a text file, or a folder of .txt files"))
    if dataset == "tiny_shakespeare":
        from zoo.data.prepared import prepared

        splits = prepared(dataset, "python_docs or text:PATH", log).as_dataset()
        parts = [b"".join(row["text"] for row in splits[name].as_numpy_iterator()) for name in _ORDER]
        return unicodedata.normalize("NFC", b"".join(parts).decode()), [], [], 0
    raise unknown_data(dataset, "There is no text", ["tiny_shakespeare", *EMBEDDED], "text:PATH")


_ORDER = ("train", "validation", "test")  # TFDS cuts the file in this order


def _read_files(path: Path) -> tuple[str, list[str], list[str], int]:
    warnings = []
    if not path.exists():
        raise UsageError(f"text:{display_path(path)}: {absent(path)}.")
    if not path.is_dir():
        text, notes, count = read_text(path), [], 1
    else:
        files = files_below(path, SUFFIXES)
        # NFC once more: a file may begin with a mark that joins with the end of the one before.
        text = unicodedata.normalize("NFC", "\n".join(read_text(file) for file in files.paths))
        names = [display_path(file.relative_to(path)) for file in files.paths]
        listed = f": {few(names)}" if names else ""
        notes, count = [f"{len(names):,} .txt files{listed}", *files.notes()], len(names)
        said = {WORDS[word] for word in re.findall("[a-z]+", " ".join(names).lower()) if word in WORDS}
        if len(said) > 1:
            warnings.append(
                f"the names of the files say {' and '.join(sorted(said))}, but they are joined and cut as one text; "
                "give the training text alone, and others to zoo evaluate"
            )
    if not text.strip():
        where = f" in .txt files ({'; '.join(notes)})" if path.is_dir() else ""
        raise ZooError(f"text:{display_path(path)} holds no text{where}.")
    return text, notes, warnings, count


def encode_streams(streams: Streams, ids: Mapping[str, int]) -> np.ndarray:
    """The streams as ids of a vocabulary, int32 (streams, length + 1); what is not in it is 0."""
    return np.array([[ids.get(character, 0) for character in row] for row in streams.rows], np.int32)

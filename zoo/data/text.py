"""Running text by name: tiny Shakespeare, the documentation that CPython carries, the user's own files."""

import sys
import unicodedata
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo.errors import UsageError, ZooError, nearest, reason

EMBEDDED = ("python_docs",)
SPLITS = ("char_rnn", "tfds", "nanogpt")


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


@dataclass(frozen=True)
class TextData:
    """A text cut into its splits; where there is no test split the validation split is what is reported."""

    name: str
    train: Streams
    validation: Streams
    test: Streams | None


def load_text(
    dataset: str, *, split: str, streams: int, sequence_length: int, say: Callable[[str], None] = print
) -> TextData:
    """Loads a text, normalised to NFC, and cuts it.

    `dataset` is `"tiny_shakespeare"`, `"python_docs"` (the English of CPython's own `pydoc_data`, which needs no
    network) or `"text:PATH"`, a UTF-8 file or a folder of .txt files. `split` is one of

    * `"char_rnn"`: the text laid out as `streams` parallel streams first, then of each stream the first 95 % of its
      sequences of `sequence_length` to train, the rest to validation (karpathy/char-rnn's loader);
    * `"tfds"`: the first 90 % to train, the next 5 % to validation, the last 5 % to test;
    * `"nanogpt"`: the first 90 % to train, the last 10 % to validation.

    Raises `UsageError` for an unknown name, `ZooError` for a text that cannot be read or is too short.
    """
    text = unicodedata.normalize("NFC", _read(dataset, say))
    count = len(text)
    if split == "char_rnn":
        sequences = count // (streams * sequence_length)
        held = sequences - int(sequences * 0.95)
        if sequences < 3 or not held:
            raise _too_short(dataset, count, streams * sequence_length * 3)
        length, cut = sequences * sequence_length, (sequences - held) * sequence_length
        around = text + text[0]  # the very last target, as there
        rows = [around[i * length : (i + 1) * length + 1] for i in range(streams)]
        train, validation = tuple(row[: cut + 1] for row in rows), tuple(row[cut:] for row in rows)
        return TextData(dataset, Streams(train), Streams(validation), None)
    first = int(count * 0.9)
    second = first + (count - first) // 2 if split == "tfds" else count
    length = (first - 1) // streams
    if length < sequence_length or count - first < 4:
        raise _too_short(dataset, count, streams * (sequence_length + 1) * 10 // 9 + 10)
    train = Streams(tuple(text[i * length : (i + 1) * length + 1] for i in range(streams)))
    test = Streams((text[second:],)) if split == "tfds" else None
    return TextData(dataset, train, Streams((text[first:second],)), test)


def _too_short(dataset: str, count: int, needed: int) -> ZooError:
    return ZooError(
        f"{dataset} has {count:,} characters; this batch size, sequence length and split need about {needed:,}. "
        "Try a smaller --batch-size or --sequence-length."
    )


def _read(dataset: str, say: Callable[[str], None]) -> str:
    if dataset == "python_docs":
        from pydoc_data.topics import topics

        return "\n".join(topics[name] for name in sorted(topics))
    if dataset.startswith("text:"):
        return _read_files(Path(dataset.removeprefix("text:")))
    if dataset == "tiny_shakespeare":
        from zoo.data.prepared import prepared

        splits = prepared(dataset, "python_docs or text:PATH", say).as_dataset()
        parts = [b"".join(row["text"] for row in splits[name].as_numpy_iterator()) for name in _ORDER]
        return b"".join(parts).decode()
    raise UsageError(f"There is no text {dataset!r}. {nearest(dataset, ['tiny_shakespeare', *EMBEDDED])} Or text:PATH.")


_ORDER = ("train", "validation", "test")  # TFDS cuts the file in this order


def _read_files(path: Path) -> str:
    if not path.exists():
        raise UsageError(f"text:{path}: there is no such file or folder.")
    files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
    texts = [read_utf8(file) for file in files]
    if not "".join(texts).strip():
        raise ZooError(f"text:{path} holds no text{' in .txt files' if path.is_dir() else ''}.")
    return "\n".join(texts).replace("\r\n", "\n")


def read_utf8(file: Path) -> str:
    """A file's text. Raises `ZooError` where it cannot be read or is not UTF-8."""
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ZooError(f"{file} is not UTF-8 (byte {error.start:,}); convert it first.") from error
    except OSError as error:
        raise ZooError(f"{file}: {reason(error)}.") from error


def texts_of(options: Namespace) -> Iterator[tuple[str, bytes | OSError]]:
    """The texts of a command line: those after --text, then those in files, `-` being standard input."""
    for text in options.text or ():
        yield "--text", text.encode(errors="surrogateescape")
    for name in options.files:
        try:
            yield name, sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        except OSError as error:
            yield name, error


def encoded(streams: Streams, numbers: dict[str, int]) -> np.ndarray:
    """The streams as numbers of a vocabulary, int32 (streams, length + 1); what is not in it is 0."""
    return np.array([[numbers.get(character, 0) for character in row] for row in streams.rows], np.int32)

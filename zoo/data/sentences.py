"""Sentences with a tag for each token: Universal Dependencies, Python's own source, the user's CoNLL-U files."""

import sysconfig
import tokenize
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from zoo.data.text import read_utf8
from zoo.errors import UsageError, ZooError, nearest

EMBEDDED = ("python_tokens",)
PIECE = 120  # characters of a piece of Python source
# What stands for characters that cannot be seen, so that tokens can be parted by spaces.
VISIBLE = {" ": "␣", "\n": "⏎", "\t": "⇥", "\x0c": "⇟"}


@dataclass(frozen=True)
class Sentences:
    """Tokens and, one for each, tags."""

    tokens: tuple[tuple[str, ...], ...]
    tags: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class TaggedData:
    """A data set of tagged sentences, and the tags there are in its training split."""

    name: str
    tags: tuple[str, ...]
    train: Sentences
    validation: Sentences
    test: Sentences


def load_tagged(dataset: str, say: Callable[[str], None] = print) -> TaggedData:
    """Loads tagged sentences, their tokens normalised to NFC.

    `dataset` is a treebank of TFDS (`"universal_dependencies/en_ewt"`, whose tags are UPOS), `"python_tokens"` (each
    character of the standard library's source under `tokenize`'s kind of token; no network) or `"conllu:PATH"`: one
    CoNLL-U file, of which each tenth sentence goes to test and the one after it to validation, or a folder with files
    that have train, dev and test in their names. Raises `UsageError` for an unknown name, `ZooError` for data that
    cannot be read.
    """
    if dataset == "python_tokens":
        parts = _python_tokens()
    elif dataset.startswith("conllu:"):
        parts = _conllu(Path(dataset.removeprefix("conllu:")))
    elif dataset.startswith("universal_dependencies/"):
        parts = _treebank(dataset, say)
    else:
        known = ["universal_dependencies/en_ewt", *EMBEDDED]
        raise UsageError(f"There are no tagged sentences {dataset!r}. {nearest(dataset, known)} Or conllu:PATH.")
    for split, sentences in zip(("training", "validation", "test"), parts, strict=True):
        if not len(sentences):
            raise ZooError(f"{dataset}: there is no sentence in the {split} split.")
    tags = tuple(sorted({tag for row in parts[0].tags for tag in row}))
    return TaggedData(dataset, tags, *parts)


def sentences(rows: Iterable[tuple[Iterable[str], Iterable[str]]]) -> Sentences:
    """Pairs of tokens and tags, as one; pairs without tokens are left out."""
    pairs = [(tuple(unicodedata.normalize("NFC", t) for t in tokens), tuple(tags)) for tokens, tags in rows]
    pairs = [pair for pair in pairs if pair[0]]
    return Sentences(tuple(tokens for tokens, _ in pairs), tuple(tags for _, tags in pairs))


def _treebank(dataset: str, say: Callable[[str], None]) -> list[Sentences]:
    import tensorflow_datasets as tfds

    from zoo.data.prepared import prepared

    try:
        builder = tfds.builder(dataset)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise UsageError(f"TFDS has no treebank {dataset!r}; universal_dependencies/en_ewt is one.") from error
    builder = prepared(dataset, "python_tokens, or conllu:PATH", say, builder)
    names = builder.info.features["upos"].feature.names
    parts = []
    for split in ("train", "dev", "test"):
        pairs = []
        for row in builder.as_dataset(split=split).as_numpy_iterator():
            # TFDS keeps multi-word tokens and empty nodes beside the words; neither has a head.
            words = [i for i, head in enumerate(row["head"]) if head.isdigit()]
            pairs.append(([row["tokens"][i].decode() for i in words], [names[row["upos"][i]] for i in words]))
        parts.append(sentences(pairs))
    return parts


def _conllu(path: Path) -> list[Sentences]:
    if not path.exists():
        raise UsageError(f"conllu:{path}: there is no such file or folder.")
    if not path.is_dir():
        rows = list(read_conllu(path))
        return [
            sentences(row for i, row in enumerate(rows) if (i % 10 == 9, i % 10 == 8) == held)
            for held in ((False, False), (False, True), (True, False))
        ]
    parts = []
    for split in ("train", "dev", "test"):
        files = sorted(file for file in path.glob("*.conllu") if split in file.name)
        if not files:
            raise ZooError(f"conllu:{path}: there is no .conllu file with {split!r} in its name.")
        parts.append(sentences(row for file in files for row in read_conllu(file)))
    return parts


def read_conllu(path: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Forms and UPOS tags of each sentence. Multi-word tokens (1-2) and empty nodes (1.1) are passed over: the words
    they are made of have lines of their own.

    Raises `ZooError` that names the line where a file is broken.
    """
    tokens: list[str] = []
    tags: list[str] = []
    for number, line in enumerate([*read_utf8(path).splitlines(), ""], start=1):
        if line.startswith("#"):
            continue
        if not line.strip():
            if tokens:
                yield tokens, tags
            tokens, tags = [], []
            continue
        columns = line.split("\t")
        if len(columns) != 10:
            raise ZooError(f"{path}, line {number}: {len(columns)} columns parted by tabs; CoNLL-U has 10.")
        if "-" in columns[0] or "." in columns[0]:
            continue
        if not columns[0].isdigit() or not columns[1] or columns[3] in ("", "_"):
            raise ZooError(f"{path}, line {number}: a word needs a number, a form and a UPOS tag.")
        tokens.append(columns[1].replace(" ", "\u00a0"))  # a form may hold spaces; served tokens are parted by them
        tags.append(columns[3])


def _python_tokens() -> list[Sentences]:
    """Pieces of the standard library's modules; each tenth module goes to test, the one after it to validation."""
    parts: list[list[tuple[list[str], list[str]]]] = [[], [], []]
    modules = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    for number, module in enumerate(modules):
        try:
            rows = list(_pieces(module))
        except (SyntaxError, UnicodeDecodeError, tokenize.TokenError):
            continue
        parts[{9: 2, 8: 1}.get(number % 10, 0)] += rows
    return [sentences(rows) for rows in parts]


def _pieces(module: Path) -> Iterator[tuple[list[str], list[str]]]:
    with tokenize.open(module) as file:
        text = file.read()
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    kinds = ["SPACE"] * len(text)
    for token in tokenize.generate_tokens(iter(text.splitlines(keepends=True)).__next__):
        kind = tokenize.tok_name[token.type]
        kind = "STRING" if kind.startswith("FSTRING") else kind
        if kind in ("NEWLINE", "NL", "INDENT", "DEDENT", "ENDMARKER"):
            continue
        first = starts[token.start[0] - 1] + token.start[1]
        last = starts[token.end[0] - 1] + token.end[1]
        kinds[first:last] = [kind] * (last - first)
    characters = [VISIBLE.get(c, c) for c in text]
    for start in range(0, len(text), PIECE):
        yield characters[start : start + PIECE], kinds[start : start + PIECE]

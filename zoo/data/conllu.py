"""CoNLL-U files: the words of sentences with their UPOS tags, and which file of a folder is which split."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from zoo.data.paths import absent, display_path, files_below, subfolders
from zoo.data.text_files import read_text, split_lines
from zoo.errors import UsageError, ZooError

SUFFIXES = frozenset({".conllu"})
# The names of Universal Dependencies: language_treebank-ud-split.conllu; a large split may be in several files.
OFFICIAL = re.compile(r"[^-]+-ud-(?P<split>train|dev|test)(-[\w-]+)?\.conllu", re.IGNORECASE)
WORDS = {"train": "train", "training": "train", "dev": "validation", "development": "validation"}
WORDS |= {"val": "validation", "valid": "validation", "validation": "validation", "test": "test", "testing": "test"}

Rows = list[tuple[list[str], list[str]]]


@dataclass(frozen=True)
class Treebank:
    """The sentences of a treebank, tokens and tags, by split; `"all"` is the only one where they have to be cut."""

    splits: dict[str, Rows]
    notes: tuple[str, ...]
    files: int
    size: int  # bytes of all files


def read_treebank(path: Path, evaluation: bool = False) -> Treebank:
    """Reads a CoNLL-U file, or a folder with a file for each split.

    If files of a folder have the official names of Universal Dependencies (`en_ewt-ud-train.conllu`), only those are
    read. Otherwise a file's split is the one that is a word of its name: train, dev or val, test. Training files alone
    have to be cut. Raises `UsageError` where there is no such path, `ZooError` if the folder has no training file (with
    `evaluation`: none of any split), a name says two splits, or a file is broken.
    """
    shown = f"conllu:{display_path(path)}"
    if not path.exists():
        raise UsageError(f"{shown}: {absent(path)}.")
    if not path.is_dir():
        rows = list(read_conllu(path))
        if not rows:
            raise ZooError(f"{shown}: there is no sentence in it.")
        return Treebank({"all": rows}, (), 1, path.stat().st_size)
    found = files_below(path, SUFFIXES, recursive=False)
    official = [file for file in found.paths if OFFICIAL.fullmatch(file.name)]
    by_split: dict[str, list[Path]] = {}
    unused = []
    for file in found.paths:
        split = split_of(file, bool(official))
        if split:
            by_split.setdefault(split, []).append(file)
        else:
            unused.append(file)
    if "train" not in by_split and not (evaluation and by_split):
        below = [folder for folder in subfolders(path) if any(folder.glob("*.conllu"))]
        notes = f" ({'; '.join(found.notes())})" if found.notes() else ""
        other = f" Its folder {display_path(below[0].name)} has .conllu files." if below else ""
        raise ZooError(f"{shown}: there is no .conllu file with 'train' in its name{notes}.{other}")
    order = [split for split in ("train", "validation", "test") if split in by_split]
    notes = [f"{split}: {', '.join(display_path(file.name) for file in by_split[split])}" for split in order]
    if unused:
        notes.append(f"not read: {', '.join(display_path(file.name) for file in unused)}")
    used = [file for split in order for file in by_split[split]]
    splits = {split: [row for file in by_split[split] for row in read_conllu(file)] for split in order}
    return Treebank(
        {"all": splits["train"]} if order == ["train"] else splits,
        (*notes, *found.notes()),
        len(used),
        sum(file.stat().st_size for file in used),
    )


def split_of(file: Path, official: bool) -> str | None:
    """The split in a file's name, or None; with `official`, only official names count."""
    if official:
        match = OFFICIAL.fullmatch(file.name)
        return WORDS[match["split"].lower()] if match else None
    said = {WORDS[word] for word in re.split(r"[^a-z]+", file.stem.lower()) if word in WORDS}
    if len(said) > 1:
        raise ZooError(
            f"{display_path(file)}: its name says {' and '.join(sorted(said))}; "
            "name it as Universal Dependencies does: xx_name-ud-train.conllu."
        )
    return said.pop() if said else None


def read_conllu(path: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Forms and UPOS tags of each sentence. Multi-word tokens (1-2) and empty nodes (1.1) are skipped: the words they
    are made of have lines of their own.

    Raises `ZooError` that names the line if a file is broken.
    """
    tokens: list[str] = []
    tags: list[str] = []
    for number, line in enumerate([*split_lines(read_text(path)), ""], start=1):
        if line.startswith("#"):
            continue
        if not line.strip():
            if tokens:
                yield tokens, tags
            tokens, tags = [], []
            continue
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) != 10:
            count = f"{len(columns)} column{'s' if len(columns) > 1 else ''}"
            raise ZooError(
                f"{display_path(path)}, line {number}: {count} separated by tabs; CoNLL-U has 10: a number, a word, _, "
                "its tag, and six more, which may be _."
            )
        if "-" in columns[0] or "." in columns[0]:
            continue
        if not columns[0].isdecimal() or not columns[1] or columns[3] in ("", "_"):
            raise ZooError(
                f"{display_path(path)}, line {number}: a word needs a number, a form and, in the fourth column, a tag."
            )
        if int(columns[0]) != len(tokens) + 1:
            raise ZooError(
                f"{display_path(path)}, line {number}: word {columns[0]} follows word {len(tokens)}; the words of a "
                "sentence are numbered from 1, and an empty line ends it."
            )
        tokens.append(columns[1].replace(" ", "\u00a0"))  # a form may hold spaces; served tokens are separated by them
        tags.append(columns[3])

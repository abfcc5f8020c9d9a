"""Sentences with a tag for each token: Universal Dependencies, Python's own source, the user's CoNLL-U files."""

import platform
import sysconfig
import tokenize
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from zoo.data.conllu import read_treebank
from zoo.data.paths import display_path, own_path, unknown_data
from zoo.data.splits import Splits, alike_warnings, cut_by_content, describe_counts, fingerprint_of, repeated_warnings
from zoo.errors import ZooError

EMBEDDED = ("python_tokens",)
PIECE = 120  # characters of a piece of Python source
# What stands for characters that cannot be seen, so that tokens can be separated by spaces.
VISIBLE = {" ": "␣", "\n": "⏎", "\t": "⇥", "\x0c": "⇟"}


@dataclass(frozen=True)
class Sentences:
    """Tokens and, one for each, tags."""

    tokens: tuple[tuple[str, ...], ...]
    tags: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.tokens)

    def first(self, count: int) -> "Sentences":
        """The first `count` examples."""
        return Sentences(self.tokens[:count], self.tags[:count])


def load_tagged(dataset: str, *, evaluation: bool = False, log: Callable[[str], None] = print) -> Splits[Sentences]:
    """Loads tagged sentences, their tokens normalised to NFC; `classes` are the tags of the training split.

    `dataset` is a treebank of TFDS (`"universal_dependencies/en_ewt"`, whose tags are UPOS), `"python_tokens"` (each
    character of the standard library's source under `tokenize`'s kind of token; no network) or `"conllu:PATH"`: a
    CoNLL-U file, which is cut by a hash of each sentence's words into 80 % train, 10 % validation and 10 % test, or a
    folder with a file for each split, as `zoo.data.conllu` reads it, which is cut if it has training files alone. With
    `evaluation`, what would be cut is the test split. Raises `UsageError` for an unknown name, `ZooError` for data that
    cannot be read.
    """
    name, notes, files, size, source, whole = display_path(dataset), [], 0, 0, "", {}
    if dataset == "python_tokens":
        parts, source = _python_tokens(), f"Python {platform.python_version()}"
        notes = [f"from {source}"]
    elif dataset.startswith("conllu:"):
        path = own_path(dataset, "a CoNLL-U file, or a folder with one for each split")
        treebank = read_treebank(path, evaluation)
        whole = parts = {split: sentences(rows) for split, rows in treebank.splits.items()}
        notes, files, size = list(treebank.notes), treebank.files, treebank.size
        if "all" in parts:
            parts, how = (
                ({"test": parts["all"]}, "all of it for evaluation") if evaluation else _cut(name, parts["all"])
            )
            notes.insert(0, how)
    elif dataset.startswith("universal_dependencies/"):
        parts = _treebank(dataset, log)
    else:
        known = ["universal_dependencies/en_ewt", *EMBEDDED]
        raise unknown_data(dataset, "There are no tagged sentences", known, "conllu:PATH")
    for split, part in parts.items():
        if not len(part):
            raise ZooError(f"{name}: there is no sentence in the {split} split.")
    first, learned = next(iter(parts.items()))
    counts = Counter(tag for row in learned.tags for tag in row)
    tags = tuple(sorted(counts))
    if files and not evaluation and len(tags) == 1:
        raise ZooError(f"{name}: every word of the training split has the tag {tags[0]!r}; two or more are needed.")
    sizes = {split: len(part) for split, part in parts.items()}
    found = [f"{name}: {describe_counts(sizes, 'sentences')}, {len(tags)} tags", *(f"  {note}" for note in notes)]
    found.append(f"  tags in {first}: {', '.join(f'{tag} {count:,}' for tag, count in counts.most_common(30))}")
    content = chain.from_iterable(  # sentences have one fingerprint, whether they are cut or not
        ("\n".join(row) for side in (part.tokens, part.tags) for row in side) for part in (whole or parts).values()
    )
    return Splits(
        name,
        parts.get("train"),
        parts.get("validation"),
        parts.get("test"),
        tags,
        "\n".join(found),
        tuple(_warnings(parts, tags)) if files else (),
        fingerprint_of(content, examples=sum(sizes.values()), files=files, size=size, source=source),
    )


def _cut(name: str, everything: Sentences) -> tuple[dict[str, Sentences], str]:
    sides = cut_by_content(name, [" ".join(row) for row in everything.tokens], validation=0.1, test=0.1)
    parts = {
        split: Sentences(tuple(everything.tokens[i] for i in indices), tuple(everything.tags[i] for i in indices))
        for split, indices in sides.items()
    }
    return parts, "cut by a hash of each sentence: 80 %, 10 % and 10 %"


def _warnings(parts: Mapping[str, Sentences], tags: Sequence[str]) -> list[str]:
    """Tags that training lacks, and sentences of other splits that are in the training split, too."""
    warnings = alike_warnings(tags, "tags")
    words = [token for part in parts.values() for row in part.tokens for token in row]
    if (missing := words.count("_")) > len(words) / 2:
        warnings.append(
            f"{missing:,} of {len(words):,} words are _, which stands for a word that is not in the file; treebanks "
            "that leave out the text, because of its licence, say how to add it"
        )
    for split, part in parts.items():
        absent = sorted({tag for row in part.tags for tag in row} - set(tags))
        if absent:
            more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
            warnings.append(f"the {split} split has tags that train has not: {', '.join(absent[:3])}{more}")
    return warnings + repeated(parts)


def repeated(parts: Mapping[str, Sentences]) -> list[str]:
    """Warnings of sentences that are in two splits."""
    return repeated_warnings({split: part.tokens for split, part in parts.items()}, "sentences")


def sentences(rows: Iterable[tuple[Iterable[str], Iterable[str]]]) -> Sentences:
    """Pairs of tokens and tags, as one; pairs without tokens are left out."""
    pairs = [(tuple(unicodedata.normalize("NFC", t) for t in tokens), tuple(tags)) for tokens, tags in rows]
    pairs = [pair for pair in pairs if pair[0]]
    return Sentences(tuple(tokens for tokens, _ in pairs), tuple(tags for _, tags in pairs))


def _treebank(dataset: str, log: Callable[[str], None]) -> dict[str, Sentences]:
    import tensorflow_datasets as tfds

    from zoo.data.prepared import prepared

    try:
        builder = tfds.builder(dataset)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        known = ["universal_dependencies/en_ewt"]
        raise unknown_data(dataset, "TFDS has no treebank", known, "conllu:PATH") from error
    builder = prepared(dataset, "python_tokens, or conllu:PATH", log, builder)
    names = builder.info.features["upos"].feature.names
    parts = {}
    for split, theirs in (("train", "train"), ("validation", "dev"), ("test", "test")):
        pairs = []
        for row in builder.as_dataset(split=theirs).as_numpy_iterator():
            # TFDS keeps multi-word tokens and empty nodes beside the words; neither has a head.
            words = [i for i, head in enumerate(row["head"]) if head.isdigit()]
            pairs.append(([row["tokens"][i].decode() for i in words], [names[row["upos"][i]] for i in words]))
        parts[split] = sentences(pairs)
    return parts


def _python_tokens() -> dict[str, Sentences]:
    """Pieces of the standard library's modules; each tenth module goes to test, the one after it to validation."""
    parts: list[list[tuple[list[str], list[str]]]] = [[], [], []]
    modules = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    for number, module in enumerate(modules):
        try:
            rows = list(_pieces(module))
        except (SyntaxError, UnicodeDecodeError, tokenize.TokenError):
            continue
        parts[{9: 2, 8: 1}.get(number % 10, 0)] += rows
    return dict(zip(("train", "validation", "test"), map(sentences, parts), strict=True))


def _pieces(module: Path) -> Iterator[tuple[list[str], list[str]]]:
    with tokenize.open(module) as file:
        text = file.read()
    lines = [f"{line}\n" for line in text.split("\n")]
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    kinds = ["SPACE"] * len(text)
    for token in tokenize.generate_tokens(iter(lines).__next__):
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

"""Files below a folder: hidden and system files are left out, links are followed without loops, names are literal."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from zoo.errors import UsageError, ZooError, nearest, reason
from zoo.paths import is_hidden, user_path

RUN_FILES = {"recipe.json", "environment.json"}  # in the folder of a run, whose pictures and texts are no data


def own_path(dataset: str, what: str) -> Path:
    """The path of one's own data, such as "folder:PATH"; `what` says for an error what it should be.

    Raises `UsageError` where there is no path, or the word PATH or FILE in its place, as recipes without data of their
    own and the documentation have it, and for a path that cannot be looked at, such as one that is too long.
    """
    kind, _, path = dataset.partition(":")
    if not path or (path in ("PATH", "FILE") and not os.path.exists(path)):
        word = "FILE" if kind == "tsv" else "PATH"
        raise UsageError(f"There is no data yet: give it with --dataset {kind}:{word}, where {word} is {what}.")
    file = user_path(path)
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):  # `absent` says why
        pass
    except (OSError, ValueError) as error:
        raise UsageError(f"{kind}:{display_path(path)}: {reason(error)}.") from error
    return file


def unknown_data(dataset: str, what: str, known: Iterable[str], form: str) -> UsageError:
    """The error for the name of a data set that there is not: where it is a path, that it is to be written as `form`,
    such as "text:PATH"; else the names of `known` ones that are similar. `what` is such as "There is no text"."""
    if os.path.exists(os.path.expanduser(dataset)):
        return UsageError(f"{dataset!r} is a path; data of your own is given as {form}.")
    return UsageError(f"{what} {dataset!r}. {nearest(dataset, known)} Or {form}.")


def absent(path: Path, what: str = "file or folder") -> str:
    """For an error: why a path does not lead to `what`."""
    if path.exists():
        other = "a file" if path.is_file() else "a pipe or a device, which cannot be read again"
        return f"it is {'a folder' if path.is_dir() else other}, not a {what}"
    if path.is_symlink():
        return f"the link leads to {display_path(os.readlink(path))}, which does not exist"
    pattern = "; it is no pattern: names are taken as they are" if set("*?[") & set(str(path)) else ""
    return f"there is no such {what}{pattern}"


def display_path(path: str | bytes | os.PathLike) -> str:
    """A path to be printed: bytes that are not UTF-8 and control characters are escaped."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def readable_name(name: str) -> str:
    """A file's name as text: of bytes that are not UTF-8 as Latin-1, which older archives have."""
    content = os.fsencode(name)
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


@dataclass
class Files:
    """Files below a folder, sorted by name, and what was not taken."""

    paths: list[Path] = field(default_factory=list)
    other: Counter[str] = field(default_factory=Counter)  # files with other suffixes, by suffix
    unfollowed: list[Path] = field(default_factory=list)  # links that are broken or lead to a folder above them

    def notes(self) -> list[str]:
        """What was not taken, as lines of text."""
        notes = [f"not read: {describe_suffixes(self.other)}"] if self.other else []
        if self.unfollowed:
            more = f" and {len(self.unfollowed) - 1} more" if len(self.unfollowed) > 1 else ""
            notes.append(f"links that are broken or lead in a circle: {display_path(self.unfollowed[0])}{more}")
        return notes


def describe_suffixes(counts: Mapping[str, int]) -> str:
    """Numbers of files by suffix, as text."""
    return ", ".join(f"{count:,} {suffix or 'without a suffix'}" for suffix, count in sorted(counts.items()))


def files_below(folder: Path, suffixes: frozenset[str], *, recursive: bool = True) -> Files:
    """The files below a folder whose suffix is one of `suffixes`, in lower case; symbolic links are followed."""
    files = Files()
    for path in _walk(folder, (os.path.realpath(folder),), files, recursive):
        suffix = path.suffix.lower()
        if suffix in suffixes:
            files.paths.append(path)
        else:
            files.other[suffix] += 1
    files.paths.sort()
    return files


def _walk(folder: Path, above: tuple[str, ...], files: Files, recursive: bool) -> Iterator[Path]:
    """The files of a folder and those below it; `above` has the real paths of the folder and those that lead to it."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise ZooError(f"{display_path(folder)} cannot be read: {reason(error)}.") from error
    if len(above) > 1 and RUN_FILES <= {entry.name for entry in found}:
        return
    for entry in found:
        if is_hidden(entry.name):
            continue
        path = folder / entry.name
        if entry.is_dir():
            if not recursive:
                continue
            real = os.path.realpath(path) if entry.is_symlink() else os.path.join(above[-1], entry.name)
            if any(parent == real or parent.startswith(real.rstrip(os.sep) + os.sep) for parent in above):
                files.unfollowed.append(path)
            else:
                yield from _walk(path, (*above, real), files, recursive)
        elif entry.is_file():
            yield path
        elif entry.is_symlink():
            files.unfollowed.append(path)


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder that are neither hidden nor of runs, links to folders among them, sorted."""
    return sorted(path for path in folder.iterdir() if not is_hidden(path.name) and path.is_dir() and not _is_run(path))


def _is_run(folder: Path) -> bool:
    return all((folder / name).is_file() for name in RUN_FILES)

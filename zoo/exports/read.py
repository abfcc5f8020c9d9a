"""Finding and checking exports. Standard library only."""

import hashlib
import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

from zoo.errors import UsageError, ZooError, reason
from zoo.paths import is_hidden

FORMAT = 1  # of assets.extra; a newer one is refused
SUMS = "assets.extra/sha256sums.txt"
MAX_TEXT = 16 * 2**20  # bytes of a file in assets.extra


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find(path: str | os.PathLike[str]) -> Path:
    """The version folder of an export, checked to be complete.

    `path` is the version folder itself, the folder above it (the newest version is taken) or a run directory. Raises
    `UsageError` if there is none, `ZooError` if a file is missing or changed.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError(f"There is no folder {path}; give a run directory or an export's folder.")
    candidates = [path, *versions(path)]
    for export in sorted(path.glob("export/*")):
        candidates += versions(export)
    for folder in candidates:
        if (folder / "saved_model.pb").is_file() or (folder / SUMS).is_file():
            _verify(folder)
            return folder
    raise UsageError(f"{path} holds no export; `zoo train` writes one, NAME/VERSION/saved_model.pb.")


def versions(base: Path) -> list[Path]:
    """The entries of a folder whose names are numbers, the greatest first."""
    if not base.is_dir():
        return []
    numbered = (path for path in base.iterdir() if is_version(path.name))
    return sorted(numbered, key=lambda path: int(path.name), reverse=True)


def is_version(name: str) -> bool:
    """Whether the name of a folder is a number. Other digits than 0 to 9, such as ², are none."""
    return name.isascii() and name.isdigit()


def _verify(folder: Path) -> None:
    sums = folder / SUMS
    for path in folder.rglob("*"):
        if path.is_symlink():
            raise ZooError(f"{path} is a symbolic link; the files of an export must be in its folder.")
    if not sums.is_file():
        if (folder / "assets.extra").is_dir():
            raise ZooError(f"{folder} is incomplete: {SUMS} is missing. Write the export again.")
        raise ZooError(f"{folder} is a SavedModel that the zoo did not write: it has no assets.extra.")
    expected = {}
    for line in _read_text(sums).splitlines():
        digest, _, name = line.partition("  ")
        if not name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ZooError(f"{sums} names {name!r}, which is not a file inside the export. Do not use this export.")
        expected[name] = digest
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {SUMS}
    for name in sorted(found - set(expected)):
        if any(map(is_hidden, name.split("/"))):
            continue  # such as .DS_Store; TensorFlow reads no file of such a name
        raise ZooError(f"{folder} holds {name}, which {SUMS} does not name. Write the export again.")
    for name, digest in expected.items():
        if name not in found:
            raise ZooError(f"{folder} is incomplete: {name} is missing. Write the export again.")
        if sha256(folder / name) != digest:
            raise ZooError(f"{folder} is damaged: {name} was changed. Write the export again.")


def read_card(folder: Path) -> dict[str, Any]:
    """The card of an export with its measured metrics.

    Raises `ZooError` for a format that is newer than this version of the zoo.
    """
    card = _read_json(folder, "card.json")
    if card.get("format", 0) > FORMAT:
        raise ZooError(
            f"{folder} has format {card['format']}, and this version of the zoo reads up to {FORMAT}; upgrade the zoo."
        )
    return card


def read_recipe(folder: Path) -> dict[str, Any]:
    """The recipe that an export was trained with, as plain values."""
    return _read_json(folder, "recipe.json")


def origin(folder: Path) -> dict[str, Any]:
    """What the card of an export that is made from another one says of that one."""
    card = read_card(folder)
    return {
        "name": folder.parent.name,
        "version": folder.name,
        "model": card["name"],
        "sha256": sha256(folder / SUMS),
        "licence": card.get("licence"),
    }


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    path = folder / "assets.extra" / name
    try:
        content = json.loads(_read_text(path))
    except ValueError as error:
        raise ZooError(f"{path} is not JSON: {reason(error)}.") from error
    if not isinstance(content, dict):
        raise ZooError(f"{path} is not a JSON object.")
    return content


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_TEXT:
            raise ZooError(f"{path} has {path.stat().st_size:,} bytes; at most {MAX_TEXT:,} were expected.")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ZooError(f"{path} cannot be read: {reason(error)}.") from error

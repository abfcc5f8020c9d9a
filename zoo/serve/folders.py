"""Finding SavedModels in folders, and reading the files that the zoo added to them."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.errors import UsageError, ZooError
from zoo.exports.read import SUMS, find, is_version, read_card, versions
from zoo.paths import user_path

GRAPH = "saved_model.pb"


@dataclass(frozen=True)
class Base:
    """A model's folder of versions; or `only` one folder, served as that version."""

    folder: Path
    only: tuple[int, Path] | None = None

    def versions(self) -> dict[int, Path]:
        """The version folders that hold a SavedModel, by number."""
        if self.only:
            return {self.only[0]: self.only[1]} if (self.only[1] / GRAPH).is_file() else {}
        return {int(path.name): path for path in versions(self.folder) if (path / GRAPH).is_file()}


def find_models(paths: Sequence[str | os.PathLike[str]]) -> dict[str, Base]:
    """The models below `paths` by name.

    A path is a SavedModel, a model's folder of versions, a folder of such folders, or a run's folder. Raises
    `UsageError` for any other path, and if two models have the same name.
    """
    found: dict[str, Base] = {}
    for path in map(user_path, paths):
        if not path.is_dir():
            raise UsageError(f"There is no folder {path}; give a folder of exports, NAME/VERSION/{GRAPH}.")
        models = _models_of(path.resolve())
        if not models:
            raise ZooError(f"{path} contains no SavedModel, NAME/VERSION/{GRAPH}; `zoo train` writes one.")
        for name, base in models.items():
            if name in found and found[name] != base:
                raise UsageError(f"Two models are named {name}: {found[name].folder} and {base.folder}.")
            if ":" in name:
                raise UsageError(f"{base.folder} has ':' in its name, which requests cannot contain; rename it.")
            found[name] = base
    return found


def _models_of(path: Path) -> dict[str, Base]:
    if (path / GRAPH).is_file():
        if is_version(path.name):
            return {path.parent.name: Base(path.parent, (int(path.name), path))}
        return {path.name: Base(path, (1, path))}
    if Base(path).versions():
        return {path.name: Base(path)}
    inside = sorted(child for child in (*path.iterdir(), *path.glob("export/*")) if child.is_dir())
    return {child.name: Base(child) for child in inside if Base(child).versions()}


def verify(folder: Path) -> None:
    """Compares the files of an export with its SHA-256 checksums, if it has any. Raises `ZooError` for a difference."""
    if (folder / SUMS).is_file():
        find(folder)


def card_of(folder: Path) -> Mapping[str, Any]:
    """The card that the zoo wrote; empty for other SavedModels, and if it cannot be read."""
    try:
        return read_card(folder)
    except ZooError:
        return {}


def fingerprint(folder: Path) -> tuple:
    """A value that changes when a file of the folder changes."""
    try:
        stats = [(str(path), path.stat()) for path in sorted(folder.rglob("*"))]
    except OSError:
        return ()
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)

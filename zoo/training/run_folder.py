"""The folder of a run: who owns it, what it records, and files that are written whole or not at all."""

import contextlib
import importlib
import itertools
import json
import os
import platform
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import zoo
from zoo.data.paths import absent
from zoo.data.splits import difference
from zoo.distribute.strategy import hardware
from zoo.errors import UsageError, ZooError, reason
from zoo.paths import write_whole
from zoo.recipe import Recipe
from zoo.training import provenance

_ANEW = "Choose another --run-dir, or start again with --restart."


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    write_whole(path, text.encode())


def write_json(path: Path, content: Any) -> None:
    """Writes JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """The object in a JSON file. Raises `ZooError` if the file is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ZooError(f"{path} is damaged ({reason(error)}). {_ANEW}") from error
    if not isinstance(content, dict):
        raise ZooError(f"{path} is damaged (it holds no object). {_ANEW}")
    return content


def empty(folder: Path) -> None:
    """Deletes what is in a run's folder, also behind a link. Raises `UsageError` for a folder that is no run's."""
    if folder.exists():
        if any(folder.iterdir()) and not _is_run(folder):
            raise UsageError(f"{folder} is not a run directory; refusing to delete it.")
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _is_run(folder: Path) -> bool:
    """Whether a folder is a run's: its recipe is one of the zoo, or damaged beside the environment of a run."""
    recipe, environment = folder / "recipe.json", folder / "environment.json"
    try:
        return {"task", "name", "model", "dataset"} <= set(read_json(recipe)) if recipe.exists() else False
    except ZooError:
        return environment.exists()


def missing(folder: Path) -> list[Path]:
    """The folder of a run and those above it that do not exist yet, the innermost first."""
    return list(itertools.takewhile(lambda path: not os.path.exists(path), (folder, *folder.parents)))


def remove(made: Sequence[Path]) -> None:
    """Removes the folders that a run made, given as by `missing`, if it failed before it saved any training."""
    if not made or (made[0] / "metrics.jsonl").exists() or any((made[0] / "checkpoint").glob("*")):
        return
    shutil.rmtree(made[0], ignore_errors=True)
    for above in made[1:]:
        try:
            above.rmdir()
        except OSError:  # there is something in it
            return


@contextlib.contextmanager
def reserved(folder: Path) -> Iterator[None]:
    """Keeps other processes from training in a run's folder, where the system has locks for files.

    Raises `ZooError` if another process does.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    try:
        own = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise ZooError(f"The run directory {folder} cannot be read: {reason(error)}.") from error
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            try:
                fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ZooError(
                    f"Another process trains in {folder}. Wait for it, stop it, or choose another --run-dir."
                ) from None
        yield
    finally:
        os.close(own)


def claim(folder: Path, recipe: Recipe, setting: Mapping[str, str]) -> None:
    """Creates a run's folder with its environment and `setting`, or checks that the existing one belongs to the same
    recipe.

    Raises `UsageError` if it does not, `ZooError` if the folder cannot be written.
    """
    path = folder / "recipe.json"
    try:
        if os.path.lexists(folder) and not folder.is_dir():
            raise UsageError(f"{folder} is not a run directory: {absent(folder, 'folder')}. Choose another --run-dir.")
        if path.exists():
            if not _is_run(folder):
                raise UsageError(f"{folder} is not a run directory; choose another --run-dir.")
            here = recipe.to_dict()
            # A run of an older version lacks the fields that were added since.
            there = {**{key: here[key] for key in recipe.at_default()}, **read_json(path)}
            differing = [key for key in here if there.get(key) != here[key]]
            if differing:
                values = "; ".join(f"{key} is {there.get(key)!r} there, {here[key]!r} here" for key in differing[:4])
                finished = differing == ["epochs"] and (folder / "result.json").exists()
                more = f" To continue from its weights: zoo finetune {shlex.quote(str(folder))}" if finished else ""
                raise UsageError(
                    f"{folder} holds another run ({values}). Choose another --run-dir, or --restart.{more}"
                )
            return
        folder.mkdir(parents=True, exist_ok=True)
        if any(not other.name.startswith(".") for other in folder.iterdir()):
            raise UsageError(f"{folder} is not empty and is not a run directory; choose another --run-dir.")
        write_json(path, recipe.to_dict())
        write_json(folder / "environment.json", {**environment(), **setting})
    except OSError as error:
        raise ZooError(f"The run directory {folder} cannot be written: {reason(error)}.") from error


def begun_in(folder: Path) -> str | None:
    """The precision in which a run's first steps were computed; None for a run of a version that did not record it."""
    path = folder / "environment.json"
    return read_json(path).get("precision") if path.exists() else None


def check_data(folder: Path, fingerprint: Mapping[str, Any]) -> None:
    """Records what identifies a run's data, or checks that it is the same as when the run began.

    Raises `ZooError` that names what differs where the data changed since then.
    """
    path = folder / "data.json"
    if not path.exists():
        write_json(path, dict(fingerprint))
        return
    here = json.loads(json.dumps(dict(fingerprint)))
    if changed := difference(read_json(path), here, "when the run began"):
        raise ZooError(
            f"The data of {folder} changed ({changed}). Restore it, choose another --run-dir, or start again with "
            "--restart (in Python run_dir=…, restart=True)."
        )


def check_parent(folder: Path, origin: Mapping[str, Any]) -> None:
    """Records which export a run starts from, or checks that it is the same as when the run began.

    Raises `ZooError` where that export was written again since then.
    """
    path = folder / "parent.json"
    if not path.exists():
        write_json(path, dict(origin))
    elif read_json(path)["sha256"] != origin["sha256"]:
        raise ZooError(
            f"The export that {folder} starts from, {origin['name']}, was written again since the run began. Choose "
            "another --run-dir, or start again with --restart."
        )


def mention_finished(recipe: Recipe, runs: Path, folder: Path, log: Callable[[str], None]) -> None:
    """Says what to do where a finished run differs only in how long it trained."""
    if folder.exists() or not runs.is_dir():
        return
    here = recipe.to_dict()
    for other in sorted(runs.iterdir()):
        if other.is_symlink() or not (other / "result.json").exists():
            continue
        try:
            there = read_json(other / "recipe.json")
        except (ZooError, OSError):
            continue
        if {key for key in here if there.get(key) != here[key]} == {"epochs"}:
            log(
                f"note: {other} holds a finished run with epochs={there['epochs']}. This run starts from the "
                "beginning, as its schedule differs. To continue from those weights: zoo finetune "
                f"{shlex.quote(str(other))}"
            )


def link_latest(link: Path, folder: Path) -> None:
    """Makes `link` a symbolic link to the last finished run, where the file system has them."""
    scratch = link.with_name(f".{link.name}.{os.getpid()}")
    try:
        scratch.symlink_to(folder.name, target_is_directory=True)
        scratch.replace(link)
    except OSError:
        scratch.unlink(missing_ok=True)


def environment() -> dict[str, Any]:
    """What a run depends on besides its recipe: versions, hardware, the commit of the code, the command."""
    names = ("tensorflow", "keras", "numpy")
    versions = {name: importlib.import_module(name).__version__ for name in names}
    return {
        "versions": {"python": platform.python_version(), "zoo": zoo.__version__, **versions},
        "platform": platform.platform(),
        "hardware": hardware(),
        "commit": provenance.commit(),
        "command": provenance.command(without=("--run-dir",)),  # the folder does not affect results
    }

"""Paths that users give, paths for TensorFlow, which reads some of them as patterns, names of hidden files, files
written whole, and temporary folders. Standard library only."""

import atexit
import contextlib
import os
import re
import shutil
import tempfile
from pathlib import Path

from zoo.errors import UsageError

# Files and folders that operating systems, archives and network storage add, in lower case.
SYSTEM_FOLDERS = {"__macosx", "__pycache__", "@eadir", "#recycle", "$recycle.bin", "system volume information"}
SYSTEM_FOLDERS |= {"lost+found", "recycler"}
SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}

_links: dict[Path, Path] = {}
_temporary: list[Path] = []


def temporary_folder(prefix: str) -> Path:
    """A new folder that is deleted when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    _temporary.append(folder)
    return folder


@atexit.register
def delete_temporary() -> None:
    """Deletes the temporary folders. Call it before `os._exit`, which runs no exit handlers."""
    for folder in _temporary:
        shutil.rmtree(folder, ignore_errors=True)
    _temporary.clear()


def user_path(path: str | os.PathLike[str]) -> Path:
    """A path that a user gave: `~` is the home folder, where there is no file or folder of that name.

    Raises `UsageError` for what is no path of the system, and for an empty one, for Python the current folder.
    """
    if not isinstance(path, (str, os.PathLike)) or os.fspath(path) == "" or "\0" in os.fspath(path):
        raise UsageError(f"The path is {path!r}; it must be that of a file or folder.")
    return Path(path if os.path.exists(path) else os.path.expanduser(path))


def literal_path(path: str | os.PathLike[str]) -> Path:
    """A path to the same folder that TensorFlow takes literally.

    TensorFlow treats `*`, `?`, `[`, `]` and a backslash in the paths of checkpoints as a pattern, and takes no bytes
    that are not UTF-8 (surrogates in Python). Where `path` has one, this is a symbolic link in the folder for temporary
    files, which is removed when the process ends.
    """
    path = Path(path)
    if not re.search(r"[*?\[\]\\\ud800-\udfff]", str(path)) or os.name == "nt":
        return path
    path = path.absolute()
    if path not in _links:
        _links[path] = temporary_folder("zoo-path-") / "link"
        _links[path].symlink_to(path, target_is_directory=True)
    return _links[path]


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden (starts with a dot) or one of the system's."""
    return name.startswith(".") or name.lower() in SYSTEM_FOLDERS | SYSTEM_FILES


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all; one of the same name is replaced."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        scratch.write_bytes(content)
        scratch.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            scratch.unlink()
        raise

"""Hashes of files' contents: which files are identical, and whether a folder has changed."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from zoo.data.splits import fingerprint_of

WHOLE_BYTES = 1 << 28  # up to this size of all files together their contents are hashed whole
ENDS = 4096  # bytes at the start and the end of a file that are hashed otherwise
MAX_FILES = 20_000  # of more files as many are hashed, evenly spaced


def hash_files(paths: Sequence[Path]) -> dict[Path, bytes]:
    """A hash of the size and the content of each file.

    Of large sets only the first and last bytes of each file are hashed, of sets with very many files only a sample.
    """
    chosen = paths[:: -(-len(paths) // MAX_FILES)] if paths else []
    return _digests(chosen, whole=sum(map(_size, paths)) <= WHOLE_BYTES)


def cutting_keys(paths: Sequence[Path]) -> dict[Path, str]:
    """What decides in which split each file is: its size and its first and last bytes, however large the set is; its
    name in sets of very many files."""
    if len(paths) > MAX_FILES:
        return {path: path.name for path in paths}
    return {path: digest.hex() for path, digest in _digests(paths, whole=False).items()}


def _digests(paths: Sequence[Path], *, whole: bool) -> dict[Path, bytes]:
    def digest(path: Path) -> bytes:
        size = _size(path)
        try:
            with open(path, "rb") as file:
                content = file.read() if whole or size <= 2 * ENDS else file.read(ENDS)
                if len(content) < size:
                    file.seek(-ENDS, os.SEEK_END)
                    content += file.read()
        except OSError:  # the code that reads the file reports it
            content = b""
        return hashlib.sha256(size.to_bytes(8, "little") + content).digest()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(paths, pool.map(digest, paths), strict=True))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def fingerprint_of_files(root: Path, paths: Iterable[Path], hashes: dict[Path, bytes]) -> dict[str, int | str]:
    """The fingerprint of a set of files, one an example: of their names below `root`, their sizes and their hashes."""
    paths = sorted(paths)
    sizes = [_size(path) for path in paths]
    parts = [
        os.fsencode(os.path.relpath(path, root)) + size.to_bytes(8, "little") + hashes.get(path, b"")
        for path, size in zip(paths, sizes, strict=True)
    ]
    return fingerprint_of(parts, examples=len(paths), files=len(paths), size=sum(sizes))

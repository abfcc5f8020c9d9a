"""Where pretrained exports are: beside the code, in the user's folder, or at the user's address.

A name such as `resnet20_cifar10_fast` is looked for in the folder `ZOO_SAVED_MODELS`, if that variable is set, and in
the exports that come with the zoo: `saved_models/` of a checkout; a wheel has the small ones. Where neither has it and
`ZOO_WEIGHTS_URL` is set, it is fetched from there into `ZOO_SAVED_MODELS`, or else into `~/.cache/reference-zoo`. That
address is the base of any copy of `saved_models/` on a web server. `exports.json` has the SHA-256 of each export's list
of sums, and that list has those of its files, so that nothing else can be fetched.
"""

import http.client
import json
import os
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote

from zoo.errors import UsageError, ZooError, reason
from zoo.exports import read
from zoo.shipped import shipped_folder

TIMEOUT = 30  # seconds without a byte
KNOWN = Path(__file__).with_name("exports.json")


def known_exports() -> dict[str, dict[str, str]]:
    """Name → its `version`, and the `sha256` of its list of sums, for each export that belongs to this version."""
    return json.loads(KNOWN.read_text(encoding="utf-8"))


def describe_exports(saved_models: Path) -> str:
    """The text of `exports.json` for the newest versions of the exports in a folder."""
    found = {}
    for base in sorted(path for path in saved_models.iterdir() if path.is_dir()):
        folder = read.find(base)
        found[base.name] = {"version": folder.name, "sha256": read.sha256(folder / read.SUMS)}
    return json.dumps(found, indent=2) + "\n"


def export_names() -> list[str]:
    """The names of the exports that belong to this version or are in one of the folders, sorted."""
    found = {path.name for folder in _folders() if folder.is_dir() for path in folder.iterdir() if path.is_dir()}
    return sorted(found | set(known_exports()))


def stored_export(name: str) -> Path:
    """The version folder of the export of this name, fetched if necessary.

    Raises `UsageError` where no place has it, saying which were tried; `ZooError` where a file of it is missing or
    changed, or where it cannot be fetched.
    """
    tried = []
    address = os.environ.get("ZOO_WEIGHTS_URL", "").rstrip("/")
    fetched = {_cache(), _own_folder() if address else None}
    for folder in _folders():
        # What was fetched may be of an older version of the zoo.
        wanted = known_exports()[name]["version"] if folder in fetched and name in known_exports() else ""
        if (folder / name / wanted).is_dir():
            return read.find(folder / name / wanted)
        tried.append(str(folder))
    if name in known_exports() and address:
        return _fetch(name, address, _own_folder() or _cache())
    variables = [] if _own_folder() else ["ZOO_SAVED_MODELS to a folder that has it"]
    if name in known_exports():
        variables.append("ZOO_WEIGHTS_URL to the address of a copy of saved_models/")
    advice = f" Set {' or '.join(variables)}." if variables else ""
    raise UsageError(f"The export {name} is not in {' or '.join(tried)}.{advice}")


def _own_folder() -> Path | None:
    own = os.environ.get("ZOO_SAVED_MODELS")
    return Path(own).expanduser() if own else None


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "reference-zoo"


def _folders() -> list[Path]:
    return [folder for folder in (_own_folder(), shipped_folder("saved_models"), _cache()) if folder]


def _fetch(name: str, address: str, store: Path) -> Path:
    """Fetches an export into `store`, where it appears only when all of it has its right sums."""
    known = known_exports()[name]
    version = known["version"]
    base = f"{address}/{quote(name)}/{quote(version)}"
    try:
        store.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=store, prefix=".fetching-") as scratch:
            folder = Path(scratch, name, version)
            _download(f"{base}/{read.SUMS}", folder / read.SUMS, known["sha256"])
            for line in (folder / read.SUMS).read_text(encoding="utf-8").splitlines():
                digest, _, file = line.partition("  ")
                _download(f"{base}/{quote(file)}", folder / file, digest)
            read.find(folder)
            (store / name).mkdir(exist_ok=True)
            try:
                folder.rename(store / name / version)
            except OSError:
                if not (store / name / version).exists():  # else another process has fetched it
                    raise
    except OSError as error:
        raise ZooError(f"{store}: {reason(error)}. {name} was not fetched.") from error
    return store / name / version


def _download(address: str, path: Path, digest: str) -> None:
    """Writes what is at an address to a file. Raises `ZooError` where that has another SHA-256."""
    from rich.progress import wrap_file

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT) as answer, path.open("wb") as file:
            size = int(answer.headers.get("Content-Length") or 0)
            quiet = not sys.stdout.isatty()
            with wrap_file(answer, size, description=path.name, transient=True, disable=quiet) as source:
                shutil.copyfileobj(source, file)
    except (urllib.error.URLError, http.client.HTTPException, ValueError, TimeoutError) as error:
        raise ZooError(
            f"{address} cannot be fetched: {getattr(error, 'reason', error)}. See ZOO_WEIGHTS_URL."
        ) from None
    found = read.sha256(path)
    if found != digest:
        raise ZooError(
            f"{address} is not the file that belongs to this version of the zoo: its SHA-256 is {found[:12]}…, not "
            f"{digest[:12]}…. It was not kept."
        )

"""Where pretrained exports are looked for, and how one is fetched."""

import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from conftest import ROOT, run_python
from zoo.weights.store import KNOWN, describe_exports, known_exports

NAME = "perceptron_mnist"
FIND = f"""
import sys
from zoo.errors import ZooError
from zoo.weights.store import stored_export
try:
    print(stored_export({NAME!r}))
except ZooError as error:
    sys.exit(str(error))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The package as a wheel has it that carries no export."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(ROOT / "zoo", folder / "zoo", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture
def website(tmp_path):
    """A copy of an export on a web server: its folder and its address."""
    shutil.copytree(ROOT / "saved_models" / NAME, tmp_path / "website" / NAME)
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path / "website")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield tmp_path / "website", f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def find(package, home, **variables):
    """Looks for the export in a process whose cache is below `home`: what it printed last, and its status."""
    env = {"PYTHONPATH": str(package), "XDG_CACHE_HOME": str(home / "cache"), "NO_PROXY": "*", **variables}
    found = run_python(code=FIND, cwd=home, env={"ZOO_SAVED_MODELS": "", "ZOO_WEIGHTS_URL": "", **env})
    return (found.stdout + found.stderr).strip().splitlines()[-1], found.returncode


def test_the_sums_of_the_pretrained_exports_are_those_of_their_files():
    assert KNOWN.read_text(encoding="utf-8") == describe_exports(ROOT / "saved_models")


def test_an_export_that_is_nowhere_says_what_was_tried(package, tmp_path):
    said, status = find(package, tmp_path)
    assert status == 1
    assert f"{NAME} is not in {package}/saved_models or {tmp_path}/cache/reference-zoo" in said
    assert "ZOO_SAVED_MODELS" in said and "ZOO_WEIGHTS_URL" in said


def test_the_users_folder_comes_first(package, website, tmp_path):
    assert find(package, tmp_path, ZOO_SAVED_MODELS=str(website[0])) == (str(website[0] / NAME / "1"), 0)


def test_an_export_is_fetched_once(package, website, tmp_path):
    folder, address = website
    there = str(tmp_path / "cache" / "reference-zoo" / NAME / "1")
    assert find(package, tmp_path, ZOO_WEIGHTS_URL=address) == (there, 0)
    shutil.rmtree(folder)
    assert find(package, tmp_path, ZOO_WEIGHTS_URL=address) == (there, 0)


def test_another_version_that_was_fetched_is_not_taken(package, website, tmp_path):
    cached, own = tmp_path / "cache" / "reference-zoo" / NAME, tmp_path / "own" / NAME
    for folder in (cached, own):
        shutil.copytree(website[0] / NAME / "1", folder / "0")
    assert find(package, tmp_path)[1] == 1
    assert find(package, tmp_path, ZOO_WEIGHTS_URL=website[1]) == (str(cached / "1"), 0)
    assert find(package, tmp_path, ZOO_SAVED_MODELS=str(own.parent)) == (str(own / "0"), 0)
    shutil.rmtree(cached)
    found = find(package, tmp_path, ZOO_SAVED_MODELS=str(own.parent), ZOO_WEIGHTS_URL=website[1])
    assert found == (str(own / "1"), 0)


@pytest.mark.parametrize("file", ["saved_model.pb", "assets.extra/sha256sums.txt"])
@pytest.mark.parametrize("change", ["other", "cut", "missing"])
def test_another_file_is_not_kept(package, website, tmp_path, file, change):
    folder, address = website
    path = folder / NAME / known_exports()[NAME]["version"] / file
    content = path.read_bytes()
    path.unlink() if change == "missing" else path.write_bytes(content[:-9] + b"X" * 9 * (change == "other"))
    said, status = find(package, tmp_path, ZOO_WEIGHTS_URL=address)
    assert status == 1
    assert f"{file} {'cannot be fetched' if change == 'missing' else 'is not the file that belongs'}" in said
    assert list((tmp_path / "cache" / "reference-zoo").iterdir()) == []


def test_an_address_without_a_server_is_one_line(package, tmp_path):
    said, status = find(package, tmp_path, ZOO_WEIGHTS_URL="http://127.0.0.1:9")
    assert status == 1 and "cannot be fetched" in said and "Connection refused" in said
    said, status = find(package, tmp_path, ZOO_WEIGHTS_URL="http://a b")
    assert status == 1 and "cannot be fetched: URL can't contain" in said

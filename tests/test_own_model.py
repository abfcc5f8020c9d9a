"""The script and the commands of docs/own-model.md."""

import json
import re
import shlex

import tensorflow as tf
from sklearn.datasets import load_digits

from conftest import ROOT, run_python

DOCUMENT = (ROOT / "docs" / "own-model.md").read_text(encoding="utf-8")


def test_the_document_is_true(tmp_path):
    (tmp_path / "tiny_net.py").write_text(re.search(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)[1], encoding="utf-8")
    pixels = (load_digits().images[3][..., None] * 15).astype("uint8")
    (tmp_path / "digit.png").write_bytes(tf.io.encode_png(pixels).numpy())
    said = {}
    for line in re.findall(r"^    (python .*|zoo .*)$", DOCUMENT, re.MULTILINE):
        program, *arguments = shlex.split(line)
        code = "from zoo.cli import console; console()" if program == "zoo" else None
        result = run_python(*arguments, code=code, cwd=tmp_path)
        assert result.returncode == 0, f"{line}\n{result.stderr[-3000:]}"
        said[line] = result.stdout
    dry, trained, predicted, built = said.values()
    assert "Dry run of tiny_net_digits finished" in dry
    assert (tmp_path / "runs" / "tiny_net" / "export").is_dir() and "test accuracy" in trained
    ran = json.loads((tmp_path / "runs" / "tiny_net" / "result.json").read_text())
    assert ran["rows"][0]["command"] == "python tiny_net.py --epochs 3 --model.width 16"
    assert re.fullmatch(r"digit\.png: \d \(\d+\.\d%\)", predicted.strip().splitlines()[-1])
    assert built.split()[-1] == str(9 * 16 + 16 + 9 * 16 * 32 + 32 + 32 * 10 + 10)


def test_the_document_is_short():
    assert len(DOCUMENT.splitlines()) < 80

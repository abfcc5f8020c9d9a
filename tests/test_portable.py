"""Exports as files for ONNX Runtime and LiteRT."""

import importlib.util
import json
import re
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

import zoo
from conftest import ROOT, run, run_python
from zoo.cli.commands import dispatch
from zoo.exports.portable import write_portable
from zoo.tasks.table import load_predictor

PACKAGES = {"onnx": "tf2onnx", "litert": "ai_edge_litert"}


def needs(file_format):
    if importlib.util.find_spec(PACKAGES[file_format]) is None:
        pytest.skip(f"{PACKAGES[file_format]} is not installed")


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    from conftest import image_recipe

    recipe = image_recipe(model="lenet5_modern", model_args={"input_shape": (16, 16, 1)}, pad=4, limit_steps=20)
    return run(recipe, run_dir=tmp_path_factory.mktemp("portable") / "run").export


def answers(path, images):
    """`classes` and `probabilities` of a file, and its class names."""
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        labels = json.loads(session.get_modelmeta().custom_metadata_map["labels"])
        return dict(zip(names, session.run(names, {"images": images}), strict=True)), labels
    from ai_edge_litert.interpreter import Interpreter

    labels = zipfile.ZipFile(path).read("labels.txt").decode().splitlines()
    return Interpreter(str(path)).get_signature_runner()(images=images), labels


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("file_format", PACKAGES)
def test_a_file_answers_as_the_saved_model(export, digits, tmp_path, capsys, file_format):
    needs(file_format)
    path = tmp_path / "made" / ("digits.onnx" if file_format == "onnx" else "digits.tflite")
    for _ in range(2):  # the second one replaces the first
        assert dispatch(["export", str(export), "--format", file_format, "--output", str(path)]) == 0
    assert "takes images uint8 (N, 8, 8, 1)" in capsys.readouterr().out
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    images = digits.test.pictures[:7]
    expected = tf.saved_model.load(str(export)).signatures["serving_default"](images=images)
    found, labels = answers(path, images)
    np.testing.assert_array_equal(found["classes"], expected["classes"])
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-5)
    assert labels == [str(digit) for digit in range(10)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("file_format", PACKAGES)
def test_a_file_that_answers_differently_is_not_written(export, tmp_path, file_format):
    needs(file_format)
    portable = load_predictor(export).portable()
    other = {**portable.expected, "probabilities": np.roll(portable.expected["probabilities"], 1, axis=1)}
    with pytest.raises(zoo.ZooError, match="answers differently from the SavedModel"):
        write_portable(replace(portable, expected=other), file_format, tmp_path / "file")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("file_format", PACKAGES)
def test_a_missing_package_is_named(file_format):
    code = f"""
import sys; sys.modules[{PACKAGES[file_format]!r}] = None
from pathlib import Path
from zoo.exports.portable import Portable, write_portable
write_portable(Portable(None, {{}}, {{}}), {file_format!r}, Path("file"))
"""
    said = run_python(code=code).stderr.splitlines()[-1]
    assert f"needs the package {PACKAGES[file_format]}, which is not installed; in the zoo's folder:" in said
    assert said.endswith(f"pip install -e '.[{file_format}]'.")


def test_what_cannot_be_converted_is_refused(export, tmp_path):
    with pytest.raises(zoo.UsageError, match="no format 'tflite'.*Did you mean 'litert'"):
        write_portable(load_predictor(export).portable(), "tflite", tmp_path / "file")
    with pytest.raises(zoo.ZooError, match="translation; its strings"):
        dispatch(["export", "seq2seq_dates", "--format", "onnx"])
    with pytest.raises(zoo.UsageError, match="--format"):
        dispatch(["export", str(export)])


def test_the_table_has_the_models_that_fit_it():
    text = (ROOT / "docs" / "exports.md").read_text(encoding="utf-8").partition("portable_formats.py -->")[2]
    small = [name for name in zoo.list_models(task="image_classification") if zoo.describe(name).parameters <= 30e6]
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == small

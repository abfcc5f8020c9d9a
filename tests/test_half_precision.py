"""Exports with their weights in float16."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

import zoo
from conftest import prepared, run
from small_recipes import TASKS, small_recipes
from zoo.cli.commands import dispatch
from zoo.exports import read
from zoo.report.console import differs
from zoo.tasks.table import load_predictor
from zoo.training.export import build_model, write_export
from zoo.training.half_precision import export_in_half
from zoo.weights.parent import Parent


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The export of a small recipe of a task, trained once."""
    exports = {}

    def export(name):
        if name not in exports:
            folder = tmp_path_factory.mktemp(name)
            recipe = replace(small_recipes(folder)[name], epochs=1, limit_steps=6)
            exports[name] = run(recipe, run_dir=folder / "run").export
        return exports[name]

    return export


@pytest.mark.parametrize(
    "name", [name if name == "image" else pytest.param(name, marks=pytest.mark.full) for name in TASKS]
)
def test_an_export_of_each_task_answers_as_it_did(name, trained, tmp_path):
    whole = trained(name)
    half = export_in_half(whole, tmp_path / "half", check=False)
    one, other = Parent(whole), Parent(half)
    keys = json.loads((half / "assets.extra" / "weights.json").read_text())
    assert keys == json.loads((whole / "assets.extra" / "weights.json").read_text())
    types = set()
    for path, key in keys.items():
        theirs, ours = (side.value(key.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE")) for side in (one, other))
        types.add((ours.dtype.name, ours.ndim > 1))
        np.testing.assert_array_equal(ours, theirs.astype(ours.dtype), err_msg=path)
    assert types == {("float16", True), ("float32", False)}
    loaded = [tf.saved_model.load(str(folder)) for folder in (whole, half)]
    assert loaded[0].signatures.keys() == loaded[1].signatures.keys() and not hasattr(loaded[1], "train")
    assert read.read_card(half)["stored"]["type"] == "float16"
    scores = load_predictor(half).evaluate()
    for metric, value in read.read_card(half)["metrics"].items():
        if metric in scores:
            assert scores[metric] == pytest.approx(value, abs=1e-6)
    model = zoo.build(one.card["name"], weights=half)
    assert {weight.dtype for weight in model.weights} == {"float32"}
    weights = model.get_weights()
    model.set_weights([np.zeros_like(value) for value in weights])
    other.load(model)  # as fine-tuning does
    for ours, theirs in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "name", [name if name == "image" else pytest.param(name, marks=pytest.mark.full) for name in TASKS]
)
def test_what_the_training_started_from_is_not_needed(name, trained, tmp_path, monkeypatch):
    monkeypatch.setattr("zoo.report.console.differs", lambda *_: False)  # after 6 steps, rounding changes answers
    parent, teacher = tmp_path / "parent", tmp_path / "teacher"
    shutil.copytree(trained(name), parent / "1")
    recipe = replace(small_recipes(tmp_path)[name], weights=str(parent), epochs=1, limit_steps=6)
    if name == "image":
        shutil.copytree(parent, teacher)
        recipe = replace(recipe, teacher=str(teacher), alpha=0.5)
    whole = run(recipe, run_dir=tmp_path / "run").export
    for folder in (parent, teacher):
        shutil.rmtree(folder, ignore_errors=True)
    half = export_in_half(whole, tmp_path / "half", check=False)
    one, other = read.read_card(whole), read.read_card(half)
    assert other["parent"] == one["parent"] and read.read_recipe(half) == read.read_recipe(whole)
    assert other["stored"]["metrics_in_float32"] == one["metrics"]


def test_matrices_in_several_files(trained, tmp_path, monkeypatch):
    whole = trained("image")
    for module in ("half", "write"):
        monkeypatch.setattr(f"zoo.exports.{module}.PART_BYTES", 1000)
    half = export_in_half(whole, tmp_path / "half")  # checks it in a fresh process
    keys = json.loads((half / "assets.extra" / "weights.json").read_text())
    checkpoint = tf.train.load_checkpoint(str(half / "variables" / "variables"))
    assert {checkpoint.get_tensor(key).dtype.name for key in keys.values()} >= {"int16", "float32"}
    model, before = (zoo.build(read.read_card(whole)["name"], weights=export) for export in (half, whole))
    for ours, theirs in zip(model.get_weights(), before.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs.astype("float16") if theirs.ndim > 1 else theirs)


def test_the_command_says_what_changes(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert dispatch(["export", str(trained("image")), "--format", "float16"]) == 0
    (half,) = tmp_path.glob("image_float16/1")
    said = capsys.readouterr().out
    assert re.search(r"test_accuracy: (\d+\.\d\d%) → \1", said) and re.search(r"0\.\d MB, where .* has 0\.\d MB", said)
    with pytest.raises(zoo.UsageError, match="is stored in float16 already"):
        dispatch(["export", str(half), "--format", "float16", "--output", "again"])
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    ("metric", "most"), [("test_accuracy", 0.001), ("test_exact_match", 0.001), ("test_beam_bleu", 0.1)]
)
def test_a_tenth_of_a_point_is_a_difference(metric, most):
    assert not differs(metric, 0.5, 0.5 + 0.9 * most) and differs(metric, 0.5, 0.5 - 1.1 * most)
    assert differs(metric, 0.5, float("nan"))
    assert not differs("test_loss", 47.57, 47.55) and differs("test_loss", 47.57, 47.5)


def test_what_float16_changes_is_refused(small_recipe, tmp_path):
    task = prepared(small_recipe())
    model = build_model(task, "float32")
    better = write_export(task, model, tmp_path / "better", {"test_accuracy": 0.99}, check=False)
    with pytest.raises(zoo.ZooError, match="float16 changes test_accuracy too much"):
        export_in_half(better, tmp_path / "half")
    model.weights[0].assign(model.weights[0] + 1e5)
    large = write_export(task, model, tmp_path / "large", {}, check=False)
    with pytest.raises(zoo.ZooError, match="kernel has values that are too large for float16"):
        export_in_half(large, tmp_path / "half")
    task = prepared(small_recipe(precision="float64"))
    double = write_export(task, build_model(task, "float64"), tmp_path / "double", {}, check=False)
    with pytest.raises(zoo.UsageError, match="has no matrices or kernels in float32"):
        export_in_half(double, tmp_path / "half")
    assert not (tmp_path / "half").exists()

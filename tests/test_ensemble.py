"""`zoo ensemble`: several exports as one."""

import json
from argparse import Namespace

import numpy as np
import pytest
import tensorflow as tf

import zoo
from conftest import run
from zoo.cli.commands import dispatch
from zoo.exports import read
from zoo.tasks.table import load_predictor


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """Two classifiers of the digits, with preprocessings of their own."""
    from conftest import image_recipe

    folder = tmp_path_factory.mktemp("members")
    small = {"model": "softmax_regression", "model_args": {"input_shape": (8, 8, 1)}, "limit_steps": 60}
    wide = {"model": "mlp", "model_args": {"input_shape": (10, 10, 1), "hidden": (8,)}, "pad": 1, "limit_steps": 200}
    recipes = [image_recipe(name="plain", **small), image_recipe(name="padded", pixel_std=(100.0,), **wide)]
    return [run(recipe, run_dir=folder / recipe.name).export for recipe in recipes]


@pytest.fixture(scope="module")
def committee(members, tmp_path_factory):
    return zoo.ensemble(members, tmp_path_factory.mktemp("ensemble") / "committee")


def test_it_answers_with_the_mean(members, committee, digits):
    images = digits.test.pictures[:20]
    each = [tf.saved_model.load(str(path)).signatures["serving_default"](images=images) for path in members]
    expected = np.mean([answer["probabilities"] for answer in each], axis=0)
    signatures = tf.saved_model.load(str(committee)).signatures
    assert set(signatures) == {"serving_default", "image_bytes"}
    files = tf.constant([tf.io.encode_png(image).numpy() for image in images])
    by_file = signatures["image_bytes"](image_bytes=files)
    for answer in (signatures["serving_default"](images=images), by_file):
        np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-6)
        np.testing.assert_array_equal(answer["classes"], expected.argmax(-1))
        assert [label.decode() for label in answer["labels"].numpy()] == [str(k) for k in expected.argmax(-1)]


def test_it_is_an_export_with_members(members, committee, tmp_path, capsys):
    assert read.find(committee.parent) == committee
    card = read.read_card(committee)
    assert [member["sha256"] for member in card["members"]] == [read.sha256(path / read.SUMS) for path in members]
    assert [member["model"] for member in card["members"]] == ["softmax_regression", "mlp"]
    assert dispatch(["evaluate", str(committee), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test_accuracy"] == card["metrics"]["test_accuracy"] > 0.5
    assert dispatch(["verify", str(committee)]) == 0
    assert "sums ok, test_accuracy 0." in capsys.readouterr().out
    (tmp_path / "a.png").write_bytes(tf.io.encode_png(np.zeros((9, 9, 1), np.uint8)).numpy())
    (answer,) = load_predictor(committee).predict(Namespace(files=[str(tmp_path / "a.png")], top_k=2))
    assert len(answer["top"]) == 2 and answer["probability"] > 0


def test_it_has_no_weights_to_take(committee, tmp_path):
    with pytest.raises(zoo.UsageError, match="holds weights of 'ensemble', not of 'mlp'"):
        zoo.build("mlp", weights=committee)
    with pytest.raises(zoo.UsageError, match="an ensemble without weights of its own.*plain/1, padded/1"):
        zoo.finetune(committee, options={"run_dir": tmp_path / "run"})
    with pytest.raises(zoo.UsageError, match="an ensemble without weights of its own"):
        load_predictor(committee).portable()


def test_members_must_fit_together(members, image_folder, tmp_path):
    from conftest import image_recipe

    def trained(name, **changes):
        recipe = image_recipe(name=name, model="softmax_regression", limit_steps=1, **changes)
        return run(recipe, run_dir=tmp_path / name).export

    size = {"model_args": {"input_shape": (8, 8, 1)}}
    larger = trained("larger", model_args={"input_shape": (9, 9, 1)})
    with pytest.raises(zoo.UsageError, match="takes 8 × 8 in grey and .*larger/1 9 × 9 in grey"):
        zoo.ensemble([members[0], larger], tmp_path / "e")
    others = trained("others", dataset=f"folder:{image_folder()}", **size)
    with pytest.raises(zoo.UsageError, match="others/1 have '0' and 'dark' as the same class"):
        zoo.ensemble([members[0], others], tmp_path / "e")
    with pytest.raises(zoo.UsageError, match="gives scores; the members of an ensemble must give probabilities"):
        zoo.ensemble([members[0], "perceptron:mnist"], tmp_path / "e")
    with pytest.raises(zoo.UsageError, match="an export for translation; ensembles are of image classifiers"):
        zoo.ensemble([members[0], "seq2seq_dates"], tmp_path / "e")
    with pytest.raises(zoo.UsageError, match="needs at least two exports, and there is 1"):
        dispatch(["ensemble", str(members[0]), "--output", str(tmp_path / "e")])
    assert not (tmp_path / "e").exists()

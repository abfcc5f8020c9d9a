"""Exports: outputs, loading without the zoo, completeness, and loading their weights."""

import json
import os
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

import zoo
from conftest import image_recipe, prepared, run, run_python
from zoo.exports import read, write
from zoo.recipe import load_recipe


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """LeNet-5 after one epoch on the digits, exported and checked."""
    recipe = replace(load_recipe("lenet5_digits"), epochs=2, schedule="constant")
    return run(recipe, run_dir=tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture(scope="module")
def signatures(trained):
    return tf.saved_model.load(str(trained.export)).signatures


def scans(digits, count=6):
    return digits.test.pictures[:count]


def test_signatures_have_the_agreed_names_types_and_shapes(signatures):
    assert set(signatures) == {"serving_default", "image_bytes", "features", "preprocess"}
    expected = {
        "serving_default": ("images", tf.uint8, [None, None, None, 1]),
        "image_bytes": ("image_bytes", tf.string, [None]),
        "features": ("images", tf.uint8, [None, None, None, 1]),
        "preprocess": ("images", tf.uint8, [None, None, None, 1]),
    }
    for name, (argument, dtype, shape) in expected.items():
        spec = signatures[name].structured_input_signature[1]
        assert list(spec) == [argument] and spec[argument].dtype == dtype and spec[argument].shape.as_list() == shape
    answers = {
        key: (spec.dtype, spec.shape.as_list())
        for key, spec in signatures["serving_default"].structured_outputs.items()
    }
    assert answers == {
        "classes": (tf.int64, [None]),
        "labels": (tf.string, [None]),
        "probabilities": (tf.float32, [None, 10]),
    }


def test_predictions_equal_the_models(trained, signatures, digits):
    from zoo.tasks.image_classification.preprocessing import Preprocessing

    ready = Preprocessing(load_recipe("lenet5_digits"), (32, 32, 1))
    logits = trained.model(ready.served(tf.constant(scans(digits)))).numpy()
    answer = signatures["serving_default"](images=scans(digits))
    np.testing.assert_array_equal(answer["classes"], logits.argmax(-1))
    assert [label.decode() for label in answer["labels"].numpy()] == [str(c) for c in logits.argmax(-1)]
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    np.testing.assert_allclose(answer["probabilities"], shifted / shifted.sum(-1, keepdims=True), rtol=1e-4, atol=1e-6)
    features = signatures["features"](images=scans(digits))["features"]
    assert features.shape == (6, 84)
    files = tf.constant([tf.io.encode_png(image).numpy() for image in scans(digits)])
    by_file = signatures["image_bytes"](image_bytes=files)
    np.testing.assert_allclose(by_file["probabilities"], answer["probabilities"], atol=1e-6)


def test_a_rows_answer_does_not_depend_on_the_rows_beside_it(signatures, digits):
    together = signatures["serving_default"](images=scans(digits))["probabilities"].numpy()
    for i, image in enumerate(scans(digits)):
        alone = signatures["serving_default"](images=image[None])["probabilities"].numpy()[0]
        np.testing.assert_allclose(alone, together[i], atol=1e-6)


def test_any_size_is_answered(signatures):
    for size in ((1, 1), (3, 500), (28, 28)):
        images = np.zeros((2, *size, 1), np.uint8)
        assert signatures["serving_default"](images=images)["probabilities"].shape == (2, 10)


def test_a_batch_without_rows_is_answered(signatures):
    images = {"images": tf.zeros((0, 28, 28, 1), tf.uint8)}
    for name, inputs in {"serving_default": images, "image_bytes": {"image_bytes": tf.zeros(0, tf.string)}}.items():
        answer = signatures[name](**inputs)
        assert answer["probabilities"].shape == (0, 10) and answer["labels"].shape == (0,)
    assert signatures["features"](**images)["features"].shape == (0, 84)


def test_the_export_loads_without_the_zoo(trained, digits, tmp_path):
    np.save(tmp_path / "images.npy", scans(digits))
    code = f"""
import sys; sys.modules["zoo"] = None
import numpy as np, tensorflow as tf
answer = tf.saved_model.load({str(trained.export)!r}).signatures["serving_default"]
print(answer(images=tf.constant(np.load({str(tmp_path / "images.npy")!r})))["classes"].numpy().tolist())
assert not any(name.startswith("keras") for name in sys.modules)
"""
    done = run_python(code=code)
    here = tf.saved_model.load(str(trained.export)).signatures["serving_default"](images=scans(digits))
    assert json.loads(done.stdout) == here["classes"].numpy().tolist(), done.stderr


def test_the_weights_of_a_large_model_are_in_files_of_7_MiB(tmp_path):
    recipe = image_recipe(model="mlp", model_args={"input_shape": (8, 8, 1), "hidden": (2100, 1000)}, limit_steps=1)
    result = run(recipe, run_dir=tmp_path / "run")
    sizes = [path.stat().st_size for path in result.export.glob("variables/variables.data-*")]
    assert len(sizes) == 2 and max(sizes) <= 7 * 2**20 and sum(sizes) > 4 * result.model.count_params()
    model = zoo.build("mlp", weights=result.export)
    for built, trained in zip(model.weights, result.model.weights, strict=True):
        np.testing.assert_array_equal(built.numpy(), trained.numpy())
    images = np.full((1, 8, 8, 1), 9, np.uint8)
    answer = tf.saved_model.load(str(result.export)).signatures["serving_default"](images=tf.constant(images))
    assert answer["probabilities"].shape == (1, 10)


def test_the_files_beside_the_graph(trained):
    extras = trained.export / "assets.extra"
    assert {path.name for path in extras.iterdir()} == {
        "weights.json", "recipe.json", "card.json", "sha256sums.txt", "tf_serving_warmup_requests",
    }  # fmt: skip
    assert read.read_recipe(trained.export)["name"] == "lenet5_digits"
    assert read.read_card(trained.export)["metrics"] == dict(trained.metrics)
    from tensorflow_serving.apis import prediction_log_pb2

    record = next(iter(tf.data.TFRecordDataset(str(extras / "tf_serving_warmup_requests")))).numpy()
    request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
    assert tf.make_ndarray(request.inputs["images"]).shape == (1, 28, 28, 1)


def test_weights_are_stored_once_and_can_be_loaded(trained, tmp_path):
    model = zoo.build("lenet5", weights=trained.export)
    for ours, theirs in zip(model.weights, trained.model.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not list(trained.export.rglob("*.h5")) + list(trained.export.rglob("*.keras"))
    for path in (trained.export.parent, trained.folder):  # the newest version, the run
        assert zoo.build("lenet5", weights=path).count_params() == 60_000
    features = zoo.build("lenet5", weights=trained.export, include_top=False)
    np.testing.assert_array_equal(features.weights[0], trained.model.weights[0])
    with pytest.raises(zoo.UsageError, match="weights of 'lenet5', not of 'mlp'"):
        zoo.build("mlp", weights=trained.export)


def test_another_number_of_classes_keeps_all_but_the_head(small_recipe, tmp_path, capsys):
    recipe = small_recipe(model="mlp", model_args={"input_shape": (8, 8, 1), "hidden": (16,)})
    result = run(recipe, run_dir=tmp_path / "run")
    headless = zoo.build("mlp", weights=result.export, num_classes=3, include_top=False)
    assert "head" not in capsys.readouterr().out
    for ours, theirs in zip(headless.weights, result.model.weights, strict=False):
        np.testing.assert_array_equal(ours, theirs)
    card = read.read_card(result.export)
    assert (card["parameters"], card["trainable"], card["macs"]) == (65 * 16 + 17 * 10, 65 * 16 + 17 * 10, None)
    assert card["summary"].endswith("; here with input_shape=(8, 8, 1), hidden=(16,)")
    model = zoo.build("mlp", weights=result.export, num_classes=3)
    assert model.output_shape == (None, 3) and "the head for 3 classes is new" in capsys.readouterr().out
    np.testing.assert_array_equal(model.weights[0], result.model.weights[0])
    with pytest.raises(zoo.UsageError, match="hidden is .17,., and the weights .* were trained with .16.; omit hidden"):
        zoo.build("mlp", weights=result.export, hidden=(17,))
    with pytest.raises(zoo.UsageError, match="hidden1/kernel has shape .72, 16. here and .64, 16."):
        zoo.build("mlp", weights=result.export, input_shape=(9, 8, 1))


def test_preprocessing_is_what_the_weights_expect(trained, digits):
    ready = zoo.preprocessing("lenet5", trained.export)(scans(digits))
    assert ready.shape == (6, 32, 32, 1)
    assert np.isclose(ready.numpy().min(), -0.1) and ready.numpy().max() <= 1.1751
    model = zoo.build("lenet5", weights=trained.export)
    classes = tf.saved_model.load(str(trained.export)).signatures["serving_default"](images=scans(digits))["classes"]
    np.testing.assert_array_equal(model(ready).numpy().argmax(-1), classes)


def test_versions_are_numbered_and_never_partial(trained, tmp_path):
    from zoo.registry import describe

    recipe, card = load_recipe("lenet5_digits"), describe("lenet5")
    task = prepared(recipe)

    def written():
        serving = task.serving(trained.model)
        return write.write(tmp_path / "m", serving, trained.model, recipe, card, task.serving_examples(), {}, {})

    assert written() == tmp_path / "m" / "1"
    (tmp_path / "m" / "recipe.json").touch()
    with pytest.raises(zoo.UsageError, match="m is a run directory"):
        written()
    (tmp_path / "m" / "recipe.json").unlink()
    (tmp_path / "m" / "7").mkdir()
    (tmp_path / "m" / "²").mkdir()
    for name, hours in (("killed", 2), ("now", 0)):  # another process may be writing
        (tmp_path / "m" / f".writing-{name}").mkdir()
        os.utime(tmp_path / "m" / f".writing-{name}", (time.time() - 3600 * hours,) * 2)
    assert written() == tmp_path / "m" / "8"
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == [".writing-now", "1", "7", "8", "²"]
    assert read.find(tmp_path / "m") == tmp_path / "m" / "8"


def test_an_export_with_other_outputs_is_deleted(trained, digits, tmp_path):
    from zoo.registry import describe

    recipe, card = load_recipe("lenet5_digits"), describe("lenet5")
    spec = tf.TensorSpec([None, None, None, 1], tf.uint8, "images")

    @tf.function(input_signature=[spec])
    def timed(images):
        return {"probabilities": tf.fill([tf.shape(images)[0], 10], tf.timestamp() % 1)}

    serving = tf.Module()
    serving.endpoints, serving.weights = {"serving_default": timed}, [w.value for w in trained.model.weights]
    with pytest.raises(zoo.ZooError, match="gives other outputs than the trained model"):
        write.write(tmp_path / "m", serving, trained.model, recipe, card, {"images": scans(digits)}, {}, {})
    assert list((tmp_path / "m").iterdir()) == []


@pytest.mark.parametrize("lost", ["saved_model.pb", "variables/variables.index", "assets.extra/sha256sums.txt"])
def test_an_incomplete_export_is_refused(trained, tmp_path, lost):
    shutil.copytree(trained.export, tmp_path / "m" / "1")
    (tmp_path / "m" / "1" / lost).unlink()
    with pytest.raises(zoo.ZooError, match="incomplete.*is missing"):
        read.find(tmp_path / "m")


def test_an_export_that_was_changed_is_refused(trained, tmp_path):
    shutil.copytree(trained.export, tmp_path / "1")
    with (tmp_path / "1" / "saved_model.pb").open("ab") as file:
        file.write(b"more")
    with pytest.raises(zoo.ZooError, match="damaged: saved_model.pb"):
        read.find(tmp_path / "1")


def test_hidden_files_and_those_of_systems_do_not_change_an_export(trained, tmp_path):
    export = shutil.copytree(trained.export, tmp_path / "1")
    for name in (".DS_Store", "variables/._variables.index", "assets.extra/Thumbs.db", "@eaDir/saved_model.pb"):
        (export / name).parent.mkdir(exist_ok=True)
        (export / name).write_bytes(b"of a system")
    assert read.find(tmp_path) == export
    (export / "assets.extra" / ".card.json").symlink_to(tmp_path)
    with pytest.raises(zoo.ZooError, match="is a symbolic link"):
        read.find(export)
    (export / "assets.extra" / ".card.json").unlink()
    (export / "saved_model.cpb").write_bytes(b"")
    with pytest.raises(zoo.ZooError, match="holds saved_model.cpb, which .* does not name"):
        read.find(export)


def test_a_path_without_an_export_is_refused(tmp_path):
    with pytest.raises(zoo.UsageError, match="no folder"):
        read.find(tmp_path / "nowhere")
    with pytest.raises(zoo.UsageError, match="holds no export"):
        read.find(tmp_path)


@pytest.mark.parametrize(
    ("name", "layer"),
    [("lenet5", "OUTPUT"), ("mlp", "logits"), ("all_cnn_c", None), ("nin_cifar", None), ("resnet20", "fc")],
)
def test_the_classifier_is_found_beneath_pooling(name, layer):
    from zoo.weights.exports import classifier

    model = zoo.build(name) if name == "lenet5" else zoo.build(name, num_classes=3)
    found = classifier(model)
    if layer:
        assert found.name == layer
    else:  # a 1 × 1 convolution to the class maps
        assert found.filters == 3 and found is not model.layers[-1]

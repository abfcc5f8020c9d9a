"""Fine-tuning: an export's weights on other data, in two phases."""

import json
import re
import shutil
import types
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from conftest import ROOT, check_resumption, prepared, run, run_python
from conftest import zoo as run_zoo
from zoo.exports import read
from zoo.tasks.classes import choose_classes
from zoo.tasks.table import create_task, load_predictor
from zoo.training import optimizers, phases
from zoo.weights.exports import output_layers
from zoo.weights.parent import Parent


def small_net(*, num_classes: int = 10, input_shape: tuple[int, ...] = (8, 8, 1), name: str = "small_net"):
    images = keras.Input(input_shape, name="images")
    x = keras.layers.Conv2D(4, 3, name="first", use_bias=False)(images)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(name="first_bn", momentum=0.5)(x))
    x = keras.layers.Conv2D(6, 3, name="second")(x)
    x = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(images, keras.layers.Dense(num_classes, name="classes")(x), name=name)


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """A small export, trained on digits with a mean image."""
    zoo.register("small_net", small_net, input_shape=(8, 8, 1), licence="CC-BY-4.0")
    recipe = zoo.ImageRecipe(
        name="small",
        model="small_net",
        dataset="digits",
        epochs=1,
        limit_steps=10,
        batch_size=50,
        optimizer="adam",
        learning_rate=0.01,
        normalisation="mean_image",
        random_shift=1,
    )
    return run(recipe, run_dir=tmp_path_factory.mktemp("parent") / "run").export


@pytest.fixture
def recipe(parent, image_folder):
    """Makes a fine-tuning of the parent on coloured images of two classes: two epochs of three steps in each phase."""

    pictures = image_folder(count=15)

    def make(folder=pictures, **changes):
        dataset = f"folder:{folder}"
        settings = {"epochs": 4, "frozen_epochs": 2, "batch_size": 8, "steps_per_execution": 1, **changes}
        return zoo.finetuning_recipe(parent, dataset=dataset, **settings)

    return make


class AtEpochEnd(keras.callbacks.Callback):
    """Stores the weights of each epoch."""

    def __init__(self):
        super().__init__()
        self.epochs = []

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append({weight.path: weight.numpy() for weight in self.model.net.weights})


def test_the_head_is_trained_first_and_then_everything(parent, recipe, tmp_path, capsys):
    seen = AtEpochEnd()
    result = run(recipe(), run_dir=tmp_path / "run", callbacks=[seen])
    of_parent = {
        path: Parent(parent).value(key.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE")) for path, key in keys(parent)
    }
    first, frozen, _, last = seen.epochs
    for path in frozen:
        if path.startswith("classes"):
            assert frozen[path].shape[-1] == 2 and not np.array_equal(frozen[path], first[path])
        else:  # batch normalisation's statistics, too
            np.testing.assert_array_equal(frozen[path], of_parent[path], err_msg=path)
        assert not np.array_equal(frozen[path], last[path]), path
    said = capsys.readouterr().out
    assert "head: new, for 2 classes: dark, light (small/1 has 10)" in said
    assert "images: read as 8 × 8 in grey, as small/1 takes them" in said
    assert all(layer.trainable for layer in result.model.layers) and result.metrics["test_accuracy"] >= 0.5


def test_labels_that_differ_from_the_parents_in_case_alone_are_said(recipe, capsys):
    task = create_task(recipe(), print)
    task.parent = types.SimpleNamespace(name="pets/1", labels=("cat", "dog", "horse"))
    assert not choose_classes(task, "data", ("Cat", "dog")).kept
    assert "warning: 'Cat' of the data differs from 'cat' of pets/1 in case or spacing only" in capsys.readouterr().out
    assert not choose_classes(task, "data", ("Cat", "mouse")).kept
    assert "warning" not in capsys.readouterr().out


def keys(export):
    return json.loads((export / "assets.extra" / "weights.json").read_text()).items()


def test_the_export_names_its_parent_and_has_its_preprocessing(parent, recipe, tmp_path):
    export = run(recipe(epochs=1, frozen_epochs=1), run_dir=tmp_path / "run").export
    card = read.read_card(read.find(export))
    sums = read.sha256(parent / read.SUMS)
    origin = {"name": "small", "version": "1", "model": "small_net", "sha256": sums, "licence": "CC-BY-4.0"}
    assert card["parent"] == origin and card["licence"] == "CC-BY-4.0" and card["labels"] == ["dark", "light"]
    images = np.random.default_rng(0).integers(0, 256, (3, 20, 9, 1), np.uint8)
    answers = [
        tf.saved_model.load(str(folder)).signatures["preprocess"](images=tf.constant(images))["inputs"]
        for folder in (parent, export)
    ]
    np.testing.assert_array_equal(*answers)  # the mean image is that of the digits
    assert read.read_recipe(export)["random_shift"] == 1


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"stop": 4}, marks=pytest.mark.full),
        pytest.param({"stop": 8}, marks=pytest.mark.full),
        {"stop": 5, "keep": "average"},
    ],
)
def test_a_stopped_run_resumes_in_both_phases(recipe, tmp_path, changes):
    changes = dict(changes)
    stop = changes.pop("stop")
    check_resumption(recipe(deterministic=True, **changes), tmp_path, stop_at=stop)


def test_a_head_for_the_same_classes_is_kept_in_its_order(parent, image_folder, recipe, tmp_path, capsys):
    """The folder has another order of classes than the export: by name, where 10 comes before 2."""
    names = [*map(str, range(10))]
    task = prepared(recipe(image_folder(tmp_path / "ten", classes=names), head="keep"))
    assert task.labels() == tuple(names) and "head: kept, with the 10 classes" in capsys.readouterr().out
    some = image_folder(tmp_path / "some", classes=("7", "3"))
    task = prepared(recipe(some, head="keep"))
    batch = next(iter(task.training_batches(0)))
    assert task.model_args() == {"num_classes": 10} and set(batch["labels"].numpy()) == {3, 7}
    labels = task.validation_batches().unbatch().map(lambda example: example["labels"])
    assert set(labels.as_numpy_iterator()) == {3, 7}
    model = zoo.build("small_net", num_classes=10)
    task.load_parent(model)
    values = dict(keys(parent))["classes/kernel"].removesuffix("/.ATTRIBUTES/VARIABLE_VALUE")
    np.testing.assert_array_equal(model.get_layer("classes").kernel.numpy(), Parent(parent).value(values))
    assert prepared(recipe(some)).labels() == ("3", "7")  # a part of the classes is another problem


def test_fine_tuning_on_the_same_data_keeps_the_score(parent, tmp_path):
    recipe = zoo.finetuning_recipe(parent, epochs=1, frozen_epochs=1, limit_steps=1, learning_rate=0.0)
    result = run(recipe, run_dir=tmp_path / "run")
    assert recipe.dataset == "digits" and recipe.head == "auto"
    before = load_predictor(read.find(parent)).evaluate()
    np.testing.assert_allclose(result.metrics["test_accuracy"], before["test_accuracy"])


def test_rates_fall_with_depth():
    net = zoo.build("lenet5_modern")
    found = phases.depths(net)
    assert [found[f"{name}/kernel"] for name in ("OUTPUT", "F6", "C5", "C3", "C1")] == [0, 1, 2, 3, 4]
    resnet = phases.depths(zoo.build("resnet20"))
    assert resnet["fc/kernel"] == 0 and resnet["conv4_3_bn2/gamma"] == 1 == resnet["conv4_3_conv2/kernel"]
    assert resnet["conv1/kernel"] == 19 == max(resnet.values())
    for name in ("sgd", "adam", "rmsprop"):
        recipe = zoo.ImageRecipe(
            name="r", model="lenet5_modern", dataset="digits", epochs=1, batch_size=1, learning_rate=0.1, optimizer=name
        )
        moves = []
        for decay in (1.0, 0.5):
            net = small_net()
            variables, paths = net.trainable_variables, [weight.path for weight in net.trainable_variables]
            optimizer = optimizers.optimizer(replace(recipe, depth_decay=decay), 10, paths, phases.depths(net))
            before = [weight.numpy() for weight in variables]
            optimizer.apply([tf.ones(weight.shape) for weight in variables], variables)
            moves.append([np.abs(b - w.numpy()).mean() for b, w in zip(before, variables, strict=True)])
        ratios = dict(zip(paths, np.divide(*moves[::-1]), strict=True))
        np.testing.assert_allclose(
            [ratios[f"{n}/kernel"] for n in ("classes", "second", "first")], [1, 0.5, 0.25], 1e-3
        )


def test_each_phase_has_a_schedule_of_its_own(parent):
    recipe = zoo.finetuning_recipe(parent, epochs=10, learning_rate=1.0, warmup_epochs=1.0)
    assert recipe.frozen_epochs == 2
    rate = optimizers.learning_rate(recipe, 100)
    values = [float(rate(step)) for step in (0, 50, 100, 199, 200, 250, 300, 999)]
    np.testing.assert_allclose(values, [0, 0.5, 1.0, 0.0, 0.0, 0.05, 0.1, 0.0], atol=5e-4)
    rate = optimizers.learning_rate(replace(recipe, epochs=3, warmup_epochs=1.5), 100)  # longer than half a phase
    np.testing.assert_allclose([float(rate(step)) for step in (50, 100, 200, 250)], [0.5, 1.0, 0.0, 0.1], atol=5e-4)


def test_numbers_of_numpy_are_numbers(parent):
    assert zoo.finetuning_recipe(parent, epochs=np.int64(10)) == zoo.finetuning_recipe(parent, epochs=10)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rundir": "x"}, "options has 'rundir', which zoo.run does not take. Did you mean 'run_dir'"),
        ({"recipe": None}, "options has 'recipe', which zoo.run does not take"),
        ("x", "options is 'x'; it must be a dictionary of arguments of zoo.run"),
        ({"data": {}}, "options has 'data', which is an argument of its own; give it beside options"),
    ],
)
def test_wrong_options_are_refused(options, said, parent, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(zoo.UsageError, match=said):
        zoo.finetune(parent, options=options)
    assert list(tmp_path.iterdir()) == []


def test_the_head_is_the_last_layer_with_weights():
    def names(model, outputs=None):
        return [layer.name for layer in output_layers(model, outputs)]

    mlp = zoo.build("mlp")
    assert names(mlp) == [mlp.layers[-1].name]
    x = keras.Input((3,))
    fixed = keras.layers.Dense(4, trainable=False, name="fixed")
    both = keras.Model(x, {"a": fixed(keras.layers.Dense(5, name="below")(x)), "b": keras.layers.Dense(2, name="b")(x)})
    assert names(both) == ["fixed", "b", "below"] and names(both, both.output["b"]) == ["b"]
    one, other = keras.layers.Dense(2, name="one")(x), keras.layers.Dense(2, name="other")(x)
    three = keras.Model(x, [one, keras.layers.ReLU()(one), keras.layers.ReLU()(other)])  # "one" is met twice
    assert names(three) == ["one", "other"]


def test_a_layer_that_its_builder_fixed_stays_fixed():
    fixed = keras.layers.BatchNormalization(trainable=False)
    inputs = keras.Input((4,))
    freezing = phases.Freezing(keras.Model(inputs, keras.layers.Dense(2)(fixed(inputs))))
    freezing.switch({weight.path for weight in fixed.weights})
    freezing.switch(())
    assert not fixed.trainable


def test_early_stopping_ends_and_is_resumed(recipe, tmp_path, capsys):
    still = recipe(epochs=9, learning_rate=0.0, early_stopping=2)
    run(still, run_dir=tmp_path / "run", save_seconds=0.0)
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert "Stopped early after epoch" in capsys.readouterr().out and 5 <= len(rows) < 9
    (tmp_path / "run" / "result.json").unlink()
    run(still, run_dir=tmp_path / "run")
    assert (tmp_path / "run" / "metrics.jsonl").read_text().splitlines() == rows


def test_weights_only(parent):
    both = [zoo.finetuning_recipe(parent, weights_only=only) for only in (False, True)]
    assert [recipe.random_shift for recipe in both] == [1, 0]
    assert [recipe.normalisation for recipe in both] == ["mean_image", "mean_image"]


def test_balanced_classes_weigh_the_same(image_folder, tmp_path):
    root = image_folder(count=30)
    for path in sorted((root / "light").iterdir())[10:]:
        path.unlink()
    values = {"name": "r", "model": "softmax_regression", "model_args": {"input_shape": (8, 8, 1)}}
    values |= {"dataset": f"folder:{root}", "epochs": 1, "batch_size": 4, "learning_rate": 0.1}
    plain, balanced = (prepared(zoo.ImageRecipe(class_weights=kind, **values)) for kind in ("none", "balanced"))
    counts = np.bincount(plain.data.train.labels)
    weights = counts.sum() / (2 * counts)
    logits = tf.constant([[2.0, -1.0]] * 2)
    for label in (0, 1):
        batch = {"inputs": logits, "labels": tf.constant([label, label], tf.int64)}
        ratio = balanced.loss(batch, logits)[0] / plain.loss(batch, logits)[0]
        np.testing.assert_allclose(ratio, weights[label], rtol=1e-5)


def test_what_does_not_fit_is_refused_before_training(parent, recipe, image_folder, tmp_path):
    folder = image_folder(tmp_path / "one", classes=("dark",))
    cases = [
        ({"folder": folder}, "one class, 'dark'"),
        ({"head": "keep"}, "has the class 'dark', which small/1 does not know; its 10 classes are 0, 1, 2"),
        ({"frozen": ("first/kernl",)}, "frozen: no weight's path matches 'first/kernl'; paths are like first/kernel"),
        ({"model": "softmax_regression"}, "holds weights of 'small_net', not of 'softmax_regression'; set model to"),
        ({"model": "char_rnn"}, "char_rnn is a model for language_modelling"),
        ({"model_args": {"input_shape": (8, 8, 3)}}, r"statistics are of size \(8, 8, 1\)"),
        (
            {"model_args": {"input_shape": (8, 8, 3)}, "normalisation": "per_image"},
            r"do not fit this small_net: first/kernel has shape \(3, 3, 1, 4\) there and \(3, 3, 3, 4\) here. They are "
            "of 'small_net' built with its default arguments",
        ),
        ({"weights": "lenet5:mnst"}, "lenet5 has no weights 'mnst'.*Did you mean 'mnist'"),
        ({"weights": None, "frozen_epochs": 1}, "frozen_epochs is 1; it must be left out without weights"),
    ]
    for number, (changes, message) in enumerate(cases):
        with pytest.raises(zoo.ZooError, match=message) as error:
            run(recipe(**changes), run_dir=tmp_path / str(number))
        assert len(str(error.value).splitlines()) == 1 and not (tmp_path / str(number)).exists()
    with pytest.raises(zoo.UsageError, match="dataset is 'folder:x'; own data for language_modelling is text:PATH"):
        zoo.finetuning_recipe("char_rnn_tiny_shakespeare_fast", dataset="folder:x")
    with pytest.raises(zoo.UsageError, match="dataset is ''; own data for language_modelling is text:PATH"):
        zoo.finetuning_recipe("char_rnn_tiny_shakespeare_fast", dataset="")
    with pytest.raises(zoo.UsageError, match="no field 'epoch'. Did you mean 'epochs'"):
        zoo.finetuning_recipe(parent, epoch=1)


def test_a_newer_format_and_a_hostile_export_are_refused(parent, tmp_path):
    def copy(name, change):
        folder = tmp_path / name / "1"
        shutil.copytree(parent, folder)
        change(folder)
        return folder

    def newer(folder):
        card = folder / "assets.extra" / "card.json"
        card.write_text(json.dumps({**json.loads(card.read_text()), "format": 99}))
        sums = folder / read.SUMS
        lines = [line for line in sums.read_text().splitlines() if "card.json" not in line]
        sums.write_text("\n".join([*lines, f"{read.sha256(card)}  assets.extra/card.json"]) + "\n")

    def linked(folder):
        (folder / "assets.extra" / "more.txt").symlink_to("/etc/hostname")

    def cut(folder):
        path = next((folder / "variables").glob("*.data*"))
        path.write_bytes(path.read_bytes()[:-10])

    for name, change, message in (
        ("newer", newer, "has format 99, and this version of the zoo reads up to 1; upgrade"),
        ("linked", linked, "more.txt is a symbolic link"),
        ("cut", cut, "is damaged: variables/variables.data"),
    ):
        with pytest.raises(zoo.ZooError, match=message):
            zoo.finetuning_recipe(copy(name, change), dataset="digits")


def test_the_command_of_the_readme(image_folder, tmp_path):
    command = "finetune lenet5_modern:mnist --dataset folder:"
    assert f"zoo {command}PATH" in (ROOT / "README.md").read_text(encoding="utf-8")
    done = run_zoo(*f"{command}{image_folder()} --batch-size 8 --epochs 2".split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "head: new, for 2 classes: dark, light (lenet5_modern_mnist/1 has 10)" in done.stdout
    (export,) = (tmp_path / "runs" / "lenet5_modern_mnist-finetuned").glob("seed0-*/export/*/1")
    recipe = read.read_recipe(read.find(export))
    assert recipe["weights"] == "lenet5_modern:mnist" and (recipe["epochs"], recipe["frozen_epochs"]) == (2, 1)
    wrong = run_zoo("finetune", "lenet5_modern:mnist", "--dataset", "text:x.txt", cwd=tmp_path)
    assert wrong.returncode == 2 and "own data for image_classification is folder:PATH" in wrong.stderr
    assert len(wrong.stderr.splitlines()) == 1


def test_keras_and_tensorflow_alone_train_an_export(parent, digits):
    """The examples of docs/finetuning.md, in their order."""
    document = (ROOT / "docs" / "finetuning.md").read_text(encoding="utf-8")
    section = document.partition("## Without the zoo")[2].partition("## As a recipe")[0]
    with_keras, with_tensorflow = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    with_keras = re.sub(r'path = ".*"', f'path = "{parent}"', with_keras)
    images, labels = next(iter(digits.train.batches(200)))
    names = {"images": images, "labels": labels.numpy()}
    exec(compile(with_keras, "docs/finetuning.md", "exec"), names)
    losses = names["model"].history.history["loss"]
    assert losses[-1] < losses[0] - 0.05, losses
    assert len(names["net"].trainable_weights) == 7 and len(names["net"].non_trainable_weights) >= 2
    export = tf.saved_model.load(str(parent))
    statistics = [weight.numpy() for weight in export.weights if not weight.trainable]
    infer, train = (export.infer(names["inputs"]), export.train(names["inputs"]))
    assert np.abs(infer - train).max() > 1e-3  # dropout
    moved = [weight.numpy() for weight in export.weights if not weight.trainable]
    assert all(not np.array_equal(one, other) for one, other in zip(statistics, moved, strict=True))
    np.testing.assert_allclose(export.train(names["inputs"], False), export.infer(names["inputs"]), rtol=1e-5)
    exec(compile(with_tensorflow, "docs/finetuning.md", "exec"), names)
    assert tf.reduce_mean(names["losses"]) < tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels, train)
    )


STRATEGIES = """
import sys
import numpy as np
import zoo
settings = {"epochs": 2, "frozen_epochs": 1, "steps_per_epoch": 3, "batch_size": 8, "random_shift": 0}
recipe = zoo.finetuning_recipe("lenet5_modern:mnist", dataset="digits", head="new", **settings)
for strategy in ("one_device", "mirrored"):
    devices = zoo.Devices(strategy=strategy, logical_devices=2)
    result = zoo.run(recipe, run_dir=strategy, devices=devices, check_export=False)
    np.savez(strategy, *(weight.numpy() for weight in result.model.weights))
"""


def test_two_replicas_train_as_one_in_both_phases(tmp_path):
    done = run_python(code=STRATEGIES, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = (np.load(tmp_path / f"{name}.npz") for name in ("one_device", "mirrored"))
    for name in one.files:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-3, atol=1e-5)


def test_the_recipe_of_the_document_trains(tmp_path, capsys):
    document = (ROOT / "docs" / "finetuning.md").read_text(encoding="utf-8")
    names = {"zoo": zoo}
    exec(re.findall(r"```python\n(recipe = .*?)```", document, re.DOTALL)[0], names)
    short = replace(names["recipe"], epochs=2, frozen_epochs=1, steps_per_epoch=1, warmup_epochs=0.0)
    assert run(short, run_dir=tmp_path / "run").metrics["test_accuracy"] > 0.5  # before it has learned anything
    assert "warning: lenet5" not in capsys.readouterr().out
    task = prepared(replace(short, pad=0, pixel_std=(1.0,)))
    task.load_parent(zoo.build("lenet5_modern"))
    warned = "another preprocessing (pixel_std is [1.0] here and [255.0] there; pad is 0 here and 2 there)"
    assert warned in capsys.readouterr().out

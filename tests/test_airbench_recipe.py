"""The fields that the recipe of airbench94 needs: against loops and formulas by hand, resumed, and on two devices."""

import json
import os
import textwrap
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from conftest import check_resumption, image_recipe, prepared, run, run_python
from zoo.data.stream import BatchRNG, Records, second_sides
from zoo.layers import BatchNormalization, WhiteningConv2D, whitening_filters
from zoo.recipe import load_recipe
from zoo.tasks.image_classification.preprocessing import augment
from zoo.training.optimizers import divide_epoch, learning_rate
from zoo.training.training import Interrupted


def small_net(*, input_shape=(8, 8, 1), num_classes=10, name="small_whitened"):
    """A whitening layer, a normalised convolution and a classifier."""
    images = keras.Input(input_shape, name="images")
    x = keras.layers.Activation("gelu")(WhiteningConv2D(2, name="whiten")(images))
    x = keras.layers.Conv2D(6, 3, use_bias=False, name="conv1")(x)
    x = BatchNormalization(momentum=0.6, scale=False, name="conv1_norm1")(x)
    x = keras.layers.Flatten(name="flatten")(keras.layers.Activation("gelu")(x))
    return keras.Model(images, keras.layers.Dense(num_classes, use_bias=False, name="fc")(x), name=name)


def small_recipe(**changes):
    """All of the fields on digits: 12 steps an epoch, 32 in total."""
    if not zoo.list_models("small_whitened"):
        zoo.register("small_whitened", small_net, input_shape=(8, 8, 1))
    values = {
        "model": "small_whitened",
        "epochs": 2.6,
        "batch_size": 100,
        "learning_rate": 0.3,
        "schedule": "linear",
        "schedule_epochs": (0, 0.6, 2.6),
        "schedule_factors": (0.2, 1.0, 0.07),
        "momentum": 0.85,
        "nesterov": True,
        "learning_rate_factors": {"*_norm1/beta": 8.0},
        "weight_decay": 0.01,
        "decayed_weights": ("*",),
        "weight_decay_factors": {"*_norm1/beta": 0.125},
        "frozen_after": {"whiten/bias": 1},
        "lookahead_steps": 5,
        "lookahead_decay": 0.95**5,
        "lookahead_power": 1.5,
        "label_smoothing": 0.2,
        "random_shift": 2,
        "shift_fill": "reflect",
        "random_flip": True,
        "alternating_flip": True,
        "adapt_images": 200,
        "test_views": "mirror_shift",
        "steps_per_execution": 1,
        "deterministic": True,
    }
    return image_recipe(**{**values, **changes})


def trained_by_hand(recipe, steps_per_epoch, steps, total):
    """The weights after some steps of SGD with everything that the recipe adds, written out."""
    keras.utils.set_random_seed(recipe.seed)
    task = prepared(recipe)
    model = small_net()
    task.adapt(model)
    fast, trained = model.variables, model.trainable_variables
    slow, velocity = [v.numpy() for v in fast], [np.zeros(v.shape, np.float32) for v in trained]
    for step, batch in enumerate(task.training_batches(0).take(steps)):
        with tf.GradientTape() as tape:
            loss, count = task.loss(batch, model(batch["inputs"], training=True))
            loss /= count
        knots = np.array([0, round(0.6 * steps_per_epoch), round(2.6 * steps_per_epoch)])
        rate = recipe.learning_rate * np.interp(step, knots, (0.2, 1.0, 0.07))
        for i, (weight, gradient) in enumerate(zip(trained, tape.gradient(loss, trained), strict=True)):
            if weight.path == "whiten/bias" and step >= steps_per_epoch:
                continue
            beta = weight.path.endswith("beta")
            own, decay = (8 * rate, 0.01 / 8) if beta else (rate, 0.01)
            change = own * (gradient.numpy() + decay * weight.numpy())
            velocity[i] = 0.85 * velocity[i] - change
            weight.assign(weight.numpy() + 0.85 * velocity[i] - change)
        if (step + 1) % 5 == 0:
            kept = 0.95**5 * ((step + 1) / total) ** 1.5
            slow = [kept * s + (1 - kept) * v.numpy() for s, v in zip(slow, fast, strict=True)]
            for variable, value in zip(fast, slow, strict=True):
                variable.assign(value)
    return dict(zip((v.path for v in fast), slow, strict=True))


def test_a_run_is_the_loop_written_out(tmp_path):
    recipe = small_recipe()
    result = run(recipe, run_dir=tmp_path / "run")
    expected = trained_by_hand(recipe, 12, 32, 32)
    assert {v.path for v in result.model.variables} == set(expected)
    for variable in result.model.variables:
        np.testing.assert_allclose(variable.numpy(), expected[variable.path], atol=2e-3, err_msg=variable.path)
    rows = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [12, 24, 32]


def test_a_stopped_run_resumes(tmp_path):
    check_resumption(small_recipe(), tmp_path, stop_at=17)


def test_one_device_has_nothing_to_synchronize(tmp_path):
    model = run(small_recipe(sync_batch_norm=True, epochs=1, limit_steps=1), run_dir=tmp_path).model
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert layers and not any(layer.synchronized for layer in layers)


TWO_DEVICES = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    import numpy as np
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    import zoo
    from conftest import run
    from test_airbench_recipe import small_recipe

    recipe = small_recipe(precision="float64", sync_batch_norm=True)
    one, two = (
        run(recipe, run_dir=Path(sys.argv[1]) / strategy, devices=zoo.Devices(strategy=strategy))
        for strategy in ("one_device", "mirrored")
    )
    for a, b in zip(one.model.variables, two.model.variables, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6, atol=1e-8, err_msg=a.path)
    """
)


@pytest.mark.full
def test_two_devices_train_as_one(tmp_path):
    done = run_python(tmp_path, code=TWO_DEVICES, env={"PYTHONPATH": os.path.dirname(__file__)}, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "mirrored over 2 devices" in done.stdout


class Kept(keras.callbacks.Callback):
    """The weights at the end of each epoch, by path."""

    def on_train_begin(self, logs=None):
        self.epochs = getattr(self, "epochs", [])

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append({v.path: v.numpy() for v in self.model.net.variables})


def test_weights_stay_fixed_after_their_epochs(tmp_path):
    kept, frozen = Kept(), {"whiten/bias": 2, "conv1_norm1/*": 1}
    recipe = small_recipe(epochs=3, frozen_after=frozen, lookahead_steps=0, test_views="centre")
    run(recipe, run_dir=tmp_path / "run", callbacks=[kept])
    after = {"whiten/bias": 2, "conv1_norm1/beta": 1, "conv1_norm1/moving_mean": 1, "conv1_norm1/moving_variance": 1}
    for epoch in (1, 2):
        for path, value in kept.epochs[epoch].items():
            fixed = path == "whiten/kernel" or epoch >= after.get(path, 3)
            assert np.array_equal(value, kept.epochs[epoch - 1][path]) == fixed, (path, epoch)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_run_stopped_in_its_last_validation_has_the_same_rows(error, tmp_path, small_recipe):
    class Stop(keras.callbacks.Callback):
        def on_test_begin(self, logs=None):
            if int(self.model.optimizer.iterations.numpy()) == 37:
                raise error

    recipe = small_recipe(epochs=1.48, steps_per_execution=1)  # of 25 steps
    with pytest.raises((Interrupted, RuntimeError)):
        run(recipe, run_dir=tmp_path / "run", callbacks=[Stop()], save_seconds=0.0)
    run(recipe, run_dir=tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [25, 37]


def test_an_epoch_may_be_a_part():
    recipe = image_recipe(epochs=9.9, batch_size=1024)
    assert recipe.total_steps(48) == 476 and recipe.to_dict()["epochs"] == 9.9
    assert image_recipe(epochs=1.1).total_steps(50) == 55
    assert divide_epoch(recipe, 50_000) == (48, 4)
    assert divide_epoch(replace(recipe, epochs=10), 50_000) == (48, 48)
    whole = image_recipe(epochs=2.0)
    assert type(whole.epochs) is int and whole.fingerprint() == image_recipe(epochs=2).fingerprint()


def test_a_flip_alternates():
    recipe = image_recipe(batch_size=100, pixel_std=(1.0,), random_flip=True, alternating_flip=True)
    recipe = replace(recipe, model="softmax_regression", model_args={"input_shape": (8, 8, 1)})
    task = prepared(recipe)
    pictures = task.data.train.pictures.astype("float32")
    sides = [{image.tobytes(): i for i, image in enumerate(images)} for images in (pictures, pictures[:, :, ::-1])]
    seen = [[] for _ in pictures]
    batches = [batch["inputs"].numpy() for batch in task.training_batches(0).take(4 * len(pictures) // 100)]
    for image in np.concatenate(batches):
        found = [images.get(image.tobytes()) for images in sides]
        if None in found:  # else it is its own mirror image
            seen[next(i for i in found if i is not None)].append(found[0] is None)
    assert sum(map(len, seen)) > 3.9 * len(pictures)
    for shown in seen:
        assert all(one != other for one, other in zip(shown, shown[1:], strict=False))
    first = [shown[0] for shown in seen if shown]
    assert 0.45 < np.mean(first) < 0.55
    part = next(iter(task.training_batches(20, range(30, 60))))["inputs"]
    np.testing.assert_array_equal(part, batches[20][30:60])
    other = prepared(replace(recipe, seed=1)).training_batches(0)
    assert not np.array_equal(next(iter(other))["inputs"], batches[0])
    streamed = replace(task.data.train, pictures=Records(("file",), (0,), (500,)), labels=None)
    task.data = replace(task.data, train=streamed)
    with pytest.raises(zoo.UsageError, match="alternating_flip is True, but digits is streamed"):
        task.training_batches(0)


def test_first_sides_are_random_by_seed():
    indices = tf.range(20_000, dtype=tf.int64)
    sides = np.stack([second_sides(indices, 0 * indices, seed) for seed in (0, 1, 2**32 + 5)])
    assert np.abs(sides.mean(1) - 0.5).max() < 0.02
    assert np.abs(np.corrcoef(np.concatenate([sides, sides[:, ::-1]]))[np.triu_indices(6, 1)]).max() < 0.03
    assert np.abs(np.mean(sides[:, 1:] == sides[:, :-1], axis=1) - 0.5).max() < 0.02
    np.testing.assert_array_equal(second_sides(indices, 0 * indices + 1, 0), ~sides[0])


def test_shifts_are_filled_by_reflection():
    images = np.random.default_rng(0).normal(size=(300, 6, 7, 2)).astype("float32")
    rng = BatchRNG(tf.constant([3, 4], tf.int64), 300, tf.range(300))
    shifted = augment(tf.constant(images), rng, image_recipe(random_shift=2, shift_fill="reflect")).numpy()
    wide = np.pad(images, [(0, 0), (2, 2), (2, 2), (0, 0)], "reflect")
    counts = {}
    for i in range(300):
        windows = {(y, x): wide[i, y : y + 6, x : x + 7] for y in range(5) for x in range(5)}
        place = [place for place, window in windows.items() if np.array_equal(window, shifted[i])]
        assert len(place) == 1
        counts[place[0]] = counts.get(place[0], 0) + 1
    assert len(counts) == 25 and max(counts.values()) < 30


@pytest.mark.parametrize("kind", ["mirror", "mirror_shift"])
def test_scores_and_answers_are_means_of_logits_over_views(kind, tmp_path):
    recipe = image_recipe(model="softmax_regression", model_args={"input_shape": (8, 8, 1)}, test_views=kind)
    task = prepared(recipe)
    model = zoo.build("softmax_regression", input_shape=(8, 8, 1), num_classes=10)
    kernel = np.random.default_rng(0).normal(size=(64, 10)).astype("float32")
    model.set_weights([kernel, np.zeros(10, "float32")])
    images = task.data.test.pictures / 255.0
    if kind == "mirror_shift":
        wide = np.pad(images, [(0, 0), (1, 1), (1, 1), (0, 0)], "reflect")
        images = images / 2 + wide[:, :8, :8] / 4 + wide[:, 2:, 2:] / 4
    # The logits are linear, so that their mean is that of the mean image.
    logits = ((images + images[:, :, ::-1]) / 2).reshape(-1, 64) @ kernel
    labels, metrics = task.data.test.labels, task.evaluate(model, tmp_path)
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]
    assert metrics["test_loss"] == pytest.approx(losses.mean(), rel=1e-5)
    assert metrics["test_accuracy"] == pytest.approx(np.mean(logits.argmax(1) == labels))
    answers = task.serving(model).endpoints["serving_default"](images=tf.constant(task.data.test.pictures))
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(answers["probabilities"], expected, rtol=1e-3)
    np.testing.assert_array_equal(answers["classes"], logits.argmax(1))


def test_layers_learn_from_the_first_images():
    said, recipe = [], small_recipe(pixel_mean=(20.0,), pixel_std=(60.0,))
    task, model = prepared(recipe), small_net()
    task.log = said.append
    task.adapt(model)
    images = (task.data.train.pictures[:200] - 20.0) / 60
    np.testing.assert_allclose(model.get_layer("whiten").kernel.numpy(), whitening_filters(images), rtol=1e-3)
    assert said == ["whiten: learned from the first 200 training images"]
    task.recipe, fresh = small_recipe(adapt_images=0), small_net()
    before = fresh.get_layer("whiten").kernel.numpy()
    task.adapt(fresh)
    assert said[1:] == ["warning: whiten does not whiten the images; set adapt_images, such as 5000"]
    np.testing.assert_array_equal(fresh.get_layer("whiten").kernel.numpy(), before)
    task.recipe = small_recipe(adapt_images=9)
    with pytest.raises(zoo.UsageError, match="adapt_images is 9, but lenet5 has no layer"):
        task.adapt(zoo.build("lenet5"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": 0.5}, "epochs is 0.5; it must be at least 1"),
        ({"epochs": 1.5, "weights": "a", "frozen_epochs": 1}, "epochs is 1.5; it must be a whole number with frozen"),
        ({"schedule_epochs": (1.0,), "schedule_factors": (1.0,)}, "at least two values for linear"),
        ({"schedule_epochs": (-1.0, 1.0), "schedule_factors": (1.0, 0.0)}, "schedule_epochs is .* 0 or more"),
        ({"optimizer": "adamw", "learning_rate_factors": {}}, "weight_decay_factors is .* empty with adamw"),
        ({"weight_decay_factors": {"*": -1.0}}, "patterns with factors of 0 or more"),
        ({"frozen_after": {"*": 1.5}}, r"frozen_after\['\*'\] is 1.5; it must be a whole number"),
        ({"frozen_after": {"*": 0}}, "frozen_after is .* at least 1"),
        ({"lookahead_steps": -1}, "lookahead_steps is -1; it must be 0 or more"),
        ({"lookahead_decay": 1.0}, "lookahead_decay is 1.0; it must be at least 0 and below 1"),
        ({"lookahead_power": -1.0}, "lookahead_power is -1.0; it must be 0 or more"),
        ({"keep": "average"}, "keep is 'average'; it must be 'last' with lookahead_steps"),
        ({"random_flip": False}, "alternating_flip is True; it must be False without random_flip"),
        ({"adapt_images": -1}, "adapt_images is -1; it must be 0 or more"),
        ({"shift_fill": "wrap"}, "shift_fill is 'wrap'"),
    ],
)
def test_invalid_fields_are_named(changes, said):
    with pytest.raises(zoo.UsageError, match=said):
        small_recipe(**changes)


def test_patterns_and_shifts_that_do_not_fit_are_named(tmp_path):
    for fill in ("reflect", "zeros"):
        with pytest.raises(zoo.UsageError, match="random_shift is 8; it must be smaller than an image of 8 × 8"):
            prepared(small_recipe(random_shift=8, shift_fill=fill))
    for field in ("frozen_after", "weight_decay_factors"):
        with pytest.raises(zoo.UsageError, match=f"{field}: no weight's path matches 'no/bias'"):
            run(small_recipe(**{field: {"no/bias": 1}}), run_dir=tmp_path / field)


def test_the_recipe_has_the_numbers_of_the_released_code():
    recipe = load_recipe("airbench94_cifar10")
    assert divide_epoch(recipe, 50_000)[0] == 48 and recipe.total_steps(48) == 476
    scale = 1024 * (1 + 1 / (1 - 0.85))
    rate = learning_rate(recipe, 48)
    for step, factor in ((0, 0.2), (54.5, 0.6), (109, 1.0), (292.5, 0.535), (476, 0.07)):
        assert float(rate(step)) == pytest.approx(11.5 / scale * 1024 * factor, rel=1e-5)
    # What a step subtracts from a weight: for a sum of losses, the released rate times its decay.
    decay = 0.0153 * 1024 / scale
    assert recipe.learning_rate * recipe.weight_decay == pytest.approx(decay)
    (beta, factor), (_, decay_factor) = *recipe.learning_rate_factors.items(), *recipe.weight_decay_factors.items()
    assert (beta, factor, factor * decay_factor) == ("*_norm?/beta", 64, 1)


def test_the_long_recipe_differs_from_the_papers_in_its_length_only():
    paper, long = load_recipe("airbench94_cifar10"), load_recipe("airbench94_cifar10_long")
    assert long.total_steps(48) == 576 and long.schedule_epochs == (0, 0.23 * 12, 12)
    assert replace(long, name=paper.name, epochs=paper.epochs, schedule_epochs=paper.schedule_epochs) == paper

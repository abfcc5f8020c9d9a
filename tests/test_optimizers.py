"""The optimizers against Keras's own, and the schedules against their formulas."""

import json
import textwrap
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from conftest import image_recipe, prepared, run, run_python
from zoo.training import optimizers


def trained(cls, **arguments) -> list[np.ndarray]:
    """Two weights after 40 steps."""
    weights = [keras.Variable(tf.random.stateless_normal(shape, (0, 0))) for shape in ((50, 7), (9,))]
    optimizer = cls(keras.optimizers.schedules.CosineDecay(0.02, 50), **arguments)
    optimizer.build(weights)
    step = tf.function(lambda *gradients: optimizer.apply(gradients, weights))
    for i in range(40):
        step(*(tf.random.stateless_normal(weight.shape, (i, 1)) for weight in weights))
    return [weight.numpy() for weight in weights]


@pytest.mark.parametrize("arguments", [{}, {"global_clipnorm": 1.0}, {"clipvalue": 0.1, "use_ema": True}], ids=str)
def test_adam_equals_keras(arguments):
    ours, theirs = trained(optimizers.Adam, **arguments), trained(keras.optimizers.Adam, **arguments)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_sgd_and_rmsprop_are_keras_own():
    for arguments in ({"momentum": 0.9}, {"momentum": 0.9, "nesterov": True, "global_clipnorm": 1.0}):
        for a, b in zip(trained(optimizers.SGD, **arguments), trained(keras.optimizers.SGD, **arguments), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)
    arguments = {"rho": 0.9, "momentum": 0.9, "epsilon": 1e-3}
    for a, b in zip(
        trained(optimizers.RMSprop, **arguments), trained(keras.optimizers.RMSprop, **arguments), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_adamw_is_keras_own_and_spares_biases(tmp_path):
    """A few steps of a run beside the same steps with `keras.optimizers.AdamW`."""
    settings = {"model_args": {"input_shape": (8, 8, 1), "hidden": (6,)}, "limit_steps": 5, "steps_per_execution": 1}
    recipe = image_recipe(optimizer="adamw", weight_decay=0.5, **settings)
    ours = run(recipe, run_dir=tmp_path / "run").model
    keras.utils.set_random_seed(recipe.seed)
    task = prepared(recipe)
    theirs = zoo.build("mlp", num_classes=10, **recipe.model_args)
    before = [weight.numpy() for weight in theirs.weights]
    optimizer = keras.optimizers.AdamW(recipe.learning_rate, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    for batch in task.training_batches(0).take(5):
        with tf.GradientTape() as tape:
            total, count = task.loss(batch, theirs(batch["inputs"], training=True))
            loss = total / tf.cast(count, total.dtype)
        optimizer.apply(tape.gradient(loss, theirs.trainable_variables), theirs.trainable_variables)
    for a, b, c in zip(ours.weights, theirs.weights, before, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
        assert np.max(np.abs(a - c)) > 0.01


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_decoupled_weight_decay_has_the_rate_of_each_weight(optimizer):
    shared = image_recipe(optimizer=optimizer, weight_decay=0.5, learning_rate=0.1)

    def stepped(depth_decay):
        weights = [keras.Variable([1.0], name=name) for name in "ab"]
        ours = optimizers.optimizer(replace(shared, depth_decay=depth_decay), 10, ("a", "b"), {"b": 1})
        ours.build(weights)
        tf.function(lambda: ours.apply([tf.zeros(1)] * 2, weights))()
        return [weight.numpy()[0] for weight in weights]

    decoupled = optimizer == "adamw"
    np.testing.assert_allclose(stepped(0.5), [0.95, 0.975] if decoupled else [1, 1], rtol=1e-6)
    np.testing.assert_allclose(stepped(1.0), [0.95, 0.95] if decoupled else [1, 1], rtol=1e-6)


def rates(steps, steps_per_epoch=10, **changes):
    recipe = image_recipe(**{"learning_rate": 0.5, "epochs": 8, **changes})
    rate = optimizers.learning_rate(recipe, steps_per_epoch)
    return [float(rate(step)) if callable(rate) else float(rate) for step in steps]


def test_the_corners_of_a_constant_schedule():
    assert rates([0, 40, 80]) == [0.5, 0.5, 0.5]


def test_the_corners_of_a_cosine_schedule():
    expected = [0.5 * (1 + np.cos(np.pi * step / 80)) / 2 for step in (0, 1, 40, 79, 80)]
    np.testing.assert_allclose(rates([0, 1, 40, 79, 80], schedule="cosine"), expected, rtol=1e-5, atol=1e-8)


def test_the_corners_of_a_cosine_schedule_with_warm_up():
    steps = (0, 1, 10, 19, 20, 21, 50, 79, 80)
    expected = [0.5 * step / 20 if step < 20 else 0.5 * (1 + np.cos(np.pi * (step - 20) / 60)) / 2 for step in steps]
    np.testing.assert_allclose(rates(steps, schedule="cosine", warmup_epochs=2), expected, rtol=1e-5, atol=1e-8)
    assert rates([39, 50], schedule="cosine", warmup_epochs=5) == pytest.approx([0.39, 0.5])


def test_the_corners_of_a_piecewise_schedule():
    changes = {"schedule": "piecewise", "schedule_epochs": (2, 4.5), "schedule_factors": (0.1, 0.01)}
    np.testing.assert_allclose(rates([0, 19, 20, 44, 45, 79], **changes), [0.5, 0.5, 0.05, 0.05, 0.005, 0.005])


def test_the_corners_of_an_exponential_schedule():
    changes = {"schedule": "exponential", "schedule_epochs": (2,), "schedule_factors": (0.5,)}
    np.testing.assert_allclose(rates([0, 19, 20, 39, 40, 79], **changes), [0.5, 0.5, 0.25, 0.25, 0.125, 0.0625])


def test_training_follows_the_schedule(small_recipe, tmp_path):
    result = run(small_recipe(schedule="cosine", warmup_epochs=1, epochs=3), run_dir=tmp_path / "run")
    rows = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    expected = [0.1 * (1 + np.cos(np.pi * (row["step"] - 25) / 50)) / 2 for row in rows]
    assert [row["step"] for row in rows] == [25, 50, 75]
    np.testing.assert_allclose([row["learning_rate"] for row in rows], expected, rtol=1e-4, atol=1e-8)


SCALED_ON_TWO = """
    import tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    import keras
    from zoo.training.optimizers import SGD, LossScale

    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        weight, optimizer = keras.Variable([1.0, 1.0]), LossScale(SGD(0.5))
        optimizer.build([weight])

    def step():
        replica = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.float32)
        optimizer.apply([optimizer.scale_loss(tf.stack([0.5, replica]))], [weight])

    tf.function(lambda: strategy.run(step))()
    print(weight.numpy().tolist())
"""


def test_scaled_gradients_are_summed_over_devices_once():
    done = run_python(code=textwrap.dedent(SCALED_ON_TWO))
    assert done.stdout.splitlines()[-1:] == ["[0.5, 0.5]"], done.stderr[-2000:]

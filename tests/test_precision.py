"""Half precision: the compute type of each task's model, and what stays in float32."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from conftest import image_recipe, run
from small_recipes import Losses, small_recipes
from zoo.tasks.losses import cross_entropy, smoothed_cross_entropy
from zoo.training import optimizers
from zoo.training.export import resolve_precision


@pytest.mark.parametrize(
    ("task", "precision"),
    [
        ("image", "float16"),
        ("language", "bfloat16"),
        pytest.param("tagging", "float16", marks=pytest.mark.full),
        pytest.param("translation", "bfloat16", marks=pytest.mark.full),
        pytest.param("image", "bfloat16", marks=pytest.mark.full),
        pytest.param("language", "float16", marks=pytest.mark.full),
        pytest.param("tagging", "bfloat16", marks=pytest.mark.full),
        pytest.param("translation", "float16", marks=pytest.mark.full),
    ],
)
def test_each_task_trains_in_half_precision(task, precision, tmp_path, capsys):
    recipe = replace(small_recipes(tmp_path)[task], precision=precision, limit_steps=3, weight_decay=0.0)
    if task == "image":
        recipe = replace(recipe, model="resnet20")  # with batch normalisation
    watch = Losses()
    result = run(recipe, run_dir=tmp_path / "run", callbacks=[watch])
    assert len(watch.losses) == 3 and np.all(np.isfinite(watch.losses))
    assert {weight.dtype for weight in result.model.weights} == {"float32"}
    computed_in = {layer.compute_dtype for layer in result.model.layers if layer.weights}
    assert precision in computed_in
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    if task == "language":  # where the metric is the loss
        assert row["nats_per_char"] == pytest.approx(row["loss"], rel=1e-6)
    assert ("float16 is slow on a CPU" in capsys.readouterr().out) == (precision == "float16")


def test_the_loss_is_taken_in_single_precision():
    logits = tf.constant([[100.0, 99.9, 0.0]], tf.float16)
    for loss in (cross_entropy(tf.constant([0]), logits), smoothed_cross_entropy(tf.constant([0]), logits, 0.1)):
        assert loss.dtype == tf.float32 and np.isfinite(loss)


def test_a_tpu_computes_in_bfloat16():
    def on(kind):
        return resolve_precision(image_recipe(), kind)

    assert (on("tpu"), on("one_device"), on("multi_worker")) == ("bfloat16", "float32", "float32")
    chosen = image_recipe(precision="float16")
    assert resolve_precision(chosen, "tpu") == "float16"


def test_small_gradients_are_scaled_and_infinite_ones_skipped():
    weight = keras.Variable([1.0, 1.0])
    optimizer = optimizers.optimizer(image_recipe(precision="float16", learning_rate=0.5, clip_norm=1.0), 10)
    optimizer.build([weight])
    scale = 2.0**15
    assert float(optimizer.scale_loss(1.0)) == scale
    step = tf.function(lambda gradient: optimizer.apply([gradient], [weight]))
    step(tf.constant([3.0 * scale, 4.0 * scale]))  # of norm 5 when it is scaled back, and clipped to 1
    np.testing.assert_allclose(weight.numpy(), [1 - 0.5 * 0.6, 1 - 0.5 * 0.8], rtol=1e-6)
    before = weight.numpy()
    step(tf.constant([np.inf, 0.0]))
    np.testing.assert_array_equal(weight.numpy(), before)
    assert float(optimizer.scale_loss(1.0)) == scale / 2
    assert int(optimizer.iterations) == 2  # the batch is used up

"""Half precision: the compute type of each task's model, and what stays in float32."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from conftest import EXPORTS, image_recipe, run
from small_recipes import Losses, small_recipes
from zoo.distribute import strategy
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
    assert precision in {layer.compute_dtype for layer in watch.model.net.layers if layer.weights}
    types = types_in(result.export)
    assert tf.float32.as_datatype_enum in types  # a CPU without bfloat16 has no kernel for its convolutions
    assert types.isdisjoint({tf.float16.as_datatype_enum, tf.bfloat16.as_datatype_enum})
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    if task == "language":  # where the metric is the loss
        assert row["nats_per_char"] == pytest.approx(row["loss"], rel=1e-6)
    assert ("float16 is slow on a CPU" in capsys.readouterr().out) == (precision == "float16")


@pytest.mark.parametrize("export", EXPORTS, ids=lambda export: export.parent.name)
def test_no_pretrained_export_computes_in_bfloat16(export):
    assert tf.bfloat16.as_datatype_enum not in types_in(export)


def types_in(export):
    """The types of all operations of an export, as in its file."""
    saved = saved_model_pb2.SavedModel.FromString((export / "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    values = [value for node in nodes for value in node.attr.values()]
    return {kind for value in values for kind in (value.type, *value.list.type)}


def test_the_loss_is_taken_in_single_precision():
    logits = tf.constant([[100.0, 99.9, 0.0]], tf.float16)
    for loss in (cross_entropy(tf.constant([0]), logits), smoothed_cross_entropy(tf.constant([0]), logits, 0.1)):
        assert loss.dtype == tf.float32 and np.isfinite(loss)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"label_smoothing": 0.1, "normalisation": "gcn_zca"},
        {"loss": "sigmoid_cross_entropy"},
        {"loss": "rbf_map", "normalisation": "mean_image"},
    ],
)
def test_a_run_in_double_precision(changes, small_recipe, tmp_path):
    parts = [
        run(
            small_recipe(precision="float64", limit_steps=3, accumulate_steps=count, **changes),
            run_dir=tmp_path / str(count),
        )
        for count in (1, 2)
    ]
    for ours, theirs in zip(*(part.model.get_weights() for part in parts), strict=True):
        assert ours.dtype == np.float64
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_a_tpu_computes_in_bfloat16():
    def on(kind):
        return resolve_precision(image_recipe(), kind)

    assert (on("tpu"), on("one_device"), on("multi_worker")) == ("bfloat16", "float32", "float32")
    chosen = image_recipe(precision="float16")
    assert resolve_precision(chosen, "tpu") == "float16"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx512f avx512_bf16", "bfloat16"),
        ("fpu amx_bf16 amx_tile", "bfloat16"),
        ("fpu avx2 avx512f avx512_bf16x", "float32"),
        ("", "float32"),  # not Linux
    ],
)
def test_auto_is_bfloat16_where_the_cpu_computes_in_it(flags, expected, monkeypatch):
    monkeypatch.setattr(strategy, "_cpu_info", lambda key: {"flags": flags}[key])
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    assert resolve_precision(image_recipe(precision="auto"), "one_device") == expected
    assert resolve_precision(image_recipe(), "one_device") == "float32"


@pytest.mark.parametrize(("capabilities", "expected"), [([(8, 0), (9, 0)], "bfloat16"), ([(8, 0), (7, 5)], "float32")])
def test_auto_is_bfloat16_where_every_gpu_computes_in_it(capabilities, expected, monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: capabilities)
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: {"compute_capability": gpu})
    assert resolve_precision(image_recipe(precision="auto"), "mirrored") == expected


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

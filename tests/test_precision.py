"""Half precision: what each task's net computes in, and what stays in float32."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from conftest import image_recipe
from zoo import distribute, engine, optimizers
from zoo.tasks.losses import cross_entropy, smoothed_cross_entropy

SENTENCES = [f"w{i % 7} w{i % 5} w{i % 3}" for i in range(60)]


def recipes(folder):
    """A small recipe of each task, on data of its own."""
    rows = ["\n".join(f"{n}\t{w}\t_\tT{w[-1]}" + "\t_" * 6 for n, w in enumerate(s.split(), 1)) for s in SENTENCES]
    (folder / "a.conllu").write_text("\n\n".join(rows) + "\n\n")
    (folder / "a.tsv").write_text("".join(f"{s}\t{s[::-1]}\n" for s in SENTENCES))
    (folder / "a.txt").write_text(" ".join(SENTENCES) * 4)
    common = {
        "epochs": 1,
        "batch_size": 4,
        "optimizer": "adam",
        "learning_rate": 0.01,
        "limit_steps": 3,
        "steps_per_execution": 1,
    }
    small = {"units": 8, "character_units": 4, "character_embedding": 4, "word_embedding": 8}
    return {
        "image": zoo.ImageRecipe(
            name="image", model="resnet20", model_args={"input_shape": (16, 16, 1)}, dataset="digits", **common
        ),
        "language": zoo.LanguageModelRecipe(
            name="language",
            model="char_rnn",
            model_args={"units": 12},
            dataset=f"text:{folder / 'a.txt'}",
            split="char_rnn",
            sequence_length=10,
            **common,
        ),
        "tagging": zoo.TaggingRecipe(
            name="tagging", model="bilstm_tagger", model_args=small, dataset=f"conllu:{folder / 'a.conllu'}", **common
        ),
        "translation": zoo.TranslationRecipe(
            name="translation",
            model="seq2seq",
            model_args={"embedding": 8, "units": 8, "maxout": 8, "alignment": 8},
            dataset=f"tsv:{folder / 'a.tsv'}",
            **common,
        ),
    }


@pytest.mark.parametrize(
    ("task", "precision"),
    [
        ("image", "float16"),
        ("language", "bfloat16"),
        ("tagging", "float16"),
        ("translation", "bfloat16"),
        pytest.param("image", "bfloat16", marks=pytest.mark.full),
        pytest.param("language", "float16", marks=pytest.mark.full),
        pytest.param("tagging", "bfloat16", marks=pytest.mark.full),
        pytest.param("translation", "float16", marks=pytest.mark.full),
    ],
)
def test_each_task_trains_in_half_precision(task, precision, tmp_path, unchecked_export, capsys):
    recipe = recipes(tmp_path)[task]
    losses = []

    class Losses(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            losses.append(logs["loss"])

    changed = replace(recipe, precision=precision)
    result = engine.run(changed, run_dir=tmp_path / "run", callbacks=[Losses()])
    assert len(losses) == 3 and np.all(np.isfinite(losses))
    assert {weight.dtype for weight in result.model.weights} == {"float32"}
    computed_in = {layer.compute_dtype for layer in result.model.layers if layer.weights}
    assert precision in computed_in
    assert ("float16 is slow on a CPU" in capsys.readouterr().out) == (precision == "float16")


def test_the_loss_is_taken_in_single_precision():
    logits = tf.constant([[100.0, 99.9, 0.0]], tf.float16)
    for loss in (cross_entropy(tf.constant([0]), logits), smoothed_cross_entropy(tf.constant([0]), logits, 0.1)):
        assert loss.dtype == tf.float32 and np.isfinite(loss)


def test_a_tpu_computes_in_bfloat16():
    def on(kind):
        return distribute.precision(image_recipe(), distribute.Placement(None, kind, ""))

    assert (on("tpu"), on("one_device"), on("multi_worker")) == ("bfloat16", "float32", "float32")
    chosen = image_recipe(precision="float16")
    assert distribute.precision(chosen, distribute.Placement(None, "tpu", "")) == "float16"


def test_small_gradients_are_scaled_and_endless_ones_skipped():
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

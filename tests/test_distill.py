"""Distillation: the loss, the batches, the recipe and the command."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

import zoo
from conftest import image_recipe, prepared, run
from zoo.cli.commands import dispatch
from zoo.exports import read
from zoo.tasks.image_classification.distillation import soft_cross_entropy


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    recipe = image_recipe(
        name="teacher", model="mlp", model_args={"input_shape": (8, 8, 1), "hidden": (16,)}, limit_steps=200
    )
    return run(recipe, run_dir=tmp_path_factory.mktemp("teacher") / "run").export


def student(teacher, **changes):
    """A student that trains a few steps on un-augmented digits."""
    settings = {"model_args": {"input_shape": (8, 8, 1)}, "batch_size": 32, "limit_steps": 6, "steps_per_execution": 1}
    return image_recipe(name="student", model="mlp", teacher=str(teacher), **{**settings, **changes})


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_the_gradient_has_the_factor_of_the_squared_temperature(temperature):
    rng = np.random.default_rng(0)
    v, z = rng.normal(scale=5, size=(2, 6, 10)).astype(np.float32)
    logits = tf.constant(z)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses = soft_cross_entropy(tf.constant(softmax(v)), logits, temperature)
    q, p = softmax(v / temperature), softmax(z / temperature)
    np.testing.assert_allclose(losses, -(temperature**2) * np.sum(q * np.log(p), axis=-1), rtol=1e-4)
    np.testing.assert_allclose(tape.gradient(losses, logits), temperature * (p - q), rtol=1e-3, atol=1e-5)


def test_at_a_high_temperature_the_gradient_compares_logits():
    """Section 2.1: (z - v) / (K T²) for logits of mean zero; with the factor T², the temperature has left it."""
    rng = np.random.default_rng(1)
    v, z = rng.normal(size=(2, 5, 10))
    v, z = (x - x.mean(-1, keepdims=True) for x in (v, z))
    logits = tf.constant(z)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = soft_cross_entropy(tf.constant(softmax(v)), logits, 1000.0)
    np.testing.assert_allclose(tape.gradient(loss, logits), (z - v) / 10, rtol=0.02, atol=1e-3)


def test_a_probability_of_zero_gives_finite_losses():
    losses = soft_cross_entropy(tf.constant([[1.0, 0.0]]), tf.constant([[0.0, 200.0]]), 2.0)
    assert np.isfinite(losses).all()


def test_the_loss_of_a_batch_is_the_formula(teacher):
    recipe = student(teacher, alpha=0.25, temperature=3.0)
    task = prepared(recipe)
    batch = next(iter(task.training_batches(0)))
    images = np.rint(batch["inputs"].numpy() * 255).astype(np.uint8)
    answer = tf.saved_model.load(str(teacher)).signatures["serving_default"](images=images)
    np.testing.assert_allclose(batch["teacher"], answer["probabilities"], atol=1e-6)  # of the same, shuffled images
    logits = np.random.default_rng(0).normal(size=(32, 10)).astype(np.float32)
    q, p = softmax(np.log(answer["probabilities"]) / 3), softmax(logits / 3)
    hard = -np.log(softmax(logits)[np.arange(32), batch["labels"]])
    expected = np.sum(0.75 * hard - 0.25 * 9 * np.sum(q * np.log(p), axis=-1))
    total, count = task.loss(batch, tf.constant(logits))
    np.testing.assert_allclose(total, expected, rtol=1e-4)
    assert count == 32


def test_alpha_zero_is_plain_training(teacher, tmp_path):
    plain = run(replace(student(teacher), teacher=None), run_dir=tmp_path / "plain")
    zero = run(student(teacher, temperature=5.0), run_dir=tmp_path / "zero")
    half = run(student(teacher, temperature=5.0, alpha=0.5), run_dir=tmp_path / "half")
    for a, b in zip(plain.model.weights, zero.model.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(np.any(a != b) for a, b in zip(plain.model.weights, half.model.weights, strict=True))
    assert dict(plain.metrics) == dict(zero.metrics)


def test_the_teacher_is_asked_for_training_alone(teacher):
    task = prepared(student("gone/latest", alpha=0.5))  # as an export is stored in float16, or a trained model exported
    with pytest.raises(zoo.UsageError, match="There is no folder gone/latest"):
        task.training_batches(0)


def test_batches_resume_at_any_step(teacher):
    task = prepared(student(teacher, alpha=0.5, random_shift=1))
    whole = list(task.training_batches(0).take(45))  # past the end of an epoch
    for first in (1, 43):
        batch = next(iter(task.training_batches(first)))
        for key, value in batch.items():
            np.testing.assert_array_equal(value, whole[first][key])


def test_the_command_distils(teacher, tmp_path, capsys):
    arguments = ["distill", str(teacher), "--student", "softmax_regression", "--temperature", "2"]
    assert dispatch([*arguments, "--limit-steps", "3", "--run-dir", str(tmp_path / "run")]) == 0
    assert "gives the probabilities of 1,297 images" in capsys.readouterr().out
    made = json.loads((tmp_path / "run" / "recipe.json").read_text())
    expected = {"model": "softmax_regression", "teacher": str(teacher), "temperature": 2.0, "alpha": 0.9}
    assert {key: made[key] for key in expected} == expected and made["model_args"] == {"input_shape": [8, 8, 1]}
    again = zoo.finetuning_recipe(tmp_path / "run")
    assert again.teacher is None and again.alpha == 0 and read.find(tmp_path / "run")


def test_a_teacher_may_be_an_ensemble(teacher, tmp_path):
    committee = zoo.ensemble([teacher, teacher], tmp_path / "committee", check=False)
    recipe = zoo.distillation_recipe(committee, student="softmax_regression", limit_steps=2)
    assert run(recipe, run_dir=tmp_path / "run").export


def test_what_cannot_teach_is_refused(teacher, image_folder, tmp_path):
    def ask(recipe):
        prepared(recipe).training_batches(0)

    with pytest.raises(zoo.UsageError, match="'0' is in one of them only"):
        ask(student(teacher, dataset=f"folder:{image_folder()}"))
    with pytest.raises(zoo.UsageError, match="an export for translation"):
        zoo.distillation_recipe("seq2seq_dates", student="mlp")
    with pytest.raises(zoo.UsageError, match="an export for translation; it must classify images"):
        ask(student("seq2seq_dates"))
    with pytest.raises(zoo.UsageError, match="must give probabilities"):
        ask(student("perceptron:mnist"))
    with pytest.raises(zoo.UsageError, match="same in each epoch"):
        ask(student(teacher, crop="inception", test_size=8))
    mixed = run(image_recipe(mixup=0.2, limit_steps=1), run_dir=tmp_path / "mixed").export
    assert zoo.distillation_recipe(mixed, student="mlp").mixup == 0
    for field, value in (("temperature", 0.0), ("alpha", 1.5), ("loss", "rbf_map")):
        with pytest.raises(zoo.UsageError, match=field):
            student(teacher, **{field: value})
    with pytest.raises(zoo.UsageError, match="alpha is 0.5; it must be 0 without a teacher"):
        image_recipe(alpha=0.5)
    with pytest.raises(zoo.UsageError, match="has no field 'temprature'"):
        zoo.distillation_recipe(teacher, student="mlp", temprature=2.0)


def test_a_teacher_answers_beside_a_strategy(teacher):
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        task = prepared(student(teacher, alpha=0.5))
    np.testing.assert_allclose(tf.reduce_sum(next(iter(task.training_batches(0)))["teacher"], axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rundir": "x"}, "options has 'rundir', which zoo.run does not take. Did you mean 'run_dir'"),
        ({"recipe": None}, "options has 'recipe', which zoo.run does not take"),
        ("x", "options is 'x'; it must be a dictionary of arguments of zoo.run"),
    ],
)
def test_wrong_options_are_refused(options, said, teacher, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(zoo.UsageError, match=said):
        zoo.distill(teacher, student="mlp", options=options)
    assert list(tmp_path.iterdir()) == []

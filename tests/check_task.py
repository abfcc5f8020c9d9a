"""One suite that every task passes: `check_task(recipe, folder)`."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

import zoo
from conftest import check_resumption, prepared, run
from zoo.distribute.sharding import padded
from zoo.exports import read
from zoo.tasks.table import create_task, load_predictor, recipe_from_dict


def check_task(recipe, folder, damaged):
    """Checks that a task keeps the contract of `zoo.tasks.base.Task`.

    `recipe` is a small one of the task, `damaged` the changes that make its data unusable.
    """
    task = prepared(recipe)
    model = zoo.build(recipe.model, **{**task.model_args(), **recipe.model_args})
    batch = next(iter(task.training_batches(0)))
    _check_batches(task, recipe)
    _check_padding(task, model, batch)
    _check_run(recipe, folder)
    with pytest.raises(zoo.ZooError) as error:
        run(replace(recipe, **damaged), run_dir=folder / "damaged")
    assert len(str(error.value).splitlines()) == 1


def _check_batches(task, recipe):
    """Batches can start at any step, and workers get their rows of the same batches."""
    whole = list(task.training_batches(0).take(4))
    for other, rows in (
        (next(iter(task.training_batches(3))), slice(None)),
        (next(iter(task.training_batches(3, range(1, 3)))), slice(1, 3)),
    ):
        expected = tf.nest.map_structure(lambda value, rows=rows: value[rows], whole[3])
        tf.nest.map_structure(np.testing.assert_array_equal, expected, other)
    assert tf.nest.flatten(whole[0])[0].shape[0] == recipe.batch_size and task.train_examples > 0
    validation = task.validation_batches()
    assert validation is None or int(validation.cardinality()) == len(list(validation))


def _check_padding(task, model, batch):
    """Masked rows do not change loss, count and metrics."""

    def measured(batch):
        inputs = batch["inputs"]
        if task.state(model):
            rows = tf.nest.flatten(inputs)[0].shape[0]
            inputs = {**inputs, **{name: tf.zeros((rows, *shape)) for name, shape in task.state(model).items()}}
        outputs = model(inputs, training=False)
        total, count = task.loss(batch, outputs)
        np.testing.assert_allclose(count, task.count(batch))
        metrics = task.metrics()
        task.update_metrics(metrics, batch, outputs)
        return np.array([float(total), float(count), *(float(metric.result()) for metric in metrics)])

    rows = tf.nest.flatten(batch)[0].shape[0]
    np.testing.assert_allclose(measured(padded(batch, rows + 3)), measured(batch), rtol=1e-5)
    assert measured(batch)[1] > 0


def _check_run(recipe, folder):
    """It resumes with the same weights; its export predicts, is evaluated, and contains its recipe."""
    stop = max(1, recipe.limit_steps // 2 if recipe.limit_steps else 5)
    check_resumption(replace(recipe, steps_per_execution=1), folder, stop_at=stop)
    (export,) = (folder / "whole" / "export" / recipe.name).glob("1")
    assert recipe_from_dict(read.read_recipe(read.find(export))).model == recipe.model
    task = create_task(recipe)
    task.prepare()
    signature = tf.saved_model.load(str(export)).signatures["serving_default"]
    whole = signature(**{name: tf.constant(value) for name, value in task.serving_examples().items()})
    first = signature(**{name: tf.constant(value[:1]) for name, value in task.serving_examples().items()})
    for name, value in first.items():  # a row's answer does not depend on the rows beside it
        beside = whole[name][:1]
        beside = beside[tuple(slice(0, size) for size in value.shape)] if value.shape.rank else beside
        if value.dtype == tf.string:
            np.testing.assert_array_equal(value, beside)
        else:
            np.testing.assert_allclose(value, beside, rtol=1e-4, atol=1e-5)
    scores = load_predictor(export).evaluate()
    assert any(isinstance(value, float) for value in scores.values())

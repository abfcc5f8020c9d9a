"""The learning rate range test."""

import json
from dataclasses import replace

import numpy as np
import pytest

import zoo
from conftest import run
from conftest import zoo as run_zoo
from zoo.training.rate_test import RateTest, rate_test


def test_the_steepest_fall_is_suggested():
    rates = np.geomspace(1e-4, 1, 81)
    losses = 3 - 2 / (1 + np.exp(-4 * (np.log10(rates) + 2)))  # falls fastest at 0.01
    assert RateTest(rates, losses).suggestion == pytest.approx(0.01)


def test_rates_rise_until_the_loss_diverges(small_recipe):
    found = rate_test(small_recipe(optimizer="sgd", momentum=0.9), highest=1e6, steps=60)
    assert 10 <= len(found.rates) == len(found.losses) < 60 and np.all(np.diff(found.rates) > 0)
    assert found.losses.min() < found.losses[0] and 1e-4 < found.suggestion < 1e3
    with pytest.raises(zoo.UsageError, match="steps is 3; it must be at least 10"):
        rate_test(small_recipe(), steps=3)


def test_the_first_batch_is_that_of_a_run(small_recipe, tmp_path):
    recipe = small_recipe(model="mlp", model_args={"input_shape": (8, 8, 1), "hidden": (16,)})
    whole = run(replace(recipe, limit_steps=1), run_dir=tmp_path / "run")
    first = json.loads((whole.folder / "metrics.jsonl").read_text().splitlines()[0])
    assert rate_test(recipe, steps=20).losses[0] == pytest.approx(first["loss"], rel=1e-5)


def test_the_command_writes_only_a_picture(tmp_path):
    flags = ["--dataset", "digits", "--steps", "12", "--epochs", "2"]
    done = run_zoo("lr-find", "softmax_regression:mnist", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "The loss falls fastest at" in done.stdout and "Use --learning-rate" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["softmax_mnist-finetuned-lr-find.png"]

"""The learning rate range test: a short training with a rising rate (Smith, WACV 2017, section 3.3)."""

import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from zoo.distribute.sharding import shard_batches
from zoo.distribute.strategy import Devices
from zoo.errors import UsageError, ZooError
from zoo.recipe import GradientRecipe, Recipe
from zoo.training.descent import GradientDescent
from zoo.training.run import Run

SMOOTHING = 0.9  # of the losses: the part of the mean that stays at each step
DIVERGED = 4  # times the lowest smoothed loss, at which the test ends


@dataclass(frozen=True)
class RateTest:
    """The rates of a test, and the smoothed loss of the training batch at each."""

    rates: np.ndarray
    losses: np.ndarray

    @property
    def suggestion(self) -> float:
        """The rate at which the loss falls most for the same relative change of the rate."""
        slopes = np.gradient(self.losses, np.log(self.rates))
        return float(self.rates[int(np.argmin(slopes))])


def rate_test(
    recipe: Recipe,
    *,
    steps: int = 100,
    lowest: float = 1e-6,
    highest: float = 1.0,
    devices: Devices | None = None,
) -> RateTest:
    """Trains a recipe's model for up to `steps` steps, at rates that rise from `lowest` to `highest` by a constant
    factor, and ends where the loss diverges. Nothing is written.

    Where the recipe has frozen epochs, the rate is that of the first of them.

    Raises `UsageError` for a recipe without gradient descent, for rates that do not rise and for fewer than 10 steps,
    `ZooError` if the loss is not finite before the tenth step.
    """
    if not isinstance(recipe, GradientRecipe):
        raise UsageError(f"{recipe.name} does not train by gradient descent, so that it has no learning rate.")
    if not 0 < lowest < highest:
        raise UsageError(f"The rates are {lowest:g} to {highest:g}; they must be positive and rise.")
    if steps < 10:
        raise UsageError(f"steps is {steps}; it must be at least 10.")
    recipe = replace(
        recipe,
        schedule="constant",
        schedule_epochs=(),
        schedule_factors=(),
        warmup_epochs=0.0,
        learning_rate=lowest,
        frozen_epochs=recipe.epochs if recipe.frozen_epochs else 0,  # one phase: a constant rate
        frozen_after={},
        keep="last",
        lookahead_steps=0,
        early_stopping=None,
        limit_steps=None,
        steps_per_execution=1,
    )
    with tempfile.TemporaryDirectory(prefix="zoo-lr-find-") as scratch:
        job = Run(recipe, Path(scratch), devices)
        keras.utils.set_random_seed(recipe.seed)
        rates = np.geomspace(lowest, highest, steps)
        with job.naming_faults():
            with job.placement.strategy.scope():
                descent = GradientDescent(job.training(job.prepare()))
            losses = _losses(descent, rates)
    if len(losses) < 10:
        raise ZooError(
            f"{recipe.name}: the loss diverges after {len(losses)} steps, at a rate of {rates[len(losses)]:.2g}; "
            "start from a lower one."
        )
    return RateTest(rates[: len(losses)], np.array(losses))


def _losses(descent: GradientDescent, rates: np.ndarray) -> list[float]:
    """The smoothed losses of steps at these rates, until one diverges."""
    model, placement, size = descent.model, descent.placement, descent.recipe.batch_size
    batches = iter(shard_batches(descent.task.training_batches(0, placement.rows_of(size)), placement, size))
    model.freeze(descent.frozen_at(0))
    model.make_train_function()
    mean, losses = 0.0, []
    for step, rate in enumerate(rates, start=1):
        model.optimizer.learning_rate = tf.constant(rate, tf.float32)
        model.reset_metrics()
        loss = float(model.train_function(batches)["loss"])
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        smoothed = mean / (1 - SMOOTHING**step)
        if not math.isfinite(loss) or (losses and smoothed > DIVERGED * min(losses)):
            break
        losses.append(smoothed)
    return losses

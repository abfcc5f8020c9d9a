"""A recipe's fields turned into a Keras optimizer with its schedule."""

import keras

from zoo.recipe import Recipe


def learning_rate(recipe: Recipe, steps_per_epoch: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The recipe's schedule, as a function of the step."""
    total = recipe.epochs * steps_per_epoch
    if recipe.schedule == "piecewise":
        boundaries = [round(epoch * steps_per_epoch) for epoch in recipe.schedule_epochs]
        rates = [recipe.learning_rate * factor for factor in (1.0, *recipe.schedule_factors)]
        # Keras holds a rate up to and including its boundary, counted from step 0.
        return keras.optimizers.schedules.PiecewiseConstantDecay([step - 1 for step in boundaries], rates)
    if recipe.schedule == "cosine":
        warmup = round(recipe.warmup_epochs * steps_per_epoch)
        if not warmup:
            return keras.optimizers.schedules.CosineDecay(recipe.learning_rate, total)
        return keras.optimizers.schedules.CosineDecay(
            0.0, max(1, total - warmup), warmup_target=recipe.learning_rate, warmup_steps=warmup
        )
    return recipe.learning_rate


def optimizer(recipe: Recipe, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """The optimizer that a recipe's fields describe."""
    rate = learning_rate(recipe, steps_per_epoch)
    average = {"use_ema": recipe.keep == "average", "ema_momentum": recipe.average_momentum}
    if recipe.optimizer == "adam":
        return keras.optimizers.Adam(rate, **average)
    return keras.optimizers.SGD(rate, momentum=recipe.momentum, nesterov=recipe.nesterov, **average)

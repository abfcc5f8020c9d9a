"""A recipe's fields turned into a Keras optimizer with its schedule."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

import keras
import tensorflow as tf

from zoo.errors import UsageError
from zoo.recipe import Recipe


def learning_rate(recipe: Recipe, steps_per_epoch: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The recipe's schedule, as a function of the step."""
    total = recipe.epochs * steps_per_epoch
    if recipe.schedule == "piecewise":
        boundaries = [round(epoch * steps_per_epoch) for epoch in recipe.schedule_epochs]
        rates = [recipe.learning_rate * factor for factor in (1.0, *recipe.schedule_factors)]
        # Keras holds a rate up to and including its boundary, counted from step 0.
        return keras.optimizers.schedules.PiecewiseConstantDecay([step - 1 for step in boundaries], rates)
    if recipe.schedule == "exponential":
        steps = max(1, round(recipe.schedule_epochs[0] * steps_per_epoch))
        return keras.optimizers.schedules.ExponentialDecay(
            recipe.learning_rate, steps, recipe.schedule_factors[0], staircase=True
        )
    if recipe.schedule == "cosine":
        warmup = round(recipe.warmup_epochs * steps_per_epoch)
        if not warmup:
            return keras.optimizers.schedules.CosineDecay(recipe.learning_rate, total)
        return keras.optimizers.schedules.CosineDecay(
            0.0, max(1, total - warmup), warmup_target=recipe.learning_rate, warmup_steps=warmup
        )
    return recipe.learning_rate


class SummedFirst:
    """Mixed into a Keras optimizer: gradients are summed over replicas before they are clipped, not after.

    Keras clips each replica's share by itself, and sums what is left of them.
    """

    sums = True  # not where another optimizer has done it

    def apply(self, grads, trainable_variables=None):
        context = tf.distribute.get_replica_context()
        if self.sums and context is not None and context.num_replicas_in_sync > 1:
            places = [place for place, grad in enumerate(grads) if grad is not None]
            summed = context.all_reduce(tf.distribute.ReduceOp.SUM, [grads[place] for place in places])
            grads = list(grads)
            for place, grad in zip(places, summed, strict=True):
                grads[place] = grad
        return super().apply(grads, trainable_variables)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return list(grads_and_vars)  # they are summed already


class SGD(SummedFirst, keras.optimizers.SGD):
    """Keras's own, of gradients that are summed first."""


class Adam(SummedFirst, keras.optimizers.Adam):
    """Keras's own, of gradients that are summed first, in one operation a weight where Keras has a dozen."""

    def update_step(self, gradient, variable, learning_rate):
        place, dtype = self._get_variable_index(variable), variable.dtype
        step = tf.cast(self.iterations + 1, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[place].value.handle,
            v=self._velocities[place].value.handle,
            beta1_power=tf.cast(self.beta_1, dtype) ** step,
            beta2_power=tf.cast(self.beta_2, dtype) ** step,
            lr=tf.cast(learning_rate, dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, dtype),
        )


class RMSprop(SummedFirst, keras.optimizers.RMSprop):
    """Keras's own, of gradients that are summed first."""


class LossScale(SummedFirst, keras.optimizers.LossScaleOptimizer):
    """Keras's own around one of these: gradients are summed here, before any is found to be no number."""

    def __init__(self, inner: keras.optimizers.Optimizer):
        super().__init__(inner)
        inner.sums = False

    def _stateful_handle_non_finite_grads(self):
        super()._stateful_handle_non_finite_grads()
        self.iterations.assign_add(1)  # a step that changes no weight is one: its batch is used up


class ScaledSGD(SGD):
    """SGD with a rate of its own for some weights, as Caffe's and cuda-convnet's layers have them.

    `factors` maps a weight's path to what its rate is multiplied by. Without clipping, a factor on the gradient
    (weight decay included) is one on the rate.
    """

    def __init__(self, *args, factors: Mapping[str, float], **kwargs):
        super().__init__(*args, **kwargs)
        self.factors = dict(factors)

    def apply(self, grads, trainable_variables=None):
        variables = self._trainable_variables if trainable_variables is None else trainable_variables
        scaled = [grad * self.factors.get(v.path, 1.0) for grad, v in zip(grads, variables, strict=True)]
        return super().apply(scaled, trainable_variables)


def matching(patterns: Iterable[str], paths: Iterable[str], field: str) -> dict[str, str]:
    """The paths that match one of the patterns, each with the first it matches.

    Raises `UsageError` for a pattern that matches none: it is misspelt, or the model is another one.
    """
    paths, found, used = list(paths), {}, set()
    for pattern in patterns:
        for path in paths:
            if fnmatchcase(path, pattern):
                used.add(pattern)
                found.setdefault(path, pattern)
    for pattern in patterns:
        if pattern not in used:
            shown = ", ".join(paths[:3])
            raise UsageError(f"{field}: no weight's path matches {pattern!r}; paths are like {shown}.")
    return found


def optimizer(recipe: Recipe, steps_per_epoch: int, paths: Iterable[str] = ()) -> keras.optimizers.Optimizer:
    """The optimizer that a recipe's fields describe, for trainable weights of these paths."""
    inner = _unscaled(recipe, steps_per_epoch, paths)
    return LossScale(inner) if recipe.precision == "float16" else inner


def _unscaled(recipe: Recipe, steps_per_epoch: int, paths: Iterable[str]) -> keras.optimizers.Optimizer:
    rate = learning_rate(recipe, steps_per_epoch)
    common = {
        "use_ema": recipe.keep == "average",
        "ema_momentum": recipe.average_momentum,
        "global_clipnorm": recipe.clip_norm,
        "clipvalue": recipe.clip_value,
    }
    if recipe.optimizer == "adam":
        return Adam(rate, epsilon=recipe.epsilon, **common)
    if recipe.optimizer == "rmsprop":
        return RMSprop(rate, rho=recipe.rho, momentum=recipe.momentum, epsilon=recipe.epsilon, **common)
    sgd = {"momentum": recipe.momentum, "nesterov": recipe.nesterov, **common}
    factors = recipe.learning_rate_factors
    if factors:
        found = matching(factors, paths, "learning_rate_factors")
        return ScaledSGD(rate, factors={path: factors[pattern] for path, pattern in found.items()}, **sgd)
    return SGD(rate, **sgd)

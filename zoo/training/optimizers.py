"""A recipe's fields turned into a Keras optimizer with its schedule. TensorFlow is loaded where Keras runs on it."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import keras
from keras import ops

from zoo.errors import UsageError
from zoo.recipe import GradientRecipe, Recipe

SECOND_PHASE = 0.1  # of the learning rate, for the epochs after the frozen ones

Rate = float | keras.optimizers.schedules.LearningRateSchedule


def divide_epoch(recipe: GradientRecipe, examples: int) -> tuple[int, int]:
    """Steps per epoch, and how many of them run in the graph at a time.

    The second must divide the first. Where the number of full batches has no good divisor (a prime, for instance), an
    epoch is shorter by up to half a per cent: what is left out starts the next one.
    """
    steps = recipe.steps_per_epoch or max(1, examples // recipe.batch_size)
    limit = recipe.steps_per_execution

    def divisor(n: int) -> int:
        n = math.gcd(n, recipe.limit_steps or n, recipe.total_steps(n))
        return max(k for k in range(1, min(limit, n) + 1) if n % k == 0)

    choices = [steps] if recipe.steps_per_epoch else range(steps, steps - steps // 200 - 1, -1)
    for n in choices:
        if divisor(n) * 2 >= min(limit, n):
            return n, divisor(n)
    best = max(choices, key=divisor)
    return best, divisor(best)


def learning_rate(recipe: Recipe, steps_per_epoch: int) -> Rate:
    """The recipe's schedule, as a function of the step."""
    total, frozen = recipe.total_steps(steps_per_epoch), recipe.frozen_epochs * steps_per_epoch
    if frozen in (0, total):
        return _schedule(recipe, recipe.learning_rate, total, steps_per_epoch)
    rates = (recipe.learning_rate, SECOND_PHASE * recipe.learning_rate)
    phases = zip(rates, (frozen, total - frozen), strict=True)
    return TwoPhases(frozen, *(_schedule(recipe, rate, steps, steps_per_epoch) for rate, steps in phases))


def _schedule(recipe: Recipe, rate: float, total: int, steps_per_epoch: int) -> Rate:
    """A schedule of `total` steps whose initial or peak rate is `rate`."""
    if recipe.schedule == "piecewise":
        boundaries = [round(epoch * steps_per_epoch) for epoch in recipe.schedule_epochs]
        rates = [rate * factor for factor in (1.0, *recipe.schedule_factors)]
        # Keras holds a rate up to and including its boundary, counted from step 0.
        return keras.optimizers.schedules.PiecewiseConstantDecay([step - 1 for step in boundaries], rates)
    if recipe.schedule == "linear":
        steps = [round(epoch * steps_per_epoch) for epoch in recipe.schedule_epochs]
        return Interpolated(steps, [rate * factor for factor in recipe.schedule_factors])
    if recipe.schedule == "exponential":
        steps = max(1, round(recipe.schedule_epochs[0] * steps_per_epoch))
        return keras.optimizers.schedules.ExponentialDecay(rate, steps, recipe.schedule_factors[0], staircase=True)
    if recipe.schedule == "cosine":
        warmup = round(recipe.warmup_epochs * steps_per_epoch)
        if recipe.frozen_epochs:  # a phase may be shorter than the warm-up of a whole training
            warmup = min(warmup, total // 2)
        if not warmup:
            return keras.optimizers.schedules.CosineDecay(rate, max(1, total))
        return keras.optimizers.schedules.CosineDecay(
            0.0, max(1, total - warmup), warmup_target=rate, warmup_steps=warmup
        )
    return rate


class Interpolated(keras.optimizers.schedules.LearningRateSchedule):
    """The rates at some steps, in ascending order, linear between them and constant outside."""

    def __init__(self, steps: Sequence[int], rates: Sequence[float]):
        self.steps, self.rates = list(steps), list(rates)

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rate = ops.convert_to_tensor(self.rates[0], "float32")
        for (start, first), (end, last) in itertools.pairwise(zip(self.steps, self.rates, strict=True)):
            rate += (last - first) * ops.clip((step - start) / max(1, end - start), 0.0, 1.0)
        return rate

    def get_config(self):
        return {"steps": self.steps, "rates": self.rates}


class TwoPhases(keras.optimizers.schedules.LearningRateSchedule):
    """One schedule for the first `steps` steps, then another, which counts from there."""

    def __init__(self, steps: int, first: Rate, second: Rate):
        self.steps, self.first, self.second = steps, first, second

    def __call__(self, step):
        def rate(phase, step):
            return ops.cast(phase(step) if callable(phase) else phase, "float32")

        step = ops.convert_to_tensor(step)
        later = ops.maximum(step - self.steps, 0)
        return ops.where(step < self.steps, rate(self.first, step), rate(self.second, later))

    def get_config(self):
        return {"steps": self.steps, "first": self.first, "second": self.second}


class AllReduceBeforeClip:
    """Mixed into a Keras optimizer: gradients are summed over replicas before they are clipped, not after.

    Keras clips the gradients of each replica and sums them afterwards.
    """

    sums = True  # not where another optimizer has done it
    factors: Sequence[float] = ()  # of the rate, for each trainable weight; empty: 1 for all

    def rate_of(self, variable, learning_rate):
        """The rate of a weight."""
        return learning_rate * self.factors[self._get_variable_index(variable)] if self.factors else learning_rate

    def update_step(self, gradient, variable, learning_rate):
        return super().update_step(gradient, variable, self.rate_of(variable, learning_rate))

    def _apply_weight_decay(self, variables):
        """Decoupled weight decay with the rate of each weight; Keras's has the same for all."""
        if self.weight_decay is None or not self.factors:
            return super()._apply_weight_decay(variables)
        decay = self.weight_decay
        for variable in variables:
            self.weight_decay = self.rate_of(variable, decay)
            super()._apply_weight_decay([variable])
        self.weight_decay = decay

    def apply(self, grads, trainable_variables=None):
        if self.sums and keras.backend.backend() == "tensorflow":
            grads = _over_replicas(grads)
        return super().apply(grads, trainable_variables)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return list(grads_and_vars)  # they are summed already

    def finalize_variable_values(self, var_list):
        """Nothing: `fit` calls it after each part of a run; the average replaces the weights after the last."""

    def take_average(self, weights: Sequence[keras.Variable]) -> None:
        """Gives the weights the values of their moving averages."""
        super().finalize_variable_values(weights)


def _over_replicas(grads: Sequence) -> list:
    """Gradients summed over replicas; None stays None."""
    import tensorflow as tf

    context, grads = tf.distribute.get_replica_context(), list(grads)
    if context is not None and context.num_replicas_in_sync > 1:
        indices = [index for index, grad in enumerate(grads) if grad is not None]
        summed = context.all_reduce(tf.distribute.ReduceOp.SUM, [grads[index] for index in indices])
        for index, grad in zip(indices, summed, strict=True):
            grads[index] = grad
    return grads


class SGD(AllReduceBeforeClip, keras.optimizers.SGD):
    """Keras's own, of gradients that are summed first."""


class Adam(AllReduceBeforeClip, keras.optimizers.Adam):
    """Keras's Adam with gradients that are summed first, on TensorFlow in one operation per weight instead of
    twelve."""

    def update_step(self, gradient, variable, learning_rate):
        if keras.backend.backend() != "tensorflow":
            return super().update_step(gradient, variable, learning_rate)
        import tensorflow as tf

        index, dtype = self._get_variable_index(variable), variable.dtype
        step = tf.cast(self.iterations + 1, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.cast(self.beta_1, dtype) ** step,
            beta2_power=tf.cast(self.beta_2, dtype) ** step,
            lr=tf.cast(self.rate_of(variable, learning_rate), dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, dtype),
        )


class RMSprop(AllReduceBeforeClip, keras.optimizers.RMSprop):
    """Keras's own, of gradients that are summed first."""


class LossScale(AllReduceBeforeClip, keras.optimizers.LossScaleOptimizer):
    """Keras's loss-scaling optimizer around one of these: gradients are summed before they are checked to be finite."""

    def __init__(self, inner: keras.optimizers.Optimizer):
        super().__init__(inner)
        inner.sums = False

    def take_average(self, weights):
        self.inner_optimizer.take_average(weights)

    def _stateful_handle_non_finite_grads(self):
        super()._stateful_handle_non_finite_grads()
        self.iterations.assign_add(1)  # a step that changes no weight counts as a step: its batch is used


def matching(patterns: Iterable[str], paths: Iterable[str], field: str) -> dict[str, str]:
    """The paths that match one of the patterns, each with the first it matches.

    Raises `UsageError` for a pattern that matches no path.
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


def optimizer(
    recipe: Recipe,
    steps_per_epoch: int,
    paths: Iterable[str] = (),
    depths: Mapping[str, int] | None = None,
    undecayed: Sequence[keras.Variable] = (),
) -> keras.optimizers.Optimizer:
    """The optimizer that a recipe's fields describe, for trainable weights of these paths, in this order; `depths` has
    the depth of each. The weights in `undecayed` are left out of decoupled weight decay."""
    inner = _unscaled(recipe, steps_per_epoch)
    inner.exclude_from_weight_decay(list(undecayed))
    inner.factors = rate_factors(recipe, list(paths), depths or {})
    return LossScale(inner) if recipe.precision == "float16" else inner


def rate_factors(recipe: Recipe, paths: Sequence[str], depths: Mapping[str, int]) -> tuple[float, ...]:
    """What the rate of each weight is multiplied by; empty where all have the same rate."""
    if not recipe.learning_rate_factors and recipe.depth_decay == 1:
        return ()
    stated = matching(recipe.learning_rate_factors, paths, "learning_rate_factors")
    own = {path: recipe.learning_rate_factors[pattern] for path, pattern in stated.items()}
    return tuple(own.get(path, 1.0) * recipe.depth_decay ** depths.get(path, 0) for path in paths)


def decay_factors(recipe: Recipe, paths: Sequence[str]) -> dict[str, float]:
    """The factor of weight decay for each weight that decays, by its path."""
    decayed = matching(recipe.decayed_weights if recipe.weight_decay else (), paths, "decayed_weights")
    stated = matching(recipe.weight_decay_factors, paths, "weight_decay_factors")
    return {path: recipe.weight_decay_factors[stated[path]] if path in stated else 1.0 for path in decayed}


def _unscaled(recipe: Recipe, steps_per_epoch: int) -> "SGD | Adam | RMSprop":
    rate = learning_rate(recipe, steps_per_epoch)
    common = {
        "use_ema": recipe.keep == "average",
        "ema_momentum": recipe.average_momentum,
        "global_clipnorm": recipe.clip_norm,
        "clipvalue": recipe.clip_value,
    }
    if recipe.optimizer == "adam":
        return Adam(rate, epsilon=recipe.epsilon, **common)
    if recipe.optimizer == "adamw":
        return Adam(rate, epsilon=recipe.epsilon, weight_decay=recipe.weight_decay or None, **common)
    if recipe.optimizer == "rmsprop":
        return RMSprop(rate, rho=recipe.rho, momentum=recipe.momentum, epsilon=recipe.epsilon, **common)
    return SGD(rate, momentum=recipe.momentum, nesterov=recipe.nesterov, **common)

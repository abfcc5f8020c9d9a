"""Lookahead: a second set of weights that the weights in training are brought back to (Zhang et al. 2019)."""

from collections.abc import Iterable

import keras
import tensorflow as tf


class Lookahead:
    """The slow weights of a model, whose own weights are the fast ones.

    After every `every` steps slow = d · slow + (1 − d) · fast, and the fast weights continue from there; the state of
    the optimizer is unchanged. The decay is d = decay · (step / total)^power, which is constant for a power of 0
    (Zhang et al.) and grows otherwise (Jordan 2024). Statistics of normalisation are averaged like weights, as in the
    code that Jordan released; with several replicas all take those of the first. Create it in the strategy's scope.
    """

    def __init__(self, variables: Iterable[keras.Variable], *, every: int, decay: float, power: float, total: int):
        self.every, self.decay, self.power, self.total = every, decay, power, total
        self.fast = [variable.value for variable in variables if variable.dtype.startswith(("float", "bfloat"))]
        self.slow = [tf.Variable(tf.convert_to_tensor(weight), trainable=False) for weight in self.fast]

    def update(self, step: tf.Tensor) -> None:
        """Call it after each step with the number of steps done, outside of the replicas."""
        tf.cond(step % self.every == 0, lambda: self._synchronise(step), lambda: tf.constant(0))

    def finish(self) -> None:
        """Makes the slow weights those of the model."""
        for fast, slow in zip(self.fast, self.slow, strict=True):
            fast.assign(tf.convert_to_tensor(slow))

    def _synchronise(self, step: tf.Tensor) -> tf.Tensor:
        decay = self.decay * (tf.cast(step, tf.float32) / self.total) ** self.power
        for fast, slow in zip(self.fast, self.slow, strict=True):
            kept = tf.cast(decay, slow.dtype)
            mixed = kept * tf.convert_to_tensor(slow) + (1 - kept) * tf.convert_to_tensor(fast)
            slow.assign(mixed)
            fast.assign(mixed)
        return tf.constant(0)

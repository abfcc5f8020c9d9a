"""The optimizers against Keras's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from zoo.training import optimizers


def trained(cls, **arguments) -> list[np.ndarray]:
    """Two weights after 40 steps."""
    weights = [keras.Variable(tf.random.stateless_normal(shape, (0, 0))) for shape in ((50, 7), (9,))]
    optimizer = cls(keras.optimizers.schedules.CosineDecay(0.02, 50), **arguments)
    optimizer.build(weights)
    step = tf.function(lambda *gradients: optimizer.apply(gradients, weights))
    for i in range(40):
        step(*(tf.random.stateless_normal(weight.shape, (i, 1)) for weight in weights))
    return [weight.numpy() for weight in weights]


@pytest.mark.parametrize("arguments", [{}, {"global_clipnorm": 1.0}, {"clipvalue": 0.1, "use_ema": True}], ids=str)
def test_adam_equals_keras(arguments):
    ours, theirs = trained(optimizers.Adam, **arguments), trained(keras.optimizers.Adam, **arguments)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)

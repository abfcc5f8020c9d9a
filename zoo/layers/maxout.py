"""Maxout."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="zoo")
class Maxout(keras.layers.Layer):
    """The maximum of each pair of neighbouring features, (…, 2n) → (…, n): Goodfellow et al. 2013 with two pieces."""

    def call(self, x):
        return ops.max(ops.reshape(x, (*ops.shape(x)[:-1], x.shape[-1] // 2, 2)), axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] // 2)

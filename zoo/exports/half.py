"""The module of an export with its large weights in float16, in half the space."""

import math

import keras
import tensorflow as tf

from zoo.exports.write import PART_BYTES


def store_in_half(serving: tf.Module, model: keras.Model) -> tf.Module:
    """Replaces the large weights of the module of an export, which is returned, by float16 variables.

    Those of an export of several files are int16 variables with the same bits: a tensor is cut where a file ends, and
    TensorFlow cannot restore a float16 tensor from parts.
    """
    large = [weight for weight in model.weights if is_stored_in_half(weight)]
    size = sum(variable.shape.num_elements() * variable.dtype.size for variable in serving.variables)
    in_parts = size - 2 * sum(math.prod(weight.shape) for weight in large) > PART_BYTES

    def half(weight: keras.Variable) -> tf.Variable | None:
        if not is_stored_in_half(weight):
            return None
        value = tf.cast(weight.value, tf.float16)
        return tf.Variable(tf.bitcast(value, tf.int16) if in_parts else value, name=weight.name)

    halves = [half(weight) for weight in model.weights]

    def from_halves(endpoint: tf.types.experimental.PolymorphicFunction) -> tf.types.experimental.PolymorphicFunction:
        @tf.function(autograph=False, input_signature=endpoint.input_signature)
        def answer(*inputs):
            pairs = zip(model.weights, halves, strict=True)
            values = [(weight, _whole(half, weight.dtype)) for weight, half in pairs if half is not None]
            with keras.StatelessScope(values):
                return endpoint.python_function(*inputs)

        return answer

    serving.endpoints = {name: from_halves(endpoint) for name, endpoint in serving.endpoints.items()}
    pairs = zip(serving.weights, halves, strict=True)
    serving.weights = [whole if half is None else half for whole, half in pairs]
    return serving


def is_stored_in_half(weight: keras.Variable) -> bool:
    """Whether it is a matrix or a kernel; vectors, such as biases and statistics, take little space."""
    return len(weight.shape) > 1 and weight.dtype == "float32"


def _whole(half: tf.Variable, dtype: str) -> tf.Tensor:
    value = tf.convert_to_tensor(half)
    return tf.cast(tf.bitcast(value, tf.float16) if half.dtype == tf.int16 else value, dtype)

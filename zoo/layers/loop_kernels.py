"""Loops over functions, and the kernels in them, whose gradients are computed after the loop."""

from collections.abc import Callable, Mapping

import keras
from keras import ops


class FunctionCell(keras.layers.Layer):
    """Makes a cell for `keras.layers.RNN` of a function (input, state) → (*outputs, state).

    Tensors that are constant over the steps reach the function through its closure, because `RNN` takes no constants.
    The outputs are concatenated on the last axis.
    """

    def __init__(self, function: Callable, state_size: int, **kwargs):
        super().__init__(**kwargs)
        self.function, self.state_size = function, state_size

    def call(self, inputs, states):
        *outputs, state = self.function(inputs, states[0])
        return ops.concatenate(outputs, axis=-1), [state]


class LoopKernels:
    """Kernels that each step of a loop multiplies something with and adds the product to its part of `x` (N, T, M).

    TensorFlow computes the gradient of such a kernel in every step of the backward loop, a product over the rows of one
    step, and sums them up; in half precision it also converts the kernel and its gradient in every step. The gradient
    of `x` has all that is needed to compute the sum as one product over all rows and steps. On other backends than
    TensorFlow this class only holds the kernels.

    Args:
      kernels: for each name a kernel (K, columns), and the columns of `x` that its product is added to.
    """

    def __init__(self, kernels: Mapping[str, tuple[object, slice]]):
        self.kernels, self.columns = ({name: pair[i] for name, pair in kernels.items()} for i in (0, 1))
        self.deferred = keras.backend.backend() == "tensorflow"
        self.inputs: Mapping[str, object] = {}

    def __getitem__(self, name: str):
        """A kernel, for use in the loop's body."""
        return ops.stop_gradient(self.kernels[name]) if self.deferred else self.kernels[name]

    def carry(self, x):
        """`x`, for the loop to read from; its gradient gives the kernels theirs."""
        if not self.deferred:
            return x
        import tensorflow as tf

        @tf.custom_gradient
        def identity(x, *kernels):
            def gradient(d_x):
                return d_x, *(self._gradient(name, d_x) for name in self.kernels)

            return tf.identity(x), gradient

        return identity(x, *self.kernels.values())

    def _gradient(self, name: str, d_x):
        import tensorflow as tf

        pairs = zip((self.inputs[name], d_x[..., self.columns[name]]), self.kernels[name].shape, strict=True)
        inputs, outputs = (tf.reshape(tensor, (-1, size)) for tensor, size in pairs)
        return tf.matmul(inputs, outputs, transpose_a=True)

"""The layers of LeNet-5 (LeCun, Bottou, Bengio & Haffner 1998)."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

serializable = keras.saving.register_keras_serializable(package="zoo")


@serializable
class ScaledTanh(keras.layers.Layer):
    """The activation 1.7159 · tanh(2x/3), which maps ±1 to ±1 (LeCun et al. 1998, appendix A).

    The output has the shape of the input. Masks pass through.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs):
        return 1.7159 * ops.tanh(inputs * (2 / 3))

    def compute_output_shape(self, input_shape):
        return input_shape


@serializable
class Subsampling2D(keras.layers.Layer):
    """Trainable subsampling: the sum of each 2 × 2 block, times a coefficient, plus a bias, one pair per map.

    (N, H, W, C) → (N, H // 2, W // 2, C) with 2·C weights (LeCun et al. 1998, section II-B). Weights are initialised
    uniformly within ±`initial_range` / 4, where 4 is the fan-in of a unit.
    """

    def __init__(self, initial_range: float = 2.4, **kwargs: Any):
        super().__init__(**kwargs)
        self.initial_range = initial_range
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape):
        limit = self.initial_range / 4
        for name in ("coefficient", "bias"):
            initializer = keras.initializers.RandomUniform(-limit, limit)
            setattr(self, name, self.add_weight(shape=(input_shape[-1],), initializer=initializer, name=name))

    def call(self, inputs):
        sums = 4.0 * ops.average_pool(inputs, 2, 2, "valid", data_format="channels_last")
        return sums * self.coefficient + self.bias

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return (batch, height // 2, width // 2, channels)

    def get_config(self):
        return {**super().get_config(), "initial_range": self.initial_range}


@serializable
class PartialConv2D(keras.layers.Layer):
    """An unpadded convolution in which each output map sees only some of the input maps (C3 of LeNet-5).

    (N, H, W, C) → (N, H − k + 1, W − k + 1, len(connections)). `connections[m]` lists the input maps of output map m.
    The kernel variable has one row of k · k weights per connected pair, and the forward pass scatters it into a dense
    kernel; so there is no weight for a pair that is not connected. Weights are initialised uniformly within
    ±`initial_range` / fan-in of their output map.
    """

    def __init__(
        self, connections: Sequence[Sequence[int]], kernel_size: int = 5, initial_range: float = 2.4, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.connections = [list(inputs) for inputs in connections]
        self.kernel_size = kernel_size
        self.initial_range = initial_range
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape):
        self.channels = input_shape[-1]
        maps, area = len(self.connections), self.kernel_size**2
        # Row i·maps + m of the dense kernel connects input map i with output map m.
        pairs = [(i, m) for m, inputs in enumerate(self.connections) for i in inputs]
        self.rows = np.array([[i * maps + m] for i, m in pairs])
        limits = [self.initial_range / (len(inputs) * area) for inputs in self.connections]

        def uniform(scales):
            def draw(shape, dtype=None):
                unit = keras.random.uniform(shape, -1.0, 1.0, dtype=dtype)
                return unit * ops.reshape(ops.convert_to_tensor(scales, dtype), (-1, *[1] * (len(shape) - 1)))

            return draw

        self.kernel = self.add_weight(
            shape=(len(pairs), area), initializer=uniform([limits[m] for _, m in pairs]), name="kernel"
        )
        self.bias = self.add_weight(shape=(maps,), initializer=uniform(limits), name="bias")

    def call(self, inputs):
        maps = len(self.connections)
        kernel = ops.scatter(self.rows, self.kernel, (self.channels * maps, self.kernel_size**2))
        kernel = ops.reshape(kernel, (self.channels, maps, self.kernel_size, self.kernel_size))
        kernel = ops.transpose(kernel, (2, 3, 0, 1))  # (k, k, C, maps)
        return ops.conv(inputs, kernel, padding="valid", data_format="channels_last") + self.bias

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        return (batch, height - self.kernel_size + 1, width - self.kernel_size + 1, len(self.connections))

    def get_config(self):
        return {
            **super().get_config(),
            "connections": self.connections,
            "kernel_size": self.kernel_size,
            "initial_range": self.initial_range,
        }


@serializable
class EuclideanRBF(keras.layers.Layer):
    """The negative squared distance to fixed code vectors (the output of LeNet-5, LeCun et al. 1998, section II-B).

    (N, D) → (N, classes): −Σ_j (x_j − code_ij)². The unit of the paper gives the distance, a penalty; its negative is
    the logarithm of an unnormalised Gaussian, which makes it a logit. The codes are constants, not weights.
    """

    def __init__(self, codes: Sequence[Sequence[int]], **kwargs: Any):
        super().__init__(**kwargs)
        self.codes = [list(code) for code in codes]

    def call(self, inputs):
        codes = ops.convert_to_tensor(self.codes, dtype=self.compute_dtype)
        return -ops.sum(ops.square(inputs[:, None, :] - codes), axis=-1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], len(self.codes))

    def get_config(self):
        return {**super().get_config(), "codes": self.codes}

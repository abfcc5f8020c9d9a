"""The residual shortcut without weights."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="zoo")
class IdentityShortcut(keras.layers.Layer):
    """A shortcut without weights to a smaller map with more channels: subsampling, then zeros as the new channels.

    (N, H, W, C) → (N, ⌈H/stride⌉, ⌈W/stride⌉, filters): option A of He et al. 2016, section 3.3.
    """

    def __init__(self, filters: int, stride: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.filters, self.stride = filters, stride

    def call(self, inputs):
        # Subsampling as pooling over windows of one pixel: TensorFlow's strided slice is five times as slow on CPUs.
        x = ops.average_pool(inputs, 1, self.stride, data_format="channels_last") if self.stride > 1 else inputs
        return ops.pad(x, [[0, 0], [0, 0], [0, 0], [0, self.filters - inputs.shape[-1]]])

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        height, width = (None if n is None else -(-n // self.stride) for n in (height, width))
        return (batch, height, width, self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "stride": self.stride}

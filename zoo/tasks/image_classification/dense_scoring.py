"""Dense evaluation: a classifier applied convolutionally to images of any size."""

from collections.abc import Sequence

import keras
from keras import ops


def convolutional(model: keras.Model) -> keras.Model:
    """A classifier for images of any size: (N, any, any, C) → (N, K), the mean of its logits over all positions.

    It shares the weights of `model`: dense layers after a flattened map become convolutions of the map's size, then
    1 × 1 convolutions (Simonyan & Zisserman 2015, section 3.2).
    """
    replaced, size = {}, None
    for layer in model.layers:
        if isinstance(layer, keras.layers.Flatten):
            size = layer.input.shape[1:3]
            replaced[layer.name] = keras.layers.Identity()
        elif size and isinstance(layer, keras.layers.Dense):
            replaced[layer.name] = DenseAsConvolution(layer, size)
            size = (1, 1)
    images = keras.Input((None, None, model.input_shape[-1]))
    dense = keras.models.clone_model(
        model, input_tensors=images, clone_function=lambda layer: replaced.get(layer.name, layer)
    )
    return keras.Model(images, keras.layers.GlobalAveragePooling2D()(dense.output)) if replaced else dense


class DenseAsConvolution(keras.layers.Layer):
    """A dense layer on a flattened map, applied as a convolution with the same weights."""

    def __init__(self, dense: keras.layers.Dense, size: Sequence[int]):
        super().__init__()
        self.dense, self.size = dense, tuple(size)

    def call(self, x):  # (N, H, W, C) → (N, H − height + 1, W − width + 1, units)
        kernel = ops.reshape(self.dense.kernel, (*self.size, x.shape[-1], self.dense.units))
        return self.dense.activation(ops.conv(x, kernel) + self.dense.bias)

"""Patch whitening and identity initialisation for convolutions (Jordan 2024, arXiv 2404.00498, section 3)."""

from typing import Any

import keras
import numpy as np
from keras import ops

serializable = keras.saving.register_keras_serializable(package="zoo")


@serializable
class IdentityKernel(keras.initializers.Initializer):
    """A convolution kernel that copies its input channels to its first output channels.

    For a kernel (height, width, inputs, outputs), output channel i < inputs is input channel i. The remaining outputs
    are uniform within ±1/√(height·width·inputs), PyTorch's default. With fewer outputs than inputs only the first
    inputs are copied.
    """

    def __call__(self, shape, dtype=None):
        height, width, inputs, outputs = shape
        # Limit √(3·scale/fan-in), so this is 1/√fan-in.
        kernel = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")(shape, dtype=dtype)
        copied = min(inputs, outputs)
        identity = np.zeros(shape, "float32")
        identity[height // 2, width // 2, np.arange(copied), np.arange(copied)] = 1
        return ops.where(np.arange(outputs) < copied, ops.cast(identity, kernel.dtype), kernel)

    def get_config(self):
        return {}


@serializable
class WhiteningConv2D(keras.layers.Layer):
    """An unpadded convolution with stride 1 whose fixed kernel whitens the patches of its input; its bias is trained.

    (N, H, W, C) → (N, H − k + 1, W − k + 1, 2·k²·C). The kernel is a non-trainable weight: call `adapt` with training
    images before training. Until then it is initialised by `IdentityKernel`.
    """

    def __init__(self, kernel_size: int = 2, **kwargs: Any):
        super().__init__(**kwargs)
        self.kernel_size = kernel_size
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape):
        k, channels = self.kernel_size, input_shape[-1]
        shape = (k, k, channels, 2 * k * k * channels)
        self.kernel = self.add_weight(shape=shape, initializer=IdentityKernel(), trainable=False, name="kernel")
        self.bias = self.add_weight(shape=shape[-1:], initializer="zeros", name="bias")

    def adapt(self, images: np.ndarray) -> None:
        """Sets the kernel to the whitening filters of images (N, H, W, C), as the layer receives them."""
        self.kernel.assign(whitening_filters(images, self.kernel_size))

    def call(self, inputs):
        return ops.conv(inputs, self.kernel, padding="valid", data_format="channels_last") + self.bias

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        height, width = (None if n is None else n - self.kernel_size + 1 for n in (height, width))
        return (batch, height, width, 2 * self.kernel_size**2 * channels)

    def get_config(self):
        return {**super().get_config(), "kernel_size": self.kernel_size}


def whitening_filters(images: np.ndarray, kernel_size: int = 2, epsilon: float = 5e-4) -> np.ndarray:
    """The filters that whiten all k × k patches of some images, each followed by its negative.

    Takes images (N, H, W, C) with the normalisation that the model's input has; returns a kernel (k, k, C, 2·k²·C),
    float32. With D = k²·C, filter i < D is the i-th eigenvector of the second moments E[p pᵀ] of the patches p, by
    falling eigenvalue, divided by √(eigenvalue + epsilon); filter D + i is its negative. The responses of the first D
    filters have the second moments eigenvalue / (eigenvalue + epsilon) and are uncorrelated. The released code uses the
    first 5,000 training images.

    Raises `ValueError` for images that are not of rank 4 or smaller than a patch.
    """
    images = np.asarray(images)
    if images.ndim != 4 or min(images.shape[1:3]) < kernel_size or not len(images):
        raise ValueError(
            f"images has shape {images.shape}; it must be (N, height, width, channels), at least one image of at least "
            f"{kernel_size} × {kernel_size}."
        )
    channels, size = images.shape[-1], kernel_size**2 * images.shape[-1]
    moments, count = np.zeros((size, size)), 0
    for start in range(0, len(images), 250):  # a few images at a time: the patches take k² times their memory
        chunk = images[start : start + 250].astype("float64")
        patches = np.lib.stride_tricks.sliding_window_view(chunk, (kernel_size, kernel_size), axis=(1, 2))
        patches = patches.transpose(0, 1, 2, 4, 5, 3).reshape(-1, size)  # each patch as (k, k, C)
        moments += patches.T @ patches
        count += len(patches)
    eigenvalues, eigenvectors = np.linalg.eigh(moments / count)  # by rising eigenvalue, an eigenvector a column
    filters = (eigenvectors / np.sqrt(np.maximum(eigenvalues, 0) + epsilon))[:, ::-1]
    kernel = np.concatenate([filters, -filters], axis=1)
    return kernel.reshape(kernel_size, kernel_size, channels, 2 * size).astype("float32")

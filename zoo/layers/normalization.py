"""Normalisation: batch normalisation on TensorFlow's fused kernel, and AlexNet's local response normalisation."""

from typing import Any

import keras
import numpy as np
from keras import ops

serializable = keras.saving.register_keras_serializable(package="zoo")
CONVOLUTION = ("strides", "padding", "explicit_paddings", "data_format", "dilations")  # attributes of the operation


@serializable
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` with the same weights and arguments, on TensorFlow's fused kernel where it can.

    Keras computes moments and normalises with separate operations, which takes about a third of a training step of a
    convolutional network. The fused kernel accepts inputs of rank 4 with channels last in half, bfloat16 or single
    precision. For other inputs, with a mask, synchronised or renormalised, and on other backends, Keras's code runs.

    Outputs and gradients equal those of Keras, up to rounding: in a graph, inference folds the layer into the
    convolution before it. The moving variance accumulates the unbiased batch variance, which is
    n/(n − 1) times Keras's biased one over n positions (not for masked and renormalised inputs). The unbiased variance
    is what the paper uses for inference (Ioffe & Szegedy 2015, algorithm 2).
    """

    def call(self, inputs, training=None, mask=None):
        fused = (
            keras.backend.backend() == "tensorflow"
            and mask is None
            and not (self.synchronized or self.renorm)
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and keras.backend.standardize_dtype(inputs.dtype) in ("float16", "bfloat16", "float32")
        )
        training = bool(training) and self.trainable
        if fused:
            return self._fused_call(inputs, training)
        if not training or mask is not None or self.renorm:
            return super().call(inputs, training=training, mask=mask)
        before = self.momentum * ops.convert_to_tensor(self.moving_variance)
        outputs = super().call(inputs, training=training)
        variance = ops.convert_to_tensor(self.moving_variance) - before
        count = self._replicas() * ops.prod(ops.shape(inputs)) // inputs.shape[self.axis]
        count = ops.cast(count, variance.dtype)
        self.moving_variance.assign(before + variance * (count / ops.maximum(count - 1, 1)))
        return outputs

    def _replicas(self):
        """The number of replicas whose batches are normalised together."""
        if not self.synchronized:
            return 1
        import tensorflow as tf

        return tf.distribute.get_replica_context().num_replicas_in_sync

    def _fused_call(self, inputs, training):
        import tensorflow as tf

        # The kernel computes in single precision for every input dtype, and always scales and shifts.
        channels = (inputs.shape[-1],)
        scale = ops.cast(self.gamma, "float32") if self.scale else tf.ones(channels)
        offset = ops.cast(self.beta, "float32") if self.center else tf.zeros(channels)
        mean, variance = (ops.cast(value, "float32") for value in (self.moving_mean, self.moving_variance))
        if not training and (folded := self._folded(inputs, scale, offset, mean, variance)) is not None:
            return folded
        # The raw op, because tf.compat.v1.nn.fused_batch_norm silently raises a small epsilon to 1.001e-5.
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=scale,
            offset=offset,
            mean=mean,
            variance=variance,
            epsilon=self.epsilon,
            exponential_avg_factor=1.0 - self.momentum,
            is_training=training,
        )
        if training:
            self.moving_mean.assign(ops.cast(mean, self.moving_mean.dtype))
            self.moving_variance.assign(ops.cast(variance, self.moving_variance.dtype))
        return ops.cast(outputs, self.compute_dtype)

    def _folded(self, inputs, scale, offset, mean, variance):
        """The convolution that the inputs come from, again, with a scaled kernel and a bias; the first one is not run.

        Convolution, bias, residual sum and ReLU are one operation of TensorFlow's for CPUs. None outside of a graph and
        where the inputs are not of a convolution.
        """
        import tensorflow as tf

        convolution = getattr(inputs, "op", None)  # eager tensors have none
        if convolution is not None and convolution.type == "BiasAdd":
            mean = mean - tf.cast(convolution.inputs[1], "float32")
            convolution = convolution.inputs[0].op
        if convolution is None or convolution.type not in ("Conv2D", "DepthwiseConv2dNative"):
            return None
        if convolution.get_attr("data_format") != b"NHWC":
            return None
        before, kernel = convolution.inputs
        if kernel.op.type == "Cast":  # in mixed precision: scale the kernel before it is rounded
            kernel = kernel.op.inputs[0]
        scale = scale * tf.math.rsqrt(variance + self.epsilon)
        factors = tf.reshape(scale, kernel.shape[2:] if convolution.type == "DepthwiseConv2dNative" else (-1,))
        outputs = getattr(tf.raw_ops, convolution.type)(
            input=before,
            filter=tf.cast(tf.cast(kernel, "float32") * factors, before.dtype),
            **{name: convolution.get_attr(name) for name in CONVOLUTION},
        )
        return ops.cast(tf.nn.bias_add(outputs, tf.cast(offset - mean * scale, outputs.dtype)), self.compute_dtype)


@serializable
class LocalResponseNormalization(keras.layers.Layer):
    """Normalisation across neighbouring channels (Krizhevsky, Sutskever & Hinton 2012, section 3.3).

    b_i = a_i / (k + α Σ_j a_j²)^β, the sum over the channels with |i − j| ≤ `size` // 2. Takes any shape with channels
    last and keeps it. α is not divided by `size`, as in the paper; Caffe and PyTorch divide it. With `groups`, the sum
    stays within each of that many equal groups of channels.
    """

    def __init__(
        self, size: int = 5, k: float = 2.0, alpha: float = 1e-4, beta: float = 0.75, groups: int = 1, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.size, self.k, self.alpha, self.beta, self.groups = size, k, alpha, beta, groups

    def build(self, input_shape):
        channels = np.arange(input_shape[-1])
        group = channels // (input_shape[-1] // self.groups)
        near = np.abs(channels[:, None] - channels) <= self.size // 2
        self.neighbours = (near & (group[:, None] == group)).astype("float32")

    def call(self, inputs):
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))  # squares overflow half precision
        # A product with the band matrix of neighbours: with its gradient twice as fast as TensorFlow's own kernel.
        total = self.k + self.alpha * ops.matmul(ops.square(x), ops.cast(self.neighbours, x.dtype))
        if self.beta == 0.75:
            root = ops.rsqrt(total)
            scale = root * ops.sqrt(root)  # total^-0.75 without the slow power
        else:
            scale = ops.power(total, -self.beta)
        return ops.cast(x * scale, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = {"size": self.size, "k": self.k, "alpha": self.alpha, "beta": self.beta, "groups": self.groups}
        return {**super().get_config(), **config}

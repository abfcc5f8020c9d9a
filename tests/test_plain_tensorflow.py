"""Nets that Keras Applications lacks against plain TensorFlow operations, written down from the papers' tables.

Padding is given in pixels, never as "same", and pooling in Caffe's way (windows may hang over the right and bottom
edge) is a padding with −∞: what the builders leave to Keras is spelled out here.
"""

import re

import numpy as np
import pytest
import tensorflow as tf

import zoo


class Plain:
    """The operations, on the weights of one of our models by the layers' names."""

    def __init__(self, model):
        self.model = model

    def weights(self, name):
        return [variable.value for variable in self.model.get_layer(name).weights]

    def conv(self, x, name, pad=0, stride=1, groups=1):
        """Cross-correlation, symmetric padding, then the bias if there is one; groups by splitting."""
        kernel, *bias = self.weights(name)
        x = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
        parts = zip(tf.split(x, groups, -1), tf.split(kernel, groups, -1), strict=True)
        x = tf.concat([tf.nn.conv2d(part, own, stride, "VALID") for part, own in parts], -1)
        return x + bias[0] if bias else x

    def relu_conv(self, x, name, *arguments, **keywords):
        return tf.maximum(self.conv(x, name, *arguments, **keywords), 0)

    def dense(self, x, name):
        kernel, bias = self.weights(name)
        return x @ kernel + bias

    def norm(self, x, name, epsilon):
        *affine, mean, variance = self.weights(name)
        beta, gamma = affine[-1], affine[0] if len(affine) == 2 else 1.0
        return (x - mean) / tf.sqrt(variance + epsilon) * gamma + beta


def max_pool(x, size=3, stride=2, pad=(0, 0)):
    x = tf.pad(x, [[0, 0], pad, pad, [0, 0]], constant_values=-np.inf)
    return tf.nn.max_pool2d(x, size, stride, "VALID")


def response_norm(x, bias, alpha):
    return tf.nn.local_response_normalization(x, depth_radius=2, bias=bias, alpha=alpha, beta=0.75)


def alexnet(p, x, towers=1):
    """Section 3.5 of the paper; response normalisation uses the channels of its own tower only."""

    def norm(x):
        return tf.concat([response_norm(half, 2.0, 1e-4) for half in tf.split(x, towers, -1)], -1)

    x = max_pool(norm(p.relu_conv(x, "conv1", 2, 4)))
    x = max_pool(norm(p.relu_conv(x, "conv2", 2, groups=towers)))
    x = p.relu_conv(x, "conv3", 1)
    x = p.relu_conv(x, "conv4", 1, groups=towers)
    x = max_pool(p.relu_conv(x, "conv5", 1, groups=towers))
    x = tf.reshape(x, (len(x), -1))
    x = tf.maximum(p.dense(x, "fc6"), 0)
    return p.dense(tf.maximum(p.dense(x, "fc7"), 0), "fc8")


def alexnet_two_tower(p, x):
    return alexnet(p, x, towers=2)


def nin_cifar(p, x):
    for name, pad in (("conv1", 2), ("cccp1", 0), ("cccp2", 0)):
        x = p.relu_conv(x, name, pad)
    x = max_pool(x, pad=(0, 1))
    for name, pad in (("conv2", 2), ("cccp3", 0), ("cccp4", 0)):
        x = p.relu_conv(x, name, pad)
    x = max_pool(x, pad=(0, 1))
    for name, pad in (("conv3", 1), ("cccp5", 0), ("cccp6", 0)):
        x = p.relu_conv(x, name, pad)
    return tf.reduce_mean(x, (1, 2))


def all_cnn_c(p, x):
    for block in (1, 2):
        for i, stride in ((1, 1), (2, 1), (3, 2)):
            x = p.relu_conv(x, f"conv{block}_{i}", 1, stride)
    for i in (1, 2, 3):
        x = p.relu_conv(x, f"conv3_{i}")
    return tf.reduce_mean(x, (1, 2))


def conv_pool_cnn_c(p, x):
    for block in (1, 2):
        for i in (1, 2, 3):
            x = p.relu_conv(x, f"conv{block}_{i}", 1)
        x = max_pool(x, pad=(0, 1))
    for i in (1, 2, 3):
        x = p.relu_conv(x, f"conv3_{i}")
    return tf.reduce_mean(x, (1, 2))


def inception_v1(p, x):
    x = max_pool(p.relu_conv(x, "conv1_7x7_s2", 3, 2), pad=(0, 1))
    x = p.relu_conv(response_norm(x, 1.0, 2e-5), "conv2_3x3_reduce")
    x = max_pool(response_norm(p.relu_conv(x, "conv2_3x3", 1), 1.0, 2e-5), pad=(0, 1))
    for module in ("3a", "3b", "pool", "4a", "4b", "4c", "4d", "4e", "pool", "5a", "5b"):
        if module == "pool":
            x = max_pool(x, pad=(0, 1))
            continue
        name = f"inception_{module}"
        branches = [
            p.relu_conv(x, f"{name}_1x1"),
            p.relu_conv(p.relu_conv(x, f"{name}_3x3_reduce"), f"{name}_3x3", 1),
            p.relu_conv(p.relu_conv(x, f"{name}_5x5_reduce"), f"{name}_5x5", 2),
            p.relu_conv(max_pool(x, 3, 1, (1, 1)), f"{name}_pool_proj"),
        ]
        x = tf.concat(branches, -1)
    return p.dense(tf.reduce_mean(x, (1, 2)), "classifier")


def inception_small(p, x):
    def module(x, name, *arguments):
        return tf.maximum(p.norm(p.conv(x, name, *arguments), f"{name}_bn", 1e-3), 0)

    x = module(x, "conv1", 1)
    for i in range(1, 11):
        if i in (3, 8):  # an even map: the window starts at the first pixel, as in TensorFlow, the paper's framework
            padded = tf.pad(x, [[0, 0], [0, 1], [0, 1], [0, 0]])
            x = tf.concat([module(padded, f"downsample{i}_3x3", 0, 2), max_pool(x, pad=(0, 1))], -1)
        else:
            x = tf.concat([module(x, f"inception{i}_1x1"), module(x, f"inception{i}_3x3", 1)], -1)
    return p.dense(tf.reduce_mean(x, (1, 2)), "fc")


def shortcut(x, filters, stride):
    return tf.pad(x[:, ::stride, ::stride], [[0, 0], [0, 0], [0, 0], [0, filters - x.shape[-1]]])


def resnet20(p, x):
    x = tf.maximum(p.norm(p.conv(x, "conv1", 1), "conv1_bn", 1e-5), 0)
    for stage, filters in ((2, 16), (3, 32), (4, 64)):
        for i in (1, 2, 3):
            name, stride = f"conv{stage}_{i}", 2 if stage > 2 and i == 1 else 1
            y = tf.maximum(p.norm(p.conv(x, f"{name}_conv1", 1, stride), f"{name}_bn1", 1e-5), 0)
            y = p.norm(p.conv(y, f"{name}_conv2", 1), f"{name}_bn2", 1e-5)
            x = tf.maximum(shortcut(x, filters, stride) + y, 0)
    return p.dense(tf.reduce_mean(x, (1, 2)), "fc")


def resnet110_v2(p, x):
    def relu_norm(x, name):
        return tf.maximum(p.norm(x, name, 1e-5), 0)

    x = relu_norm(p.conv(x, "conv1", 1), "conv1_bn")
    for stage, filters in ((2, 16), (3, 32), (4, 64)):
        for i in range(1, 19):
            name, stride = f"conv{stage}_{i}", 2 if stage > 2 and i == 1 else 1
            y = x if (stage, i) == (2, 1) else relu_norm(x, f"{name}_bn1")
            y = relu_norm(p.conv(y, f"{name}_conv1", 1, stride), f"{name}_bn2")
            x = shortcut(x, filters, stride) + p.conv(y, f"{name}_conv2", 1)
    return p.dense(tf.reduce_mean(relu_norm(x, "post_bn"), (1, 2)), "fc")


def resnet50_v2(p, x):
    """Convolution, projection and strides as in the paper's appendix; conv1 and its pooling as in resnet50."""

    def relu_norm(x, name):
        return tf.maximum(p.norm(x, name, 1e-5), 0)

    x = max_pool(relu_norm(p.conv(x, "conv1", 3, 2), "conv1_bn"), pad=(1, 1))
    for stage, count in ((2, 3), (3, 4), (4, 6), (5, 3)):
        for i in range(1, count + 1):
            name, stride = f"conv{stage}_{i}", 2 if stage > 2 and i == 1 else 1
            y = x if (stage, i) == (2, 1) else relu_norm(x, f"{name}_bn1")
            kept = p.conv(y, f"{name}_projection", 0, stride) if i == 1 else x
            y = relu_norm(p.conv(y, f"{name}_conv1"), f"{name}_bn2")
            y = relu_norm(p.conv(y, f"{name}_conv2", 1, stride), f"{name}_bn3")
            x = kept + p.conv(y, f"{name}_conv3")
    return p.dense(tf.reduce_mean(relu_norm(x, "post_bn"), (1, 2)), "fc")


def vgg16_cifar(p, x):
    for block, count in enumerate((2, 2, 3, 3, 3), start=1):
        for i in range(1, count + 1):
            x = tf.maximum(p.norm(p.conv(x, f"conv{block}_{i}", 1), f"conv{block}_{i}_bn", 1e-5), 0)
        x = max_pool(x, 2, 2)
    return p.dense(tf.reduce_mean(x, (1, 2)), "fc")


NETS = {
    function.__name__: (function, size)
    for function, size in (
        (alexnet, 95), (alexnet_two_tower, 95), (nin_cifar, 32), (all_cnn_c, 32), (conv_pool_cnn_c, 32),
        (inception_v1, 64), (inception_small, 28), (resnet20, 32), (resnet110_v2, 16), (resnet50_v2, 64),
        (vgg16_cifar, 32),
    )
}  # fmt: skip


def gain(path):
    """More for the nets with response normalisation, to give it something to act on; less within residual branches."""
    if path.startswith(("conv1/", "conv1_7x7_s2/")):
        return 10.0
    return 0.5 if re.match(r"conv\d_\d+_conv", path) else 1.0


@pytest.mark.parametrize("name", NETS)
def test_equals_plain_tensorflow(name):
    function, size = NETS[name]
    model = zoo.build(name, input_shape=(size, size, 3), num_classes=6)
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (3, size, size, 3)).astype("float32")
    for variable in model.weights:
        shape = tuple(variable.shape)
        if variable.name == "kernel":  # He's variance, so that signals keep their size
            variable.assign(rng.normal(0, gain(variable.path) * np.sqrt(2 / np.prod(shape[:-1])), shape))
        elif variable.name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 1.5, shape))
        else:
            variable.assign(rng.normal(0, 0.2, shape))
    expected = np.asarray(function(Plain(model), tf.constant(x)))
    assert expected.std() > 1e-2
    np.testing.assert_allclose(model(x, training=False), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())

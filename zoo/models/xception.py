"""Xception: Chollet, CVPR 2017."""

import keras
from keras import layers

from zoo.layers import BatchNormalization
from zoo.models.common import average_and_classify, channels_last, check_images, pooled


def norm(x, *, name: str):
    return BatchNormalization(momentum=0.99, epsilon=1e-3, name=f"{name}_bn")(x)


def separable(x, filters: int, *, name: str):
    """A depthwise 3×3 and a pointwise convolution with no activation between them, then batch normalisation."""
    return norm(layers.SeparableConv2D(filters, 3, padding="same", use_bias=False, name=name)(x), name=name)


def module(x, widths: tuple[int, ...], *, stride: int = 1, first_activation: bool = True, name: str):
    """ReLU and separable convolution, repeated, plus a shortcut: an identity, or with `stride` a 1×1 projection."""
    shortcut = x
    if stride > 1:
        shortcut = layers.Conv2D(widths[-1], 1, stride, "same", use_bias=False, name=f"{name}_projection")(x)
        shortcut = norm(shortcut, name=f"{name}_projection")
    for i, filters in enumerate(widths, start=1):
        if i > 1 or first_activation:
            x = layers.ReLU(name=f"{name}_sepconv{i}_relu")(x)
        x = separable(x, filters, name=f"{name}_sepconv{i}")
    if stride > 1:
        x = layers.MaxPooling2D(3, stride, padding="same", name=f"{name}_pool")(x)
    return layers.Add(name=f"{name}_output")([x, shortcut])


@channels_last
def xception(
    *,
    input_shape: tuple[int | None, int | None, int] = (299, 299, 3),
    num_classes: int = 1000,
    include_top: bool = True,
    pooling: str | None = None,
    drop_rate: float = 0.5,
    name: str = "xception",
) -> keras.Model:
    """Xception (figure 5): entry flow, eight middle modules, exit flow; blocks 1 to 14 are numbered as by the author.

    Images (N, height, width, channels) → logits (N, num_classes), or with `include_top=False` the last map
    (N, 10, 10, 2048), or with `pooling` its vector. Dropout with `drop_rate` precedes the classifier (section 4.4).

    Raises `UsageError` for an input below 71 × 71.

    Differences from the paper: none. What it does not state is as in the author's code, Keras Applications: Glorot's
    initialisation, batch normalisation with momentum 0.99 and epsilon 1e-3.
    """
    check_images(name, input_shape, smallest=71)
    images = keras.Input(input_shape, name="images")
    x = layers.Conv2D(32, 3, 2, use_bias=False, name="block1_conv1")(images)  # (N, 149, 149, 32)
    x = layers.ReLU(name="block1_conv1_relu")(norm(x, name="block1_conv1"))
    x = layers.Conv2D(64, 3, use_bias=False, name="block1_conv2")(x)  # (N, 147, 147, 64)
    x = layers.ReLU(name="block1_conv2_relu")(norm(x, name="block1_conv2"))
    x = module(x, (128, 128), stride=2, first_activation=False, name="block2")  # (N, 74, 74, 128)
    x = module(x, (256, 256), stride=2, name="block3")  # (N, 37, 37, 256)
    x = module(x, (728, 728), stride=2, name="block4")  # (N, 19, 19, 728)
    for block in range(5, 13):
        x = module(x, (728, 728, 728), name=f"block{block}")
    x = module(x, (728, 1024), stride=2, name="block13")  # (N, 10, 10, 1024)
    for i, filters in enumerate((1536, 2048), start=1):
        x = separable(x, filters, name=f"block14_sepconv{i}")
        x = layers.ReLU(name=f"block14_sepconv{i}_relu")(x)  # (N, 10, 10, 2048)
    if not include_top:
        return keras.Model(images, pooled(x, pooling), name=name)
    return keras.Model(images, average_and_classify(x, num_classes, drop_rate=drop_rate, name="logits"), name=name)

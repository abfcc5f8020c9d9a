"""The very deep networks of Simonyan & Zisserman, ICLR 2015."""

from collections.abc import Sequence

import keras
from keras import layers

from zoo.errors import UsageError
from zoo.layers import BatchNormalization
from zoo.models.common import average_and_classify, channels_last, check_images, dropped, pooled

# Table 1 of the paper: the number of 3×3 convolutions in each of the five blocks, by column.
CONFIGURATIONS = {"A": (1, 1, 2, 2, 2), "B": (2, 2, 2, 2, 2), "D": (2, 2, 3, 3, 3), "E": (2, 2, 4, 4, 4)}
FILTERS = (64, 128, 256, 512, 512)


def convolutions(x, counts: Sequence[int], batch_norm: bool):
    """Blocks of 3×3 convolutions with a 2×2 max pooling after each block: (N, H, W, C) → (N, H/32, W/32, 512)."""
    for block, (count, filters) in enumerate(zip(counts, FILTERS, strict=True), start=1):
        for i in range(1, count + 1):
            name = f"conv{block}_{i}"
            x = layers.Conv2D(filters, 3, padding="same", activation=None if batch_norm else "relu", name=name)(x)
            if batch_norm:
                x = BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)
                x = layers.ReLU(name=f"{name}_relu")(x)
        x = layers.MaxPooling2D(2, name=f"pool{block}")(x)
    return x


def check_configuration(name: str, config: str) -> None:
    if config not in CONFIGURATIONS:
        raise UsageError(
            f"{name}: config is {config!r}; it may be 'A', 'B', 'D' or 'E', the columns of the paper's table 1."
        )


@channels_last
def vgg(
    *,
    config: str = "D",
    batch_norm: bool = False,
    input_shape: tuple[int | None, int | None, int] = (224, 224, 3),
    num_classes: int = 1000,
    include_top: bool = True,
    pooling: str | None = None,
    drop_rate: float = 0.5,
    name: str = "vgg",
) -> keras.Model:
    """The network of a column of table 1 of the paper: A, B, D and E are VGG-11, 13, 16 and 19.

    Images (N, height, width, channels) → logits (N, num_classes), or with `include_top=False` the last map
    (N, height/32, width/32, 512), or with `pooling` its vector. Dropout with `drop_rate` follows fc6 and fc7
    (section 3.1). `batch_norm=True` adds batch normalisation between each convolution and its ReLU, as torchvision's
    `vgg16_bn` has it (the convolutions keep their biases, momentum 0.9, epsilon 1e-5).

    Weights have Glorot & Bengio's initialisation and biases are zero, with which, says section 3.1, no pre-training is
    needed.

    Raises `UsageError` for another column, an input below 32 × 32, and an unknown height or width with
    `include_top=True`.

    Differences from the paper: none without `batch_norm`; the paper has no batch normalisation.
    """
    check_configuration(name, config)
    check_images(name, input_shape, smallest=32, fixed=include_top)
    images = keras.Input(input_shape, name="images")
    x = convolutions(images, CONFIGURATIONS[config], batch_norm)  # (N, 7, 7, 512)
    if not include_top:
        return keras.Model(images, pooled(x, pooling), name=name)
    x = layers.Flatten(name="flatten")(x)  # (N, 25088)
    for fc in ("6", "7"):
        x = layers.Dense(4096, activation="relu", name=f"fc{fc}")(x)  # (N, 4096)
        x = dropped(x, drop_rate, name=f"drop{fc}")
    return keras.Model(images, layers.Dense(num_classes, name="fc8")(x), name=name)


@channels_last
def vgg_cifar(
    *,
    config: str = "D",
    input_shape: tuple[int | None, int | None, int] = (32, 32, 3),
    num_classes: int = 10,
    include_top: bool = True,
    pooling: str | None = None,
    drop_rate: float = 0.0,
    name: str = "vgg_cifar",
) -> keras.Model:
    """The convolutions of a column of table 1 with batch normalisation, then one linear layer: VGG for CIFAR.

    Images (N, height, width, channels) → logits (N, num_classes), or with `include_top=False` the last map
    (N, height/32, width/32, 512), or with `pooling` its vector. Maps larger than 1 × 1 are averaged. Weights are
    initialised as in `vgg`.

    Raises `UsageError` for another column and for an input below 32 × 32.

    Differences from the paper: it has no CIFAR network. This is the one of kuangliu/pytorch-cifar: convolutions with
    biases, batch normalisation before each ReLU, no hidden dense layer. `drop_rate`, 0 by default, is an addition.
    """
    check_configuration(name, config)
    check_images(name, input_shape, smallest=32)
    images = keras.Input(input_shape, name="images")
    x = convolutions(images, CONFIGURATIONS[config], batch_norm=True)  # (N, 1, 1, 512)
    if not include_top:
        return keras.Model(images, pooled(x, pooling), name=name)
    return keras.Model(images, average_and_classify(x, num_classes, drop_rate=drop_rate, name="fc"), name=name)

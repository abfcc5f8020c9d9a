"""AlexNet: Krizhevsky, Sutskever & Hinton, NIPS 2012."""

import keras
from keras import layers

from zoo.errors import UsageError
from zoo.layers import LocalResponseNormalization
from zoo.models.common import channels_last, check_images, dropped, pooled


def initializers(bias: int) -> dict[str, object]:
    """Section 5: weights from N(0, 0.01²); biases 1 in conv2, conv4, conv5 and the hidden dense layers, else 0."""
    kernel = {"class_name": "RandomNormal", "config": {"stddev": 0.01}}
    return {"kernel_initializer": kernel, "bias_initializer": "ones" if bias else "zeros"}


@channels_last
def alexnet(
    *,
    towers: int = 1,
    input_shape: tuple[int | None, int | None, int] = (224, 224, 3),
    num_classes: int = 1000,
    include_top: bool = True,
    pooling: str | None = None,
    drop_rate: float = 0.5,
    binary_dropout: bool = False,
    name: str = "alexnet",
) -> keras.Model:
    """The network of section 3.5: ReLU, local response normalisation, overlapping pooling, dropout.

    Images (N, height, width, channels) → logits (N, num_classes), or with `include_top=False` pool5 (N, 6, 6, 256), or
    with `pooling` its vector. `towers=2` is the published network, which ran on two GPUs: conv2, conv4, conv5 and the
    normalisation see only the half of the channels that is on the same GPU. `towers=1` joins the halves. Dropout with
    `drop_rate` follows fc6 and fc7. conv1 pads the image by 2, as cuda-convnet does, which gives the paper's 55 × 55
    maps for its 224 × 224 images.

    Raises `UsageError` for other `towers`, an input below 63 × 63, and an unknown height or width with
    `include_top=True`.

    Differences from the paper: `towers=1` has one tower instead of two. With `towers=2` and `binary_dropout=True` none:
    the two halves are the groups of one layer. The paper's dropout is a mask of zeros and ones, and units are
    multiplied by 0.5 in test; Keras divides by the keep probability in training instead, which makes other initial
    weights and rates of fc7 and fc8. The normalisation is the paper's formula; cuda-convnet divides its alpha by 5.
    """
    if towers not in (1, 2):
        raise UsageError(f"{name}: towers is {towers!r}; it may be 1 or 2.")
    check_images(name, input_shape, smallest=63, fixed=include_top)

    def conv(x, filters: int, size: int, *, groups: int = 1, bias: int, name: str):
        convolution = layers.Conv2D(
            filters, size, padding="same", groups=groups, activation="relu", name=name, **initializers(bias)
        )
        return convolution(x)

    images = keras.Input(input_shape, name="images")
    x = layers.ZeroPadding2D(2, name="conv1_pad")(images)
    x = layers.Conv2D(96, 11, 4, activation="relu", name="conv1", **initializers(bias=0))(x)  # (N, 55, 55, 96)
    x = LocalResponseNormalization(groups=towers, name="norm1")(x)
    x = layers.MaxPooling2D(3, 2, name="pool1")(x)  # (N, 27, 27, 96)
    x = conv(x, 256, 5, groups=towers, bias=1, name="conv2")
    x = LocalResponseNormalization(groups=towers, name="norm2")(x)
    x = layers.MaxPooling2D(3, 2, name="pool2")(x)  # (N, 13, 13, 256)
    x = conv(x, 384, 3, bias=0, name="conv3")
    x = conv(x, 384, 3, groups=towers, bias=1, name="conv4")
    x = conv(x, 256, 3, groups=towers, bias=1, name="conv5")
    x = layers.MaxPooling2D(3, 2, name="pool5")(x)  # (N, 6, 6, 256)
    if not include_top:
        return keras.Model(images, pooled(x, pooling), name=name)
    x = layers.Flatten(name="flatten")(x)  # (N, 9216)
    for fc in ("6", "7"):
        x = layers.Dense(4096, activation="relu", name=f"fc{fc}", **initializers(bias=1))(x)  # (N, 4096)
        x = dropped(x, drop_rate, binary=binary_dropout, name=f"drop{fc}")
    return keras.Model(images, layers.Dense(num_classes, name="fc8", **initializers(bias=0))(x), name=name)

"""The network of "94% on CIFAR-10 in 3.29 seconds on a single GPU": Jordan 2024."""

import keras
from keras import layers

from zoo.layers import GELU, BatchNormalization, IdentityKernel, WhiteningConv2D
from zoo.models.common import channels_last, check_images, pooled

WIDTHS = (64, 256, 256)
LOGIT_SCALE = 1 / 9


def conv(x, filters: int, *, name: str):
    """A 3×3 convolution without bias that starts as the identity on as many channels as it can."""
    convolution = layers.Conv2D(
        filters, 3, padding="same", use_bias=False, kernel_initializer=IdentityKernel(), name=name
    )
    return convolution(x)


def norm_and_gelu(x, i: int, *, name: str):
    """Batch normalisation without scale, then GELU."""
    x = BatchNormalization(momentum=0.6, epsilon=1e-12, scale=False, name=f"{name}_norm{i}")(x)
    return GELU(name=f"{name}_gelu{i}")(x)


def block(x, filters: int, *, name: str):
    """Convolution and max pooling, then a second convolution; batch normalisation and GELU after each."""
    x = conv(x, filters, name=f"{name}_conv1")
    x = norm_and_gelu(layers.MaxPooling2D(2, name=f"{name}_pool")(x), 1, name=name)
    return norm_and_gelu(conv(x, filters, name=f"{name}_conv2"), 2, name=name)


@channels_last
def airbench94(
    *,
    input_shape: tuple[int | None, int | None, int] = (32, 32, 3),
    num_classes: int = 10,
    include_top: bool = True,
    pooling: str | None = None,
    name: str = "airbench94",
) -> keras.Model:
    """The network of airbench94, which reaches 94 % on CIFAR-10 in 9.9 epochs (section 3).

    Images (N, height, width, channels) → logits (N, num_classes), or with `include_top=False` the last map (N, 3, 3,
    256), or with `pooling` its vector. The kernel of the first layer, "whiten", is fixed: set it with
    `model.get_layer("whiten").adapt(images)` from the first 5,000 training images, normalised as the model's input,
    before training. Layers, initialisation and constants are those of the released code, airbench94.py in
    KellerJordan/cifar10-airbench: batch normalisation with momentum 0.6 and epsilon 1e-12, the remaining filters and
    the classifier uniform within ±1/√fan-in, logits divided by 9.

    Raises `UsageError` for an input below 25 × 25, and for an unknown height or width with `include_top=True`.

    Differences from the released code: its batch normalisations have 1,152 scales that are fixed at 1, which do not
    exist here. It computes in float16 except for batch normalisation; here the dtype policy decides.
    """
    check_images(name, input_shape, smallest=25, fixed=include_top)
    images = keras.Input(input_shape, name="images")
    x = WhiteningConv2D(2, name="whiten")(images)  # (N, 31, 31, 24)
    x = GELU(name="whiten_gelu")(x)
    for i, filters in enumerate(WIDTHS, start=1):  # (N, 15, 15, 64), (N, 7, 7, 256), (N, 3, 3, 256)
        x = block(x, filters, name=f"block{i}")
    if not include_top:
        return keras.Model(images, pooled(x, pooling), name=name)
    x = layers.MaxPooling2D(3, name="pool")(x)  # (N, 1, 1, 256)
    x = layers.Flatten(name="flatten")(x)
    uniform = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
    x = layers.Dense(num_classes, use_bias=False, kernel_initializer=uniform, name="fc")(x)
    return keras.Model(images, layers.Rescaling(LOGIT_SCALE, name="scaled_logits")(x), name=name)

"""MobileNets: Howard et al. 2017."""

import keras
from keras import layers

from zoo.errors import UsageError
from zoo.layers import BatchNormalization
from zoo.models.common import average_and_classify, channels_last, check_images, pooled

# Table 1: (filters, stride) of the depthwise separable blocks.
BLOCKS = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
ALPHAS = (1.0, 0.75, 0.5, 0.25)  # table 6
INITIALIZER = {"class_name": "TruncatedNormal", "config": {"stddev": 0.09}}


def norm_and_activation(x, activation: str, *, name: str):
    x = BatchNormalization(momentum=0.9997, epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(6.0 if activation == "relu6" else None, name=f"{name}_{activation}")(x)


@channels_last
def mobilenet(
    *,
    alpha: float = 1.0,
    activation: str = "relu",
    input_shape: tuple[int | None, int | None, int] = (224, 224, 3),
    num_classes: int = 1000,
    include_top: bool = True,
    pooling: str | None = None,
    drop_rate: float = 0.001,
    name: str = "mobilenet",
) -> keras.Model:
    """MobileNet (table 1) with the width multiplier `alpha` (section 3.3): 1.0, 0.75, 0.5 or 0.25.

    Images (N, height, width, channels) → logits (N, num_classes), or with `include_top=False` the last map
    (N, height/32, width/32, 1024·alpha), or with `pooling` its vector. The resolution multiplier ρ of section 3.4 is
    the size of the input. `activation` is "relu" as in the paper or "relu6" as in the authors' code, with which the
    published weights were trained.

    Raises `UsageError` for another `alpha` or `activation`, and for an input below 32 × 32.

    Differences from the paper: none. The last block has stride 1, as its 7 × 7 map requires; the table prints "s2".
    What the paper does not state is as in the authors' code: weights from a truncated normal with standard deviation
    0.09, batch normalisation with momentum 0.9997 and epsilon 1e-3, dropout with 0.001 before the classifier.
    """
    if alpha not in ALPHAS:
        raise UsageError(f"{name}: alpha is {alpha!r}; it may be {', '.join(map(str, ALPHAS))}.")
    if activation not in ("relu", "relu6"):
        raise UsageError(f"{name}: activation is {activation!r}; it may be 'relu' or 'relu6'.")
    check_images(name, input_shape, smallest=32)
    images = keras.Input(input_shape, name="images")
    first = layers.Conv2D(int(32 * alpha), 3, 2, "same", use_bias=False, kernel_initializer=INITIALIZER, name="conv1")
    x = norm_and_activation(first(images), activation, name="conv1")  # (N, 112, 112, 32)
    for i, (filters, stride) in enumerate(BLOCKS, start=1):  # (N, 56, 56, 128) … (N, 7, 7, 1024)
        depthwise = layers.DepthwiseConv2D(
            3, stride, "same", use_bias=False, depthwise_initializer=INITIALIZER, name=f"conv{i + 1}_dw"
        )
        x = norm_and_activation(depthwise(x), activation, name=f"conv{i + 1}_dw")
        pointwise = layers.Conv2D(
            int(filters * alpha), 1, use_bias=False, kernel_initializer=INITIALIZER, name=f"conv{i + 1}_pw"
        )
        x = norm_and_activation(pointwise(x), activation, name=f"conv{i + 1}_pw")
    if not include_top:
        return keras.Model(images, pooled(x, pooling), name=name)
    logits = average_and_classify(x, num_classes, drop_rate=drop_rate, name="fc", kernel_initializer=INITIALIZER)
    return keras.Model(images, logits, name=name)

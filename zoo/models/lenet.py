"""LeNet-5, as LeCun, Bottou, Bengio & Haffner published it in 1998 and in its common modern form."""

import keras
from keras import layers

from zoo.errors import UsageError
from zoo.layers import EuclideanRBF, PartialConv2D, ScaledTanh, Subsampling2D
from zoo.models.common import channels_last, check_images, check_keras_names, dropped

# Table I of the paper: the maps of S2 that are inputs of each map of C3.
C3_CONNECTIONS = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)  # fmt: skip

# Figure 3 of the paper: the output codes, 12 rows of 7 pixels, # = +1, . = −1.
RBF_BITMAPS = (
    ".#####. ....... ..###.. .##.##. ##...## ##...## ##...## ##...## .##.##. ..###.. ....... .......",
    "...##.. ..###.. .####.. ...##.. ...##.. ...##.. ...##.. ...##.. ...##.. .###### ....... .......",
    ".#####. ....... .#####. ##...## #....## ....##. ..###.. .##.... ##..... ####### ....... .......",
    "####### .....## ....##. ...##.. ..####. .....## .....## .....## ##...## .#####. ....... .......",
    ".#####. ....... ....... .##..## .##..## ###..## ##...## ##...## ##..### .###### .....## .....##",
    ".#####. ....... ####### ##..... ##..... .####.. ..####. .....## ##...## .#####. ....... .......",
    "..####. .##.... ##..... ##..... ######. ###..## ##...## ##...## ###..## .#####. ....... .......",
    "####### .....## .....## ....##. ...##.. ...##.. ..##... ..##... ..##... ..##... ....... .......",
    ".#####. ##...## ##...## ##...## .#####. ##...## ##...## ##...## ##...## .#####. ....... .......",
    ".#####. ##..### ##...## ##...## ##..### .###### .....## .....## ....##. .####.. ....... .......",
)
RBF_CODES = [[1 if pixel == "#" else -1 for pixel in bitmap.replace(" ", "")] for bitmap in RBF_BITMAPS]


@channels_last
def lenet5(
    *,
    input_shape: tuple[int, int, int] = (32, 32, 1),
    num_classes: int = 10,
    include_top: bool = True,
    name: str = "lenet5",
) -> keras.Model:
    """LeNet-5 as published (LeCun et al. 1998, section II-B): 60,000 weights, 340,908 connections.

    Images (N, 32, 32, 1), background −0.1 and ink 1.175, → logits (N, 10), the negative squared distances between
    the 84 units of F6 and the fixed bitmap codes; with `include_top=False`, F6 (N, 84). All weights are initialised
    uniformly within ±2.4/fan-in. The paper chooses the smallest distance, which is the largest logit.

    Raises `UsageError` for another number of classes (there are codes only for the ten digits) and for another input.

    Differences from the paper: none in the graph. The top bars of the codes of 0, 2, 4 and 5 follow a transcription
    of figure 3 that could not be checked against the print.
    """
    if include_top and num_classes != 10:
        raise UsageError(
            f"{name}: num_classes is {num_classes}, but the paper has output codes only for the ten digits; "
            "use 'lenet5_modern', or include_top=False and your own head."
        )
    if tuple(input_shape) != (32, 32, 1):
        raise UsageError(f"{name}: input_shape is {tuple(input_shape)}; the published network takes only (32, 32, 1).")

    def uniform(fan_in: int) -> dict[str, keras.initializers.Initializer]:
        limit = 2.4 / fan_in
        return {
            "kernel_initializer": keras.initializers.RandomUniform(-limit, limit),
            "bias_initializer": keras.initializers.RandomUniform(-limit, limit),
        }

    images = keras.Input(input_shape, name="images")
    x = layers.Conv2D(6, 5, name="C1", **uniform(25))(images)  # (N, 28, 28, 6)
    x = ScaledTanh(name="C1_squash")(x)
    x = Subsampling2D(name="S2")(x)  # (N, 14, 14, 6)
    x = ScaledTanh(name="S2_squash")(x)
    x = PartialConv2D(C3_CONNECTIONS, name="C3")(x)  # (N, 10, 10, 16)
    x = ScaledTanh(name="C3_squash")(x)
    x = Subsampling2D(name="S4")(x)  # (N, 5, 5, 16)
    x = ScaledTanh(name="S4_squash")(x)
    x = layers.Conv2D(120, 5, name="C5", **uniform(16 * 25))(x)  # (N, 1, 1, 120)
    x = ScaledTanh(name="C5_squash")(x)
    x = layers.Flatten(name="C5_flat")(x)  # (N, 120)
    x = layers.Dense(84, name="F6", **uniform(120))(x)  # (N, 84)
    x = ScaledTanh(name="F6_squash")(x)
    if include_top:
        x = EuclideanRBF(RBF_CODES, name="OUTPUT")(x)  # (N, 10)
    return keras.Model(images, x, name=name)


@channels_last
def lenet5_modern(
    *,
    input_shape: tuple[int, int, int] = (32, 32, 1),
    num_classes: int = 10,
    activation: str = "relu",
    pool: str = "max",
    drop_rate: float = 0.0,
    include_top: bool = True,
    name: str = "lenet5_modern",
) -> keras.Model:
    """The modern LeNet-5: densely connected C3, pooling without weights, a linear classifier; 61,706 weights.

    Images (N, height, width, channels) → logits (N, num_classes), or with `include_top=False` F6 (N, 84). `pool` is
    `"max"` or `"avg"`. Dropout with `drop_rate` precedes F6 and the logits.

    Raises `UsageError` for an input below 16 × 16, for which the second pooling would have no output, for an unknown
    height or width, and for another `pool` or an `activation` that Keras does not know.

    Differences from the paper: every map of C3 sees all maps of S2, subsampling has no weights, ReLU instead of the
    scaled tanh, a linear layer and softmax instead of the RBF codes.
    """
    if pool not in ("max", "avg"):
        raise UsageError(f"{name}: pool is {pool!r}; it may be 'max' or 'avg'.")
    check_images(name, input_shape, smallest=16, fixed=True)
    check_keras_names(name, activation=activation)
    pooling = layers.MaxPooling2D if pool == "max" else layers.AveragePooling2D
    images = keras.Input(input_shape, name="images")
    x = layers.Conv2D(6, 5, activation=activation, name="C1")(images)  # (N, 28, 28, 6)
    x = pooling(2, name="S2")(x)  # (N, 14, 14, 6)
    x = layers.Conv2D(16, 5, activation=activation, name="C3")(x)  # (N, 10, 10, 16)
    x = pooling(2, name="S4")(x)  # (N, 5, 5, 16)
    x = layers.Flatten(name="S4_flat")(x)  # (N, 400)
    x = layers.Dense(120, activation=activation, name="C5")(x)  # (N, 120)
    x = dropped(x, drop_rate, name="C5_drop")
    x = layers.Dense(84, activation=activation, name="F6")(x)  # (N, 84)
    if include_top:
        x = dropped(x, drop_rate, name="F6_drop")
        x = layers.Dense(num_classes, name="OUTPUT")(x)  # (N, num_classes)
    return keras.Model(images, x, name=name)

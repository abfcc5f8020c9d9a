"""Multi-layer perceptrons with any number of hidden layers, including none."""

from collections.abc import Sequence

import keras
from keras import layers

from zoo.errors import UsageError
from zoo.models.common import channels_last, check_images, check_keras_names, check_rates, dropped


@channels_last
def softmax_regression(
    *,
    input_shape: tuple[int, int, int] = (28, 28, 1),
    num_classes: int = 10,
    include_top: bool = True,
    name: str = "softmax_regression",
) -> keras.Model:
    """Multinomial logistic regression on the pixels (Cox 1958).

    Images (N, height, width, channels) → logits (N, num_classes), or with `include_top=False` the pixels (N, height ·
    width · channels). The cross-entropy is convex in the weights, which are initialised to zero.

    Raises `UsageError` for an unknown height or width.

    Differences from the paper: it has two classes.
    """
    check_images(name, input_shape, smallest=1, fixed=True)
    images = keras.Input(input_shape, name="images")
    x = layers.Flatten(name="pixels")(images)  # (N, H·W·C)
    if include_top:
        x = layers.Dense(num_classes, kernel_initializer="zeros", name="logits")(x)  # (N, num_classes)
    return keras.Model(images, x, name=name)


@channels_last
def mlp(
    *,
    input_shape: tuple[int, int, int] = (28, 28, 1),
    num_classes: int = 10,
    hidden: Sequence[int] = (512, 512),
    activation: str = "relu",
    kernel_initializer: str = "glorot_uniform",
    bias_initializer: str = "zeros",
    drop_rate: float = 0.0,
    input_drop_rate: float = 0.0,
    include_top: bool = True,
    name: str = "mlp",
) -> keras.Model:
    """Dense layers of the given widths with dropout after each, then logits (Rumelhart, Hinton & Williams 1986).

    Images (N, height, width, channels) → logits (N, num_classes), or with `include_top=False` the last hidden layer
    (N, hidden[-1]). `activation` and the initialisers are names that Keras knows. Dropout with `input_drop_rate` on the
    pixels and with `drop_rate` after each hidden layer.

    Raises `UsageError` for a width that is not a positive whole number, a dropout rate that is not at least 0 and below
    1, an unknown height or width, and an activation or initialiser that Keras does not know.

    Differences from the paper: widths, activation and dropout are arguments; it trains small sigmoid networks.
    """
    sizes = isinstance(hidden, Sequence) and not isinstance(hidden, str)
    if not sizes or not all(type(units) is int and units > 0 for units in hidden):
        raise UsageError(f"{name}: hidden is {hidden!r}; it must be a sequence of positive whole numbers.")
    check_images(name, input_shape, smallest=1, fixed=True)
    check_rates(name, input_drop_rate=input_drop_rate)
    check_keras_names(
        name, activation=activation, kernel_initializer=kernel_initializer, bias_initializer=bias_initializer
    )
    images = keras.Input(input_shape, name="images")
    x = layers.Flatten(name="pixels")(images)  # (N, H·W·C)
    x = dropped(x, input_drop_rate, name="drop_input")
    initializers = {"kernel_initializer": kernel_initializer, "bias_initializer": bias_initializer}
    for i, units in enumerate(hidden, start=1):
        x = layers.Dense(units, activation=activation, name=f"hidden{i}", **initializers)(x)  # (N, units)
        x = dropped(x, drop_rate, name=f"drop{i}")
    if include_top:
        x = layers.Dense(num_classes, name="logits", **initializers)(x)  # (N, num_classes)
    return keras.Model(images, x, name=name)


@channels_last
def mlp_nielsen(
    *,
    input_shape: tuple[int, int, int] = (28, 28, 1),
    num_classes: int = 10,
    hidden: Sequence[int] = (30,),
    include_top: bool = True,
    name: str = "mlp_nielsen",
) -> keras.Model:
    """The sigmoid networks of Nielsen's book, chapter 5: weights N(0, 1/fan-in), biases N(0, 1).

    Shapes as in `mlp`. The output units of the book are sigmoids, too: train the logits with a binary cross-entropy
    per class.
    """
    return mlp(
        input_shape=input_shape,
        num_classes=num_classes,
        hidden=hidden,
        activation="sigmoid",
        kernel_initializer=keras.initializers.VarianceScaling(1.0, "fan_in", "untruncated_normal"),
        bias_initializer=keras.initializers.RandomNormal(stddev=1.0),
        include_top=include_top,
        name=name,
    )

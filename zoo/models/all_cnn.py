"""Striving for simplicity: Springenberg, Dosovitskiy, Brox & Riedmiller, ICLR 2015 workshop."""

import keras
from keras import layers

from zoo.errors import UsageError
from zoo.models.common import channels_last, check_images, check_keras_names, check_rates, dropped, pooled

# Table 1 of the paper: (filters, kernel) of the convolutions before each of the two poolings.
BASES = {
    "A": ([(96, 5)], [(192, 5)]),
    "B": ([(96, 5), (96, 1)], [(192, 5), (192, 1)]),
    "C": ([(96, 3), (96, 3)], [(192, 3), (192, 3)]),
}
REDUCTIONS = ("pool", "strided", "conv_pool", "all_conv")


def conv(x, filters: int, size: int, stride: int = 1, *, padding: str = "same", start: str, name: str):
    """Convolution and ReLU; `start` is the initialiser of the kernel."""
    if stride > 1 and size > 1:  # equal padding on all sides; "same" would pad only below and on the right
        x = layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
        padding = "valid"
    return layers.Conv2D(filters, size, stride, padding, activation="relu", kernel_initializer=start, name=name)(x)


def reduced(x, rows: list[tuple[int, int]], reduction: str, block: int, start: str):
    """One block of a base network with its pooling, or with the replacement of the pooling from table 2."""
    last = len(rows)
    for i, (filters, size) in enumerate(rows, start=1):
        stride = 2 if reduction == "strided" and i == last else 1
        x = conv(x, filters, size, stride, start=start, name=f"conv{block}_{i}")
    filters, name = rows[-1][0], f"conv{block}_{last + 1}"
    if reduction == "conv_pool":
        x = conv(x, filters, 3, start=start, name=name)
    if reduction == "all_conv":
        return conv(x, filters, 3, 2, start=start, name=name)
    if reduction == "strided":
        return x
    return layers.MaxPooling2D(3, 2, padding="same", name=f"pool{block}")(x)


@channels_last
def all_cnn(
    *,
    base: str = "C",
    reduction: str = "all_conv",
    input_shape: tuple[int | None, int | None, int] = (32, 32, 3),
    num_classes: int = 10,
    include_top: bool = True,
    pooling: str | None = None,
    drop_rate: float = 0.5,
    input_drop_rate: float = 0.2,
    kernel_initializer: str = "random_normal",
    name: str = "all_cnn",
) -> keras.Model:
    """A base network of table 1 of the paper with the `reduction` of table 2.

    `base` is "A", "B" or "C". `reduction` is "pool" (the base network), "strided" (no pooling; the convolution before
    it has the stride), "conv_pool" (one more convolution before each pooling) or "all_conv" (a 3×3 convolution with
    stride 2 instead of each pooling: All-CNN).

    Images (N, height, width, channels) → logits (N, num_classes), the mean of the class maps over all positions, so
    that larger images are accepted. With `include_top=False` the map before the class maps, (N, height/4 − 2,
    width/4 − 2, 192), or with `pooling` its vector. The class maps pass a ReLU before the mean, as in table 1, and the
    last 3×3 convolution is not padded, which gives the 6 × 6 positions of the paper. Dropout with `input_drop_rate` on
    the pixels and with `drop_rate` after each pooling or its replacement. `kernel_initializer` is a name that Keras
    knows; "random_normal" is N(0, 0.05²), as in Nervana's neon.

    Raises `UsageError` for another base or reduction, an input below 9 × 9, and an initialiser unknown to Keras.

    Differences from the paper: none. It states no initialisation.
    """
    if base not in BASES:
        raise UsageError(f"{name}: base is {base!r}; it may be 'A', 'B' or 'C', the columns of the paper's table 1.")
    if reduction not in REDUCTIONS:
        raise UsageError(f"{name}: reduction is {reduction!r}; it may be {', '.join(map(repr, REDUCTIONS))}.")
    check_images(name, input_shape, smallest=9)
    check_rates(name, input_drop_rate=input_drop_rate)
    check_keras_names(name, kernel_rank=4, kernel_initializer=kernel_initializer)
    start = kernel_initializer
    images = keras.Input(input_shape, name="images")
    x = dropped(images, input_drop_rate, name="drop_input")
    for block, rows in enumerate(BASES[base], start=1):
        x = reduced(x, rows, reduction, block, start)  # (N, 16, 16, 96), then (N, 8, 8, 192)
        x = dropped(x, drop_rate, name=f"drop{block}")
    x = conv(x, 192, 3, padding="valid", start=start, name="conv3_1")  # (N, 6, 6, 192)
    x = conv(x, 192, 1, start=start, name="conv3_2")  # (N, 6, 6, 192)
    if not include_top:
        return keras.Model(images, pooled(x, pooling), name=name)
    x = conv(x, num_classes, 1, start=start, name="conv3_3")  # (N, 6, 6, num_classes)
    return keras.Model(images, layers.GlobalAveragePooling2D(name="average")(x), name=name)

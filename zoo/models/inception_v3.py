"""Inception-v3: Szegedy, Vanhoucke, Ioffe, Shlens & Wojna, CVPR 2016."""

from collections.abc import Iterable

import keras
from keras import layers

from zoo.errors import UsageError
from zoo.layers import BatchNormalization
from zoo.models.common import average_and_classify, channels_last, check_images, pooled

# A step of a branch: (filters, height, width) or (filters, height, width, stride) of a convolution.
Branches = dict[str, list[tuple[int, ...]]]

STEM = {
    "conv2d_1a_3x3": (32, 3, 3, 2),
    "conv2d_2a_3x3": (32, 3, 3),
    "conv2d_2b_3x3": (64, 3, 3),
    "conv2d_3b_1x1": (80, 1, 1),
    "conv2d_4a_3x3": (192, 3, 3),
}
UNPADDED = ("conv2d_1a_3x3", "conv2d_2a_3x3", "conv2d_3b_1x1", "conv2d_4a_3x3")
POOLED_AFTER = {"conv2d_2b_3x3": "max_pool_3a_3x3", "conv2d_4a_3x3": "max_pool_5a_3x3"}


def figure5(projection: int) -> Branches:
    """The module of the 35 × 35 maps."""
    return {
        "1x1": [(64, 1, 1)],
        "5x5": [(48, 1, 1), (64, 5, 5)],
        "3x3dbl": [(64, 1, 1), (96, 3, 3), (96, 3, 3)],
        "pool": [(projection, 1, 1)],
    }


def figure6(n: int) -> Branches:
    """The module of the 17 × 17 maps: 7×7 convolutions factorised into 1×7 and 7×1."""
    return {
        "1x1": [(192, 1, 1)],
        "7x7": [(n, 1, 1), (n, 1, 7), (192, 7, 1)],
        "7x7dbl": [(n, 1, 1), (n, 7, 1), (n, 1, 7), (n, 7, 1), (192, 1, 7)],
        "pool": [(192, 1, 1)],
    }


# The module of the 8 × 8 maps: (384, 1, 3) and (384, 3, 1) are parallel, at the end of a branch.
FIGURE7: Branches = {
    "1x1": [(320, 1, 1)],
    "3x3": [(384, 1, 1), (384, 1, 3), (384, 3, 1)],
    "3x3dbl": [(448, 1, 1), (384, 3, 3), (384, 1, 3), (384, 3, 1)],
    "pool": [(192, 1, 1)],
}
# Figure 10's reductions have a max pooling with stride 2 as their last branch.
MODULES: dict[str, Branches] = {
    "mixed_5b": figure5(32),
    "mixed_5c": figure5(64),
    "mixed_5d": figure5(64),
    "mixed_6a": {"3x3": [(384, 3, 3, 2)], "3x3dbl": [(64, 1, 1), (96, 3, 3), (96, 3, 3, 2)], "max_pool": []},
    "mixed_6b": figure6(128),
    "mixed_6c": figure6(160),
    "mixed_6d": figure6(160),
    "mixed_6e": figure6(192),
    "mixed_7a": {
        "3x3": [(192, 1, 1), (320, 3, 3, 2)],
        "7x7x3": [(192, 1, 1), (192, 1, 7), (192, 7, 1), (192, 3, 3, 2)],
        "max_pool": [],
    },
    "mixed_7b": FIGURE7,
    "mixed_7c": FIGURE7,
}


def convolution_names() -> list[str]:
    """The convolutions of the network in the order in which they are built."""
    modules = (
        f"{module}_{branch}_{i}"
        for module, branches in MODULES.items()
        for branch, steps in branches.items()
        for i in range(1, len(steps) + 1)
    )
    return [*STEM, *modules]


def conv(
    x, filters: int, height: int, width: int, stride: int = 1, *, padding: str = "same", stddev: float = 0.1, name: str
):
    """Convolution, batch normalisation without scale, ReLU, with the constants of the authors' code."""
    initializer = keras.initializers.TruncatedNormal(stddev=stddev)
    convolution = layers.Conv2D(
        filters, (height, width), stride, padding, use_bias=False, kernel_initializer=initializer, name=name
    )
    x = BatchNormalization(momentum=0.9997, epsilon=1e-3, scale=False, name=f"{name}_bn")(convolution(x))
    return layers.ReLU(name=f"{name}_relu")(x)


def branch(x, steps: Iterable[tuple[int, ...]], *, name: str):
    """One branch of a module, built from its row."""
    if name.endswith("_max_pool"):
        return layers.MaxPooling2D(3, 2, name=name)(x)
    if name.endswith("_pool"):
        x = layers.AveragePooling2D(3, 1, padding="same", name=name)(x)
    split = []
    for i, (filters, height, width, *stride) in enumerate(steps, start=1):
        padding = "valid" if stride else "same"
        y = conv(x, filters, height, width, *stride, padding=padding, name=f"{name}_{i}")
        if {height, width} == {1, 3}:
            split.append(y)
        else:
            x = y
    return layers.Concatenate(name=name)(split) if split else x


def auxiliary(x, num_classes: int):
    """The auxiliary head on the last 17 × 17 map (section 4): pooling, 1×1, 5×5 without padding, linear."""
    x = layers.AveragePooling2D(5, 3, name="aux_pool")(x)  # (N, 5, 5, 768)
    x = conv(x, 128, 1, 1, name="aux_conv1")
    size = [min(5, n) for n in x.shape[1:3]]  # a smaller map gets a smaller kernel, as in the authors' code
    x = conv(x, 768, *size, padding="valid", stddev=0.01, name="aux_conv2")  # (N, 1, 1, 768)
    initializer = keras.initializers.TruncatedNormal(stddev=0.001)
    x = layers.GlobalAveragePooling2D(name="aux_avg_pool")(x)
    return layers.Dense(num_classes, kernel_initializer=initializer, name="aux_logits")(x)


@channels_last
def inception_v3(
    *,
    input_shape: tuple[int | None, int | None, int] = (299, 299, 3),
    num_classes: int = 1000,
    include_top: bool = True,
    pooling: str | None = None,
    aux_heads: bool = False,
    drop_rate: float = 0.2,
    name: str = "inception_v3",
) -> keras.Model:
    """Inception-v3 (section 6, table 1) as its authors released it in TF-Slim.

    Images (N, height, width, channels) → logits (N, num_classes), or with `include_top=False` the last map (N, 8, 8,
    2048), or with `pooling` its vector. With `aux_heads=True` a dictionary of "logits" and "aux", the logits of the
    head on the last 17 × 17 map; in the released code its loss has the weight 0.4. Dropout with `drop_rate` precedes
    the classifier. Layers have the names of TF-Slim.

    Raises `UsageError` for an input below 75 × 75, or below 107 × 107 with the auxiliary head, and for `aux_heads`
    without a top.

    Differences from the paper: those of the authors' code. It has a 1×1 convolution with 80 filters and a pooling where
    table 1 has a 3×3 convolution and a stride, and the first modules have one 5×5 convolution that figure 5 splits into
    two 3×3. Initialisation (truncated normals, 0.1 and in the classifier 0.01) and dropout are those of the code; batch
    normalisation has no scale.
    """
    if aux_heads and not include_top:
        raise UsageError(f"{name}: aux_heads is True; it needs include_top=True, because the heads classify.")
    check_images(name, input_shape, smallest=107 if aux_heads else 75, fixed=aux_heads)
    x = images = keras.Input(input_shape, name="images")
    for layer, row in STEM.items():
        x = conv(x, *row, padding="valid" if layer in UNPADDED else "same", name=layer)
        if layer in POOLED_AFTER:  # (N, 73, 73, 64), (N, 35, 35, 192)
            x = layers.MaxPooling2D(3, 2, name=POOLED_AFTER[layer])(x)
    aux = None
    for module, branches in MODULES.items():  # (N, 35, 35, 288), (N, 17, 17, 768), (N, 8, 8, 2048)
        parallel = [branch(x, steps, name=f"{module}_{label}") for label, steps in branches.items()]
        x = layers.Concatenate(name=module)(parallel)
        if aux_heads and module == "mixed_6e":
            aux = auxiliary(x, num_classes)
    if not include_top:
        return keras.Model(images, pooled(x, pooling), name=name)
    initializer = keras.initializers.TruncatedNormal(stddev=0.01)
    logits = average_and_classify(x, num_classes, drop_rate=drop_rate, name="logits", kernel_initializer=initializer)
    return keras.Model(images, {"logits": logits, "aux": aux} if aux_heads else logits, name=name)

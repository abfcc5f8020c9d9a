"""Inception networks: GoogLeNet (Szegedy et al., CVPR 2015) and the small one of Zhang et al., ICLR 2017."""

from collections.abc import Sequence

import keras
from keras import layers

from zoo.errors import UsageError
from zoo.layers import BatchNormalization, LocalResponseNormalization
from zoo.models.common import average_and_classify, channels_last, check_images, pooled

# GoogLeNet's table 1: #1×1, #3×3 reduce, #3×3, #5×5 reduce, #5×5, pool proj.
V1_MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def v1_conv(x, filters: int, size: int, stride: int = 1, *, name: str):
    """Convolution and ReLU; initialised as in BVLC's Caffe model ("xavier", biases 0.2); the paper states nothing."""
    if stride > 1:  # symmetric, as in Caffe
        x = layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
    initializers = {"kernel_initializer": "lecun_uniform", "bias_initializer": keras.initializers.Constant(0.2)}
    padding = "valid" if stride > 1 else "same"
    return layers.Conv2D(filters, size, stride, padding, activation="relu", name=name, **initializers)(x)


def v1_module(x, row: Sequence[int], *, name: str):
    """Figure 2b: 1×1, 3×3 and 5×5 convolutions and a max pooling in parallel."""
    n1x1, reduce3x3, n3x3, reduce5x5, n5x5, projection = row
    branches = [
        v1_conv(x, n1x1, 1, name=f"{name}_1x1"),
        v1_conv(v1_conv(x, reduce3x3, 1, name=f"{name}_3x3_reduce"), n3x3, 3, name=f"{name}_3x3"),
        v1_conv(v1_conv(x, reduce5x5, 1, name=f"{name}_5x5_reduce"), n5x5, 5, name=f"{name}_5x5"),
    ]
    x = layers.MaxPooling2D(3, 1, padding="same", name=f"{name}_pool")(x)
    branches.append(v1_conv(x, projection, 1, name=f"{name}_pool_proj"))
    return layers.Concatenate(name=f"{name}_output")(branches)


def v1_auxiliary(x, num_classes: int, *, name: str):
    """The classifier of section 5 on an intermediate map (N, 14, 14, C)."""
    x = layers.AveragePooling2D(5, 3, name=f"{name}_pool")(x)  # (N, 4, 4, C)
    x = v1_conv(x, 128, 1, name=f"{name}_conv")
    x = layers.Flatten(name=f"{name}_flatten")(x)
    initializers = {"kernel_initializer": "lecun_uniform", "bias_initializer": keras.initializers.Constant(0.2)}
    x = layers.Dense(1024, activation="relu", name=f"{name}_fc", **initializers)(x)
    x = layers.Dropout(0.7, name=f"{name}_drop")(x)
    return layers.Dense(num_classes, kernel_initializer="lecun_uniform", name=f"{name}_classifier")(x)


@channels_last
def inception_v1(
    *,
    input_shape: tuple[int | None, int | None, int] = (224, 224, 3),
    num_classes: int = 1000,
    include_top: bool = True,
    pooling: str | None = None,
    aux_heads: bool = False,
    drop_rate: float = 0.4,
    name: str = "inception_v1",
) -> keras.Model:
    """GoogLeNet (Szegedy et al. 2015, table 1).

    Images (N, height, width, channels) → logits (N, num_classes), or with `include_top=False` the last map
    (N, height/32, width/32, 1024), or with `pooling` its vector. With `aux_heads=True` a dictionary of three logits:
    "logits", and "aux1" and "aux2" from classifiers on inception 4a and 4d, whose losses have weight 0.3 in training
    (section 5). Dropout with `drop_rate` precedes the classifier, with 0.7 the auxiliary ones. Pooling windows may
    extend over the right and bottom edge, as in Caffe.

    Raises `UsageError` for an input below 32 × 32, or below 65 × 65 with auxiliary heads, and for `aux_heads` without
    a top.

    Differences from the paper: none. It does not state the initialisation and the constants of the response
    normalisation; both are those of BVLC's GoogLeNet in Caffe, where the sum is divided by its five terms.
    """
    if aux_heads and not include_top:
        raise UsageError(f"{name}: aux_heads is True; it needs include_top=True, because the heads classify.")
    check_images(name, input_shape, smallest=65 if aux_heads else 32, fixed=aux_heads)
    images = keras.Input(input_shape, name="images")
    x = v1_conv(images, 64, 7, 2, name="conv1_7x7_s2")  # (N, 112, 112, 64)
    x = layers.MaxPooling2D(3, 2, padding="same", name="pool1_3x3_s2")(x)  # (N, 56, 56, 64)
    x = LocalResponseNormalization(k=1.0, alpha=1e-4 / 5, name="pool1_norm1")(x)
    x = v1_conv(x, 64, 1, name="conv2_3x3_reduce")
    x = v1_conv(x, 192, 3, name="conv2_3x3")
    x = LocalResponseNormalization(k=1.0, alpha=1e-4 / 5, name="conv2_norm2")(x)
    x = layers.MaxPooling2D(3, 2, padding="same", name="pool2_3x3_s2")(x)  # (N, 28, 28, 192)
    outputs = {}
    for module, row in V1_MODULES.items():
        if module in ("4a", "5a"):  # (N, 14, 14, 480), (N, 7, 7, 832)
            x = layers.MaxPooling2D(3, 2, padding="same", name=f"pool{int(module[0]) - 1}_3x3_s2")(x)
        x = v1_module(x, row, name=f"inception_{module}")
        if aux_heads and module in ("4a", "4d"):
            head = f"aux{len(outputs) + 1}"
            outputs[head] = v1_auxiliary(x, num_classes, name=head)
    if not include_top:
        return keras.Model(images, pooled(x, pooling), name=name)
    logits = average_and_classify(
        x, num_classes, drop_rate=drop_rate, name="classifier", kernel_initializer="lecun_uniform"
    )
    return keras.Model(images, {"logits": logits, **outputs} if aux_heads else logits, name=name)


# Figure 3 of Zhang et al.: (filters of the 1×1, filters of the 3×3) of a module, or the filters of a downsampling.
SMALL_MODULES = [(32, 32), (32, 48), 80, (112, 48), (96, 64), (80, 80), (48, 96), 96, (176, 160), (176, 160)]


def small_conv(x, filters: int, size: int, stride: int = 1, *, name: str):
    """The paper's "conv module": convolution, batch normalisation, ReLU."""
    x = layers.Conv2D(filters, size, stride, "same", use_bias=False, name=name)(x)
    x = BatchNormalization(momentum=0.99, epsilon=1e-3, scale=False, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


@channels_last
def inception_small(
    *,
    input_shape: tuple[int | None, int | None, int] = (28, 28, 3),
    num_classes: int = 10,
    include_top: bool = True,
    pooling: str | None = None,
    drop_rate: float = 0.0,
    name: str = "inception_small",
) -> keras.Model:
    """The small Inception with which Zhang et al. 2017 fitted random labels (appendix A, figure 3).

    Images (N, height, width, channels) → logits (N, num_classes), or with `include_top=False` the last map
    (N, height/4, width/4, 336), or with `pooling` its vector. Convolutions have no bias and batch normalisation has no
    scale, which are the defaults of TF-Slim; the number of weights is the paper's, 1,649,402.

    Raises `UsageError` for an input below 4 × 4.

    Differences from the paper: none. It does not state the initialisation (here Glorot's, the default of TF-Slim) and
    the momentum and epsilon of batch normalisation (here Keras's 0.99 and 1e-3). `drop_rate`, 0 by default, is an
    addition.
    """
    check_images(name, input_shape, smallest=4)
    images = keras.Input(input_shape, name="images")
    x = small_conv(images, 96, 3, name="conv1")  # (N, 28, 28, 96)
    for i, row in enumerate(SMALL_MODULES, start=1):
        if isinstance(row, int):  # (N, 14, 14, 160), then (N, 7, 7, 240)
            pool = layers.MaxPooling2D(3, 2, padding="same", name=f"downsample{i}_pool")(x)
            branches = [small_conv(x, row, 3, 2, name=f"downsample{i}_3x3"), pool]
            x = layers.Concatenate(name=f"downsample{i}")(branches)
        else:
            branches = [
                small_conv(x, filters, size, name=f"inception{i}_{size}x{size}")
                for filters, size in zip(row, (1, 3), strict=True)
            ]
            x = layers.Concatenate(name=f"inception{i}")(branches)
    if not include_top:
        return keras.Model(images, pooled(x, pooling), name=name)
    return keras.Model(images, average_and_classify(x, num_classes, drop_rate=drop_rate, name="fc"), name=name)

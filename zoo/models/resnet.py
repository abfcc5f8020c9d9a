"""Residual networks: He, Zhang, Ren & Sun, CVPR 2016, and with pre-activation, ECCV 2016."""

from collections.abc import Sequence

import keras
from keras import layers

from zoo.errors import UsageError
from zoo.layers import BatchNormalization, IdentityShortcut
from zoo.models.common import HE_NORMAL, average_and_classify, channels_last, check_images, pooled

# Table 1 of the first paper: the numbers of units in conv2_x … conv5_x, and whether they are bottlenecks.
IMAGENET_STAGES = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}
CIFAR_DEPTHS = (20, 32, 44, 56, 110)  # Table 6: 6n + 2 layers


def conv(x, filters: int, size: int, stride: int = 1, *, name: str):
    """A convolution without bias, with equal padding on all sides as in Caffe and Torch; "same" shifts strided ones."""
    if size > 1 and stride > 1:
        x = layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
    padding = "valid" if stride > 1 else "same"
    convolution = layers.Conv2D(filters, size, stride, padding, use_bias=False, kernel_initializer=HE_NORMAL, name=name)
    return convolution(x)


def norm(x, *, name: str):
    """Batch normalisation with the momentum and epsilon of fb.resnet.torch; Caffe has the same epsilon."""
    return BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)


def kernels(filters: int, stride: int, bottleneck: bool, stride_in_3x3: bool) -> list[tuple[int, int, int]]:
    """(filters, size, stride) of a unit's convolutions, figure 5 of the paper."""
    if not bottleneck:
        return [(filters, 3, stride), (filters, 3, 1)]
    first, second = (1, stride) if stride_in_3x3 else (stride, 1)
    return [(filters, 1, first), (filters, 3, second), (4 * filters, 1, 1)]


def unit(x, rows: Sequence[tuple[int, int, int]], stride: int, *, option: str, name: str):
    """One residual unit, ReLU(x + F(x)), with the shortcut of option A or B where the shape changes (section 3.3)."""
    shortcut, filters = x, rows[-1][0]
    if stride > 1 or x.shape[-1] != filters:
        if option == "A":
            shortcut = IdentityShortcut(filters, stride, name=f"{name}_shortcut")(x)
        else:
            shortcut = conv(x, filters, 1, stride, name=f"{name}_projection")
            shortcut = norm(shortcut, name=f"{name}_projection_bn")
    for i, row in enumerate(rows, start=1):
        x = norm(conv(x, *row, name=f"{name}_conv{i}"), name=f"{name}_bn{i}")
        if i < len(rows):
            x = layers.ReLU(name=f"{name}_relu{i}")(x)
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.ReLU(name=f"{name}_out")(x)


def preactivation_unit(x, rows: Sequence[tuple[int, int, int]], stride: int, *, option: str, first: bool, name: str):
    """One unit of the second paper: x + F(x), with batch normalisation and ReLU before each convolution.

    The first unit of the network has none before its first convolution, because those of conv1 precede it. A projection
    takes the pre-activated input (appendix of the paper), an option A shortcut the input of the unit.
    """
    shortcut, filters = x, rows[-1][0]
    changes = stride > 1 or x.shape[-1] != filters
    if changes and option == "A":
        shortcut = IdentityShortcut(filters, stride, name=f"{name}_shortcut")(x)
    for i, row in enumerate(rows, start=1):
        if i > 1 or not first:
            x = layers.ReLU(name=f"{name}_relu{i}")(norm(x, name=f"{name}_bn{i}"))
        if i == 1 and changes and option == "B":
            shortcut = conv(x, filters, 1, stride, name=f"{name}_projection")
        x = conv(x, *row, name=f"{name}_conv{i}")
    return layers.Add(name=f"{name}_out")([shortcut, x])


def stages(x, counts: Sequence[int], filters: int, bottleneck: bool, *, option: str, preactivation: bool):
    """conv2_x, conv3_x, …: the first unit of each stage except the first halves the map and doubles the filters."""
    for stage, count in enumerate(counts):
        for i in range(count):
            stride = 2 if stage > 0 and i == 0 else 1
            rows = kernels(filters * 2**stage, stride, bottleneck, stride_in_3x3=preactivation)
            name = f"conv{stage + 2}_{i + 1}"
            if preactivation:
                x = preactivation_unit(x, rows, stride, option=option, first=stage == i == 0, name=name)
            else:
                x = unit(x, rows, stride, option=option, name=name)
    return layers.ReLU(name="post_relu")(norm(x, name="post_bn")) if preactivation else x


@channels_last
def resnet(
    *,
    depth: int = 50,
    preactivation: bool = False,
    input_shape: tuple[int | None, int | None, int] = (224, 224, 3),
    num_classes: int = 1000,
    include_top: bool = True,
    pooling: str | None = None,
    drop_rate: float = 0.0,
    name: str = "resnet",
) -> keras.Model:
    """The ImageNet networks with `depth` 18, 34, 50, 101 or 152 (first paper, table 1, option B shortcuts).

    Images (N, height, width, channels) → logits (N, num_classes), or with `include_top=False` the last map
    (N, height/32, width/32, 512 or 2048), or with `pooling` its vector. Convolutions have no bias. The stride of a
    bottleneck is in its first 1×1 convolution, as first published; "v1.5" networks have it in the 3×3.
    `preactivation=True` gives the form of the second paper, for the depths with bottlenecks, with the stride in the 3×3
    as in fb.resnet.torch, whose ResNet-200 the paper reports. Padding is symmetric, also that of max pooling, as in
    Torch.

    Raises `UsageError` for another depth and for an input below 32 × 32.

    Differences from the papers: none. They do not state the padding of the first pooling. `drop_rate` is an addition:
    dropout before the classifier.
    """
    depths = [n for n, (_, bottleneck) in IMAGENET_STAGES.items() if bottleneck or not preactivation]
    if depth not in depths:
        raise UsageError(f"{name}: depth is {depth!r}; it may be {', '.join(map(str, depths))}.")
    check_images(name, input_shape, smallest=32)
    counts, bottleneck = IMAGENET_STAGES[depth]
    images = keras.Input(input_shape, name="images")
    x = conv(images, 64, 7, 2, name="conv1")  # (N, 112, 112, 64)
    x = layers.ReLU(name="conv1_relu")(norm(x, name="conv1_bn"))
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)  # after a ReLU, padding with 0 equals padding with −∞
    x = layers.MaxPooling2D(3, 2, name="pool1")(x)  # (N, 56, 56, 64)
    x = stages(x, counts, 64, bottleneck, option="B", preactivation=preactivation)  # (N, 7, 7, 512 or 2048)
    if not include_top:
        return keras.Model(images, pooled(x, pooling), name=name)
    logits = average_and_classify(x, num_classes, drop_rate=drop_rate, name="fc", kernel_initializer=HE_NORMAL)
    return keras.Model(images, logits, name=name)


@channels_last
def resnet_cifar(
    *,
    depth: int = 20,
    preactivation: bool = False,
    input_shape: tuple[int | None, int | None, int] = (32, 32, 3),
    num_classes: int = 10,
    include_top: bool = True,
    pooling: str | None = None,
    drop_rate: float = 0.0,
    name: str = "resnet_cifar",
) -> keras.Model:
    """The CIFAR networks with `depth` 20, 32, 44, 56 or 110 (first paper, section 4.2), option A shortcuts only.

    Images (N, height, width, channels) → logits (N, num_classes), or with `include_top=False` the last map
    (N, height/4, width/4, 64), or with `pooling` its vector. Convolutions have no bias; a shortcut appends its new
    channels, zeros, after the old ones. `preactivation=True` gives the form of the second paper (its table 2), with
    the same shortcuts.

    Raises `UsageError` for another depth and for an input below 4 × 4.

    Differences from the papers: none. `drop_rate` is an addition: dropout before the classifier.
    """
    if depth not in CIFAR_DEPTHS:
        raise UsageError(f"{name}: depth is {depth!r}; it may be {', '.join(map(str, CIFAR_DEPTHS))}.")
    check_images(name, input_shape, smallest=4)
    images = keras.Input(input_shape, name="images")
    x = conv(images, 16, 3, name="conv1")  # (N, 32, 32, 16)
    x = layers.ReLU(name="conv1_relu")(norm(x, name="conv1_bn"))
    x = stages(x, [(depth - 2) // 6] * 3, 16, False, option="A", preactivation=preactivation)  # (N, 8, 8, 64)
    if not include_top:
        return keras.Model(images, pooled(x, pooling), name=name)
    logits = average_and_classify(x, num_classes, drop_rate=drop_rate, name="fc", kernel_initializer=HE_NORMAL)
    return keras.Model(images, logits, name=name)

"""Network in network: Lin, Chen & Yan, ICLR 2014."""

import keras
from keras import layers

from zoo.models.common import channels_last, check_images, check_keras_names, dropped, pooled


def conv(x, filters: int, size: int, *, start: str, name: str):
    """Convolution and ReLU; `start` is the kernel's initialiser."""
    return layers.Conv2D(filters, size, padding="same", activation="relu", kernel_initializer=start, name=name)(x)


@channels_last
def nin_cifar(
    *,
    input_shape: tuple[int | None, int | None, int] = (32, 32, 3),
    num_classes: int = 10,
    include_top: bool = True,
    pooling: str | None = None,
    drop_rate: float = 0.5,
    binary_dropout: bool = False,
    kernel_initializer: str = "random_normal",
    name: str = "nin_cifar",
) -> keras.Model:
    """The CIFAR-10 network: three convolutions, each followed by two 1×1 convolutions ("cccp"), then global averaging.

    Images (N, height, width, channels) → logits (N, num_classes), the mean of the class maps over all positions, so
    that larger images are accepted. With `include_top=False` the map before the class maps, (N, height/4, width/4,
    192), or with `pooling` its vector. Layers, widths, overlapping max pooling and the ReLU on the class maps follow
    the authors' cuda-convnet files (mavenlin/cuda-convnet, NIN/cifar-10_def), because the paper (section 4) does not
    state them. `kernel_initializer` is a name that Keras knows; "random_normal" is N(0, 0.05²), as in those files.

    Raises `UsageError` for an input below 4 × 4 and for an initialiser that Keras does not know.

    Differences from the paper: none with `binary_dropout=True`. Dropout in those files is a mask of zeros and ones, and
    units are multiplied by the keep probability in test. Keras divides by it in training instead; what the nets can
    compute is the same, but weights and rates behind dropout mean something else.
    """
    check_images(name, input_shape, smallest=4)
    check_keras_names(name, kernel_rank=4, kernel_initializer=kernel_initializer)
    start = kernel_initializer
    images = keras.Input(input_shape, name="images")
    x = conv(images, 192, 5, start=start, name="conv1")  # (N, 32, 32, 192)
    x = conv(x, 160, 1, start=start, name="cccp1")
    x = conv(x, 96, 1, start=start, name="cccp2")
    x = layers.MaxPooling2D(3, 2, padding="same", name="pool1")(x)  # (N, 16, 16, 96)
    x = dropped(x, drop_rate, binary=binary_dropout, name="drop1")
    x = conv(x, 192, 5, start=start, name="conv2")
    x = conv(x, 192, 1, start=start, name="cccp3")
    x = conv(x, 192, 1, start=start, name="cccp4")
    x = layers.MaxPooling2D(3, 2, padding="same", name="pool2")(x)  # (N, 8, 8, 192)
    x = dropped(x, drop_rate, binary=binary_dropout, name="drop2")
    x = conv(x, 192, 3, start=start, name="conv3")
    x = conv(x, 192, 1, start=start, name="cccp5")
    if not include_top:
        return keras.Model(images, pooled(x, pooling), name=name)
    x = conv(x, num_classes, 1, start=start, name="cccp6")  # (N, 8, 8, num_classes)
    return keras.Model(images, layers.GlobalAveragePooling2D(name="pool3")(x), name=name)

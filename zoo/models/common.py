"""What several families share: argument checks, the data format, and the layers between the last map and the logits."""

import functools
import threading
from collections.abc import Callable, Sequence

import keras
from keras import layers

from zoo.errors import UsageError
from zoo.fields import check_image_shape

# He, Zhang, Ren & Sun 2015 (arXiv 1502.01852), section 2.2: N(0, 2/fan-in).
HE_NORMAL = {
    "class_name": "VarianceScaling",
    "config": {"scale": 2.0, "mode": "fan_in", "distribution": "untruncated_normal"},
}


_CONFIGURATION = threading.RLock()  # Keras has one configuration for all threads


def channels_last(builder: Callable[..., keras.Model]) -> Callable[..., keras.Model]:
    """Makes a builder of image models independent of `image_data_format` in the Keras configuration.

    Inputs and all layers have channels last. The layers store their data format when they are created, so the model
    also works where Keras is configured for channels first. The configuration is restored afterwards.
    """

    @functools.wraps(builder)
    def build(**arguments) -> keras.Model:
        with _CONFIGURATION:
            configured = keras.config.image_data_format()
            keras.config.set_image_data_format("channels_last")
            try:
                return builder(**arguments)
            finally:
                keras.config.set_image_data_format(configured)

    return build


def check_images(name: str, input_shape: Sequence[int | None], *, smallest: int, fixed: bool = False) -> None:
    """Raises `UsageError`, one line that names the argument, unless `input_shape` fits the model.

    `smallest` is the smallest height and width for which every map of the model has at least one position. With
    `fixed`, height and width must be known, because a dense layer takes the whole map.
    """
    check_image_shape(f"{name}: input_shape", input_shape)
    shape = tuple(input_shape)
    if fixed and None in shape:
        raise UsageError(
            f"{name}: input_shape is {shape}; height and width must be numbers, as a dense layer takes the whole map."
        )
    if any(n is not None and n < smallest for n in shape[:2]):
        raise UsageError(f"{name}: input_shape is {shape}; height and width must be at least {smallest}.")


def dropped(x: keras.KerasTensor, rate: float, *, binary: bool = False, name: str) -> keras.KerasTensor:
    """Dropout, or `x` where `rate` is 0.

    Keras divides what it keeps by the keep probability in training. `binary` is dropout as first published (Hinton et
    al. 2012, arXiv 1207.0580): a mask of zeros and ones in training, and units times the keep probability in test.
    """
    if not rate:
        return x
    x = layers.Dropout(rate, name=name)(x)
    return layers.Rescaling(1 - rate, name=f"{name}_keep")(x) if binary else x


def pooled(x: keras.KerasTensor, pooling: str | None) -> keras.KerasTensor:
    """The map (N, H, W, C), or with `pooling` "avg" or "max" its pooled vector (N, C)."""
    if pooling == "avg":
        return layers.GlobalAveragePooling2D(name="avg_pool")(x)
    if pooling == "max":
        return layers.GlobalMaxPooling2D(name="max_pool")(x)
    return x


def average_and_classify(
    x: keras.KerasTensor, num_classes: int, *, drop_rate: float = 0.0, name: str, **dense
) -> keras.KerasTensor:
    """Global average pooling, dropout and the linear classifier `name`: (N, H, W, C) → (N, num_classes)."""
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    x = dropped(x, drop_rate, name="drop")
    return layers.Dense(num_classes, name=name, **dense)(x)


def check_sizes(name: str, **sizes: int) -> dict[str, int]:
    """Returns the sizes if each is an integer of at least 1, else raises a `UsageError` that names the wrong one."""
    for key, value in sizes.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UsageError(f"{name}: {key} is {value!r}; it must be a whole number of at least 1.")
    return sizes


def check_rates(name: str, **rates: float) -> None:
    """Raises a `UsageError` that names the first dropout rate that is not at least 0 and below 1."""
    for key, value in rates.items():
        if not isinstance(value, (int, float)) or not 0 <= value < 1:
            raise UsageError(f"{name}: {key} is {value!r}; it must be at least 0 and below 1.")


def check_keras_names(name: str, kernel_rank: int = 2, **names: object) -> None:
    """Raises a `UsageError` that names the first argument for which Keras has no activation or initialiser.

    Arguments whose names end in "initializer" are initialisers, the others activations. An initialiser must give
    kernels of `kernel_rank` dimensions, or vectors for biases: some, such as "identity", give matrices alone.
    """
    for key, value in names.items():
        kind = "initializers" if key.endswith("initializer") else "activations"
        rank = 1 if key.startswith("bias") else kernel_rank
        try:
            found = getattr(keras, kind).get(value)
            if kind == "initializers":
                found((2,) * rank)
        except (ValueError, TypeError, KeyError, NotImplementedError) as error:
            more = f" for tensors of rank {rank}, without arguments" if kind == "initializers" else ""
            raise UsageError(f"{name}: {key} is {value!r}; it must be a name in keras.{kind}{more}.") from error

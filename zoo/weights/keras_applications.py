"""ImageNet weights of Keras Applications in our models."""

import contextlib
import inspect
import logging
import re
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from zoo.errors import UsageError, ZooError, nearest
from zoo.registry import Card

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)

# Our name of a layer → its name in Keras Applications, as patterns in the order in which they are tried.
_VGG = [(r"conv(\d)_(\d)", r"block\1_conv\2"), (r"fc6", "fc1"), (r"fc7", "fc2"), (r"fc8", "predictions")]
_RESNET = [
    (r"conv1", "conv1_conv"),
    (r"conv1_bn", "conv1_bn"),
    (r"conv(\d)_(\d+)_projection", r"conv\1_block\2_0_conv"),
    (r"conv(\d)_(\d+)_projection_bn", r"conv\1_block\2_0_bn"),
    (r"conv(\d)_(\d+)_conv(\d)", r"conv\1_block\2_\3_conv"),
    (r"conv(\d)_(\d+)_bn(\d)", r"conv\1_block\2_\3_bn"),
    (r"fc", "predictions"),
]
_XCEPTION = [(r"(block\d+_(?:sep)?conv\d(?:_bn)?)", r"\1"), (r"logits", "predictions")]
_INCEPTION_V3 = [(r"logits", "predictions")]
_PATTERNS = {
    "vgg16": _VGG,
    "vgg19": _VGG,
    "resnet50": _RESNET,
    "resnet101": _RESNET,
    "resnet152": _RESNET,
    "inception_v3": _INCEPTION_V3,
    "xception": _XCEPTION,
}
# Blocks 1 to 13 of Keras's MobileNet are the paper's conv2 to conv14.
_MOBILENET = {
    f"conv{block + 1}_{kind}{suffix}": f"conv_{kind}_{block}{suffix}"
    for block in range(1, 14)
    for kind in ("dw", "pw")
    for suffix in ("", "_bn")
} | {"conv1": "conv1", "conv1_bn": "conv1_bn", "fc": "conv_preds"}

# The class of keras.applications, by the model's name here.
_APPLICATIONS = {
    "vgg16": "VGG16",
    "vgg19": "VGG19",
    "resnet50": "ResNet50",
    "resnet101": "ResNet101",
    "resnet152": "ResNet152",
    "inception_v3": "InceptionV3",
    "xception": "Xception",
    "mobilenet": "MobileNet",
}


def load_keras_applications(model: "keras.Model", application: "keras.Model", *, head: bool = True) -> None:
    """Copies the weights of a model of `keras.applications` into ours, so that both give the same outputs.

    `application` is a VGG16 or 19, ResNet50, 101 or 152, InceptionV3, Xception or MobileNet under Keras's own name
    for it. A bias before a batch normalisation, which ours do not have, is subtracted from the moving mean.
    `head=False` leaves the classifier, the last layer, as it is. Auxiliary heads, which Keras does not have, are not
    changed.

    Raises `UsageError` if `application` is another model, or lacks a layer or a shape of `model`; then `model` is
    unchanged.
    """
    names = _renaming(application)
    assignments = []
    for layer in model.layers:
        if not layer.weights or layer.name.startswith("aux") or (not head and layer is model.layers[-1]):
            continue
        source = _layer(application, names(layer.name), layer.name, model.name)
        values = {variable.name: variable.numpy() for variable in source.weights}
        bias = _bias_before(application, source)
        for variable in layer.weights:
            value = values.get(variable.name)
            if value is not None and variable.name == "moving_mean" and bias is not None:
                value = value - bias
            if value is not None and layer is model.layers[-1] and value.ndim == 4:
                value = value[0, 0]  # MobileNet's classifier, a 1×1 convolution there
            if value is None or value.shape != tuple(variable.shape):
                theirs = "none" if value is None else value.shape
                raise UsageError(
                    f"{model.name}: {variable.path} has shape {tuple(variable.shape)}, but {source.name} of Keras's "
                    f"{application.name} has {theirs}."
                )
            assignments.append((variable, value))
    for variable, value in assignments:
        variable.assign(value)


def load_imagenet(model: "keras.Model", name: str) -> None:
    """Downloads the ImageNet weights that Keras Applications publishes for the model `name`, and loads them.

    Supported are vgg16 and 19, resnet50, 101 and 152, inception_v3, xception, and mobilenet built with
    `activation="relu6"`, at each alpha. A model with another number of classes than 1000 keeps its new head, which
    is logged. Files go to Keras's cache (`$KERAS_HOME/models`, else `~/.keras/models`).

    The weights expect Keras's preprocessing: VGG and ResNet take B, G, R from 0 to 255 less 103.939, 116.779 and
    123.68; Inception-v3, Xception and MobileNet take R, G, B scaled to −1 … 1.

    Raises `UsageError` if there are no such weights for `name` or for this build of it, `ZooError` if they cannot be
    fetched.
    """
    import keras

    if name not in _APPLICATIONS:
        raise UsageError(f"Keras Applications publishes no weights for {name!r}. {nearest(name, _APPLICATIONS)}")
    channels = model.input_shape[-1]
    if channels != 3:
        raise UsageError(f"{name}: input_shape has {channels} channels; the ImageNet weights are for 3.")
    arguments = {}
    if name == "mobilenet":
        if "conv1_relu6" not in {layer.name for layer in model.layers}:
            raise UsageError("mobilenet: activation is 'relu'; the ImageNet weights are for 'relu6'.")
        arguments["alpha"] = model.get_layer("conv1").filters / 32
    head = model.layers[-1]
    has_top = isinstance(head, keras.layers.Dense)
    fresh_head = has_top and head.units != 1000
    # VGG's hidden dense layers come only with the top, even where the classifier itself is not wanted.
    include_top = has_top and (not fresh_head or name.startswith("vgg"))
    builder = getattr(keras.applications, _APPLICATIONS[name])
    if fresh_head:
        logger.warning("%s: the head for %d classes is new; the weights have 1000.", name, head.units)
    with _fetching(name):
        application = builder(weights="imagenet", include_top=include_top, **arguments)
    load_keras_applications(model, application, head=not fresh_head)


@contextlib.contextmanager
def _fetching(
    name: str,
    what: str = "the ImageNet weights",
    otherwise: str = "weights=None builds the model without them",
    *,
    timeout: float = 30.0,
) -> Iterator[None]:
    """Makes a failed download an error of one line, and sets a time limit for servers that do not respond."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(timeout)
    try:
        yield
    except Exception as error:  # Keras raises a bare Exception
        reason = " ".join(str(error).split())
        raise ZooError(
            f"{name}: {what} could not be fetched ({reason}). They need a network, or Keras's cache filled beforehand; "
            f"{otherwise}."
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def _renaming(application: "keras.Model") -> Callable[[str], str | None]:
    """A function from our layers' names to those of `application`; None for a layer that it does not have."""
    if application.name.startswith("mobilenet_"):
        return _MOBILENET.get
    if application.name not in _PATTERNS:
        known = ", ".join([*_PATTERNS, "mobilenet"])
        raise UsageError(f"application is {application.name!r}; it may be one of Keras Applications' {known}.")
    table: dict[str, str] = {}
    if application.name == "inception_v3":
        from zoo.models.inception_v3 import convolution_names

        table = _in_order(application, convolution_names())
    elif application.name == "xception":
        table = _in_order(application, [f"block{block}_projection" for block in (2, 3, 4, 13)])

    def rename(name: str) -> str | None:
        if name in table:
            return table[name]
        for pattern, replacement in _PATTERNS[application.name]:
            if re.fullmatch(pattern, name):
                return re.sub(pattern, replacement, name)
        return None

    return rename


def _in_order(application: "keras.Model", names: list[str]) -> dict[str, str]:
    """Pairs our convolutions and their normalisations with those of Keras, which are numbered in order of creation."""

    def numbered(prefix: str) -> list[str]:
        found = (layer.name for layer in application.layers if re.fullmatch(rf"{prefix}(_\d+)?", layer.name))
        return sorted(found, key=lambda name: int(name.removeprefix(prefix).removeprefix("_") or 0))

    table = dict(zip(names, numbered("conv2d"), strict=True))
    return table | dict(zip([f"{name}_bn" for name in names], numbered("batch_normalization"), strict=True))


def _layer(application: "keras.Model", name: str | None, ours: str, model: str) -> "keras.layers.Layer":
    for layer in application.layers:
        if layer.name == name:
            return layer
    raise UsageError(f"{model}: Keras's {application.name} has no layer for {ours!r}.")


def _bias_before(application: "keras.Model", layer: "keras.layers.Layer"):
    """The bias of the convolution whose output a ResNet's batch normalisation takes, or None."""
    name = layer.name.removesuffix("_bn") + "_conv"
    if not layer.name.endswith("_bn") or name not in {other.name for other in application.layers}:
        return None
    convolution = application.get_layer(name)
    return convolution.bias.numpy() if convolution.use_bias else None


def imagenet_names() -> list[str]:
    """The names of ImageNet's 1,000 classes in the order of the weights, which Keras fetches once."""
    import keras
    import numpy as np

    with _fetching("imagenet", "the names of the classes", "use the indices of the logits"):
        falling = -np.arange(1000.0)[None]
        return [name for _, name, _ in keras.applications.imagenet_utils.decode_predictions(falling, top=1000)[0]]


def imagenet_preprocessing(card: Card) -> Callable[[Any], Any]:
    """The preprocessing of a model's ImageNet weights: a function from images (N, any, any, 3), values from 0 to 255,
    to the input of the model, (N, height, width, 3)."""
    import keras

    module = inspect.getmodule(getattr(keras.applications, _APPLICATIONS[card.name]))
    height, width, _ = card.input_shape

    def preprocess(images):
        pixels = keras.ops.cast(images, "float32")  # else means are subtracted, and sizes changed, modulo 256
        pixels = keras.ops.image.resize(pixels, (height, width), data_format="channels_last")
        return module.preprocess_input(pixels, data_format="channels_last")

    return preprocess

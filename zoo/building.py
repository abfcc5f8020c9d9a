"""`zoo.build`, `zoo.preprocessing` and `zoo.decode`: the only place where the registry and the weights meet."""

import contextlib
import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.arguments import check_arguments, check_known, check_same_function, check_variant
from zoo.backend import require_keras
from zoo.errors import UsageError
from zoo.exports.read import read_card, read_recipe
from zoo.fields import plain
from zoo.paths import literal_path
from zoo.registry import APPLICATIONS, Card, builder_of, describe, parameters_of
from zoo.weights.exports import export_folder, load_export

if TYPE_CHECKING:
    import keras

OWN_ARGUMENTS = ("weights", "pretrained", "dtype", "classifier_activation", "features")


def build(
    model: str,
    /,
    *,
    weights: str | os.PathLike[str] | None = None,
    pretrained: bool = False,
    dtype: str | None = None,
    classifier_activation: str | None = None,
    features: Sequence[str] = (),
    **config: Any,
) -> "keras.Model":
    """Builds a model by its name.

    Args:
      model: a model of `list_models()`, or a family, which means its default variant.
      weights: `None` for a fresh initialisation, a tag of the card, `"default"` for the card's first tag, or the
        path of an export. With another `num_classes` than the weights have, everything but the head is loaded.
      pretrained: the same as `weights="default"`.
      dtype: a Keras dtype policy for every layer, such as `"mixed_bfloat16"` or `"float64"`.
      classifier_activation: an activation after the logits, such as "softmax"; by default none.
      features: names of layers; the model then returns a dict of their outputs instead of logits.
      **config: the builder's own arguments: `num_classes`, `input_shape` (height, width, channels), `include_top`…;
        `name` is the name of the `keras.Model`.

    Returns:
      A built, functional `keras.Model` whose last layer gives logits (scores for the perceptron).

    Raises:
      UsageError: an unknown model, argument or weights tag, an invalid value, or an argument with which the weights
        would compute something else than they were trained for. The message suggests valid ones.
    """
    card = describe(model)
    require_keras()
    builder, parameters = builder_of(card), parameters_of(card)
    config = {key: plain(value) for key, value in config.items()}
    check_known(card, parameters, {**card.arguments, **config}, OWN_ARGUMENTS)
    check_arguments(card, parameters, config)
    check_variant(card, config)
    if weights is not None:
        _check_weights(card, weights)
    if type(pretrained) is not bool:
        raise UsageError(f"{card.name}: pretrained is {pretrained!r}; it must be True or False.")
    if pretrained and weights is not None:
        raise UsageError(f"{card.name}: pretrained=True loads the default weights; omit it with weights={weights!r}.")
    if classifier_activation is not None and features:
        raise UsageError(f"{card.name}: features are taken before the logits; omit classifier_activation.")
    if classifier_activation is not None and not config.get("include_top", True):
        raise UsageError(f"{card.name}: without its top the model has no logits; omit classifier_activation.")
    weights = "default" if pretrained else weights
    if "name" in parameters:
        config.setdefault("name", card.name)
    if _is_required(parameters.get("input_shape")) and card.input_shape:
        config.setdefault("input_shape", card.input_shape)
    stated = {**card.arguments, **config}
    absent = [key for key, parameter in parameters.items() if _is_required(parameter) and key not in stated]
    by_position = [key for key, parameter in parameters.items() if parameter.kind is parameter.POSITIONAL_ONLY]
    if by_position:
        raise UsageError(
            f"The builder of {card.name!r} takes {by_position[0]!r} by position only; omit the / after it."
        )
    if absent and weights is None:
        raise UsageError(f"{card.name!r} needs the argument {absent[0]!r}; give it, or give it a default.")

    import keras

    with _dtype_policy(keras, dtype):
        if weights is None:
            built = builder(**{**card.arguments, **config})
        else:
            built = _build_with_weights(card, builder, weights, config)
        _check_model(keras, card, built)
        if classifier_activation is not None:
            from zoo.models.outputs import with_activation

            built = with_activation(built, classifier_activation)
        if features:
            from zoo.models.outputs import with_features

            built = with_features(built, features)
    return built


def _check_weights(card: Card, weights: Any) -> None:
    if not isinstance(weights, (str, os.PathLike)) or not str(weights):
        tags = ", ".join(card.weights) or "this model has none"
        raise UsageError(
            f"{card.name}: weights is {weights!r}; it must be a tag ({tags}), 'default', or the path of an export."
        )


def _is_required(parameter: inspect.Parameter | None) -> bool:
    """Whether a builder has this argument and no default for it."""
    if parameter is None or parameter.default is not parameter.empty:
        return False
    return parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)


def _check_model(keras: Any, card: Card, model: Any) -> None:
    """Raises `UsageError` for what a builder of one's own must not return."""
    if not isinstance(model, keras.Model):
        raise UsageError(f"The builder of {card.name!r} returns {type(model).__name__}; it must return a keras.Model.")
    if not getattr(model, "inputs", None):  # a subclass, or a Sequential without an input
        raise UsageError(
            f"The builder of {card.name!r} returns a {type(model).__name__} without known inputs; it must return a "
            "functional model, keras.Model(inputs, outputs)."
        )


def _build_with_weights(
    card: Card, builder: Callable[..., "keras.Model"], weights: str | os.PathLike[str], config: Mapping[str, Any]
) -> "keras.Model":
    """`weights` is a tag of the card, `"default"`, or the path of an export or a run. The arguments that the export's
    model was built with are the defaults."""
    tag = _tag(card, weights)
    if card.weights.get(tag) == APPLICATIONS:
        from zoo.weights.keras_applications import load_imagenet

        check_same_function(card, {}, config, tag)
        model = builder(**{**card.arguments, **config})
        load_imagenet(model, card.name)
        return model
    folder = _own_export(card, tag)
    saved = read_card(folder)["arguments_built"]
    check_same_function(card, saved, config, tag)
    built = {**card.arguments, **saved, **config}
    model = builder(**built)
    has_head = "num_classes" in saved and built.get("include_top", True)
    new_head = has_head and built["num_classes"] != saved["num_classes"]
    load_export(model, folder, head=not new_head)
    if new_head:
        print(
            f"{card.name}: loaded the weights of {tag} except for the classifier; the head for "
            f"{config['num_classes']} classes is new (the weights have {saved['num_classes']})."
        )
    return model


def _own_export(card: Card, tag: str | os.PathLike[str]) -> Path:
    """The folder of an export; raises `UsageError` for that of another model."""
    folder = export_folder(card, tag)
    if (name := read_card(folder)["name"]) != card.name:
        raise UsageError(f"{folder} holds weights of {name!r}, not of {card.name!r}.")
    return folder


def _tag(card: Card, weights: str | os.PathLike[str]) -> str | os.PathLike[str]:
    _check_weights(card, weights)
    if weights != "default":
        return weights
    if not card.weights:
        raise UsageError(
            f"{card.name} has no pretrained weights; train it: {', '.join(card.recipes) or 'no recipe yet'}."
        )
    return next(iter(card.weights))


def preprocessing(name: str, weights: str | os.PathLike[str] = "default") -> Callable[[Any], Any]:
    """The preprocessing of images for the weights of a model.

    Returns a function from uint8 images (N, any height, any width, C), or one image (height, width, C), to the numbers
    (N, height, width, C), or (height, width, C), that `zoo.build(name, weights=weights)` takes. Grey images, with one
    channel or none, are repeated for a model of colour images. It can be used in `tf.data.Dataset.map`.

    Raises `UsageError` as `build` does and for a model that does not take images; the function raises it for images
    that are not uint8 or have another number of channels, and in a `map` for images whose number of channels is not
    known; `tf.io.decode_image(…, channels=3, expand_animations=False)` gives it.
    """
    card = describe(name)
    if card.task != "image_classification":
        raise UsageError(
            f"{card.name} is a model for {card.task}; its exports take text, and there is no preprocessing."
        )
    tag = _tag(card, weights)
    if card.weights.get(tag) == APPLICATIONS:
        from zoo.weights.keras_applications import imagenet_preprocessing

        return _of_images(card.name, card.input_shape[-1], imagenet_preprocessing(card))
    folder = _own_export(card, tag)
    import tensorflow as tf

    signature = tf.saved_model.load(str(literal_path(folder))).signatures["preprocess"]
    channels = signature.structured_input_signature[1]["images"].shape[-1]
    return _of_images(card.name, channels, lambda images: signature(images=images)["inputs"])


def decode(
    logits: Any, name: str, weights: str | os.PathLike[str] = "default", *, top: int = 5
) -> list[list[tuple[str, float]]]:
    """The likeliest classes of a classifier's logits, with their names.

    Args:
      logits: (N, K), or (K,) for one example, as `zoo.build(name, weights=weights)` returns them.
      name: the model.
      weights: a tag of the card, `"default"`, or the path of an export. Those of Keras Applications have the names of
        ImageNet, which Keras fetches.
      top: the number of classes.

    Returns:
      For each example the `top` classes, the likeliest first, as pairs of name and probability (score for a
      perceptron).

    Raises:
      UsageError: an unknown model or weights tag, weights of another model or without classes, another number of
        classes, logits that are not finite, or a `top` that is not positive.
    """
    import numpy as np

    card = describe(name)
    try:
        logits = np.atleast_2d(np.asarray(logits, np.float64))
    except (TypeError, ValueError):
        raise UsageError(f"{card.name}: the logits are a {type(logits).__name__}; give numbers, (N, K).") from None
    tag, top = _tag(card, weights), plain(top)
    if isinstance(top, bool) or not isinstance(top, int) or top < 1:
        raise UsageError(f"top is {top!r}; it must be a whole number of at least 1.")
    if card.weights.get(tag) == APPLICATIONS:
        from zoo.weights.keras_applications import imagenet_names

        labels, loss = imagenet_names(), "cross_entropy"
    else:
        folder = _own_export(card, tag)
        labels, loss = read_card(folder).get("labels"), read_recipe(folder).get("loss", "cross_entropy")
    if labels is None:
        raise UsageError(f"{card.name}: these weights have no classes to name.")
    if logits.ndim != 2 or logits.shape[1] != len(labels):
        raise UsageError(
            f"{card.name}: the logits have shape {logits.shape}; it must be (N, {len(labels)}), for the classes of "
            "the weights."
        )
    if not np.isfinite(logits).all():
        raise UsageError(f"{card.name}: the logits are not finite in row {np.argmin(np.isfinite(logits).all(1))}.")
    values = logits
    if loss == "sigmoid_cross_entropy":
        values = 1 / (1 + np.exp(-logits))
    elif loss != "perceptron":
        values = np.exp(logits - logits.max(-1, keepdims=True))
        values /= values.sum(-1, keepdims=True)
    order = np.argsort(-logits, axis=-1, kind="stable")[:, :top]
    return [[(labels[k], float(row[k])) for k in best] for best, row in zip(order, values, strict=True)]


def _of_images(name: str, channels: int, transform: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`transform`, from uint8 (N, height, width, channels), for one image or several, grey or in colour."""

    def preprocess(images: Any) -> Any:
        import tensorflow as tf

        images = tf.convert_to_tensor(images)
        if images.dtype != tf.uint8:
            scale = "Multiply values from 0 to 1 by 255 and convert" if images.dtype.is_floating else "Convert"
            raise UsageError(
                f"{name}: the images are {images.dtype.name}; they must be uint8, with values from 0 to 255. {scale} "
                "them with tf.cast(…, tf.uint8)."
            )
        given, rank = images.shape, images.shape.rank
        if rank is None or (rank > 2 and given[-1] is None):
            raise UsageError(
                f"{name}: the images have shape {given}, whose last axis is not known; decode them with channels="
                f"{channels}, and with expand_animations=False where a function has it."
            )
        grey = rank == 2 or (rank == 3 and given[-1] not in (1, 2, 3, 4))  # 2 and 4: grey and colour with transparency
        images = images[..., None] if grey else images
        single = images.shape.rank == 3
        images = images[None] if single else images
        if images.shape.rank != 4 or images.shape[-1] not in (1, channels) or 0 in images.shape[1:]:
            raise UsageError(
                f"{name}: the images have shape {given}; it must be (N, height, width, {channels}), or "
                f"(height, width, {channels}) for one image."
            )
        if images.shape[-1] < channels:
            images = tf.repeat(images, channels, axis=-1)
        inputs = transform(images)
        return inputs[0] if single else inputs

    return preprocess


@contextlib.contextmanager
def _dtype_policy(keras: Any, dtype: str | None) -> Iterator[None]:
    """Sets Keras's global dtype policy while a graph is built, so that builders need no argument for it."""
    before = keras.config.dtype_policy()
    if dtype is not None:
        try:
            keras.config.set_dtype_policy(dtype)
            policy = keras.config.dtype_policy()
            if "float" not in policy.compute_dtype or "float" not in policy.variable_dtype:
                keras.config.set_dtype_policy(before)
                raise ValueError(dtype)
        except (ValueError, TypeError) as error:
            raise UsageError(
                f"dtype is {dtype!r}; it must be a Keras dtype policy such as 'float32', 'mixed_bfloat16' or 'float64'."
            ) from error
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)

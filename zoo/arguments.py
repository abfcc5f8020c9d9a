"""Checks of the arguments that `zoo.build` hands to a builder."""

import inspect
import types
import typing
from collections.abc import Mapping
from typing import Any, Union

from zoo.errors import UsageError, nearest
from zoo.fields import check_image_shape, check_value
from zoo.registry import Card, describe, list_models, parameters_of

# Arguments that do not change what a given set of weights computes in inference.
FREE = {"name", "num_classes", "include_top", "pooling", "input_shape", "aux_heads", "noise"}
FREE_ENDINGS = ("drop_rate", "_initializer")


def check_arguments(card: Card, parameters: Mapping[str, inspect.Parameter], config: Mapping[str, Any]) -> None:
    """Raises `UsageError`, one line that names the argument, for a value that no builder can take."""
    num_classes = config.get("num_classes", 1)
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
        raise UsageError(f"{card.name}: num_classes is {num_classes!r}; it must be a whole number of at least 1.")
    if "input_shape" in config:
        check_image_shape(f"{card.name}: input_shape", config["input_shape"])
    drop_rate = config.get("drop_rate", 0.0)
    if isinstance(drop_rate, bool) or not isinstance(drop_rate, (int, float)) or not 0 <= drop_rate < 1:
        raise UsageError(f"{card.name}: drop_rate is {drop_rate!r}; it must be at least 0 and below 1.")
    pooling = config.get("pooling")
    if pooling not in (None, "avg", "max"):
        raise UsageError(f"{card.name}: pooling is {pooling!r}; it may be 'avg', 'max' or None.")
    for key, value in config.items():
        hint = parameters[key].annotation if key in parameters else Any
        kinds = typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)
        # An initialiser or activation may also be an object of Keras, and the shape was checked above.
        if (
            set(kinds) <= {bool, int, float, str, types.NoneType}
            and key != "activation"
            and not key.endswith("_initializer")
        ):
            check_value(card.name, key, value, hint)
    if pooling and config.get("include_top", True):
        raise UsageError(f"{card.name}: pooling={pooling!r} needs include_top=False; the top has its own pooling.")


def check_variant(card: Card, config: Mapping[str, Any]) -> None:
    """Raises `UsageError` where `config` makes one variant of a family into another one, which has a name."""
    changed = {key for key, value in config.items() if key in card.arguments and card.arguments[key] != value}
    if not changed:
        return
    stated = {key: config.get(key, value) for key, value in card.arguments.items()}
    for name in list_models(family=card.family):
        other = describe(name)
        if other.builder == card.builder and dict(other.arguments) == stated:
            here = ", ".join(f"{key}={config[key]!r}" for key in sorted(changed))
            raise UsageError(f"{card.name} with {here} is the model {name!r}; use that name.")


def check_same_function(card: Card, saved: Mapping[str, Any], config: Mapping[str, Any], tag: Any) -> None:
    """Raises `UsageError` for an argument with which the weights `tag` would compute something else.

    `saved` are the arguments that the weights were trained with.
    """
    entries = parameters_of(card).items()
    defaults = {key: entry.default for key, entry in entries if entry.default is not entry.empty}
    trained = {**defaults, **card.arguments, **saved}
    for key, value in config.items():
        if key in FREE or key.endswith(FREE_ENDINGS) or key not in trained:
            continue
        here, there = (list(part) if isinstance(part, tuple) else part for part in (value, trained[key]))
        if here != there:
            raise UsageError(
                f"{card.name}: {key} is {value!r}, and the weights {str(tag)!r} were trained with {trained[key]!r}; "
                f"omit {key}, or the weights."
            )


def check_known(card: Card, parameters: Mapping[str, inspect.Parameter], stated: Mapping[str, Any], own: tuple) -> None:
    """Raises `UsageError` for an argument that the builder does not have; `own` are those of `zoo.build` itself."""
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for key in stated:
        if key not in parameters:
            raise UsageError(f"{card.name!r} takes no argument {key!r}. {nearest(key, [*parameters, *own])}")

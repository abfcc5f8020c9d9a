"""Names of models, their cards and their builders. A builder's module is imported when it is built, not before."""

import contextlib
import fnmatch
import functools
import importlib
import inspect
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import UsageError, ZooError, nearest

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is known of one model without building it.

    `macs` counts multiply-accumulates of convolutions, dense and recurrent layers for one example, which is one token
    where the input is a sequence (a word of five characters for a tagger); `weights` maps a tag to the
    pretrained export that holds it; `differences` lists where the graph leaves its paper.
    """

    name: str
    family: str
    task: str
    builder: str | Callable[..., "keras.Model"]
    summary: str = ""
    title: str = ""
    authors: tuple[str, ...] = ()
    year: int | None = None
    venue: str = ""
    link: str = ""
    input_shape: tuple[int | None, ...] | None = None
    parameters: int | None = None
    trainable: int | None = None
    macs: int | None = None
    recipes: tuple[str, ...] = ()
    weights: Mapping[str, str] = field(default_factory=dict)
    licence: str = "Apache-2.0"
    differences: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        def number(value: int | None) -> str:
            return "not counted" if value is None else f"{value:,}"

        paper = ", ".join(self.authors)
        if self.title:
            paper = f"{paper}: {self.title}. {self.venue}".strip(" .:") + (f" ({self.year})" if self.year else "")
        rows = [
            ("family", self.family),
            ("task", self.task),
            ("paper", paper),
            ("link", self.link),
            ("input", " × ".join("any" if n is None else str(n) for n in self.input_shape or ())),
            ("parameters", f"{number(self.parameters)} ({number(self.trainable)} trainable)"),
            ("MACs", number(self.macs)),
            ("recipes", ", ".join(self.recipes)),
            ("weights", ", ".join(self.weights)),
            ("arguments", ", ".join(f"{key}={value!r}" for key, value in self.arguments.items())),
            ("licence", self.licence),
        ]
        lines = [f"{self.name}: {self.summary}"]
        lines += [f"  {label:<11} {text}" for label, text in rows if text]
        lines += ["  differences from the paper"] if self.differences else ["  differences from the paper: none known"]
        lines += [f"    - {text}" for text in self.differences]
        return "\n".join(lines)


_registered: dict[str, Card] = {}


@functools.cache
def _shipped() -> tuple[dict[str, Card], dict[str, str]]:
    """All cards of the package by model name, and the default variant by family name."""
    cards: dict[str, Card] = {}
    defaults: dict[str, str] = {}
    for path in sorted((Path(__file__).parent / "cards").glob("*.toml")):
        with path.open("rb") as file:
            entry = tomllib.load(file)
        family = entry["family"]
        if entry["default"] not in entry["variants"]:
            raise ZooError(f"{path.name}: the default variant {entry['default']!r} has no [variants] entry.")
        defaults[family] = entry["default"]
        for name, variant in entry["variants"].items():
            if name in cards:
                raise ZooError(f"{path.name}: {name!r} is already a model of family {cards[name].family!r}.")
            # A variant may cite another paper than its family, so its own fields win.
            fields = {"task": entry["task"], "licence": entry["licence"], **entry["paper"], **variant}
            fields = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
            cards[name] = Card(name=name, family=family, **fields)
    return cards, defaults


def _resolve(name: str) -> Card:
    cards, defaults = _shipped()
    if not isinstance(name, str):
        raise UsageError(f"A model's name is a string, not {type(name).__name__}.")
    card = _registered.get(name) or cards.get(name) or cards.get(defaults.get(name, ""))
    if card is None:
        raise UsageError(f"There is no model {name!r}. {nearest(name, [*cards, *defaults, *_registered])}")
    return card


def list_models(
    pattern: str = "*", *, task: str | None = None, family: str | None = None, pretrained: bool = False
) -> list[str]:
    """Names of the models that match, sorted.

    `pattern` may hold the wildcards `*`, `?` and `[…]`; `pretrained=True` keeps those with weights to load.
    An unknown `task` or `family` raises `UsageError`; a pattern that matches nothing gives an empty list.
    """
    cards = {**_shipped()[0], **_registered}
    for label, value, known in (
        ("task", task, {card.task for card in cards.values()}),
        ("family", family, {card.family for card in cards.values()}),
    ):
        if value is not None and value not in known:
            raise UsageError(f"There is no {label} {value!r}. {nearest(value, known)}")
    return sorted(
        name
        for name, card in cards.items()
        if fnmatch.fnmatchcase(name, pattern)
        and task in (None, card.task)
        and family in (None, card.family)
        and (card.weights or not pretrained)
    )


def describe(name: str) -> Card:
    """The card of a model; a family's name gives its default variant. Raises `UsageError` for an unknown name."""
    return _resolve(name)


def register(
    name: str,
    builder: str | Callable[..., "keras.Model"],
    *,
    task: str = "image_classification",
    family: str = "user",
    **card: Any,
) -> None:
    """Adds a builder of one's own, so that `build`, recipes and the command line know its name.

    `builder` is a callable with keyword arguments that returns a `keras.Model`, or its dotted name
    (`"package.module:function"`). `card` fills the other fields of `Card`. Raises `UsageError` if the name is taken.
    """
    cards, defaults = _shipped()
    if name in cards or name in defaults or name in _registered:
        raise UsageError(f"The name {name!r} is already taken; choose another.")
    known = {key for key in Card.__dataclass_fields__ if key not in ("name", "builder", "task", "family")}
    for key in card:
        if key not in known:
            raise UsageError(f"A card has no field {key!r}. {nearest(key, known)}")
    _registered[name] = Card(name=name, builder=builder, task=task, family=family, **card)


def builder_of(card: Card) -> Callable[..., "keras.Model"]:
    """The function that draws a card's graph, imported now."""
    if callable(card.builder):
        return card.builder
    module, _, function = card.builder.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ZooError(
            f"The card of {card.name!r} names the builder {card.builder!r}, which is missing: {error}."
        ) from error


def build(
    name: str,
    *,
    weights: str | os.PathLike[str] | None = None,
    dtype: str | None = None,
    **config: Any,
) -> "keras.Model":
    """Builds a model by its name.

    Args:
      name: a model (`list_models()` has them all) or a family, which stands for its default variant.
      weights: `None` for a fresh initialisation, a tag of the card, `"default"` for the card's first tag, or the
        path of an export. With another `num_classes` than the weights have, everything but the head is loaded.
      dtype: a Keras dtype policy for every layer, such as `"mixed_bfloat16"` or `"float64"`.
      **config: the builder's own arguments: `num_classes`, `input_shape` (height, width, channels), `include_top`…

    Returns:
      A built, functional `keras.Model` whose last layer gives logits (scores for the perceptron).

    Raises:
      UsageError: an unknown model, argument, weights tag or impossible value, naming the nearest right ones.
    """
    card = _resolve(name)
    builder = builder_of(card)
    parameters = inspect.signature(builder).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for key in config:
        if key not in parameters and not takes_any:
            raise UsageError(
                f"{card.name!r} takes no argument {key!r}. {nearest(key, [*parameters, 'weights', 'dtype'])}"
            )
    _check_common_arguments(card.name, config)
    if "name" in parameters:
        config.setdefault("name", card.name)

    import keras

    with _dtype_policy(keras, dtype):
        if weights is None:
            return builder(**{**card.arguments, **config})
        from zoo.weights import build_with_weights

        return build_with_weights(card, builder, weights, config)


def _check_common_arguments(model: str, config: Mapping[str, Any]) -> None:
    num_classes = config.get("num_classes", 1)
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
        raise UsageError(f"{model}: num_classes is {num_classes!r}; it must be a whole number of at least 1.")
    if "input_shape" in config:
        shape = config["input_shape"]
        right = isinstance(shape, (tuple, list)) and len(shape) == 3
        if not right or not all(n is None or (isinstance(n, int) and n > 0) for n in shape):
            raise UsageError(
                f"{model}: input_shape is {shape!r}; it must be (height, width, channels), positive whole numbers."
            )
    drop_rate = config.get("drop_rate", 0.0)
    if not isinstance(drop_rate, (int, float)) or not 0 <= drop_rate < 1:
        raise UsageError(f"{model}: drop_rate is {drop_rate!r}; it must be at least 0 and below 1.")
    pooling = config.get("pooling")
    if pooling not in (None, "avg", "max"):
        raise UsageError(f"{model}: pooling is {pooling!r}; it may be 'avg', 'max' or None.")
    if pooling and config.get("include_top", True):
        raise UsageError(
            f"{model}: pooling={pooling!r} needs include_top=False; the top has its own way from map to vector."
        )


@contextlib.contextmanager
def _dtype_policy(keras: Any, dtype: str | None) -> Iterator[None]:
    """Sets Keras's global dtype policy while a graph is drawn, so that builders need no argument for it."""
    before = keras.config.dtype_policy()
    if dtype is not None:
        try:
            keras.config.set_dtype_policy(dtype)
        except (ValueError, TypeError) as error:
            raise UsageError(
                f"dtype is {dtype!r}; it must be a Keras dtype policy such as 'float32', 'mixed_bfloat16' or 'float64'."
            ) from error
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)

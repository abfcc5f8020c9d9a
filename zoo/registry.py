"""Names of models, their cards and their builders. A builder's module is imported when it is built, not before."""

import fnmatch
import functools
import importlib
import inspect
import re
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import UsageError, ZooError, nearest
from zoo.fields import check_image_shape, check_value

if TYPE_CHECKING:
    import keras

APPLICATIONS = "keras-applications"  # in the place of an export: weights that Keras Applications offers


@dataclass(frozen=True, kw_only=True)
class Card:
    """The description of one model, available without building it.

    `macs` counts multiply-accumulates of convolutions, dense and recurrent layers for one example, which is one token
    where the input is a sequence (a word of five characters for a tagger); `weights` maps a tag to the
    pretrained export that holds it; `differences` lists how the graph differs from its paper.
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

    @property
    def unit(self) -> str:
        """What `macs` is for."""
        units = {"image_classification": "image", "tagging": "word of five characters"}
        return units.get(self.task, "token")

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
            ("MACs", number(self.macs) + (f" per {self.unit}" if self.macs else "")),
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

    `pattern` is a part of the name ("resnet"), or, with one of the wildcards `*`, `?` and `[…]`, the whole of it
    ("resnet*_v2"), without regard to case; `pretrained=True` keeps those with weights to load.
    An unknown `task` or `family` raises `UsageError`; a pattern that matches nothing gives an empty list.
    """
    cards = {**_shipped()[0], **_registered}
    if not isinstance(pattern, str):
        raise UsageError(f"The pattern is {pattern!r}; it must be a part of a model's name, or omitted for all models.")
    whole = pattern if set("*?[") & set(pattern) else f"*{pattern}*"
    for label, value, known in (
        ("task", task, {card.task for card in cards.values()}),
        ("family", family, {card.family for card in cards.values()}),
    ):
        if value is not None and value not in known:
            raise UsageError(f"There is no {label} {value!r}. {nearest(str(value), known)}")
    return sorted(
        name
        for name, card in cards.items()
        if fnmatch.fnmatchcase(name.lower(), whole.lower())
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
    """Registers your own builder, so that `build`, recipes and the command line accept its name.

    `builder` is a callable with keyword arguments that returns a `keras.Model`, or its dotted name
    (`"package.module:function"`). `card` fills the other fields of `Card`; without `input_shape`, it is the default of
    the function's argument of that name. Raises `UsageError` for a name that is taken, an invalid builder, an unknown
    field and an invalid shape.
    """
    if not isinstance(name, str) or not name:
        raise UsageError(f"The name of a model is {name!r}; it must be a string.")
    if not callable(builder) and not (isinstance(builder, str) and re.fullmatch(r"[\w.]+:\w+", builder)):
        raise UsageError(
            f"The builder of {name!r} is {builder!r}; it must be a function that returns a keras.Model, or its name "
            "as 'package.module:function'."
        )
    if isinstance(builder, getattr(sys.modules.get("keras"), "Model", ())):  # a model exists only where Keras is loaded
        raise UsageError(f"The builder of {name!r} is a model; it must be the function that builds it.")
    cards, defaults = _shipped()
    if name in cards or name in defaults or name in _registered:
        raise UsageError(f"The name {name!r} is already taken; choose another.")
    known = {key for key in Card.__dataclass_fields__ if key not in ("name", "builder", "task", "family")}
    for key in card:
        if key not in known:
            raise UsageError(f"A card has no field {key!r}. {nearest(key, known)}")
    if card.get("input_shape") is None and callable(builder):
        default = getattr(inspect.signature(builder).parameters.get("input_shape"), "default", None)
        card["input_shape"] = tuple(default) if isinstance(default, (tuple, list)) else None
    shape = card.get("input_shape")
    if task == "image_classification" and shape is not None:
        check_image_shape(f"The input_shape of {name!r}", shape)
    check_value(f"The card of {name!r}", "input_shape", shape, tuple[int | None, ...] | None)
    _registered[name] = Card(name=name, builder=builder, task=task, family=family, **card)


def parameters_of(card: Card) -> Mapping[str, inspect.Parameter]:
    """The arguments of a card's builder by name, with their annotations evaluated where that is possible."""
    builder = builder_of(card)
    try:
        return inspect.signature(builder, eval_str=True).parameters
    except (NameError, AttributeError, SyntaxError, TypeError):  # an annotation for type checkers alone
        return inspect.signature(builder).parameters


def builder_of(card: Card) -> Callable[..., "keras.Model"]:
    """The function that builds a card's graph; its module is imported now."""
    if callable(card.builder):
        return card.builder
    module, _, function = card.builder.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ZooError(
            f"The card of {card.name!r} names the builder {card.builder!r}, which is missing: {error}."
        ) from error

"""Flags of a recipe, generated from its dataclass and from the arguments of its model's builder."""

import argparse
import inspect
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import field, fields, make_dataclass
from typing import Annotated, Any

from zoo.backend import quiet_start, require_keras
from zoo.errors import UsageError
from zoo.recipe import Recipe
from zoo.registry import describe, parameters_of

NO_FLAGS = {"model_args", "paper"}
NO_ARGUMENTS = {"name", "include_top", "num_classes", "num_tags", "vocabulary_size"}  # training or the data decide them
NO_ARGUMENTS |= {f"{kind}_vocabulary" for kind in ("word", "character", "source", "target")}
PAIRS = "[PATTERN=NUMBER [PATTERN=NUMBER ...]]"
RENAMED = {"--least-count": "--min-count", "--longest": "--max-length"}


def parse(
    recipe: Recipe, arguments: Sequence[str] | None = None, *, program: str | None = None
) -> tuple[Recipe, dict[str, Any]]:
    """A recipe with the flags of a command line applied, and the arguments of `zoo.run` among the flags.

    Each field is a flag, each argument of the model's builder a flag `--model.NAME`. Exits with status 2 for an unknown
    flag.
    """
    import tyro

    load_tensorflow()
    from zoo.distribute.strategy import Devices

    arguments = list(sys.argv[1:] if arguments is None else arguments)
    _refuse_renamed(arguments)
    # --model decides which builder the --model.NAME flags belong to, so it is parsed first.
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--model", default=recipe.model)
    model = first.parse_known_args(arguments)[0].model
    options = [
        ("run_dir", Annotated[str | None, tyro.conf.arg(help="The run directory; default runs/NAME/seedS-….")], None),
        ("restart", Annotated[bool, tyro.conf.arg(help="Delete the run directory and start again.")], False),
        ("dry_run", Annotated[bool, tyro.conf.arg(help="Build, train 2 steps, evaluate, export, delete.")], False),
        ("devices", Annotated[Devices, tyro.conf.arg(name="")], Devices()),
    ]
    ModelArguments = make_dataclass("ModelArguments", _builder_fields(model, recipe))
    shown, patterns = _shown_recipe(recipe)
    Flags = make_dataclass(
        "Flags",
        [
            ("recipe", Annotated[type(shown), tyro.conf.arg(name="")]),
            ("model_args", Annotated[ModelArguments, tyro.conf.arg(name="model")]),
            *options,
        ],
    )
    defaults = Flags(recipe=shown, model_args=ModelArguments())
    flags = tyro.cli(
        Flags,
        prog=program or f"zoo train {recipe.name}",
        description=f"Trains {recipe.name}. Each field of the recipe is a flag.",
        args=arguments,
        default=defaults,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    values = {entry.name: getattr(flags.recipe, entry.name) for entry in fields(recipe)}
    values |= {name: _numbers_by_pattern(name, values[name]) for name in patterns}
    values["model_args"] = _chosen(recipe, model, vars(flags.model_args), vars(defaults.model_args))
    if values["dataset"] != recipe.dataset:
        values["paper"] = {}  # published results are for the recipe's own data
    return type(recipe)(**values), {name: getattr(flags, name) for name, _, _ in options}


def _shown_recipe(recipe: Recipe) -> tuple[Any, Sequence[str]]:
    """A recipe of a type that tyro can parse, and the fields of it that are pairs PATTERN=NUMBER there.

    The builder's arguments have flags of their own, and a paper's results are facts. Other mappings are patterns.
    """
    import tyro

    mappings = {entry.name for entry in fields(recipe) if isinstance(getattr(recipe, entry.name), Mapping)}
    hidden, patterns = mappings & NO_FLAGS, sorted(mappings - NO_FLAGS)
    Shown = make_dataclass(
        type(recipe).__name__,
        [(name, tyro.conf.Suppress[tyro.conf.Fixed[Any]], field(default=None)) for name in hidden]
        + [(name, Annotated[tuple[str, ...], tyro.conf.arg(metavar=PAIRS)], field(default=())) for name in patterns],
        bases=(type(recipe),),
        namespace={"__post_init__": lambda self: None},  # the recipe itself is checked
        frozen=True,
        kw_only=True,
    )
    values = {entry.name: getattr(recipe, entry.name) for entry in fields(recipe)}
    values |= {name: tuple(f"{key}={value}" for key, value in values[name].items()) for name in patterns}
    return Shown(**values), patterns


def _chosen(recipe: Recipe, model: str, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The builder's arguments that the recipe or a flag states.

    What is not an argument of the builder is passed on, so that the builder's check names it.
    """
    stated = recipe.model_args if model == recipe.model else {}
    unknown = {name: value for name, value in stated.items() if name not in given}
    return unknown | {name: value for name, value in given.items() if name in stated or value != defaults[name]}


def _numbers_by_pattern(name: str, pairs: Sequence[str]) -> dict[str, float]:
    """The numbers of a flag of pairs PATTERN=NUMBER, by pattern."""
    numbers = {}
    for pair in pairs:
        pattern, _, text = pair.rpartition("=")
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not pattern or not math.isfinite(number):
            raise UsageError(f"--{name.replace('_', '-')}: {pair!r} is not PATTERN=NUMBER, such as '*/bias=2'.")
        numbers[pattern] = int(number) if number == int(number) else number
    return numbers


def _refuse_renamed(arguments: Sequence[str]) -> None:
    for argument in arguments:
        old = argument.partition("=")[0].replace("_", "-")
        if old in RENAMED:
            raise UsageError(f"{old} is now {RENAMED[old]}.")


def load_tensorflow() -> None:
    """Imports TensorFlow and Keras without start-up messages."""
    with quiet_start():
        require_keras()
        import tensorflow as tf

        tf.config.list_physical_devices()


def _builder_fields(model: str, recipe: Recipe) -> list[tuple[str, Any, Any]]:
    """The arguments of a model's builder as dataclass fields, with the recipe's values as defaults.

    An argument without an annotation has the type of its default; without a default, too, it is no flag.
    """
    card = describe(model)
    defaults = {**card.arguments, **(recipe.model_args if model == recipe.model else {})}
    fields = []
    for parameter in parameters_of(card).values():
        by_name = parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        if not by_name or parameter.name in NO_ARGUMENTS:
            continue
        value = defaults.get(parameter.name, parameter.default)
        value = tuple(value) if isinstance(value, list) else value
        kind = _kind(parameter.annotation, value)
        if value is not parameter.empty and kind is not None:
            fields.append((parameter.name, kind, field(default=value)))
    return fields


def _kind(annotation: Any, value: Any) -> Any:
    """The type that a flag is parsed as; None where there is none to be found."""
    if str(annotation) == "collections.abc.Sequence[int]":
        return tuple[int, ...]
    if annotation is not inspect.Parameter.empty and not isinstance(annotation, str):
        return annotation
    if isinstance(value, tuple):
        return tuple[type(value[0]), ...] if value else None
    return type(value) if isinstance(value, (bool, int, float, str)) else None

"""The table of tasks: for each name its recipe, task and predictor. Imports neither TensorFlow nor Keras."""

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import UsageError, nearest
from zoo.exports import read
from zoo.recipe import Recipe
from zoo.registry import describe

if TYPE_CHECKING:
    from zoo.tasks.base import Log, Predictor, Task


@dataclass(frozen=True)
class _Entry:
    """A row of the table: classes, or where to import them from ("module:Class")."""

    recipe: type[Recipe] | str
    task: "type[Task] | str"
    predictor: "type[Predictor] | str"


def _shipped(name: str, recipe: str, task: str, predictor: str) -> _Entry:
    package = f"zoo.tasks.{name}"
    return _Entry(f"{package}.recipe:{recipe}", f"{package}.task:{task}", f"{package}.predictor:{predictor}")


_TABLE: dict[str, _Entry] = {
    "image_classification": _shipped("image_classification", "ImageRecipe", "ImageClassification", "ImagePredictor"),
    "language_modelling": _shipped(
        "language_modelling", "LanguageModelRecipe", "LanguageModelling", "LanguageModelPredictor"
    ),
    "tagging": _shipped("tagging", "TaggingRecipe", "Tagging", "TaggingPredictor"),
    "text_classification": _shipped(
        "text_classification", "TextClassificationRecipe", "TextClassification", "TextClassificationPredictor"
    ),
    "translation": _shipped("translation", "TranslationRecipe", "Translation", "TranslationPredictor"),
}


def register_task(task: "type[Task]", predictor: "type[Predictor]") -> None:
    """Registers your own task under the name `task.Recipe.task`, so that recipes and exports of it work.

    Raises `UsageError` if the name is taken.
    """
    name = task.Recipe.task
    if name in _TABLE:
        raise UsageError(f"There is already a task {name!r}; choose another name for {task.__name__}.Recipe.task.")
    _TABLE[name] = _Entry(task.Recipe, task, predictor)


def list_tasks() -> list[str]:
    """Names of the tasks, sorted."""
    return sorted(_TABLE)


def _entry(name: str) -> _Entry:
    if name not in _TABLE:
        raise UsageError(
            f"There is no task {name!r}. {nearest(name, _TABLE)} A task of your own must be registered first, with "
            "zoo.register_task."
        )
    return _TABLE[name]


def _loaded(reference: Any) -> Any:
    if not isinstance(reference, str):
        return reference
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


def recipe_class(task: str) -> type[Recipe]:
    """The dataclass of a task's fields."""
    return _loaded(_entry(task).recipe)


def check_fields(task: str, changes: Iterable[str]) -> None:
    """Raises `UsageError` for a name that is no field of a task's recipes."""
    known = [entry.name for entry in fields(recipe_class(task))]
    for key in changes:
        if key not in known:
            raise UsageError(f"A recipe of {task} has no field {key!r}. {nearest(key, known)}")


def create_task(recipe: Recipe, log: "Log" = print) -> "Task":
    """The task of a recipe, before any data is loaded.

    Raises `UsageError` if the recipe's model is of another task.
    """
    card = describe(recipe.model)
    task = _loaded(_entry(recipe.task).task)
    if not task.compatible(card):
        raise UsageError(
            f"{recipe.name}: {card.name} is a model for {card.task}, and the recipe trains {recipe.task}; choose a "
            f"model with `zoo list --task {recipe.task}`, or a recipe of `zoo show {card.name}`."
        )
    return task(recipe, card, log)


def load_predictor(export: Path) -> "Predictor":
    """The predictor of an export, a version folder that `zoo.exports.read.find` returned."""
    return _loaded(_entry(read.read_recipe(export)["task"]).predictor)(export)


def predictor_class(task: str) -> "type[Predictor]":
    """The predictor of a task's exports."""
    return _loaded(_entry(task).predictor)


def recipe_from_dict(plain: Mapping[str, Any]) -> Recipe:
    """The recipe that `Recipe.to_dict` made plain. Raises `UsageError` for a task that does not exist."""
    kind = recipe_class(plain["task"])
    names = {entry.name for entry in fields(kind)}
    return kind(**{key: _with_tuples(value) for key, value in plain.items() if key in names})


def _with_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_tuples(part) for key, part in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value

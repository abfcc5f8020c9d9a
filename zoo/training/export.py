"""Exports of trained models: those of runs, and `export` for a model that was trained by hand."""

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras

from zoo.building import build
from zoo.distribute.strategy import computes_in_bfloat16
from zoo.errors import UsageError
from zoo.exports import write
from zoo.exports.half import store_in_half
from zoo.paths import user_path
from zoo.recipe import Recipe, load_recipe
from zoo.registry import parameters_of
from zoo.tasks.base import Task
from zoo.tasks.table import create_task
from zoo.tasks.training_endpoint import add_training_endpoint


def export(
    model: keras.Model,
    recipe: Recipe | str,
    path: str | os.PathLike[str],
    *,
    check: bool = True,
    log: Callable[[str], None] = print,
) -> Path:
    """Evaluates a model that was trained by hand and exports it as a run of `recipe` does.

    The recipe names the model's builder, its arguments, the data and the preprocessing. Its data gives the class names,
    vocabularies, statistics and requests to check the export with. Its fields of training are not used, but are part of
    the export as what was intended.

    Args:
      model: a model with the layers of `zoo.build(recipe.model, …)`; what stands after the logits, such as a softmax,
        is left out.
      recipe: the recipe, or the name of a shipped one.
      path: the folder of the export; the version is one more than the highest in it.
      check: load the export in a fresh process without the zoo and compare its answers with the model's.
      log: called with each line that is to be printed.

    Returns:
      The folder of the export, `path/VERSION`.

    Raises:
      UsageError: an argument of a wrong type, or the model's weights are not those of the recipe's model, by path and
        shape.
      ZooError: the data cannot be read, or the export cannot be written.
    """
    base = user_path(path)
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
    if not isinstance(model, keras.Model) or not isinstance(recipe, Recipe):
        raise UsageError(f"export takes a keras.Model and a recipe or its name, and not {model!r} and {recipe!r}.")
    task = create_task(recipe, log)
    task.prepare()
    whole = build_model(task, export_precision(recipe))
    own = task.inference_model(whole)
    known = {weight.path for weight in whole.weights}
    if more := [weight.path for weight in model.weights if weight.path not in known]:
        raise UsageError(f"{recipe.name}: {model.name} has the weight {more[0]!r}, which {recipe.model} does not have.")
    copy_weights(model, own, recipe)
    with tempfile.TemporaryDirectory() as scratch:
        metrics = task.evaluate(own, Path(scratch))
    return write_export(task, own, base, metrics, check=check)


def resolve_precision(recipe: Recipe, kind: str) -> str:
    """The type that a recipe's model computes in while it trains under a kind of strategy, such as "tpu"."""
    if recipe.precision not in (None, "auto"):
        return recipe.precision
    half = kind == "tpu" or (recipe.precision == "auto" and computes_in_bfloat16())
    return "bfloat16" if half else "float32"


def export_precision(recipe: Recipe) -> str:
    """The type that the trained model computes in. Half precision depends on the device: a CPU without instructions
    for bfloat16 is slower in it, or has no operation for it."""
    return "float64" if recipe.precision == "float64" else "float32"


def build_model(task: Task, precision: str) -> keras.Model:
    """The model of a task's recipe, with fresh weights; `prepare` has run."""
    arguments = {**task.model_args(), **task.recipe.model_args}
    policy = precision if precision in ("float32", "float64") else f"mixed_{precision}"
    _check_builder(task, arguments)
    model = build(task.recipe.model, dtype=policy, **arguments)
    task.check_model(model)
    return model


def _check_builder(task: Task, arguments: Mapping[str, object]) -> None:
    """Raises `UsageError` for an argument that the data decides and that the recipe has in another value, or the
    builder does not have."""
    parameters = parameters_of(task.card)
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for key, decided in task.model_args().items():
        if arguments[key] != decided:
            raise UsageError(
                f"{task.recipe.name}: {key} is {arguments[key]!r} in model_args; the data decides it, here "
                f"{decided!r}. Leave it out."
            )
        if key not in parameters and not takes_any:
            raise UsageError(
                f"The builder of {task.card.name!r} takes no argument {key!r}, which the data decides "
                f"({key}={arguments[key]!r} here); give it one."
            )


def copy_weights(source: keras.Model, target: keras.Model, recipe: Recipe) -> None:
    """Copies the weights of `target`, the model of `recipe`, by their paths. Raises `UsageError` where `source` lacks
    one or has another shape; then `target` is unchanged."""
    theirs = {weight.path: weight for weight in source.weights}
    for weight in target.weights:
        if weight.path not in theirs:
            raise UsageError(f"{recipe.name}: {source.name} has no weight {weight.path!r}, as {recipe.model} has.")
        if theirs[weight.path].shape != weight.shape:
            raise UsageError(
                f"{recipe.name}: {weight.path} has shape {tuple(theirs[weight.path].shape)}, and {recipe.model} for "
                f"this recipe has {tuple(weight.shape)}; check model_args and the number of classes."
            )
    for weight in target.weights:
        weight.assign(theirs[weight.path])


def write_export(
    task: Task,
    model: keras.Model,
    base: Path,
    metrics: Mapping[str, float],
    *,
    anew: Mapping[str, Any] | None = None,
    check: bool = True,
) -> Path:
    """Writes the export of a task's trained model as the next version below `base`; `prepare` has run.

    `anew` has the entries `parent` and `stored` of the card of an export that is written anew in half precision (see
    `zoo.training.half_precision`).
    """
    recipe, serving = task.recipe, task.serving(model)
    entries = anew or {"parent": task.parent.origin() if task.parent else None, "stored": None}
    return write.write(
        base,
        store_in_half(serving, model) if entries["stored"] else add_training_endpoint(serving, model),
        model,
        recipe,
        task.card,
        task.serving_examples(),
        metrics,
        {**recipe.model_args, **task.model_args()},
        labels=task.labels(),
        data=task.data_fingerprint,
        check=check,
        **entries,
    )

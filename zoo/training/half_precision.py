"""Writes an export anew, with its weights stored in float16."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from zoo.errors import UsageError, ZooError
from zoo.exports.half import is_stored_in_half
from zoo.paths import user_path
from zoo.recipe import GradientRecipe, Recipe
from zoo.report import console
from zoo.tasks.table import create_task, recipe_from_dict
from zoo.training.export import build_model, export_precision, write_export
from zoo.weights.exports import find_export
from zoo.weights.parent import Parent


def export_in_half(
    export: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    check: bool = True,
    log: Callable[[str], None] = print,
) -> Path:
    """Writes an export anew with its matrices and kernels stored in float16, and evaluates it again on its data.

    The functions of the new export convert the weights to float32 when they use them, and compute as before. It has no
    training endpoint, because training changes weights by less than float16 resolves; `zoo.build` and `zoo.finetune`
    read it in float32. Its card has the new metrics, and says how the weights are stored and what the metrics were.

    Args:
      export: a run directory, an export's folder, its name in `saved_models/`, or MODEL:TAG.
      path: the folder of the export; the version is one more than the highest in it.
      check: load the export in a fresh process without the zoo and compare its answers.
      log: called with each line that is to be printed.

    Returns:
      The folder of the new export, `path/VERSION`.

    Raises:
      UsageError: there is no such export, it is an ensemble, it is stored in float16 already, or it is in float64.
      ZooError: a metric changes by more than 0.1 point or a loss above 1 by more than 0.1 %, a weight is too large for
        float16, the data cannot be read, or the export cannot be written.
    """
    folder, base = find_export(export), user_path(path)
    parent = Parent(folder)
    if "stored" in parent.card:
        raise UsageError(f"{folder} is stored in {parent.card['stored']['type']} already.")
    recipe = recipe_from_dict(parent.recipe)
    task = create_task(_from_itself(recipe, folder), log)
    task.prepare()
    model = task.inference_model(build_model(task, export_precision(recipe)))
    parent.load(model)
    large = [weight for weight in model.weights if is_stored_in_half(weight)]
    if not large:
        raise UsageError(f"{folder} has no matrices or kernels in float32 that could be stored in float16.")
    for weight in large:
        with np.errstate(over="ignore"):
            rounded = weight.numpy().astype(np.float16)
        if not np.isfinite(rounded).all():
            raise ZooError(f"{folder}: {weight.path} has values that are too large for float16, which ends at 65,504.")
        weight.assign(rounded.astype(weight.dtype))
    with tempfile.TemporaryDirectory() as scratch:
        metrics = task.evaluate(model, Path(scratch))
    before = {name: value for name, value in parent.card["metrics"].items() if name in metrics}
    for name, value in before.items():
        log(f"{name}: {console.format_metric(name, value)} → {console.format_metric(name, metrics[name])}")
        if console.differs(name, value, metrics[name]):
            raise ZooError(f"{folder}: float16 changes {name} too much; keep it in float32.")
    stored = {"type": "float16", "metrics_in_float32": before}
    task.recipe = recipe
    anew = {"parent": parent.card.get("parent"), "stored": stored}
    return write_export(task, model, base, metrics, anew=anew, check=check)


def _from_itself(recipe: Recipe, folder: Path) -> Recipe:
    """`recipe` with the export that it made in the place of the one that its training started from, which may be gone:
    it has the same vocabularies, statistics and classes."""
    started = isinstance(recipe, GradientRecipe) and recipe.weights is not None
    return replace(recipe, weights=str(folder)) if started else recipe

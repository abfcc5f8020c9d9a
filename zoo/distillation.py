"""Distillation: from an export to a recipe that trains another model to give its probabilities."""

import inspect
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from zoo.errors import UsageError
from zoo.exports import read
from zoo.recipe import GradientRecipe
from zoo.registry import builder_of, describe
from zoo.tasks.table import check_fields, recipe_from_dict
from zoo.weights.exports import find_export, pinned

if TYPE_CHECKING:
    from zoo.training.run import Result

TEMPERATURE, ALPHA = 4.0, 0.9
# Fields that belong to the teacher's own training or to the paths of its weights, which have their defaults.
NOT_TAKEN = (
    "weights",
    "head",
    "frozen",
    "frozen_epochs",
    "depth_decay",
    "learning_rate_factors",
    "decayed_weights",
    "weight_decay_factors",
    "frozen_after",
    "adapt_images",
    "mixup",
    "cutmix",
    "loss",
    "paper",
    "precision",
    "limit_steps",
)


def distillation_recipe(
    teacher: str | os.PathLike[str],
    *,
    student: str,
    dataset: str | None = None,
    temperature: float = TEMPERATURE,
    alpha: float = ALPHA,
    **changes: Any,
) -> GradientRecipe:
    """The recipe that trains `student` on the labels of a data set and on the probabilities of an export (Hinton,
    Vinyals & Dean 2015).

    With the student's logits z, the label y, and the teacher's probabilities softmax(v), the loss of an image is

        (1 − alpha) · CE(y, softmax(z)) + alpha · T² · CE(softmax(v / T), softmax(z / T))

    where T is the temperature and CE the cross-entropy. Preprocessing, augmentation, optimizer, schedule and epochs are
    those of the teacher's recipe; the student takes images of the size of the teacher's input.

    Args:
      teacher: a run directory, an export's folder, its name in `saved_models/`, or MODEL:TAG; an export, or ensemble,
        that classifies images and gives probabilities.
      student: the name of a model.
      dataset: the data to train on; by default the teacher's own. It must have the teacher's classes.
      temperature: T, above 0; larger values make the probabilities more even.
      alpha: the part of the teacher in the loss, from 0 to 1.
      **changes: fields of the recipe with other values.

    Raises:
      UsageError: an unknown export, model or field, or an export of another task.
    """
    folder = find_export(teacher)
    card, plain = read.read_card(folder), read.read_recipe(folder)
    if plain["task"] != "image_classification":
        raise UsageError(f"{teacher} is an export for {plain['task']}; distillation is for image classifiers.")
    check_fields(plain["task"], changes)
    model = describe(student)
    shape = plain["model_args"].get("input_shape") or card["input_shape"]
    takes_shape = "input_shape" in inspect.signature(builder_of(model)).parameters
    kept = {key: value for key, value in plain.items() if key not in NOT_TAKEN}
    return recipe_from_dict(
        {
            **kept,
            "name": f"{model.name}-distilled",
            "model": model.name,
            "model_args": {"input_shape": tuple(shape)} if takes_shape else {},
            "dataset": plain["dataset"] if dataset is None else dataset,
            "teacher": pinned(teacher, folder),
            "temperature": temperature,
            "alpha": alpha,
            **changes,
        }
    )


def distill(
    teacher: str | os.PathLike[str],
    *,
    student: str,
    options: Mapping[str, Any] | None = None,
    **changes: Any,
) -> "Result":
    """Trains `student` on the probabilities of an export, and exports it.

    Takes the arguments of `distillation_recipe`, and as `options` those of `zoo.run`, such as `{"run_dir": "mine"}`.
    Returns and raises what `zoo.run` does.
    """
    recipe = distillation_recipe(teacher, student=student, **changes)
    from zoo.training.run import run_with_options

    return run_with_options(recipe, options)

"""Fine-tuning: from an export to a recipe that starts from its weights."""

import numbers
import os
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

from zoo.errors import UsageError
from zoo.exports import read
from zoo.recipe import GradientRecipe
from zoo.tasks.table import check_fields, recipe_class, recipe_from_dict
from zoo.weights.exports import find_export, pinned
from zoo.weights.imagenet_parent import ImagenetParent, is_imagenet

if TYPE_CHECKING:
    from zoo.training.run import Result

# The fields of every gradient recipe that fine-tuning takes from the export; the others have the values below.
INHERITED = ("model", "model_args", "clip_norm", "clip_value")
EPOCHS = 15
RATE = 0.01  # of the head in the frozen epochs; a tenth of it for all weights after them, or without them
ALWAYS_KEPT = ("language_modelling", "translation")  # tasks whose head is a vocabulary, which is only added to


def finetuning_recipe(
    export: str | os.PathLike[str], *, dataset: str | None = None, weights_only: bool = False, **changes: Any
) -> GradientRecipe:
    """The recipe that trains an export's model on other data, starting from its weights.

    It is a recipe of the export's own task, with its preprocessing, augmentation, loss and gradient clipping. Adam
    trains 15 epochs with batches of 32: where there may be a new head, a fifth of the epochs trains the head alone at a
    rate of 0.01; then all weights train at a tenth of that, multiplied by 0.9 for each layer of depth. Each phase has
    a warm-up and a cosine decay.

    Args:
      export: a run directory, an export's folder, its name in `saved_models/`, or MODEL:TAG; the tag `imagenet` stands
        for the weights of Keras Applications, which are downloaded.
      dataset: the data to train on; by default the export's own.
      weights_only: take the weights and the preprocessing, and not the augmentation, loss and other fields of the
        export's recipe; they have their defaults.
      **changes: fields of the recipe with other values.

    Raises:
      UsageError: an unknown export or field, or a data set of another task.
      ZooError: the export is damaged, or of a newer format.
    """
    if is_imagenet(str(export)):
        reference, plain = str(export), ImagenetParent(str(export)).recipe
    else:
        folder = find_export(export)
        read.read_card(folder)  # refuses a newer format
        reference, plain = pinned(export, folder), read.read_recipe(folder)
    kind = recipe_class(plain["task"])
    if not issubclass(kind, GradientRecipe):
        raise UsageError(f"{export} is an export for {plain['task']}, which does not train by gradient descent.")
    check_fields(plain["task"], changes)
    dataset = plain["dataset"] if dataset is None else dataset
    values = {**_inherited(kind, plain, weights_only), **_defaults(plain, changes), **changes}
    return recipe_from_dict(
        {
            "task": plain["task"],
            "name": f"{plain['name']}-finetuned",
            "dataset": dataset,
            "weights": reference,
            **values,
        }
    )


def finetune(
    export: str | os.PathLike[str],
    *,
    dataset: str | None = None,
    data: Mapping[str, Any] | None = None,
    weights_only: bool = False,
    options: Mapping[str, Any] | None = None,
    **changes: Any,
) -> "Result":
    """Trains an export's model on other data, starting from its weights, and exports it.

    Takes the arguments of `finetuning_recipe`, `data` as `zoo.run` does, which stands for `dataset`, and as `options`
    the other arguments of `zoo.run`, such as `{"run_dir": "mine"}`. Returns and raises what `zoo.run` does.
    """
    if data is not None and dataset is not None:
        raise UsageError("finetune takes dataset or data, not both.")
    recipe = finetuning_recipe(export, dataset=dataset, weights_only=weights_only, **changes)
    from zoo.training.run import run_with_options

    return run_with_options(recipe, options, data=data)


def _inherited(kind: type[GradientRecipe], plain: Mapping[str, Any], weights_only: bool) -> dict[str, Any]:
    """The fields that are the export's own."""
    common = {entry.name for entry in fields(GradientRecipe)}
    own = [entry.name for entry in fields(kind) if entry.name not in common and entry.default is not MISSING]
    kept = kind.preprocessing_fields if weights_only else [name for name in own if name not in kind.data_fields]
    values = {name: plain[name] for name in (*INHERITED, *kept) if name in plain}
    # An export has no auxiliary heads.
    values["model_args"] = {key: value for key, value in plain["model_args"].items() if key != "aux_heads"}
    return values


def _defaults(plain: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the training, which depend on the epochs in `changes`."""
    epochs = changes.get("epochs", EPOCHS)
    frozen = 0
    whole = isinstance(epochs, numbers.Integral)  # of NumPy, too
    if whole and epochs > 1 and plain["task"] not in ALWAYS_KEPT:
        frozen = max(1, epochs // 5)
    frozen = changes.get("frozen_epochs", frozen)
    return {
        "epochs": epochs,
        "batch_size": 32,
        "optimizer": "adam",
        "learning_rate": RATE if frozen else RATE / 10,
        "schedule": "cosine",
        "warmup_epochs": min(1, epochs / 2) if whole else 0,
        "frozen_epochs": frozen,
        "depth_decay": 0.9,
    }

"""Ensembles: several exports of image classifiers as one, which answers with the mean of their probabilities."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.errors import UsageError
from zoo.exports import read
from zoo.paths import user_path
from zoo.registry import Card
from zoo.tasks.table import recipe_from_dict
from zoo.weights.exports import find_export


def ensemble(
    exports: Sequence[str | os.PathLike[str]],
    path: str | os.PathLike[str],
    *,
    check: bool = True,
    log: Callable[[str], None] = print,
) -> Path:
    """Writes an export whose probabilities are the mean of those of several exports of image classifiers.

    Each member has its own preprocessing; all take the same images and have the same classes in the same order. The
    signatures are `serving_default` and `image_bytes`, as those of a single classifier. The ensemble is scored on the
    data set of its first member, where that is available. Its card lists the members with their versions and the
    SHA-256 of their lists of sums.

    Args:
      exports: two or more, each a run directory, an export's folder, its name in `saved_models/`, or MODEL:TAG.
      path: the folder of the export; the version is one more than the highest in it.
      check: load the export in a fresh process without the zoo and compare its answers.
      log: called with each line that is to be printed.

    Returns:
      The folder of the export, `path/VERSION`.

    Raises:
      UsageError: fewer than two exports, one that is unknown or gives no probabilities, or exports that differ in
        their classes or in the images they take.
      ZooError: an export is damaged, or the ensemble cannot be written.
    """
    if not isinstance(exports, (list, tuple)):
        raise UsageError(f"The exports are {exports!r}; an ensemble takes a list of two or more.")
    if len(exports) < 2:
        raise UsageError(f"An ensemble needs at least two exports, and there is {len(exports)}.")
    path, folders = user_path(path), [find_export(export) for export in exports]
    for folder in folders:
        if (task := read.read_recipe(folder)["task"]) != "image_classification":
            raise UsageError(f"{folder} is an export for {task}; ensembles are of image classifiers.")
    from zoo.exports import write
    from zoo.tasks.image_classification.ensemble import ServingEnsemble, check_members, example_images, scores_of

    check_members(folders)
    first, cards = folders[0], [read.read_card(folder) for folder in folders]
    recipe = recipe_from_dict({**read.read_recipe(first), "name": path.name})
    serving = ServingEnsemble(folders, cards[0]["labels"])
    return write.write(
        path,
        serving,
        None,
        recipe,
        _card(cards),
        {"images": example_images(first)},
        scores_of(serving, folders, log),
        {},
        labels=cards[0]["labels"],
        members=[read.origin(folder) for folder in folders],
        data=cards[0].get("data"),
        check=check,
    )


def _card(cards: Sequence[Mapping[str, Any]]) -> Card:
    names, licences = ([card[key] for card in cards] for key in ("name", "licence"))
    return Card(
        name="ensemble",
        family="ensemble",
        task="image_classification",
        builder="",
        summary=f"the mean of the probabilities of {', '.join(names)}",
        input_shape=tuple(cards[0]["input_shape"]),
        licence=" AND ".join(sorted(set(licences))),
    )

"""Small copies of the pictures of finished runs, for the pages of the models."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.paths import write_whole
from zoo.recipe import list_recipes, load_recipe
from zoo.report.results import is_comparison, is_complete

NAMES = ("curves", "confusion", "attention")  # NAME.png in the folder of a run
LARGEST = 40_000  # bytes of a copy


def copy_pictures(runs: Sequence[Path], folder: Path) -> None:
    """Copies the pictures of runs to `folder`/RECIPE_NAME.png, in 32 colours and at most `LARGEST` bytes each.

    A larger picture is scaled down. Pictures that a run does not have are left out, and so are runs that are not of the
    recipe as it stands: comparisons, runs with another model or other data, and those that were stopped early. Each run
    has a result.json, which `add_results` checks.
    """
    for run in runs:
        row = json.loads((run / "result.json").read_text(encoding="utf-8"))["rows"][0]
        if is_comparison(row) or not is_complete(row) or not _is_of_its_recipe(row):
            continue
        for name in NAMES:
            picture = run / f"{name}.png"
            if picture.is_file():
                folder.mkdir(parents=True, exist_ok=True)
                write_whole(folder / f"{row['recipe']}_{name}.png", _small(picture))


def _is_of_its_recipe(row: Mapping[str, Any]) -> bool:
    if row["recipe"] not in list_recipes():
        return False
    recipe = load_recipe(row["recipe"])
    return (row["model"], row["dataset"]) == (recipe.call, recipe.data)


def _small(picture: Path) -> bytes:
    from PIL import Image

    with Image.open(picture) as file:
        image = file.convert("RGB")
    for percent in range(100, 9, -10):
        size = max(image.width * percent // 100, 1), max(image.height * percent // 100, 1)
        content = io.BytesIO()
        image.resize(size, Image.Resampling.LANCZOS).quantize(32).save(content, "PNG", optimize=True)
        if content.tell() <= LARGEST:
            break
    return content.getvalue()

"""What a finished run writes and prints."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.recipe import Recipe, list_recipes, load_recipe
from zoo.report import console
from zoo.training import run_folder
from zoo.training.training import Training

if TYPE_CHECKING:
    from zoo.training.run import Run


def write(run: "Run", metrics: Mapping[str, float], training: Training, exported: Path) -> None:
    """Writes result.json, which marks a run as finished: metrics, export, and rows for a table of results."""
    recipe, setting = run.recipe, run_folder.environment()
    versions, paper = setting["versions"], _paper(recipe)
    common = {
        "recipe": recipe.name,
        "model": recipe.call,
        "seed": recipe.seed,
        "dataset": recipe.data,
        "steps": training.step,
        "planned_steps": training.planned_steps or training.step,
        "seconds": round(training.seconds, 1),
        "precision": run.precision,
        "strategy": run.placement.summary,
        "trained_on": setting["hardware"],
        "evaluated_on": setting["hardware"],
        "versions": " ".join(f"{key}-{versions[key]}" for key in ("python", "tensorflow", "keras")),
        "commit": setting["commit"],
        "command": setting["command"],
    }
    rows = [
        {**common, "metric": metric, "value": value, "paper": paper.get(metric)}
        for metric, value in metrics.items()
        if not metric.endswith("loss")
    ]
    result = {"metrics": metrics, "export": str(exported.relative_to(run.folder)), "rows": rows}
    run_folder.write_json(run.folder / "result.json", result)


def show(recipe: Recipe, metrics: Mapping[str, float]) -> None:
    """Prints the metrics and the published ones."""
    paper = _paper(recipe)
    rows = [
        (
            metric.replace("_", " "),
            console.format_metric(metric, value),
            console.format_metric(metric, paper.get(metric)),
        )
        for metric, value in metrics.items()
    ]
    console.table(f"{recipe.name} (seed {recipe.seed})", ("metric", "ours", "paper"), rows)


def _paper(recipe: Recipe) -> Mapping[str, float]:
    """The published results, if the run used the data set that they are for; a recipe may have been given a name of
    its own."""
    if not recipe.paper:
        return {}
    shipped = map(load_recipe, list_recipes())
    same = [
        other
        for other in shipped
        if other.name == recipe.name or (other.model == recipe.model and other.paper == recipe.paper)
    ]
    return {} if same and recipe.dataset not in {other.dataset for other in same} else recipe.paper

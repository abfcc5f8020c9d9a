"""The rows of results.csv, and the tables of README.md, docs/ and saved_models/ that are generated from them."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

from zoo.errors import ZooError
from zoo.paths import write_whole
from zoo.report.console import format_metric

COLUMNS = (
    "recipe", "model", "seed", "dataset", "metric", "value", "paper", "steps", "planned_steps",
    "seconds", "precision", "strategy", "trained_on", "evaluated_on", "versions", "commit", "command",
)  # fmt: skip
SETTING = ("recipe", "model", "dataset", "precision", "strategy")
BY_LENGTH = "_words"  # the end of a metric's name that says how long the texts are
LOWER_IS_BETTER = ("error", "loss", "nats_per_char")
FINETUNING = {"finetuned": "fine-tuned", "scratch": "from scratch", "as_it_is": "the export as it is"}
COMMITTEES = {"member": "a member", "committee": "the ensemble"}
TABLE_START, TABLE_END = "<!-- written by `make results` -->", "<!-- end -->"


def add_results(runs: Sequence[Path], results: Path) -> None:
    """Adds the metrics of finished runs to results.csv; a row of the same setting, hardware and seed is replaced, but
    not one of a complete run by one of a run that was stopped early.

    Raises `ZooError` for a folder without the result of a finished run.
    """
    rows = read_results(results)
    for run in runs:
        try:
            result = json.loads((run / "result.json").read_text(encoding="utf-8"))
        except OSError as error:
            raise ZooError(
                f"{run} holds no result.json: the run is not finished, or the folder is not a run."
            ) from error
        for row in result["rows"]:
            new = {column: "" if row[column] is None else str(row[column]) for column in COLUMNS}
            rows = [old for old in rows if not _replaces(new, old)]
            rows.append(new)
    rows.sort(key=lambda row: (row["recipe"], len(row["model"]), *(row[column] for column in SETTING)))
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(results, text.getvalue().encode())


def _replaces(new: Mapping[str, str], old: Mapping[str, str]) -> bool:
    same = all(old[column] == new[column] for column in (*SETTING, "trained_on", "metric", "seed"))
    return same and (is_complete(new) or not is_complete(old))


def read_results(results: Path) -> list[dict[str, str]]:
    """The rows of results.csv; none if the file does not exist."""
    if not results.exists():
        return []
    with results.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def is_comparison(row: Mapping[str, str]) -> bool:
    """Whether a row belongs to a comparison of ways to train, `way/data`, and not to a recipe."""
    return "/" in row["recipe"]


def is_complete(row: Mapping[str, str]) -> bool:
    """Whether a run reached the last step of its recipe."""
    return int(row["steps"]) >= int(row["planned_steps"])


def summary_table(rows: Sequence[Mapping[str, str]]) -> str:
    """README's table in Markdown: a line for each recipe, model and data set, of complete runs only.

    The metric is the one with a published value, else the first of the test split, else the first. Of several settings
    (precision, strategy), the line is for the recipe on one device, else for the first. A model's arguments are
    shown where a recipe was run with several; elsewhere they are marked by ¹.
    """
    settings = _settings(_of_recipes(rows))
    models: dict[str, set[str]] = {}
    for recipe, model, *_ in settings:
        models.setdefault(recipe, set()).add(model)
    lines: dict[tuple[str, ...], tuple[list[str], str]] = {}
    for (recipe, model, dataset, precision, strategy, *_), metrics in settings.items():
        notes = _notes(precision, strategy)
        key = (recipe, model, dataset)
        if key in lines and (notes or not lines[key][0]):
            continue
        metric = _shown_metric(metrics)
        group = metrics[metric]
        name, bracket, _ = model.partition("(")
        shown = f"`{model}`" if len(models[recipe]) > 1 else f"`{name}`" + (" ¹" if bracket else "")
        cells = [
            ", ".join([f"`{recipe}`", *notes]),
            shown,
            dataset,
            metric.replace("_", " "),
            *_scores(metric, group),
            str(len(group)),
        ]
        lines[key] = (notes, f"| {' | '.join([*cells, _minutes(group)])} |")
    head = ["| recipe | model | data | metric | published | ours | runs | minutes |"]
    return "\n".join([*head, "|---|---|---|---|---:|---:|---:|---:|", *(line for _, line in lines.values())])


def best_row(rows: Sequence[Mapping[str, str]], model: str, recipes: Sequence[str]) -> tuple[str, str, str, str] | None:
    """Recipe, metric, published score and ours of the model's best complete setting, or None.

    Settings are compared on the data and the metric of the first of `recipes` that has a complete run; a setting with a
    published score comes before one without.
    """
    found = []
    for (recipe, built, dataset, *_), metrics in _settings(_of_recipes(rows)).items():
        if built.partition("(")[0] == model:
            metric = _shown_metric(metrics)
            found.append((recipe, dataset, metric, metrics[metric]))
    if not found:
        return None
    order = {recipe: number for number, recipe in enumerate(recipes)}  # a recipe of another model comes last
    found.sort(key=lambda entry: (order.get(entry[0], len(order)), not entry[3][0]["paper"]))
    _, dataset, metric, _ = found[0]
    groups = [group for _, *same, group in found if same == [dataset, metric]]
    lower = metric.endswith(LOWER_IS_BETTER)
    best = max(groups, key=lambda group: mean(float(row["value"]) for row in group) * (-1 if lower else 1))
    return f"`{best[0]['recipe']}`", metric.replace("_", " "), *_scores(metric, best)


def model_table(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The lines of a table of one model's results: a line for each setting and metric.

    Arguments of the model are shown for a recipe that was run with several.
    """
    settings = _settings(rows)
    models: dict[str, set[str]] = {}
    for recipe, model, *_ in settings:
        models.setdefault(recipe, set()).add(model)
    lines = [
        "| recipe | data | metric | published | ours | runs | steps | minutes |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for (recipe, model, dataset, precision, strategy, steps, planned), metrics in settings.items():
        runs = next(iter(metrics.values()))
        notes = [f"`{model.partition('(')[2].removesuffix(')')}`"] if len(models[recipe]) > 1 else []
        notes += _notes(precision, strategy)
        what = [", ".join([f"`{recipe}`", *notes]), dataset]
        done = f"{int(steps):,}" + ("" if int(steps) >= int(planned) else f" of {int(planned):,}")
        how = [str(len(runs)), done, _minutes(runs)]
        for metric, group in metrics.items():
            if not metric.endswith(BY_LENGTH):
                lines.append(f"| {' | '.join([*what, metric.replace('_', ' '), *_scores(metric, group), *how])} |")
                what, how = [""] * len(what), [""] * len(how)
    return lines


def _of_recipes(rows: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    return [row for row in rows if is_complete(row) and not is_comparison(row)]


def _shown_metric(metrics: Mapping[str, Sequence[Mapping[str, str]]]) -> str:
    """The metric that stands for a setting: one with a published score, else one of the test split, else the first."""
    return min(metrics, key=lambda name: (not metrics[name][0]["paper"], not name.startswith("test_")))


def short_runs_table(rows: Sequence[Mapping[str, str]]) -> str:
    """The table of runs that were stopped before the last step of their recipe."""
    return results_table([row for row in rows if not is_complete(row)])


def full_tables(rows: Sequence[Mapping[str, str]]) -> str:
    """Every setting and metric of complete runs, and BLEU by length."""
    complete = _of_recipes(rows)
    return "\n".join([results_table(complete), *_by_length(complete)])


def comparison_table(rows: Sequence[Mapping[str, str]], ways: Mapping[str, str]) -> str:
    """A line for each data set of a comparison: the score of each of `ways`, a column's title by the way's name."""
    lines: dict[tuple[str, ...], dict[str, list[Mapping[str, str]]]] = {}
    for row in filter(is_comparison, rows):
        way = row["recipe"].partition("/")[0]
        if way in ways:
            key = (row["model"].partition("(")[0], row["dataset"], row["metric"])
            lines.setdefault(key, {}).setdefault(way, []).append(row)
    text = [
        f"| model | data | metric | {' | '.join(ways.values())} | runs of each |",
        f"|---|---|---|{'---:|' * (len(ways) + 1)}",
    ]
    for (model, data, metric), groups in lines.items():
        scores = [_scores(metric, groups[way])[1] if way in groups else "–" for way in ways]
        runs = max(map(len, groups.values()))
        text.append(f"| `{model}` | `{data}` | {metric.replace('_', ' ')} | {' | '.join(scores)} | {runs} |")
    return "\n".join(text)


def _scores(metric: str, group: Sequence[Mapping[str, str]]) -> tuple[str, str]:
    """The published value and the mean ± standard deviation over runs."""
    values = [float(row["value"]) for row in group]
    paper = format_metric(metric, float(group[0]["paper"]) if group[0]["paper"] else None)
    spread = f" ± {format_metric(metric, stdev(values), digits=2)}" if len(values) > 1 else ""
    return paper, f"{format_metric(metric, mean(values))}{spread}"


def _minutes(runs: Sequence[Mapping[str, str]]) -> str:
    """The mean minutes of the runs on several CPU cores, on one core and on a GPU."""
    seconds: dict[str, list[float]] = {"": [], " (1 core)": [], " (GPU)": []}
    for row in runs:
        one_core = row["trained_on"].startswith("1 CPU core ")
        mark = " (GPU)" if "GPU" in row["trained_on"] else " (1 core)" if one_core else ""
        seconds[mark].append(float(row["seconds"]))
    return ", ".join(f"{mean(times) / 60:.1f}{mark}" for mark, times in seconds.items() if times)


def _notes(precision: str, strategy: str) -> list[str]:
    """What is unusual in a setting."""
    notes = [] if precision in ("float32", "float64") else [precision]
    return [*notes, *([] if strategy == "one_device" else [strategy])]


def results_table(rows: Sequence[Mapping[str, str]]) -> str:
    """A line in Markdown for each setting and metric, the mean over seeds."""
    text = [
        "| recipe | model | data | metric | published | ours | runs | steps | minutes each | hardware |",
        "|---|---|---|---|---:|---:|---:|---:|---:|---|",
    ]
    settings = _settings(rows, "trained_on")
    for (recipe, model, dataset, precision, strategy, steps, planned, trained_on), metrics in settings.items():
        runs = next(iter(metrics.values()))
        hardware = [trained_on]
        hardware += [] if precision == "float32" else [precision]
        hardware += [] if strategy == "one_device" else [strategy]
        done = f"{int(steps):,}" + ("" if steps == planned else f" of {int(planned):,}")
        minutes = mean(float(row["seconds"]) for row in runs) / 60
        what = [f"`{recipe}`", f"`{model}`", dataset]
        how = [str(len(runs)), done, f"{minutes:.1f}", ", ".join(hardware)]
        for metric, group in metrics.items():
            if metric.endswith(BY_LENGTH):
                continue
            cells = [*what, metric.replace("_", " "), *_scores(metric, group), *how]
            text.append(f"| {' | '.join(cells)} |")
            what, how = [""] * len(what), [""] * len(how)  # shown once
    return "\n".join(text)


def _settings(
    rows: Sequence[Mapping[str, str]], *more: str
) -> dict[tuple[str, ...], dict[str, list[Mapping[str, str]]]]:
    """The rows of each setting and of each metric in it; `more` columns that tell settings apart."""
    settings: dict[tuple[str, ...], dict[str, list[Mapping[str, str]]]] = {}
    for row in rows:
        setting = tuple(row[column] for column in (*SETTING, "steps", "planned_steps", *more))
        settings.setdefault(setting, {}).setdefault(row["metric"], []).append(row)
    return settings


def _by_length(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """A line for each translator: BLEU by the words of the source, as in Bahdanau et al.'s figure 2."""
    lines, columns = [], []
    for (recipe, *_), metrics in _settings(rows).items():
        scores = {metric: mean(float(row["value"]) for row in group) for metric, group in metrics.items()}
        lengths = {metric: score for metric, score in scores.items() if metric.endswith(BY_LENGTH)}
        if lengths:
            columns = [*lengths, "test_bleu"]
            lines.append(f"| `{recipe}` | {' | '.join(format_metric(metric, scores[metric]) for metric in columns)} |")
    if not lines:
        return []
    names = [name.removeprefix("test_bleu_").removesuffix(BY_LENGTH).replace("_", " ") for name in columns[:-1]]
    head = f"| words in the source | {' | '.join(names)} | all |"
    return ["", "BLEU of greedy translations:", "", head, f"|---|{'---:|' * len(columns)}", *lines]


def exports_table(saved_models: Path) -> str:
    """The table of saved_models/README.md in Markdown: what each export is and what was measured of it."""
    text = ["| export | model | trained on | measured | weights |", "|---|---|---|---|---:|"]
    for path in sorted(saved_models.glob("*/*/assets.extra/card.json")):
        folder = path.parent.parent
        card = json.loads(path.read_text(encoding="utf-8"))
        recipe = json.loads((path.parent / "recipe.json").read_text(encoding="utf-8"))
        size = sum(part.stat().st_size for part in folder.glob("variables/variables.data-*"))
        measured = [
            f"{metric.replace('_', ' ')} {format_metric(metric, value)}"
            for metric, value in card["metrics"].items()
            if not metric.endswith("loss")
        ]
        text.append(
            f"| `{folder.relative_to(saved_models)}` | `{card['name']}` | {recipe['dataset']} "
            f"| {', '.join(measured)} | {size / 1e6:.2f} MB |"
        )
    return "\n".join(text)


def write_table(document: Path, table_: str, start: str = TABLE_START) -> None:
    """Writes a table between the mark `start` of a document and the end mark after it."""
    text = document.read_text(encoding="utf-8")
    before, mark, rest = text.partition(start)
    _, end, after = rest.partition(TABLE_END)
    if not mark or not end:
        raise ZooError(f"{document} lacks the marks {start!r} and {TABLE_END!r}.")
    document.write_text(f"{before}{mark}\n\n{table_}\n\n{end}{after}", encoding="utf-8")

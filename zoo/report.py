"""Pictures and tables of what was measured: curves, confusion matrices, the rows of results.csv, README's table.

As a command, `python -m zoo.report RUN…` adds the results of finished runs to results.csv, and writes the tables of
README.md and saved_models/README.md anew.
"""

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from zoo.errors import ZooError

COLUMNS = (
    "recipe", "model", "seed", "dataset", "metric", "value", "paper", "steps", "planned_steps",
    "seconds", "precision", "strategy", "trained_on", "evaluated_on", "versions", "commit", "command",
)  # fmt: skip
SETTING = ("recipe", "model", "dataset", "precision", "strategy")
BY_LENGTH = "_words"  # the end of a metric's name that says how long the texts are
TABLE_START, TABLE_END = "<!-- written by `make results` -->", "<!-- end -->"


def _figure(width: float, height: float):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    return figure


def curves(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draws each metric over the epochs, training and validation together."""
    names = [key for key in rows[0] if key not in ("epoch", "step", "learning_rate") and not key.startswith("val_")]
    figure = _figure(4.5 * len(names), 3.4)
    epochs = [row["epoch"] for row in rows]
    marker = "o" if len(rows) < 15 else None
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            if key in rows[0]:
                axes.plot(epochs, [row[key] for row in rows], label=label, marker=marker, markersize=3)
        axes.set(xlabel="epoch", title=name)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path)


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str], path: Path) -> None:
    """Draws how many examples of each class (rows) were taken for each class (columns)."""
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (labels, predicted), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(3 + 0.45 * len(classes), 16)
    figure = _figure(side, side)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    accuracy = np.trace(counts) / max(counts.sum(), 1)
    axes.set(
        xlabel="predicted",
        ylabel="true",
        title=f"test: {np.trace(counts):,} of {counts.sum():,} right ({accuracy:.2%})",
    )
    if len(classes) <= 30:
        ticks = range(len(classes))
        upright = max(map(len, classes)) <= 3
        axes.set_xticks(ticks, classes, rotation=0 if upright else 60, ha="center" if upright else "right")
        axes.set_yticks(ticks, classes)
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, counts[row, column], ha="center", va="center", color=colour, fontsize=8)
    figure.savefig(path)


def attention_maps(maps: Sequence[tuple[Sequence[str], Sequence[str], np.ndarray]], path: Path) -> None:
    """Draws for each text how much each token of its translation (rows) looked at each of its own (columns)."""
    sizes = [(2.2 + 0.32 * len(source), 1.6 + 0.32 * len(target)) for source, target, _ in maps]
    figure = _figure(max(width for width, _ in sizes), sum(height for _, height in sizes))
    panels = figure.subplots(len(maps), 1, squeeze=False, height_ratios=[height for _, height in sizes])[:, 0]
    for axes, (source, target, attention) in zip(panels, maps, strict=True):
        axes.imshow(attention, cmap="Blues", vmin=0, vmax=1, aspect="equal")
        axes.set_xticks(range(len(source)), source, rotation=60, ha="left", rotation_mode="anchor")
        axes.set_yticks(range(len(target)), target)
        axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False)
    figure.savefig(path)


def lines(
    series: Mapping[str, Sequence[float]], path: Path, *, title: str, xlabel: str, ylabel: str, log: bool = False
) -> None:
    """Draws one line for each named series over 0, 1, 2, …"""
    figure = _figure(7, 4.2)
    axes = figure.subplots()
    for label, values in series.items():
        axes.plot(range(len(values)), values, label=label, marker="o", markersize=3)
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel, yscale="log" if log else "linear")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Prints a table on the terminal."""
    from rich.console import Console
    from rich.table import Table

    view = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        view.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
    for row in rows:
        view.add_row(*map(str, row))
    Console().print(view)


def progress(items: Iterable[Any], label: str, total: int | None) -> Iterable[Any]:
    """The items, one by one, under a bar that goes when they end; `total` may be unknown (None, or negative)."""
    from rich.progress import track

    known = total if total and total > 0 else None
    return track(items, description=label, total=known, transient=True, disable=not sys.stdout.isatty())


def shown(metric: str, value: float | None, digits: int = 4) -> str:
    """A metric as people read it: accuracies and errors in per cent, others with so many digits."""
    if value is None:
        return "–"
    return f"{value:.2%}" if metric.endswith(("accuracy", "error", "match")) else f"{value:#.{digits}g}"


def size(count: int) -> str:
    """A number of bytes as people read it."""
    return f"{count / 1e6:,.1f} MB"


def add_results(runs: Sequence[Path], results: Path) -> None:
    """Adds the metrics of finished runs to results.csv; an older row of the same setting and seed is replaced.

    Raises `ZooError` for a folder without the result of a finished run.
    """
    rows = read_results(results)
    for run in runs:
        try:
            result = json.loads((run / "result.json").read_text(encoding="utf-8"))
        except OSError as error:
            raise ZooError(f"{run} holds no result.json: the run is not finished, or it is another folder.") from error
        for row in result["rows"]:
            new = {column: "" if row[column] is None else str(row[column]) for column in COLUMNS}
            rows = [old for old in rows if any(old[column] != new[column] for column in (*SETTING, "metric", "seed"))]
            rows.append(new)
    rows.sort(key=lambda row: (row["recipe"], len(row["model"]), *(row[column] for column in SETTING)))
    with results.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_results(results: Path) -> list[dict[str, str]]:
    """The rows of results.csv, none where there is no such file."""
    if not results.exists():
        return []
    with results.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def results_table(rows: Sequence[Mapping[str, str]]) -> str:
    """README's tables in Markdown: a line for each setting and metric, the mean over seeds; and BLEU by length."""
    text = [
        "| recipe | model | data | metric | paper | ours | runs | steps | minutes each | hardware |",
        "|---|---|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for (recipe, model, dataset, precision, strategy, steps, planned), metrics in _settings(rows).items():
        runs = next(iter(metrics.values()))
        hardware = [runs[0]["trained_on"]]
        hardware += [] if precision == "float32" else [precision]
        hardware += [] if strategy == "one_device" else [strategy]
        done = f"{int(steps):,}" + ("" if steps == planned else f" of {int(planned):,}")
        minutes = mean(float(row["seconds"]) for row in runs) / 60
        what = [f"`{recipe}`", f"`{model}`", dataset]
        how = [str(len(runs)), done, f"{minutes:.1f}", ", ".join(hardware)]
        for metric, group in metrics.items():
            if metric.endswith(BY_LENGTH):
                continue
            values = [float(row["value"]) for row in group]
            paper = shown(metric, float(group[0]["paper"]) if group[0]["paper"] else None)
            spread = f" ± {shown(metric, stdev(values), digits=2)}" if len(values) > 1 else ""
            cells = [*what, metric.replace("_", " "), paper, f"{shown(metric, mean(values))}{spread}", *how]
            text.append(f"| {' | '.join(cells)} |")
            what, how = [""] * len(what), [""] * len(how)  # they stand once
    return "\n".join([*text, *_by_length(rows)])


def _settings(rows: Sequence[Mapping[str, str]]) -> dict[tuple[str, ...], dict[str, list[Mapping[str, str]]]]:
    """The rows of each setting and of each metric in it, one a seed."""
    settings: dict[tuple[str, ...], dict[str, list[Mapping[str, str]]]] = {}
    for row in rows:
        setting = tuple(row[column] for column in (*SETTING, "steps", "planned_steps"))
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
            lines.append(f"| `{recipe}` | {' | '.join(shown(metric, scores[metric]) for metric in columns)} |")
    if not lines:
        return []
    names = [name.removeprefix("test_bleu_").removesuffix(BY_LENGTH).replace("_", " ") for name in columns[:-1]]
    head = f"| words in the source | {' | '.join(names)} | all |"
    return ["", "BLEU of greedy translations:", "", head, f"|---|{'---:|' * len(columns)}", *lines]


def exports_table(saved_models: Path) -> str:
    """The table of saved_models/README.md in Markdown: what each export is and what was measured of it."""
    text = ["| export | model | trained on | measured | weights |", "|---|---|---|---|---:|"]
    for card in sorted(saved_models.glob("*/*/assets.extra/card.json")):
        folder = card.parent.parent
        about = json.loads(card.read_text(encoding="utf-8"))
        recipe = json.loads((card.parent / "recipe.json").read_text(encoding="utf-8"))
        size = (folder / "variables" / "variables.data-00000-of-00001").stat().st_size
        measured = [
            f"{metric.replace('_', ' ')} {shown(metric, value)}"
            for metric, value in about["metrics"].items()
            if not metric.endswith("loss")
        ]
        text.append(
            f"| `{folder.relative_to(saved_models)}` | `{about['name']}` | {recipe['dataset']} "
            f"| {', '.join(measured)} | {size / 1e6:.2f} MB |"
        )
    return "\n".join(text)


def write_table(document: Path, table_: str) -> None:
    """Puts a table between the two marks in a document."""
    text = document.read_text(encoding="utf-8")
    before, mark, rest = text.partition(TABLE_START)
    _, end, after = rest.partition(TABLE_END)
    if not mark or not end:
        raise ZooError(f"{document} lacks the marks {TABLE_START!r} and {TABLE_END!r}.")
    document.write_text(f"{before}{mark}\n\n{table_}\n\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    root = Path(__file__).parent.parent
    add_results([Path(run) for run in sys.argv[1:]], root / "results.csv")
    write_table(root / "README.md", results_table(read_results(root / "results.csv")))
    write_table(root / "saved_models" / "README.md", exports_table(root / "saved_models"))

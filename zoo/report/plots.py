"""Pictures: learning curves, confusion matrices, attention maps, lines."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

MAX_NAME = 40  # characters of a name that are drawn; longer ones leave no room for the picture


def _literal(names: Iterable[str]) -> list[str]:
    """Names on one line as Matplotlib draws them literally: a "$" would begin a formula."""
    lines = ("".join(c if c.isprintable() else "␣" for c in name) for name in names)
    return [(line if len(line) <= MAX_NAME else f"{line[: MAX_NAME - 1]}…").replace("$", r"\$") for line in lines]


def _save(figure, path: Path) -> None:
    """Writes a picture. Characters that the font lacks are drawn as boxes, without a warning for each."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+")
        figure.savefig(path)


def _figure(width: float, height: float):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    return figure


def curves(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draws each metric over the epochs, training and validation in one panel."""
    names = [key for key in rows[0] if key not in ("epoch", "step", "learning_rate") and not key.startswith("val_")]
    figure = _figure(4.5 * len(names), 3.4)
    epochs = [row["epoch"] for row in rows]
    marker = "o" if len(rows) < 15 else None
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            if key in rows[0]:
                axes.plot(epochs, [row[key] for row in rows], label=label, marker=marker, markersize=3)
        axes.set(xlabel="epoch", title=name)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3)
        axes.legend()
    _save(figure, path)


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str], split: str, path: Path) -> None:
    """Draws the number of examples of each class (rows) by predicted class (columns) in a split."""
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
        title=f"{split}: {np.trace(counts):,} of {counts.sum():,} correct ({accuracy:.2%})",
    )
    if len(classes) <= 30:
        ticks = range(len(classes))
        upright = max(map(len, classes)) <= 3
        axes.set_xticks(ticks, _literal(classes), rotation=0 if upright else 60, ha="center" if upright else "right")
        axes.set_yticks(ticks, _literal(classes))
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, counts[row, column], ha="center", va="center", color=colour, fontsize=8)
    _save(figure, path)


def attention_maps(maps: Sequence[tuple[Sequence[str], Sequence[str], np.ndarray]], path: Path) -> None:
    """Draws the attention of each text: tokens of the translation (rows) by tokens of the text (columns)."""
    sizes = [(2.2 + 0.32 * len(source), 1.6 + 0.32 * len(target)) for source, target, _ in maps]
    figure = _figure(max(width for width, _ in sizes), sum(height for _, height in sizes))
    panels = figure.subplots(len(maps), 1, squeeze=False, height_ratios=[height for _, height in sizes])[:, 0]
    for axes, (source, target, attention) in zip(panels, maps, strict=True):
        axes.imshow(attention, cmap="Blues", vmin=0, vmax=1, aspect="equal")
        axes.set_xticks(range(len(source)), _literal(source), rotation=60, ha="left", rotation_mode="anchor")
        axes.set_yticks(range(len(target)), _literal(target))
        axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False)
    _save(figure, path)


def loss_by_rate(rates: np.ndarray, losses: np.ndarray, suggestion: float, path: Path) -> None:
    """Draws the loss over a rising learning rate, with the rate that is suggested."""
    figure = _figure(7, 4.2)
    axes = figure.subplots()
    axes.plot(rates, losses)
    axes.axvline(suggestion, color="tab:orange", label=f"suggested: {suggestion:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss, smoothed")
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, path)


def lines(
    series: Mapping[str, Sequence[float]], path: Path, *, title: str, xlabel: str, ylabel: str, log: bool = False
) -> None:
    """Draws one line per named series over 0, 1, 2, …"""
    figure = _figure(7, 4.2)
    axes = figure.subplots()
    for label, values in series.items():
        axes.plot(range(len(values)), values, label=label, marker="o", markersize=3)
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel, yscale="log" if log else "linear")
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, path)

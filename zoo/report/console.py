"""Tables and progress bars on the terminal."""

from collections.abc import Iterable, Sequence
from typing import Any


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Prints a table on the terminal; brackets and colons are literal, as in the names of folders."""
    from rich.console import Console
    from rich.table import Table

    view = Table()
    for i, column in enumerate(columns):
        view.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
    for row in rows:
        view.add_row(*map(str, row))
    terminal = Console(markup=False, emoji=False, highlight=False)
    terminal.print(title, style="italic", soft_wrap=True)  # a path in it stays on one line, to be copied
    terminal.print(view)


def format_metric(metric: str, value: float | None, digits: int = 4) -> str:
    """A metric as text: accuracies and errors in per cent, others with `digits` significant digits."""
    if value is None:
        return "–"
    return f"{value:.2%}" if metric.endswith(("accuracy", "error", "match")) else f"{value:#.{digits}g}"


def differs(metric: str, before: float, after: float) -> bool:
    """Whether two values of a metric differ by more than 0.1 point, a percentage point or one of BLEU, and others, such
    as losses, by 0.001 or, above 1, by 0.1 %; a value that is not a number differs."""
    return not abs(before - after) <= (0.1 if "bleu" in metric else 0.001 * max(1.0, abs(before)))


def format_bytes(count: int) -> str:
    """A number of bytes as text."""
    return f"{count / 1e6:,.1f} MB"

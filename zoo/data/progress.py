"""A progress bar."""

import sys
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def progress(items: Iterable[T], label: str, total: int | None) -> Iterable[T]:
    """The items one by one under a bar, which is removed at the end; `total` may be unknown (None or negative).

    Nothing is drawn if standard output is not a terminal. `label` is literal text.
    """
    from rich.markup import escape
    from rich.progress import track

    known = total if total and total > 0 else None
    return track(items, description=escape(label), total=known, transient=True, disable=not sys.stdout.isatty())

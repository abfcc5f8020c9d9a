"""Errors that a user can fix. The command line prints them as one line and exits with their status."""

import difflib
import re
from collections.abc import Iterable

STOPPED = 130  # the exit status of a process that Ctrl-C ended


class ZooError(Exception):
    """An error whose message says what was found, what was expected and what to do."""

    exit_status = 1


class UsageError(ZooError, ValueError):
    """The call is wrong: an unknown name, argument or value."""

    exit_status = 2


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message that suggests known names similar to `name`, without regard to case."""
    known = sorted(set(known))
    by_lower = {other.lower(): other for other in known}
    close = [by_lower[low] for low in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)]
    if not close:
        close = [other for other in known if name and name.lower() in other.lower()][:3]
    if close:
        return "Did you mean " + " or ".join(repr(other) for other in close) + "?"
    shown = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
    return f"Known: {shown or 'none'}."


def reason(error: BaseException) -> str:
    """The message of an error of the system or of TensorFlow, shortened."""
    text = getattr(error, "strerror", None) or str(error).strip().partition("\n")[0]
    text = re.sub(r"\{\{.*?\}\} *|\s*\[Op:.*", "", text)  # TensorFlow's names of graph nodes
    return text.rpartition("; ")[2][:200] or type(error).__name__


def inner_error(error: BaseException) -> ZooError | None:
    """The `ZooError` raised by Python code inside a TensorFlow graph, of which TensorFlow keeps only the text."""
    match = re.search(r"\bZooError: (.+)", str(error))
    return ZooError(match.group(1)) if match else None

"""The errors a user can mend. The command line prints them as one line and exits with their status."""

import difflib
import re
from collections.abc import Iterable


class ZooError(Exception):
    """Something went wrong that the message explains: what was found, what was expected, what to do."""

    exit_status = 1


class UsageError(ZooError, ValueError):
    """The call itself is wrong: an unknown name, argument or value."""

    exit_status = 2


def nearest(name: str, known: Iterable[str], *, count: int = 3) -> str:
    """The end of an error message that names what `name` might have meant."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=count, cutoff=0.5)
    if not close:
        close = [other for other in known if name and name.lower() in other.lower()][:count]
    if close:
        return "Did you mean " + " or ".join(repr(other) for other in close) + "?"
    shown = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
    return f"Known: {shown or 'none'}."


def reason(error: BaseException) -> str:
    """What an error of the system or of TensorFlow says, in a few words."""
    text = getattr(error, "strerror", None) or str(error).strip().partition("\n")[0]
    text = re.sub(r"\{\{.*?\}\} *|\s*\[Op:.*", "", text)  # TensorFlow's names of graph nodes
    return text.rpartition("; ")[2][:200] or type(error).__name__


def inner_error(error: BaseException) -> ZooError | None:
    """The `ZooError` raised by Python code that a TensorFlow graph called, of which TensorFlow keeps the text."""
    match = re.search(r"\bZooError: (.+)", str(error))
    return ZooError(match.group(1)) if match else None

"""Exit statuses."""

import os
import sys
from collections.abc import Callable

from zoo.errors import ZooError


def exit_status(command: Callable[[], int | None]) -> int:
    """Runs a command and returns its exit status; an error that the user can fix becomes one line on stderr."""
    try:
        return command() or 0
    except ZooError as error:
        print(error if error.exit_status == 130 else f"error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as head, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0

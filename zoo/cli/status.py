"""How a command ends the process."""

import contextlib
import io
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from zoo.errors import STOPPED, ZooError
from zoo.paths import delete_temporary


def leave(command: Callable[[], int | None]) -> NoReturn:
    """Runs a command and ends the process with its `exit_status`."""
    _open_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):  # as stderr: any text can be printed, and the name of any file
        sys.stdout.reconfigure(errors="backslashreplace")
    status = exit_status(command)
    if status == STOPPED:
        # At once: TensorFlow's destructors would wait for the thread that tunes an input pipeline, which sleeps for up
        # to a minute.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # closed
                stream.flush()
        delete_temporary()
        os._exit(status)
    sys.exit(status)


def _open_streams() -> None:
    """Opens the standard streams that the caller has closed, as services do. A file would get the number of one, and
    what TensorFlow prints would be written into that file."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))


def exit_status(command: Callable[[], int | None]) -> int:
    """Runs a command and returns its exit status; an error that the user can fix becomes one line on stderr."""
    try:
        return command() or 0
    except ZooError as error:
        print(error if error.exit_status == STOPPED else f"error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:  # the reader, such as head, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0

"""The first import of Keras and TensorFlow: without start-up messages, and with an error in one line where Keras's
backend is not there."""

import contextlib
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator

from zoo.errors import UsageError, ZooError, reason


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """Holds back what is written to stderr, for TensorFlow's start-up messages that no environment variable turns off.
    It is written where something fails, except for a `ZooError`, which says itself what is wrong."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            yield
        except ZooError:
            raise
        except BaseException:
            os.lseek(notes.fileno(), 0, os.SEEK_SET)
            os.write(terminal, notes.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def require_keras() -> None:
    """Imports Keras.

    Raises `UsageError` where Keras cannot import the backend that KERAS_BACKEND or its configuration file names.
    """
    try:
        importlib.import_module("keras")
    except (ImportError, ValueError) as error:
        raise UsageError(
            f"Keras cannot be imported with its backend, which KERAS_BACKEND or keras.json names ({reason(error)}). "
            "The zoo needs TensorFlow: set KERAS_BACKEND=tensorflow."
        ) from error

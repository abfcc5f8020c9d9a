"""The first import of Keras, with an error in one line where its backend is not there."""

import importlib

from zoo.errors import UsageError, reason


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

"""Reference models for Keras 3 on TensorFlow: built by name, trained by a recipe, served as they are.

Importing this package costs the standard library alone. TensorFlow and Keras are loaded by the first
call that needs them (`build`, `run`).
"""

import importlib
from typing import Any

from zoo.serialization import register_layers

__version__ = "0.1.0"

_HOME = {
    "Card": "zoo.registry",
    "Devices": "zoo.distribute",
    "ImageRecipe": "zoo.recipe",
    "LanguageModelRecipe": "zoo.recipe",
    "Recipe": "zoo.recipe",
    "TaggingRecipe": "zoo.recipe",
    "TextRecipe": "zoo.recipe",
    "TranslationRecipe": "zoo.recipe",
    "UsageError": "zoo.errors",
    "ZooError": "zoo.errors",
    "build": "zoo.registry",
    "describe": "zoo.registry",
    "guarded": "zoo.cli",
    "list_models": "zoo.registry",
    "main": "zoo.cli",
    "parse": "zoo.cli",
    "preprocessing": "zoo.weights",
    "register": "zoo.registry",
    "run": "zoo.engine",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})


register_layers()

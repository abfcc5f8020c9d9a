"""Reference models for Keras 3 on TensorFlow: built by name, trained by a recipe, served from their exports.

Importing this package loads only the standard library. TensorFlow and Keras are loaded by the first call that needs
them (`build`, `run`).
"""

import importlib
from typing import Any

from zoo.serialization import register_layers

__version__ = "0.1.0"

_HOME = {
    "Card": "zoo.registry",
    "Devices": "zoo.distribute.strategy",
    "GradientRecipe": "zoo.recipe",
    "ImageRecipe": "zoo.tasks.image_classification.recipe",
    "LanguageModelRecipe": "zoo.tasks.language_modelling.recipe",
    "Predictor": "zoo.tasks.base",
    "Recipe": "zoo.recipe",
    "TaggingRecipe": "zoo.tasks.tagging.recipe",
    "Task": "zoo.tasks.base",
    "TextClassificationRecipe": "zoo.tasks.text_classification.recipe",
    "TranslationRecipe": "zoo.tasks.translation.recipe",
    "UsageError": "zoo.errors",
    "ZooError": "zoo.errors",
    "build": "zoo.building",
    "decode": "zoo.building",
    "describe": "zoo.registry",
    "distill": "zoo.distillation",
    "distillation_recipe": "zoo.distillation",
    "ensemble": "zoo.ensembling",
    "export": "zoo.training.export",
    "finetune": "zoo.finetuning",
    "finetuning_recipe": "zoo.finetuning",
    "leave": "zoo.cli.status",
    "list_models": "zoo.registry",
    "main": "zoo.cli.commands",
    "parse": "zoo.cli.flags",
    "preprocessing": "zoo.building",
    "register": "zoo.registry",
    "register_task": "zoo.tasks.table",
    "run": "zoo.training.run",
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

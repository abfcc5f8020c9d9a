"""Lets `keras.models.load_model` find the layers of the zoo after `import zoo`, which does not import Keras itself.

Keras finds a custom layer of a saved file if its class is registered, which happens when `zoo.layers` is imported. That
module needs Keras and its backend, so `import zoo` postpones it to the first import of Keras in the process.
"""

import importlib
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class KerasImportHook:
    """An entry of `sys.meta_path` that imports `zoo.layers` right after Keras, and then removes itself.

    It is the finder of the one module `keras` and the loader in its spec; both delegate to the regular ones.
    """

    def __init__(self) -> None:
        self.loader: Any = None

    def find_spec(self, fullname: str, path=None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != "keras":
            return None
        finders = [finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec")]
        spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in finders)), None)
        if spec is not None and spec.loader is not None:
            self.loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        importlib.import_module("zoo.layers")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)  # what else a loader has, such as get_source


def register_layers() -> None:
    """Registers the layers of the zoo with Keras: now if Keras has been imported, else right after it is."""
    if "keras" in sys.modules:
        importlib.import_module("zoo.layers")
    elif not any(isinstance(finder, KerasImportHook) for finder in sys.meta_path):
        sys.meta_path.insert(0, KerasImportHook())

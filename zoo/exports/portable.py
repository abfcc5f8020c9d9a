"""Exports as files for ONNX Runtime and LiteRT, compared with the SavedModel before a file gets its name."""

import contextlib
import importlib
import io
import json
import logging
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from zoo.errors import UsageError, ZooError, nearest, reason
from zoo.paths import user_path, write_whole

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

PACKAGES = {"onnx": ("tf2onnx", "onnxruntime"), "litert": ("ai_edge_litert",)}
SUFFIXES = {"onnx": ".onnx", "litert": ".tflite"}
OPSET = 17  # of ONNX
TOLERANCE = 1e-4  # between the answers of the file and of the SavedModel, of their largest value


@dataclass(frozen=True)
class Portable:
    """The part of an export that ONNX and LiteRT have operations for.

    `function` is a `tf.function` with an input signature, whose arguments have the names of `examples`, and returns a
    dict. `expected` has the SavedModel's own answers to `examples`, by the same names.
    """

    function: "tf.types.experimental.PolymorphicFunction"
    examples: "Mapping[str, np.ndarray]"
    expected: "Mapping[str, np.ndarray]"
    labels: Sequence[str] = ()
    origin: Mapping[str, str] = field(default_factory=dict)


def write_portable(portable: Portable, file_format: str, path: str | os.PathLike[str]) -> float:
    """Writes `portable` as a file of the format "onnx" or "litert", and returns the largest difference between its
    answers and those of the SavedModel, as a part of their largest value.

    The file appears whole or not at all; one of the same name is replaced. The names of the classes are in an ONNX
    file's metadata, and in `labels.txt` of a LiteRT file, which is a ZIP archive, too.

    Raises:
      UsageError: an unknown format.
      ZooError: a package is missing, an operation cannot be converted, the answers differ, or the file cannot be
        written.
    """
    if file_format not in SUFFIXES:
        raise UsageError(f"There is no format {file_format!r}. {nearest(file_format, SUFFIXES)}")
    for package in PACKAGES[file_format]:
        _check_package(package, file_format)
    path = user_path(path)
    content = (_to_onnx if file_format == "onnx" else _to_litert)(portable)
    worst = _compare(content, portable, file_format)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        raise ZooError(f"{path} cannot be written: {reason(error)}.") from error
    return worst


def _check_package(package: str, file_format: str) -> None:
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise ZooError(
            f"The format {file_format} needs the package {package}, which is not installed; in the zoo's folder: "
            f"pip install -e '.[{file_format}]'."
        ) from error


def _to_onnx(portable: Portable) -> bytes:
    import onnx
    import tf2onnx

    try:
        with _quiet():
            model, _ = tf2onnx.convert.from_function(
                portable.function, input_signature=portable.function.input_signature, opset=OPSET
            )
    except Exception as error:  # tf2onnx raises many kinds
        raise ZooError(f"tf2onnx does not convert the model: {reason(error)}.") from error
    missing = {node.op_type for node in model.graph.node if not node.domain and not onnx.defs.has(node.op_type)}
    if missing:  # tf2onnx leaves what it does not know as it is
        raise ZooError(f"ONNX has no operation for TensorFlow's {', '.join(sorted(missing))}.")
    for key, value in {**portable.origin, "labels": json.dumps(list(portable.labels))}.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    return model.SerializeToString()


def _to_litert(portable: Portable) -> bytes:
    import tensorflow as tf

    try:
        with _quiet():
            concrete, module = portable.function.get_concrete_function(), tf.Module()
            module.function, module.values = portable.function, list(concrete.variables)
            content = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module).convert()
    except Exception as error:  # the converter raises many kinds
        raise ZooError(f"LiteRT's converter does not convert the model: {reason(error)}.") from error
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("labels.txt", "".join(f"{label}\n" for label in portable.labels))
    return file.getvalue()


def _compare(content: bytes, portable: Portable, file_format: str) -> float:
    """The largest difference between the answers, for all examples together and for the first alone."""
    worst = 0.0
    for count in (None, 1):
        inputs = {name: value[:count] for name, value in portable.examples.items()}
        try:
            with _quiet():
                answers = (_run_onnx if file_format == "onnx" else _run_litert)(content, inputs)
        except Exception as error:  # the runtimes have kinds of their own
            raise ZooError(f"The {file_format} file of the model does not run: {reason(error)}.") from error
        for name, value in portable.expected.items():
            worst = max(worst, _difference(answers[name], value[:count]))
    if not worst <= TOLERANCE:
        raise ZooError(
            f"The {file_format} file of the model answers differently from the SavedModel, by {worst:.2g} where at "
            f"most {TOLERANCE:g} was expected; nothing was written."
        )
    return worst


def _difference(answer: "np.ndarray", expected: "np.ndarray") -> float:
    import numpy as np

    if answer.shape != expected.shape:
        return float("inf")
    if expected.dtype.kind != "f":
        return 0.0 if np.array_equal(answer, expected) else float("inf")
    scale = float(np.max(np.abs(expected), initial=0.0)) or 1.0
    difference = float(np.max(np.abs(answer.astype(np.float64) - expected), initial=0.0)) / scale
    return difference if difference == difference else float("inf")


def _run_onnx(content: bytes, inputs: "Mapping[str, np.ndarray]") -> "dict[str, np.ndarray]":
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def _run_litert(content: bytes, inputs: "Mapping[str, np.ndarray]") -> "dict[str, np.ndarray]":
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_content=content).get_signature_runner()(**inputs)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Sends what converters and runtimes print, from C++ too, to nowhere."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    terminal, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)
        logging.disable(before)

"""The inputs and outputs of a signature, and checks of a request's arrays."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from zoo.serve.errors import invalid
from zoo.serve.images import OTHER_IMAGE, image_size
from zoo.serve.settings import ASPECT, PADDED_TEXTS, Limits

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"


@dataclass(frozen=True)
class Tensor:
    """A tensor of a signature: its name in the graph, type, and shape with None for a variable size.

    `shape` is None if the rank is variable, too.
    """

    graph_name: str
    dtype: tf.DType
    shape: tuple[int | None, ...] | None

    @classmethod
    def of(cls, info: meta_graph_pb2.TensorInfo) -> "Tensor":
        shape = info.tensor_shape
        dims = None if shape.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
        return cls(info.name, tf.as_dtype(info.dtype), dims)

    @property
    def rows_vary_alone(self) -> bool:
        """Whether the first dimension is variable and all others are fixed."""
        return bool(self.shape) and self.shape[0] is None and None not in self.shape[1:]


@dataclass(frozen=True)
class Signature:
    """A signature's inputs and outputs by name, and the default values of optional inputs."""

    name: str
    method: str
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    defaults: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, name: str, signature: meta_graph_pb2.SignatureDef) -> "Signature | None":
        """None where a tensor is an operation, sparse or composite, none of which the protocol can carry."""
        tensors = [*signature.inputs.values(), *signature.outputs.values()]
        if not signature.outputs or any(info.WhichOneof("encoding") != "name" or not info.dtype for info in tensors):
            return None
        return cls(
            name,
            signature.method_name,
            {key: Tensor.of(info) for key, info in sorted(signature.inputs.items())},
            {key: Tensor.of(info) for key, info in sorted(signature.outputs.items())},
            {key: tf.make_ndarray(value) for key, value in signature.defaults.items()},
        )

    @property
    def graph_inputs(self) -> list[str]:
        """The names of the inputs' tensors in the graph, in the signature's order."""
        return [tensor.graph_name for tensor in self.inputs.values()]

    @property
    def graph_outputs(self) -> list[str]:
        """The names of the outputs' tensors in the graph, in the signature's order."""
        return [tensor.graph_name for tensor in self.outputs.values()]

    def complete(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays of all inputs, in the signature's order. Raises `RequestError` for missing and unknown names."""
        missing = [name for name in self.inputs if name not in arrays and name not in self.defaults]
        extra = [name for name in arrays if name not in self.inputs]
        if missing or extra:
            raise invalid(
                f"input size does not match signature: {len(arrays)}!={len(self.inputs)} for {self.name!r}. "
                f"Sent extra: {{{', '.join(extra)[:200]}}}. Missing but required: {{{', '.join(missing)}}}."
            )
        return {name: arrays[name] if name in arrays else self.defaults[name] for name in self.inputs}


def check(signature: Signature, arrays: Mapping[str, np.ndarray], limits: Limits) -> None:
    """Raises `RequestError` if an array does not match its input or exceeds a limit."""
    padded, rows = 0, 1
    for name, array in arrays.items():
        _check_shape(name, array, signature.inputs[name])
        if array.ndim and array.shape[0] > limits.rows:
            raise invalid(f"Input {name!r} has {array.shape[0]} rows; the limit is {limits.rows} rows per request.")
        if array.ndim:
            rows = max(rows, array.shape[0])
        if array.dtype == object:
            padded += _check_strings(name, array, limits)
        elif array.ndim == 4 and array.size and max(array.shape[1:3]) > ASPECT * min(array.shape[1:3]):
            raise invalid(
                f"Input {name!r} has images of {array.shape[1]} × {array.shape[2]}: too narrow to be resized."
            )
    if "prompt" in arrays and "length" in arrays and arrays["length"].size:
        length = arrays["length"].max()
        if length > limits.length:
            raise invalid(f"Input 'length' is {length}; the limit is {limits.length} characters.")
        padded += max(int(length), 0)
    if rows * padded > PADDED_TEXTS * limits.text_bytes:
        raise invalid(
            f"{rows} rows of texts padded to {padded} bytes are more than the {PADDED_TEXTS * limits.text_bytes} "
            "that are allowed in a request; send fewer rows."
        )


def _check_shape(name: str, array: np.ndarray, tensor: Tensor) -> None:
    if tensor.shape is None:
        return
    fits = array.ndim == len(tensor.shape) and all(
        expected is None or size == expected for size, expected in zip(array.shape, tensor.shape, strict=True)
    )
    if not fits:
        expected = [-1 if size is None else size for size in tensor.shape]
        raise invalid(f"Input {name!r} has shape {list(array.shape)}; the signature expects {expected}.")


def _check_strings(name: str, array: np.ndarray, limits: Limits) -> int:
    """The length of the longest text in bytes; 0 if all are images."""
    pixels, longest = 0, 0
    for value in array.flat:
        size = image_size(value)
        if size is None:
            if name == "image_bytes" or OTHER_IMAGE.match(value):  # the input of the zoo's exports holds images alone
                raise invalid(f"Input {name!r} has a value that is not a PNG, JPEG, GIF or BMP file, or is damaged.")
            longest = max(longest, len(value))
            continue
        height, width, frames = size
        pixels += height * width * frames
        if pixels > limits.pixels:
            raise invalid(f"Input {name!r} decodes to {pixels:,} pixels or more; the limit is {limits.pixels:,}.")
        if max(height, width) > ASPECT * min(height, width):
            raise invalid(f"Input {name!r} has an image of {height} × {width} pixels: too narrow to be resized.")
    if longest > limits.text_bytes:
        raise invalid(f"Input {name!r} has a text of {longest} bytes; the limit is {limits.text_bytes}.")
    return longest

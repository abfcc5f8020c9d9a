"""TensorFlow Serving's JSON: `instances` and `inputs` to arrays, arrays to `predictions` and `outputs`."""

import base64
import binascii
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from zoo.serve.errors import RequestError, invalid
from zoo.serve.signatures import Signature, Tensor

NOT_IN_JSON = ("float16", "bfloat16")


class Constant(float):
    """NaN or an infinity that a request writes so; a number beyond float64, such as 1e400, is a plain infinity."""


FOUND = {str: "strings", bool: "booleans", int: "whole numbers", dict: "objects"}
FOUND |= {float: "floating-point numbers", Constant: "floating-point numbers"}


def parse(body: bytes) -> dict[str, Any]:
    """A request's JSON object. NaN and Infinity are numbers here.

    Raises `RequestError` for anything else, and for a key that is there twice, with a value that would be ignored.
    """
    try:
        request = json.loads(body, object_pairs_hook=_unique, parse_constant=Constant)
    except (ValueError, RecursionError) as error:
        if not body.strip():
            raise invalid("JSON Parse error: The document is empty") from error
        detail = f"{error.msg} at offset: {error.pos}" if isinstance(error, json.JSONDecodeError) else "Invalid value."
        raise invalid(f"JSON Parse error: {detail}") from error
    if not isinstance(request, dict):
        raise invalid("Request must be a JSON object, not " + type_name(request))
    return request


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise invalid(f"Request has the key {next(name for name in names if names.count(name) > 1)[:100]!r} twice.")
    return found


def signature_name(request: Mapping[str, Any]) -> str:
    """The signature that a request names; empty for the default. Raises `RequestError` if it is not a string."""
    name = request.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid("'signature_name' key must be a string value.")
    return name


def decode(request: Mapping[str, Any], signature: Signature) -> tuple[dict[str, np.ndarray], bool]:
    """The arrays of a predict request, and whether it was given as rows (`instances`).

    Raises `RequestError` if the request is malformed or does not match the signature.
    """
    if ("instances" in request) == ("inputs" in request):
        raise invalid("Request must contain exactly one of 'instances' and 'inputs'.")
    if "instances" in request:
        return _decode_rows(request["instances"], signature), True
    inputs = request["inputs"]
    names = list(signature.inputs)
    if not isinstance(inputs, dict) or _is_base64(inputs):
        if len(names) != 1:
            raise invalid(f"'inputs' is a plain value, but the signature has the inputs {', '.join(names)}.")
        inputs = {names[0]: inputs}
    missing = [name for name in names if name not in inputs and name not in signature.defaults]
    if missing:
        raise invalid(f"Missing 'inputs' key: {missing[0]}")
    return {name: to_array(name, inputs[name], signature.inputs[name]) for name in names if name in inputs}, False


def _decode_rows(rows: Any, signature: Signature) -> dict[str, np.ndarray]:
    if not isinstance(rows, list) or not rows:
        raise invalid("'instances' must be a non-empty list.")
    names = list(signature.inputs)
    named = isinstance(rows[0], dict) and not _is_base64(rows[0])
    if not named:
        if len(names) != 1:
            raise invalid(f"'instances' is a plain list, but the signature has the inputs {', '.join(names)}.")
        if any(isinstance(row, dict) and not _is_base64(row) for row in rows):
            raise invalid("'instances' mixes plain values with objects.")
        return {names[0]: to_array(names[0], rows, signature.inputs[names[0]])}
    given = [name for name in names if name in rows[0] or name not in signature.defaults]
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or set(row) != set(given):
            found = ", ".join(sorted(row))[:200] if isinstance(row, dict) else type_name(row)
            raise invalid(
                f"Failed to process element: {number} of 'instances' list. "
                f"Expected an object with exactly the keys {', '.join(given)}; found {found}."
            )
    return {name: to_array(name, [row[name] for row in rows], signature.inputs[name]) for name in given}


def to_array(name: str, value: Any, tensor: Tensor) -> np.ndarray:
    """A JSON value as an array of the tensor's type. Raises `RequestError` if it cannot be one."""
    dtype = tensor.dtype
    if dtype.name == "string":
        return _strings(name, value)
    if dtype.name in NOT_IN_JSON or dtype.is_complex or not (dtype.is_bool or dtype.is_integer or dtype.is_floating):
        raise invalid(f"Input {name!r} is of type {dtype.name}, which JSON cannot represent; use gRPC.")
    allowed = {bool} if dtype.is_bool else {int} if dtype.is_integer else {int, float, Constant}
    try:
        if others := _types(value) - allowed:
            raise invalid(f"Input {name!r} expects {dtype.name}; found {FOUND.get(others.pop(), 'other values')}.")
        with np.errstate(over="raise"):
            array = np.array(value, dtype.as_numpy_dtype)
        if dtype.is_floating and np.isinf(array).any() and any(map(_is_too_large, np.array(value, object).flat)):
            raise OverflowError
        return array
    except (OverflowError, FloatingPointError) as error:
        raise invalid(f"Input {name!r} expects {dtype.name}: {dtype.min} to {dtype.max}.") from error
    except (ValueError, RecursionError) as error:
        raise invalid(f"Input {name!r} is not a rectangular list of numbers.") from error


def _is_too_large(number: Any) -> bool:
    return type(number) is float and math.isinf(number)


def _types(value: Any) -> set[type]:
    """The Python types of the values in nested lists."""
    if not isinstance(value, list):
        return {type(value)}
    types = set(map(type, value))
    return types.union(*map(_types, value)) - {list} if list in types else types


def _strings(name: str, value: Any) -> np.ndarray:
    flat: list[bytes] = []

    def walk(value: Any, depth: int) -> tuple[int, ...]:
        if isinstance(value, list):
            if depth > 8:
                raise invalid(f"Input {name!r} is nested too deeply.")
            shapes = {walk(entry, depth + 1) for entry in value}
            if len(shapes) > 1:
                raise invalid(f"Input {name!r} is not a rectangular list of strings.")
            return (len(value), *next(iter(shapes), ()))
        flat.append(_bytes(name, value))
        return ()

    shape = walk(value, 0)
    array = np.empty(len(flat), object)
    array[:] = flat
    return array.reshape(shape)


def _bytes(name: str, value: Any) -> bytes:
    try:
        if isinstance(value, str):
            return value.encode()
        if _is_base64(value):
            return binascii.a2b_base64(value["b64"], strict_mode=True)
    except (UnicodeEncodeError, binascii.Error, ValueError, TypeError) as error:
        raise invalid(f"Input {name!r} contains a string that is not valid Unicode or base64.") from error
    raise invalid(f"Input {name!r} expects strings; found {type_name(value)}.")


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and list(value) == ["b64"]


def type_name(value: Any) -> str:
    """The JSON type of a value."""
    if value is None:
        return "null"
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}
    return names.get(type(value), "a number")


def encode(outputs: Mapping[str, np.ndarray], by_rows: bool) -> bytes:
    """The JSON response to a predict request: `predictions` as rows, or `outputs` by name."""
    values = {name: to_json(name, array) for name, array in outputs.items()}
    if not by_rows:
        return dumps({"outputs": next(iter(values.values())) if len(values) == 1 else values})
    sizes = {array.shape[0] if array.ndim else None for array in outputs.values()}
    if None in sizes or len(sizes) > 1:
        raise invalid("The outputs have no common batch dimension; send the request with 'inputs'.")
    if len(values) == 1:
        return dumps({"predictions": next(iter(values.values()))})
    rows = zip(*values.values(), strict=True)
    return dumps({"predictions": [dict(zip(values, row, strict=True)) for row in rows]})


def to_json(name: str, array: np.ndarray) -> Any:
    """An array as lists. Strings of an output whose name ends in `_bytes` become `{"b64": …}`."""
    if array.dtype == object:
        binary = name.endswith("_bytes")

        def text(value: bytes) -> Any:
            return {"b64": base64.b64encode(value).decode()} if binary else value.decode(errors="replace")

        entries = np.empty(array.size, object)
        entries[:] = [text(value) for value in array.flat]
        return entries.reshape(array.shape).tolist()
    if array.dtype.name in NOT_IN_JSON or array.dtype.kind == "c":
        raise invalid(f"Output {name!r} is of type {array.dtype.name}, which JSON cannot represent; use gRPC.")
    return shorten(array).tolist() if array.dtype == np.float32 else array.tolist()


def shorten(array: np.ndarray) -> np.ndarray:
    """float32 as float64 with nine significant digits, which are enough to restore the same float32."""
    wide = array.astype(np.float64)
    with np.errstate(all="ignore"):
        digits = 8 - np.floor(np.log10(np.abs(wide)))
        scale = 10.0 ** np.clip(digits, 0, 22)
        short = np.round(wide * scale) / scale
    return np.where(np.isfinite(short) & (digits >= 0) & (digits <= 22), short, wide)


def dumps(value: Any) -> bytes:
    """JSON in UTF-8, with NaN and Infinity as TensorFlow Serving writes them."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def error_body(error: RequestError) -> bytes:
    """TensorFlow Serving's JSON for an error."""
    return dumps({"error": error.message})

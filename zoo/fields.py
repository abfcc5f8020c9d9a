"""Checks of a dataclass's values against its annotations, and mappings for its fields. Standard library only."""

import functools
import math
import numbers
import types
import typing
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, Union

from zoo.errors import UsageError, nearest


class ReadOnlyDict(dict):
    """A dictionary that cannot be changed. `MappingProxyType` can be neither pickled nor copied deeply."""

    def _refuse(self, *_: Any, **__: Any) -> typing.NoReturn:
        raise TypeError("This mapping is read-only; change a copy, dict(mapping).")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type, tuple[dict]]:
        return type(self), (dict(self),)


def plain(value: Any) -> Any:
    """`value` with Python's own numbers in the place of NumPy's, also within tuples and lists."""
    if isinstance(value, (tuple, list)):
        return type(value)(map(plain, value)) if type(value) in (tuple, list) else value
    return value.item() if isinstance(value, numbers.Number) and hasattr(value, "item") else value


def check_fields(owner: str, instance: Any) -> None:
    """Checks every field of a frozen dataclass against its annotation, and converts it to a standard form.

    A list becomes a tuple, a number of NumPy one of Python, and a whole number in a float field a float, so that equal
    values compare equal. Raises `UsageError` that begins with `owner` for a value of another type, for a choice that
    does not exist, and for a number that is not finite, also within a tuple or a mapping.
    """
    hints = _hints(type(instance))
    for entry in fields(instance):
        value = check_value(owner, entry.name, getattr(instance, entry.name), hints[entry.name])
        object.__setattr__(instance, entry.name, value)


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def check_value(owner: str, name: str, value: Any, hint: Any) -> Any:
    """Checks one value against an annotation, and returns it in its standard form; see `check_fields`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return plain(value)
    if origin is Literal:
        if value not in arguments or type(value) is not str:
            raise UsageError(f"{owner}: {name} is {value!r}. {nearest(str(value), map(str, arguments))}")
        return value
    if origin in (Union, types.UnionType):
        if value is None:
            if type(None) in arguments:
                return None
        kinds = [kind for kind in arguments if kind is not type(None)]
        for kind in kinds[:-1]:
            try:
                return check_value(owner, name, value, kind)
            except UsageError:
                continue
        return check_value(owner, name, value, kinds[-1])
    if origin is tuple:
        if isinstance(value, (str, bytes)) or not isinstance(value, (tuple, list)):
            raise _wrong(owner, name, value, "a tuple")
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            arguments = (arguments[0],) * len(value)
        if len(arguments) != len(value):
            raise _wrong(owner, name, value, f"a tuple of {len(arguments)} values")
        return tuple(check_value(owner, name, part, kind) for part, kind in zip(value, arguments, strict=True))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise _wrong(owner, name, value, "a mapping")
        return {
            check_value(owner, f"a key of {name}", key, arguments[0]): check_value(
                owner, f"{name}[{key!r}]", part, arguments[1]
            )
            for key, part in value.items()
        }
    if hint is bool:
        if type(value) is not bool:
            raise _wrong(owner, name, value, "True or False")
        return value
    if hint is int:
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise _wrong(owner, name, value, "a whole number")
        return int(value)
    if hint is float:
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
            raise _wrong(owner, name, value, "a finite number")
        return float(value)
    if hint is str:
        if not isinstance(value, str):
            raise _wrong(owner, name, value, "a string")
        return value
    return value


def check_image_shape(what: str, shape: Any) -> None:
    """Raises `UsageError`, which begins with `what`, unless `shape` is (height, width, channels) of an image.

    Height and width may be None, which is any size.
    """
    right = isinstance(shape, (tuple, list)) and len(shape) == 3 and shape[2] is not None
    if not right or not all(n is None or (type(n) is int and n > 0) for n in shape):
        raise UsageError(f"{what} is {shape!r}; it must be (height, width, channels), positive whole numbers.")


def _wrong(owner: str, name: str, value: Any, expected: str) -> UsageError:
    return UsageError(f"{owner}: {name} is {value!r}; it must be {expected}.")

"""`classify` and `regress`: requests with `tf.Example`s, and the responses of their signatures."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from zoo.serve.errors import invalid
from zoo.serve.json_format import type_name
from zoo.serve.signatures import CLASSIFY, REGRESS, Signature

METHODS = {"classify": CLASSIFY, "regress": REGRESS}
WORDS = {"classify": "classification", "regress": "regression"}


def check_method(signature: Signature, verb: str) -> None:
    """Raises `RequestError` if the signature is not of that kind."""
    if signature.method != METHODS[verb] or len(signature.inputs) != 1:
        raise invalid(
            f"Expected {WORDS[verb]} signature method_name to be {METHODS[verb]}. Was: {signature.method or 'none'}"
        )


def decode(request: Mapping[str, Any]) -> np.ndarray:
    """The serialized examples of a JSON request, (N,). Features of `context` go to each of them."""
    examples, context = request.get("examples"), request.get("context", {})
    if not isinstance(examples, list) or not examples:
        raise invalid("When method is classify or regress, key 'examples' is expected and must be a non-empty list.")
    if not isinstance(context, dict) or not all(isinstance(example, dict) for example in examples):
        raise invalid("Each example, and the context, must be an object of features.")
    return serialize([_example({**context, **example}) for example in examples])


def serialize(examples: list[tf.train.Example]) -> np.ndarray:
    """The examples as an array of strings, (N,)."""
    array = np.empty(len(examples), object)
    array[:] = [example.SerializeToString() for example in examples]
    return array


def _example(features: Mapping[str, Any]) -> tf.train.Example:
    example = tf.train.Example()
    for name, value in features.items():
        try:
            _fill(example.features.feature[name], value)
        except (UnicodeEncodeError, ValueError, TypeError, OverflowError) as error:
            raise invalid(f"Feature {name[:100]!r} has a value that a tf.Example cannot contain.") from error
    return example


def _fill(feature: tf.train.Feature, value: Any) -> None:
    values = value if isinstance(value, list) else [value]
    kinds = {type(entry) for entry in values}
    if kinds <= {str, dict}:
        feature.bytes_list.value.extend(_bytes(entry) for entry in values)
    elif kinds == {int}:
        feature.int64_list.value.extend(values)
    elif kinds <= {int, float}:
        feature.float_list.value.extend(values)
    else:
        raise ValueError(f"neither numbers nor strings: {type_name(values[0])}")


def _bytes(entry: Any) -> bytes:
    if isinstance(entry, str):
        return entry.encode()
    if list(entry) != ["b64"]:
        raise ValueError("not a base64 object")
    return base64.b64decode(entry["b64"], validate=True)


def results(verb: str, outputs: Mapping[str, np.ndarray]) -> list:
    """Of each example: the list of [label, score] of a classification, the number of a regression."""
    if verb == "regress":
        return _only(outputs, "outputs").reshape(-1).astype(np.float64).tolist()
    scores, classes = outputs.get("scores"), outputs.get("classes")
    if scores is None and classes is None:
        raise invalid("The signature has neither 'classes' nor 'scores' among its outputs.")
    rows = len(scores if scores is not None else classes)
    scores = np.zeros(np.shape(classes)) if scores is None else scores
    labels = np.full(np.shape(scores), b"", object) if classes is None else classes
    return [
        [
            [label.decode(errors="replace"), float(score)]
            for label, score in zip(np.ravel(labels[row]), np.ravel(scores[row]), strict=True)
        ]
        for row in range(rows)
    ]


def _only(outputs: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name not in outputs:
        raise invalid(f"The signature has no output {name!r}.")
    return outputs[name]

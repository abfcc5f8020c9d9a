"""One loaded version of a model: a graph and its session."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from zoo.paths import literal_path
from zoo.serve.batching import batched_function
from zoo.serve.constants import computed, gains_from_constants, part_of, with_constants
from zoo.serve.errors import Code, RequestError, from_tensorflow
from zoo.serve.settings import Batching
from zoo.serve.signatures import Signature

v1 = tf.compat.v1

DEFAULT = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
FILTERS = 32  # number of selections of outputs with their own callable
SHAPES = 8  # number of row shapes with their own batching queue


class Servable:
    """A SavedModel in its own session, as in TensorFlow Serving.

    Closing the session frees the graph and its variables, and a session can cancel a run that takes too long. Eager
    functions offer neither. Raises TensorFlow's errors and `OSError` if the folder cannot be loaded.
    """

    def __init__(self, folder: Path, batching: Batching):
        self.batching = batching
        self.graph = tf.Graph()
        config = v1.ConfigProto(gpu_options=v1.GPUOptions(allow_growth=True))
        self._session = v1.Session(graph=self.graph, config=config)
        self._lock = threading.Lock()  # around changes of the graph
        self._callables: dict[tuple, object] = {}
        try:
            with self.graph.as_default():
                meta_graph = v1.saved_model.loader.load(
                    self._session, [tf.saved_model.SERVING], str(literal_path(folder))
                )
        except BaseException:
            self._session.close()
            raise
        self.signature_defs: Mapping[str, meta_graph_pb2.SignatureDef] = meta_graph.signature_def
        # A SavedModel has them in no order; the page tries the first one.
        names = sorted(self.signature_defs, key=lambda name: (name != DEFAULT, name))
        found = {name: Signature.of(name, self.signature_defs[name]) for name in names}
        self.signatures = {name: signature for name, signature in found.items() if signature and signature.inputs}
        self.string_constants = _string_constants(meta_graph.graph_def)
        self.weights = _count_weights(meta_graph.graph_def)
        outputs = [name for signature in self.signatures.values() for name in signature.graph_outputs]
        self._constant = gains_from_constants(part_of(self.graph, outputs), self.weights)
        self._tensors: dict[str, dict[str, tf.Tensor]] = {}  # the outputs of signatures

    def signature(self, name: str | None) -> Signature:
        """The signature of that name, by default `serving_default`. Raises `RequestError` if it does not exist."""
        name = name or DEFAULT
        if name not in self.signatures:
            raise RequestError(
                Code.FAILED_PRECONDITION, f'Serving signature name: "{name[:100]}" not found in signature def'
            )
        return self.signatures[name]

    def run(
        self,
        signature: Signature,
        arrays: Mapping[str, np.ndarray],
        outputs: Sequence[str] = (),
        seconds: float | None = None,
    ) -> dict[str, np.ndarray]:
        """The outputs of these names, by default all. `arrays` are the result of `Signature.complete`.

        Raises `RequestError` if the graph raises an error or takes longer than `seconds`.
        """
        wanted = tuple(sorted(outputs or signature.outputs))
        options = v1.RunOptions(timeout_in_ms=max(1, int(seconds * 1000)) if seconds is not None else 0)
        feeds = list(arrays.values())
        try:
            key = self._batch_key(signature, arrays)
            if key is not None:
                try:
                    return self._pick(self._call(key, signature), feeds, options, signature, wanted)
                except tf.errors.OpError as error:
                    if isinstance(error, (tf.errors.UnavailableError, tf.errors.DeadlineExceededError)):
                        raise
                    # Another request of the batch may be the cause: run this one alone.
            name = (signature.name, wanted)
            if name not in self._callables and len(self._callables) >= FILTERS:
                name = (signature.name, tuple(signature.outputs))
            return self._pick(self._call(name, signature), feeds, options, signature, wanted, name[1])
        except tf.errors.OpError as error:
            raise from_tensorflow(error) from error

    def close(self) -> None:
        """Cancels running requests and frees the memory."""
        self._session.close()
        self._callables.clear()
        self._tensors.clear()

    @staticmethod
    def _pick(call, feeds, options, signature, wanted, given=None) -> dict[str, np.ndarray]:
        values = dict(zip(given or signature.outputs, call(*feeds, options=options), strict=True))
        return {name: values[name] for name in wanted}

    def _batch_key(self, signature: Signature, arrays: Mapping[str, np.ndarray]) -> tuple | None:
        """The batching queue of a request, one for each signature and row shape; None if it runs alone.

        An output with more than one open dimension is padded to the longest row of its batch, so that its shape
        would depend on other requests: such signatures are not batched. Nor are requests of more rows than a batch.
        """
        if self.batching.max_batch_size == 1 or not all(out.rows_vary_alone for out in signature.outputs.values()):
            return None
        if any(
            tensor.shape is None or not tensor.shape or tensor.shape[0] is not None
            for tensor in signature.inputs.values()
        ):
            return None
        rows = {array.shape[0] for array in arrays.values()}
        if len(rows) != 1 or not 1 <= max(rows) <= self.batching.max_batch_size:
            return None
        key = (signature.name, "batched", tuple(array.shape[1:] for array in arrays.values()))
        if key not in self._callables:
            with self._lock:
                if sum(known[:2] == key[:2] for known in self._callables) >= SHAPES:
                    return None
        return key

    def _call(self, key: tuple, signature: Signature):
        call = self._callables.get(key)
        if call is None:
            with self._lock:
                call = self._callables.get(key) or self._build(key, signature)
                self._callables[key] = call
        return call

    def _build(self, key: tuple, signature: Signature):
        if key[1] == "batched":
            feeds, fetches = batched_function(self.graph, self._part(signature), signature, key[2], self.batching)
        else:
            feeds = [self.graph.get_tensor_by_name(name) for name in signature.graph_inputs]
            if signature.name not in self._tensors:
                self._tensors[signature.name] = self._outputs(signature, feeds)
            fetches = [self._tensors[signature.name][name] for name in key[1]]
        return self._session.make_callable(fetches, feed_list=feeds, accept_options=True)

    def _outputs(self, signature: Signature, feeds: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        """The outputs of a signature by name: in the graph, or in a copy of their part of it that has constants."""
        if self._constant:
            with self.graph.as_default():
                found = computed(self._part(signature), signature, feeds)
        else:
            found = [self.graph.get_tensor_by_name(name) for name in signature.graph_outputs]
        return dict(zip(signature.outputs, found, strict=True))

    def _part(self, signature: Signature) -> graph_pb2.GraphDef:
        part = part_of(self.graph, signature.graph_outputs)
        if self._constant:
            try:
                return with_constants(self._session, part, signature.graph_outputs)
            except Exception:  # whatever TensorFlow cannot convert, it can run with variables
                self._constant = False
        return part


def _string_constants(definition: Any) -> set[tuple[str, ...]]:
    """The distinct lists of strings in a `GraphDef` and its functions."""
    found = set()
    for nodes in (definition.node, *(function.node_def for function in definition.library.function)):
        for node in nodes:
            value = node.attr["value"].tensor if node.op == "Const" else None
            if value is not None and value.dtype == tf.string.as_datatype_enum and 1 < len(value.string_val) < 10_000:
                found.add(tuple(text.decode(errors="replace") for text in value.string_val))
    return found


def _count_weights(definition: Any) -> int:
    """The number of elements of the variables of a `GraphDef`."""
    shapes = {
        node.attr["shared_name"].s or node.name: [dim.size for dim in node.attr["shape"].shape.dim]
        for node in definition.node
        if node.op in ("VarHandleOp", "VariableV2")
    }
    return sum(int(np.prod(shape)) for shape in shapes.values())

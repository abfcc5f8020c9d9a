"""TensorFlow's batching kernel for a signature: requests that arrive at the same time run as one batch."""

from collections.abc import Sequence

import tensorflow as tf
from tensorflow.core.framework import graph_pb2

from zoo.serve.constants import computed
from zoo.serve.settings import Batching
from zoo.serve.signatures import Signature


def batched_function(
    graph: tf.Graph,
    part: graph_pb2.GraphDef,
    signature: Signature,
    row_shapes: Sequence[tuple[int, ...]],
    batching: Batching,
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """Adds a `BatchFunction` of the signature to its graph: what to feed and what to fetch, in the signature's order.

    `row_shapes` are those of the inputs without their first dimension: a batch can hold rows of one shape only. The
    function holds a copy of `part`, the signature's part of the graph, which reads the same variables and tables.
    """

    @tf.nondifferentiable_batch_function(
        batching.num_batch_threads,
        batching.max_batch_size,
        batching.timeout_micros,
        allowed_batch_sizes=list(batching.allowed_batch_sizes) or None,
        max_enqueued_batches=batching.max_enqueued_batches,
        autograph=False,
        enable_large_batch_splitting=False,
    )
    def answer(*arguments):
        return computed(part, signature, arguments)

    with graph.as_default():
        feeds = [
            tf.compat.v1.placeholder(tensor.dtype, (None, *shape))
            for tensor, shape in zip(signature.inputs.values(), row_shapes, strict=True)
        ]
        return feeds, list(answer(*feeds))

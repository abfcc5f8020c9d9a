"""The part of a graph that computes a signature, with constants in place of the variables that it reads.

TensorFlow's convolutions bring their weights into another order: of constants once, of variables at every request.
"""

import re
from collections.abc import Sequence

import tensorflow as tf
from tensorflow.core.framework import function_pb2, graph_pb2

from zoo.serve.signatures import Signature

v1 = tf.compat.v1

MOST_WEIGHTS = 2**24  # the constants of each signature take as much memory as the variables
# Operations that may change a variable, among them those of random generators.
WRITES = re.compile("Assign|Resource(?!Gather)|Scatter(?!Nd$)|Rng|Stateful(?!PartitionedCall)|Variable")


def part_of(graph: tf.Graph, outputs: Sequence[str]) -> graph_pb2.GraphDef:
    """The part of a graph that computes these tensors."""
    return v1.graph_util.extract_sub_graph(graph.as_graph_def(), _nodes_of(outputs))


def gains_from_constants(part: graph_pb2.GraphDef, weights: int) -> bool:
    """Whether a part with so many weights has a convolution, changes no variable when it runs, and is not too large."""
    nodes = [part.node, *(function.node_def for function in _called(part))]
    operations = {node.op for some in nodes for node in some}
    return (
        0 < weights <= MOST_WEIGHTS
        and any("Conv" in name for name in operations)
        and not any(WRITES.match(name) for name in operations)
    )


def with_constants(session: v1.Session, part: graph_pb2.GraphDef, outputs: Sequence[str]) -> graph_pb2.GraphDef:
    """The part with the variables' present values as constants, and without functions that it does not call.

    Raises TensorFlow's errors for graphs that it cannot convert, such as one that looks up rows of a variable.
    """
    whole = graph_pb2.GraphDef(node=part.node, versions=part.versions)
    whole.library.function.extend(_called(part))
    converted = v1.graph_util.convert_variables_to_constants(session, whole, _nodes_of(outputs))
    with tf.Graph().as_default():
        tf.graph_util.import_graph_def(converted)  # types are checked here, not by the conversion
    return converted


def computed(part: graph_pb2.GraphDef, signature: Signature, inputs: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """The outputs of a signature for these inputs, in its order, by a copy of `part` in the default graph."""
    present = {node.name for node in part.node}
    pairs = zip(signature.graph_inputs, inputs, strict=True)
    # An input that no output depends on is not in the part.
    given = {name: value for name, value in pairs if name.partition(":")[0] in present}
    return tf.graph_util.import_graph_def(
        part, input_map=given, return_elements=signature.graph_outputs, name="computed"
    )


def _nodes_of(tensors: Sequence[str]) -> list[str]:
    return [name.partition(":")[0] for name in tensors]


def _called(part: graph_pb2.GraphDef) -> list[function_pb2.FunctionDef]:
    """The functions that the nodes of a graph call, directly or by others."""
    functions = {function.signature.name: function for function in part.library.function}
    waiting, called = [part.node], {}
    while waiting:
        for node in waiting.pop():
            for value in node.attr.values():
                for function in (value.func, *value.list.func):
                    if function.name in functions and function.name not in called:
                        called[function.name] = functions[function.name]
                        waiting.append(called[function.name].node_def)
    return list(called.values())

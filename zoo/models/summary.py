"""A table of the layers of a model: output shapes, receptive fields, parameters and multiply-accumulates."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import keras
from keras import layers

from zoo.layers import CharacterEncoder, IdentityShortcut, PartialConv2D, Subsampling2D, WhiteningConv2D

GLOBAL = (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D, layers.Conv2DTranspose)  # not one window per output
WORD_LENGTH = 5  # characters; multiply-accumulates of a tagger are those of one word of this length


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One layer.

    `output_shape` has no batch axis, and None for a size that depends on the input; a layer with several outputs has
    one shape for each. `receptive_field` is the height and width, in pixels, of the part of the input that one position
    of the output depends on, not cut at the border of the image; None after a layer that sees the whole map, and for
    sequences. `macs` counts the multiply-accumulates of convolutions, dense and recurrent layers for one example: for
    one token where the input is a sequence, and for the whole sequence in a layer that runs once per sequence.
    """

    name: str
    type: str
    output_shape: tuple[int | None, ...] | list[tuple[int | None, ...]]
    receptive_field: tuple[int, int] | None
    parameters: int
    macs: int


@dataclass(frozen=True)
class Field:
    """What a position of a map sees: the size of its receptive field and the distance between neighbours, in pixels."""

    size: tuple[int, int] = (1, 1)
    jump: tuple[int, int] = (1, 1)

    def through(self, kernel: tuple[int, int], strides: tuple[int, int]) -> "Field":
        """The field after a layer with this window and stride."""
        size = tuple(s + (k - 1) * j for s, k, j in zip(self.size, kernel, self.jump, strict=True))
        return Field(size, tuple(j * stride for j, stride in zip(self.jump, strides, strict=True)))


def layer_table(model: keras.Model) -> list[LayerRow]:
    """One row for each layer of a functional model, in the order of computation.

    Operations that are not layers (`keras.ops` called on the inputs) have no row.
    """
    fields: dict[int, Field | None] = {}
    rows = []
    for operation in model.operations:
        outputs = keras.tree.flatten(operation.output)
        field = _field(operation, fields)
        fields |= {id(output): field for output in outputs}
        if not isinstance(operation, keras.layers.Layer):
            continue
        shapes = [tuple(output.shape[1:]) for output in outputs]
        rows.append(
            LayerRow(
                name=operation.name,
                type=type(operation).__name__,
                output_shape=shapes[0] if len(shapes) == 1 else shapes,
                receptive_field=field.size if field else None,
                parameters=operation.count_params(),
                macs=multiply_accumulates(operation),
            )
        )
    return rows


TABLE_NOTES = (
    "The output shape has no batch axis. The receptive field is the part of the input image that one position of",
    "the output depends on, in pixels. MACs are multiply-accumulates of convolutions, dense and recurrent layers;",
    "their sum includes what is computed once per sequence.",
)


def table_cells(rows: Sequence[LayerRow]) -> list[tuple[str, ...]]:
    """The table as text: its heading, a line of cells for each row, and the sums.

    A size that depends on the input is "any", and "–" stands for a receptive field that is not defined.
    """
    heading = ("layer", "type", "output", "receptive field", "parameters", "MACs")
    sums = (f"{sum(row.parameters for row in rows):,}", f"{sum(row.macs for row in rows):,}")
    return [heading, *map(_cells, rows), ("sum", "", "", "", *sums)]


def _cells(row: LayerRow) -> tuple[str, ...]:
    shapes = row.output_shape if isinstance(row.output_shape, list) else [row.output_shape]
    output = ", ".join(_sizes(shape) for shape in shapes)
    field = _sizes(row.receptive_field) if row.receptive_field else "–"
    return row.name, row.type, output, field, f"{row.parameters:,}", f"{row.macs:,}"


def _sizes(shape: tuple[int | None, ...]) -> str:
    return " × ".join("any" if n is None else str(n) for n in shape) or "scalar"


def _field(operation: keras.Operation, fields: dict[int, Field | None]) -> Field | None:
    """The field of an operation's output, from those of its inputs; None if it is unknown or the whole map."""
    output = keras.tree.flatten(operation.output)[0]
    if isinstance(operation, layers.InputLayer):
        return Field() if output.ndim == 4 else None
    inputs = keras.tree.flatten(operation.input)
    found = [fields[id(x)] for x in inputs]
    if output.ndim != 4 or None in found:
        return None
    # Where paths meet, a position sees what it sees through the path with the largest field.
    field = Field(tuple(map(max, zip(*(f.size for f in found), strict=True))), found[0].jump)
    window = _window(operation)
    if window:
        return field.through(*window)
    same_size = isinstance(operation, (layers.ZeroPadding2D, layers.Cropping2D)) or all(
        x.shape[1:3] == output.shape[1:3] for x in inputs
    )
    return field if same_size and not isinstance(operation, GLOBAL) else None


def _window(operation: keras.Operation) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """The window, dilation included, and the strides of a layer that computes each output from a window, or None."""
    if isinstance(operation, (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)):
        pairs = zip(operation.kernel_size, operation.dilation_rate, strict=True)
        return tuple((k - 1) * d + 1 for k, d in pairs), operation.strides
    if isinstance(operation, (layers.MaxPooling2D, layers.AveragePooling2D)):
        return operation.pool_size, operation.strides
    if isinstance(operation, (PartialConv2D, WhiteningConv2D)):
        return (operation.kernel_size,) * 2, (1, 1)
    if isinstance(operation, Subsampling2D):
        return (2, 2), (2, 2)
    if isinstance(operation, IdentityShortcut):
        return (1, 1), (operation.stride,) * 2
    return None


def multiply_accumulates(layer: keras.layers.Layer) -> int:
    """The multiply-accumulates of a layer: the elements of its kernels, for each position of its output.

    A size that depends on the input counts as 1, so that a recurrent layer has those of one step. Embeddings, pooling,
    normalisation and attention weights without a kernel count as 0.
    """
    if isinstance(layer, layers.Embedding):
        return 0
    if isinstance(layer, CharacterEncoder):
        return WORD_LENGTH * sum(map(multiply_accumulates, layer.layer.layers))
    if isinstance(layer, keras.Model):
        return sum(map(multiply_accumulates, layer.layers))
    # A transposed convolution applies its kernel at each position of its input.
    tensor = keras.tree.flatten(layer.input if isinstance(layer, layers.Conv2DTranspose) else layer.output)[0]
    positions = math.prod(n or 1 for n in tensor.shape[1:-1])
    return positions * sum(math.prod(weight.shape) for weight in layer.weights if len(weight.shape) > 1)

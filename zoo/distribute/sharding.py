"""How a batch is divided among the replicas of a strategy."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf

if TYPE_CHECKING:
    from zoo.distribute.strategy import Placement


def row_bounds(part: Any, rows: Any, parts: Any) -> tuple[Any, Any]:
    """The first row of a part of a batch, and the row after its last; whole numbers or scalar tensors."""
    return part * rows // parts, (part + 1) * rows // parts


def shard_batches(batches: tf.data.Dataset, placement: "Placement", batch_size: int | None = None) -> Any:
    """Batches divided among the replicas: replica r of R gets rows r·B/R to (r + 1)·B/R - 1 of each.

    With a `batch_size` B, `batches` has the rows of this worker, `placement.rows_of(B)`. Without, it has all rows of
    batches of any size, the same in each worker, and each replica gets the same number: batches are padded with their
    first row, with a mask of 0 (see `zoo.tasks.base.Task`). On one device, the batches themselves.
    """
    count = placement.replicas
    if count == 1:
        return batches
    begin = placement.rows_of(batch_size).start if batch_size else 0  # the first row in `batches`

    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        own = count // context.num_input_pipelines
        first = context.input_pipeline_id * own
        parts = own if batch_size else count  # parts that `batches` holds

        def pieces(batch: Mapping[str, Any]) -> tf.data.Dataset:
            batch = batch if batch_size else padded(batch, count)
            rows = tf.constant(batch_size, tf.int64) if batch_size else tf.shape(batch["mask"], tf.int64)[0]

            def piece(replica: tf.Tensor) -> Any:
                start, stop = row_bounds(replica, rows, count)

                def cut(value: tf.Tensor) -> tf.Tensor:
                    size = value.shape[0] // parts if value.shape[0] and value.shape[0] % parts == 0 else None
                    return tf.ensure_shape(value[start - begin : stop - begin], (size, *value.shape[1:]))

                return tf.nest.map_structure(cut, batch)

            return tf.data.Dataset.range(first, first + own).map(piece)

        return batches.flat_map(pieces).prefetch(2 * own)

    return placement.strategy.distribute_datasets_from_function(of_worker)


def padded(batch: Mapping[str, Any], count: int) -> dict[str, Any]:
    """The batch with its first row repeated until `count` divides the rows, and a mask of 0 for the added rows."""
    rows = tf.shape(tf.nest.flatten(batch["inputs"])[0])[0]
    mask = batch.get("mask", tf.ones([rows], tf.float32))
    more = -rows % count

    def grown(value: tf.Tensor) -> tf.Tensor:
        return tf.concat([value, tf.repeat(value[:1], more, axis=0)], axis=0)

    rest = tf.nest.map_structure(grown, {key: value for key, value in batch.items() if key != "mask"})
    return {**rest, "mask": tf.concat([mask, tf.zeros_like(tf.repeat(mask[:1], more, axis=0))], axis=0)}

"""One split of a set of images, in memory or read from files, and its batches."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from zoo.data.decoding import decode_image, read_content, read_image
from zoo.data.progress import progress
from zoo.data.stream import BatchRNG, EpochShuffle, Records
from zoo.data.views import View
from zoo.errors import ZooError


@dataclass(frozen=True)
class ImageSplit:
    """Images in memory or their sources, with their labels and the view that is taken of each.

    `pictures` holds uint8 pixels (N, H, W, C), which are the views themselves or what they are taken of, or the paths
    of files (N,) in bytes, or TFDS records. `labels` is int64 (N,), None for records, which contain them.
    """

    pictures: np.ndarray | Records
    labels: np.ndarray | None
    view: View
    parse: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]] | None = None  # a record → file content, label

    def __len__(self) -> int:
        return len(self.pictures)

    def first(self, count: int) -> "ImageSplit":
        """The first `count` examples."""
        return self.take(np.arange(min(count, len(self))))

    def take(self, indices: np.ndarray) -> "ImageSplit":
        """The examples at these sorted indices; of records, a range of them."""
        if isinstance(self.pictures, Records):
            return replace(self, pictures=self.pictures.part(int(indices[0]), int(indices[-1]) + 1))
        return replace(self, pictures=self.pictures[indices], labels=self.labels[indices])

    def batches(self, batch_size: int) -> tf.data.Dataset:
        """Each example once, in order: uint8 (n, height, width, C) and int64 (n,), the last batch shorter."""
        if isinstance(self.pictures, Records):
            unused = tf.zeros(2, tf.int64)  # a view that is not random needs no seed
            decoded = self.pictures.in_order().map(
                lambda record: self._of_record(record, unused), num_parallel_calls=tf.data.AUTOTUNE
            )
            return decoded.batch(batch_size).prefetch(2)
        starts = tf.data.Dataset.range(0, len(self), batch_size)
        fetch = self._fetcher()
        return starts.map(
            lambda start: fetch(tf.range(start, tf.minimum(start + batch_size, len(self))), None),
            num_parallel_calls=tf.data.AUTOTUNE,
        ).prefetch(2)

    def training_batches(
        self,
        order: EpochShuffle,
        first_step: int,
        transform: Callable[[tf.Tensor, BatchRNG], tf.Tensor],
        rows: range | None = None,
    ) -> tf.data.Dataset:
        """Full batches without end from `first_step` on: transformed images (B, …) and labels (B,).

        `transform` takes uint8 images (n, height, width, C) and their random numbers. With `rows`, those rows of each
        batch alone: the others, which other workers train on, are not decoded.
        """
        rows = range(order.batch_size) if rows is None else rows
        if not isinstance(self.pictures, Records):
            fetch = self._fetcher()

            def fetched(indices: tf.Tensor, rng: BatchRNG) -> tuple[tf.Tensor, tf.Tensor]:
                images, labels = fetch(indices, rng)
                return transform(images, rng), labels

            return order.batches(first_step, fetched, rows)
        seed, indices = tf.constant(order.seed, tf.int64), tf.range(rows.start, rows.stop)
        records = self.pictures.shuffled(order, first_step)
        if len(rows) < order.batch_size:
            first, last = rows[0], rows[-1]
            records = records.filter(
                lambda position, record: (position % order.batch_size >= first) & (position % order.batch_size <= last)
            )
        images = records.map(
            lambda position, record: self._of_record(record, tf.stack([seed, position])),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )

        def transformed(step: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
            return transform(batch[0], BatchRNG(tf.stack([seed, step]), order.batch_size, indices)), batch[1]

        return images.batch(len(rows), drop_remainder=True).enumerate(first_step).map(transformed).prefetch(2)

    def decoded(self, label: str, *, keep: bool) -> tuple["ImageSplit", list[str]]:
        """The split without the files that cannot be decoded, and what is wrong with each of those.

        With `keep` the views are held in memory. Works on as many threads as there are cores.
        """
        unused = tf.zeros(2, tf.int64)

        def decode(path: bytes) -> np.ndarray | str:
            try:
                pixels = read_image(path, self.view.shape[2])
            except ZooError as error:
                return str(error)
            return self.view.take(tf.constant(pixels), unused).numpy() if keep else pixels[:0]

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            action = "decoding" if keep else "checking"
            seen = list(progress(pool.map(decode, self.pictures), f"{action} {label}", len(self)))
        good = np.array([not isinstance(image, str) for image in seen], bool)
        rest = self.take(np.flatnonzero(good))
        if keep and len(rest):
            rest = replace(rest, pictures=np.stack([image for image in seen if not isinstance(image, str)]))
        return rest, [fault for fault in seen if isinstance(fault, str)]

    def first_fault(self, label: str) -> str | None:
        """What is wrong with a file that cannot be decoded; None where all can be, and where no files are read."""
        if isinstance(self.pictures, Records) or self.pictures.ndim > 1:
            return None

        def fault_of(path: bytes) -> str | None:
            try:
                read_image(path, self.view.shape[2])
            except ZooError as error:
                return str(error)
            return None

        pool = ThreadPoolExecutor(os.cpu_count())
        try:
            found = progress(pool.map(fault_of, self.pictures), f"checking {label}", len(self))
            return next(filter(None, found), None)
        finally:
            pool.shutdown(cancel_futures=True)

    def _of_record(self, record: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        content, label = self.parse(record)
        return self._view(decode_image(content, self.view.shape[2]), seed), label

    def _view(self, pixels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        image = self.view.take(pixels, seed)
        image.set_shape(self.view.shape)
        return image

    def _fetcher(self) -> Callable[[tf.Tensor, BatchRNG | None], tuple[tf.Tensor, tf.Tensor]]:
        """Images and labels of examples by their indices (n,); a view that is not random needs no random numbers."""
        pictures, labels = tf.constant(self.pictures), tf.constant(self.labels)
        channels = self.view.shape[2]
        if self.pictures.shape[1:] == self.view.shape:
            return lambda indices, rng: (tf.gather(pictures, indices), tf.gather(labels, indices))

        def image_of(picture: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
            if picture.dtype == tf.string:
                # Read in Python, so that every format is read and an error names the file; decoded in the graph.
                content = tf.ensure_shape(tf.numpy_function(read_content, [picture], tf.string, False), ())
                picture = decode_image(content, channels)
            return self._view(picture, seed)

        def fetch(indices: tf.Tensor, rng: BatchRNG | None) -> tuple[tf.Tensor, tf.Tensor]:
            images = tf.map_fn(
                lambda row: image_of(*row),
                (tf.gather(pictures, indices), rng.seeds() if rng else tf.zeros([tf.size(indices), 2], tf.int64)),
                fn_output_signature=tf.TensorSpec(self.view.shape, tf.uint8),
            )
            return images, tf.gather(labels, indices)

        return fetch

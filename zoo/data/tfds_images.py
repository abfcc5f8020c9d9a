"""Image sets of TensorFlow Datasets: held in memory where they are small, otherwise streamed from record files."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from zoo.data.decoding import decode_image
from zoo.data.folders import SPLITS
from zoo.data.image_split import ImageSplit
from zoo.data.paths import unknown_data
from zoo.data.prepared import prepared
from zoo.data.progress import progress
from zoo.data.splits import Splits, fingerprint_of
from zoo.data.stream import Records
from zoo.data.views import View
from zoo.errors import UsageError

RECORD_FORMAT = "tfrecord"  # of the files that can be streamed


def load_tfds(
    name: str, views: dict[str, View], cache_limit: int, log: Callable[[str], None], *, scored_only: bool = False
) -> Splits[ImageSplit]:
    """A TFDS set with an image and a label. Its validation split stands for a test split whose labels are not
    published, as in ImageNet. With `scored_only` the training split is left in its files where it can be.

    Raises `UsageError` for an unknown set or one without labelled images, `ZooError` if it cannot be had.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        known = ["digits", *tfds.list_builders(with_community_datasets=False)]
        raise unknown_data(name, "There is no data set", known, "folder:PATH") from error
    if not {"image", "label"} <= set(builder.info.features or ()):
        raise UsageError(f"{name} has no image with a label, so nothing to classify; mnist and cifar10 have.")
    prepared(name, "digits, or folder:PATH", log, builder)
    there = builder.info.splits
    streamed = scored_only and builder.info.file_format.value == RECORD_FORMAT
    limits = {split: 0 if streamed and split == "train" else cache_limit for split in SPLITS}
    splits = {split: _split(builder, split, views[split], limits[split]) for split in SPLITS if split in there}
    if "test" in splits and _first_label(splits["test"]) < 0:  # ImageNet's, whose labels are not published
        del splits["test"]
    if "train" not in splits or len(splits) == 1:
        raise UsageError(f"{name} has the splits {', '.join(there)}; train and test are needed.")
    found = "" if "test" in splits else "  test is the set's validation split"
    test = splits.get("test") or splits.pop("validation")
    counts = {split: there[split].num_examples for split in there}
    content = [builder.info.full_name, str(sorted(counts.items()))]
    return Splits(
        name,
        splits["train"],
        splits.get("validation"),
        test,
        tuple(builder.info.features["label"].names),
        found,
        fingerprint=fingerprint_of(content, examples=sum(counts.values())),
    )


def _first_label(split: ImageSplit) -> int:
    return int(next(iter(split.batches(1)))[1][0])


def published_order(count: int) -> np.ndarray:
    """The indices of a TFDS training split's examples, in the order of their keys.

    TFDS shuffles once, when it prepares a set: it sorts by a hash of each example's key. Where the keys number the
    examples of the authors' file, as in MNIST and most small sets, the same hash gives the file's order back.
    """
    from tensorflow_datasets.core.hashing import Hasher

    hasher = Hasher("train")
    indices = np.empty(count, np.int64)
    indices[np.argsort([hasher.hash_key(key) for key in range(count)])] = np.arange(count)
    return indices


def _split(builder, split: str, view: View, cache_limit: int) -> ImageSplit:
    import tensorflow_datasets as tfds

    info = builder.info.splits[split]
    undecoded = {"image": tfds.decode.SkipDecoding()}
    count = info.num_examples
    if not view.storable or count * view.size > cache_limit:
        if builder.info.file_format.value != RECORD_FORMAT:
            found = builder.info.file_format.value
            raise UsageError(f"{builder.name} is prepared as {found}; prepare it as {RECORD_FORMAT}.")

        def parse(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            example = builder.info.features.deserialize_example(record, decoders=undecoded)
            return example["image"], example["label"]

        files, lengths = tuple(map(str, info.filepaths)), tuple(info.shard_lengths)
        return ImageSplit(Records(files, (0,) * len(files), lengths), None, view, parse)
    images = np.empty((count, *view.shape), np.uint8)
    labels = np.empty(count, np.int64)
    unused = tf.zeros(2, tf.int64)
    records = builder.as_dataset(split=split, decoders=undecoded, read_config=tfds.ReadConfig(try_autocache=False))
    decoded = records.map(
        lambda record: (view.take(decode_image(record["image"], view.shape[2]), unused), record["label"]),
        num_parallel_calls=tf.data.AUTOTUNE,
    ).batch(1000)
    filled = 0
    for batch, batch_labels in progress(decoded, f"decoding {builder.name} {split}", (count + 999) // 1000):
        images[filled : filled + len(batch)] = batch
        labels[filled : filled + len(batch)] = batch_labels
        filled += len(batch)
    return ImageSplit(images, labels, view)

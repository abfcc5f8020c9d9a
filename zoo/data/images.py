"""Images by name: any TFDS classification set, the embedded digits, the user's own folders."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from zoo.data.prepared import prepared
from zoo.data.stream import Draws, Order, Records
from zoo.data.views import View, decode_image
from zoo.errors import UsageError, ZooError, nearest
from zoo.report.console import progress

EMBEDDED = ("digits",)
SUFFIXES = (".png", ".jpg", ".jpeg")
SPLITS = ("train", "validation", "test")
CACHE_LIMIT = 10**9  # bytes; what is larger is decoded anew each time it is read
LARGE = 500  # pixels; what a picture's side is taken to be where views keep its size


@dataclass(frozen=True)
class ImageSplit:
    """Pictures with their labels: those that are held, or where to read them, and the view that is taken of each.

    `pictures` holds uint8 pixels (N, H, W, C), which are the views themselves or what they are taken of, or the paths
    of files (N,), or TFDS records. `labels` is int64 (N,), None for records, which bring theirs along.
    """

    pictures: np.ndarray | Records
    labels: np.ndarray | None
    view: View
    parse: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]] | None = None  # a record → file content, label

    def __len__(self) -> int:
        return len(self.pictures)

    def take(self, indices: np.ndarray) -> "ImageSplit":
        """The examples at these places, which are sorted; of records, a stretch."""
        if isinstance(self.pictures, Records):
            return replace(self, pictures=self.pictures.part(int(indices[0]), int(indices[-1]) + 1))
        return replace(self, pictures=self.pictures[indices], labels=self.labels[indices])

    def batches(self, batch_size: int) -> tf.data.Dataset:
        """Each example once, in order: uint8 (n, height, width, C) and int64 (n,), the last batch shorter."""
        if isinstance(self.pictures, Records):
            still = tf.zeros(2, tf.int64)  # a view that is not random needs no seed
            decoded = self.pictures.in_order().map(
                lambda record: self._of_record(record, still), num_parallel_calls=tf.data.AUTOTUNE
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
        order: Order,
        first_step: int,
        transform: Callable[[tf.Tensor, Draws], tf.Tensor],
        own: range | None = None,
    ) -> tf.data.Dataset:
        """Full batches without end from `first_step` on: transformed images (B, …) and labels (B,).

        `transform` takes uint8 images (n, height, width, C) and what they may draw. With `own`, those rows of each
        batch alone: the others, which other workers train on, are not decoded.
        """
        own = range(order.batch_size) if own is None else own
        if not isinstance(self.pictures, Records):
            fetch = self._fetcher()

            def fetched(indices: tf.Tensor, draws: Draws) -> tuple[tf.Tensor, tf.Tensor]:
                images, labels = fetch(indices, draws)
                return transform(images, draws), labels

            return order.batches(first_step, fetched, own)
        seed, rows = tf.constant(order.seed, tf.int64), tf.range(own.start, own.stop)
        records = self.pictures.shuffled(order, first_step)
        if len(own) < order.batch_size:
            first, last = own[0], own[-1]
            records = records.filter(
                lambda position, record: (position % order.batch_size >= first) & (position % order.batch_size <= last)
            )
        images = records.map(
            lambda position, record: self._of_record(record, tf.stack([seed, position])),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )

        def transformed(step: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
            return transform(batch[0], Draws(tf.stack([seed, step]), order.batch_size, rows)), batch[1]

        return images.batch(len(own), drop_remainder=True).enumerate(first_step).map(transformed).prefetch(2)

    def _of_record(self, record: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        content, label = self.parse(record)
        return self._view(decode_image(content, self.view.shape[2]), seed), label

    def _view(self, pixels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        image = self.view.take(pixels, seed)
        image.set_shape(self.view.shape)
        return image

    def _fetcher(self) -> Callable[[tf.Tensor, Draws | None], tuple[tf.Tensor, tf.Tensor]]:
        """Images and labels of examples by their indices (n,); a view that is not random needs no draws."""
        pictures, labels = tf.constant(self.pictures), tf.constant(self.labels)
        if self.pictures.shape[1:] == self.view.shape:
            return lambda indices, draws: (tf.gather(pictures, indices), tf.gather(labels, indices))

        def look(picture: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
            if picture.dtype == tf.string:
                picture = decode_image(tf.io.read_file(picture), self.view.shape[2])
            return self._view(picture, seed)

        def fetch(indices: tf.Tensor, draws: Draws | None) -> tuple[tf.Tensor, tf.Tensor]:
            images = tf.map_fn(
                lambda row: look(*row),
                (tf.gather(pictures, indices), draws.seeds() if draws else tf.zeros([tf.size(indices), 2], tf.int64)),
                fn_output_signature=tf.TensorSpec(self.view.shape, tf.uint8),
            )
            return images, tf.gather(labels, indices)

        return fetch


@dataclass(frozen=True)
class ImageData:
    """A data set ready to train on: its splits and its class names."""

    name: str
    classes: tuple[str, ...]
    train: ImageSplit
    validation: ImageSplit | None
    test: ImageSplit


def load_images(
    dataset: str,
    train_view: View,
    test_view: View | None = None,
    *,
    seed: int = 0,
    validation_examples: int = 0,
    validation_cut: str = "random",
    skip_bad_images: bool = False,
    say: Callable[[str], None] = print,
) -> ImageData:
    """Loads a data set as training and testing (validation among it; by default the same) see it.

    `dataset` is a TFDS name (`"mnist"`), an embedded set (`"digits"`, which needs no network) or `"folder:PATH"`:
    a folder with a subfolder of PNG and JPEG files for each class, or with train, validation and test above those.
    What is larger than `CACHE_LIMIT` once decoded, or seen otherwise each time, is read and decoded anew each time.
    Where there is no validation split, `validation_examples` are cut from train, `"random"` by the seed (the last
    ones where a set is streamed, which TFDS has shuffled) or from the
    `"end"` of the authors' own order, which TFDS sets alone have. Raises `UsageError` for
    an unknown name, `ZooError` for data that cannot be read or had.
    """
    views = {"train": train_view, "validation": test_view or train_view, "test": test_view or train_view}
    if dataset.startswith("folder:"):
        data = _folder(Path(dataset.removeprefix("folder:")), views, seed, skip_bad_images, say)
    elif dataset == "digits":
        data = _digits(views)
    else:
        data = _tfds(dataset, views, say)
    if data.validation is None and validation_examples:
        count = len(data.train)
        if validation_examples >= count:
            raise UsageError(
                f"validation_examples is {validation_examples}, but {dataset} has {count} training examples."
            )
        if isinstance(data.train.pictures, Records):
            cut = np.arange(count)[::-1]
        elif validation_cut == "random":
            cut = np.random.default_rng([seed, 1]).permutation(count)
        elif dataset.startswith("folder:"):
            raise UsageError(f"validation_cut is 'end', but the files of {dataset} have no published order.")
        else:
            cut = _published_order(count)[::-1]
        validation, train = np.sort(cut[:validation_examples]), np.sort(cut[validation_examples:])
        held = replace(data.train.take(validation), view=views["validation"])
        data = replace(data, train=data.train.take(train), validation=held)
    return data


def _digits(views: dict[str, View]) -> ImageData:
    """scikit-learn's 1,797 scans of handwritten digits, 8 × 8, cut once for all into 1,297, 250 and 250."""
    from sklearn.datasets import load_digits

    scans, labels = load_digits(return_X_y=True)
    pixels = np.rint(scans.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    pixels = np.repeat(pixels, views["test"].shape[2], axis=-1)
    order = np.random.default_rng(1797).permutation(len(labels))
    places = dict(zip(SPLITS, np.split(order, [1297, 1547]), strict=True))
    splits = {
        split: _stored(ImageSplit(pixels[part], labels[part].astype(np.int64), views[split]))
        for split, part in places.items()
    }
    return ImageData("digits", tuple("0123456789"), **splits)


def _stored(split: ImageSplit) -> ImageSplit:
    """The split with its views taken once for all, where they are the same each time."""
    if not split.view.storable:
        return split
    return replace(split, pictures=np.concatenate([images.numpy() for images, _ in split.batches(1000)]))


def _tfds(name: str, views: dict[str, View], say: Callable[[str], None]) -> ImageData:
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        known = [*EMBEDDED, *tfds.list_builders(with_community_datasets=False)]
        raise UsageError(f"There is no data set {name!r}. {nearest(name, known)} Or folder:PATH.") from error
    if not {"image", "label"} <= set(builder.info.features or ()):
        raise UsageError(f"{name} has no image with a label, so nothing to classify; mnist and cifar10 have.")
    prepared(name, "digits, or folder:PATH", say, builder)
    splits = {split: _tfds_split(builder, split, views[split], say) for split in SPLITS if split in builder.info.splits}
    if "test" in splits and _first_label(splits["test"]) < 0:  # ImageNet's, whose labels are a secret
        del splits["test"]
    if "train" not in splits or len(splits) == 1:
        raise UsageError(f"{name} has the splits {', '.join(builder.info.splits)}; train and test are needed.")
    test = splits.get("test") or splits.pop("validation")
    names = tuple(builder.info.features["label"].names)
    return ImageData(name, names, splits["train"], splits.get("validation"), test)


def _first_label(split: ImageSplit) -> int:
    return int(next(iter(split.batches(1)))[1][0])


def _published_order(count: int) -> np.ndarray:
    """The places of a TFDS training split's examples, in the order of their keys.

    TFDS shuffles once, when it prepares a set: it sorts by a hash of each example's key. Where the keys number the
    examples of the authors' file, as in MNIST and most small sets, the same hash gives the file's order back.
    """
    from tensorflow_datasets.core.hashing import Hasher

    hasher = Hasher("train")
    places = np.empty(count, np.int64)
    places[np.argsort([hasher.hash_key(key) for key in range(count)])] = np.arange(count)
    return places


def _tfds_split(builder, split: str, view: View, say: Callable[[str], None]) -> ImageSplit:
    import tensorflow_datasets as tfds

    info = builder.info.splits[split]
    undecoded = {"image": tfds.decode.SkipDecoding()}
    count = info.num_examples
    if not view.storable or count * view.size > CACHE_LIMIT:
        if builder.info.file_format.value != "tfrecord":
            raise UsageError(f"{builder.name} is prepared as {builder.info.file_format.value}; prepare it as tfrecord.")

        def parse(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            example = builder.info.features.deserialize_example(record, decoders=undecoded)
            return example["image"], example["label"]

        files, lengths = tuple(map(str, info.filepaths)), tuple(info.shard_lengths)
        return ImageSplit(Records(files, (0,) * len(files), lengths), None, view, parse)
    images = np.empty((count, *view.shape), np.uint8)
    labels = np.empty(count, np.int64)
    still = tf.zeros(2, tf.int64)
    records = builder.as_dataset(split=split, decoders=undecoded, read_config=tfds.ReadConfig(try_autocache=False))
    decoded = records.map(
        lambda record: (view.take(decode_image(record["image"], view.shape[2]), still), record["label"]),
        num_parallel_calls=tf.data.AUTOTUNE,
    ).batch(1000)
    filled = 0
    for batch, batch_labels in progress(decoded, f"decoding {builder.name} {split}", (count + 999) // 1000):
        images[filled : filled + len(batch)] = batch
        labels[filled : filled + len(batch)] = batch_labels
        filled += len(batch)
    return ImageSplit(images, labels, view)


def _folder(
    root: Path, views: dict[str, View], seed: int, skip_bad_images: bool, say: Callable[[str], None]
) -> ImageData:
    if not root.is_dir():
        raise UsageError(f"folder:{root}: there is no such folder.")
    parts = {split: root / split for split in SPLITS if (root / split).is_dir()}
    if "train" in parts and len(parts) > 1:
        files = {split: _class_files(folder) for split, folder in parts.items()}
        classes = tuple(sorted(files["train"]))
        for split, found in files.items():
            for name in set(found) - set(classes):
                raise ZooError(f"folder:{root}: {split} has the class {name!r}, which train has not.")
    else:
        everything = _class_files(root)
        classes = tuple(sorted(everything))
        files = _cut(everything, seed)
        say(f"folder:{root}: cut by seed {seed} into 80 % train, 10 % validation and 10 % test of every class")
    if len(classes) < 2:
        raise ZooError(
            f"folder:{root}: {'one class, ' + repr(classes[0]) if classes else 'no images'}; "
            "there must be a subfolder of PNG or JPEG files for each of two or more classes."
        )
    numbers = {name: number for number, name in enumerate(classes)}
    shape = [n or LARGE for n in views["test"].shape]
    splits = {}
    for split, found in files.items():
        paths = [str(path) for name in sorted(found) for path in found[name]]
        labels = [numbers[name] for name in sorted(found) for _ in found[name]]
        if not paths:
            raise ZooError(f"folder:{root}: there are too few images for a {split} split.")
        splits[split] = ImageSplit(np.array(paths), np.array(labels, np.int64), views[split])
    held = sum(len(split) * int(np.prod(shape)) for split in splits.values()) <= CACHE_LIMIT
    bad = []
    if held or skip_bad_images:  # else a look at every file would take too long
        for name, split in splits.items():
            keep = held and split.view.storable
            splits[name], missing = _decode_all(split, f"{root.name} {name}", keep=keep)
            bad += missing
            if not len(splits[name]):
                raise ZooError(f"folder:{root}: none of the {len(split)} files of the {name} split can be decoded.")
    if bad and not skip_bad_images:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise ZooError(
            f"{bad[0]}{more} cannot be decoded as PNG or JPEG; mend or remove, or go on without with --skip-bad-images."
        )
    test = splits["test"] if "test" in splits else splits.pop("validation")
    return ImageData(f"folder:{root}", classes, splits["train"], splits.get("validation"), test)


def _class_files(root: Path) -> dict[str, list[Path]]:
    """PNG and JPEG files below each subfolder of `root`, sorted; subfolders without any are left out."""
    found = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        if files:
            found[folder.name] = files
    return found


def _cut(everything: dict[str, list[Path]], seed: int) -> dict[str, dict[str, list[Path]]]:
    """Ten per cent of each class to test, ten to validation, at least one image each while two are left for train."""
    files: dict[str, dict[str, list[Path]]] = {split: {} for split in SPLITS}
    for number, (name, paths) in enumerate(sorted(everything.items())):
        order = np.random.default_rng([seed, number]).permutation(len(paths))
        held = max(len(paths) // 10, 1 if len(paths) > 3 else 0)
        for split, part in zip(SPLITS, (order[2 * held :], order[:held], order[held : 2 * held]), strict=True):
            if len(part):
                files[split][name] = [paths[i] for i in sorted(part)]
    return files


def _decode_all(split: ImageSplit, label: str, *, keep: bool) -> tuple[ImageSplit, list[str]]:
    """The split without the files that cannot be decoded, and those; decoded if it is to be kept in memory.

    On as many threads as there are cores.
    """
    still = tf.zeros(2, tf.int64)

    def decode(path: str) -> np.ndarray | bool:
        try:
            pixels = decode_image(tf.io.read_file(path), split.view.shape[2])
            return split.view.take(pixels, still).numpy() if keep else True
        except (tf.errors.OpError, ValueError):
            return False

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        action = "decoding" if keep else "checking"
        seen = list(progress(pool.map(decode, split.pictures), f"{action} {label}", len(split)))
    good = np.array([image is not False for image in seen])
    bad = [str(path) for path in split.pictures[~good]]
    rest = split.take(np.flatnonzero(good))
    if keep and len(rest):
        rest = replace(rest, pictures=np.stack([image for image in seen if image is not False]))
    return rest, bad

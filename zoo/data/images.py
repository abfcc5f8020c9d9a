"""Images by name: any TFDS classification set, the embedded digits, the user's own folders."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from zoo.data.stream import Order
from zoo.errors import UsageError, ZooError, nearest, reason

EMBEDDED = ("digits",)
SUFFIXES = (".png", ".jpg", ".jpeg")
SPLITS = ("train", "validation", "test")
CACHE_LIMIT = 10**9  # bytes; what is larger is decoded anew each time it is read


@dataclass(frozen=True)
class ImageSplit:
    """Images of one size with their labels: decoded, or the files to decode."""

    images: np.ndarray  # uint8 (N, H, W, C), or paths (N,)
    labels: np.ndarray  # int64 (N,)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> "ImageSplit":
        return ImageSplit(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class ImageData:
    """A data set ready to train on: its splits, its class names, the shape (height, width, channels) of its images."""

    name: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    train: ImageSplit
    validation: ImageSplit | None
    test: ImageSplit

    def batches(self, split: ImageSplit, batch_size: int) -> tf.data.Dataset:
        """Each example once, in order: uint8 (n, H, W, C) and int64 (n,), the last batch shorter."""
        starts = tf.data.Dataset.range(0, len(split), batch_size)
        fetch = self._fetcher(split)
        return starts.map(
            lambda start: fetch(tf.range(start, tf.minimum(start + batch_size, len(split)))),
            num_parallel_calls=tf.data.AUTOTUNE,
        ).prefetch(2)

    def training_batches(
        self,
        order: Order,
        first_step: int,
        transform: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    ) -> tf.data.Dataset:
        """Full batches without end from `first_step` on: transformed images (B, …) and labels (B,).

        `transform` takes uint8 images (n, H, W, C) and a random seed (2,) for all of them.
        """
        fetch = self._fetcher(self.train)

        def batches_of(indices: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            images, labels = fetch(indices)
            return transform(images, seed), labels

        return order.batches(first_step, batches_of)

    def _fetcher(self, split: ImageSplit) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        images, labels = tf.constant(split.images), tf.constant(split.labels)
        if images.dtype != tf.string:
            return lambda indices: (tf.gather(images, indices), tf.gather(labels, indices))

        def decode(path: tf.Tensor) -> tf.Tensor:
            return decode_image(tf.io.read_file(path), self.shape)

        def fetch(indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            files = tf.gather(images, indices)
            return tf.map_fn(decode, files, fn_output_signature=tf.uint8), tf.gather(labels, indices)

        return fetch


def decode_image(content: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    """PNG or JPEG bytes, a scalar, as uint8 pixels of the given (height, width, channels)."""
    # Always by way of colours: TensorFlow can't decode a CMYK JPEG to grey. Grey pixels stay what they are.
    pixels = tf.io.decode_image(content, channels=3, expand_animations=False)
    if shape[2] == 1:
        pixels = tf.image.rgb_to_grayscale(pixels)
    return resize(pixels[None], shape)[0]


def resize(images: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    """uint8 (N, any, any, C) as uint8 (N, height, width, C): bilinear, antialiased, rounded."""
    height, width = shape[0], shape[1]
    already = tf.reduce_all(tf.shape(images)[1:3] == [height, width])

    def resized() -> tf.Tensor:
        smooth = tf.image.resize(images, (height, width), method="bilinear", antialias=True)
        return tf.cast(tf.clip_by_value(tf.round(smooth), 0, 255), tf.uint8)

    out = tf.cond(already, lambda: images, resized)
    out.set_shape((images.shape[0], height, width, images.shape[3]))
    return out


def load_images(
    dataset: str,
    shape: tuple[int, int, int],
    *,
    seed: int = 0,
    validation_examples: int = 0,
    validation_cut: str = "random",
    skip_bad_images: bool = False,
    say: Callable[[str], None] = print,
) -> ImageData:
    """Loads a data set, resized to `shape` (height, width, channels).

    `dataset` is a TFDS name (`"mnist"`), an embedded set (`"digits"`, which needs no network) or `"folder:PATH"`:
    a folder with a subfolder of PNG and JPEG files for each class, or with train, validation and test above those.
    Where there is no validation split, `validation_examples` are cut from train, `"random"` by the seed or from the
    `"end"` of the authors' own order, which TFDS sets alone have. Raises `UsageError` for
    an unknown name, `ZooError` for data that cannot be read or had.
    """
    if dataset.startswith("folder:"):
        data = _folder(Path(dataset.removeprefix("folder:")), shape, seed, skip_bad_images, say)
    elif dataset == "digits":
        data = _digits(shape)
    else:
        data = _tfds(dataset, shape, say)
    if data.validation is None and validation_examples:
        if validation_examples >= len(data.train):
            raise UsageError(
                f"validation_examples is {validation_examples}, but {dataset} has {len(data.train)} training examples."
            )
        if validation_cut == "random":
            cut = np.random.default_rng([seed, 1]).permutation(len(data.train))
        elif dataset.startswith("folder:"):
            raise UsageError(f"validation_cut is 'end', but the files of {dataset} have no published order.")
        else:
            cut = _published_order(len(data.train))[::-1]
        validation, train = np.sort(cut[:validation_examples]), np.sort(cut[validation_examples:])
        data = replace(data, train=data.train.take(train), validation=data.train.take(validation))
    return data


def _digits(shape: tuple[int, int, int]) -> ImageData:
    """scikit-learn's 1,797 scans of handwritten digits, 8 × 8, cut once for all into 1,297, 250 and 250."""
    from sklearn.datasets import load_digits

    scans, labels = load_digits(return_X_y=True)
    pixels = np.rint(scans.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    pixels = np.repeat(pixels, shape[2], axis=-1)
    everything = ImageSplit(resize(tf.constant(pixels), shape).numpy(), labels.astype(np.int64))
    order = np.random.default_rng(1797).permutation(len(labels))
    parts = [everything.take(part) for part in np.split(order, [1297, 1547])]
    return ImageData("digits", shape, tuple("0123456789"), *parts)


def _tfds(name: str, shape: tuple[int, int, int], say: Callable[[str], None]) -> ImageData:
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        known = [*EMBEDDED, *tfds.list_builders(with_community_datasets=False)]
        raise UsageError(f"There is no data set {name!r}. {nearest(name, known)} Or folder:PATH.") from error
    if not {"image", "label"} <= set(builder.info.features or ()):
        raise UsageError(f"{name} has no image with a label, so nothing to classify; mnist and cifar10 have.")
    if not (Path(builder.data_dir) / "dataset_info.json").exists():
        say(f"{name} is not in {builder.data_dir}: preparing it")
        try:
            builder.download_and_prepare()
        except Exception as error:  # whatever the network, the disk or the builder raise, the way out is the same
            raise ZooError(
                f"{name} is not prepared in {builder.data_dir} and cannot be fetched ({reason(error)}). With no "
                "network, use --dataset digits, or folder:PATH, or set TFDS_DATA_DIR to where it is prepared."
            ) from error
    label = builder.info.features["label"]
    splits = {split: _tfds_split(builder, split, shape, say) for split in SPLITS if split in builder.info.splits}
    if "train" not in splits or len(splits) == 1:
        raise UsageError(f"{name} has the splits {', '.join(builder.info.splits)}; train and test are needed.")
    test = splits.get("test") or splits.pop("validation")
    return ImageData(name, shape, tuple(label.names), splits["train"], splits.get("validation"), test)


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


def _tfds_split(builder, split: str, shape: tuple[int, int, int], say: Callable[[str], None]) -> ImageSplit:
    import tensorflow_datasets as tfds

    count = builder.info.splits[split].num_examples
    images = np.empty((count, *shape), np.uint8)
    labels = np.empty(count, np.int64)
    records = builder.as_dataset(
        split=split, decoders={"image": tfds.decode.SkipDecoding()}, read_config=tfds.ReadConfig(try_autocache=False)
    )
    decoded = records.map(
        lambda record: (decode_image(record["image"], shape), record["label"]), num_parallel_calls=tf.data.AUTOTUNE
    ).batch(1000)
    filled = 0
    for batch, batch_labels in _progress(decoded, f"decoding {builder.name} {split}", (count + 999) // 1000):
        images[filled : filled + len(batch)] = batch
        labels[filled : filled + len(batch)] = batch_labels
        filled += len(batch)
    return ImageSplit(images, labels)


def _folder(
    root: Path, shape: tuple[int, int, int], seed: int, skip_bad_images: bool, say: Callable[[str], None]
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
    splits = {}
    for split, found in files.items():
        paths = [str(path) for name in sorted(found) for path in found[name]]
        labels = [numbers[name] for name in sorted(found) for _ in found[name]]
        if not paths:
            raise ZooError(f"folder:{root}: there are too few images for a {split} split.")
        splits[split] = ImageSplit(np.array(paths), np.array(labels, np.int64))
    if sum(map(len, splits.values())) * int(np.prod(shape)) <= CACHE_LIMIT:
        splits = _decode_all(splits, shape, root, skip_bad_images)
    test = splits["test"] if "test" in splits else splits.pop("validation")
    return ImageData(f"folder:{root}", shape, classes, splits["train"], splits.get("validation"), test)


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


def _decode_all(
    splits: dict[str, ImageSplit], shape: tuple[int, int, int], root: Path, skip_bad_images: bool
) -> dict[str, ImageSplit]:
    """Every file decoded, on as many threads as there are cores. Files that cannot be are named, or left out."""

    def decode(path: str) -> np.ndarray | None:
        try:
            return decode_image(tf.io.read_file(path), shape).numpy()
        except (tf.errors.OpError, ValueError):
            return None

    decoded, bad = {}, []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for split, files in splits.items():
            pixels = list(_progress(pool.map(decode, files.images), f"decoding {root.name} {split}", len(files)))
            good = np.array([image is not None for image in pixels])
            bad += [str(path) for path in files.images[~good]]
            if not good.any():
                raise ZooError(f"folder:{root}: none of the {len(files)} files of the {split} split can be decoded.")
            decoded[split] = ImageSplit(np.stack([image for image in pixels if image is not None]), files.labels[good])
    if bad and not skip_bad_images:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise ZooError(
            f"{bad[0]}{more} cannot be decoded as PNG or JPEG; mend or remove, or go on without with --skip-bad-images."
        )
    return decoded


def _progress(items: Iterable[Any], label: str, total: int) -> Iterable[Any]:
    from rich.progress import track

    return track(items, description=label, total=total, transient=True)

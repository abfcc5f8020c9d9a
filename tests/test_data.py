"""The order of examples, the embedded digits, TFDS, folders of images and their errors."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from conftest import image_recipe, prepared, run_python
from zoo.data.decoding import decode_image
from zoo.data.images import load_images
from zoo.data.splits import difference, fingerprint_of
from zoo.data.stream import BatchRNG, EpochShuffle
from zoo.data.views import resize, whole
from zoo.errors import UsageError, ZooError
from zoo.tasks.image_classification.preprocessing import Preprocessing, augment


def positions(order, first_step, steps):
    def fetch(indices, rng):
        return indices, tf.tile(rng.seed[None], [len(indices), 1])

    batches = order.batches(first_step, fetch).take(steps)
    return [(indices.tolist(), seeds[0].tolist()) for indices, seeds in batches.as_numpy_iterator()]


@pytest.mark.parametrize(("count", "batch_size"), [(10, 3), (100, 7), (5, 8), (257, 1)])
def test_each_epoch_has_every_example_once_and_the_remainder_starts_the_next(count, batch_size):
    order = EpochShuffle(count, batch_size, seed=4)
    epochs = 3
    sequence = [i for indices, _ in positions(order, 0, -(-epochs * count // batch_size)) for i in indices]
    parts = [sequence[e * count : (e + 1) * count] for e in range(epochs)]
    assert all(sorted(part) == list(range(count)) for part in parts)
    assert parts[0] != parts[1] != parts[2]
    assert parts[0] != list(range(count))


def test_the_order_depends_on_seed_and_step_only():
    whole = positions(EpochShuffle(50, 8, seed=1), 0, 20)
    assert positions(EpochShuffle(50, 8, seed=1), 0, 20) == whole
    assert positions(EpochShuffle(50, 8, seed=1), 13, 7) == whole[13:]  # any step without those before
    assert positions(EpochShuffle(50, 8, seed=2), 0, 20) != whole
    seeds = [tuple(seed) for _, seed in whole]
    assert len(set(seeds)) == 20 // (64 // 8) + 1  # one for every 64 examples


def test_the_split_of_digits_is_fixed(digits):
    assert (len(digits.train), len(digits.validation), len(digits.test)) == (1297, 250, 250)
    again = load_images("digits", whole((8, 8, 1)), seed=9)
    np.testing.assert_array_equal(digits.test.pictures, again.test.pictures)
    assert digits.train.pictures.dtype == np.uint8 and digits.train.pictures.max() == 255
    every = np.concatenate([split.pictures for split in (digits.train, digits.validation, digits.test)])
    from sklearn.datasets import load_digits

    scans = load_digits().images
    assert sorted(map(bytes, np.rint(scans * 255 / 16).astype(np.uint8))) == sorted(map(bytes, every[..., 0]))


def test_colour_and_size_are_the_models():
    data = load_images("digits", whole((20, 30, 3)))
    assert data.train.pictures.shape == (1297, 20, 30, 3)


def test_evaluation_sees_every_example_once(digits):
    seen = np.concatenate([labels for _, labels in digits.test.batches(64).as_numpy_iterator()])
    np.testing.assert_array_equal(seen, digits.test.labels)


def test_a_validation_split_is_cut_by_the_seed(image_folder):
    root = image_folder(count=20)
    for part in ("train", "test"):
        (root / part).mkdir()
    for name in ("dark", "light"):
        (root / name).rename(root / "train" / name)
    image_folder(root / "test", count=3)
    one = load_images(f"folder:{root}", whole((8, 8, 3)), seed=1, validation_examples=5)
    assert (len(one.train), len(one.validation), len(one.test)) == (35, 5, 6)
    same = load_images(f"folder:{root}", whole((8, 8, 3)), seed=1, validation_examples=5)
    other = load_images(f"folder:{root}", whole((8, 8, 3)), seed=2, validation_examples=5)
    np.testing.assert_array_equal(one.validation.pictures, same.validation.pictures)
    assert not np.array_equal(one.validation.pictures, other.validation.pictures)
    with pytest.raises(UsageError, match="validation_examples is 40, but .* has 40"):
        load_images(f"folder:{root}", whole((8, 8, 3)), validation_examples=40)


@pytest.mark.parametrize("cache_limit", [10**9, 0])
def test_copies_are_cut_together(image_folder, cache_limit):
    root = image_folder(count=20)
    image_folder(root / "test", count=3)
    (root / "train").mkdir()
    for name in ("dark", "light"):
        (root / name).rename(root / "train" / name)
        for file in sorted((root / "train" / name).glob("*.png")):
            shutil.copy(file, file.with_name(f"copy{file.name}"))
    data = load_images(f"folder:{root}", whole((8, 8, 3)), validation_examples=7, cache_limit=cache_limit)
    assert (len(data.train), len(data.validation)) == (72, 8)
    seen = [
        np.concatenate([b for b, _ in part.batches(9).as_numpy_iterator()]) for part in (data.train, data.validation)
    ]
    assert not {image.tobytes() for image in seen[0]} & {image.tobytes() for image in seen[1]}
    with pytest.raises(ZooError, match="79 validation examples and their copies are all of the training split"):
        load_images(f"folder:{root}", whole((8, 8, 3)), validation_examples=79)


@pytest.mark.full
def test_the_published_order_of_mnist_is_known(mnist):
    from zoo.data.tfds_images import published_order

    labels = mnist.train.labels[published_order(60_000)]
    assert labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]  # as everyone knows them
    data = load_images("mnist", whole((28, 28, 1)), validation_examples=10_000, validation_cut="end")
    assert sorted(data.validation.labels) == sorted(labels[50_000:])


def test_a_folder_of_classes_is_cut_into_three(image_folder):
    data = load_images(f"folder:{image_folder(count=20)}", whole((10, 12, 3)))
    assert data.classes == ("dark", "light")
    assert (len(data.train), len(data.validation), len(data.test)) == (32, 4, 4)
    for split in (data.train, data.validation, data.test):
        brightness = split.pictures.mean(axis=(1, 2, 3))
        np.testing.assert_array_equal(split.labels, brightness > 128)


def test_large_sets_are_decoded_while_reading(image_folder):
    root = image_folder(count=20)
    kept = load_images(f"folder:{root}", whole((10, 12, 3)))
    streamed = load_images(f"folder:{root}", whole((10, 12, 3)), cache_limit=1000)
    assert streamed.train.pictures.dtype.kind == "S"
    for ours, theirs in zip(kept.train.batches(7), streamed.train.batches(7), strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda root: None, "no images"),
        (lambda root: (root / "only").mkdir(), "no images"),
    ],
)
def test_an_empty_folder_says_what_is_needed(tmp_path, spoil, said):
    spoil(tmp_path)
    with pytest.raises(ZooError, match=f"{said}.*two or more classes"):
        load_images(f"folder:{tmp_path}", whole((8, 8, 1)))


def test_a_missing_folder_and_a_single_class(tmp_path, image_folder):
    with pytest.raises(UsageError, match="no such folder"):
        load_images(f"folder:{tmp_path / 'nowhere'}", whole((8, 8, 1)))
    with pytest.raises(ZooError, match="one class, 'dark'"):
        load_images(f"folder:{image_folder(classes=('dark',))}", whole((8, 8, 1)))


def test_bad_images_are_named_or_skipped(image_folder):
    root = image_folder()
    (root / "dark" / "000.png").write_text("I am a text", encoding="utf-8")
    picture = tf.io.encode_jpeg(np.zeros((40, 40, 3), np.uint8)).numpy()
    (root / "light" / "broken.jpg").write_bytes(picture[: len(picture) // 2])
    with pytest.raises(ZooError, match=r"(000\.png|broken\.jpg) cannot be decoded.* and 1 more.*--skip-bad-images"):
        load_images(f"folder:{root}", whole((8, 8, 3)))
    data = load_images(f"folder:{root}", whole((8, 8, 3)), skip_bad_images=True)
    assert len(data.train) + len(data.validation) + len(data.test) == 23
    for file in (root / "dark").iterdir():
        file.write_text("I am a text", encoding="utf-8")
    with pytest.raises(ZooError, match="no file of the class 'dark' can be decoded; remove its folder"):
        load_images(f"folder:{root}", whole((8, 8, 3)), skip_bad_images=True)


def test_unusual_but_legitimate_images_are_converted(tmp_path):
    from PIL import Image

    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "grey.png")
    grey = decode_image(tf.io.read_file(str(tmp_path / "grey.png")), 1)
    np.testing.assert_array_equal(grey[..., 0], ramp)
    Image.new("CMYK", (9, 9), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg")  # red
    Image.new("P", (9, 9), 1).save(tmp_path / "palette.png")
    Image.fromarray(np.full((9, 9), 65535, np.uint16)).save(tmp_path / "deep.png")
    Image.new("RGB", (1, 1), (255, 0, 0)).save(tmp_path / "dot.png")
    Image.new("RGBA", (9, 9), (255, 0, 0, 10)).save(tmp_path / "see_through.png")
    for channels in (1, 3):
        view = whole((6, 6, channels))
        contents = {path.stem: tf.io.read_file(str(path)) for path in tmp_path.iterdir()}
        pixels = {name: view.take(decode_image(content, channels), None).numpy() for name, content in contents.items()}
        assert all(image.shape == (6, 6, channels) and image.dtype == np.uint8 for image in pixels.values())
        assert (pixels["deep"] == 255).all()
    assert pixels["cmyk"][..., 0].min() > 200 and pixels["cmyk"][..., 1:].max() < 60
    assert (pixels["dot"] == [255, 0, 0]).all()


def test_data_of_another_version_of_a_package_are_the_same_unless_their_content_is():
    old, new = (fingerprint_of(["a", "b"], examples=2, source=f"Babel {version}") for version in ("2.18", "2.19"))
    more = fingerprint_of(["a", "b", "c"], examples=3, source="Babel 2.19")
    unknown = fingerprint_of(["a", "b"], examples=2)
    assert difference(old, new, "then") is None and difference(unknown, new, "then") is None
    assert difference(old, more, "then") == "3 examples now, 2 then; Babel 2.19 now, Babel 2.18 then"
    assert difference({"rows": 2}, {}, "then") == "None rows now, 2 then"  # of a task of one's own
    assert difference(unknown, more, "then") == "3 examples now, 2 then; Babel 2.19 now, not recorded then"


def test_a_folder_without_its_kind_is_named(tmp_path):
    with pytest.raises(UsageError, match="is a path; data of your own is given as folder:PATH"):
        load_images(str(tmp_path), whole((8, 8, 3)))


def test_an_unknown_data_set_names_the_nearest():
    with pytest.raises(UsageError, match="'mnits'.*'mnist'"):
        load_images("mnits", whole((28, 28, 1)))
    with pytest.raises(UsageError, match="no image with a label"):
        load_images("imdb_reviews", whole((28, 28, 1)))


def test_without_data_and_network_the_error_names_offline_data(tmp_path):
    code = """
import socket
def refuse(*arguments, **options): raise OSError("no network")
socket.getaddrinfo = refuse
from zoo.data.images import load_images
from zoo.data.views import whole
from zoo.errors import ZooError
try:
    load_images("mnist", whole((28, 28, 1)))
except ZooError as error:
    print(error)
"""
    done = run_python(code=code, env={"TFDS_DATA_DIR": str(tmp_path)}, timeout=300)
    assert "mnist is not prepared" in done.stdout and "--dataset digits" in done.stdout, done.stdout + done.stderr


def test_resize_does_not_change_images_of_the_right_size():
    images = np.random.default_rng(0).integers(0, 256, (3, 7, 9, 1), dtype=np.uint8)
    np.testing.assert_array_equal(resize(tf.constant(images), (7, 9)), images)
    assert resize(tf.constant(images), (14, 5)).shape == (3, 14, 5, 1)


def test_preprocessing_pads_with_black_and_standardises():
    images = np.array([[[[0], [255]]]], np.uint8)
    recipe = image_recipe(pad=1, pixel_mean=(20.0,), pixel_std=(200.0,))
    got = Preprocessing(recipe, (3, 4, 1))(tf.constant(images)).numpy()
    assert got.shape == (1, 3, 4, 1)
    np.testing.assert_allclose(got[0, 1, :, 0], [-0.1, -0.1, 1.175, -0.1], rtol=1e-6)


@pytest.mark.parametrize("batch_size", [8, 100])
def test_a_workers_rows_are_those_of_the_whole_batch(batch_size):
    recipe = image_recipe(batch_size=batch_size, random_shift=2, random_flip=True)
    task, own = prepared(recipe), range(2, 5)
    wholes, parts = (task.training_batches(3, rows).take(20).as_numpy_iterator() for rows in (None, own))
    for whole_, part in zip(wholes, parts, strict=True):
        np.testing.assert_array_equal(part["inputs"], whole_["inputs"][2:5])
        np.testing.assert_array_equal(part["labels"], whole_["labels"][2:5])


def test_augmentation_shifts_and_flips_as_the_seed_says():
    images = np.random.default_rng(0).integers(1, 256, (50, 6, 5, 2), dtype=np.uint8)
    rng = BatchRNG(tf.constant([3, 4], tf.int64), 50, tf.range(50))
    recipe = image_recipe(random_shift=2, random_flip=True)
    got = augment(tf.constant(images), rng, recipe).numpy()
    np.testing.assert_array_equal(got, augment(tf.constant(images), rng, recipe))
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    moves = set()
    for i in range(50):
        found = [
            (y, x, flip)
            for y in range(5)
            for x in range(5)
            for flip in (False, True)
            if np.array_equal(got[i], padded[i, y : y + 6, x : x + 5][:, :: -1 if flip else 1])
        ]
        assert len(found) == 1
        moves.update(found)
    assert len({(y, x) for y, x, _ in moves}) > 15 and len({flip for *_, flip in moves}) == 2


def test_a_mean_for_the_wrong_number_of_channels_is_named():

    recipe = image_recipe(pixel_mean=(1.0, 2.0))
    with pytest.raises(UsageError, match="pixel_mean has 2 values"):
        prepared(recipe)

"""Crops, colours and normalisation, data that does not fit into memory, and views of test images."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from conftest import folder_of_pictures, image_recipe, prepared, run
from zoo.data import views
from zoo.data.images import load_images
from zoo.data.normalisation import Normalisation
from zoo.data.stream import EpochShuffle, Records
from zoo.errors import UsageError, ZooError
from zoo.tasks.image_classification.dense_scoring import convolutional
from zoo.tasks.image_classification.preprocessing import Preprocessing
from zoo.tasks.image_classification.scoring import scores
from zoo.tasks.losses import smoothed_cross_entropy


def places(height, width):
    """A picture whose red is the row of each pixel and whose green the column."""
    rows, columns = np.mgrid[:height, :width]
    return tf.constant(np.stack([rows, columns, 0 * rows], -1).astype(np.uint8))


def seed(number):
    return tf.constant([5, number], tf.int64)


def test_digits_are_brought_to_one_width():
    images = np.zeros((3, 6, 12, 1), np.uint8)
    images[0, 1:3, 2:5, 0] = [10, 20, 30]  # three columns
    images[1, 4, 11, 0] = 200  # a single one, at the edge; the third image is black
    wide = views.with_digit_width(tf.constant(images), 5).numpy()
    assert wide.shape == images.shape and wide.dtype == np.float32
    np.testing.assert_allclose(wide[0, 1, :, 0], [0] * 3 + [10, 15, 20, 25, 30] + [0] * 4)
    np.testing.assert_allclose(wide[1, 4, :, 0], [0] * 3 + [200] * 5 + [0] * 4)
    assert not wide[2].any() and not wide[:, 0].any()
    recipe = image_recipe(model="lenet5_modern", dataset="digits", digit_width=20, pad=2)
    task = prepared(recipe)
    trained = next(iter(task.training_batches(0)))["inputs"]
    assert trained.shape == (4, 32, 32, 1)
    ink = np.nonzero(np.max(trained, axis=(1, 3)))[1]
    assert {ink.min(), ink.max()} == {6, 25}
    with pytest.raises(UsageError, match="digit_width=29 is more than the 28 pixels"):
        prepared(replace(recipe, digit_width=29))


def test_square_views_keep_the_aspect_and_the_centre():
    image = views.central_square(20, 3).take(places(40, 80), seed(0)).numpy()  # halved, then columns 10 to 29 of 40
    assert image.shape == (20, 20, 3)
    assert abs(int(image[0, 0, 1]) - 20) <= 1 and abs(int(image[-1, -1, 1]) - 59) <= 1
    assert image[0, 0, 0] <= 1 and image[-1, -1, 0] >= 38
    assert views.rescaled(20, 3).take(places(40, 80), seed(0)).shape == (20, 40, 3)


def test_random_scale_covers_the_picture_and_the_sizes():
    view = views.random_scale((16, 16, 3), (16, 32))
    images = np.stack([view.take(places(64, 96), seed(i)).numpy() for i in range(60)]).astype(int)
    spans = images[:, -1, -1] - images[:, 0, 0]  # in the picture's own pixels: 64 · 16/side
    assert 30 <= spans[:, 0].min() <= 34 and 58 <= spans[:, 0].max() <= 64
    assert np.abs(spans[:, 0] - spans[:, 1]).max() <= 4  # the aspect is kept
    assert images[:, 0, 0, 1].max() > 50 and images[:, 0, 0, 1].min() < 8
    np.testing.assert_array_equal(images[3], view.take(places(64, 96), seed(3)))


def test_inception_crops_have_the_published_areas_and_aspects():
    view = views.inception_crop((50, 50, 3))
    images = np.stack([view.take(places(200, 200), seed(i)).numpy() for i in range(150)]).astype(float)
    heights, widths = (images[:, -1, -1] - images[:, 0, 0])[:, :2].T * 50 / 49
    areas, aspects = heights * widths / 200**2, widths / heights
    assert 0.06 < areas.min() < 0.2 and 0.7 < areas.max() <= 1.05
    assert 0.7 < aspects.min() < 0.85 and 1.2 < aspects.max() < 1.4


def test_windows_are_cut_where_the_draws_say():
    images = tf.stack([places(6, 7)] * 4)
    draws = tf.constant([[0.0, 0.0], [0.99, 0.0], [0.0, 0.99], [0.5, 0.5]])
    corners = views.random_window(images, (4, 4), draws)[:, 0, 0, :2].numpy().tolist()
    assert corners == [[0, 0], [2, 0], [0, 3], [1, 2]]


def test_ten_crops_are_centre_corners_and_mirror_images():
    crops = [crop.numpy()[0] for crop in views.ten_crops(places(8, 8)[None], (4, 4))]
    assert [tuple(crop[0, 0, :2]) for crop in crops[:5]] == [(2, 2), (0, 0), (0, 4), (4, 0), (4, 4)]
    for crop, mirrored in zip(crops[:5], crops[5:], strict=True):
        np.testing.assert_array_equal(crop[:, ::-1], mirrored)


def test_colour_noise_lies_along_the_components():
    draws = tf.random.stateless_normal((4000, 3), seed(1))
    noise = views.colour_noise(0.1 * draws).numpy().reshape(-1, 3)
    along = noise @ np.array(views.COLOUR_COMPONENTS)
    np.testing.assert_allclose(along.std(axis=0), 0.1 * np.array(views.COLOUR_DEVIATIONS), rtol=0.05)
    components = np.array(views.COLOUR_COMPONENTS)
    np.testing.assert_allclose(components.T @ components, np.eye(3), atol=2e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_colour_noise_is_one_colour_for_each_training_image(channels):
    small = {"model": "softmax_regression", "model_args": {"input_shape": (8, 8, channels)}}
    plain, noisy = (prepared(image_recipe(**small, colour_noise=noise)) for noise in (0.0, 0.5))
    one, other = (next(iter(task.training_batches(0)))["inputs"].numpy() for task in (plain, noisy))
    added = other - one
    np.testing.assert_allclose(added, np.broadcast_to(added[:, :1, :1], added.shape), atol=1e-5)
    assert (np.abs(added[:, 0, 0]).max(axis=-1) > 1e-3).all() == (channels == 3)


def learned(images, **options):
    normalisation = Normalisation(images.shape[1:], **options)
    normalisation.learn([tf.constant(images[:30]), tf.constant(images[30:45]), tf.constant(images[45:])], print)
    return normalisation


def test_the_mean_image_is_the_training_images():
    images = np.random.default_rng(0).integers(0, 256, (50, 4, 5, 3), dtype=np.uint8)
    got = learned(images, kind="mean_image", std=(2.0,))(tf.constant(images)).numpy()
    np.testing.assert_allclose(got, (images - images.mean(axis=0)) / 2, atol=1e-4)


def test_whitening_makes_pixels_uncorrelated():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 200, (4000, 3, 3, 1)).astype(np.uint8)
    images += np.roll(images, 1, axis=1) // 4  # neighbours go together
    got = learned(images, kind="gcn_zca")(tf.constant(images)).numpy().reshape(4000, 9)
    covariance = np.cov(got.T)
    # One direction is lost: contrast normalisation takes each image's mean away.
    values = np.linalg.eigvalsh(covariance)
    assert values[0] < 1e-3 and (np.abs(values[1:] - 1) < 0.01).all()


def test_contrast_normalisation_by_hand():
    from zoo.data.normalisation import contrast_normalised

    got = contrast_normalised(tf.constant([[[[1.0], [3.0]]], [[[7.0], [7.0]]]])).numpy()
    np.testing.assert_allclose(got, [[-55 / 2**0.5, 55 / 2**0.5], [0, 0]], rtol=1e-6)


def test_images_normalised_by_themselves():
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    got = Normalisation((8, 8, 3), kind="per_image")(tf.constant(images)).numpy()
    np.testing.assert_allclose(got.mean(axis=(1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(got.std(axis=(1, 2, 3)), 1, rtol=1e-4)


def test_label_smoothing_against_numpy():
    logits = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    targets = 0.9 * np.eye(5)[[1, 0, 4, 4]] + 0.1 / 5
    got = smoothed_cross_entropy(np.array([1, 0, 4, 4]), keras.ops.convert_to_tensor(logits), 0.1)
    np.testing.assert_allclose(got, -(targets * log_p).sum(-1), rtol=1e-5)


def test_auxiliary_losses_count_as_the_recipe_says(digits):
    task = prepared(image_recipe(aux_weight=0.3))
    batch = {"inputs": tf.zeros((2, 1)), "labels": tf.constant([1, 2])}
    logits = {name: tf.random.stateless_normal((2, 10), [i, 0]) for i, name in enumerate(("logits", "aux1", "aux2"))}
    parts = {name: task.loss(batch, value)[0].numpy() for name, value in logits.items()}
    np.testing.assert_allclose(
        task.loss(batch, logits)[0], parts["logits"] + 0.3 * (parts["aux1"] + parts["aux2"]), rtol=1e-6
    )


def test_top_five_are_the_five_largest():
    random = np.random.default_rng(0)
    outputs, labels = random.normal(size=(400, 100)), random.integers(0, 100, 400)
    outputs[np.arange(400), labels] += 2
    best = np.argsort(outputs)[:, ::-1]
    one, five = (np.mean((best[:, :count] == labels[:, None]).any(1)) for count in (1, 5))
    assert 0.1 < one < five < 0.9 and scores(labels, outputs, "a") == {"a_accuracy": one, "a_top5_accuracy": five}
    assert set(scores(labels, outputs[:, :99], "a")) == {"a_accuracy"}


@pytest.fixture
def record_files(tmp_path):
    """40 files of 1 to 7 records; each record contains its number."""
    lengths, files, number = [1 + i % 7 for i in range(40)], [], 0
    for i, length in enumerate(lengths):
        files.append(str(tmp_path / f"part-{i:02d}"))
        with tf.io.TFRecordWriter(files[-1]) as writer:
            for _ in range(length):
                writer.write(str(number).encode())
                number += 1
    return Records(tuple(files), (0,) * 40, tuple(lengths))


def numbers(records):
    return [int(record) for record in records.as_numpy_iterator()]


def test_records_have_parts_in_order(record_files):
    assert numbers(record_files.in_order()) == list(range(len(record_files)))
    part = record_files.part(3, 31)
    assert len(part) == 28 and numbers(part.in_order()) == list(range(3, 31))
    assert numbers(part.part(5, 9).in_order()) == [8, 9, 10, 11]


@pytest.mark.parametrize("buffer", [2048, 5])
def test_a_stream_has_every_record_once_per_epoch_and_starts_at_any_step(record_files, buffer):
    keras.utils.set_random_seed(1)  # as every run does
    order = EpochShuffle(len(record_files), 4, seed=3)
    sequence = [
        (int(position), int(record))
        for position, record in record_files.shuffled(order, 0, buffer).take(3 * order.count).as_numpy_iterator()
    ]
    assert [position for position, _ in sequence] == list(range(3 * order.count))
    records = [record for _, record in sequence]
    epochs = [records[i : i + order.count] for i in range(0, len(records), order.count)]
    assert all(sorted(epoch) == list(range(order.count)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] and epochs[0] != sorted(epochs[0])
    for step in (1, 20, 38, 39, 50, 77):
        again = record_files.shuffled(order, step, buffer).take(30).as_numpy_iterator()
        assert [(int(p), int(r)) for p, r in again] == sequence[4 * step : 4 * step + 30]


@pytest.fixture(scope="module")
def tiny_builder(tmp_path_factory):
    """The builder of a TFDS set like imagenet2012: JPEGs of many sizes, a test split with unpublished labels."""
    import tensorflow_datasets as tfds

    class TinyImagenet(tfds.core.GeneratorBasedBuilder):
        """Pictures that are dark or light."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            label = tfds.features.ClassLabel(names=["dark", "light"])
            features = {"image": tfds.features.Image(encoding_format="jpeg"), "label": label}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {name: self._generate_examples(name) for name in ("train", "validation", "test")}

        def _generate_examples(self, name):
            rng = np.random.default_rng(len(name))
            for i in range(60 if name == "train" else 6):
                size = rng.integers(40, 90, 2)
                pixels = rng.integers(128 * (i % 2), 128 * (i % 2) + 127, (*size, 3), dtype=np.uint8)
                yield i, {"image": pixels, "label": -1 if name == "test" else i % 2}

    builder = TinyImagenet(data_dir=tmp_path_factory.mktemp("tfds"))
    builder.download_and_prepare()
    return builder


@pytest.fixture
def tiny_imagenet(tiny_builder, monkeypatch):
    """The name that finds the builder."""
    import tensorflow_datasets as tfds

    monkeypatch.setattr(tfds, "builder", lambda name: tiny_builder)
    return "tiny_imagenet"


def test_a_tfds_set_is_streamed(tiny_imagenet):
    recipe = image_recipe(
        dataset=tiny_imagenet, crop="inception", test_size=30, model_args={"input_shape": (28, 28, 3)}, batch_size=7
    )
    task = prepared(recipe)
    assert isinstance(task.data.train.pictures, Records) and isinstance(task.data.test.pictures, np.ndarray)
    assert (len(task.data.train), task.data.validation, len(task.data.test)) == (60, None, 6)
    batches = [(b["inputs"].numpy(), b["labels"].numpy()) for b in task.training_batches(0).take(12)]
    for images, labels in batches:
        assert images.shape == (7, 28, 28, 3)
        np.testing.assert_array_equal(images.mean(axis=(1, 2, 3)) > 0.5, labels == 1)
    later = next(iter(task.training_batches(10)))
    np.testing.assert_array_equal(later["inputs"], batches[10][0])
    shared = next(iter(task.training_batches(10, range(2, 5))))  # without the rows of other workers
    np.testing.assert_array_equal(shared["inputs"], batches[10][0][2:5])
    np.testing.assert_array_equal(shared["labels"], batches[10][1][2:5])
    assert {images.shape for images, _ in task.data.train.batches(25)} == {(25, 28, 28, 3), (10, 28, 28, 3)}
    held = prepared(replace(recipe, validation_examples=9))
    assert (len(held.data.train), len(held.data.validation)) == (51, 9)


def test_of_a_set_that_is_scored_only_the_training_split_is_not_decoded(tiny_imagenet):
    whole = prepared(image_recipe(dataset=tiny_imagenet, model_args={"input_shape": (28, 28, 3)})).data
    view = whole.test.view
    scored = load_images(tiny_imagenet, view, scored_only=True)
    assert isinstance(whole.train.pictures, np.ndarray) and isinstance(scored.train.pictures, Records)
    np.testing.assert_array_equal(scored.test.pictures, whole.test.pictures)
    np.testing.assert_array_equal(scored.test.labels, whole.test.labels)
    assert (scored.description, scored.fingerprint) == (whole.description, whole.fingerprint)


def small_net(*, input_shape=(32, 32, 3), num_classes=10, name="small_net"):
    """Two convolutions under two dense layers."""
    images = keras.Input(input_shape, name="images")
    x = keras.layers.Conv2D(4, 3, 2, "same", activation="relu", name="conv1")(images)
    x = keras.layers.MaxPooling2D(4, name="pool1")(x)
    x = keras.layers.Dense(8, activation="relu", name="fc2")(keras.layers.Flatten(name="flatten")(x))
    return keras.Model(images, keras.layers.Dense(num_classes, name="fc3")(x), name=name)


@pytest.fixture
def small_net_name():
    zoo.register("small_net", small_net, input_shape=(32, 32, 3))
    return "small_net"


@pytest.mark.parametrize(
    ("changes", "scored"),
    [
        pytest.param(
            {"crop": "square", "train_sizes": (40,), "test_size": 36, "colour_noise": 0.1},
            "centre",
            marks=pytest.mark.full,
        ),
        pytest.param({"crop": "scale", "train_sizes": (36, 50), "test_size": 40}, "ten_crops", marks=pytest.mark.full),
        ({"crop": "scale", "train_sizes": (36, 50), "test_size": 64}, "dense"),
        ({"crop": "inception", "test_size": 40}, "centre"),
    ],
)
def test_crops_and_scores_on_pictures_of_any_size(tmp_path, changes, scored, small_net_name):

    root = folder_of_pictures(tmp_path / "pictures")
    recipe = image_recipe(
        model=small_net_name,
        dataset=f"folder:{root}",
        epochs=2,
        test_views=scored,
        random_flip=True,
        **changes,
    )
    task = prepared(recipe)
    first, again = ([b["inputs"].numpy() for b in task.training_batches(step).take(3)] for step in (0, 1))
    np.testing.assert_array_equal(first[1], again[0])
    assert first[0].shape == (4, 32, 32, 3) and not np.array_equal(first[0], first[2])
    shared = next(iter(task.training_batches(0, range(1, 3))))["inputs"]
    np.testing.assert_array_equal(shared, first[0][1:3])
    result = run(recipe, run_dir=tmp_path / "run")
    assert set(result.metrics) == {"validation_accuracy", "validation_loss"}
    answers = tf.saved_model.load(str(result.export)).signatures["image_bytes"](
        image_bytes=tf.constant([(root / "train" / "dark" / f"{i}.jpg").read_bytes() for i in range(3)])
    )
    assert answers["probabilities"].shape == (3, 2)


def test_dense_scoring_is_the_mean_over_all_positions():
    keras.utils.set_random_seed(0)
    for model in (small_net(num_classes=5), zoo.build("resnet20", num_classes=5)):
        slid = convolutional(model)
        image = tf.random.stateless_normal((1, 32, 32, 3), [1, 2])
        np.testing.assert_allclose(slid(image), model(image), rtol=1e-3, atol=1e-6)
        assert slid(tf.zeros((1, 96, 64, 3))).shape == (1, 5)
    # By hand: dense layers over a map of 3 × 2, slid over one of 3 × 3, see two places.
    model = keras.Sequential([keras.Input((3, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(4)])
    model = keras.Model(model.inputs[0], model.outputs[0])
    image = np.random.default_rng(0).normal(size=(1, 3, 3, 1)).astype(np.float32)
    places = (model(image[:, :, :2]) + model(image[:, :, 1:])) / 2
    np.testing.assert_allclose(convolutional(model)(image), places, rtol=1e-5)


def test_dense_scores_are_the_same_for_mirrored_pictures(tmp_path, small_net_name):
    for number, name in enumerate(("one", "two")):
        for split in ("train", "test"):
            for i in range(3):
                picture = 5 * places(40 - number, 50 - i)
                for kind, view in (("pictures", picture), ("mirrored", picture[:, ::-1])):
                    path = tmp_path / kind / split / name / f"{i}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(tf.io.encode_png(view).numpy())
    keras.utils.set_random_seed(0)
    model, losses = small_net(num_classes=2), []
    scale = {"crop": "scale", "train_sizes": (36, 50), "test_size": 64, "test_views": "dense"}
    for folder in ("pictures", "mirrored"):
        task = prepared(image_recipe(model=small_net_name, dataset=f"folder:{tmp_path / folder}", **scale))
        losses.append(task.evaluate(model, tmp_path)["test_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"crop": "square", "train_sizes": (16,), "test_size": 40}, "side of 16 is smaller than the window of 28 × 28"),
        (
            {"crop": "scale", "train_sizes": (40, 50), "test_size": 20},
            "side of 20 is smaller than the window of 28 × 28",
        ),
    ],
)
def test_windows_larger_than_the_picture_are_named(changes, said):
    with pytest.raises(UsageError, match=said):
        Preprocessing(image_recipe(**changes), (28, 28, 1))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"test_views": "ten_crops"},
            "test_views is 'ten_crops'; it must be 'centre', 'mirror' or 'mirror_shift' with crop='none'",
        ),
        ({"crop": "square", "pad": 2}, "pad is 2"),
        ({"train_sizes": (50, 40)}, "train_sizes is"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0"),
        ({"label_smoothing": 0.1, "loss": "perceptron"}, "label_smoothing is 0.1; it must be 0 with loss='perceptron'"),
        ({"optimizer": "adam", "learning_rate_factors": {"*": 2.0}}, "empty with adam"),
        ({"schedule": "exponential"}, "one value for an exponential schedule"),
    ],
)
def test_invalid_fields_are_named(changes, said):
    with pytest.raises(UsageError, match=said):
        image_recipe(**changes)


def test_imagenet_says_how_to_get_it(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    from zoo.data.images import load_images

    folder = tmp_path / "downloads" / "manual"
    for name in ("imagenet2012", "imagenet2012_subset/1pct"):
        said = rf"by hand.*ILSVRC2012_img_train\.tar.*The folder is {folder};.*folder:PATH"
        with pytest.raises(ZooError, match=said):
            load_images(name, views.whole((8, 8, 3)))

"""RandAugment's operations against Pillow's, and its choice of operations."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from conftest import image_recipe, prepared
from zoo.data.rand_augment import FILL, OPERATIONS, apply, rand_augment
from zoo.data.stream import BatchRNG
from zoo.errors import UsageError

PILLOW = {
    "identity": lambda image, s: image,
    "auto_contrast": lambda image, s: ImageOps.autocontrast(image),
    "equalize": lambda image, s: ImageOps.equalize(image),
    "solarize": lambda image, s: ImageOps.solarize(image, 256 * (1 - abs(s))),
    "posterize": lambda image, s: ImageOps.posterize(image, 8 - round(4 * abs(s))),
    "color": lambda image, s: ImageEnhance.Color(image).enhance(1 + 0.9 * s),
    "contrast": lambda image, s: ImageEnhance.Contrast(image).enhance(1 + 0.9 * s),
    "brightness": lambda image, s: ImageEnhance.Brightness(image).enhance(1 + 0.9 * s),
    "sharpness": lambda image, s: ImageEnhance.Sharpness(image).enhance(1 + 0.9 * s),
    "translate_x": lambda image, s: image.transform(
        image.size, Image.AFFINE, (1, 0, s * image.width * 150 / 331, 0, 1, 0), Image.BILINEAR, fillcolor=(128,) * 3
    ),
}


@pytest.fixture(scope="module")
def picture():
    """A picture with soft shapes, in which not every value occurs, uint8 (33, 40, 3)."""
    y, x = np.mgrid[0:33, 0:40]
    waves = [np.sin(x / 5) + np.cos(y / 7), np.sin((x + y) / 6), np.cos((x - y) / 9)]
    return np.stack([90 + 40 * wave for wave in waves], -1).astype(np.uint8)


@pytest.mark.parametrize("strength", [-0.9, -0.3, 0.5, 1.0])
@pytest.mark.parametrize("name", [name for name in PILLOW if name != "translate_x"])
def test_operations_on_colours_are_those_of_pillow(name, strength, picture):
    ours = apply(OPERATIONS[name], tf.constant(picture), strength).numpy().astype(int)
    theirs = np.asarray(PILLOW[name](Image.fromarray(picture), strength)).astype(int)
    # Pillow rounds in between, but for these, which take whole numbers to whole numbers.
    assert np.abs(ours - theirs).max() <= (0 if name in ("solarize", "posterize") else 2), name


def test_sharpness_of_small_pictures_is_that_of_pillow(picture):
    for size in (2, 3):  # without, and with an inner pixel
        small = picture[:size, 10 : 10 + size].copy()
        small[size // 2, size // 2] = 255
        ours = apply(OPERATIONS["sharpness"], tf.constant(small), -0.9).numpy().astype(int)
        theirs = np.asarray(PILLOW["sharpness"](Image.fromarray(small), -0.9)).astype(int)
        assert np.abs(ours - theirs).max() <= 2 and (np.abs(ours - small).max() > 20) == (size == 3)


@pytest.mark.parametrize(("rows", "changes"), [(12, False), (18, True), (28, True)])  # of 20 pixels
def test_equalization_of_few_pixels_is_that_of_pillow(picture, rows, changes):
    small = picture[:rows, :20]
    ours = apply(OPERATIONS["equalize"], tf.constant(small), 0.5).numpy().astype(int)
    assert np.abs(ours - np.asarray(PILLOW["equalize"](Image.fromarray(small), 0.5)).astype(int)).max() <= 1
    assert (np.abs(ours - small).max() > 20) == changes


def test_a_translation_is_that_of_pillow(picture):
    strength = 331 / 150 * 4 / 40  # four pixels
    ours = apply(OPERATIONS["translate_x"], tf.constant(picture), strength).numpy()
    np.testing.assert_array_equal(ours[:, :-4], picture[:, 4:])
    np.testing.assert_array_equal(ours[:, -4:], FILL)


@pytest.mark.parametrize("name", ["rotate", "shear_x", "shear_y", "translate_x", "translate_y"])
def test_a_movement_keeps_what_the_other_direction_brings_back(name, picture):
    there = apply(OPERATIONS[name], tf.constant(picture), 0.4)
    back = apply(OPERATIONS[name], there, -0.4).numpy().astype(int)
    assert np.abs(back - picture)[12:21, 15:25].max() <= 6 and np.abs(there.numpy().astype(int) - picture).max() > 20


def test_a_rotation_by_ninety_degrees(picture):
    turned = apply(OPERATIONS["rotate"], tf.constant(picture[:, :33]), 3.0).numpy().astype(int)  # 3 × 30°
    assert min(np.abs(turned - np.rot90(picture[:, :33], k)).max() for k in (1, 3)) <= 1


def test_each_operation_is_drawn_as_often_as_the_others(picture):
    images = tf.tile(tf.constant(picture[None, :9, :9]), [350, 1, 1, 1])
    rng = BatchRNG(tf.constant([1, 2], tf.int64), 350, tf.range(350))
    drawn = rand_augment(images, rng, 1, 9.0).numpy()
    possible = {}
    for name, operation in OPERATIONS.items():
        for strength in (-0.9, 0.9):
            image = apply(operation, images[0], strength).numpy().tobytes()
            possible.setdefault(image, set()).add(name)
    counts = dict.fromkeys(OPERATIONS, 0)
    for image in drawn:
        for name in possible[image.tobytes()]:
            counts[name] += 1 / len(possible[image.tobytes()])
    assert all(8 < count < 45 for count in counts.values()), counts  # 25 each
    part = BatchRNG(rng.seed, 350, tf.range(40, 60))
    np.testing.assert_array_equal(rand_augment(images[:20], part, 1, 9.0), drawn[40:60])


@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_a_field_of_recipes(channels):
    small = {"model": "softmax_regression", "model_args": {"input_shape": (8, 8, channels)}, "batch_size": 32}
    plain, augmented = (prepared(image_recipe(**small, rand_augment=count)) for count in (0, 2))
    one, other, again = (next(iter(t.training_batches(3)))["inputs"].numpy() for t in (plain, augmented, augmented))
    assert one.shape == other.shape and (one != other).any((1, 2, 3)).mean() > 0.7
    np.testing.assert_array_equal(other, again)


def test_what_cannot_be_is_refused():
    with pytest.raises(UsageError, match="rand_augment is -1; it must be 0 or more"):
        image_recipe(rand_augment=-1)
    with pytest.raises(UsageError, match="rand_augment_magnitude is 11.0; it must be from 0 to 10"):
        image_recipe(rand_augment=2, rand_augment_magnitude=11.0)

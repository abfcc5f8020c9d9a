"""Photographs too many to be held, which are decoded as they are read, and one among them that cannot be."""

import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import zoo
from conftest import image_recipe, run
from zoo.data.images import CACHE_LIMIT, find_fault, load_images
from zoo.data.views import whole
from zoo.tasks.table import load_predictor
from zoo.training.rate_test import rate_test

SIDE, COUNT = 500, 700  # of two classes: more than is held


def pooled_net(*, num_classes: int = 2, input_shape: tuple[int, ...] = (SIDE, SIDE, 3), name: str = "pooled_net"):
    images = keras.Input(input_shape, name="images")
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D(100)(images))
    return keras.Model(images, keras.layers.Dense(num_classes, name="classes")(x), name=name)


def photograph(path, kind):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(kind).integers(100 * kind, 100 * kind + 99, (28, 28, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def damage(path):
    """Makes nonsense of one segment of a JPEG file, which still has all of its segments and its end."""
    content = bytearray(path.read_bytes())
    tables = content.find(b"\xff\xc4")
    content[tables + 5 : tables + 15] = b"\xff" * 10
    path.write_bytes(content)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A recipe on photographs of which every cat is damaged, so that the first batch has one."""
    assert 2 * COUNT * SIDE * SIDE * 3 > CACHE_LIMIT
    zoo.register("pooled_net", pooled_net, input_shape=(SIDE, SIDE, 3))
    root = tmp_path_factory.mktemp("large")
    for kind, name in enumerate(("cat", "dog")):
        one = photograph(root / f"{name}.jpg", kind)
        if name == "cat":
            damage(one)
        (root / "set" / name).mkdir(parents=True)
        for i in range(COUNT):
            os.link(one, root / "set" / name / f"{i:03}.jpg")
    return image_recipe(model="pooled_net", dataset=f"folder:{root / 'set'}", batch_size=8)


NAMED = r"cat/\d+\.jpg cannot be decoded: it is a JPEG image that is damaged or cut off\. Repair or remove such files"


def test_training_names_it(recipe, tmp_path):
    with pytest.raises(zoo.ZooError, match=NAMED):
        run(recipe, run_dir=tmp_path / "run")


def test_the_search_for_a_rate_names_it(recipe):
    with pytest.raises(zoo.ZooError, match=NAMED):
        rate_test(recipe, steps=10)


def test_evaluation_names_it(recipe, tmp_path):
    for kind, name in enumerate(("cat", "dog")):
        for i in range(10):
            photograph(tmp_path / "small" / name / f"{i}.jpg", kind)
    small = image_recipe(model="pooled_net", dataset=f"folder:{tmp_path / 'small'}", limit_steps=2)
    predictor = load_predictor(run(small, run_dir=tmp_path / "run").export)
    with pytest.raises(zoo.ZooError, match=NAMED):
        predictor.evaluate(recipe.dataset)


def test_other_failures_are_not_those_of_a_file(tmp_path):
    for kind, name in enumerate(("cat", "dog")):
        for i in range(10):
            photograph(tmp_path / name / f"{i}.jpg", kind)
    wrong = tf.errors.InvalidArgumentError(None, None, "Invalid JPEG data")
    data = load_images(f"folder:{tmp_path}", whole((8, 8, 3)), cache_limit=1)
    assert find_fault(data, wrong) is None
    damage(tmp_path / "cat" / "3.jpg")
    assert "cat/3.jpg cannot be decoded" in str(find_fault(data, wrong))
    assert find_fault(data, tf.errors.ResourceExhaustedError(None, None, "no memory")) is None

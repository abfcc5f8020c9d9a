"""`zoo.preprocessing` and the options of `zoo.build` on pretrained models."""

import numpy as np
import pytest
import tensorflow as tf

import zoo


@pytest.fixture(scope="module")
def ready():
    return zoo.preprocessing("resnet20", "cifar10")


def test_single_grey_and_mapped_images_are_those_of_a_batch(ready):
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), dtype=np.uint8)
    batch = ready(images)
    assert batch.shape == (3, 32, 32, 3)
    np.testing.assert_array_equal(ready(images[1]), batch[1])
    grey = images[..., :1]
    np.testing.assert_array_equal(ready(grey), ready(np.repeat(grey, 3, axis=-1)))
    np.testing.assert_array_equal(ready(grey[0, ..., 0]), ready(grey)[0])
    mapped = tf.data.Dataset.from_tensor_slices(images).map(ready)
    np.testing.assert_allclose(np.stack(list(mapped.as_numpy_iterator())), batch, rtol=1e-5)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (np.zeros((2, 32, 32, 3), np.float32), "the images are float32; they must be uint8"),
        (
            np.zeros((2, 32, 32, 4), np.uint8),
            r"shape \(2, 32, 32, 4\); it must be \(N, height, width, 3",
        ),
        (np.zeros(5, np.uint8), r"the images have shape"),
        (np.zeros((30, 40, 4), np.uint8), r"shape \(30, 40, 4\); it must be"),  # with transparency, not 30 grey images
        (np.zeros((30, 40, 2), np.uint8), r"shape \(30, 40, 2\); it must be"),
        (np.zeros((2, 0, 40, 3), np.uint8), r"shape \(2, 0, 40, 3\); it must be"),
        (np.zeros((2, 32, 32, 3), np.uint16), "the images are uint16; .* from 0 to 255. Convert them with"),
    ],
)
def test_images_that_would_be_read_wrongly_are_refused(ready, images, said):
    with pytest.raises(zoo.UsageError, match=said):
        ready(images)


def test_a_model_of_texts_has_none():
    with pytest.raises(zoo.UsageError, match="char_rnn is a model for language_modelling; its exports take text"):
        zoo.preprocessing("char_rnn", "tiny_shakespeare")


def test_pretrained_activation_and_features(ready):
    images = ready(np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8))
    logits = zoo.build("resnet20", weights="cifar10")(images)
    model = zoo.build("resnet20", pretrained=True, classifier_activation="softmax")
    np.testing.assert_allclose(model(images), tf.nn.softmax(logits), rtol=1e-5)
    name = model.layers[-4].name
    features = zoo.build("resnet20", pretrained=True, features=(name,))(images)
    assert list(features) == [name]
    with pytest.raises(zoo.UsageError, match="pretrained=True loads the default weights"):
        zoo.build("resnet20", pretrained=True, weights="cifar10")
    with pytest.raises(zoo.UsageError, match="no pretrained weights"):
        zoo.build("resnet110", pretrained=True)

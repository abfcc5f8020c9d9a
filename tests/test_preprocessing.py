"""`zoo.preprocessing` and the options of `zoo.build` on pretrained models."""

import importlib

import numpy as np
import pytest
import tensorflow as tf

import zoo
from conftest import ROOT


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


@pytest.mark.parametrize("decode", [tf.io.decode_png, tf.io.decode_image])
def test_images_of_unknown_channels_are_refused_in_a_map(ready, decode):
    file = tf.io.encode_png(np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(Exception, match="last axis is not known; decode them with channels=3"):
        tf.data.Dataset.from_tensors(file).map(lambda file: ready(decode(file)))
    known = tf.io.decode_image(file, channels=3, expand_animations=False)
    assert ready(known).shape == (32, 32, 3)


@pytest.mark.parametrize("name", ["vgg16", "resnet50", "inception_v3", "xception", "mobilenet"])
def test_that_of_imagenet_is_keras_own(name):
    module = importlib.import_module(f"keras.applications.{name}")
    images = np.random.default_rng(0).integers(0, 256, (2, 40, 50, 3), dtype=np.uint8)
    size = zoo.describe(name).input_shape[:2]
    expected = module.preprocess_input(tf.image.resize(tf.cast(images, tf.float32), size).numpy())
    np.testing.assert_allclose(zoo.preprocessing(name, "imagenet")(images), expected, atol=1e-3)


def test_weights_of_another_model_are_refused():
    other = ROOT / "saved_models" / "lenet5_mnist"
    for call in (lambda: zoo.preprocessing("resnet20", other), lambda: zoo.decode(np.zeros(10), "resnet20", other)):
        with pytest.raises(zoo.UsageError, match="holds weights of 'lenet5', not of 'resnet20'"):
            call()


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


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("mlp", {"hidden": (512,)}, r"hidden is \(512,\), and the weights 'mnist' were trained with \[512, 512\]"),
        ("mlp", {"activation": "tanh"}, "activation is 'tanh', and the weights 'mnist' were trained with 'relu'; omit"),
        ("char_rnn", {"layers": 1}, "layers is 1, and the weights 'tiny_shakespeare' were trained with 2"),
        ("seq2seq", {"attention": "none"}, "attention is 'none', and the weights"),
    ],
)
def test_weights_are_not_loaded_into_another_function(name, arguments, said):
    with pytest.raises(zoo.UsageError, match=said):
        zoo.build(name, pretrained=True, **arguments)


def test_arguments_that_leave_the_function_as_it_is_may_change():
    model = zoo.build("mlp", pretrained=True, hidden=[512, 512], drop_rate=0.1, num_classes=3)
    assert model.output_shape == (None, 3)

"""Whitening and identity initialisation against their definitions."""

import keras
import numpy as np
import pytest

import zoo
from zoo.layers import IdentityKernel, WhiteningConv2D, whitening_filters


def smooth_images(shape=(300, 9, 8, 3)):
    """Random images with correlated neighbours and channels."""
    noise = np.random.default_rng(0).normal(size=shape)
    return noise + np.roll(noise, 1, axis=1) + np.roll(noise, 1, axis=2) + noise[..., :1] + 0.5


def patches(images, k):
    """All k × k patches, one by one, as rows."""
    _, height, width, _ = images.shape
    corners = [(y, x) for y in range(height - k + 1) for x in range(width - k + 1)]
    return np.concatenate([images[:, y : y + k, x : x + k].reshape(len(images), -1) for y, x in corners])


@pytest.mark.parametrize("k", [2, 3])
def test_filters_whiten_patches(k):
    images, epsilon = smooth_images(), 0.01
    kernel = whitening_filters(images, k, epsilon)
    size = k * k * 3
    assert kernel.shape == (k, k, 3, 2 * size) and kernel.dtype == np.float32
    filters = kernel.reshape(size, 2 * size).astype("float64")
    np.testing.assert_array_equal(filters[:, size:], -filters[:, :size])
    found = patches(images, k)
    moments = found.T @ found / len(found)
    eigenvalues = np.sort(np.linalg.eigvalsh(moments))[::-1]
    responses = found @ filters[:, :size]
    expected = np.diag(eigenvalues / (eigenvalues + epsilon))
    np.testing.assert_allclose(responses.T @ responses / len(found), expected, atol=1e-5)
    # Each filter is an eigenvector, divided by the root of its eigenvalue and epsilon.
    np.testing.assert_allclose(moments @ filters[:, :size], filters[:, :size] * eigenvalues, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(filters[:, :size], axis=0), (eigenvalues + epsilon) ** -0.5, rtol=1e-5)


def test_the_layer_gives_white_responses_and_keeps_its_kernel_fixed():
    images = smooth_images().astype("float32")
    layer = WhiteningConv2D(2)
    model = keras.Sequential([keras.Input(images.shape[1:]), layer])
    layer.adapt(images)
    outputs = np.asarray(model(images))
    assert outputs.shape == (300, 8, 7, 24) == layer.compute_output_shape(images.shape)
    white = outputs[..., :12].reshape(-1, 12).astype("float64")
    np.testing.assert_allclose(white.T @ white / len(white), np.eye(12), atol=0.02)  # up to epsilon
    np.testing.assert_allclose(outputs[..., 12:], -outputs[..., :12], atol=1e-5)
    before = layer.kernel.numpy()
    model.trainable = False
    model.trainable = True
    assert [weight.name for weight in model.trainable_weights] == ["bias"]
    model.compile("sgd", "mse")
    model.fit(images, np.ones(outputs.shape), verbose=0)
    np.testing.assert_array_equal(layer.kernel.numpy(), before)
    assert layer.bias.numpy().any()


@pytest.mark.parametrize("shape", [(3, 9, 8), (0, 9, 8, 3), (3, 1, 8, 3)], ids=str)
def test_images_without_patches_are_refused(shape):
    with pytest.raises(ValueError, match="images has shape"):
        whitening_filters(np.zeros(shape))


@pytest.mark.parametrize(("inputs", "outputs"), [(3, 5), (4, 4), (5, 3)])
def test_an_identity_kernel_copies_channels(inputs, outputs):
    keras.utils.set_random_seed(0)
    convolution = keras.layers.Conv2D(
        outputs, 3, padding="same", use_bias=False, kernel_initializer=IdentityKernel(), name="conv"
    )
    x = np.random.default_rng(0).normal(size=(2, 6, 5, inputs)).astype("float32")
    y, copied = np.asarray(convolution(x)), min(inputs, outputs)
    np.testing.assert_allclose(y[..., :copied], x[..., :copied], atol=1e-6)
    rest = convolution.kernel.numpy()[..., copied:]
    assert np.abs(rest).max(initial=0) <= 1 / np.sqrt(9 * inputs)
    if rest.size:
        assert rest.std() == pytest.approx(1 / np.sqrt(27 * inputs), rel=0.2)  # a uniform's √(limit²/3)
    again = keras.layers.deserialize(keras.layers.serialize(convolution))
    assert isinstance(again.kernel_initializer, IdentityKernel)


def test_initial_weights_of_airbench_are_those_of_the_paper():
    model = zoo.build("airbench94")
    images = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype("float32")
    model.get_layer("whiten").adapt(images)
    first = keras.Model(model.input, [model.get_layer(name).output for name in ("whiten_gelu", "block1_conv1")])
    whitened, block1 = map(np.asarray, first(images))
    np.testing.assert_allclose(block1[..., :24], whitened, atol=1e-5)  # the identity on its 24 channels
    for name in ("block1_conv2", "block2_conv2", "block3_conv1", "block3_conv2"):  # as many inputs as outputs
        kernel = model.get_layer(name).kernel.numpy()
        np.testing.assert_array_equal(kernel[1, 1], np.eye(kernel.shape[2]))
        assert np.abs(kernel).sum() == kernel.shape[2]
    head = keras.Model(model.get_layer("flatten").output, model.output)
    vector = np.random.default_rng(1).normal(size=(2, 256)).astype("float32")
    np.testing.assert_allclose(head(vector), vector @ model.get_layer("fc").kernel.numpy() / 9, rtol=1e-4, atol=1e-6)
    norm = model.get_layer("block1_norm1")
    assert (norm.momentum, norm.epsilon, norm.scale, norm.center) == (0.6, 1e-12, False, True)
    assert "whiten/kernel" not in [weight.path for weight in model.trainable_weights]
    assert "whiten/bias" in [weight.path for weight in model.trainable_weights]

"""Our graphs against those of Keras Applications, with the same weights, block by block."""

import re

import keras
import numpy as np
import pytest

import zoo
from conftest import zoo as run_zoo
from zoo.errors import UsageError, ZooError
from zoo.weights.exports import find_export
from zoo.weights.imagenet_parent import imagenet_recipe, is_imagenet, reverse_colours
from zoo.weights.keras_applications import load_imagenet, load_keras_applications


def numbered(model, prefix):
    """The layers that Keras named by numbers, in order of creation."""
    found = [layer.name for layer in model.layers if re.fullmatch(rf"{prefix}(_\d+)?", layer.name)]
    return sorted(found, key=lambda name: int(name.removeprefix(prefix).removeprefix("_") or 0))


def vgg_blocks(ours, theirs):
    return [(f"pool{i}", f"block{i}_pool") for i in range(1, 6)] + [("fc6", "fc1"), ("fc7", "fc2")]


def resnet_blocks(ours, theirs):
    units = [name for name in (layer.name for layer in ours.layers) if re.fullmatch(r"conv\d_\d+_out", name)]
    pairs = [(name, re.sub(r"conv(\d)_(\d+)_out", r"conv\1_block\2_out", name)) for name in units]
    return [("conv1_relu", "conv1_relu"), ("pool1", "pool1_pool"), *pairs]


def inception_v3_blocks(ours, theirs):
    names = ["5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"]
    return [(f"mixed_{name}", f"mixed{i}") for i, name in enumerate(names)]


def xception_blocks(ours, theirs):
    pairs = zip([f"block{i}_output" for i in range(2, 14)], numbered(theirs, "add"), strict=True)
    return [
        *pairs,
        ("block14_sepconv1_relu", "block14_sepconv1_act"),
        ("block14_sepconv2_relu", "block14_sepconv2_act"),
    ]


def mobilenet_blocks(ours, theirs):
    kinds = [(f"conv{i + 1}_{kind}_relu6", f"conv_{kind}_{i}_relu") for i in range(1, 14) for kind in ("dw", "pw")]
    return [("conv1_relu6", "conv1_relu"), *kinds]


# name → (class, its arguments, our arguments, blocks, small input, full input)
APPLICATIONS = {
    "vgg16": ("VGG16", {}, {}, vgg_blocks, 32, 224),
    "vgg19": ("VGG19", {}, {}, vgg_blocks, 32, 224),
    "resnet50": ("ResNet50", {}, {}, resnet_blocks, 64, 224),
    "resnet101": ("ResNet101", {}, {}, resnet_blocks, 64, 224),
    "resnet152": ("ResNet152", {}, {}, resnet_blocks, 64, 224),
    "inception_v3": ("InceptionV3", {}, {}, inception_v3_blocks, 107, 299),
    "xception": ("Xception", {}, {}, xception_blocks, 71, 299),
    "mobilenet": ("MobileNet", {"dropout": 0.0}, {"activation": "relu6"}, mobilenet_blocks, 64, 224),
}
QUICK = ["vgg16", "resnet50", "mobilenet"]


def application(name, size, classes):
    function, arguments = APPLICATIONS[name][:2]
    build = getattr(keras.applications, function)
    return build(weights=None, classifier_activation=None, input_shape=(size, size, 3), classes=classes, **arguments)


def images(size, batch=8):
    return np.random.default_rng(0).normal(0, 1, (batch, size, size, 3)).astype("float32")


def randomise(model, x):
    """Random weights and statistics with which activations stay of order 1.

    Kernels get He's variance. The statistics are those of the batch `x`, moved by up to a fifth, so that no
    normalisation undoes what an earlier one did. Betas around 0.75, and small gammas at the end of residual branches,
    keep a hundred random layers from multiplying single precision's rounding, as they would with betas around 0.
    """
    rng = np.random.default_rng(1)
    for variable in model.weights:
        shape = tuple(variable.shape)
        if variable.name in ("kernel", "pointwise_kernel"):
            depthwise = variable.path.endswith("/kernel") and shape[-1] == 1 and len(shape) == 4
            fan_in = np.prod(shape[:2]) if depthwise else np.prod(shape[:-1])
            variable.assign(rng.normal(0, np.sqrt(2 / fan_in), shape))
        elif variable.name == "depthwise_kernel":
            variable.assign(rng.normal(0, np.sqrt(1 / np.prod(shape[:2])), shape))
        elif variable.name == "gamma":
            variable.assign(rng.uniform(0.5, 1.5, shape) * (0.3 if "_3_bn" in variable.path else 1.0))
        elif variable.name == "beta":
            variable.assign(rng.normal(0.0 if "_3_bn" in variable.path else 0.75, 0.25, shape))
        elif variable.name == "bias":
            variable.assign(rng.normal(0, 0.2, shape))
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    model(x, training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
        mean, variance = layer.moving_mean.numpy(), layer.moving_variance.numpy()
        layer.moving_mean.assign(mean + rng.normal(0, 0.2, mean.shape) * np.sqrt(variance))
        layer.moving_variance.assign(variance * rng.uniform(0.8, 1.25, variance.shape) + 1e-2)


def compare(name, size, classes):
    theirs = application(name, size, classes)
    _, _, arguments, blocks, *_ = APPLICATIONS[name]
    ours = zoo.build(name, input_shape=(size, size, 3), num_classes=classes, drop_rate=0.0, **arguments)
    x = images(size)
    randomise(theirs, x)
    load_keras_applications(ours, theirs)
    pairs = [*blocks(ours, theirs), (ours.layers[-1].name, theirs.layers[-1].name)]
    our_outputs = keras.Model(ours.input, [ours.get_layer(name).output for name, _ in pairs])
    their_outputs = keras.Model(theirs.input, [theirs.get_layer(name).output for _, name in pairs])
    for training in (False, True):
        values = zip(pairs, our_outputs(x, training=training), their_outputs(x, training=training), strict=True)
        for (block, _), a, b in values:
            a, b = np.asarray(a), np.asarray(b)
            assert a.shape == b.shape
            assert 0.05 < b.std() < 50, f"{block}: activations of {b.std():.1e} prove nothing"
            error = np.abs(a - b).max() / np.abs(b).max()
            assert error < 1e-4, f"{name}, training={training}: {block} is off by {error:.1e}"


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.full) for name in APPLICATIONS]
)
def test_equals_keras_applications(name):
    compare(name, APPLICATIONS[name][4], classes=7)


@pytest.mark.full
@pytest.mark.parametrize("name", APPLICATIONS)
def test_equals_keras_applications_at_full_size(name):
    compare(name, APPLICATIONS[name][5], classes=1000)


def test_conv_biases_are_folded_into_the_moving_mean():
    theirs = application("resnet50", 32, 7)
    ours = zoo.build("resnet50", input_shape=(32, 32, 3), num_classes=7)
    convolution, norm = theirs.get_layer("conv3_block2_2_conv"), theirs.get_layer("conv3_block2_2_bn")
    convolution.bias.assign(np.arange(128))
    norm.moving_mean.assign(np.full(128, 5.0))
    load_keras_applications(ours, theirs)
    np.testing.assert_array_equal(ours.get_layer("conv3_2_bn2").moving_mean.numpy(), 5.0 - np.arange(128))


def test_loads_beside_an_auxiliary_head():
    theirs = application("inception_v3", 107, 7)
    x = images(107, batch=2)
    ours = zoo.build("inception_v3", input_shape=(107, 107, 3), num_classes=7, aux_heads=True)
    load_keras_applications(ours, theirs)
    np.testing.assert_allclose(ours(x)["logits"], theirs(x), rtol=1e-4, atol=1e-4)


def test_weights_that_do_not_fit_are_refused_and_the_model_is_unchanged():
    theirs = application("mobilenet", 32, 7)
    ours = zoo.build("mobilenet", input_shape=(32, 32, 3), num_classes=9)
    before = ours.get_weights()
    with pytest.raises(UsageError, match=r"mobilenet: .*fc/kernel has shape \(1024, 9\)"):
        load_keras_applications(ours, theirs)
    for old, new in zip(before, ours.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    with pytest.raises(UsageError, match="Keras's mobilenet_1.00_32 has no layer for 'conv1_1'"):
        load_keras_applications(zoo.build("vgg16", input_shape=(32, 32, 3)), theirs)
    with pytest.raises(UsageError, match="application is 'mine'; it may be .*vgg16"):
        load_keras_applications(ours, keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)], name="mine"))


def published(monkeypatch, name, size):
    """Stands in for the download: Keras's builder, with random weights for "imagenet"."""
    function = APPLICATIONS[name][0]
    build, calls = getattr(keras.applications, function), []

    def fetch(*, weights, **arguments):
        calls.append({"weights": weights, **arguments})
        arguments.setdefault("alpha", 1.0) if name == "mobilenet" else None
        model = build(weights=None, input_shape=(size, size, 3), **arguments)
        randomise(model, images(size))
        calls.append(model)
        return model

    monkeypatch.setattr(keras.applications, function, fetch)
    return calls


def test_imagenet_weights_with_their_own_head(monkeypatch):
    calls = published(monkeypatch, "mobilenet", 64)
    ours = zoo.build("mobilenet", alpha=0.25, activation="relu6", input_shape=(64, 64, 3))
    load_imagenet(ours, "mobilenet")
    assert calls[0] == {"weights": "imagenet", "include_top": True, "alpha": 0.25}
    x = images(64, batch=2)
    np.testing.assert_allclose(keras.ops.softmax(ours(x)), calls[1](x), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "include_top"), [("resnet50", False), ("vgg16", True)])
def test_imagenet_weights_under_a_new_head(monkeypatch, caplog, name, include_top):
    calls = published(monkeypatch, name, 32)
    ours = zoo.build(name, input_shape=(32, 32, 3), num_classes=5)
    head = ours.layers[-1].kernel.numpy()
    load_imagenet(ours, name)
    assert calls[0]["include_top"] is include_top
    assert "the head for 5 classes is new" in caplog.text
    np.testing.assert_array_equal(ours.layers[-1].kernel.numpy(), head)
    x = images(32, batch=2)
    below = ours.layers[-2] if name == "vgg16" else ours.get_layer("conv5_3_out")
    above = calls[1].get_layer("fc2" if name == "vgg16" else "conv5_block3_out")
    a, b = (keras.Model(m.input, layer.output)(x) for m, layer in ((ours, below), (calls[1], above)))
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_imagenet_weights_without_a_network(monkeypatch):
    def unreachable(*arguments, **keywords):
        raise Exception("URL fetch failure on https://example.invalid/vgg16.h5: None -- Name or service\nnot known")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", unreachable)
    model = zoo.build("mobilenet", activation="relu6", input_shape=(32, 32, 3))
    with pytest.raises(ZooError, match="mobilenet: the ImageNet weights could not be fetched") as caught:
        load_imagenet(model, "mobilenet")
    assert "\n" not in str(caught.value) and "Name or service not known" in str(caught.value)


def test_models_without_imagenet_weights():
    with pytest.raises(UsageError, match="publishes no weights for 'vgg13'. Did you mean 'vgg1"):
        load_imagenet(zoo.build("vgg16_cifar"), "vgg13")
    with pytest.raises(UsageError, match="activation is 'relu'"):
        load_imagenet(zoo.build("mobilenet", input_shape=(32, 32, 3)), "mobilenet")
    with pytest.raises(UsageError, match="input_shape has 1 channels"):
        load_imagenet(zoo.build("resnet50", input_shape=(32, 32, 1)), "resnet50")


def test_fine_tuning_takes_pixels_as_the_imagenet_weights_do():
    """Ours take R, G, B minus the means of the recipe, with the colour axis of the first kernel reversed."""
    theirs = keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3))
    ours = zoo.build("resnet50", input_shape=(64, 64, 3))
    load_keras_applications(ours, theirs)
    reverse_colours(ours)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype("float32")
    expected = theirs(keras.applications.resnet50.preprocess_input(pixels.copy()), training=False)
    recipe = zoo.finetuning_recipe("resnet50:imagenet", dataset="digits", epochs=2)
    logits = ours((pixels - np.array(recipe.pixel_mean, "float32")) / recipe.pixel_std[0], training=False)
    np.testing.assert_allclose(keras.ops.softmax(logits), expected, rtol=1e-3, atol=1e-6)
    assert recipe.weights == "resnet50:imagenet" and recipe.frozen_epochs == 1 and recipe.random_flip
    assert is_imagenet("xception:imagenet") and not is_imagenet("lenet5:mnist") and not is_imagenet("runs/a:b")
    scaled = imagenet_recipe(zoo.describe("xception"))
    np.testing.assert_allclose(
        (pixels - scaled["pixel_mean"][0]) / scaled["pixel_std"][0],
        keras.applications.xception.preprocess_input(pixels.copy()),
        rtol=1e-5,
        atol=1e-6,
    )


def test_without_a_network_fine_tuning_from_imagenet_says_so(image_folder, tmp_path):
    nowhere = {"https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "KERAS_HOME": str(tmp_path)}
    command = ("finetune", "mobilenet:imagenet", "--dataset", f"folder:{image_folder()}", "--batch-size", "4")
    done = run_zoo(*command, cwd=tmp_path, env=nowhere)
    assert done.returncode == 1 and not (tmp_path / "runs").exists()
    *warned, error = done.stderr.splitlines()
    assert error.startswith("error: mobilenet: the ImageNet weights could not be fetched")
    assert warned == ["mobilenet: the head for 2 classes is new; the weights have 1000."]
    with pytest.raises(UsageError, match="weights of Keras Applications, not an export"):
        find_export("mobilenet:imagenet")

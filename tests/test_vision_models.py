"""Every vision variant: exact counts, shapes, gradients, saving, other backends, XLA, and errors."""

import ast
import gc
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from zoo.errors import UsageError
from zoo.layers import WhiteningConv2D
from zoo.models.summary import layer_table

M, G = 10**6, 10**9
# name → parameters, trainable parameters, multiply-accumulates (as exact as they are known from elsewhere: an int to
# the unit, a float to its last digit), input size, least input that the tests use, shape of its last map
VARIANTS = {
    "alexnet": (62_378_344, 62_378_344, 1_135_256_096, 224, 63, (1, 1, 256)),
    "alexnet_two_tower": (60_965_224, 60_965_224, 724_406_816, 224, 63, (1, 1, 256)),
    "vgg11": (132_863_336, 132_863_336, 7.609 * G, 224, 32, (1, 1, 512)),
    "vgg13": (133_047_848, 133_047_848, 11.308 * G, 224, 32, (1, 1, 512)),
    "vgg16": (138_357_544, 138_357_544, 15.470 * G, 224, 32, (1, 1, 512)),
    "vgg19": (143_667_240, 143_667_240, 19.632 * G, 224, 32, (1, 1, 512)),
    "vgg11_bn": (132_874_344, 132_868_840, 7.609 * G, 224, 32, (1, 1, 512)),
    "vgg13_bn": (133_059_624, 133_053_736, 11.308 * G, 224, 32, (1, 1, 512)),
    "vgg16_bn": (138_374_440, 138_365_992, 15.470 * G, 224, 32, (1, 1, 512)),
    "vgg19_bn": (143_689_256, 143_678_248, 19.632 * G, 224, 32, (1, 1, 512)),
    "vgg16_cifar": (14_736_714, 14_728_266, 313_201_664, 32, 32, (1, 1, 512)),
    "inception_v1": (6_998_552, 6_998_552, 1_582_671_872, 224, 32, (1, 1, 1024)),
    "inception_v3": (23_851_784, 23_817_352, 5_713_216_096, 299, 75, (1, 1, 2048)),
    "inception_small": (1_652_826, 1_649_402, 204_219_680, 28, 8, (2, 2, 336)),
    "resnet18": (11_699_112, 11_689_512, 1.814 * G, 224, 32, (1, 1, 512)),
    "resnet34": (21_814_696, 21_797_672, 3.664 * G, 224, 32, (1, 1, 512)),
    "resnet50": (25_610_152, 25_557_032, 3.858 * G, 224, 32, (1, 1, 2048)),
    "resnet101": (44_654_504, 44_549_160, 7.570 * G, 224, 32, (1, 1, 2048)),
    "resnet152": (60_344_232, 60_192_808, 11.282 * G, 224, 32, (1, 1, 2048)),
    "resnet50_v2": (25_594_792, 25_549_352, 4.089 * G, 224, 32, (1, 1, 2048)),
    "resnet101_v2": (44_639_144, 44_541_480, 7.801 * G, 224, 32, (1, 1, 2048)),
    "resnet152_v2": (60_328_872, 60_185_128, 11.514 * G, 224, 32, (1, 1, 2048)),
    "resnet20": (271_098, 269_722, 40.55 * M, 32, 8, (2, 2, 64)),
    "resnet32": (466_426, 464_154, 68.86 * M, 32, 8, (2, 2, 64)),
    "resnet44": (661_754, 658_586, 97.17 * M, 32, 8, (2, 2, 64)),
    "resnet56": (857_082, 853_018, 125.49 * M, 32, 8, (2, 2, 64)),
    "resnet110": (1_736_058, 1_727_962, 252.89 * M, 32, 8, (2, 2, 64)),
    "resnet110_v2": (1_736_058, 1_727_962, 252.89 * M, 32, 8, (2, 2, 64)),
    "all_cnn_a": (1_254_250, 1_254_250, 181_145_088, 32, 16, (2, 2, 192)),
    "all_cnn_b": (1_300_618, 1_300_618, 200_019_456, 32, 16, (2, 2, 192)),
    "all_cnn_c": (1_369_738, 1_369_738, 270.8 * M, 32, 16, (2, 2, 192)),
    "strided_cnn_c": (954_730, 954_730, 100_929_024, 32, 16, (2, 2, 192)),
    "conv_pool_cnn_c": (1_369_738, 1_369_738, 398_200_320, 32, 16, (2, 2, 192)),
    "nin_cifar": (966_986, 966_986, 222_486_528, 32, 8, (2, 2, 192)),
    "mobilenet": (4_253_864, 4_231_976, 568.7 * M, 224, 32, (1, 1, 1024)),
    # 312 of whiten, 288 of them fixed, + 9·(24·64 + 64² + 64·256 + 3·256²) + 2·576 biases + 4·576 statistics + 2,560
    "airbench94": (1_973_944, 1_971_352, 118_147_360, 32, 25, (3, 3, 256)),
    "xception": (22_910_480, 22_855_952, 8_357_403_496, 299, 71, (3, 3, 2048)),
}
FAMILIES = ("alexnet", "vgg", "inception", "resnet", "all_cnn", "nin", "mobilenet", "xception", "airbench")
# These, and the quick comparisons with Keras Applications, run every line of the model files; the rest cost minutes.
QUICK = {
    "alexnet_two_tower", "vgg11_bn", "vgg16_cifar", "inception_v1", "inception_small", "resnet18",
    "resnet50_v2", "resnet20", "all_cnn_a", "all_cnn_c", "strided_cnn_c", "conv_pool_cnn_c", "nin_cifar", "mobilenet",
    "xception", "airbench94",
}  # fmt: skip
# Small nets that hold every layer of our own, for what takes a compiler long.
COMPILED = {"alexnet_two_tower", "resnet20", "all_cnn_c"}


def named(quick):
    return [name if name in quick else pytest.param(name, marks=pytest.mark.full) for name in VARIANTS]


def small(name, **arguments):
    size = VARIANTS[name][4]
    return zoo.build(name, **{"input_shape": (size, size, 3), "num_classes": 5, **arguments})


def images(size, batch=4):
    return np.random.default_rng(0).normal(0, 1, (batch, size, size, 3)).astype("float32")


def count(variables):
    return sum(math.prod(variable.shape) for variable in variables)


def multiply_accumulates(model):
    """Products of convolutions and dense layers for one example: places of the output × weights used at each."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dense):
            total += math.prod(layer.kernel.shape)
        elif isinstance(layer, keras.layers.SeparableConv2D):
            weights = count([layer.depthwise_kernel, layer.pointwise_kernel])
            total += math.prod(layer.output.shape[1:3]) * weights
        elif isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, WhiteningConv2D)):
            total += math.prod(layer.output.shape[1:3]) * math.prod(layer.kernel.shape)
    return total


def test_the_table_has_every_vision_variant():
    assert sorted(VARIANTS) == sorted(name for family in FAMILIES for name in zoo.list_models(family=family))


@pytest.mark.parametrize(
    ("family", "default"),
    [("resnet", "resnet50"), ("vgg", "vgg16"), ("inception", "inception_v1"), ("all_cnn", "all_cnn_c")],
)
def test_a_family_resolves_to_its_default(family, default):
    assert zoo.describe(family).name == default


# Models of more than 100 layers differ from smaller ones in how often their blocks repeat, and take seconds.
DEEP = {"resnet101", "resnet152", "resnet101_v2", "resnet152_v2"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.full) if name in DEEP else name for name in VARIANTS]
)
def test_counts(name):
    parameters, trainable, macs, size, *_ = VARIANTS[name]
    model, card = zoo.build(name), zoo.describe(name)
    assert model.name == name
    assert model.input_shape == (None, size, size, 3) == (None, *card.input_shape)
    assert count(model.weights) == parameters == card.parameters
    assert count(model.trainable_weights) == trainable == card.trainable
    counted = multiply_accumulates(model)
    assert counted == card.macs
    rows = layer_table(model)
    assert sum(row.macs for row in rows) == card.macs and sum(row.parameters for row in rows) == parameters
    assert counted == (macs if isinstance(macs, int) else pytest.approx(macs, rel=5e-4))
    assert model.output_shape == (None, 1000 if size >= 224 else 10)
    with_weights = [layer for layer in model.layers if layer.weights]
    assert with_weights[-1].weights[0].shape[-1] == model.output_shape[-1], "the head is not last"
    if parameters > 50 * M:  # a model is a cycle of objects, and many together are gigabytes
        del model, rows, with_weights
        gc.collect()


@pytest.mark.parametrize(
    ("alpha", "parameters", "trainable", "macs"),
    [
        (1.0, 4_253_864, 4_231_976, 568.7 * M),
        (0.75, 2_601_976, 2_585_560, 325.4 * M),
        (0.5, 1_342_536, 1_331_592, 149.5 * M),
        (0.25, 475_544, 470_072, 41.0 * M),
    ],
)
def test_counts_of_mobilenet_by_width(alpha, parameters, trainable, macs):
    model = zoo.build("mobilenet", alpha=alpha)
    assert (count(model.weights), count(model.trainable_weights)) == (parameters, trainable)
    assert multiply_accumulates(model) == pytest.approx(macs, rel=2e-3)


@pytest.mark.parametrize(
    ("name", "trainable", "heads", "size"),
    [("inception_v1", 13_378_280, ["aux1", "aux2"], 65), ("inception_v3", 27_143_152, ["aux"], 107)],
)
def test_auxiliary_heads(name, trainable, heads, size):
    full = zoo.build(name, aux_heads=True)
    assert count(full.trainable_weights) == trainable
    model = small(name, aux_heads=True, input_shape=(size, size, 3))
    assert full.layers[-1].name == model.layers[-1].name == small(name).layers[-1].name
    outputs = model(images(size), training=True)
    assert sorted(outputs) == [*heads, "logits"]
    for logits in outputs.values():
        assert logits.shape == (4, 5) and np.isfinite(logits).all()


@pytest.fixture(scope="module", params=named(QUICK))
def built(request):
    """One small model at a time: pytest runs all tests of one before it builds the next."""
    yield request.param, small(request.param)
    keras.backend.clear_session()


def test_outputs_and_gradients(built):
    name, model = built
    x = images(VARIANTS[name][4])
    coefficients = np.random.default_rng(1).normal(0, 1, (4, 5)).astype("float32")
    with tf.GradientTape() as tape:
        logits = model(x, training=True)
        loss = tf.reduce_sum(logits * coefficients)
    assert logits.shape == (4, 5) and np.isfinite(logits).all()
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert gradient is not None, f"no gradient reaches {variable.path}"
        assert np.isfinite(gradient).all() and np.any(gradient), (
            f"the gradient of {variable.path} is zero or not finite"
        )


def test_save_and_reload(built, tmp_path):
    name, model = built
    x = images(VARIANTS[name][4], batch=2)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(x, training=False), model(x, training=False))


@pytest.mark.parametrize("name", named(QUICK))
def test_without_a_top(name):
    size, last = VARIANTS[name][4:]
    model = small(name, include_top=False, pooling="avg")
    features = keras.Model(model.input, model.layers[-1].input)
    assert features.output_shape == (None, *last)
    x = images(size, batch=2)
    vectors = model(x)
    assert vectors.shape == (2, last[-1])
    np.testing.assert_allclose(vectors, np.mean(features(x), axis=(1, 2)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["alexnet", "vgg16_cifar", "inception_small", "resnet20", "all_cnn_c", "nin_cifar"])
def test_pooling(name):
    size = VARIANTS[name][4] + 32
    arguments = {"include_top": False, "input_shape": (size, size, 3)}
    features = small(name, **arguments)
    for pooling, reduce in (("avg", np.mean), ("max", np.max)):
        vectors = small(name, pooling=pooling, **arguments)
        vectors.set_weights(features.get_weights())
        x = images(size, batch=2)
        np.testing.assert_allclose(vectors(x), reduce(features(x), axis=(1, 2)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", named(COMPILED))
def test_train_step_compiles_with_xla(name):
    size = VARIANTS[name][4]
    model = small(name)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1e-3), loss, jit_compile=True)
    before = model.layers[1 if model.layers[1].weights else 2].get_weights()
    assert np.isfinite(model.train_on_batch(images(size), np.array([0, 1, 2, 3])))
    after = model.layers[1 if model.layers[1].weights else 2].get_weights()
    assert not before or any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))


JAX = """
import json, sys
import keras
import numpy as np
import zoo

# Drawing random numbers for one shape after another keeps JAX's compiler busy for minutes.
add_weight = keras.layers.Layer.add_weight
keras.layers.Layer.add_weight = lambda self, **arguments: add_weight(self, **{**arguments, "initializer": "zeros"})
names, folder = json.loads(sys.argv[1]), sys.argv[2]
for name, size in names.items():
    model = zoo.build(name, input_shape=(size, size, 3), num_classes=5)
    try:
        data = np.load(f"{folder}/{name}.npz")
    except FileNotFoundError:
        continue
    model.set_weights([data[f"arr_{i}"] for i in range(len(data.files) - 2)])
    np.testing.assert_allclose(model.predict(data["x"], verbose=0), data["y"], rtol=1e-3, atol=1e-4)
    print("equal", name)
assert "tensorflow" not in sys.modules, "a model file imports TensorFlow"
"""


def on_jax(names, folder, outputs):
    """Builds `names` on Keras's JAX backend in a new process; those in `outputs` must give the same outputs."""
    for name in outputs:
        model, x = small(name), images(VARIANTS[name][4])
        model(x, training=True)  # so that moving statistics are not those of a fresh model
        np.savez(folder / f"{name}.npz", *model.get_weights(), x=x, y=model(x, training=False))
    sizes = json.dumps({name: VARIANTS[name][4] for name in names})
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", JAX, sizes, str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=1200)
    assert result.returncode == 0, result.stderr[-3000:]
    assert sorted(result.stdout.split()[1::2]) == sorted(outputs)


@pytest.mark.full
def test_builds_on_jax(tmp_path):
    same = ["resnet20", "alexnet_two_tower", "airbench94"]
    on_jax([*same, "mobilenet"], tmp_path, same)


@pytest.mark.full
def test_all_build_on_jax(tmp_path):
    on_jax(list(VARIANTS), tmp_path, ["resnet20", "inception_v1", "xception", "mobilenet"])


@pytest.mark.parametrize(
    "name", ["all_cnn_a", "all_cnn_b", "all_cnn_c", "strided_cnn_c", "conv_pool_cnn_c", "nin_cifar"]
)
def test_larger_images_give_a_map_of_scores(name):
    """The map of class scores of a larger image contains that of each crop, except at borders; logits are its mean."""
    model = zoo.build(name, input_shape=(None, None, 3))
    last = [layer for layer in model.layers if layer.weights][-1]
    class_map = keras.Model(model.input, last.output)
    image = images(96, batch=1)
    whole = np.asarray(class_map(image))
    crop = np.asarray(class_map(image[:, 16:80, 24:88]))  # 4 and 6 places of the map from the corner
    assert whole.shape[1] > crop.shape[1]
    inner = slice(4, crop.shape[1] - 4)
    near = crop[:, inner, inner]
    assert near.std() > 0
    far = whole[:, 4:, 6:][:, : crop.shape[1], : crop.shape[2]][:, inner, inner]
    np.testing.assert_allclose(near, far, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(model(image), whole.mean((1, 2)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["inception_v1", "mobilenet", "resnet20"])
def test_any_height_and_width(name):
    size = VARIANTS[name][4]
    fixed = zoo.build(name, input_shape=(size + 32, size + 64, 1), num_classes=3)
    free = zoo.build(name, input_shape=(None, None, 1), num_classes=3)
    free.set_weights(fixed.get_weights())
    x = np.random.default_rng(0).normal(0, 1, (2, size + 32, size + 64, 1)).astype("float32")
    np.testing.assert_allclose(free(x), fixed(x), rtol=1e-4, atol=1e-5)


def test_drop_rate_is_the_only_noise():
    for name in ("alexnet", "inception_small", "nin_cifar"):
        drops = [layer for layer in small(name, drop_rate=0.3).layers if isinstance(layer, keras.layers.Dropout)]
        assert drops and all(layer.rate == 0.3 for layer in drops), name
        still = small(name, drop_rate=0.0)
        assert not any(isinstance(layer, keras.layers.Dropout) for layer in still.layers), name
    rates = [layer.rate for layer in small("all_cnn_c").layers if isinstance(layer, keras.layers.Dropout)]
    assert rates == [0.2, 0.5, 0.5]


@pytest.mark.parametrize(("name", "drop", "after"), [("nin_cifar", "drop1", "conv2"), ("alexnet", "drop6", "fc7")])
def test_binary_dropout_is_a_mask_in_training_and_a_product_in_test(name, drop, after):
    size = {"input_shape": (95, 95, 3)} if name == "alexnet" else {}
    model = small(name, binary_dropout=True, drop_rate=0.25, **size)
    tail = keras.Model(model.get_layer(drop).input, model.get_layer(after).input)
    ones = np.ones((2, *tail.input.shape[1:]), "float32")
    np.testing.assert_allclose(tail(ones), 0.75)
    masked = np.asarray(tail(ones, training=True))
    assert np.mean(masked) == pytest.approx(0.75, abs=0.02)
    np.testing.assert_allclose(masked[masked > 0], 1.0, rtol=1e-6)
    assert small(name, **size).count_params() == model.count_params()


@pytest.mark.parametrize("name", ["all_cnn_c", "strided_cnn_c", "conv_pool_cnn_c", "nin_cifar"])
def test_kernel_initializer(name):
    """The published initialisation has one deviation for all layers; He's keeps the variance of a layer's input."""
    for arguments in ({}, {"kernel_initializer": "he_normal"}):
        for layer in small(name, **arguments).layers:
            if layer.weights:
                expected = math.sqrt(2 / math.prod(layer.kernel.shape[:-1])) if arguments else 0.05
                assert np.std(layer.kernel) == pytest.approx(expected, rel=0.1), layer.name


def test_relu_and_relu6():
    for activation, ceiling in (("relu", None), ("relu6", 6.0)):
        layers = small("mobilenet", activation=activation).layers
        assert {layer.max_value for layer in layers if isinstance(layer, keras.layers.ReLU)} == {ceiling}


def test_the_two_towers_do_not_see_each_other():
    """Before conv3, a change in the maps of one tower does not change those of the other; conv3 reads both."""
    model = small("alexnet_two_tower", input_shape=(95, 95, 3))
    tail = keras.Model(
        model.get_layer("conv1").output, [model.get_layer(name).output for name in ("norm1", "pool2", "conv3")]
    )
    maps = np.random.default_rng(0).uniform(0, 100, (1, *model.get_layer("conv1").output.shape[1:])).astype("float32")
    other = maps.copy()
    other[..., 47] += 50.0  # the last map of the first tower, next to the second tower's first
    for (a, b), towers in zip(zip(tail(maps), tail(other), strict=True), (True, True, False), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        half = a.shape[-1] // 2
        assert not np.array_equal(a[..., :half], b[..., :half])
        assert np.array_equal(a[..., half:], b[..., half:]) is towers


def test_strides_are_where_the_papers_have_them():
    for name, strides in (("resnet50", [2, 1, 1]), ("resnet50_v2", [1, 2, 1]), ("resnet20", [2, 1])):
        model = small(name)
        convolutions = [model.get_layer(f"conv3_1_conv{i}") for i in range(1, len(strides) + 1)]
        assert [convolution.strides[0] for convolution in convolutions] == strides


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "resnet50",
            {"input_shape": (31, 224, 3)},
            r"input_shape is \(31, 224, 3\); height and width must be at least 32",
        ),
        ("resnet20", {"input_shape": (3, 32, 3)}, "must be at least 4"),
        ("vgg16", {"input_shape": (16, 16, 3)}, "must be at least 32"),
        ("alexnet", {"input_shape": (62, 224, 3)}, "must be at least 63"),
        ("all_cnn_c", {"input_shape": (8, 32, 3)}, "must be at least 9"),
        ("inception_v1", {"input_shape": (64, 224, 3), "aux_heads": True}, "must be at least 65"),
        ("inception_v3", {"input_shape": (74, 299, 3)}, "must be at least 75"),
        ("inception_v3", {"input_shape": (106, 299, 3), "aux_heads": True}, "must be at least 107"),
        ("airbench94", {"input_shape": (24, 32, 3)}, "must be at least 25"),
        ("airbench94", {"input_shape": (None, None, 3)}, "height and width must be numbers"),
        ("xception", {"input_shape": (70, 299, 3)}, "must be at least 71"),
        ("mobilenet", {"input_shape": (31, 31, 3)}, "must be at least 32"),
        (
            "resnet50",
            {"input_shape": (224, 224)},
            r"input_shape is \(224, 224\); it must be \(height, width, channels\)",
        ),
        ("resnet50", {"input_shape": (224, 224, None)}, r"it must be \(height, width, channels\)"),
        ("vgg16", {"input_shape": (None, None, 3)}, "height and width must be numbers"),
        ("resnet50", {"num_classes": 0}, "num_classes is 0"),
        ("resnet50", {"pooling": "avg"}, "pooling='avg' needs include_top=False"),
        ("resnet50", {"pooling": "sum", "include_top": False}, "pooling is 'sum'; it may be 'avg', 'max' or None"),
        ("resnet50", {"depth": 51}, "depth is 51; it may be 18, 34, 50, 101, 152"),
        ("resnet50_v2", {"depth": 18}, "depth is 18; it may be 50, 101, 152"),
        ("resnet20", {"depth": 21}, "depth is 21; it may be 20, 32, 44, 56, 110"),
        ("vgg16", {"config": "C"}, "config is 'C'; it may be 'A', 'B', 'D' or 'E'"),
        ("all_cnn_c", {"base": "D"}, "base is 'D'; it may be 'A', 'B' or 'C'"),
        ("all_cnn_c", {"reduction": "avg"}, "reduction is 'avg'; it may be 'pool'"),
        ("alexnet", {"towers": 3}, "towers is 3; it may be 1 or 2"),
        ("mobilenet", {"alpha": 0.3}, "alpha is 0.3; it may be 1.0, 0.75, 0.5, 0.25"),
        ("mobilenet", {"activation": "tanh"}, "activation is 'tanh'; it may be 'relu' or 'relu6'"),
        ("inception_v1", {"aux_heads": True, "include_top": False}, "aux_heads is True; it needs include_top=True"),
        ("resnet50", {"alpha": 0.5}, "takes no argument 'alpha'"),
    ],
)
def test_bad_arguments_are_one_line(name, arguments, message):
    with pytest.raises(UsageError, match=message) as caught:
        zoo.build(name, **arguments)
    assert "\n" not in str(caught.value) and name in str(caught.value)


def test_model_files_import_keras_alone():
    for path in [*Path(zoo.__file__).parent.glob("models/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                root = name.split(".")[0]
                assert (
                    root == "keras"
                    or root in sys.stdlib_module_names
                    or name in ("zoo.errors", "zoo.fields")  # of the standard library alone
                    or name.startswith("zoo.layers")
                    or (name.startswith("zoo.models"))
                ), f"{path.name} imports {name}"

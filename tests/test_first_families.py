"""Perceptron, softmax regression, multi-layer perceptrons, LeNet-5: graphs, counts, losses and learning rules."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.linear_model import Perceptron

import zoo
from conftest import run
from zoo.data.stream import EpochShuffle
from zoo.models.lenet import C3_CONNECTIONS, RBF_CODES
from zoo.recipe import load_recipe
from zoo.tasks.image_classification import losses as classification
from zoo.tasks.table import create_task

# From the papers (facts worked out by hand there), not from our own code.
COUNTS = {
    "perceptron": (7_850, 7_840),
    "softmax_regression": (7_850, 7_840),
    "mlp_nielsen": (23_860, 23_820),
    "lenet5": (60_000, 325_680),
    "lenet5_modern": (61_706, 416_520),
}


@pytest.mark.parametrize("name", [*COUNTS, "mlp"])
def test_graph(name, tmp_path):
    card = zoo.describe(name)
    keras.utils.set_random_seed(1)
    model = zoo.build(name)
    if name in COUNTS:
        assert (model.count_params(), card.macs) == COUNTS[name]
    assert model.count_params() == card.parameters
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == card.trainable

    images = tf.random.stateless_normal((3, *card.input_shape), [1, 2])
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(classification.cross_entropy(tf.constant([0, 1, 2]), model(images, training=True)))
    gradients = tape.gradient(loss, [w.value for w in model.trainable_weights])
    assert all(g is not None and np.isfinite(g).all() for g in gradients)

    outputs = model(images)
    assert outputs.shape == (3, 10) and np.isfinite(outputs).all()
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(images), outputs)


@pytest.mark.parametrize("hidden", [(), (30,), (30, 30), (30, 30, 30), (30, 30, 30, 30)])
def test_nielsens_counts_and_initialisation(hidden):
    keras.utils.set_random_seed(0)
    model = zoo.build("mlp_nielsen", hidden=hidden)
    # 784·30 + 30, then 930 for each more, and 310 at the end.
    assert model.count_params() == (23_860 + 930 * (len(hidden) - 1) if hidden else 7_850)
    first = model.layers[2].kernel.numpy()
    assert first.std() == pytest.approx(1 / 28, rel=0.05)  # N(0, 1/784)
    biases = np.concatenate([layer.bias.numpy() for layer in model.layers[2:]])
    assert 0.5 < biases.std() < 1.7  # N(0, 1)


def test_mlp_takes_any_shape():
    shape = {"input_shape": (4, 5, 3), "hidden": (7, 6), "num_classes": 2}
    model = zoo.build("mlp", **shape, activation="tanh", drop_rate=0.5, input_drop_rate=0.2)
    assert model.count_params() == 60 * 7 + 7 + 7 * 6 + 6 + 6 * 2 + 2
    dropouts = [(layer.name, layer.rate) for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert dropouts == [("drop_input", 0.2), ("drop1", 0.5), ("drop2", 0.5)]
    assert zoo.build("mlp", hidden=(7, 6), include_top=False).output_shape == (None, 6)


def test_lenet5_has_the_papers_connections():
    model = zoo.build("lenet5")
    shapes = {layer.name: layer.output.shape[1:] for layer in model.layers}

    def units(name):
        return int(np.prod(shapes[name]))

    connections = {
        "C1": units("C1") * (25 + 1),
        "S2": units("S2") * (4 + 1),
        "C3": 10 * 10 * sum(25 * len(inputs) + 1 for inputs in C3_CONNECTIONS),
        "S4": units("S4") * (4 + 1),
        "C5": units("C5") * (400 + 1),
        "F6": units("F6") * (120 + 1),
        "OUTPUT": units("OUTPUT") * 84,
    }
    assert list(connections.values()) == [122_304, 5_880, 151_600, 2_000, 48_120, 10_164, 840]
    assert sum(connections.values()) == 340_908
    weights = {name: model.get_layer(name).count_params() for name in connections}
    assert list(weights.values()) == [156, 12, 1_516, 32, 48_120, 10_164, 0]
    assert sorted(i for inputs in C3_CONNECTIONS for i in inputs) == sorted(list(range(6)) * 10)  # each map feeds ten
    for layer, fan_in in (("C1", 25), ("C5", 400), ("F6", 120)):
        kernel = model.get_layer(layer).kernel.numpy()
        assert np.abs(kernel).max() <= 2.4 / fan_in and kernel.std() == pytest.approx(2.4 / fan_in / 3**0.5, rel=0.15)


def test_lenet5_layers_against_numpy():
    keras.utils.set_random_seed(3)
    model = zoo.build("lenet5")
    x = np.random.default_rng(0).normal(size=(2, 14, 14, 6)).astype(np.float32)

    c3 = model.get_layer("C3")
    kernel, bias = c3.kernel.numpy(), c3.bias.numpy()
    expected = np.zeros((2, 10, 10, 16))
    row = 0
    for m, inputs in enumerate(C3_CONNECTIONS):  # a row of the variable for each pair, in the table's order
        for i in inputs:
            for y in range(10):
                for z in range(10):
                    expected[:, y, z, m] += (x[:, y : y + 5, z : z + 5, i].reshape(2, 25) * kernel[row]).sum(-1)
            row += 1
    np.testing.assert_allclose(c3(x), expected + bias, rtol=1e-4, atol=1e-5)

    s2 = model.get_layer("S2")
    big = np.random.default_rng(1).normal(size=(2, 28, 28, 6)).astype(np.float32)
    sums = big.reshape(2, 14, 2, 14, 2, 6).sum(axis=(2, 4))
    np.testing.assert_allclose(s2(big), sums * s2.coefficient.numpy() + s2.bias.numpy(), rtol=1e-4, atol=1e-5)

    np.testing.assert_allclose(model.get_layer("C1_squash")(np.array([1.0, -1.0])), [1, -1], atol=1e-4)  # f(±1) = ±1
    f6 = np.random.default_rng(2).normal(size=(2, 84))
    distances = ((f6[:, None] - np.array(RBF_CODES)) ** 2).sum(-1)
    np.testing.assert_allclose(model.get_layer("OUTPUT")(f6), -distances, rtol=1e-5)
    assert np.array(RBF_CODES).shape == (10, 84)


def test_lenet5_refuses_what_the_paper_does_not_have():
    with pytest.raises(zoo.UsageError, match="num_classes is 7.*lenet5_modern"):
        zoo.build("lenet5", num_classes=7)
    with pytest.raises(zoo.UsageError, match="input_shape"):
        zoo.build("lenet5", input_shape=(28, 28, 1))
    with pytest.raises(zoo.UsageError, match="at least 16"):
        zoo.build("lenet5_modern", input_shape=(15, 40, 1))
    assert zoo.build("lenet5", include_top=False).output_shape == (None, 84)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("lenet5_modern", {"input_shape": (None, None, 1)}, "height and width must be numbers"),
        ("lenet5_modern", {"activation": "rleu"}, "activation is 'rleu'; it must be a name in keras.activations"),
        ("mlp", {"input_shape": (None, 4, 1)}, "height and width must be numbers"),
        ("all_cnn_c", {"kernel_initializer": "identity"}, "keras.initializers for tensors of rank 4"),
        ("nin_cifar", {"kernel_initializer": "stft"}, "keras.initializers for tensors of rank 4"),
        ("mlp", {"kernel_initializer": "constant"}, "keras.initializers for tensors of rank 2, without arguments"),
        ("mlp", {"bias_initializer": "orthogonal"}, "keras.initializers for tensors of rank 1"),
        ("mlp", {"kernel_initializer": "he"}, "kernel_initializer is 'he'; it must be a name in keras.initializers"),
        ("all_cnn_c", {"kernel_initializer": "he"}, "kernel_initializer is 'he'; it must be a name"),
        ("nin_cifar", {"kernel_initializer": "he"}, "kernel_initializer is 'he'; it must be a name"),
        ("mlp", {"hidden": 5}, "hidden is 5; it must be a sequence"),
        ("mlp", {"input_drop_rate": 1}, "input_drop_rate is 1; it must be at least 0 and below 1"),
        ("perceptron", {"input_shape": (4, None, 1)}, "height and width must be numbers"),
        ("softmax_regression", {"input_shape": (4, None, 1)}, "height and width must be numbers"),
        ("all_cnn_c", {"input_drop_rate": 1.5}, "input_drop_rate is 1.5; it must be at least 0 and below 1"),
        ("bilstm_tagger", {"noise": -1.0}, "noise is -1.0"),
        ("bilstm_tagger", {"units": True}, "units is True; it must be a whole number"),
        ("char_rnn", {"embedding": "a"}, "embedding is 'a'; it must be a whole number"),
    ],
)
def test_invalid_arguments_are_an_error_of_one_line(name, arguments, message):
    with pytest.raises(zoo.UsageError, match=message) as caught:
        zoo.build(name, **arguments)
    assert str(caught.value).startswith(f"{name}: ") and "\n" not in str(caught.value)


def test_losses_against_numpy():
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(4, 3)), np.array([2, 0, 1, 1])
    right = logits[np.arange(4), labels]
    softmax = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    targets = np.eye(3)[labels]
    sigmoid = 1 / (1 + np.exp(-logits))
    signs = 2 * targets - 1
    expected = {
        "cross_entropy": -np.log(softmax[np.arange(4), labels]),
        "sigmoid_cross_entropy": -(targets * np.log(sigmoid) + (1 - targets) * np.log(1 - sigmoid)).sum(-1),
        "perceptron": np.maximum(0, -signs * logits).sum(-1),
        # Equation 9 with the penalties y = −logits, and j = 10.
        "rbf_map": -right + np.log(np.exp(-10.0) + np.exp(logits).sum(-1)),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(classification.LOSSES[name](labels, tf.constant(logits)), values, rtol=1e-6)


def train_perceptron(x, labels, epochs, num_classes):
    """Our perceptron, trained on the examples one at a time: the model, its weights after each, its history."""
    history = []
    model = zoo.build("perceptron", input_shape=(1, x.shape[1], 1), num_classes=num_classes, dtype="float64")
    model.compile(
        optimizer=keras.optimizers.SGD(1.0),
        loss=classification.perceptron,
        metrics=[keras.metrics.MeanMetricWrapper(classification.mistakes, name="mistakes")],
    )
    keep = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: history.append([w.copy() for w in model.get_weights()])
    )
    examples = tf.data.Dataset.from_tensor_slices((x[:, None, :, None], labels)).batch(1)
    callbacks = [keep, *create_task(load_recipe("perceptron_mnist")).callbacks()]
    done = model.fit(examples, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks)
    return model, history, done.history


def test_the_perceptron_follows_rosenblatts_rule_update_by_update(digits):
    x = digits.train.pictures[:200].reshape(200, -1).astype(np.float64)
    labels = digits.train.labels[:200]
    _, history, _ = train_perceptron(x, labels, 1, 10)
    weights, bias = np.zeros((64, 10)), np.zeros(10)
    for example, label, (ours, our_bias) in zip(x, labels, history, strict=True):
        for unit in range(10):
            target = 1 if unit == label else -1
            if target * (weights[:, unit] @ example + bias[unit]) <= 0:
                weights[:, unit] += target * example
                bias[unit] += target
        np.testing.assert_array_equal(ours, weights)
        np.testing.assert_array_equal(our_bias, bias)
    assert np.any(weights)


def test_the_perceptron_equals_scikit_learns(digits):
    x = digits.train.pictures.reshape(len(digits.train), -1).astype(np.float64)
    model, _, _ = train_perceptron(x, digits.train.labels, 3, 10)
    # Its own passes can't be given an order each, so three passes are one over three copies.
    peer = Perceptron(shuffle=False, tol=None, max_iter=1).fit(np.tile(x, (3, 1)), np.tile(digits.train.labels, 3))
    np.testing.assert_array_equal(model.get_weights()[0], peer.coef_.T)
    np.testing.assert_array_equal(model.get_weights()[1], peer.intercept_)


def test_the_perceptron_stops_on_a_separable_set_and_not_on_xor():
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float64)
    model, _, history = train_perceptron(corners, np.array([0, 0, 0, 1]), 100, 2)  # AND
    assert history["mistakes"][-1] == 0 and len(history["mistakes"]) < 100
    assert list(np.argmax(model(corners[:, None, :, None]), -1)) == [0, 0, 0, 1]
    _, _, history = train_perceptron(corners, np.array([0, 1, 1, 0]), 100, 2)  # XOR
    assert len(history["mistakes"]) == 100 and min(history["mistakes"]) > 0


@pytest.mark.full
def test_the_perceptron_recipe_equals_scikit_learns_on_mnist(mnist, tmp_path):
    recipe = load_recipe("perceptron_mnist")
    result = run(recipe, run_dir=tmp_path / "run")
    order = EpochShuffle(60_000, 1000, recipe.seed).batches(0, lambda indices, seeds: indices).take(60 * recipe.epochs)
    indices = np.concatenate(list(order.as_numpy_iterator()))
    pixels = mnist.train.pictures.reshape(60_000, -1).astype(np.float64)
    peer = Perceptron(shuffle=False, tol=None, max_iter=1).fit(pixels[indices], mnist.train.labels[indices])
    np.testing.assert_array_equal(result.model.get_weights()[0], peer.coef_.T)
    np.testing.assert_array_equal(result.model.get_weights()[1], peer.intercept_)

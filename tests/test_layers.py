"""The layers of the vision nets against NumPy and Keras's own."""

import subprocess
import sys
import textwrap
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from zoo.layers import (
    GELU,
    LSTM,
    BatchNormalization,
    CharacterEncoder,
    IdentityShortcut,
    LocalResponseNormalization,
    ReverseSequence,
)

SHAPE = (4, 5, 6, 7)


def pair(dtype="float32", **arguments):
    """Keras's layer and ours with the same random weights."""
    layers = []
    for cls in (keras.layers.BatchNormalization, BatchNormalization):
        layer = cls(dtype=dtype, momentum=0.9, **arguments)
        layer.build((None, *SHAPE[1:]))
        rng = np.random.default_rng(1)
        for variable in layer.weights:
            variable.assign(rng.uniform(0.5, 2.0, variable.shape))
        layers.append(layer)
    return layers


def outcome(layer, x, *, training, jit_compile=False):
    """Output, gradients of input and weights, and the moving statistics after one call."""
    weights = [variable.value for variable in layer.trainable_variables]

    @tf.function(jit_compile=jit_compile)
    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=training)
            loss = tf.reduce_mean(tf.cast(y, "float32") ** 3)
        return [y, *tape.gradient(loss, [x, *weights])]

    outputs = [np.asarray(tf.cast(value, "float64")) for value in step(tf.constant(x, layer.compute_dtype))]
    return outputs, layer.moving_mean.numpy(), layer.moving_variance.numpy()


def images(shape=SHAPE):
    return np.random.default_rng(0).normal(1.0, 2.0, shape).astype("float32")


TOLERANCES = {"float32": 1e-5, "float64": 1e-12, "mixed_float16": 2e-3, "mixed_bfloat16": 2e-2}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(
    ("dtype", "arguments"),
    [
        *[(dtype, {}) for dtype in TOLERANCES],
        ("float32", {"scale": False}),
        ("float32", {"center": False}),
        ("float32", {"epsilon": 1e-7}),
        ("float32", {"axis": 1}),
        ("float32", {"synchronized": True}),
    ],
)
def test_batch_normalization_equals_keras(dtype, arguments, jit_compile, training):
    theirs, ours = (
        outcome(layer, images(), training=training, jit_compile=jit_compile) for layer in pair(dtype, **arguments)
    )
    for a, b in zip(ours[0], theirs[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=TOLERANCES[dtype], atol=TOLERANCES[dtype])
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-6)
    # Ours collects the unbiased variance, Keras's the biased one.
    n = np.prod(SHAPE) / SHAPE[arguments.get("axis", -1)]
    old = pair(dtype, **arguments)[0].moving_variance.numpy()
    batch = (theirs[2] - 0.9 * old) / 0.1 * (n / (n - 1) if training else 1.0)
    np.testing.assert_allclose(ours[2], 0.9 * old + 0.1 * batch, rtol=1e-5)


def test_batch_normalization_by_hand():
    """Against the paper's algorithm in NumPy, and its unbiased variance for inference."""
    x = images().astype("float64")
    layer = pair()[1]
    gamma, beta = layer.gamma.numpy(), layer.beta.numpy()
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    old_mean, old_variance = layer.moving_mean.numpy(), layer.moving_variance.numpy()
    y = layer(x.astype("float32"), training=True)
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta, rtol=1e-4, atol=1e-5)
    n = x.size / x.shape[-1]
    np.testing.assert_allclose(layer.moving_mean.numpy(), 0.9 * old_mean + 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(
        layer.moving_variance.numpy(), 0.9 * old_variance + 0.1 * variance * n / (n - 1), rtol=1e-5
    )


def test_frozen_batch_normalization_runs_in_inference_mode():
    layer = pair()[1]
    inference = layer(images(), training=False)
    layer.trainable = False
    before = layer.get_weights()
    np.testing.assert_array_equal(layer(images(), training=True), inference)
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("shape", [(8, 7), (8, 3, 7), (2, 3, 4, 5, 7)])
def test_batch_normalization_of_other_ranks_is_keras(shape):
    theirs, ours = keras.layers.BatchNormalization(), BatchNormalization()
    np.testing.assert_allclose(ours(images(shape), training=True), theirs(images(shape), training=True))
    *same, variance = ours.get_weights()
    *their_same, their_variance = theirs.get_weights()
    for a, b in zip(same, their_same, strict=True):
        np.testing.assert_allclose(a, b)
    places = np.prod(shape) // shape[-1]
    unbiased = (their_variance - 0.99) * places / (places - 1) + 0.99
    np.testing.assert_allclose(variance, unbiased, rtol=1e-6)
    theirs.set_weights(ours.get_weights())
    np.testing.assert_allclose(ours(images(shape), training=False), theirs(images(shape), training=False))


def test_batch_normalization_with_a_mask_is_keras():
    mask = np.random.default_rng(2).random(SHAPE[:3]) < 0.5
    theirs, ours = pair()
    np.testing.assert_allclose(
        ours(images(), training=True, mask=mask), theirs(images(), training=True, mask=mask), rtol=1e-6
    )
    np.testing.assert_allclose(ours.moving_variance.numpy(), theirs.moving_variance.numpy(), rtol=1e-6)


def test_batch_normalization_uses_the_fused_kernel():
    def operations(layer):
        graph = tf.function(lambda x: layer(x, training=True)).get_concrete_function(tf.TensorSpec(SHAPE)).graph
        return {operation.type for operation in graph.get_operations()}

    theirs, ours = pair()
    assert "FusedBatchNormV3" in operations(ours)
    assert "FusedBatchNormV3" not in operations(theirs)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize(
    "convolution",
    [
        partial(keras.layers.Conv2D, 6, 3, strides=2, padding="same", use_bias=False),
        partial(keras.layers.Conv2D, 6, 3, bias_initializer="random_normal"),
        partial(keras.layers.DepthwiseConv2D, 3, depth_multiplier=2, bias_initializer="random_normal"),
    ],
    ids=["plain", "bias", "depthwise"],
)
def test_batch_normalization_folds_into_the_convolution_before_it(convolution, dtype):
    convolution, norm = convolution(dtype=dtype), BatchNormalization(dtype=dtype)
    x = images((3, 9, 8, 4))
    norm(convolution(x))
    for variable in norm.weights:
        variable.assign(np.random.default_rng(1).uniform(0.5, 2.0, variable.shape))

    def answer(x):
        with tf.GradientTape() as tape:
            before = convolution(x)
            y = norm(before, training=False)
        weights = [weight.value for weight in convolution.weights + norm.trainable_weights]
        # In bfloat16 the sums of gradients have few digits, in whatever order.
        return y, before, *(tape.gradient(y, weights) if dtype == "float32" else [])

    tolerance = 1e-5 if dtype == "float32" else 2e-2
    for ours, theirs in zip(tf.function(answer)(x), answer(x), strict=True):
        ours, theirs = (np.asarray(tf.cast(value, "float32")) for value in (ours, theirs))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * abs(theirs).max())
    graph = tf.function(lambda x: norm(convolution(x), training=False)).get_concrete_function(tf.TensorSpec(x.shape))
    assert not [operation for operation in graph.graph.get_operations() if "FusedBatchNorm" in operation.type]


def test_batch_normalization_keeps_its_config():
    layer = BatchNormalization(momentum=0.5, epsilon=1e-4, scale=False, name="bn")
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert type(again) is BatchNormalization
    assert again.get_config() == layer.get_config()


MIRRORED = """
    import numpy as np, tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    import keras
    from zoo.layers import BatchNormalization

    def train(norm):
        with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
            images = keras.Input((5, 5, 3))
            x = keras.layers.Conv2D(4, 3, kernel_initializer=keras.initializers.GlorotUniform(seed=1))(images)
            x = norm(momentum=0.5)(x)
            x = keras.layers.GlobalMaxPooling2D()(x)
            x = keras.layers.Dense(2, kernel_initializer=keras.initializers.GlorotUniform(seed=2))(x)
            model = keras.Model(images, x)
            model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
        rng = np.random.default_rng(0)
        x, y = rng.normal(1, 2, (32, 5, 5, 3)).astype("float32"), rng.normal(0, 1, (32, 2)).astype("float32")
        history = model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
        return history.history["loss"], model.get_weights(), model.predict(x, verbose=0)

    theirs, ours = train(keras.layers.BatchNormalization), train(BatchNormalization)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-5)
    for a, b in zip(ours[1], theirs[1]):
        np.testing.assert_allclose(a, b, rtol=4e-2 if a.shape == (4,) else 1e-4, atol=1e-5)
    assert any(not np.array_equal(a, b) for a, b in zip(ours[1], theirs[1])), "the fused kernel did not run"
    print("equal")
"""


def test_batch_normalization_under_a_mirrored_strategy():
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MIRRORED)], capture_output=True, text=True, timeout=300
    )
    assert result.stdout.split()[-1:] == ["equal"], result.stderr[-3000:]


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_gelu_and_its_gradient_are_keras(dtype):
    layer = GELU(dtype=dtype)
    x = tf.cast(images() * 2, layer.compute_dtype)

    def answer(call):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = call(x)
        return y, tape.gradient(y, x, tf.cast(images((4, 5, 6, 7)), y.dtype))

    compiled = tf.function(lambda: answer(lambda x: layer(x, training=True)))
    for ours, plain, theirs in zip(compiled(), answer(layer), answer(keras.activations.gelu), strict=True):
        assert ours.dtype == theirs.dtype
        ours, plain, theirs = (np.asarray(tf.cast(value, "float64")) for value in (ours, plain, theirs))
        np.testing.assert_allclose(plain, theirs)
        tolerance = max(TOLERANCES[dtype], 1e-8)  # TensorFlow divides by √2 in single precision
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * abs(theirs).max())
    nodes = compiled.get_concrete_function().graph.as_graph_def().library.function
    assert any(function.attr["_XlaMustCompile"].b for function in nodes)


def lstm_outcome(cls, dtype="float32", *, mask=None, training=True, jit_compile=False, known=(3, 9), **arguments):
    """Outputs and states after one call, the gradients of inputs, states and weights, and the graph's operations.

    The graph knows the number of rows and of steps to be those of `known`.
    """
    rng = np.random.default_rng(3)
    layer = cls(5, return_sequences=True, return_state=True, dtype=dtype, **arguments)
    layer.build((None, None, 4))
    for variable in layer.weights:
        variable.assign(rng.normal(0, 0.7, variable.shape))
    given = [tf.constant(rng.normal(0, 1, shape), layer.compute_dtype) for shape in ((3, 9, 4), (3, 5), (3, 5))]
    weights = [variable.value for variable in layer.trainable_variables]

    def step(x, h, c):
        with tf.GradientTape() as tape:
            tape.watch([x, h, c])
            outputs = layer(x, initial_state=[h, c], mask=mask, training=training)
            loss = tf.add_n([tf.reduce_sum(tf.cast(y, "float64") ** 3) for y in outputs])
        return [*outputs, *tape.gradient(loss, [x, h, c, *weights])]

    shapes = [(*known, 4), (known[0], 5), (known[0], 5)]
    signature = [tf.TensorSpec(shape, t.dtype) for shape, t in zip(shapes, given, strict=True)]
    step = tf.function(step, signature, jit_compile=jit_compile)
    operations = step.get_concrete_function().graph.get_operations()
    return [np.asarray(tf.cast(value, "float64")) for value in step(*given)], {op.type for op in operations}


# Padding on the right, on the left with a step that is not real between others, and nothing but padding.
REAL = np.array([[1, 1, 1, 1, 0, 0, 0, 0, 0], [0, 0, 1, 0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0, 0, 0]], bool)


@pytest.mark.parametrize(
    ("known", "jit_compile"), [((3, 9), False), ((3, 9), True), ((3, None), False), ((None, None), False)]
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "mixed_bfloat16"])
@pytest.mark.parametrize("mask", [None, REAL], ids=["whole", "masked"])
def test_lstm_equals_keras_without_its_loop(dtype, mask, known, jit_compile):
    call = {"dtype": dtype, "mask": mask, "known": known, "jit_compile": jit_compile}
    theirs, their_operations = lstm_outcome(keras.layers.LSTM, **call)
    ours, our_operations = lstm_outcome(LSTM, **call)
    assert "While" in their_operations and "While" not in our_operations
    tolerance = {"float32": 1e-5, "float64": 1e-12, "mixed_bfloat16": 0.1}[dtype]
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "otherwise",
    [
        {"training": False},
        {"training": False, "mask": REAL},
        {"go_backwards": True},
        {"activation": "relu"},
        {"recurrent_activation": "hard_sigmoid"},
        {"use_bias": False},
        {"dropout": 0.5, "seed": 1},
    ],
    ids=str,
)
def test_lstm_elsewhere_is_keras(otherwise):
    theirs, _ = lstm_outcome(keras.layers.LSTM, **otherwise)
    ours, operations = lstm_outcome(LSTM, **otherwise)
    assert "While" in operations
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_lstm_has_a_gradient_outside_of_graphs():
    layer, x = LSTM(5), tf.random.stateless_normal((2, 9, 4), (0, 1))
    layer.build(x.shape)

    def gradient():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x, training=True) ** 3)
        return tape.gradient(loss, [weight.value for weight in layer.weights])

    for a, b in zip(gradient(), tf.function(gradient)(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 7, 8, 9, 19, 33])
def test_lstm_runs_no_added_step(steps):
    layer = LSTM(5, return_sequences=True, return_state=True)
    x = tf.random.stateless_normal((2, steps, 4), (0, 1))
    inference = layer(x)
    run = tf.function(lambda x: layer(x, training=True), [tf.TensorSpec((2, None, 4))])
    for ours, theirs in zip(run(x), inference, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("words", [(2, 1), (3, 5), (4, 2), (0, 3)], ids=str)
def test_characters_bucketed_by_length_are_encoded_alike(words, training):
    class SmallBlocks(CharacterEncoder):
        BLOCK = 4

    rng = np.random.default_rng(0)
    letters = rng.integers(1, 9, (*words, 7)) * (np.arange(7) < rng.integers(0, 8, (*words, 1)))
    letters = tf.constant(letters, tf.int32)
    inner = keras.Sequential([keras.layers.Embedding(9, 3, mask_zero=True), LSTM(2)])
    layer = SmallBlocks(inner, 2)
    layer.build((None, None, None))
    widths = []
    inner.layers[0].call = lambda x, call=inner.layers[0].call: widths.append(x.shape) or call(x)

    def outcome(letters):
        with tf.GradientTape() as tape:
            outputs = layer(letters, training=training)
            loss = tf.reduce_sum(
                outputs**3 * tf.reshape(tf.range(tf.size(outputs), dtype=tf.float32), tf.shape(outputs))
            )
        gradients = tape.gradient(loss, [weight.value for weight in layer.trainable_weights])
        return outputs, *(tf.convert_to_tensor(gradient) for gradient in gradients)

    blocks = tf.function(outcome, [tf.TensorSpec((None, None, None), tf.int32)])(letters)
    assert widths.pop() == ((4, None) if training else (None, None))
    layer.bucket_by_length = False
    whole = tf.function(outcome, [tf.TensorSpec((None, None, None), tf.int32)])(letters)
    for ours, theirs in zip(blocks, whole, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_reversal_of_rows():
    x, length = np.arange(24.0, dtype="float32").reshape(2, 4, 3), np.array([3, 0])
    reversed_x = ReverseSequence()(x, length)
    np.testing.assert_array_equal(reversed_x, np.stack([x[0, [2, 1, 0, 3]], x[1]]))
    np.testing.assert_array_equal(ReverseSequence()(reversed_x, length), x)
    weights = np.random.default_rng(0).normal(size=x.shape).astype("float32")
    variable = tf.Variable(x)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(ReverseSequence()(variable, length) * weights)
    np.testing.assert_array_equal(tape.gradient(loss, variable), ReverseSequence()(weights, length))
    numbers = np.arange(8).reshape(2, 4)
    np.testing.assert_array_equal(ReverseSequence()(numbers, np.array([4, 2])), [[3, 2, 1, 0], [5, 4, 6, 7]])


def by_definition(x, size, k, alpha, beta, groups=1):
    """The formula of section 3.3, term by term."""
    out = np.zeros_like(x)
    per_tower = x.shape[-1] // groups
    for i in range(x.shape[-1]):
        first, last = i // per_tower * per_tower, i // per_tower * per_tower + per_tower - 1
        total = np.zeros(x.shape[:-1])
        for j in range(max(first, i - size // 2), min(last, i + size // 2) + 1):
            total += x[..., j] ** 2
        out[..., i] = x[..., i] / (k + alpha * total) ** beta
    return out


@pytest.mark.parametrize(
    "arguments",
    [
        {"size": 5, "k": 2.0, "alpha": 1e-4, "beta": 0.75},
        {"size": 3, "k": 1.0, "alpha": 0.1, "beta": 0.5},
        {"size": 5, "k": 2.0, "alpha": 0.1, "beta": 0.75, "groups": 2},
    ],
)
def test_local_response_normalization_by_hand(arguments):
    x = np.random.default_rng(0).normal(0, 20, (2, 3, 4, 8))
    layer = LocalResponseNormalization(**arguments)
    np.testing.assert_allclose(layer(x.astype("float32")), by_definition(x, **arguments), rtol=1e-5, atol=1e-6)
    assert LocalResponseNormalization.from_config(layer.get_config()).get_config() == layer.get_config()


def test_local_response_normalization_equals_tensorflow():
    x = np.random.default_rng(0).normal(0, 100, (2, 3, 4, 96)).astype("float32")
    theirs = tf.nn.local_response_normalization(x, depth_radius=2, bias=2.0, alpha=1e-4, beta=0.75)
    np.testing.assert_allclose(LocalResponseNormalization()(x), theirs, rtol=1e-5)


def test_local_response_normalization_of_half_precision_does_not_overflow():
    x = np.full((1, 2, 2, 8), 1000.0, "float16")  # its square is infinite in float16
    y = np.asarray(LocalResponseNormalization(dtype="float16")(x), "float64")
    np.testing.assert_allclose(y, by_definition(x.astype("float64"), 5, 2.0, 1e-4, 0.75), rtol=2e-3)


@pytest.mark.parametrize(("height", "stride"), [(4, 2), (5, 2), (4, 1)])
def test_identity_shortcut(height, stride):
    x = np.random.default_rng(0).normal(0, 1, (2, height, 6, 3)).astype("float32")
    layer = IdentityShortcut(5, stride)
    y = np.asarray(layer(x))
    assert y.shape == layer.compute_output_shape(x.shape)
    np.testing.assert_array_equal(y[..., :3], x[:, ::stride, ::stride])
    assert not y[..., 3:].any() and not layer.weights
    assert IdentityShortcut.from_config(layer.get_config()).get_config() == layer.get_config()


@pytest.mark.parametrize("cell", ["LSTM", "GatedCell"])
def test_recurrent_weights_start_orthogonal_in_every_precision(cell):
    from zoo import layers

    for dtype, tolerance in {"bfloat16": 2e-2, "float32": 1e-5, "float64": 1e-12}.items():
        layer = getattr(layers, cell)(8, dtype=dtype)
        layer.build((2, 3, 8))
        matrix = layer.proposal if cell == "GatedCell" else layer.cell.recurrent_kernel
        assert matrix.dtype == dtype
        rows = np.asarray(keras.ops.cast(matrix, "float64"))
        np.testing.assert_allclose(rows @ rows.T, np.eye(8), atol=tolerance)


@pytest.mark.parametrize("compiled", [None, False, True])
@pytest.mark.parametrize("backwards", [False, True])
def test_the_gated_recurrence_is_keras_gated_unit(backwards, compiled):
    from zoo.layers import GatedCell, GatedRNN

    rng = np.random.default_rng(0)
    x, state = (rng.normal(size=shape).astype(np.float32) for shape in ((3, 5, 4), (3, 6)))
    mask = np.arange(5)[None] < [[5], [3], [1]]
    options = {"return_sequences": True, "return_state": True, "go_backwards": backwards}
    theirs = keras.layers.GRU(6, reset_after=False, **options)
    products, ours = keras.layers.Dense(18), GatedRNN(GatedCell(6), **options)
    theirs(x), ours(products(x))
    kernel, recurrent, bias = (rng.normal(size=w.shape) for w in theirs.weights)
    theirs.set_weights([kernel, recurrent, bias])
    products.set_weights([kernel, bias])
    ours.set_weights([recurrent[:, :12], recurrent[:, 12:]])

    def learn(layer, inputs, training):
        with tf.GradientTape() as tape:
            tape.watch(state_tensor)
            outputs, last = layer(inputs(), initial_state=state_tensor, mask=mask, training=training)
            loss = tf.reduce_sum(outputs**2) + tf.reduce_sum(tf.sin(last))
        return outputs, last, tape.gradient(loss, [*layer.trainable_weights, state_tensor])

    state_tensor = tf.constant(state)
    if compiled is not None:
        learn = tf.function(learn, jit_compile=compiled)
    expected, expected_last, (_, expected_recurrent, _, expected_state) = learn(theirs, lambda: x, True)
    for training in (True, False):
        outputs, last, (gates, proposal, state_gradient) = learn(ours, lambda: products(x), training)
        np.testing.assert_allclose(outputs, expected, atol=1e-5)
        np.testing.assert_allclose(last, expected_last, atol=1e-5)
        np.testing.assert_allclose(np.hstack([gates, proposal]), expected_recurrent, atol=1e-4)
        np.testing.assert_allclose(state_gradient, expected_state, atol=1e-4)
    assert GatedRNN.from_config(ours.get_config()).cell.units == 6

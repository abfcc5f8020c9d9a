"""Sequence-to-sequence graphs: counts, attention, padding, and one step against the paper's equations in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from zoo.errors import UsageError
from zoo.layers.loop_kernels import LoopKernels
from zoo.registry import describe

SMALL = {
    "source_vocabulary": 20,
    "target_vocabulary": 25,
    "embedding": 6,
    "units": 8,
    "maxout": 5,
    "alignment": 7,
}
NAMES = ("seq2seq", "seq2seq_luong", "seq2seq_no_attention", "seq2seq_sutskever")


def small(name, **changes):
    """A small model with random weights of order 1."""
    sizes = {**SMALL, **changes}
    if name == "seq2seq_sutskever":
        sizes = {key: value for key, value in sizes.items() if key not in ("maxout", "alignment")}
    model = zoo.build(name, **sizes)
    rng = np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape) * 0.5)
    return model


SOURCE = np.array([[3, 4, 5, 0], [7, 8, 9, 2]], np.int32)
TARGET = np.array([[1, 2, 3], [4, 5, 6]], np.int32)


def test_the_papers_count():
    model = zoo.build("seq2seq")
    weights = sum(int(np.prod(weight.shape)) for weight in model.weights if weight.name != "bias")
    assert weights == 80_401_000 and model.count_params() == describe("seq2seq").parameters == 80_442_000


def test_the_count_of_the_deep_lstms():
    # The whole net takes 1.5 GB; its vocabularies are rows of a thousand numbers, and the words' biases.
    model = zoo.build("seq2seq_sutskever", source_vocabulary=1, target_vocabulary=1)
    weights = sum(int(np.prod(w.shape)) for w in model.weights if w.name != "bias")
    assert weights + 159_999 * 1000 + 79_999 * 2000 == 384_000_000
    biases = 8 * 4000 + 80_000
    card = describe("seq2seq_sutskever")
    assert card.parameters == card.trainable == 384_000_000 + biases
    assert model.count_params() == card.parameters - 159_999 * 1000 - 79_999 * 2001
    assert card.macs == 64_000_000 + 80_000 * 1000


@pytest.mark.parametrize("name", NAMES[1:3])
def test_the_other_counts_are_the_cards(name):
    assert zoo.build(name).count_params() == describe(name).parameters == describe(name).trainable


@pytest.mark.parametrize("name", NAMES)
def test_initial_weights_follow_the_paper(name):
    model = zoo.build(name, source_vocabulary=50, target_vocabulary=50, embedding=30, units=40)
    for weight in model.weights:
        values = weight.numpy()
        if name in ("seq2seq_luong", "seq2seq_sutskever"):
            bound = 0.1 if name == "seq2seq_luong" else 0.08
            if weight.name != "bias":
                assert 0.95 * bound < np.abs(values).max() <= bound, weight.path
        elif "/cell/" in weight.path:  # side by side, each orthogonal
            for square in np.split(values, values.shape[1] // values.shape[0], axis=1):
                np.testing.assert_allclose(square @ square.T, np.eye(len(square)), atol=1e-5, err_msg=weight.path)
        elif weight.name in ("kernel", "embeddings"):
            aligned = any(part in weight.path for part in ("query", "decoder/key"))
            deviation = 0.0 if "score" in weight.path else 0.001 if aligned else 0.01
            assert values.std() == pytest.approx(deviation, rel=0.1), weight.path


def test_macs_are_those_of_one_word_on_each_side():
    e, h, a, m, v = 620, 1000, 1000, 500, 30_000
    encoder = 2 * 3 * h * (e + h)
    aligned = 2 * h * a + h * a + a
    output = (h + e + 2 * h) * 2 * m + m * v
    decoder = 3 * h * (e + 2 * h + h)
    assert describe("seq2seq").macs == encoder + aligned + decoder + output
    assert describe("seq2seq_no_attention").macs == encoder + decoder + output
    assert describe("seq2seq_luong").macs == encoder + 2 * h * h + 3 * h * (e + 2 * h) + 3 * h * h + h * v


@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_nothing_and_every_weight_learns(name):
    model = small(name)
    outputs = model({"source": SOURCE, "target": TARGET})
    assert outputs["logits"].shape == (2, 3, 25) and outputs["attention"].shape == (2, 3, 4)
    np.testing.assert_allclose(outputs["attention"].numpy().sum(-1), 1, rtol=1e-5)
    assert (outputs["attention"].numpy()[0, :, 3] == 0).all()
    longer = model({"source": np.pad(SOURCE, [(0, 0), (0, 2)]), "target": TARGET})
    np.testing.assert_allclose(longer["logits"], outputs["logits"], atol=1e-6)
    alone = model({"source": SOURCE[:1, :3], "target": TARGET[:1, :2]})  # no word sees those after it
    np.testing.assert_allclose(alone["logits"], outputs["logits"][:1, :2], atol=1e-6)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model({"source": SOURCE, "target": TARGET})["logits"] ** 2)
    for weight, gradient in zip(model.trainable_variables, tape.gradient(loss, model.trainable_variables), strict=True):
        values = tf.convert_to_tensor(gradient).numpy()
        assert np.isfinite(values).all() and np.abs(values).max() > 0, weight.path


@pytest.mark.parametrize("name", NAMES)
def test_step_by_step_decoding_is_the_same(name):
    model = small(name)
    decoder = model.get_layer("decoder")
    words, annotations, real, state = keras.Model(model.input, decoder.input)({"source": SOURCE, "target": TARGET})
    outputs, attention, last = decoder(words, annotations, real, state)
    keys = decoder.keys(annotations, real)
    for position in range(3):
        output, looked, state = decoder.step(words[:, position], state, keys, annotations, real)
        np.testing.assert_allclose(output, outputs[:, position], atol=1e-5)
        np.testing.assert_allclose(looked, attention[:, position], atol=1e-5)
    np.testing.assert_allclose(state, last, atol=1e-5)


@pytest.mark.parametrize("compiled", [None, False, True])
@pytest.mark.parametrize("name", ["seq2seq", "seq2seq_luong", "seq2seq_no_attention"])
def test_gradients_after_the_loop_are_those_of_its_steps(name, compiled, monkeypatch):
    model = small(name)

    def gradients():
        with tf.GradientTape() as tape:
            logits = model({"source": SOURCE, "target": TARGET}, training=True)["logits"]
            loss = tf.reduce_sum(logits**2)
        return [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, model.trainable_variables)]

    def once():
        return (gradients if compiled is None else tf.function(gradients, jit_compile=compiled))()

    found = once()
    monkeypatch.setattr(LoopKernels, "carry", lambda self, x: x)
    monkeypatch.setattr(LoopKernels, "__getitem__", lambda self, name: self.kernels[name])
    for weight, ours, expected in zip(model.trainable_variables, found, once(), strict=True):
        largest = np.abs(expected).max()
        np.testing.assert_allclose(ours, expected, atol=1e-5 * largest, err_msg=weight.path)


def test_the_deep_lstms_read_the_text_in_reverse():
    model = small("seq2seq_sutskever", layers=2)
    value = {weight.path: weight.numpy() for weight in model.weights}

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    def run(inputs, path, h, c):
        outputs = []
        for x in inputs:
            gates = x @ value[f"{path}/kernel"] + h @ value[f"{path}/recurrent_kernel"] + value[f"{path}/bias"]
            i, f, g, o = np.split(gates, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            outputs.append(h)
        return outputs, h, c

    zero = np.zeros(8)
    x = value["source_embedding/embeddings"][SOURCE[0, :3]][::-1]
    x, *first = run(x, "encoder1/lstm_cell", zero, zero)
    x, *second = run(x, "encoder2/lstm_cell", zero, zero)
    y = value["target_embedding/embeddings"][TARGET[0]]
    y, *_ = run(y, "decoder/lstm1/lstm_cell", *first)
    y, *_ = run(y, "decoder/lstm2/lstm_cell", *second)
    logits = np.array(y) @ value["words/kernel"] + value["words/bias"]
    got = model({"source": SOURCE, "target": TARGET})["logits"][0]
    np.testing.assert_allclose(got, logits, rtol=1e-3, atol=1e-4)


def test_the_first_step_follows_the_papers_appendix():
    model = small("seq2seq")
    value = {weight.path: weight.numpy() for weight in model.weights}

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    def gated(products, s, prefix):
        """Appendix A.1.1 in Keras's sense of the update gate: s' = z·s + (1 − z)·s̃."""
        x_z, x_r, x_s = np.split(products, 3)
        u_z, u_r = np.split(s @ value[f"{prefix}/gates"], 2)
        z, r = sigmoid(x_z + u_z), sigmoid(x_r + u_r)
        proposed = np.tanh(x_s + (r * s) @ value[f"{prefix}/proposal"])
        return z * s + (1 - z) * proposed

    def entering(x, name):
        return x @ value[f"{name}/kernel"] + value[f"{name}/bias"]

    words = value["source_embedding/embeddings"][SOURCE[1]]
    forward, backward, s, t = [], [], np.zeros(8), np.zeros(8)
    for x in words:
        s = gated(entering(x, "encoder_forward_input"), s, "encoder_forward/cell")
        forward.append(s)
    for x in words[::-1]:
        t = gated(entering(x, "encoder_backward_input"), t, "encoder_backward/cell")
        backward.insert(0, t)
    h = np.concatenate([forward, backward], axis=1)
    s = np.tanh(backward[0] @ value["first_state/kernel"] + value["first_state/bias"])
    for position in range(2):
        y = value["target_embedding/embeddings"][TARGET[1, position]]
        energies = np.tanh(s @ value["decoder/query/kernel"] + h @ value["decoder/key/kernel"])
        energies = (energies @ value["decoder/score/kernel"])[:, 0]
        attention = np.exp(energies) / np.exp(energies).sum()
        context = attention @ h
        deep = np.concatenate([s, context, y]) @ value["deep_output/kernel"] + value["deep_output/bias"]
        logits = deep.reshape(-1, 2).max(-1) @ value["words/kernel"] + value["words/bias"]
        outputs = model({"source": SOURCE, "target": TARGET})
        np.testing.assert_allclose(outputs["attention"][1, position], attention, rtol=1e-4)
        np.testing.assert_allclose(outputs["logits"][1, position], logits, rtol=1e-3, atol=1e-4)
        s = gated(entering(y, "decoder/word") + context @ value["decoder/context/kernel"], s, "decoder/cell")


def test_initial_weights_are_those_of_the_paper():
    model = zoo.build("seq2seq", **{**SMALL, "units": 200, "alignment": 300})
    value = {weight.path: weight.numpy() for weight in model.weights}
    assert value["decoder/query/kernel"].std() == pytest.approx(0.001, rel=0.05)
    assert (value["decoder/score/kernel"] == 0).all()
    assert value["encoder_forward_input/kernel"].std() == pytest.approx(0.01, rel=0.1)
    for cell in ("encoder_forward/cell", "encoder_backward/cell", "decoder/cell"):
        matrices = [*np.split(value[f"{cell}/gates"], 2, axis=1), value[f"{cell}/proposal"]]
        for matrix in matrices:  # each by itself
            np.testing.assert_allclose(matrix @ matrix.T, np.eye(200), atol=1e-4)
        assert np.abs(matrices[0] - matrices[1]).max() > 0.1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"attention": "loung"}, "attention is 'loung'; it may be"),
        ({"units": 0}, "units is 0"),
        ({"maxout": -1}, "maxout"),
    ],
)
def test_invalid_arguments_are_named(changes, said):
    with pytest.raises(UsageError, match=said):
        zoo.build("seq2seq", **{**SMALL, **changes})


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_model_gives_the_same_outputs(name, tmp_path):
    model = small(name)
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    inputs = {"source": SOURCE, "target": TARGET}
    np.testing.assert_allclose(again(inputs)["logits"], model(inputs)["logits"], atol=1e-6)

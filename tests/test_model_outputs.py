"""Probabilities and feature maps instead of logits."""

import keras
import numpy as np
import pytest

import zoo
from zoo.errors import UsageError
from zoo.models.outputs import with_activation, with_features

IMAGES = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")


def softmax(logits):
    e = np.exp(logits - np.max(logits, -1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_softmax_of_the_logits():
    model = zoo.build("resnet20")
    probabilities = with_activation(model, "softmax")
    assert probabilities.layers[-1].name == "predictions" and probabilities.name == model.name
    np.testing.assert_allclose(probabilities(IMAGES), softmax(np.asarray(model(IMAGES))), rtol=1e-5, atol=1e-7)
    assert [w.path for w in probabilities.weights] == [w.path for w in model.weights]
    model.get_layer("fc").bias.assign(np.arange(10.0))  # weights are shared
    np.testing.assert_allclose(probabilities(IMAGES), softmax(np.asarray(model(IMAGES))), rtol=1e-5, atol=1e-7)


def test_probabilities_of_a_half_precision_model_are_float32():
    model = zoo.build("mlp", hidden=(4,), dtype="mixed_float16")
    assert model.output.dtype == "float16"
    assert with_activation(model, "softmax").output.dtype == "float32"
    assert with_activation(zoo.build("mlp", hidden=(4,), dtype="float64"), "softmax").output.dtype == "float64"


def test_a_dictionary_keeps_its_other_outputs():
    model = zoo.build("char_rnn", units=4, vocabulary_size=5)
    inputs = {"tokens": np.array([[1, 2, 3]])}
    inputs |= {name: np.zeros((1, 4), "float32") for name in model.input if name != "tokens"}
    plain, found = model(inputs), with_activation(model, "softmax")(inputs)
    assert sorted(found) == sorted({*plain, "predictions"} - {"logits"})
    np.testing.assert_allclose(found["predictions"], softmax(np.asarray(plain["logits"])), rtol=1e-5)
    np.testing.assert_array_equal(found["state2_c"], plain["state2_c"])


@pytest.mark.parametrize(
    ("model", "arguments", "activation", "message"),
    [
        ("mlp", {}, "sofmax", "classifier_activation is 'sofmax', which Keras does not know"),
        ("resnet20", {"include_top": False}, "softmax", r"needs logits; the model has an output of shape .*8, 8, 64"),
    ],
)
def test_models_that_cannot_have_an_activation(model, arguments, activation, message):
    with pytest.raises(UsageError, match=message) as caught:
        with_activation(zoo.build(model, **arguments), activation)
    assert "\n" not in str(caught.value) and model in str(caught.value)


def test_an_activation_needs_logits_among_several_outputs():
    model = with_features(zoo.build("mlp", hidden=(4, 3)), ("hidden1", "hidden2"))
    with pytest.raises(UsageError, match="needs logits; the model has .'hidden1', 'hidden2'."):
        with_activation(model, "softmax")


def test_feature_maps_are_the_layers_outputs():
    model = zoo.build("resnet20")
    features = with_features(model, ("conv2_3_out", "conv4_3_out"))
    assert {name: tensor.shape[1:] for name, tensor in features.output.items()} == {
        "conv2_3_out": (32, 32, 16),
        "conv4_3_out": (8, 8, 64),
    }
    maps = features(IMAGES)
    head = keras.Model(model.get_layer("conv4_3_out").output, model.output)
    np.testing.assert_allclose(head(maps["conv4_3_out"]), model(IMAGES), rtol=1e-5, atol=1e-6)
    assert "fc" not in [layer.name for layer in features.layers]  # not needed for these
    assert {id(w) for w in features.weights} < {id(w) for w in model.weights}


def test_features_of_one_name_and_of_a_model_with_several_inputs():
    assert list(with_features(zoo.build("lenet5_modern"), "F6").output) == ["F6"]
    model = zoo.build("char_rnn", units=4, vocabulary_size=5)
    outputs, h, c = with_features(model, ["rnn1"]).output["rnn1"]
    assert (outputs.shape, h.shape, c.shape) == ((None, None, 4), (None, 4), (None, 4))


def test_a_features_model_can_be_saved_and_loaded(tmp_path):
    features = with_features(zoo.build("resnet20"), ["conv3_3_out"])
    features.save(tmp_path / "features.keras")
    again = keras.models.load_model(tmp_path / "features.keras")
    np.testing.assert_array_equal(again(IMAGES)["conv3_3_out"], features(IMAGES)["conv3_3_out"])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("conv2_3_ouf",), r"resnet20 has no layer 'conv2_3_ouf'\. Did you mean 'conv2_3_out'"),
        ((), "name at least one layer"),
        (("conv1", "conv1"), "each only once"),
        ((3,), "features is .3,.; it must be names of layers"),
    ],
)
def test_wrong_feature_names(names, message):
    with pytest.raises(UsageError, match=message) as caught:
        with_features(zoo.build("resnet20"), names)
    assert "\n" not in str(caught.value)


def test_logits_are_decoded_to_names_and_probabilities():
    model, images = zoo.build("lenet5_modern", pretrained=True), np.zeros((2, 32, 32, 1), np.float32)
    logits = np.asarray(model(images))
    (first, second) = zoo.decode(model(images), "lenet5_modern", top=3)
    assert first == second and [name for name, _ in first] == [str(k) for k in np.argsort(-logits[0])[:3]]
    np.testing.assert_allclose([value for _, value in first], np.sort(softmax(logits[0]))[::-1][:3], rtol=1e-5)
    assert zoo.decode(logits[0], "lenet5_modern", "mnist", top=20) == zoo.decode(logits[:1], "lenet5_modern", top=10)
    scores = np.array([0.5, -3.0, 2.5, *[-9.0] * 7])
    assert zoo.decode(scores, "perceptron", top=2) == [[("2", 2.5), ("0", 0.5)]]


def test_what_cannot_be_decoded_is_refused():
    with pytest.raises(UsageError, match=r"shape \(2, 9\); it must be \(N, 10\)"):
        zoo.decode(np.zeros((2, 9)), "lenet5")
    with pytest.raises(UsageError, match="no pretrained weights"):
        zoo.decode(np.zeros(10), "mlp_nielsen")
    with pytest.raises(UsageError, match="top is 0"):
        zoo.decode(np.zeros(10), "lenet5", top=0)
    with pytest.raises(UsageError, match="no classes to name"):
        zoo.decode(np.zeros(10), "char_rnn")
    with pytest.raises(UsageError, match="the logits are not finite in row 1"):
        zoo.decode([[0.0] * 10, [np.nan] * 10], "lenet5")
    with pytest.raises(UsageError, match="the logits are a str; give numbers"):
        zoo.decode("seven", "lenet5")
    with pytest.raises(UsageError, match="weights is None; it must be a tag"):
        zoo.decode(np.zeros(10), "lenet5", None)

"""`zoo.export`: models that were trained without a run."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from zoo.exports import check_script, read
from zoo.tasks.table import load_predictor


@pytest.fixture(scope="module")
def trained(digits):
    """Softmax regression on the digits with plain Keras, its pixels divided by 255."""
    keras.utils.set_random_seed(0)
    model = zoo.build("softmax_regression", input_shape=(8, 8, 1), classifier_activation="softmax")
    model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    model.fit(digits.train.pictures / 255.0, digits.train.labels, batch_size=50, epochs=3, verbose=0)
    return model


def test_the_export_is_that_of_a_run(trained, small_recipe, digits, tmp_path):
    base = tmp_path / "mine"
    folder = zoo.export(trained, small_recipe(), base)  # loaded in a fresh process, too
    assert folder == base / "1" == read.find(base)
    own = trained.predict(digits.test.pictures / 255.0, verbose=0)
    answer = tf.saved_model.load(str(folder)).signatures["serving_default"](images=digits.test.pictures)
    np.testing.assert_allclose(answer["probabilities"], own, atol=1e-6)
    card = read.read_card(folder)
    assert card["metrics"]["test_accuracy"] == np.mean(own.argmax(-1) == digits.test.labels) > 0.7
    assert load_predictor(folder).evaluate()["test_accuracy"] == card["metrics"]["test_accuracy"]
    again = zoo.build("softmax_regression", weights=folder)
    np.testing.assert_array_equal(again.weights[0], trained.weights[0])
    assert zoo.export(trained, small_recipe(), base, check=False) == base / "2"


@pytest.mark.parametrize(
    ("ours", "theirs"), [([b"a", b"bc"], [b"a", b"b"]), ([1, 2], [1.0, 2.0])], ids=["text", "type"]
)
def test_an_answer_that_differs_is_found(ours, theirs, tmp_path):
    class Answers(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "x")])
        def answer(self, x):
            return {"y": tf.constant(ours)}

    module = Answers()
    tf.saved_model.save(module, str(tmp_path / "export"), {"serving_default": module.answer})
    for expected, status in ((ours, 0), (theirs, 1)):
        array = np.array(expected)
        np.savez(
            tmp_path / "answers.npz",
            **{"in:x": np.zeros(1, np.int32), "out:y": array.astype(array.dtype.str.replace("i8", "i4"))},
        )
        assert check_script.main(str(tmp_path / "export"), str(tmp_path / "answers.npz")) == status


def test_a_model_that_answers_nan_is_not_exported(small_recipe, tmp_path):
    model = zoo.build("softmax_regression", input_shape=(8, 8, 1))
    model.set_weights([np.full_like(values, np.nan) for values in model.get_weights()])
    with pytest.raises(zoo.ZooError, match="The probabilities of the trained model are NaN; nothing was exported"):
        zoo.export(model, small_recipe(), tmp_path / "m")
    assert not list((tmp_path / "m").iterdir())
    for arguments in ((None, small_recipe()), (model, 5)):
        with pytest.raises(zoo.UsageError, match="export takes a keras.Model and a recipe"):
            zoo.export(*arguments, tmp_path / "m")


def test_a_model_that_is_not_the_recipes_is_refused(trained, small_recipe, tmp_path):
    deeper = zoo.build("mlp", input_shape=(8, 8, 1), hidden=(5,))
    with pytest.raises(zoo.UsageError, match="mlp has the weight 'hidden1/kernel', which softmax_regression does not"):
        zoo.export(deeper, small_recipe(), tmp_path / "m")
    hidden = small_recipe(model="mlp", model_args={"input_shape": (8, 8, 1), "hidden": (6,)})
    with pytest.raises(
        zoo.UsageError, match=r"hidden1/kernel has shape \(64, 5\), and mlp for this recipe has \(64, 6"
    ):
        zoo.export(deeper, hidden, tmp_path / "m")
    with pytest.raises(zoo.UsageError, match="softmax_regression has no weight 'hidden1/kernel', as mlp has"):
        zoo.export(trained, hidden, tmp_path / "m")
    assert not (tmp_path / "m").exists()

"""Images that are given in Python instead of by the name of a data set."""

import numpy as np
import pytest
import tensorflow as tf

import zoo
from conftest import run
from zoo.data.arrays import array_splits
from zoo.data.images import load_images
from zoo.data.views import whole
from zoo.exports import read
from zoo.tasks.table import load_predictor

VIEWS = dict.fromkeys(("train", "validation", "test"), whole((8, 8, 1)))


@pytest.fixture
def data(digits):
    """The digits as arrays, without the axis of the channels."""
    return {name: (split.pictures[..., 0], split.labels) for name, split in digits.present.items()}


def test_a_run_on_arrays_is_that_on_the_data_set(small_recipe, data, tmp_path):
    by_name = run(small_recipe(), run_dir=tmp_path / "name")
    arrays = run(small_recipe(), run_dir=tmp_path / "arrays", data=data)
    for ours, theirs in zip(arrays.model.weights, by_name.model.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert dict(arrays.metrics) == dict(by_name.metrics)
    assert read.read_recipe(arrays.export)["dataset"] == "arrays"
    with pytest.raises(zoo.UsageError, match="given in Python.*name another --dataset"):
        load_predictor(arrays.export).evaluate()
    assert load_predictor(arrays.export).evaluate("digits")["test_accuracy"] == by_name.metrics["test_accuracy"]
    images, labels = data["train"]
    for _ in ("finished", "stopped"):
        with pytest.raises(zoo.ZooError, match=r"data of .* changed.*in Python run_dir=…, restart=True"):
            run(small_recipe(), run_dir=tmp_path / "arrays", data={**data, "train": (images, labels[::-1])})
        (tmp_path / "arrays" / "result.json").unlink(missing_ok=True)


def test_the_classes_of_arrays_are_counted_and_those_of_a_known_set_named():
    images, labels = np.zeros((6, 8, 8, 1), np.uint8), np.array([0, 0, 0, 1, 1, 2])
    own = load_images("arrays", whole((8, 8, 1)), given={"train": (images, labels), "test": (images[:1], labels[:1])})
    assert own.found.splitlines()[1:] == ["  0: 3 train, 1 test", "  1: 2 train, 0 test", "  2: 1 train, 0 test"]
    known = load_images("digits", whole((8, 8, 1)))
    assert known.found.splitlines()[1:] == ["  classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"]


@pytest.mark.parametrize("batched", [False, True])
def test_a_tf_data_set_is_read_like_its_arrays(data, batched):
    given = {name: tf.data.Dataset.from_tensor_slices(pair) for name, pair in data.items()}
    given = {name: part.batch(100) for name, part in given.items()} if batched else given
    read_, expected = array_splits(given, VIEWS), array_splits(data, VIEWS)
    assert read_.fingerprint == expected.fingerprint and read_.classes == tuple("0123456789")
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(read_, name).pictures, getattr(expected, name).pictures)
        np.testing.assert_array_equal(getattr(read_, name).labels, getattr(expected, name).labels)


def test_labels_may_be_names_and_colours_are_converted():
    colour = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)
    splits = array_splits({"train": (colour, ["dog", "cat"]), "test": (colour[:1], np.array([b"cat"]))}, VIEWS)
    assert splits.classes == ("cat", "dog") and splits.train.labels.tolist() == [1, 0]
    np.testing.assert_array_equal(splits.train.pictures, tf.image.rgb_to_grayscale(colour))
    named = array_splits({"train": (colour, [1, 0]), "classes": ["a", "b", "c"]}, VIEWS)
    assert named.classes == ("a", "b", "c") and named.test is None
    assert array_splits({"train": (colour, [1, 0]), "classes": [b"a", 7]}, VIEWS).classes == ("a", "7")


def test_names_are_compared_in_nfc_and_copies_are_warned_of(data):
    images, _ = data["train"]
    given = {"train": (images[:4], ["é", "e\u0301", "f", "f"]), "test": (images[3:6], ["f", "é", "f"])}
    splits = array_splits(given, VIEWS)
    assert splits.classes == ("f", "é") and splits.train.labels.tolist() == [1, 1, 0, 0]
    assert splits.warnings == ("1 of 3 test images are in the training split, too",)


def test_fine_tuning_takes_arrays(small_recipe, data, tmp_path):
    export = run(small_recipe(), run_dir=tmp_path / "parent").export
    images, labels = data["train"]
    few = {"train": (images[labels < 3], labels[labels < 3]), "classes": ["zero", "one", "two"]}
    settings = {"epochs": 1, "limit_steps": 2, "validation_examples": 20}
    result = zoo.finetune(export, data=few, options={"run_dir": tmp_path / "run", "check_export": False}, **settings)
    assert read.read_card(result.export)["labels"] == ["zero", "one", "two"]
    with pytest.raises(zoo.UsageError, match="dataset or data, not both"):
        zoo.finetune(export, data=few, dataset="digits")
    other = {**few, "train": (few["train"][0], few["train"][1][::-1])}
    with pytest.raises(zoo.ZooError, match=r"data of .* changed.*in Python run_dir=…, restart=True"):
        zoo.finetune(export, data=other, options={"run_dir": tmp_path / "run", "check_export": False}, **settings)


def test_distillation_takes_arrays(small_recipe, data, tmp_path):
    teacher = run(small_recipe(limit_steps=2), run_dir=tmp_path / "parent").export
    images, labels = data["train"]
    settings = {"student": "softmax_regression", "epochs": 1, "limit_steps": 2}
    options = {"run_dir": tmp_path / "run", "check_export": False}
    for _ in ("trained", "finished"):
        result = zoo.distill(teacher, options={"data": data, **options}, **settings)
    assert result.model is None
    with pytest.raises(zoo.ZooError, match=r"data of .* changed.*in Python run_dir=…, restart=True"):
        zoo.distill(teacher, options={"data": {**data, "train": (images, labels[::-1])}, **options}, **settings)


IMAGES = np.zeros((4, 8, 8, 1), np.uint8)


def of_generator(*examples, image, label):
    signature = (tf.TensorSpec(image, tf.uint8), tf.TensorSpec(label, tf.int64))
    return {"train": tf.data.Dataset.from_generator(lambda: iter(examples), output_signature=signature)}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"test": (IMAGES, [0] * 4)}, "no 'train'"),
        ({"train": (IMAGES, [0] * 4), "dev": None}, "the key 'dev'"),
        ({"train": IMAGES}, "must be a pair"),
        ({"train": (IMAGES / 255, [0] * 4)}, "are float64; they must be uint8"),
        ({"train": (IMAGES, [0] * 3)}, r"shape \(4, 8, 8, 1\) and labels \(3,\)"),
        ({"train": (IMAGES[:0], [])}, "at least 1"),
        ({"train": (IMAGES, [0, 1, -1, 0])}, "class ids from 0 on"),
        ({"train": (IMAGES, [0.5] * 4)}, "class ids from 0 on"),
        ({"train": (IMAGES, [0, 1, 2, 3]), "classes": ["a", "b"]}, "2 classes, and a label is 3"),
        ({"train": (IMAGES, ["a", "b", "c", "a"]), "classes": ["a", "b"]}, "label 'c' is not among"),
        ({"train": (IMAGES, ["a"] * 4), "test": (IMAGES, [0] * 4)}, "names and those of another class ids"),
        ({"train": (IMAGES, [0, 1, 0, 1]), "classes": {0: "a", 1: "b"}}, "classes'. is a dict; give a list"),
        ({"train": (IMAGES, [0, 1, 0, 1]), "classes": "ab"}, "classes'. is a str; give a list"),
        ({"train": (IMAGES, [0] * 4)}, "one class, '0'; there must be two"),
        ({"train": tf.data.Dataset.from_tensors((IMAGES[0], 1)).repeat()}, "must be a finite"),
        ((IMAGES, [0] * 4), "data is a tuple; it must be a dictionary"),
        (5, "data is a int; it must be a dictionary"),
        ({"train": None}, "no 'train'"),
        ({"train": (IMAGES, [0, 1, 0, 1]), "classes": {"a", "b"}}, "classes'. is a set; give a list"),
        ({"train": (IMAGES, [0, 1, 0, 1]), "classes": 5}, "classes'. is a int; give a list"),
        ({"train": (IMAGES, [0, 1, 0, 1]), "classes": ["a", None]}, "classes'. has None; each class needs a name"),
        ({"train": (IMAGES, [0, 1, 0, 1]), "classes": ["a", "a"]}, "classes'. has 'a' twice"),
        ({"train": (IMAGES, [0, 1, 0, 1]), "classes": ["a", " "]}, "classes'. has ' '; each class needs a name"),
        ({"train": (IMAGES, [0, 1, 0, 1]), "classes": ["a", ["b"]]}, "classes'. has .'b'.; each class needs a name"),
        ({"train": (IMAGES, np.eye(4))}, "one-hot labels take the argmax"),
        ({"train": ([IMAGES[0], IMAGES[0, :4]], [0, 1])}, "no pair of arrays .*resize the images to one size"),
        ({"train": tf.data.Dataset.from_tensor_slices((IMAGES, np.eye(4))).batch(2)}, "one-hot labels take the argmax"),
        ({"train": tf.data.Dataset.from_tensor_slices((IMAGES, np.eye(4)))}, "one-hot labels take the argmax"),
        # As many classes as an image has rows: such a pair could be taken for a batch without channels.
        ({"train": tf.data.Dataset.from_tensor_slices((IMAGES, np.eye(8, dtype=int)[:4]))}, "one-hot labels take"),
        ({"train": tf.data.Dataset.from_tensor_slices((IMAGES, {"label": [0, 1, 0, 1]}))}, "must be a finite"),
        (of_generator((IMAGES, [0, 1, 0, 1]), image=None, label=None), "unknown shape; give .* an output_signature"),
        (of_generator((IMAGES[0], [1, 0]), image=(None, None, 1), label=(None,)), "one-hot labels take the argmax"),
        (of_generator((IMAGES[0], [1, 0]), image=None, label=(None,)), "cannot be read.*one-hot labels take"),
    ],
)
def test_what_cannot_be_read_is_refused(given, message):
    with pytest.raises(zoo.UsageError, match=message):
        array_splits(given, VIEWS)


def test_a_run_refuses_what_it_cannot_use(small_recipe, data, tmp_path):
    with pytest.raises(zoo.UsageError, match="neither 'validation' nor 'test'"):
        run(small_recipe(), run_dir=tmp_path / "run", data={"train": data["train"]})
    text = zoo.LanguageModelRecipe(
        name="t", model="char_rnn", dataset="python_docs", epochs=1, batch_size=2, learning_rate=0.1
    )
    with pytest.raises(zoo.UsageError, match="language_modelling takes no data="):
        run(text, run_dir=tmp_path / "run", data=data)
    assert not (tmp_path / "run").exists()

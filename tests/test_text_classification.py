"""Text classification: the graph, data, and exports."""

import json
import os
from pathlib import Path

import babel
import numpy as np
import pytest
import tensorflow as tf

import zoo
from conftest import run
from zoo.data.labelled import load_labelled
from zoo.errors import UsageError, ZooError
from zoo.registry import describe
from zoo.tasks.answers import format_classes
from zoo.tasks.text_classification.recipe import TextClassificationRecipe as TextRecipe

SIZES = {"units": 8, "character_units": 4, "character_embedding": 4, "word_embedding": 8}


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    path = tmp_path_factory.mktemp("reviews") / "reviews.tsv"
    rng = np.random.default_rng(0)
    lines = []
    for _ in range(400):
        label = rng.choice(["bad", "good"])
        word = {"bad": ("dull", "awful", "scheußlich"), "good": ("great", "moving", "schön")}[label][rng.integers(3)]
        filler = " ".join(rng.choice(["the", "film", "was", "and", "so"], rng.integers(1, 12)))
        lines.append(f"{filler} {word}, {filler}.\t{label}\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path


def make_recipe(reviews, **changes):
    values = {
        "name": "r",
        "model": "bilstm_classifier",
        "model_args": SIZES,
        "dataset": f"tsv:{reviews}",
        "validation_examples": 40,
        "epochs": 6,
        "batch_size": 16,
        "optimizer": "adam",
        "learning_rate": 0.02,
    }
    return TextRecipe(**{**values, **changes})


@pytest.fixture(scope="module")
def trained(reviews, tmp_path_factory):
    return run(make_recipe(reviews), run_dir=tmp_path_factory.mktemp("texts") / "run")


@pytest.fixture(scope="module")
def label(trained):
    return tf.saved_model.load(str(trained.export)).signatures["serving_default"]


def test_counts():
    model = zoo.build("bilstm_classifier")
    tagger = describe("bilstm_tagger")
    assert model.count_params() == describe("bilstm_classifier").parameters == tagger.parameters - 15 * 201
    assert describe("bilstm_classifier").macs == tagger.macs - 15 * 200
    with pytest.raises(UsageError, match="num_classes is 0"):
        zoo.build("bilstm_classifier", num_classes=0)


def test_padding_changes_nothing_and_every_weight_learns():
    model = zoo.build("bilstm_classifier", word_vocabulary=30, character_vocabulary=20, **SIZES)
    rng = np.random.default_rng(0)
    words, characters = rng.integers(1, 30, (2, 5)).astype(np.int32), rng.integers(1, 20, (2, 5, 7)).astype(np.int32)
    logits = model({"words": words, "characters": characters}).numpy()
    padded = {"words": np.pad(words, [(0, 0), (0, 3)]), "characters": np.pad(characters, [(0, 0), (0, 3), (0, 2)])}
    np.testing.assert_allclose(model(padded).numpy(), logits, atol=1e-5)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model({"words": words, "characters": characters}) ** 2)
    for weight, gradient in zip(model.trainable_variables, tape.gradient(loss, model.trainable_variables), strict=True):
        assert np.abs(tf.convert_to_tensor(gradient).numpy()).max() > 0, weight.path


def test_files_are_cut_by_content(reviews, tmp_path):
    data = load_labelled(f"tsv:{reviews}", validation_examples=40, seed=0)
    assert sum(len(part) for part in data.present.values()) == 400 and data.classes == ("bad", "good")
    assert 20 < len(data.test) < 60 and 40 <= len(data.validation) < 50
    other = load_labelled(f"tsv:{reviews}", validation_examples=0, seed=1)
    assert other.test == data.test and other.validation is None
    with pytest.raises(ZooError, match="too few with 400 for validation"):
        load_labelled(f"tsv:{reviews}", validation_examples=400, seed=0)
    (tmp_path / "a.tsv").write_text("good\n")
    with pytest.raises(ZooError, match="line 1: 1 column separated by tabs; a line is a text, a tab and its label"):
        load_labelled(f"tsv:{tmp_path / 'a.tsv'}", validation_examples=0, seed=0)
    with pytest.raises(UsageError, match="no labelled texts 'imdb_review'"):
        load_labelled("imdb_review", validation_examples=0, seed=0)
    with pytest.raises(UsageError, match="no labelled texts 'mnist'"):
        load_labelled("mnist", validation_examples=0, seed=0)


def test_names_of_cldr_need_no_network():
    data = load_labelled("cldr_names", validation_examples=2000, seed=0)
    assert data.classes == ("city", "currency", "language", "territory")
    source = f"Babel {babel.__version__}"
    assert data.fingerprint["source"] == source and f"from {source}" in data.found
    assert data == load_labelled("cldr_names", validation_examples=2000, seed=1)  # the seed does not cut it
    assert len(data.train) > 20_000 and 2000 <= len(data.validation) < 2100 and len(data.test) > 2500
    rows = {split: set(zip(part.texts, part.labels, strict=True)) for split, part in data.present.items()}
    everywhere = set().union(*rows.values())
    for name, kind in (("Německo", 3), ("евро", 1), ("ruotsi", 2), ("Виена", 0)):
        assert (name, kind) in everywhere, name
    # All names of a thing are in one split: those of Germany, in the languages where no other thing has them.
    holding = [split for split, found in rows.items() if ("Německo", 3) in found]
    assert [s for s, found in rows.items() if {("Saksa", 3), ("Tyskland", 3), ("Germania", 3)} & found] == holding


def test_a_trained_classifier_answers(trained, label):
    assert trained.metrics["test_accuracy"] > 0.95
    answer = label(text=tf.constant(["So great and so MOVING", "the film was scheußlich"]))
    assert answer["labels"].numpy().tolist() == [b"good", b"bad"] and answer["classes"].numpy().tolist() == [1, 0]
    alone = label(text=tf.constant(["the film was scheußlich"]))
    np.testing.assert_allclose(alone["probabilities"], answer["probabilities"][1:], atol=1e-6)


@pytest.mark.parametrize(
    "text",
    [b"", b"    ", b"\xff\xfe abc", "😀 é שלום".encode(), b"x" * 100_000, b"great " * 20_000],
    ids=["empty", "spaces", "invalid", "signs", "long-word", "many-words"],
)
def test_any_text_is_answered(label, text):
    answer = label(text=tf.constant([text, b"a great film"]))
    assert answer["labels"].numpy()[1] == b"good"
    np.testing.assert_allclose(answer["probabilities"].numpy().sum(-1), 1, rtol=1e-5)


def test_a_label_is_printed_on_one_line():
    answer = {"file": "a", "label": "b\nc\u2028", "class": 0, "probability": 0.5}
    assert format_classes(answer) == r"a: b\nc\u2028 (50.0%)"


def test_predict_and_evaluate_on_the_command_line(trained, reviews, capsys, tmp_path):
    from zoo.cli.commands import dispatch

    assert dispatch(["predict", str(trained.export), "--text", "so great"]) == 0
    assert capsys.readouterr().out.startswith("--text: good (")
    assert dispatch(["predict", str(trained.export), "--text", "so great", "--text", "so bad"]) == 0
    assert [line.partition(" (")[0] for line in capsys.readouterr().out.splitlines()] == [
        "--text 1: good",
        "--text 2: bad",
    ]
    assert dispatch(["predict", str(trained.export), "--text", "so great", "--top-k", "9", "--json"]) == 0
    top = json.loads(capsys.readouterr().out)["top"]
    assert [entry["label"] for entry in top] == ["good", "bad"] and top[0]["probability"] > top[1]["probability"]
    names = [f"{tmp_path}/a\nb.txt", os.fsdecode(f"{tmp_path}/caf".encode() + b"\xe9.txt")]
    for name in names:
        Path(name).write_text("so great")
    assert dispatch(["predict", str(trained.export), *names, "gone\n"]) == 1
    said = capsys.readouterr()
    assert [line.partition(": good (")[0] for line in said.out.splitlines()] == [
        f"{tmp_path}/a\\nb.txt",
        f"{tmp_path}/caf\\xe9.txt",
    ]
    assert said.err == "error: gone\\n: No such file or directory\n"
    dispatch(["predict", str(trained.export), *names, "--json"])
    assert [json.loads(line)["file"] for line in capsys.readouterr().out.splitlines()] == names
    Path(names[0]).write_text("so great\tgood\n" * 401)
    assert dispatch(["predict", str(trained.export), names[0]]) == 0
    warned = capsys.readouterr().err
    assert f"warning: {tmp_path}/a\\nb.txt has tabs; a whole file is one input, with all its columns" in warned
    assert f"warning: {tmp_path}/a\\nb.txt has 1,203 words, of which the first 400 are read" in warned
    with pytest.raises(UsageError, match="Standard input, -, is named twice"):
        dispatch(["predict", str(trained.export), "-", "-"])
    assert dispatch(["predict", str(trained.export), ""]) == 1
    assert "error: : The path is ''" in capsys.readouterr().err
    with pytest.raises(UsageError, match="--top-k is 0; it must be at least 1"):
        dispatch(["predict", str(trained.export), "--text", "so great", "--top-k", "0"])
    other = tmp_path / "other.tsv"
    other.write_text("".join(f"so great {i}\t{'GOOD' if i % 2 else 'bad'}\n" for i in range(30)))
    with pytest.raises(UsageError, match="has the class 'GOOD', which .* does not know; its classes are 'bad', 'good'"):
        dispatch(["evaluate", str(trained.export), "--dataset", f"tsv:{other}"])
    for dataset in ("", f"TSV:{other}", f"folder:{tmp_path}"):
        with pytest.raises(UsageError, match="own data for text_classification is tsv:FILE"):
            dispatch(["evaluate", str(trained.export), "--dataset", dataset])
    copy = tmp_path / "copy.tsv"
    rows = reviews.read_text().splitlines(keepends=True)
    for count, said in ((400, "is the data of the training, or was, and all of it is scored"), (100, "")):
        copy.write_text("".join(rows[:count]))
        assert dispatch(["evaluate", str(trained.export), "--dataset", f"tsv:{copy}"]) == 0
        errors = capsys.readouterr().err
        assert said in errors and f" of {count} test texts are in the training split, too" in errors
    assert dispatch(["evaluate", str(trained.export), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test_accuracy"] == pytest.approx(trained.metrics["test_accuracy"])

"""Fine-tuning of models of text: known words and characters keep their weights, new ones are added."""

import random
import re
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from conftest import check_resumption, run
from small_recipes import small_recipes
from zoo.tasks.table import create_task, load_predictor
from zoo.weights.exports import weight_keys
from zoo.weights.parent import Parent


@pytest.fixture(scope="module")
def parents(tmp_path_factory):
    """A small export of each task, by its name."""
    folder = tmp_path_factory.mktemp("parents")
    recipes = {name: recipe for name, recipe in small_recipes(folder).items() if name != "image"}
    rows = [f"{' '.join(random.Random(i).choices('abcdefg', k=4))}\t{'even' if i % 2 else 'odd'}\n" for i in range(200)]
    (folder / "texts.tsv").write_text("".join(rows))
    sizes = {"units": 6, "character_units": 4, "character_embedding": 4, "word_embedding": 8, "noise": 0.0}
    recipes["texts"] = zoo.TextClassificationRecipe(
        name="texts",
        model="bilstm_classifier",
        model_args=sizes,
        dataset=f"tsv:{folder / 'texts.tsv'}",
        epochs=1,
        batch_size=6,
        optimizer="adam",
        learning_rate=0.01,
    )
    exports = {}

    def export(name):
        if name not in exports:
            recipe = replace(recipes[name], limit_steps=3, epochs=1)
            exports[name] = run(recipe, run_dir=folder / f"run-{name}").export
        return exports[name]

    return export


def conllu(path, sentences):
    rows = ("\n".join(f"{i}\t{w}\t_\t{t}" + "\t_" * 6 for i, (w, t) in enumerate(s, 1)) for s in sentences)
    path.write_text("".join(f"{row}\n\n" for row in rows))
    return f"conllu:{path}"


def started(recipe):
    """The task of a recipe with its data, and its model with the parent's weights; and the parent's weights by path."""
    task = create_task(recipe)
    task.prepare()
    model = zoo.build(recipe.model, **{**recipe.model_args, **task.model_args()})
    fresh = {weight.path: weight.numpy() for weight in model.weights}
    task.load_parent(model)
    parent = Parent(recipe.weights)
    old = {path: parent.value(key.rpartition("/.ATT")[0]) for path, key in weight_keys(parent.folder).items()}
    return task, {weight.path: weight.numpy() for weight in model.weights}, fresh, old, parent


def check_rows(new, fresh, old, new_ids, old_ids, axis=0):
    """Known entries have the parent's weights, the others new ones."""
    new, fresh, old = (np.moveaxis(value, axis, 0) for value in (new, fresh, old))
    known = [entry for entry in new_ids if entry in old_ids]
    added = [entry for entry in new_ids if entry not in old_ids]
    assert known and added
    for entry in known:
        np.testing.assert_array_equal(new[new_ids[entry]], old[old_ids[entry]], err_msg=repr(entry))
    for entry in added:
        np.testing.assert_array_equal(new[new_ids[entry]], fresh[new_ids[entry]], err_msg=repr(entry))


def test_new_characters_get_rows_of_their_own(parents, tmp_path, capsys):
    (tmp_path / "a.txt").write_text("w1 and w2 go on, ä w3 was w4!\n" * 40)
    recipe = zoo.finetuning_recipe(parents("language"), dataset=f"text:{tmp_path / 'a.txt'}", batch_size=4, epochs=1)
    task, new, fresh, old, parent = started(recipe)
    before = {character: i for i, character in enumerate(parent.characters("vocabulary", "table"), start=1)}
    assert "new ones: '" in capsys.readouterr().out and set(before) < set(task.vocabulary.ids)
    for path, axis in (("rnn1/lstm_cell/kernel", 0), ("decoder/kernel", 1), ("decoder/bias", 0)):
        check_rows(new[path], fresh[path], old[path], task.vocabulary.ids, before, axis)
    np.testing.assert_array_equal(new["rnn2/lstm_cell/kernel"], old["rnn2/lstm_cell/kernel"])
    export = run(recipe, run_dir=tmp_path / "run").export
    loaded = tf.saved_model.load(str(export)).signatures["score"]
    scores = loaded(text=tf.constant(["w1 and ä", "w1 and é"]))["nats_per_char"].numpy()
    assert np.isfinite(scores).all() and "ä" in Parent(export).characters("vocabulary", "table")


def test_a_tagger_takes_other_tags_and_new_words(parents, tmp_path, capsys):
    words = ["w1", "w2", "neu", "größe"]
    data = conllu(tmp_path / "b.conllu", [[(w, "X" if w < "w" else "Y") for w in words[i % 3 :]] for i in range(40)])
    recipe = zoo.finetuning_recipe(parents("tagging"), dataset=data, batch_size=4, epochs=2)
    task, new, fresh, old, parent = started(recipe)
    assert task.labels() == ("X", "Y") and "head: new, for 2 classes: X, Y" in capsys.readouterr().out
    before = {word: i for i, word in enumerate(parent.lines("encoder", "words", "table"))}
    ids = task.encoder.words.ids
    assert {"neu", "w1", "w19", "<unknown>\t"} <= set(ids)
    assert list(ids)[: len(before)] == list(before)  # in their places, for models whose layers have other names
    check_rows(*(side["word_embedding/embeddings"] for side in (new, fresh, old)), ids, before)
    spelled = [
        {c: i for i, c in enumerate(("", "?", *characters))}
        for characters in (task.encoder.characters.characters, parent.characters("encoder", "characters", "table"))
    ]
    check_rows(*(side["embedding/embeddings"] for side in (new, fresh, old)), *spelled)
    assert new["tags/kernel"].shape[1] == 2
    result = run(recipe, run_dir=tmp_path / "run")
    assert 0 <= result.metrics["test_accuracy"] <= 1
    scored = load_predictor(result.export).evaluate()  # the parent's words are known words
    assert {key: scored[key] for key in scored if key.endswith("accuracy")} == {
        key: value for key, value in result.metrics.items() if key.startswith("test_") and key.endswith("accuracy")
    }
    again = zoo.finetuning_recipe(result.export, dataset=data, batch_size=4, epochs=1)
    assert started(again)[0].labels() == ("X", "Y") and "head: kept, with the 2 classes" in capsys.readouterr().out


def test_weights_that_are_not_taken_are_named(parents, tmp_path, capsys):
    data = conllu(tmp_path / "b.conllu", [[(f"w{i}", "X"), ("w2", "Y")] for i in range(20)])
    recipe = zoo.finetuning_recipe(parents("tagging"), dataset=data, batch_size=4, epochs=1)
    task = create_task(recipe)
    task.prepare()
    whole = zoo.build(recipe.model, **{**recipe.model_args, **task.model_args()})
    cut = keras.Model(whole.inputs, whole.get_layer("word_embedding").output, name="cut")
    assert len(task.parent.load(cut)) == len(whole.weights) - 1
    task.new_weights, task.parent_rows = lambda model: [], lambda model: {}
    task.load_parent(cut)
    assert re.search(r"warning: weights of tagging/1 that the model lacks: \S+ and \d+ more", capsys.readouterr().out)


@pytest.mark.parametrize(("count", "said"), [(6, "head: kept, with the 10 classes"), (5, "head: new, for 5 classes")])
def test_a_tagger_keeps_the_head_for_most_of_its_tags(parents, tmp_path, capsys, count, said):
    sentences = [[(f"w{k}", f"T{k}") for k in range(count)] for _ in range(9)]
    sentences = [[*sentence, (f"neu{i}", "T0")] for i, sentence in enumerate(sentences)]
    recipe = zoo.finetuning_recipe(parents("tagging"), dataset=conllu(tmp_path / "c.conllu", sentences), epochs=1)
    task = create_task(recipe)
    task.prepare()
    assert said in capsys.readouterr().out and len(task.labels()) == (10 if count == 6 else 5)


@pytest.mark.full
def test_a_text_classifier_takes_other_labels(parents, tmp_path):
    rows = [f"a b neu {'gut' if i % 3 else 'schlecht'} {i}\t{'+' if i % 3 else '-'}\n" for i in range(60)]
    (tmp_path / "c.tsv").write_text("".join(rows))
    values = {"dataset": f"tsv:{tmp_path / 'c.tsv'}", "batch_size": 4, "epochs": 2, "class_weights": "balanced"}
    recipe = zoo.finetuning_recipe(parents("texts"), **values)
    task, new, fresh, old, parent = started(recipe)
    before = {word: i for i, word in enumerate(parent.lines("encoder", "words", "table"))}
    check_rows(*(side["word_embedding/embeddings"] for side in (new, fresh, old)), task.encoder.words.ids, before)
    assert task.labels() == ("+", "-") and new["classes/kernel"].shape[1] == 2
    assert "test_accuracy" in run(recipe, run_dir=tmp_path / "run").metrics
    with pytest.raises(zoo.UsageError, match="has the class '[+]', which texts/1 does not know"):
        started(zoo.finetuning_recipe(parents("texts"), **values, head="keep"))


def write_pairs(path):
    path.write_text("".join(f"w1 neu{i % 4} w2\tw2 alt{i % 4} w1\n" for i in range(60)))
    return path


def test_a_translator_takes_other_pairs(parents, tmp_path):
    dataset = f"tsv:{write_pairs(tmp_path / 'd.tsv')}"
    recipe = zoo.finetuning_recipe(parents("translation"), dataset=dataset, batch_size=4, epochs=2, limit_steps=6)
    task, new, fresh, old, parent = started(recipe)
    for path, side, axis in (
        ("source_embedding/embeddings", "source_words", 0),
        ("target_embedding/embeddings", "target_words", 0),
        ("words/kernel", "target_words", 1),
        ("words/bias", "target_words", 0),
    ):
        before = {word: i for i, word in enumerate(parent.lines(side, "table"))}
        check_rows(new[path], fresh[path], old[path], getattr(task, side).ids, before, axis)


@pytest.mark.full
def test_a_stopped_fine_tuning_of_a_translator_resumes(parents, tmp_path):
    recipe = zoo.finetuning_recipe(
        parents("translation"),
        dataset=f"tsv:{write_pairs(tmp_path / 'd.tsv')}",
        batch_size=4,
        epochs=2,
        limit_steps=6,
        deterministic=True,
        steps_per_execution=1,
    )
    check_resumption(recipe, tmp_path, stop_at=3)


@pytest.mark.parametrize("name", ["language", "tagging", "texts", "translation"])
def test_every_weight_of_an_export_can_be_trained_without_the_zoo(parents, name):
    export = tf.saved_model.load(str(parents(name)))
    (spec,), _ = export.infer.concrete_functions[0].structured_input_signature
    inputs = tf.nest.map_structure(lambda x: tf.ones([2, *(3 if n is None else n for n in x.shape[1:])], x.dtype), spec)
    with tf.GradientTape() as tape:
        outputs = export.train(inputs)
        logits = outputs["logits"] if isinstance(outputs, dict) else outputs
        loss = tf.reduce_mean(logits**2)
    gradients = tape.gradient(loss, export.weights)
    assert all(gradient is not None for gradient in gradients) and np.isfinite(loss)
    np.testing.assert_allclose(
        export.infer(inputs)["logits"] if isinstance(outputs, dict) else export.infer(inputs),
        export.train(inputs, False)["logits"] if isinstance(outputs, dict) else export.train(inputs, False),
        rtol=1e-4,
        atol=1e-5,
    )

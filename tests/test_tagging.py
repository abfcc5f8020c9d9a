"""Taggers: the graph, treebanks and files, batches by length, and exports."""

import platform

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from conftest import PREPARED, prepared, run
from zoo.data.conllu import read_conllu
from zoo.data.sentences import load_tagged
from zoo.data.stream import EpochShuffle, bucketed
from zoo.data.vocabulary import Words
from zoo.errors import UsageError, ZooError
from zoo.registry import describe
from zoo.tasks.tagging.recipe import TaggingRecipe

COLOURS, THINGS = ("red", "green", "blue", "grün"), ("car", "house", "dog", "tree")


def conllu(count, seed):
    """Sentences such as "the red dog sleeps", with all features of the format."""
    rng = np.random.default_rng(seed)
    lines = []
    for i in range(count):
        words = [("the", "DET"), (rng.choice(COLOURS), "ADJ"), (rng.choice(THINGS), "NOUN"), ("sleeps", "VERB")]
        words = words * int(rng.integers(1, 4))
        lines.append(f"# sent_id = {i}")
        lines.append("1-2\tthered\t_\t_\t_\t_\t_\t_\t_\t_")
        for number, (form, tag) in enumerate(words, start=1):
            lines.append(f"{number}\t{form}\t_\t{tag}\t_\t_\t0\troot\t_\t_")
            if number == 2:
                lines.append("2.1\tempty\t_\tX\t_\t_\t_\t_\t_\t_")
        lines.append("")
    return "\n".join(lines)


@pytest.fixture(scope="module")
def treebank(tmp_path_factory):
    folder = tmp_path_factory.mktemp("treebank")
    for seed, (split, count) in enumerate((("train", 200), ("dev", 20), ("test", 30))):
        (folder / f"x-ud-{split}.conllu").write_text(conllu(count, seed), encoding="utf-8")
    return folder


@pytest.fixture
def tagging_recipe(treebank):
    return make_recipe(treebank)


def make_recipe(treebank):
    def make(**changes):
        values = {
            "name": "r",
            "model": "bilstm_tagger",
            "model_args": {"units": 8, "character_units": 4, "character_embedding": 4, "word_embedding": 8},
            "dataset": f"conllu:{treebank}",
            "epochs": 5,
            "batch_size": 16,
            "optimizer": "adam",
            "learning_rate": 0.02,
        }
        return TaggingRecipe(**{**values, **changes})

    return make


def test_counts():
    model = zoo.build("bilstm_tagger")
    assert model.count_params() == describe("bilstm_tagger").parameters == 456_217 + 64 * 20_000 + 100 * 128
    of_words, of_characters = 2 * 4 * 100 * (264 + 100), 2 * 4 * 100 * (100 + 100)
    assert describe("bilstm_tagger").macs == of_words + 5 * of_characters + 200 * 17
    with pytest.raises(UsageError, match="units is 0"):
        zoo.build("bilstm_tagger", units=0)


def test_padding_changes_nothing():
    keras.utils.set_random_seed(0)
    model = zoo.build("bilstm_tagger", word_vocabulary=30, character_vocabulary=20, units=6, layers=2)
    rng = np.random.default_rng(0)
    words, characters = rng.integers(1, 30, (2, 5)).astype(np.int32), rng.integers(1, 20, (2, 5, 7)).astype(np.int32)
    characters[0, :, 4:] = 0
    logits = model({"words": words, "characters": characters}).numpy()
    padded = {"words": np.pad(words, [(0, 0), (0, 3)]), "characters": np.pad(characters, [(0, 0), (0, 3), (0, 2)])}
    np.testing.assert_allclose(model(padded).numpy()[:, :5], logits, atol=1e-5)
    alone = model({"words": words[:1], "characters": characters[:1, :, :4]})
    np.testing.assert_allclose(alone, logits[:1], atol=1e-5)
    # Both sides matter, and the spelling does.
    for change in ("words", "characters"):
        other = {"words": words.copy(), "characters": characters.copy()}
        other[change][:, 4] = 1 + other[change][:, 4] % 18
        assert np.abs(model(other).numpy()[:, 0] - logits[:, 0]).max() > 1e-6


def test_conllu_lines_that_are_not_words_are_skipped(treebank):
    rows = list(read_conllu(treebank / "x-ud-dev.conllu"))
    assert len(rows) == 20
    for tokens, tags in rows:
        assert tokens[0] == "the" and tags[:4] == ["DET", "ADJ", "NOUN", "VERB"] and len(tokens) % 4 == 0
    data = load_tagged(f"conllu:{treebank}")
    assert data.classes == ("ADJ", "DET", "NOUN", "VERB")
    assert (len(data.train), len(data.validation), len(data.test)) == (200, 20, 30)
    single = load_tagged(f"conllu:{treebank / 'x-ud-train.conllu'}")
    sizes = {split: len(part) for split, part in single.present.items()}
    assert list(sizes) == ["train", "validation", "test"] and sum(sizes.values()) == 200 and sizes["train"] > 120


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1\tone\t_", r"line 2: 3 columns separated by tabs; CoNLL-U has 10"),
        ("x\tone\t_\tX\t_\t_\t_\t_\t_\t_", "line 2: a word needs a number"),
        ("1\tone\t_\t_\t_\t_\t_\t_\t_\t_", "line 2: a word needs .* fourth column, a tag"),
        ("1\tone\t_\tX\t_\t_\t_\t_\t_\t_\n1\tone\t_\tX\t_\t_\t_\t_\t_\t_", "line 3: word 1 follows word 1; .*empty"),
        ("2\tone\t_\tX\t_\t_\t_\t_\t_\t_", "line 2: word 2 follows word 0; the words .* from 1"),
    ],
)
def test_a_broken_line_is_named(tmp_path, line, said):
    path = tmp_path / "a.conllu"
    path.write_text(f"# text\n{line}\n", encoding="utf-8")
    with pytest.raises(ZooError, match=said):
        list(read_conllu(path))


def test_unknown_data_sets_are_named(tmp_path):
    with pytest.raises(UsageError, match="no such file or folder"):
        load_tagged(f"conllu:{tmp_path / 'none'}")
    with pytest.raises(UsageError, match="'python_token'.*'python_tokens'"):
        load_tagged("python_token")
    with pytest.raises(ZooError, match="no .conllu file with 'train'"):
        load_tagged(f"conllu:{tmp_path}")
    (tmp_path / "a.conllu").write_bytes(b"# \xff")
    with pytest.raises(ZooError, match=r"not UTF-8 \(byte 2 is 0xff\)"):
        load_tagged(f"conllu:{tmp_path / 'a.conllu'}")


def test_a_folder_needs_a_training_file_or_for_scoring_any_split(tmp_path):
    (tmp_path / "x-ud-test.conllu").write_text(conllu(5, 0), encoding="utf-8")
    assert list(load_tagged(f"conllu:{tmp_path}", evaluation=True).present) == ["test"]
    with pytest.raises(ZooError, match="there is no .conllu file with 'train' in its name"):
        load_tagged(f"conllu:{tmp_path}")
    (tmp_path / "x-ud-test.conllu").rename(tmp_path / "sentences.conllu")
    with pytest.raises(ZooError, match="there is no .conllu file with 'train' in its name"):
        load_tagged(f"conllu:{tmp_path}", evaluation=True)


@pytest.mark.full
def test_python_source_is_labelled_by_kind():
    data = load_tagged("python_tokens")
    assert {"COMMENT", "NAME", "NUMBER", "OP", "SPACE", "STRING"} <= set(data.classes) and len(data.train) > 20_000
    assert data.fingerprint["source"] == f"Python {platform.python_version()}"
    pairs = [pair for row in zip(data.train.tokens, data.train.tags, strict=True) for pair in zip(*row, strict=True)]
    assert all(" " not in token and token for token, _ in pairs)
    kinds = {}
    for token, tag in pairs:
        kinds.setdefault(token, set()).add(tag)
    assert {"STRING", "COMMENT", "NAME"} <= kinds["a"] and {"SPACE", "STRING", "COMMENT"} <= kinds["␣"]


def test_the_english_treebank():
    if not (PREPARED / "universal_dependencies").is_dir():
        pytest.skip("universal_dependencies is not prepared")
    data = load_tagged("universal_dependencies/en_ewt")
    assert (len(data.train), len(data.validation), len(data.test)) == (12_544, 2_001, 2_077)
    assert len(data.classes) == 17 and sum(map(len, data.test.tokens)) == 25_094


def test_batches_by_length_have_every_example_once_and_little_padding():
    rng = np.random.default_rng(0)
    lengths = rng.geometric(0.06, 3000)
    order = EpochShuffle(3000, 16, seed=2)
    batches = [b.tolist() for b in bucketed(order, lengths, 0).take(750).as_numpy_iterator()]
    flat = [i for batch in batches for i in batch]
    assert all(flat.count(i) >= 3 for i in range(0, 3000, 37))
    assert [b.tolist() for b in bucketed(order, lengths, 133).take(5).as_numpy_iterator()] == batches[133:138]
    real = sum(lengths[batch].sum() for batch in batches)
    assert real / sum(16 * lengths[batch].max() for batch in batches) > 0.85
    means = [lengths[batch].mean() for batch in batches[:60]]
    assert means != sorted(means)


def test_batches_equal_the_data(tagging_recipe):
    task = prepared(tagging_recipe(word_dropout=0.5))
    unknown = 0
    for batch in task.training_batches(0).take(20):
        inputs, tags, real = batch["inputs"], batch["tags"], batch["mask"]
        words, characters = inputs["words"].numpy(), inputs["characters"].numpy()
        assert words.shape == tags.shape == real.shape == characters.shape[:2]
        np.testing.assert_array_equal(real, words > 0)
        np.testing.assert_array_equal(real, characters[:, :, 0] > 0)
        unknown += (words == 1).sum()
        named = np.array(task.data.classes)[tags.numpy()]
        assert (named[:, :4] == ["DET", "ADJ", "NOUN", "VERB"]).all()
    assert unknown > 0
    one, other = (next(iter(task.training_batches(3))) for _ in range(2))
    np.testing.assert_array_equal(one["inputs"]["words"], other["inputs"]["words"])


def test_padding_does_not_change_loss_and_metrics(tagging_recipe):
    from zoo.training.step import Trainer

    task = prepared(tagging_recipe())
    model = zoo.build("bilstm_tagger", **task.model_args(), **task.recipe.model_args)
    batch = next(iter(task.training_batches(0)))
    inputs, tags, real = batch["inputs"], batch["tags"], batch["mask"]
    trainer = Trainer(model, task)
    trainer.compile(optimizer="sgd")
    got = trainer.evaluate(tf.data.Dataset.from_tensors(batch), verbose=0, return_dict=True)
    logits = model(inputs).numpy()
    keep = real.numpy() > 0
    losses = keras.losses.sparse_categorical_crossentropy(tags, logits, from_logits=True).numpy()
    assert got["loss"] == pytest.approx(losses[keep].mean(), rel=1e-5)
    assert got["accuracy"] == pytest.approx((logits.argmax(-1) == tags.numpy())[keep].mean(), rel=1e-6)


@pytest.mark.full
def test_the_train_step_compiles_with_xla(tagging_recipe, tmp_path):
    sizes = {"units": 8, "character_units": 4, "character_embedding": 4, "word_embedding": 8, "noise": 0.0}
    plain, compiled = (
        run(tagging_recipe(limit_steps=6, model_args=sizes, jit_compile=jit), run_dir=tmp_path / str(jit))
        for jit in (False, True)
    )
    for ours, theirs in zip(compiled.model.weights, plain.model.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5, err_msg=theirs.path)


@pytest.fixture(scope="module")
def exported(treebank, tmp_path_factory):
    return run(make_recipe(treebank)(), run_dir=tmp_path_factory.mktemp("tagger") / "run")


@pytest.fixture(scope="module")
def tag(exported):
    return tf.saved_model.load(str(exported.export)).signatures["serving_default"]


def test_a_trained_tagger_answers(exported, tag):
    assert exported.metrics["test_accuracy"] > 0.99
    answer = {
        key: value.numpy() for key, value in tag(text=tf.constant(["the red dog sleeps", "  the  blue car "])).items()
    }
    assert answer["tokens"].tolist() == [[b"the", b"red", b"dog", b"sleeps"], [b"the", b"blue", b"car", b""]]
    assert answer["tags"].tolist() == [[b"DET", b"ADJ", b"NOUN", b"VERB"], [b"DET", b"ADJ", b"NOUN", b""]]
    assert answer["probabilities"].shape == (2, 4) and answer["probabilities"][1, 3] == 0
    alone = tag(text=tf.constant(["the blue car"]))
    np.testing.assert_allclose(alone["probabilities"], answer["probabilities"][1:, :3], atol=1e-6)
    same = tag(text=tf.constant(["the gru\u0308n dog"]))  # two characters for one
    assert same["tokens"].numpy()[0, 1] == "gru\u0308n".encode() and same["tags"].numpy()[0, 1] == b"ADJ"


@pytest.mark.parametrize(
    "text",
    [b"", b"    ", b"\xff\xfe abc", "😀 é שלום".encode(), b"x" * 3_000, b"a " * 2_000],
    ids=["empty", "spaces", "invalid", "signs", "long-word", "many-words"],
)
def test_any_text_is_answered(tag, text):
    answer = tag(text=tf.constant([text, b"the red dog"]))
    assert answer["tags"].numpy()[1, :3].tolist() == [b"DET", b"ADJ", b"NOUN"]
    assert np.isfinite(answer["probabilities"].numpy()).all()
    [value.numpy() for value in tag(text=tf.constant([text])).values()]


def test_words_are_numbered_by_count():
    words = Words({"a": 3, "b": 5, "c": 1, "#": 3}, min_count=2)
    assert words.words == ("b", "#", "a") and len(words) == 5
    assert words.encode(tf.ragged.constant([["a", "c"], ["b", "<unknown>"]])).to_list() == [[4, 1], [2, 1]]


def test_predict_and_evaluate_on_the_command_line(exported, treebank, capsys, tmp_path):
    import json

    from zoo.cli.commands import dispatch

    assert dispatch(["predict", str(exported.export), "--text", "the red tree"]) == 0
    assert capsys.readouterr().out == "the/DET red/ADJ tree/NOUN\n"
    assert dispatch(["predict", str(exported.export), str(treebank / "x-ud-test.conllu")]) == 0
    assert "x-ud-test.conllu has tabs; a line is one input, with all its columns" in capsys.readouterr().err
    assert dispatch(["evaluate", str(exported.export), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["test_accuracy"] == pytest.approx(exported.metrics["test_accuracy"])
    path = tmp_path / "other.conllu"
    rows = [("the", "DET"), ("red", "JJ"), ("dog", "NOUN"), ("sleeps", "VERB")]
    lines = [f"{i}\t{word}\t_\t{tag}" + "\t_" * 6 for i, (word, tag) in enumerate(rows, 1)]
    path.write_text("\n".join(lines) + "\n\n")
    assert dispatch(["evaluate", str(exported.export), "--dataset", f"conllu:{path}", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["test_accuracy"] == 0.75 and "1 test sentences" in said.err
    assert "1 of 4 words have tags that" in said.err and "does not know (JJ), and count as errors" in said.err
    path.write_text("\n".join(line.replace("\t_\t", "\t_\tx", 1) for line in lines) + "\n\n")
    assert dispatch(["evaluate", str(exported.export), "--dataset", f"conllu:{treebank / 'x-ud-train.conllu'}"]) == 0
    assert "200 of 200 test sentences are in the training split, too" in capsys.readouterr().err
    with pytest.raises(UsageError, match="has the tags .*, of which .* knows none; it has ADJ, DET, NOUN"):
        dispatch(["evaluate", str(exported.export), "--dataset", f"conllu:{path}"])

"""Translation: tokens, batches, search, exports and scores, on pairs that a small model learns in seconds."""

import functools
import itertools
import json
import re
from dataclasses import replace

import keras
import numpy as np
import pytest
import sacrebleu
import tensorflow as tf

import zoo
from conftest import PREPARED, prepared, run
from zoo.data.pairs import Pairs
from zoo.data.tokens import Tokenizer
from zoo.errors import UsageError
from zoo.tasks.decoding import END, PADDING, Search
from zoo.tasks.translation.recipe import TranslationRecipe
from zoo.tasks.translation.scoring import scores

NUMBERS = {"one": "eins", "two": "zwei", "three": "drei", "five": "fünf", "twelve": "zwölf"}
SIZES = {"embedding": 16, "units": 24, "maxout": 16, "alignment": 16}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Numbers in two languages, some of them with names that occur only once."""
    path = tmp_path_factory.mktemp("pairs") / "numbers.tsv"
    rng = np.random.default_rng(0)
    lines = []
    for i in range(1500):
        words = [f"Name{i}x{k}" if rng.random() < 0.1 else rng.choice(list(NUMBERS)) for k in range(rng.integers(1, 6))]
        lines.append(f"{' '.join(words)}.\t{' '.join(NUMBERS.get(word, word) for word in words)}.\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path


def make_recipe(pairs, **changes):
    values = {
        "name": "r",
        "model": "seq2seq",
        "model_args": SIZES,
        "dataset": f"tsv:{pairs}",
        "min_count": 2,
        "lower_case": True,
        "epochs": 12,
        "batch_size": 16,
        "optimizer": "adam",
        "learning_rate": 0.01,
        "schedule": "cosine",
        "beam_width": 3,
    }
    return TranslationRecipe(**{**values, **changes})


@pytest.fixture(scope="module")
def trained(pairs, tmp_path_factory):
    return run(make_recipe(pairs), run_dir=tmp_path_factory.mktemp("translation") / "run")


@pytest.fixture(scope="module")
def signatures(trained):
    return tf.saved_model.load(str(trained.export)).signatures


def test_texts_are_split_into_tokens_and_joined():
    words = Tokenizer("words", True)
    text = "Ein T-Shirt, gru\u0308n (und\u00a0rot); 3 Hunde!"
    tokens = [token.decode() for token in words.split(tf.constant([text])).to_list()[0]]
    assert tokens == ["ein", "t-shirt", ",", "grün", "(", "und", "rot", ")", ";", "3", "hunde", "!"]
    assert words.join(words.split(tf.constant([text]))).numpy()[0].decode() == "ein t-shirt, grün (und rot); 3 hunde!"
    characters = Tokenizer("characters", False)
    assert characters.split(tf.constant(["Aé 1", ""])).to_list() == [[b"A", "é".encode(), b" ", b"1"], []]
    assert characters.join(characters.split(tf.constant(["Aé 1", ""]))).numpy().tolist() == ["Aé 1".encode(), b""]


def test_batches_equal_the_pairs(pairs):
    task = prepared(make_recipe(pairs))
    for batch in task.training_batches(0).take(5):
        inputs, labels, real = batch["inputs"], batch["labels"], batch["mask"]
        source, before, labels = inputs["source"].numpy(), inputs["target"].numpy(), labels.numpy()
        assert (before[:, 0] == END).all()
        np.testing.assert_array_equal(real, labels > 0)
        for row, ahead, after in zip(source, before, labels, strict=True):
            count = (after > 0).sum()
            assert after[count - 1] == END and row[row > 0][-1] == END and (row > 0).sum() == count
            np.testing.assert_array_equal(ahead[1:count], after[: count - 1])
            for ours, theirs in zip(row[: count - 2], after[: count - 2], strict=True):
                known = (ours > END, theirs > END)
                assert known == (False, False) or (
                    NUMBERS[task.source_words.words[ours - 3]] == task.target_words.words[theirs - 3]
                )
    one, other = (next(iter(task.training_batches(3))) for _ in range(2))
    np.testing.assert_array_equal(one["inputs"]["source"], other["inputs"]["source"])


@pytest.mark.parametrize("name", ["dates", pytest.param("multi30k/en-de", marks=pytest.mark.full)])
def test_little_of_a_batch_is_padding(name):
    if name != "dates" and not (PREPARED / "multi30k").is_dir():
        pytest.skip("multi30k is not prepared")
    unit = "characters" if name == "dates" else "words"
    recipe = make_recipe("", dataset=name, unit=unit, batch_size=64)
    task = prepared(recipe)
    real = total = 0
    for batch in task.training_batches(0).take(200):
        inputs, labels = batch["inputs"], batch["labels"]
        for side in (inputs["source"].numpy(), labels.numpy()):
            real, total = real + (side > 0).sum(), total + side.size
    assert real / total > 0.85


def test_long_pairs_are_left_out_of_training(pairs, capsys):
    task = prepared(make_recipe(pairs, max_length=3))
    assert 0 < task.train_examples < 1000
    said = capsys.readouterr().out
    assert re.search(r"warning: \d+ of [\d,]+ training pairs have more than 3 \w+ on a side, and are not", said)
    for batch in task.training_batches(0).take(50):
        inputs, labels = batch["inputs"], batch["labels"]
        assert inputs["source"].shape[1] <= 4 and labels.shape[1] <= 4
    with pytest.raises(zoo.ZooError, match="every pair has more than 1 tokens"):
        prepared(make_recipe(pairs, max_length=1, min_count=1))


def test_an_exact_match_has_no_case_where_the_recipe_has_none(pairs):
    recipe = make_recipe(pairs, unit="characters", lower_case=True)
    assert scores(recipe, ["nein", "ja"], Pairs(("no", "yes"), ("Nein", "Jo")))[0] == {"exact_match": 0.5}
    assert scores(replace(recipe, lower_case=False), ["nein"], Pairs(("no",), ("Nein",)))[0] == {"exact_match": 0.0}


def test_smoothed_labels_are_keras_own(pairs):
    task = prepared(make_recipe(pairs, label_smoothing=0.1))
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(2, 3, 7)).astype(np.float32), rng.integers(0, 7, (2, 3))
    batch = {"inputs": labels, "labels": labels, "mask": np.array([[1, 1, 0], [1, 0, 0]], np.float32)}
    got, count = task.loss(batch, {"logits": logits})
    expected = keras.losses.categorical_crossentropy(
        keras.ops.one_hot(labels, 7), logits, from_logits=True, label_smoothing=0.1
    )
    np.testing.assert_allclose(got, tf.reduce_sum(expected * batch["mask"]), rtol=1e-5)
    assert count == 3


def random_net(seed=0, **sizes):
    model = zoo.build("seq2seq", source_vocabulary=8, target_vocabulary=6, **SIZES, **sizes)
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape) * 0.7)
    return model


def log_chances(model, source, written):
    """The log-probability of each next token, including tokens that are never generated."""
    before = np.array([[END, *written]], np.int32)
    logits = model({"source": source, "target": before})["logits"].numpy()[0, -1].astype(np.float64)
    chances = logits - np.log(np.exp(logits).sum())
    chances[PADDING] = -np.inf
    return chances


def test_a_beam_of_one_is_greedy_search():
    model = random_net()
    source = np.array([[3, 4, 5, END], [6, 7, END, 0]], np.int32)
    limits = np.array([9, 5], np.int32)
    texts, scores = Search(model, 1.0)(tf.constant(source), tf.constant(limits), 1)
    for row, limit, text, score in zip(source, limits, texts.numpy(), scores.numpy(), strict=True):
        written, total = [], 0.0
        while not written or written[-1] != END:
            chances = log_chances(model, row[None, row > 0], written)
            token = int(chances.argmax()) if len(written) + 1 < limit else END
            written, total = [*written, token], total + chances[token]
        assert text[text > 0].tolist() == written
        assert score == pytest.approx(total / len(written), rel=1e-4)


@pytest.mark.parametrize("power", [pytest.param(0.0, marks=pytest.mark.full), 1.0])
def test_a_beam_of_all_hypotheses_finds_the_best(power):
    model, source, limit = random_net(3), np.array([[3, 4, END]], np.int32), 4
    chances = functools.cache(lambda *written: log_chances(model, source, written))
    best = (-np.inf, ())
    for length in range(limit):
        for words in itertools.product([1, 3, 4, 5], repeat=length):
            written, total = [], 0.0
            for token in (*words, END):
                total += chances(*written)[token]
                written.append(token)
            best = max(best, (total / len(written) ** power, tuple(written)))
    texts, scores = Search(model, power)(tf.constant(source), tf.constant([limit]), 600)
    assert tuple(texts.numpy()[0][texts.numpy()[0] > 0]) == best[1]
    assert scores.numpy()[0] == pytest.approx(best[0], rel=1e-4)


def test_a_trained_net_translates(trained, signatures):
    last = json.loads((trained.folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["val_accuracy"] > 0.9 and trained.metrics["test_bleu"] > 40 and trained.metrics["test_beam_bleu"] > 40
    for name in ("serving_default", "beam"):
        answer = signatures[name](text=tf.constant(["Two five  TWELVE.", "one."]))
        assert [text.decode() for text in answer["translation"].numpy()] == ["zwei fünf zwölf.", "eins."]
        assert answer["tokens"].numpy()[1].tolist() == [b"eins", b".", b"<end>", b"", b""]
        assert answer["source_tokens"].numpy()[1].tolist() == [b"one", b".", b"<end>", b"", b""]
        attention = answer["attention"].numpy()
        assert attention.shape == (2, 5, 5)
        np.testing.assert_allclose(attention.sum(-1), [[1] * 5, [1, 1, 1, 0, 0]], atol=1e-5)
        alone = signatures[name](text=tf.constant(["one."]))
        np.testing.assert_allclose(alone["score"].numpy()[0], answer["score"].numpy()[1], rtol=1e-4)
        np.testing.assert_allclose(alone["attention"].numpy()[0], attention[1, :3, :3], atol=1e-5)
    lines = (trained.folder / "translations.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("sacreBLEU nrefs:1|case:lc|eff:no|tok:13a")
    references, ours = ([line[2:] for line in lines if line.startswith(mark)] for mark in ("= ", "> "))
    bleu = sacrebleu.corpus_bleu(ours, [references], lowercase=True)
    assert bleu.score == pytest.approx(trained.metrics["test_bleu"])
    assert (trained.folder / "attention.png").exists()


def test_an_unknown_word_is_copied_from_the_position_of_most_attention(signatures):
    answer = {
        key: value.numpy()
        for key, value in signatures["serving_default"](
            text=tf.constant(["two Quux five.", "Quux one three Quuux.", "one Quux Quuux."])
        ).items()
    }
    known = {*(word.encode() for word in NUMBERS.values()), b".", b"<end>", b""}
    copied = 0
    for tokens, source, attention in zip(answer["tokens"], answer["source_tokens"], answer["attention"], strict=True):
        words = np.array([token not in (b"<end>", b"") for token in source])
        for token, looks in zip(tokens, attention, strict=True):
            if token not in known:
                copied += 1
                assert token == source[np.where(words, looks, -1).argmax()]
    assert copied >= 3


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"    ", id="spaces"),
        pytest.param(b"\xff\xfe abc", id="invalid"),
        pytest.param("😀 é שלום e\u0301".encode(), id="signs"),
        pytest.param(b"x" * 100_000, id="long-word"),
        pytest.param(b"one " * 25_000, id="many-words", marks=pytest.mark.full),
    ],
)
def test_any_text_is_answered(signatures, text):
    for name in ("serving_default", "beam"):
        answer = signatures[name](text=tf.constant([text, b"one."]))
        assert answer["translation"].numpy()[1] == b"eins."
        assert np.isfinite(answer["score"].numpy()).all() and np.isfinite(answer["attention"].numpy()).all()
        if not text.strip():
            assert answer["translation"].numpy()[0] == b"" and answer["score"].numpy()[0] == 0
        assert len(answer["tokens"].numpy()[0]) <= 500
    assert signatures["serving_default"](text=tf.constant([], tf.string))["translation"].shape == (0,)


@pytest.mark.full
@pytest.mark.parametrize("name", ["seq2seq_luong", "seq2seq_no_attention", "seq2seq_sutskever"])
def test_the_other_models_train_and_translate(name, pairs, tmp_path):
    sizes = {"embedding": 16, "units": 24, "layers": 2} if name == "seq2seq_sutskever" else SIZES
    result = run(make_recipe(pairs, model=name, model_args=sizes, epochs=1), run_dir=tmp_path / "run")
    answer = tf.saved_model.load(str(result.export)).signatures["beam"](text=tf.constant(["one two.", "one"]))
    assert answer["attention"].shape[0] == 2 and "<unknown>" not in str(answer["translation"].numpy())


def test_predict_and_evaluate_on_the_command_line(trained, pairs, capsys, tmp_path):
    from zoo.cli.commands import dispatch

    picture = tmp_path / "a.png"
    assert dispatch(["predict", str(trained.export), "--text", "five two.", "--plot", str(picture)]) == 0
    assert capsys.readouterr().out == "fünf zwei.\n" and picture.stat().st_size > 5000
    assert dispatch(["predict", str(trained.export), "--text", "five", "--beam", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["translation"].startswith("fünf")
    assert dispatch(["evaluate", str(trained.export), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["test_bleu"] == pytest.approx(trained.metrics["test_bleu"])
    assert results["scored_by"].startswith("sacreBLEU")
    (tmp_path / "some.tsv").write_text("".join(pairs.read_text().splitlines(keepends=True)[:20]))
    assert dispatch(["evaluate", str(trained.export), "--dataset", f"tsv:{tmp_path / 'some.tsv'}"]) == 0
    assert " of 20 test pairs are in the training split, too" in capsys.readouterr().err
    with pytest.raises(zoo.ZooError, match="cannot be written"):
        dispatch(["predict", str(trained.export), "--text", "five", "--plot", str(tmp_path / "none" / "a.png")])


def test_invalid_arguments_are_errors(pairs):
    with pytest.raises(UsageError, match="beam_width is 0"):
        make_recipe(pairs, beam_width=0)
    with pytest.raises(UsageError, match="label_smoothing"):
        make_recipe(pairs, label_smoothing=1.0)

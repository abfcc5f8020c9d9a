"""Character models: the graph and its state, splits of a text, training by streams, and exports."""

import json
import platform
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from conftest import need, prepared, run
from zoo.data.text import load_text
from zoo.data.vocabulary import Characters
from zoo.errors import UsageError, ZooError
from zoo.recipe import load_recipe
from zoo.registry import describe
from zoo.tasks.decoding import sample, single_step, zero_state
from zoo.tasks.language_modelling.recipe import LanguageModelRecipe
from zoo.tasks.language_modelling.serving import ServingLanguageModel
from zoo.training.step import Trainer

TEXT = "the quick brown fox jumps over the lazy dog; how vexingly quick daft zebras jump! " * 60


@pytest.fixture
def text_recipe(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")

    def make(**changes):
        values = {
            "name": "r",
            "model": "char_rnn",
            "model_args": {"units": 16},
            "dataset": f"text:{path}",
            "epochs": 2,
            "batch_size": 8,
            "sequence_length": 10,
            "optimizer": "adam",
            "learning_rate": 0.02,
        }
        return LanguageModelRecipe(**{**values, **changes})

    return make


@pytest.mark.parametrize(
    ("name", "arguments", "count"),
    [
        ("char_rnn", {}, 239_297),
        ("char_rnn_512", {}, 5_415_489),
        ("char_rnn", {"cell": "simple"}, 66_113),
        ("char_rnn", {"cell": "gru"}, 181_569),  # 3h(i + h + 1): one bias a gate, as Cho et al. and char-rnn have it
        ("char_rnn", {"layers": 2, "units": 512}, 3_316_289),
        ("char_rnn", {"embedding": 10, "layers": 1, "units": 4}, 65 * 10 + 4 * 4 * (10 + 4 + 1) + 5 * 65),
    ],
)
def test_counts(name, arguments, count):
    assert zoo.build(name, **arguments).count_params() == count
    if not arguments:
        card = describe(name)
        assert card.parameters == card.trainable == count
        layers, units = card.arguments["layers"], card.arguments["units"]
        assert card.macs == 4 * units * (65 + units) + (layers - 1) * 4 * units * 2 * units + 65 * units


@pytest.mark.parametrize("cell", ["simple", "gru", "lstm"])
def test_the_state_is_an_input_and_an_output(cell):
    keras.utils.set_random_seed(1)
    model = zoo.build("char_rnn", cell=cell, units=8, vocabulary_size=9, embedding=5)
    tokens = np.random.default_rng(0).integers(0, 9, (3, 10)).astype(np.int32)
    whole = model({"tokens": tf.constant(tokens), **zero_state(model, 3)})
    first = dict(model({"tokens": tf.constant(tokens[:, :4]), **zero_state(model, 3)}))
    logits = [first.pop("logits")]
    rest = model({"tokens": tf.constant(tokens[:, 4:]), **first})
    np.testing.assert_allclose(np.concatenate([*logits, rest["logits"]], 1), whole["logits"], atol=1e-6)
    for name in zero_state(model, 3):
        np.testing.assert_allclose(rest[name], whole[name], atol=1e-6)
    # The same weights, one character at a time.
    step, state, seen = single_step(model), zero_state(model, 3), []
    for t in range(10):
        state = dict(step({"tokens": tf.constant(tokens[:, t]), **state}))
        seen.append(state.pop("logits"))
    np.testing.assert_allclose(np.stack(seen, 1), whole["logits"], atol=1e-6)


def test_initial_weights_are_those_of_char_rnn():
    model = zoo.build("char_rnn")
    for weight in model.weights:
        values = weight.numpy()
        if weight.path.startswith("rnn") and weight.name == "bias":
            assert (values[128:256] == 1).all()
            values = np.delete(values, slice(128, 256))
        assert np.abs(values).max() <= 0.08 and np.abs(values).mean() > 0.03


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"cell": "elman"}, "cell is 'elman'; it may be 'simple', 'gru' or 'lstm'"),
        ({"layers": 0}, "layers is 0"),
        ({"units": 0}, "units is 0"),
        ({"embedding": 0}, "embedding is 0"),
    ],
)
def test_invalid_arguments_are_named(arguments, said):
    with pytest.raises(UsageError, match=said):
        zoo.build("char_rnn", **arguments)


@pytest.mark.full
def test_the_train_step_compiles_with_xla(text_recipe, tmp_path):
    plain = run(text_recipe(limit_steps=6), run_dir=tmp_path / "a")
    compiled = run(text_recipe(limit_steps=6, jit_compile=True), run_dir=tmp_path / "b")
    assert compiled.metrics == pytest.approx(plain.metrics, rel=1e-4)


def test_a_short_last_piece_is_weighted_by_its_characters(text_recipe, tmp_path):
    long = tmp_path / "long.txt"
    long.write_text(TEXT * 3, encoding="utf-8")  # 738 characters of validation, scored in pieces of 500 and 238
    recipe = text_recipe(split="tfds", dataset=f"text:{long}", limit_steps=20)
    result = run(recipe, run_dir=tmp_path / "run")
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    expected = result.metrics["validation_nats_per_char"]
    assert row["val_loss"] == pytest.approx(expected, rel=1e-5) == row["val_nats_per_char"]


@pytest.mark.parametrize(
    ("split", "counts"),
    [
        ("char_rnn", (50 * 423 * 50, 50 * 23 * 50, None)),
        ("tfds", (1_003_850, 55_770 - 1, 55_770 - 1)),
        ("nanogpt", (1_003_850, 111_540 - 1, None)),
    ],
)
def test_cuts_of_tiny_shakespeare(split, counts):
    need("tiny_shakespeare")
    data = load_text("tiny_shakespeare", split=split, streams=50, sequence_length=50)
    parts = (data.train, data.validation, data.test)
    assert tuple(part and len(part) * part.length for part in parts) == counts
    assert data.train.rows[0].startswith("First Citizen:\nBefore we proceed any further")
    if split != "char_rnn":
        import tensorflow_datasets as tfds

        own = tfds.load("tiny_shakespeare", split="validation", download=False)
        own = next(iter(own))["text"].numpy().decode()
        assert own.startswith(data.validation.rows[0]) if split == "tfds" else data.validation.rows[0].startswith(own)


def test_the_size_of_the_vocabulary_is_that_of_the_text(text_recipe, tmp_path):
    recipe = text_recipe()
    size = len({*TEXT}) + 1
    with pytest.raises(UsageError, match=f"vocabulary_size is 300 in model_args; the data decides it, here {size}. Le"):
        run(replace(recipe, model_args={**recipe.model_args, "vocabulary_size": 300}), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_streams_are_continuous(tmp_path):
    text = "".join(chr(0x4E00 + i) for i in range(1000))
    (tmp_path / "t.txt").write_text(text, encoding="utf-8")
    data = load_text(f"text:{tmp_path}", split="char_rnn", streams=4, sequence_length=5)
    around = text + text[0]
    for i, (train, validation) in enumerate(zip(data.train.rows, data.validation.rows, strict=True)):
        assert train + validation[1:] == around[i * 250 : (i + 1) * 250 + 1]
    assert (data.train.length, data.validation.length) == (47 * 5, 3 * 5)


def test_every_step_continues_the_streams_of_the_last_one(text_recipe):
    task = prepared(text_recipe())
    steps = task.data.train.length // 10
    batches = [(b["inputs"]["tokens"].numpy(), b["labels"].numpy()) for b in task.training_batches(0).take(2 * steps)]
    for (tokens, targets), (following, _) in zip(batches[: steps - 1], batches[1:steps], strict=True):
        np.testing.assert_array_equal(tokens[:, 1:], targets[:, :-1])
        np.testing.assert_array_equal(targets[:, -1], following[:, 0])
    np.testing.assert_array_equal(batches[0][0], batches[steps][0])
    np.testing.assert_array_equal(next(iter(task.training_batches(7)))["labels"], batches[7][1])


def test_training_carries_the_state(text_recipe, tmp_path):
    """With a rate of zero, the state after some steps is that of the model applied to all of their characters."""
    seen = {}

    class Watch(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            seen.update({name: v.numpy() for name, v in self.model.training_state.items()})

    recipe = text_recipe(learning_rate=0.0, limit_steps=7)
    result = run(recipe, run_dir=tmp_path / "run", callbacks=[Watch()])
    task = prepared(recipe)
    streams = tf.concat([batch["inputs"]["tokens"] for batch in task.training_batches(0).take(7)], axis=1)
    outputs = result.model({"tokens": streams, **zero_state(result.model, 8)})
    for name, value in seen.items():
        assert np.abs(value).max() > 0.001
        np.testing.assert_allclose(value, outputs[name], atol=1e-5)


def test_halves_have_the_gradient_of_the_whole(text_recipe):
    recipe = text_recipe(batch_size=5)
    task = prepared(recipe)
    net = zoo.build("char_rnn", **task.model_args(), units=6)
    model = Trainer(net, task, streams=(5, 1))
    model.compile(keras.optimizers.SGD(0.1))
    rng = np.random.default_rng(0)
    model.scatter_state({name: rng.normal(size=(5, 6)) for name in model.training_state})
    before = {name: tf.constant(value) for name, value in model.gathered_state().items()}
    batch = next(iter(task.training_batches(0)))
    with tf.GradientTape() as tape:
        outputs = net({**batch["inputs"], **before}, training=True)
        total, count = task.loss(batch, outputs)
        loss = total / count
    expected = tape.gradient(loss, net.trainable_variables)
    weights = [weight.numpy() for weight in net.trainable_variables]
    model.train_step(batch)
    np.testing.assert_allclose(model.get_metrics_result()["loss"], loss, rtol=1e-6)
    for old, weight, whole in zip(weights, net.trainable_variables, expected, strict=True):
        np.testing.assert_allclose((old - weight.numpy()) / 0.1, whole, atol=2e-6)
    for name, value in model.gathered_state().items():
        np.testing.assert_allclose(value, outputs[name], atol=1e-6)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lm")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    recipe = LanguageModelRecipe(
        name="r", model="char_rnn", model_args={"units": 32}, dataset=f"text:{folder / 'text.txt'}",
        epochs=12, batch_size=8, sequence_length=20, optimizer="adam", learning_rate=0.02,
    )  # fmt: skip
    return run(recipe, run_dir=folder / "run")


@pytest.fixture(scope="module")
def signatures(exported):
    return tf.saved_model.load(str(exported.export)).signatures


def continuations(signatures, prompts, length, temperature, seed):
    rows = len(prompts)
    answer = signatures["serving_default"](
        prompt=tf.constant(prompts),
        length=tf.constant(np.broadcast_to(np.int32(length), rows)),
        temperature=tf.constant(np.broadcast_to(np.float32(temperature), rows)),
        seed=tf.constant(np.broadcast_to(np.int32(seed), rows)),
    )
    return [text.decode() for text in answer["text"].numpy()]


def test_a_trained_model_continues_the_text(signatures, exported):
    assert exported.metrics["test_nats_per_char"] < 0.5  # the text repeats itself
    assert continuations(signatures, ["the quick brown fox j"], 25, 0, 0) == [TEXT[21:46]]


def test_each_row_has_its_own_seed_temperature_and_length(signatures):
    prompts = ["the ", "how vexingly quick daft zeb", "", "dog; "]
    lengths, temperatures, seeds = [30, 300, 5, 0], [1.5, 1.0, 0.7, 1.0], [7, 8, 9, 10]
    together = continuations(signatures, prompts, lengths, temperatures, seeds)
    assert [len(text) for text in together] == lengths
    for i, text in enumerate(together):
        assert continuations(signatures, prompts[i : i + 1], lengths[i], temperatures[i], seeds[i]) == [text]
    again = continuations(signatures, ["the "] * 3, 40, 1.5, [7, 7, 8])
    assert again[0] == again[1] != again[2] and again[0].startswith(together[0])


def test_python_and_the_export_draw_the_same(signatures, exported):
    recipe = load_recipe("char_rnn_python_docs")
    text = exported.folder.parent / "text.txt"
    task = prepared(replace(recipe, dataset=f"text:{text}", batch_size=8, sequence_length=20))
    serving = task.serving(exported.model)
    request = [tf.constant(["the "]), tf.constant([60]), tf.constant([1.2]), tf.constant([3])]
    here = serving.endpoints["serving_default"](*request)["text"].numpy()[0].decode()
    assert [here] == continuations(signatures, ["the "], 60, 1.2, 3)


def test_samples_follow_the_models_probabilities(signatures, exported):
    vocabulary = sorted(set(TEXT))
    model = exported.model
    numbers = np.array([[vocabulary.index(c) + 1 for c in "quick "]], np.int32)
    logits = model({"tokens": tf.constant(numbers), **zero_state(model, 1)})["logits"][0, -1].numpy()[1:] / 2.0
    expected = np.exp(logits) / np.exp(logits).sum()
    drawn = continuations(signatures, ["quick "] * 4000, 1, 2.0, np.arange(4000))
    observed = np.array([drawn.count(c) for c in vocabulary]) / 4000
    assert np.abs(observed - expected).max() < 0.03


def test_a_prompt_starts_a_line():
    keras.utils.set_random_seed(2)
    model, vocabulary = zoo.build("char_rnn", units=16, vocabulary_size=5), Characters("\nabc")
    for variable in model.weights:
        variable.assign(10 * variable)
    request = [tf.constant([40, 40]), tf.constant([1.0, 1.0]), tf.constant([1, 2])]
    answer = ServingLanguageModel(model, vocabulary).endpoints["serving_default"](tf.constant(["ab", ""]), *request)
    line, bare = (
        sample(single_step(model), vocabulary, tf.constant(prompts), *request).numpy().tolist()
        for prompts in (["\nab", "\n"], ["ab", ""])
    )
    assert answer["text"].numpy().tolist() == line
    assert line[0] != bare[0] and line[1] != bare[1]


def test_scores_are_the_models(signatures, exported):
    text = (TEXT * 10)[:1200]  # several pieces
    vocabulary = sorted(set(TEXT))
    numbers = np.array([[vocabulary.index(c) + 1 for c in text]], np.int32)
    logits = exported.model({"tokens": tf.constant(numbers[:, :-1]), **zero_state(exported.model, 1)})["logits"]
    expected = float(np.mean(keras.losses.sparse_categorical_crossentropy(numbers[:, 1:], logits, from_logits=True)))
    got = signatures["score"](text=tf.constant([text, "a", "", text[:50]]))["nats_per_char"].numpy()
    np.testing.assert_allclose(got[0], expected, rtol=1e-4)
    assert got[1] == got[2] == 0 and got[3] > 0


@pytest.mark.parametrize(
    "prompt",
    [b"", b"   ", b"\xff\xfe\x80", "😀 é ü".encode(), "שלום עולם".encode(), b"x" * 20_000],
    ids=["empty", "spaces", "invalid", "emoji", "right-to-left", "long"],
)
def test_any_prompt_is_answered(signatures, prompt):
    answer = continuations(signatures, [prompt, b"the quick"], [8, 10], 0.5, 1)
    assert len(answer[0]) == 8 and answer[1] == continuations(signatures, ["the quick"], 10, 0.5, 1)[0]
    assert np.isfinite(signatures["score"](text=tf.constant([prompt]))["nats_per_char"].numpy()).all()


@pytest.mark.parametrize(
    ("length", "temperature", "said"),
    [(-1, 1.0, "length must be 0 or more"), (5, -0.5, "temperature must be"), (5, np.nan, "temperature must be")],
)
def test_invalid_requests_are_errors_with_a_reason(signatures, length, temperature, said):
    with pytest.raises(tf.errors.InvalidArgumentError, match=said):
        continuations(signatures, ["a", "b"], [length, 3], [temperature, 1.0], 0)


def test_composed_and_decomposed_letters_are_equal(tmp_path):
    vocabulary = Characters("aäöü")
    assert (
        vocabulary.encode(tf.constant(["a\u0308u\u0308x"])).to_list()
        == vocabulary.encode(tf.constant(["äüx"])).to_list()
        == [[2, 4, 0]]
    )
    assert vocabulary.decode(tf.ragged.constant([[2, 4, 0], []], tf.int32)).numpy().tolist() == [
        "äü\ufffd".encode(),
        b"",
    ]
    path = tmp_path / "t.txt"
    path.write_text("Gru\u0308\u00dfe. " * 100, encoding="utf-8")
    assert "ü" in load_text(f"text:{path}", split="tfds", streams=2, sequence_length=5).train.rows[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no text"),
        (b" \n ", "holds no text"),
        (b"abc", "has 3 characters"),
        (b"abc\xff" * 500, r"t\.txt is not UTF-8 \(byte 3 is 0xff\)"),
    ],
)
@pytest.mark.parametrize("split", ["char_rnn", "tfds", "nanogpt"])
def test_unfit_texts_are_named(tmp_path, content, said, split):
    (tmp_path / "t.txt").write_bytes(content)
    with pytest.raises(ZooError, match=said):
        load_text(f"text:{tmp_path / 't.txt'}", split=split, streams=4, sequence_length=10)


def test_the_replacement_character_is_an_unknown_one(text_recipe, tmp_path):
    (tmp_path / "f.txt").write_text("To be, or nob\ufffdler\n" * 100)
    task = prepared(text_recipe(dataset=f"text:{tmp_path / 'f.txt'}"))
    assert "\ufffd" not in task.vocabulary.ids and 0 in next(iter(task.training_batches(0)))["labels"].numpy()


def test_unknown_texts_are_named(tmp_path):
    with pytest.raises(UsageError, match="no text 'tiny_shakespear'.*'tiny_shakespeare'"):
        load_text("tiny_shakespear", split="tfds", streams=4, sequence_length=10)
    with pytest.raises(UsageError, match="is a path; data of your own is given as text:PATH"):
        load_text(str(tmp_path), split="tfds", streams=4, sequence_length=10)
    with pytest.raises(UsageError, match="no such file or folder"):
        load_text(f"text:{tmp_path / 'none'}", split="tfds", streams=4, sequence_length=10)


def test_the_python_documentation_needs_no_network():
    data = load_text("python_docs", split="tfds", streams=32, sequence_length=50)
    assert len(data.train) * data.train.length > 300_000 and "assert" in data.train.rows[0]
    assert data.fingerprint["source"] == f"Python {platform.python_version()}"


def test_predict_and_evaluate_on_the_command_line(exported, capsys, tmp_path):
    from zoo.cli.commands import dispatch

    (tmp_path / "prompt.txt").write_text("the quick brown fox j", encoding="utf-8")
    arguments = [str(exported.export), "--text", "over the l", str(tmp_path / "prompt.txt"), "--temperature", "0"]
    assert dispatch(["predict", *arguments, "--length", "6"]) == 0
    assert capsys.readouterr().out == "over the lazy do\nthe quick brown fox jumps o\n"
    wrong = {"length": ("-1", "2147483640"), "seed": ("-3000000000",), "temperature": ("-0.5", "nan", "1e300")}
    for flag, values in wrong.items():
        for value in values:
            with pytest.raises(UsageError, match=f"^--{flag} is .*; it must be from .* to "):
                dispatch(["predict", *arguments, f"--{flag}={value}"])
    (tmp_path / "ru.txt").write_text("the жж", encoding="utf-8")
    assert dispatch(["evaluate", str(exported.export), "--dataset", f"text:{tmp_path / 'ru.txt'}"]) == 0
    assert "warning: 2 of 6 test characters are not in the vocabulary ('\\u0436')" in capsys.readouterr().err
    (tmp_path / "part.txt").write_text(TEXT[:500], encoding="utf-8")
    assert dispatch(["evaluate", str(exported.export), "--dataset", f"text:{tmp_path / 'part.txt'}"]) == 0
    said = capsys.readouterr().err
    assert "9 of 9 pieces of 50 test characters are in the training split, too" in said
    assert dispatch(["evaluate", str(exported.export), "--json"]) == 0
    import json

    results = json.loads(capsys.readouterr().out)
    for name in ("validation_nats_per_char", "test_nats_per_char"):
        assert results[name] == pytest.approx(exported.metrics[name], rel=1e-4)


def test_weights_of_an_export_load_into_a_new_model(exported):
    model = zoo.build("char_rnn", weights=exported.export)
    np.testing.assert_array_equal(model.weights[0], exported.model.weights[0])

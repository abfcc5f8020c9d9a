"""Batching by TensorFlow's kernel: outputs equal the unbatched ones, whatever the other rows are."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from serving import CHAR_RNN, LENET, ROOT, save_small
from zoo.errors import UsageError
from zoo.serve.errors import RequestError
from zoo.serve.servable import Servable
from zoo.serve.settings import Batching

BATCHING = Batching(max_batch_size=8, timeout_micros=20_000, allowed_batch_sizes=(1, 4, 8))


def images(count):
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (28, 28, 1), np.uint8) for _ in range(count)]


def run(servable, name, **arrays):
    signature = servable.signature(name)
    return servable.run(signature, signature.complete(arrays))


def strings(*values):
    array = np.empty(len(values), object)
    array[:] = values
    return array


def in_parallel(function, values):
    with ThreadPoolExecutor(len(values)) as threads:
        return list(threads.map(function, values))


def test_rows_of_requests_run_together_and_each_gets_its_own_answer():
    alone, batched = Servable(LENET / "1", Batching()), Servable(LENET / "1", BATCHING)
    pixels = images(24)
    for name, make in (
        ("serving_default", lambda image: {"images": image[None]}),
        ("image_bytes", lambda image: {"image_bytes": strings(tf.io.encode_png(image).numpy())}),
    ):
        requests = [make(image) for image in pixels]
        answers = in_parallel(lambda request, name=name: run(batched, name, **request), requests)
        for request, answer in zip(requests, answers, strict=True):
            expected = run(alone, name, **request)
            assert answer["labels"].tolist() == expected["labels"].tolist()
            np.testing.assert_allclose(answer["probabilities"], expected["probabilities"], rtol=1e-4, atol=1e-6)
    for servable in (alone, batched):
        servable.close()


def test_translations_do_not_depend_on_the_batch():
    alone, batched = Servable(CHAR_RNN / "1", Batching()), Servable(CHAR_RNN / "1", BATCHING)
    rows = [
        {
            "prompt": strings(prompt.encode()),
            "length": np.array([20 + 5 * seed], np.int32),
            "temperature": np.array([0.7], np.float32),
            "seed": np.array([seed], np.int32),
        }
        for seed, prompt in enumerate(["To be", "KING:", "", "A long prompt, longer than the others"])
    ]
    answers = in_parallel(lambda row: run(batched, None, **row), rows)
    assert [answer["text"].tolist() for answer in answers] == [run(alone, None, **row)["text"].tolist() for row in rows]
    for servable in (alone, batched):
        servable.close()


class Rows(tf.Module):
    """Returns for each row the number of rows of its batch."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x"), tf.TensorSpec([None], tf.float32, "limit")])
    def serving_default(self, x, limit):
        with tf.control_dependencies([tf.debugging.assert_less_equal(x, limit, "x is above its limit")]):
            return {"rows": tf.fill(tf.shape(x), tf.size(x))}


@pytest.fixture
def counting(tmp_path):
    module = Rows()
    tf.saved_model.save(module, str(tmp_path / "rows"), signatures={"serving_default": module.serving_default})
    made = []

    def make(batching):
        made.append(Servable(tmp_path / "rows", batching))
        return made[-1]

    yield make
    for servable in made:
        servable.close()


def ask(servable, x=0.0, limit=1.0, rows=1):
    x, limit = (np.full(rows, value, np.float32) for value in (x, limit))
    return run(servable, None, x=x, limit=limit)["rows"]


def test_batches_have_the_maximum_size_and_are_padded_to_the_allowed_sizes(counting):
    servable = counting(BATCHING)
    assert set(np.concatenate(in_parallel(lambda _: ask(servable), range(32)))) <= {1, 4, 8}
    assert 8 in np.concatenate(in_parallel(lambda _: ask(servable), range(32)))
    assert ask(servable, rows=3).tolist() == [4] * 3
    assert ask(servable, rows=9).tolist() == [9] * 9  # more than a batch: by itself
    assert ask(counting(Batching()), rows=3).tolist() == [3] * 3
    assert ask(servable, rows=0).tolist() == []


def test_a_failing_request_does_not_affect_others(counting):
    servable = counting(BATCHING)

    def answer(number):
        try:
            return ask(servable, x=2.0 if number == 5 else 0.0).tolist()
        except RequestError as error:
            return error.message

    answers = in_parallel(answer, range(16))
    assert "x is above its limit" in answers.pop(5)
    assert all(isinstance(entry, list) for entry in answers)


def test_a_full_queue_refuses(tmp_path):
    folder = save_small(tmp_path / "small", 1)
    servable = Servable(folder, Batching(max_batch_size=2, timeout_micros=0, max_enqueued_batches=1))

    def answer(_):
        try:
            return run(servable, "slow", steps=np.array([30_000], np.int32))["done"].tolist()
        except RequestError as error:
            return error.code.name

    answers = in_parallel(answer, range(12))
    assert "UNAVAILABLE" in answers and [30_000] in answers
    servable.close()


def test_outputs_whose_shape_depends_on_other_rows_are_not_batched():
    folder = ROOT / "saved_models" / "seq2seq_dates" / "1"
    alone, batched = Servable(folder, Batching()), Servable(folder, BATCHING)
    texts = [b"1 May 2024", b"Wednesday, the 25th of December 2019", b"11.3.24"]
    answers = in_parallel(lambda text: run(batched, None, text=strings(text)), texts)
    for text, answer in zip(texts, answers, strict=True):
        expected = run(alone, None, text=strings(text))
        assert answer["attention"].shape == expected["attention"].shape
        assert answer["translation"].tolist() == expected["translation"].tolist()
    for servable in (alone, batched):
        servable.close()


def test_rows_of_many_shapes():
    servable = Servable(LENET / "1", BATCHING)
    shapes = [(1, side, side, 1) for side in range(20, 40)]
    answers = in_parallel(lambda shape: run(servable, None, images=np.zeros(shape, np.uint8)), shapes)
    assert all(answer["probabilities"].shape == (1, 10) for answer in answers)
    servable.close()


def test_wrong_sizes():
    for arguments in ({"max_batch_size": 0}, {"max_batch_size": 8, "allowed_batch_sizes": (4, 2, 8)}):
        with pytest.raises(UsageError):
            Batching(**arguments)
    with pytest.raises(UsageError, match="end in --max-batch-size 8"):
        Batching(max_batch_size=8, allowed_batch_sizes=(2, 4))

"""Served convolutions read constants where the graph changes no variable."""

import numpy as np
import pytest
import tensorflow as tf

from zoo.serve.constants import gains_from_constants, part_of
from zoo.serve.servable import Servable
from zoo.serve.settings import Batching


class Convolution(tf.Module):
    """Signatures with a convolution; with `counts`, one of them changes a variable of the other."""

    def __init__(self, counts=False, filters=3):
        super().__init__()
        self.kernel = tf.Variable(tf.random.stateless_normal((3, 3, 1, filters), (1, 2)))
        self.shift = tf.Variable(0.5)
        images, unused = tf.TensorSpec((None, 4, 4, 1), name="images"), tf.TensorSpec((None,), name="unused")

        @tf.function(input_signature=[images, unused])
        def convolve(images, unused):
            return {"sums": tf.reduce_sum(tf.nn.conv2d(images, self.kernel, 1, "SAME"), (1, 2, 3)) + self.shift}

        @tf.function(input_signature=[tf.TensorSpec((None,), name="amounts")])
        def count(amounts):
            if counts:
                self.shift.assign_add(amounts[0])
            return {"shifts": amounts + self.shift}

        self.endpoints = {"serving_default": convolve, "count": count}


def saved(folder, module):
    tf.saved_model.save(module, str(folder), module.endpoints)
    return folder


@pytest.mark.parametrize("batching", [Batching(), Batching(max_batch_size=4)], ids=["alone", "batched"])
def test_answers_are_those_of_the_variables(tmp_path, batching):
    folder, module = tmp_path / "1", Convolution()
    servable = Servable(saved(folder, module), batching)
    images = np.random.default_rng(0).normal(size=(2, 4, 4, 1)).astype(np.float32)
    answer = servable.run(servable.signature(None), {"images": images, "unused": np.zeros(2, np.float32)})
    theirs = module.endpoints["serving_default"](images, tf.zeros(2))["sums"]
    np.testing.assert_allclose(answer["sums"], theirs, rtol=1e-5)
    shifts = servable.run(servable.signature("count"), {"amounts": np.ones(2, np.float32)})["shifts"]
    np.testing.assert_array_equal(shifts, [1.5, 1.5])
    servable.close()


def test_a_variable_that_a_signature_changes_stays_one(tmp_path):
    servable = Servable(saved(tmp_path / "1", Convolution(counts=True)), Batching())
    inputs = {"images": np.zeros((1, 4, 4, 1), np.float32), "unused": np.zeros(1, np.float32)}
    for before, after in ((0.5, 1.5), (1.5, 2.5)):
        assert servable.run(servable.signature(None), inputs)["sums"] == before
        shifts = servable.run(servable.signature("count"), {"amounts": np.ones(1, np.float32)})["shifts"]
        assert shifts == 1 + after
    servable.close()


def test_a_graph_that_cannot_be_converted_runs_with_variables(tmp_path):
    module = tf.Module()
    module.kernel, module.table = tf.Variable(tf.ones((3, 3, 1, 1))), tf.Variable([1.0, 2.0])

    @tf.function(input_signature=[tf.TensorSpec((None, 4, 4, 1), name="images")])
    def look_up(images):
        row = tf.gather(module.table, tf.cast(images[0, 0, 0], tf.int32))  # its conversion has wrong types
        return {"sums": tf.reduce_sum(tf.nn.conv2d(images, module.kernel, 1, "SAME"), (1, 2, 3)) + row}

    module.endpoints = {"serving_default": look_up}
    for batching in (Batching(), Batching(max_batch_size=4)):
        servable = Servable(saved(tmp_path / str(batching.max_batch_size), module), batching)
        sums = servable.run(servable.signature(None), {"images": np.ones((2, 4, 4, 1), np.float32)})["sums"]
        np.testing.assert_array_equal(sums, [102, 102])
        servable.close()


def test_which_graphs_get_constants():
    def part(function):
        graph = tf.function(function, input_signature=[]).get_concrete_function().graph
        return part_of(graph, [tensor.name for tensor in graph.outputs])

    image, kernel = tf.ones((1, 4, 4, 1)), tf.Variable(tf.ones((3, 3, 1, 1)))
    convolution = part(lambda: tf.nn.conv2d(image, kernel, 1, "SAME"))
    assert gains_from_constants(convolution, 9)
    assert not gains_from_constants(convolution, 0) and not gains_from_constants(convolution, 10**9)
    assert not gains_from_constants(part(lambda: tf.matmul(image[0, ..., 0], image[0, ..., 0])), 9)
    generator = tf.random.Generator.from_seed(1)
    assert not gains_from_constants(part(lambda: tf.nn.conv2d(image, kernel, 1, "SAME") + generator.normal(())), 9)

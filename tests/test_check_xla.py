"""`zoo check-xla`: the steps of recipes compile for a TPU, and programs that a TPU cannot run are refused."""

from dataclasses import replace

import keras
import pytest
import tensorflow as tf

from conftest import prepared, zoo
from zoo.errors import ZooError
from zoo.recipe import list_recipes, load_recipe
from zoo.training import check_xla

SMALL = ("lenet5_digits",)
# Batches small enough for the memory of a small machine; every other dimension as in the recipe.
FEWER = {"bilstm_classifier_imdb_reviews": "16", "bilstm_tagger_python_tokens": "16"}
OWN_DATA = {"photos": "digits"}  # recipes without data of their own, and what takes its place


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in SMALL else [pytest.mark.full]) for name in list_recipes()]
)
def test_every_recipe_compiles(name):
    batch = FEWER.get(name) or ("32" if name.endswith("_imagenet2012") else None)
    flags = ["--batch-size", batch] if batch else []
    flags += ["--dataset", OWN_DATA[name]] if name in OWN_DATA else []
    done = zoo("check-xla", name, *flags, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    row = next(line for line in done.stdout.splitlines() if line.startswith("│ training"))
    cells = [cell.strip().replace(",", "") for cell in row.strip("│").split("│")]
    assert int(cells[1]) > 50 and float(cells[2]) >= 0 and float(cells[3].removesuffix(" MB")) > 0


def test_flops_are_those_of_the_layers():
    @tf.function(jit_compile=True)
    def step(images, kernel, weights):
        maps = tf.nn.conv2d(images, kernel, 1, "VALID")  # (2, 6, 6, 4) of windows of 3 × 3 × 3
        x = tf.reshape(maps, (2, 144))
        return tf.while_loop(lambda i, _: i < 5, lambda i, x: (i + 1, x @ weights), (0, x))[1]

    arguments = tf.ones((2, 8, 8, 3)), tf.ones((3, 3, 3, 4)), tf.ones((144, 144))
    program = step.experimental_get_compiler_ir(*arguments)(stage="optimized_hlo")
    assert check_xla.flops(program) == 2 * (2 * 6 * 6 * 4) * 27 + 5 * 2 * 2 * 144 * 144


def test_flops_of_a_recurrent_net_are_those_of_every_step():
    net = keras.Sequential([keras.Input((7, 3)), keras.layers.SimpleRNN(8)])

    @tf.function(jit_compile=True)
    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(net(x) ** 2)
        return tape.gradient(loss, net.trainable_variables)

    program = step.experimental_get_compiler_ir(tf.ones((2, 7, 3)))(stage="optimized_hlo")
    inputs, recurrent = 2 * 2 * 3 * 8, 2 * 2 * 8 * 8  # a product of two rows, forth; no gradient for the input
    assert check_xla.flops(program) == 7 * (2 * inputs + 3 * recurrent)


def test_programs_that_a_tpu_cannot_run_are_refused(tmp_path):
    def check(step, batch):
        check_xla.program("a step", tf.function(step, jit_compile=True), batch, tmp_path)

    with pytest.raises(ZooError, match="a step: XLA cannot compile it"):
        check(lambda x: tf.py_function(lambda v: v, [x], tf.float32), tf.ones(3))
    with pytest.raises(ZooError, match=r"a step has shapes that are known only when it runs: s64\[<=3"):
        check(lambda x: tf.reshape(tf.where(x > 0), [-1]) + 1, tf.ones(3))
    for line in (
        '  %a = f32[] custom-call(), custom_call_target="xla_python_cpu_callback"',
        "  x = token[] outfeed(%a)",
    ):
        with pytest.raises(ZooError, match="a step calls back into the host: (xla_python_cpu_callback|outfeed)"):
            check_xla.check_runs_alone("a step", line)


def test_missing_data_is_replaced(tmp_path):
    recipe = check_xla.with_embedded_data(load_recipe("resnet50_imagenet2012"), tmp_path)
    task = prepared(recipe)
    assert len(task.labels()) == 1000 and len(task.data.train) >= 256 and task.model_args()["num_classes"] == 1000
    texts = load_recipe("bilstm_classifier_imdb_reviews")
    stand_in = check_xla.with_embedded_data(replace(texts, batch_size=3, max_length=5), tmp_path)
    rows = (tmp_path / "texts.tsv").read_text().splitlines()
    assert len(set(rows)) == 24 and rows[0].split() == ["word"] * 4 + ["w0", "0"] and stand_in.validation_examples == 3


def test_wrong_arguments_are_named():
    assert zoo("check-xla").returncode == 2
    assert "no recipe 'lenet5_digit'. Did you mean 'lenet5_digits'" in zoo("check-xla", "lenet5_digit").stderr
    done = zoo("check-xla", "lenet5_digits", "--restart")
    assert done.returncode == 2 and "omit restart" in done.stderr

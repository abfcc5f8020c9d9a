"""Fixtures and functions of several test files."""

import gc
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # the CPU's results are the ones written down

import numpy as np
import pytest

gc.set_threshold(50_000, 20, 100)  # tracing makes millions of objects, and looking for cycles less often is faster

ROOT = Path(__file__).parent.parent
EXPORTS = sorted(path.parent for path in (ROOT / "saved_models").glob("*/*/saved_model.pb"))
PREPARED = Path(os.environ.get("TFDS_DATA_DIR") or ROOT.parent / "shared" / "tfds")
if PREPARED.is_dir():
    os.environ["TFDS_DATA_DIR"] = str(PREPARED)


def need(dataset: str) -> None:
    """Skips the test where a recipe's data set is of TensorFlow Datasets and not prepared here."""
    own = ":" in dataset or dataset in ("cldr_names", "dates", "digits", "python_docs", "python_tokens")
    if not own and not (PREPARED / dataset.partition("/")[0]).is_dir():
        pytest.skip(f"{dataset} is not prepared here; set TFDS_DATA_DIR")


@pytest.fixture(scope="session")
def mnist():
    """The whole of MNIST, 28 × 28 × 1, if it is prepared; else the test is skipped."""
    need("mnist")
    from zoo.data.images import load_images
    from zoo.data.views import whole

    return load_images("mnist", whole((28, 28, 1)))


@pytest.fixture(autouse=True)
def ordinary_determinism():
    """Disables determinism after a deterministic run, for which TensorFlow has no public function."""
    yield
    if "tensorflow" in sys.modules:
        from tensorflow.python.framework import config

        config.disable_op_determinism()


@pytest.fixture(scope="module", autouse=True)
def collected():
    """Frees the graphs of a module's tests, which are cycles of objects; what is left is not looked at again."""
    yield
    gc.collect()
    gc.freeze()


def restored_registry():
    """Undoes `zoo.register`, which has no public counterpart."""
    from zoo import registry

    before = dict(registry._registered)
    yield
    registry._registered.clear()
    registry._registered.update(before)


registry_of_a_module = pytest.fixture(scope="module", autouse=True)(restored_registry)
registry_of_a_test = pytest.fixture(autouse=True)(restored_registry)


@pytest.fixture(scope="session")
def digits():
    """The embedded digits at 8 × 8."""
    from zoo.data.images import load_images
    from zoo.data.views import whole

    return load_images("digits", whole((8, 8, 1)))


@pytest.fixture
def small_recipe():
    """Makes a recipe that trains in a second: softmax regression on 8 × 8 digits, two epochs."""
    from zoo.tasks.image_classification.recipe import ImageRecipe

    base = ImageRecipe(
        name="small",
        model="softmax_regression",
        model_args={"input_shape": (8, 8, 1)},
        dataset="digits",
        epochs=2,
        batch_size=50,
        learning_rate=0.1,
        momentum=0.9,
    )
    return lambda **changes: replace(base, **changes)


@pytest.fixture
def image_folder(tmp_path):
    """Makes a folder of PNG files with one subfolder per class: black squares on white, and white squares on black."""
    import tensorflow as tf

    def make(root=tmp_path / "images", count=12, size=(10, 12), classes=("dark", "light")):
        random = np.random.default_rng(0)
        for number, name in enumerate(classes):
            folder = Path(root) / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = np.full((*size, 3), 255 * number, np.int64) + random.integers(-30, 30, (*size, 3))
                file = tf.io.encode_png(np.clip(pixels, 0, 255).astype(np.uint8)).numpy()
                (folder / f"{i:03}.png").write_bytes(file)
        return Path(root)

    return make


def run(recipe, **options):
    """`zoo.run` without the fresh process that loads the export, which takes seconds; test_export checks it."""
    from zoo.training.run import run

    return run(recipe, **{"check_export": False, **options})


def prepared(recipe):
    """The task of a recipe, with its data."""
    from zoo.tasks.table import create_task

    task = create_task(recipe)
    task.prepare()
    return task


def run_python(*arguments, code=None, cwd=None, env=None, timeout=180):
    """Runs Python in a new process and returns its output and status."""
    command = [sys.executable, *(["-c", code] if code else []), *map(str, arguments)]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", **(env or {})}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=timeout)


def zoo(*arguments, **options):
    """Runs the `zoo` command in a new process."""
    return run_python(*arguments, code="from zoo.cli import console; console()", **options)


def folder_of_pictures(root, sizes=((300, 400), (260, 250), (500, 333)), count=4):
    """Large JPEGs of two classes, dark and light, in train and validation."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    for split in ("train", "validation"):
        for number, name in enumerate(("dark", "light")):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                height, width = sizes[i % len(sizes)]
                pixels = rng.integers(120 * number, 120 * number + 120, (height // 20, width // 20, 3), dtype=np.uint8)
                picture = tf.image.resize(pixels, (height, width), "nearest")
                (root / split / name / f"{i}.jpg").write_bytes(tf.io.encode_jpeg(picture).numpy())
    return root


def image_recipe(**changes):
    """A minimal recipe of image classification."""
    from zoo.tasks.image_classification.recipe import ImageRecipe

    values = {"name": "r", "model": "mlp", "dataset": "digits", "epochs": 1, "batch_size": 4, "learning_rate": 0.1}
    return ImageRecipe(**{**values, **changes})


def check_resumption(recipe, folder, stop_at):
    """Runs a recipe twice, once stopped after `stop_at` steps and resumed: variables and rows must be equal.

    The resumed run is stopped after its last step; it is the whole run that is evaluated and exported.
    """
    import keras

    from zoo.training.training import Interrupted

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if int(self.model.optimizer.iterations.numpy()) == stop_at:
                raise KeyboardInterrupt

    class Watch(keras.callbacks.Callback):
        def __init__(self, last_step=None):
            super().__init__()
            self.last_step = last_step

        def on_train_end(self, logs=None):
            variables = (*self.model.weights, *self.model.optimizer.variables)
            self.values = [variable.numpy() for variable in variables]
            self.step = int(self.model.optimizer.iterations.numpy())
            if self.step == self.last_step:
                raise KeyboardInterrupt

    whole = Watch()
    run(recipe, run_dir=folder / "whole", callbacks=[whole])
    resumed = Watch(whole.step)
    for callback in (Stop(), resumed):
        with pytest.raises(Interrupted):
            run(recipe, run_dir=folder / "stopped", callbacks=[callback])
    for one, other in zip(whole.values, resumed.values, strict=True):
        np.testing.assert_array_equal(one, other)
    rows = [(folder / name / "metrics.jsonl").read_text() for name in ("whole", "stopped")]
    assert rows[0] == rows[1]

"""benchmarks/train_with_jax.py trains as `zoo.run` does."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import zoo
from conftest import ROOT, run_python
from zoo.training import provenance

sys.path.append(str(ROOT / "benchmarks"))
from train_with_jax import recipe_of  # noqa: E402

COUNT = 16
JAX = """
import sys
from pathlib import Path
import keras, numpy as np
sys.path[:0] = sys.argv[1:3]
from test_train_with_jax import whole_batches
import train_with_jax as jax_training, zoo
recipe, data, start = whole_batches(), np.load(sys.argv[3]), np.load(sys.argv[4])
model = zoo.build(recipe.model)
normalise = jax_training.normalisation(recipe, data["train_images"])
jax_training.adapt(model, recipe, data["train_images"], normalise)
np.testing.assert_allclose(model.get_layer("whiten").kernel, start["whiten/kernel"], rtol=1e-3, atol=1e-4)
for weight in model.weights:
    weight.assign(start[weight.path])
size = tuple(model.input_shape[1:3])
batches = jax_training.Batches(recipe, size, data["train_images"], normalise)
rows, _ = jax_training.Descent(recipe, model, batches, data["train_labels"]).fit(Path(sys.argv[5] + ".checkpoint"))
right = jax_training.accuracy(model, recipe, size, data["test_images"], data["test_labels"], normalise)
np.savez(sys.argv[5], loss=rows[-1]["loss"], right=right, **{v.path: np.asarray(v.value) for v in model.weights})
assert "tensorflow" not in sys.modules
"""
RESUMED = """
import sys
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[1])
import train_with_jax as jax_training
data, folder = sys.argv[2], Path(sys.argv[3])
jax_training.CHECKPOINT_SECONDS = 0.0

def trained(name, seed=0):
    arguments = ["train", data, "resnet20_cifar10_fast", folder / name, "--seed", seed, "--limit-steps", 4]
    jax_training.main([str(argument) for argument in arguments])
    return np.load(folder / name / "weights.npz")

whole = trained("whole")
save = jax_training.Descent._save

def killed(self, *arguments):
    save(self, *arguments)
    if self.state[-1] == 2:
        raise KeyboardInterrupt

jax_training.Descent._save = killed
try:
    trained("killed")
except KeyboardInterrupt:
    jax_training.Descent._save = save
assert [path.name for path in (folder / "killed").iterdir()] == ["checkpoint.npz"]
try:
    trained("killed", seed=1)
except SystemExit as error:
    assert error.code == 2
resumed = trained("killed")
assert not (folder / "killed" / "checkpoint.npz").exists()
for name in whole.files:
    np.testing.assert_array_equal(resumed[name], whole[name], err_msg=name)
rows = [(folder / name / "metrics.jsonl").read_text() for name in ("killed", "whole")]
assert rows[0] == rows[1] and rows[0].count("step") == 4
"""


def whole_batches():
    """airbench94 with batches of all images and no augmentation, so that the order does not matter."""
    recipe = recipe_of("airbench94_cifar10", 0, "float32", 6)
    plain = {"random_flip": False, "alternating_flip": False, "random_shift": 0, "shift_fill": "zeros"}
    short = {"epochs": 8, "schedule_epochs": (0.0, 3.0, 8.0), "frozen_after": {"whiten/bias": 3}, "lookahead_steps": 2}
    rate = 0.02 * recipe.learning_rate
    return replace(recipe, **plain, **short, batch_size=COUNT, adapt_images=COUNT, learning_rate=rate)


def test_only_recipes_that_it_knows_whole_are_trained(monkeypatch):
    for name in ("airbench94_cifar10", "nin_cifar10", "resnet110_cifar10", "inception_small_cifar10_fast"):
        recipe = recipe_of(name, 3, "bfloat16")
        assert (recipe.name, recipe.seed, recipe.precision) == (name, 3, "bfloat16")
    with pytest.raises(zoo.UsageError, match="lenet5_modern_mnist: .* does not know the field optimizer"):
        recipe_of("lenet5_modern_mnist", 0, None)
    with pytest.raises(zoo.UsageError, match="does not know"):
        recipe_of("resnet50_imagenet2012", 0, None)
    for flag in (["--run-dir", "a"], ["--run-dir=a"], ["--run_dir", "a"], ["--run_dir=a"], []):
        monkeypatch.setattr(sys, "argv", ["program", "train", *flag, "x"])
        assert provenance.command(without=("--run-dir",)) == "program train x"


@pytest.mark.full
def test_a_training_on_jax_that_was_killed_goes_on_to_the_same_weights(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {}
    for split in ("train", "test"):
        arrays[f"{split}_images"] = rng.integers(0, 256, (COUNT, 32, 32, 3), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(COUNT) % 10
    np.savez(tmp_path / "data.npz", **arrays)
    environment = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    done = run_python(ROOT / "benchmarks", tmp_path / "data.npz", tmp_path, code=RESUMED, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "resuming at step 2" in done.stdout
    assert "checkpoint.npz is of a training with other settings" in done.stderr


@pytest.mark.full
def test_steps_on_jax_are_those_of_a_run(tmp_path):
    from zoo.training import run_folder
    from zoo.training.run import Run

    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (COUNT, 32, 32, 3), dtype=np.uint8), np.arange(COUNT) % 10
    arrays = {
        f"{split}_{kind}": v for split in ("train", "test") for kind, v in (("images", images), ("labels", labels))
    }
    np.savez(tmp_path / "data.npz", **arrays)
    recipe, folder = replace(whole_batches(), dataset="arrays"), tmp_path / "run"
    job = Run(recipe, folder, data={"train": (images, labels), "test": (images, labels)})
    run_folder.claim(folder, recipe, {"strategy": job.placement.why, "precision": job.precision})
    model = job.prepare()
    before = {weight.path: weight.numpy() for weight in model.weights}
    np.savez(tmp_path / "start.npz", **before)
    training = job.training(model)
    job.task.fit(training)
    paths = [
        ROOT / "benchmarks",
        Path(__file__).parent,
        *(tmp_path / f"{name}.npz" for name in ("data", "start", "end")),
    ]
    environment = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    done = run_python(*paths, code=JAX, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    end = np.load(tmp_path / "end.npz")
    assert float(end["loss"]) == pytest.approx(training.rows[-1]["loss"], rel=1e-4)
    assert float(end["right"]) == pytest.approx(job.task.evaluate(model, folder)["test_accuracy"])
    for weight in model.trainable_weights:
        moved = np.abs(weight.numpy() - before[weight.path]).max()
        np.testing.assert_allclose(end[weight.path], weight, rtol=0, atol=0.01 * moved, err_msg=weight.path)

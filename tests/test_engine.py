"""Runs: their files, repeatability, resumption after being killed or stopped, and errors."""

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

import zoo
from conftest import PREPARED, run
from zoo.recipe import load_recipe
from zoo.training import run_folder
from zoo.training.optimizers import divide_epoch


def weights(result):
    return [weight.numpy() for weight in result.model.weights]


def rows(folder):
    return (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()


def test_the_files_of_a_run(small_recipe, tmp_path, capsys):
    result = run(small_recipe(paper={"test_accuracy": 0.5}), run_dir=tmp_path / "run")
    assert 0.8 < result.metrics["test_accuracy"] <= 1
    kept = {path.name for path in result.folder.iterdir()}
    assert kept == {
        "recipe.json", "environment.json", "metrics.jsonl", "tensorboard", "curves.png", "confusion.png",
        "checkpoint", "data.json", "export", "result.json",
    }  # fmt: skip
    history = [json.loads(line) for line in rows(result.folder)]
    assert [row["epoch"] for row in history] == [1, 2] and [row["step"] for row in history] == [25, 50]
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"} <= set(history[0])
    environment = json.loads((result.folder / "environment.json").read_text())
    assert environment["versions"]["tensorflow"] == tf.__version__
    said = capsys.readouterr().out
    assert "50.00%" in said and str(result.export) in said  # the paper's number, the place of the export
    row = json.loads((result.folder / "result.json").read_text())["rows"]
    assert {r["metric"]: r["value"] for r in row}["test_accuracy"] == result.metrics["test_accuracy"]

    again = run(small_recipe(paper={"test_accuracy": 0.5}), run_dir=result.folder)
    assert again.metrics == result.metrics and "finished" in capsys.readouterr().out


def test_the_accuracy_is_that_of_every_test_image(small_recipe, tmp_path, digits):
    result = run(small_recipe(batch_size=64), run_dir=tmp_path / "run")
    logits = result.model.predict(digits.test.pictures / np.float32(255), verbose=0)
    assert result.metrics["test_accuracy"] == np.mean(logits.argmax(-1) == digits.test.labels)
    validation = result.model(digits.validation.pictures / np.float32(255)).numpy()
    right = validation[np.arange(250), digits.validation.labels]
    loss = np.mean(np.log(np.exp(validation).sum(-1)) - right)
    last = json.loads(rows(result.folder)[-1])
    assert last["val_loss"] == pytest.approx(loss, rel=1e-5)  # 250 is no multiple of the batch
    assert last["val_accuracy"] == pytest.approx(np.mean(validation.argmax(-1) == digits.validation.labels))


def test_two_deterministic_runs_end_with_the_same_weights(small_recipe, tmp_path):
    recipe = small_recipe(
        model="lenet5_modern",
        model_args={"input_shape": (16, 16, 1), "drop_rate": 0.3},
        optimizer="adam",
        learning_rate=0.003,
        random_shift=1,
        deterministic=True,
    )
    one, two = (run(recipe, run_dir=tmp_path / name) for name in ("one", "two"))
    for ours, theirs in zip(weights(one), weights(two), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert rows(one.folder) == rows(two.folder)
    other = run(replace(recipe, seed=1), run_dir=tmp_path / "other")
    assert not np.array_equal(weights(one)[0], weights(other)[0])


KILLED = """
import sys
import time
import keras

import zoo
from zoo.tasks.image_classification.recipe import ImageRecipe
recipe = ImageRecipe(
    name="killed", model="lenet5_modern", model_args={"input_shape": (16, 16, 1), "drop_rate": 0.3}, dataset="digits",
    epochs=4, batch_size=50, optimizer="adam", learning_rate=0.003, schedule="cosine", random_shift=1,
    steps_per_execution=5, keep=sys.argv[2], deterministic=True,
)
# Slow enough for three kills in time: four epochs of five executions take three seconds at least.
pause = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: time.sleep(0.15))
zoo.run(recipe, run_dir=sys.argv[1], callbacks=[pause], save_seconds=0.0, check_export=False)
"""


def final_weights(folder):
    checkpoint = tf.train.load_checkpoint(str(folder / "checkpoint"))
    names = [name for name in checkpoint.get_variable_to_shape_map() if name.startswith(("model", "optimizer"))]
    return {name: checkpoint.get_tensor(name) for name in sorted(names)}


@pytest.mark.parametrize(
    "keep", ["last", pytest.param("best", marks=pytest.mark.full), pytest.param("average", marks=pytest.mark.full)]
)
def test_a_run_killed_three_times_has_the_same_result(keep, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["", str(tmp_path / "calm"), keep])
    exec(KILLED, {})

    script = [sys.executable, "-W", "ignore", "-c", KILLED]
    state = tmp_path / "killed" / "checkpoint" / "checkpoint"
    moments = random.Random(7 + len(keep))
    resumed = 0
    for _ in range(3):
        process = subprocess.Popen([*script, str(tmp_path / "killed"), keep], stdout=subprocess.PIPE, text=True)
        before = state.stat().st_mtime_ns if state.exists() else 0
        while process.poll() is None and not (state.exists() and state.stat().st_mtime_ns != before):
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        resumed += "Resuming from step" in process.communicate()[0]
    last = subprocess.run([*script, str(tmp_path / "killed"), keep], check=True, capture_output=True, text=True)
    assert "Resuming from step" in last.stdout and resumed

    calm, killed = final_weights(tmp_path / "calm"), final_weights(tmp_path / "killed")
    assert calm.keys() == killed.keys()
    for name, value in calm.items():
        np.testing.assert_array_equal(value, killed[name], err_msg=name)
    assert rows(tmp_path / "calm") == rows(tmp_path / "killed")


def test_ctrl_c_stops_cleanly_and_the_same_command_resumes(small_recipe, tmp_path):
    import keras

    class Impatient(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if int(self.model.optimizer.iterations.numpy()) == 30:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(1)

    recipe = small_recipe(steps_per_execution=5, deterministic=True)
    calm = run(recipe, run_dir=tmp_path / "calm")
    with pytest.raises(zoo.ZooError, match="Stopped at step 30 of 50. Run the same command to resume") as stopped:
        run(recipe, run_dir=tmp_path / "run", callbacks=[Impatient()])
    assert stopped.value.exit_status == 130
    result = run(recipe, run_dir=tmp_path / "run")
    np.testing.assert_array_equal(weights(calm)[0], weights(result)[0])
    assert rows(calm.folder) == rows(result.folder)


def test_callbacks_of_keras_save_the_model_that_is_trained(small_recipe, tmp_path):
    import keras

    whole, weights_alone = tmp_path / "at-{epoch}.keras", tmp_path / "at-{epoch}.weights.h5"
    callbacks = [
        keras.callbacks.ModelCheckpoint(whole),
        keras.callbacks.ModelCheckpoint(weights_alone, save_weights_only=True),
    ]
    recipe = small_recipe(epochs=2)
    result = run(recipe, run_dir=tmp_path / "run", callbacks=callbacks)
    loaded, built = keras.models.load_model(tmp_path / "at-2.keras"), zoo.build(recipe.model, **recipe.model_args)
    built.load_weights(tmp_path / "at-2.weights.h5")
    for model in (loaded, built):
        for value, expected in zip(model.get_weights(), result.model.get_weights(), strict=True):
            np.testing.assert_array_equal(value, expected)


def test_best_keeps_the_weights_that_were_best_on_validation(small_recipe, tmp_path, digits):
    # The rate explodes in the second half, so that the last weights are not the best.
    recipe = small_recipe(keep="best", epochs=4, schedule="piecewise", schedule_epochs=(2,), schedule_factors=(1000.0,))
    result = run(recipe, run_dir=tmp_path / "run")
    history = [json.loads(line)["val_accuracy"] for line in rows(result.folder)]
    assert max(history) > history[-1]
    assert result.metrics["validation_accuracy"] == pytest.approx(max(history))


def test_average_keeps_the_moving_average(small_recipe, tmp_path):
    recipe = small_recipe(keep="average", average_momentum=0.9, deterministic=True)
    averaged = weights(run(recipe, run_dir=tmp_path / "average"))[0]

    import keras

    class Steps(keras.callbacks.Callback):
        seen = []

        def on_train_batch_end(self, batch, logs=None):
            self.seen.append(self.model.weights[0].numpy())

    run(replace(recipe, keep="last", steps_per_execution=1), run_dir=tmp_path / "last", callbacks=[Steps()])
    expected = Steps.seen[0]
    for value in Steps.seen[1:]:
        expected = 0.9 * expected + 0.1 * value
    np.testing.assert_allclose(averaged, expected, rtol=1e-4, atol=1e-6)


def test_weight_decay_is_coupled_and_not_applied_to_biases(small_recipe, tmp_path):
    plain, decayed = (
        run(small_recipe(limit_steps=1, momentum=0.0, model="mlp_nielsen", weight_decay=decay,
                                model_args={"input_shape": (8, 8, 1)}), run_dir=tmp_path / str(decay))
        for decay in (0.0, 0.5)
    )  # fmt: skip
    import keras

    keras.utils.set_random_seed(0)
    start = zoo.build("mlp_nielsen", input_shape=(8, 8, 1)).weights
    for before, without, with_decay in zip(start, weights(plain), weights(decayed), strict=True):
        expected = 0.1 * 0.5 * before.numpy() if before.name == "kernel" else 0 * before.numpy()
        np.testing.assert_allclose(without - with_decay, expected, rtol=1e-3, atol=2e-6)


def test_a_non_finite_loss_stops_the_run_and_keeps_the_last_good_checkpoint(small_recipe, tmp_path, monkeypatch):
    recipe = small_recipe(
        schedule="piecewise", schedule_epochs=(1,), schedule_factors=(1e38,), steps_per_execution=1, epochs=3
    )
    with pytest.raises(
        zoo.ZooError, match=r"Loss is not finite \(NaN or Inf\): (nan|inf) at step (\d+)\. The last good checkpoint"
    ) as stop:
        run(recipe, run_dir=tmp_path / "run", save_seconds=0.0)
    step = int(str(stop.value).split("at step ")[1].split(".")[0])
    assert step > 25
    kept = tf.train.latest_checkpoint(str(tmp_path / "run" / "checkpoint"))
    assert kept.endswith(f"ckpt-{step - 1}")
    values = final_weights(tmp_path / "run")
    assert all(np.isfinite(value).all() for name, value in values.items() if name.startswith("model"))


def test_another_recipes_folder_is_not_touched(small_recipe, tmp_path):
    folder = tmp_path / "run"
    run(small_recipe(limit_steps=2), run_dir=folder)
    with pytest.raises(zoo.UsageError, match="another run .learning_rate is 0.1 there, 0.2 here.*--restart"):
        run(small_recipe(limit_steps=2, learning_rate=0.2), run_dir=folder)
    assert run(small_recipe(limit_steps=3), run_dir=folder, restart=True).metrics


def test_a_mistake_with_restart_loses_nothing(small_recipe, tmp_path):
    recipe = small_recipe(limit_steps=2)
    kept = weights(run(recipe, run_dir=tmp_path / "run"))
    for mistake in ({"dataset": f"folder:{tmp_path / 'absent'}"}, {"model": "lenet5"}):
        with pytest.raises(zoo.ZooError):
            run(replace(recipe, **mistake), run_dir=tmp_path / "run", restart=True)
    again = run(recipe, run_dir=tmp_path / "run")
    assert again.model is None and again.export.exists()
    other = weights(run(replace(recipe, seed=1), run_dir=tmp_path / "run", restart=True))
    assert not np.array_equal(kept[0], other[0]) and len(rows(tmp_path / "run")) == 1


def test_two_processes_do_not_train_in_one_folder(small_recipe, tmp_path):
    recipe = small_recipe(limit_steps=2)
    with run_folder.reserved(run(recipe, run_dir=tmp_path / "run").folder):
        for restart in (False, True):
            with pytest.raises(zoo.ZooError, match="Another process trains in .*run. Wait for it"):
                run(recipe, run_dir=tmp_path / "run", restart=restart)
    assert run(recipe, run_dir=tmp_path / "run", restart=True).metrics


def test_the_folder_of_another_process_stays(small_recipe, tmp_path, monkeypatch):
    folder, claim = tmp_path / "run", run_folder.claim
    with ExitStack() as other:

        def overtaken(*arguments):  # the other process makes the folder between a look at it and the lock
            claim(*arguments)
            other.enter_context(run_folder.reserved(folder))

        monkeypatch.setattr(run_folder, "claim", overtaken)
        with pytest.raises(zoo.ZooError, match="Another process trains in"):
            run(small_recipe(limit_steps=2), run_dir=folder)
        assert (folder / "recipe.json").exists()


def test_a_run_of_a_version_with_fewer_fields_goes_on(small_recipe, tmp_path):
    recipe = small_recipe(limit_steps=2)
    run(recipe, run_dir=tmp_path / "run")
    path = tmp_path / "run" / "recipe.json"
    known = json.loads(path.read_text())
    del known["lookahead_steps"], known["frozen_after"], known["momentum"]
    path.write_text(json.dumps(known))
    with pytest.raises(zoo.UsageError, match="momentum is None there, 0.9 here"):  # not its default
        run(recipe, run_dir=tmp_path / "run")
    path.write_text(json.dumps({**known, "momentum": 0.9}))
    assert run(recipe, run_dir=tmp_path / "run").metrics


def test_the_checkpoint_of_another_model_is_refused(small_recipe, tmp_path):
    run(small_recipe(limit_steps=2), run_dir=tmp_path / "run")
    other = small_recipe(limit_steps=2, model="mlp_nielsen")
    (tmp_path / "run" / "result.json").unlink()
    (tmp_path / "run" / "recipe.json").write_text(json.dumps(other.to_dict()))
    with pytest.raises(zoo.ZooError, match="does not fit this model"):
        run(other, run_dir=tmp_path / "run")


def test_a_folder_that_is_not_a_run_directory_is_not_deleted(small_recipe, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(zoo.UsageError, match="not empty"):
        run(small_recipe(), run_dir=tmp_path)
    with pytest.raises(zoo.UsageError, match="not a run directory; refusing to delete it"):
        run(small_recipe(), run_dir=tmp_path, restart=True)
    assert (tmp_path / "thesis.txt").exists()


def test_a_run_directory_that_cannot_be_written_is_named(small_recipe, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(zoo.ZooError, match="cannot be written"):
        run(small_recipe(), run_dir=tmp_path / "file" / "run")
    with pytest.raises(zoo.ZooError, match="cannot be written"):
        run(small_recipe(), run_dir="/proc/run")


@contextmanager
def full_disk(after):
    """No checkpoint can be written after this many."""
    save, saved = tf.train.CheckpointManager.save, []

    def full(self, **options):
        if len(saved) == after:
            raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")
        saved.append(save(self, **options))
        return saved[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf.train.CheckpointManager, "save", full)
        yield
    assert len(set(saved)) == after  # none was written over another


@pytest.mark.parametrize(
    ("fields", "whole", "step"),
    [
        ({}, 3, 20),
        # The last checkpoint that is whole is that of the last step, with the weights as they were in training.
        ({"keep": "average", "average_momentum": 0.9}, 10, 50),
        ({"keep": "best"}, 10, 50),
        ({"lookahead_steps": 3}, 10, 50),
    ],
)
def test_a_full_disk_keeps_the_last_checkpoint(fields, whole, step, small_recipe, tmp_path):
    recipe = small_recipe(steps_per_execution=5, deterministic=True, **fields)
    calm = run(recipe, run_dir=tmp_path / "calm")
    with (
        full_disk(after=whole),
        pytest.raises(zoo.ZooError, match=f"step {step} cannot be written.*No space left.*is intact.*Free some space"),
    ):
        run(recipe, run_dir=tmp_path / "run", save_seconds=0.0)
    result = run(recipe, run_dir=tmp_path / "run")
    for ours, theirs in zip(weights(calm), weights(result), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_run_that_a_callback_ended_has_ended_when_it_resumes(small_recipe, tmp_path):
    import keras

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    recipe = small_recipe(epochs=4, steps_per_execution=5, deterministic=True)
    with full_disk(after=10), pytest.raises(zoo.ZooError, match="step 50 cannot be written"):
        run(recipe, run_dir=tmp_path / "run", save_seconds=0.0, callbacks=[Stop()])
    result = run(recipe, run_dir=tmp_path / "run")
    assert [json.loads(line)["step"] for line in rows(result.folder)] == [25, 50]
    kept = sorted(path.stem for path in (result.folder / "checkpoint").glob("*.index"))
    assert kept == ["ckpt-50", "ckpt-51"]  # the last one is not written over that of the last step


@pytest.mark.parametrize("limit", [10, 60])
def test_a_limited_run_equals_the_first_steps_of_the_whole_run(limit, small_recipe, tmp_path):
    import keras

    class Watch(keras.callbacks.Callback):
        seen = None

        def on_train_batch_end(self, batch, logs=None):
            if int(self.model.optimizer.iterations.numpy()) == limit:
                Watch.seen = self.model.weights[0].numpy()

    recipe = small_recipe(epochs=3, schedule="cosine", steps_per_execution=5, deterministic=True)
    run(recipe, run_dir=tmp_path / "whole", callbacks=[Watch()])
    limited = run(replace(recipe, limit_steps=limit), run_dir=tmp_path / "limited")
    np.testing.assert_array_equal(weights(limited)[0], Watch.seen)
    steps = [json.loads(line)["step"] for line in rows(limited.folder)]
    assert steps == ([10] if limit == 10 else [25, 50, 60])


def test_a_dry_run_leaves_no_files(small_recipe, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run(small_recipe(), dry_run=True)
    assert list(tmp_path.iterdir()) == [] and "trained for 2 steps" in capsys.readouterr().out


def test_a_recipe_that_needs_a_missing_split(small_recipe, tmp_path, image_folder):
    root = image_folder(count=8)
    for part in ("train", "test"):
        (root / part).mkdir()
        image_folder(root / part, count=4)
    for name in ("dark", "light"):
        shutil.rmtree(root / name)
    recipe = small_recipe(dataset=f"folder:{root}", keep="best", batch_size=4, model_args={"input_shape": (8, 8, 3)})
    with pytest.raises(zoo.UsageError, match="keep is 'best', but there is no validation split"):
        run(recipe, run_dir=tmp_path / "run")


def test_a_folder_of_images_trains(small_recipe, tmp_path, image_folder):
    root = image_folder(count=20)
    recipe = small_recipe(dataset=f"folder:{root}", batch_size=8, model_args={"input_shape": (8, 8, 3)}, epochs=5)
    assert run(recipe, run_dir=tmp_path / "run").metrics["test_accuracy"] == 1.0


@pytest.mark.parametrize(
    ("examples", "batch", "limit", "expected"),
    [(60_000, 128, 50, (468, 39)), (60_000, 1, 1000, (60_000, 1000)), (60_000, 64, 50, (936, 39)), (7, 8, 50, (1, 1))],
)
def test_an_epoch_is_cut_into_executions_that_divide_it(small_recipe, examples, batch, limit, expected):
    steps, execution = divide_epoch(small_recipe(batch_size=batch, steps_per_execution=limit), examples)
    assert (steps, execution) == expected and steps % execution == 0
    assert steps >= math.floor(0.995 * (examples // batch))


full = pytest.mark.full


@pytest.mark.skipif(not (PREPARED / "mnist").is_dir(), reason="MNIST is not prepared here; set TFDS_DATA_DIR")
@pytest.mark.parametrize(
    ("name", "steps", "accuracy"),
    [
        pytest.param("lenet5_mnist", 200, 0.5, marks=full),
        pytest.param("perceptron_mnist", 500, 0.5, marks=full),
        pytest.param("lenet5_modern_mnist", 60, 0.5, marks=full),
        pytest.param("mlp_mnist", 60, 0.5, marks=full),
        pytest.param("softmax_mnist", 60, 0.5, marks=full),
        pytest.param("mlp_depth_mnist", 3000, 0.5, marks=full),
    ],
)
def test_recipes_learn_in_a_few_steps(name, steps, accuracy, tmp_path):
    recipe = replace(load_recipe(name), limit_steps=steps)
    assert run(recipe, run_dir=tmp_path / "run").metrics["test_accuracy"] > accuracy

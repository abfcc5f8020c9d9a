"""The task of docs/own-task.md, defined outside of the package, works like the tasks of the package."""

import csv
import importlib.util
import json
import re
import signal
import subprocess
import sys
import time
from argparse import Namespace
from dataclasses import dataclass

import numpy as np
import pytest
import tensorflow as tf
from check_task import check_task

import zoo
from conftest import ROOT, run
from zoo.registry import describe
from zoo.tasks.table import create_task, list_tasks, load_predictor

DOCUMENT = (ROOT / "docs" / "own-task.md").read_text(encoding="utf-8")
WEIGHTS = {"price": (2.0, -1.0, 0.5), "tax": (0.3, 0.0, -0.2)}  # of the two columns, and the bias


def script(folder):
    """The document's script, and the file that it reads by default."""
    (folder / "prices.py").write_text(re.search(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)[1], encoding="utf-8")
    random = np.random.default_rng(0)
    with (folder / "houses.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["rooms", "age", "price", "tax"])
        for rooms, age in random.normal(size=(203, 2)):
            writer.writerow([rooms, age, *(a * rooms + b * age + c for a, b, c in WEIGHTS.values())])
    return folder / "prices.py"


@pytest.fixture(scope="module")
def prices(tmp_path_factory):
    """The script as a module of this process."""
    path = script(tmp_path_factory.mktemp("prices"))
    spec = importlib.util.spec_from_file_location("prices", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["prices"] = module
    spec.loader.exec_module(module)
    module.folder = path.parent
    return module


@pytest.fixture
def recipe(prices):
    def make(**changes):
        values = {"name": "prices", "model": "linear", "dataset": f"csv:{prices.folder / 'houses.csv'}"}
        values |= {"epochs": 20, "batch_size": 8, "learning_rate": 0.05}
        return prices.PriceRecipe(**{**values, **changes})

    return make


def test_the_document_is_short():
    assert len(DOCUMENT.splitlines()) < 80


def test_it_passes_what_every_task_passes(prices, recipe, tmp_path):
    check_task(recipe(epochs=2), tmp_path, damaged={"dataset": f"csv:{tmp_path / 'none.csv'}"})


def test_its_export_predicts_and_is_evaluated(prices, recipe, tmp_path):
    result = run(recipe(), run_dir=tmp_path / "run")
    assert result.metrics["test_rmse"] < 0.01
    predictor = load_predictor(result.export)
    (answer,) = predictor.predict(Namespace(files=[str(prices.folder / "houses.csv")]))
    expected = prices.read(str(prices.folder / "houses.csv"))["targets"]
    np.testing.assert_allclose(answer["price"], expected["price"], atol=0.05)
    assert predictor.evaluate()["test_rmse"] < 0.01 and "houses.csv" in predictor.format(answer)


RUN = """
import sys, time
from dataclasses import replace
import keras
import zoo
import prices
recipe = replace(prices.recipe, epochs=6, steps_per_execution=5, deterministic=True)
pause = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: time.sleep(float(sys.argv[1])))
for name, strategy in (argument.split(":") for argument in sys.argv[2:]):
    devices = zoo.Devices(strategy=strategy, logical_devices=2)
    zoo.run(recipe, run_dir=name, devices=devices, callbacks=[pause], save_seconds=0.0, check_export=False)
"""


def test_the_script_is_killed_resumes_and_runs_on_two_replicas(tmp_path):
    script(tmp_path)
    command = [sys.executable, "-W", "ignore", "-c", RUN]
    killed = subprocess.Popen([*command, "0.2", "killed:one_device"], cwd=tmp_path)
    state = tmp_path / "killed" / "checkpoint" / "checkpoint"
    while killed.poll() is None and not state.exists():
        time.sleep(0.01)
    time.sleep(0.7)  # three executions more, in the middle of an epoch
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    runs = ("killed:one_device", "calm:one_device", "two:mirrored")
    done = subprocess.run([*command, "0", *runs], cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Resuming from step" in done.stdout and "2 replicas, 4 examples of each batch of 8 on each" in done.stdout
    logs = {name: (tmp_path / name / "metrics.jsonl").read_text() for name in ("killed", "calm", "two")}
    assert logs["killed"] == logs["calm"] and len(logs["calm"].splitlines()) == 6
    calm, two = ([json.loads(line)["val_loss"] for line in logs[name].splitlines()] for name in ("calm", "two"))
    np.testing.assert_allclose(calm, two, rtol=1e-4, atol=1e-7)
    assert all((tmp_path / name / "export" / "prices" / "1" / "saved_model.pb").exists() for name in logs)


def test_a_fit_in_closed_form(prices, tmp_path):
    """A task with its own learning rule has run folder, resume and export, and needs no gradient settings."""

    @dataclass(frozen=True, kw_only=True)
    class LeastSquaresRecipe(zoo.Recipe):
        task = "prices_in_closed_form"

    fits = []

    class LeastSquares(prices.Prices):
        Recipe = LeastSquaresRecipe

        @classmethod
        def compatible(cls, card):
            return card.task == "prices"

        def fit(self, run):
            if run.restore():
                return
            fits.append(run.step)
            inputs = np.concatenate([self.train["inputs"], np.ones((self.train_examples, 1), "float32")], axis=1)
            for target, values in self.train["targets"].items():
                *slopes, bias = np.linalg.lstsq(inputs, values, rcond=None)[0]
                run.model.get_layer(target).set_weights([np.array(slopes)[:, None], np.array([bias])])
            run.record({"step": 1, "test_rmse": self.evaluate(run.model, run.folder)["test_rmse"]})
            run.save(finished=True)

    zoo.register_task(LeastSquares, prices.PricePredictor)
    dataset = f"csv:{prices.folder / 'houses.csv'}"
    recipe = LeastSquaresRecipe(name="closed", model="linear", dataset=dataset)
    result = run(recipe, run_dir=tmp_path / "run")
    assert result.metrics["test_rmse"] < 1e-5
    np.testing.assert_allclose(result.model.get_layer("price").get_weights()[0][:, 0], (2.0, -1.0), atol=1e-5)
    (tmp_path / "run" / "result.json").unlink()  # as if it had been killed before it was finished
    again = run(recipe, run_dir=tmp_path / "run")
    assert fits == [0] and again.metrics == result.metrics and again.export.name == "2"
    assert load_predictor(result.export).evaluate()["test_rmse"] < 1e-5


def test_names_and_models_that_do_not_fit_are_refused(prices, recipe):
    with pytest.raises(zoo.UsageError, match="already a task 'prices'"):
        zoo.register_task(prices.Prices, prices.PricePredictor)
    assert {"prices", "tagging"} <= set(list_tasks()) and describe("linear").task == "prices"
    with pytest.raises(
        zoo.UsageError, match="lenet5 is a model for image_classification, and the recipe trains prices"
    ):
        create_task(recipe(model="lenet5"))
    with pytest.raises(zoo.UsageError, match="optimizer is 'Adam'. Did you mean 'adam'"):
        recipe(optimizer="Adam")
    assert tf.reduce_sum(create_task(recipe()).count({"inputs": tf.zeros((3, 2))})) == 3

"""Output, errors and files of a run."""

import importlib.util
import json
import os
import shutil
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from conftest import image_recipe, run, run_python
from zoo.paths import user_path
from zoo.report import console
from zoo.serve.folders import find_models
from zoo.tasks.table import load_predictor
from zoo.training import memory, run_folder


class StopAt(keras.callbacks.Callback):
    def __init__(self, step):
        super().__init__()
        self.stop_at = step

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations.numpy()) == self.stop_at:
            raise KeyboardInterrupt


def test_an_output_without_a_reader_is_said(small_recipe, tmp_path, monkeypatch):
    def write(text):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("zoo.training.run._log", write)
    with pytest.raises(zoo.ZooError, match="program that read the output has ended. Run the same command to resume"):
        run(small_recipe(), run_dir=tmp_path / "run")


def stopped(recipe, folder):
    with pytest.raises(zoo.ZooError, match="Run the same command to resume"):
        run(recipe, run_dir=folder, callbacks=[StopAt(10)])


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.full) for name in ("a [1] run", "star * what?", "back\\slash")]
    + ["[1] * back\\slash?"],
)
def test_folders_with_glob_characters(name, small_recipe, tmp_path, capsys):
    recipe = small_recipe(steps_per_execution=5)
    stopped(recipe, tmp_path / name)
    result = zoo.run(recipe, run_dir=tmp_path / name)  # with the check of the export
    said = capsys.readouterr().out
    assert "Resuming from step 10" in said and said.count("Epoch 1/2") == 2 and said.count("Epoch 2/2") == 1
    assert len(list((tmp_path / name / "checkpoint").glob("*.index"))) == 2  # older checkpoints are deleted
    assert zoo.build("softmax_regression", weights=result.export).count_params() == 650
    assert (tmp_path / name / "tensorboard").is_dir()


def test_a_tilde_is_the_home_folder(small_recipe, tmp_path, monkeypatch):
    home, work = tmp_path / "home", tmp_path / "work"
    for folder in (home, work):
        folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(work)
    recipe = small_recipe(limit_steps=1)
    result = run(recipe, run_dir="~/run")
    zoo.export(result.model, recipe, "~/export", check=False)
    zoo.ensemble(["~/run", "~/export"], "~/committee", check=False)
    assert zoo.build("softmax_regression", weights="~/run").count_params() == 650
    assert zoo.finetuning_recipe("~/run").weights == str(home / "run/export" / recipe.name / "1")
    assert list(find_models(["~/committee"])) == ["committee"]
    assert {path.name for path in home.iterdir()} == {"run", "export", "committee"} and not any(work.iterdir())
    (work / "~").mkdir()  # a folder of that name is meant, where there is one
    shutil.copytree(home / "export", work / "~/export")
    assert user_path("~/export").resolve() == work / "~/export"
    for path in (None, ""):
        with pytest.raises(zoo.UsageError, match="it must be that of a file or folder"):
            zoo.export(result.model, recipe, path)


def test_a_run_that_goes_on_in_another_precision_says_so(small_recipe, tmp_path, monkeypatch, capsys):
    recipe = small_recipe(precision="auto", steps_per_execution=5)
    monkeypatch.setattr("zoo.training.export.computes_in_bfloat16", lambda: True)
    stopped(recipe, tmp_path / "run")
    assert "in bfloat16 on" in capsys.readouterr().out
    monkeypatch.setattr("zoo.training.export.computes_in_bfloat16", lambda: False)
    run(recipe, run_dir=tmp_path / "run")
    said = capsys.readouterr().out
    assert (
        "Resuming from step 10" in said
        and "warning: the run was begun in bfloat16 on other devices and goes on in float32" in said
    )


def test_a_failed_command_leaves_no_folder(small_recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for changes in ({"dataset": "folder:none"}, {"model": "lenet6"}, {"model_args": {"hiden": 3}}):
        with pytest.raises(zoo.UsageError):
            run(small_recipe(**changes))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()  # a folder that was there stays, though it is empty
    with pytest.raises(zoo.UsageError):
        run(small_recipe(dataset="folder:none"), run_dir=tmp_path / "mine" / "new" / "run")
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]


def test_a_run_that_fails_in_its_first_epoch_keeps_its_checkpoints(small_recipe, tmp_path):
    recipe = small_recipe(schedule="piecewise", schedule_epochs=(0.5,), schedule_factors=(1e38,), steps_per_execution=1)
    with pytest.raises(zoo.ZooError, match="Loss is not finite.*The last good checkpoint is"):
        run(recipe, run_dir=tmp_path / "run", save_seconds=0)
    assert list((tmp_path / "run" / "checkpoint").glob("ckpt-*.index"))


def test_class_names_that_matplotlib_reads_as_formulas(small_recipe, tmp_path, image_folder, capsys):
    root = image_folder(count=20, classes=("$x_", "dark", "日本語", "line\nbreak", "long" * 50, "%{x}"))
    recipe = small_recipe(dataset=f"folder:{root}", batch_size=8, model_args={"input_shape": (8, 8, 3)})
    result = run(recipe, run_dir=tmp_path / "run")
    assert result.export.is_dir() and (tmp_path / "run" / "confusion.png").exists()
    assert "warning: the picture" not in capsys.readouterr().out


def test_another_export_of_the_same_name_is_not_taken(tmp_path):
    for sha256 in ("a", "a"):
        run_folder.check_parent(tmp_path, {"name": "parent", "sha256": sha256})
    with pytest.raises(zoo.ZooError, match="starts from, parent, was written again since the run began"):
        run_folder.check_parent(tmp_path, {"name": "parent", "sha256": "b"})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"callbacks": None}, "callbacks is None; it must be a list of Keras callbacks"),
        ({"callbacks": [print]}, "callbacks is .*; it must be a list of Keras callbacks"),
        ({"devices": "gpu"}, "devices is 'gpu'; it must be a zoo.Devices"),
        (
            {"callbacks": [keras.callbacks.ReduceLROnPlateau()]},
            "a ReduceLROnPlateau, and the learning rate of a run is that of its recipe",
        ),
        ({"save_seconds": "x"}, "save_seconds is 'x'; it must be a number"),
        ({"save_seconds": -1}, "save_seconds is -1; it must be a number, 0 or more"),
        ({"restart": "no"}, "restart is 'no'; it must be True or False"),
        ({"run_dir": 5}, "run_dir is 5; it must be a path"),
        ({"dry_run": "no"}, "dry_run is 'no'; it must be True or False"),
    ],
)
def test_options_of_wrong_types_are_refused(options, said, small_recipe, tmp_path):
    with pytest.raises(zoo.UsageError, match=said):
        run(small_recipe(), **{"run_dir": tmp_path / "run", **options})
    assert not (tmp_path / "run").exists()


def test_eager_functions_are_refused(small_recipe, tmp_path):
    tf.config.run_functions_eagerly(True)
    try:
        with pytest.raises(zoo.UsageError, match="runs functions eagerly; call tf.config.run_functions_eagerly.False."):
            run(small_recipe(), run_dir=tmp_path / "run")
    finally:
        tf.config.run_functions_eagerly(False)


def test_other_folders_are_not_taken_for_runs(small_recipe, tmp_path):
    (tmp_path / "recipe.json").write_text('{"name": "cake"}')
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(zoo.UsageError, match="is not a run directory; refusing to delete it"):
        run(small_recipe(), run_dir=tmp_path, restart=True)
    with pytest.raises(zoo.UsageError, match="is not a run directory; choose another --run-dir"):
        run(small_recipe(), run_dir=tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_run_directories_that_are_links_or_no_folders(small_recipe, tmp_path):
    recipe, link = small_recipe(limit_steps=1), tmp_path / "link"
    (tmp_path / "target").mkdir()
    link.symlink_to("target")
    first = run(recipe, run_dir=link)
    again = run(recipe, run_dir=link, restart=True)  # empties the folder that the link leads to
    assert again.model is not None and again.metrics == first.metrics and link.is_symlink()
    assert (tmp_path / "target/result.json").exists()
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("none")
    for name, said in {
        "file": "it is a file, not a folder. Choose another --run-dir",
        "dangling": "the link leads to none, which does not exist",
        "x" * 300: "cannot be written: File name too long",
        "a\0b": "it must be that of a file or folder",
    }.items():
        with pytest.raises(zoo.ZooError, match=said):
            run(recipe, run_dir=tmp_path / name)


def test_damaged_runs_are_named(small_recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / small_recipe().name / "foo").mkdir(parents=True)
    for name in ("recipe.json", "result.json"):
        (tmp_path / "runs" / small_recipe().name / "foo" / name).write_text("garbage")
    folder = run(small_recipe()).folder
    for name, content in (("result.json", ""), ("recipe.json", "{"), ("environment.json", "[]")):
        before = (folder / name).read_text()
        (folder / name).write_text(content)
        if name == "environment.json":
            (folder / "result.json").rename(folder / "kept")
        with pytest.raises(zoo.ZooError, match=f"{name} is damaged .*--restart"):
            run(small_recipe(), run_dir=folder)
        (folder / name).write_text(before)
    for file in (folder / "checkpoint").glob("*.data*"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(zoo.ZooError, match="checkpoint .* does not fit this model .*--restart"):
        run(small_recipe(), run_dir=folder)
    for file in (folder / "checkpoint").glob("*.index"):
        file.unlink()
    with pytest.raises(zoo.ZooError, match="has lost its index.*--restart"):
        run(small_recipe(), run_dir=folder)
    (folder / "kept").rename(folder / "result.json")
    shutil.rmtree(folder / "export")
    with pytest.raises(zoo.ZooError, match="a finished run without its export.*--restart"):
        run(small_recipe(), run_dir=folder)


def test_classes_that_are_alike_are_scored_as_they_were_trained(small_recipe, tmp_path, image_folder):
    for part in ("train", "test"):
        image_folder(tmp_path / part, count=12, classes=("cat", "\ufeffcat"))
    options = {"batch_size": 8, "model_args": {"input_shape": (8, 8, 3)}, "epochs": 20}
    result = run(small_recipe(dataset=f"folder:{tmp_path}", **options), run_dir=tmp_path / "run")
    assert result.metrics["test_accuracy"] == load_predictor(result.export).evaluate()["test_accuracy"] > 0.9


def test_data_that_changed_is_refused(small_recipe, tmp_path, image_folder):
    root = image_folder(count=20)
    recipe = small_recipe(
        dataset=f"folder:{root}", batch_size=8, model_args={"input_shape": (8, 8, 3)}, steps_per_execution=1, epochs=4
    )
    stopped(recipe, tmp_path / "run")
    finished = run(recipe, run_dir=tmp_path / "finished")
    extra = root / "dark" / "extra.png"
    extra.write_bytes(tf.io.encode_png(np.zeros((9, 9, 3), np.uint8)).numpy())
    for folder in ("run", "finished"):
        with pytest.raises(zoo.ZooError, match="changed .*41 files now, 40 when the run began.*--restart"):
            run(recipe, run_dir=tmp_path / folder)
    with pytest.raises(zoo.ZooError, match="was trained on changed .41 files now, 40 in training.*--dataset"):
        load_predictor(finished.export).evaluate()
    said = []
    assert load_predictor(finished.export).evaluate(recipe.dataset, said.append)["test_examples"] == 41
    assert "41 test images, 2 classes" in said[0] and "all of it is scored; without --dataset only" in said[1]
    extra.unlink()
    assert run(recipe, run_dir=tmp_path / "run").metrics
    assert run(recipe, run_dir=tmp_path / "finished").metrics == finished.metrics
    assert load_predictor(finished.export).evaluate()["test_accuracy"] == finished.metrics["test_accuracy"]


def test_an_export_is_scored_on_other_data_without_a_cut_of_its_own(small_recipe, tmp_path, image_folder):
    root, other = image_folder(count=20), tmp_path / "other"
    for part, count in (("train", 3), ("test", 5)):
        image_folder(other / part, count=count)
    recipe = small_recipe(
        dataset=f"folder:{root}", batch_size=8, model_args={"input_shape": (8, 8, 3)}, validation_examples=12
    )
    for split in ("train", "test"):  # so that validation is cut from train
        image_folder(tmp_path / "own" / split, count=20)
    result = run(replace(recipe, dataset=f"folder:{tmp_path / 'own'}"), run_dir=tmp_path / "run")
    said = []
    assert load_predictor(result.export).evaluate(f"folder:{other}", said.append)["test_examples"] == 10
    assert "6 train and 10 test images" in said[0] and "dark: 3 train, 5 test" in said[0]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_the_name_of_a_run_may_be_any_bytes(small_recipe, tmp_path):
    folder = os.fsdecode(bytes(tmp_path) + b"/caf\xe9\n")
    result = run(small_recipe(), run_dir=folder)
    assert load_predictor(result.export).evaluate()["test_accuracy"] == result.metrics["test_accuracy"]
    assert run(small_recipe(), run_dir=folder).metrics == result.metrics


def test_a_picture_that_fails_is_a_warning(small_recipe, tmp_path, capsys):
    class Occupy(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            (tmp_path / "run" / "confusion.png").mkdir()  # in the way of the picture

    result = run(small_recipe(), run_dir=tmp_path / "run", callbacks=[Occupy()])
    assert result.export.is_dir() and (tmp_path / "run" / "result.json").exists()
    assert "warning: the picture confusion.png could not be drawn" in capsys.readouterr().out


def test_published_results_are_shown_only_for_their_data(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = zoo.tasks.table.recipe_from_dict(
        {**zoo.recipe.load_recipe("lenet5_mnist").to_dict(), "dataset": "digits", "limit_steps": 2}
    )
    result = run(recipe)
    assert "99.05%" not in capsys.readouterr().out
    rows = json.loads((result.folder / "result.json").read_text())["rows"]
    assert {row["paper"] for row in rows} == {None}
    assert (tmp_path / "runs" / "lenet5_mnist" / "latest").resolve() == result.folder.resolve()
    renamed = run(replace(recipe, name="mine", paper={"test_accuracy": 0.9905}))
    assert "99.05%" not in capsys.readouterr().out
    assert json.loads((renamed.folder / "result.json").read_text())["rows"][0]["paper"] is None
    study = replace(zoo.recipe.load_recipe("mlp_depth_mnist"), dataset="digits", paper={"validation_accuracy": 0.9653})
    zoo.run(study, dry_run=True, check_export=False)
    assert "96.53%" not in capsys.readouterr().out
    own = image_recipe(dataset="digits", paper={"test_accuracy": 0.5})
    assert zoo.parse(own, ["--dataset", "folder:x"])[0].paper == {}
    assert zoo.parse(own, ["--dataset", "digits"])[0].paper == own.paper


def test_names_in_tables_are_literal(capsys):
    console.table("runs/[red]a/[/b] :smile:", ("[x]", "value"), [("folder:[bold]y", "[/z]")])
    said = capsys.readouterr().out
    for name in ("runs/[red]a/[/b] :smile:", "[x]", "folder:[bold]y", "[/z]"):
        assert name in said


def test_longer_training_than_a_finished_run_says_how(small_recipe, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = run(small_recipe(epochs=1))
    capsys.readouterr()
    run(small_recipe(epochs=2))
    said = capsys.readouterr().out
    assert f"note: {first.folder} holds a finished run with epochs=1" in said and "zoo finetune" in said
    with pytest.raises(
        zoo.UsageError, match="epochs is 1 there, 3 here.*To continue from its weights: zoo finetune runs/"
    ):
        run(small_recipe(epochs=3), run_dir=first.folder)


def test_an_average_over_more_steps_than_there_are_is_warned_of(small_recipe, tmp_path, capsys):
    run(small_recipe(keep="average"), run_dir=tmp_path / "run")
    assert "keep=average spans about 1,000 steps and the run has 50" in capsys.readouterr().out


def test_a_batch_of_more_examples_than_there_are_is_warned_of(small_recipe, image_folder, tmp_path, capsys):
    recipe = small_recipe(
        dataset=f"folder:{image_folder()}", batch_size=64, epochs=3, model_args={"input_shape": (8, 8, 3)}
    )
    run(recipe, run_dir=tmp_path / "run")
    said = capsys.readouterr().out
    assert "warning: batch_size is 64 and there are 20 training examples, so that each epoch is one step, 3 in" in said
    assert "use --batch-size 5 or less" in said
    zoo.run(recipe, dry_run=True, check_export=False)
    assert "warning: batch_size" not in capsys.readouterr().out


def test_the_memory_of_a_step_is_estimated():
    model = zoo.build("mlp", input_shape=(8, 8, 1), hidden=(30,), num_classes=10)
    weights = 64 * 30 + 30 + 30 * 10 + 10
    activations = sum(int(np.prod(layer.output.shape[1:])) for layer in model.layers)
    assert memory.estimate(model, 5) == 16 * weights + 4 * 5 * activations
    with pytest.raises(zoo.ZooError, match=r"on 1,?0+ examples at a time needs about .* GiB.*--accumulate-steps \d+"):
        memory.check(model, image_recipe(batch_size=10**9), 10**9)
    memory.check(model, image_recipe(), 4)


def test_a_recipe_can_be_named(tmp_path):
    assert zoo.run("lenet5_digits", dry_run=True, check_export=False).metrics["test_accuracy"] >= 0
    with pytest.raises(zoo.UsageError, match="no recipe 'lenet5_digit'. Did you mean 'lenet5_digits'"):
        zoo.run("lenet5_digit")
    for other in (None, {"name": "lenet5_digits"}, zoo.ImageRecipe, tmp_path):
        with pytest.raises(zoo.UsageError, match="run takes a recipe, or the name of a shipped one, and not "):
            zoo.run(other)


@pytest.mark.parametrize("name", ["max_epochs", "max_steps_per_epoch"])
def test_limits_of_keras_that_would_end_training_are_refused(name, small_recipe, tmp_path):
    set_limit = getattr(keras.config, f"set_{name}")
    set_limit(1)
    try:
        with pytest.raises(zoo.UsageError, match=f"Keras's {name} is 1, .*; unset KERAS_{name.upper()}"):
            run(small_recipe(), run_dir=tmp_path / "run")
    finally:
        set_limit(None)
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_another_task_is_refused_before_data_is_loaded(tmp_path):
    with pytest.raises(zoo.UsageError, match="bilstm_tagger is a model for tagging, and the recipe trains image"):
        run(image_recipe(model="bilstm_tagger", dataset="folder:none"), run_dir=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


BACKENDS = ["jax", "no_such_backend"] + ([] if importlib.util.find_spec("torch") else ["torch"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_another_backend_is_refused_in_one_line(backend, tmp_path):
    code = "from zoo.cli import console; console()"
    done = run_python("train", "lenet5_digits", code=code, cwd=tmp_path, env={"KERAS_BACKEND": backend})
    assert done.returncode == 2 and done.stdout == "" and len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert backend in done.stderr and "KERAS_BACKEND=tensorflow" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", ["zoo.build('lenet5')", "zoo.run('lenet5_digits')", "zoo.finetune('lenet5_mnist')"])
def test_a_backend_that_is_not_there_is_an_error_to_catch(call, tmp_path):
    """Also where the configuration of Keras names it."""
    (tmp_path / "keras.json").write_text('{"backend": "no_such_backend"}')
    code = f"import zoo\ntry:\n    {call}\nexcept zoo.UsageError as error:\n    print(error)"
    env = {"KERAS_HOME": str(tmp_path), "KERAS_BACKEND": ""}
    done = run_python(code=code, cwd=tmp_path, env=env)
    assert "no_such_backend" in done.stdout and "set KERAS_BACKEND=tensorflow" in done.stdout, done.stderr

"""The command line as a user calls it: output, errors, exit status."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from conftest import ROOT, run, run_python, zoo
from zoo.cli import console
from zoo.cli.flags import parse
from zoo.distribute.strategy import Devices
from zoo.errors import UsageError
from zoo.recipe import list_recipes, load_recipe


def call(monkeypatch, *arguments):
    """The exit status of the `zoo` command, run in this process."""
    monkeypatch.setattr(sys, "argv", ["zoo", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        console()
    return stopped.value.code


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run of the digits' recipe through the command, cut short."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    done = zoo("train", "lenet5_digits", "--epochs", "6", "--run-dir", folder)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((folder / "result.json").read_text())["metrics"]
    assert metrics["test_accuracy"] > 0.9 and f"{metrics['test_accuracy']:.2%}" in done.stdout
    return folder


def test_list_and_show(monkeypatch, capsys):
    assert call(monkeypatch, "list", "lenet5*") == 0
    said = capsys.readouterr().out
    assert "60,000" in said and "61,706" in said and "softmax" not in said.splitlines()[1].split()[0]
    assert call(monkeypatch, "show", "lenet5") == 0
    said = capsys.readouterr().out
    assert "Gradient-based learning" in said and "325,680" in said
    assert call(monkeypatch, "show", "lenet5_mnist") == 0
    assert "batch_size" in capsys.readouterr().out
    assert call(monkeypatch, "--version") == 0


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("lst",), 2, "no command 'lst'.*'list'"),
        (("list", "lenet9"), 1, "No model matches 'lenet9'.*lenet5"),
        (("list", "--tsk", "x"), 2, "--tsk.*zoo list --help"),
        (("show", "lenet55"), 2, "'lenet55'.*'lenet5'"),
        (("train", "lenet5_mnits"), 2, "'lenet5_mnits'.*'lenet5_mnist'"),
        (("train", "lenet5_digits", "--dataset", "digtis"), 2, "'digtis'.*'digits'"),
        (("train", "lenet5_digits", "--model", "lenet6"), 2, "'lenet6'.*'lenet5'"),
        (("train", "lenet5_digits", "--batch-size", "0"), 2, "batch_size is 0"),
        (("train", "lenet5_digits", "--dataset", "folder:nowhere"), 2, "no such folder"),
        (("evaluate", "nowhere"), 2, "no folder nowhere"),
        (("predict", "nowhere", "x.png"), 2, "no folder nowhere"),
        (("predict", "lenet5_mnist"), 2, "classifies images: give image files, folders of them, or -"),
        (("predict", "lenet5:mnist", "--top-k", "0", "x.png"), 2, "--top-k is 0; it must be at least 1"),
    ],
)
def test_wrong_usage_is_one_clear_line(arguments, status, said, monkeypatch, capsys, tmp_path):
    import re

    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, *arguments) == status
    error = capsys.readouterr().err.strip()
    assert re.search(said, error) and len(error.splitlines()) == 1, error


def test_an_unknown_flag_is_refused_with_the_nearest(monkeypatch, capsys):
    for flag in ("--epoch-count", "--model.unitz"):
        assert call(monkeypatch, "train", "mlp_mnist", flag, "3") == 2
        assert flag in capsys.readouterr().err


def test_flags_are_the_recipes_fields_and_the_builders_arguments():
    recipe, options = parse(
        load_recipe("mlp_mnist"),
        ["--epochs", "3", "--learning-rate", "0.01", "--model.hidden", "7", "8", "--dry-run", "--dataset", "digits"],
    )
    assert (recipe.epochs, recipe.learning_rate, recipe.dataset) == (3, 0.01, "digits")
    assert recipe.model_args["hidden"] == (7, 8) and recipe.model_args["drop_rate"] == 0.3
    assert options == {"run_dir": None, "restart": False, "dry_run": True, "devices": Devices()}
    assert recipe.batch_size == load_recipe("mlp_mnist").batch_size
    airbench = load_recipe("airbench94_cifar10")
    assert parse(airbench, [])[0] == airbench
    flags = ["--optimizer", "adam", "--learning-rate-factors", "--frozen-after", "*/bias=2", "a=3"]
    changed, _ = parse(airbench, flags)
    assert dict(changed.learning_rate_factors) == {} and dict(changed.frozen_after) == {"*/bias": 2, "a": 3}
    with pytest.raises(UsageError, match="--frozen-after: 'a' is not PATTERN=NUMBER"):
        parse(airbench, ["--frozen-after", "a"])
    other, _ = parse(load_recipe("mlp_mnist"), ["--model", "lenet5_modern", "--model.pool", "avg"])
    assert dict(other.model_args) == {"pool": "avg"}


@pytest.mark.parametrize("name", list_recipes())
def test_recipe_scripts_are_complete(name):
    from zoo.recipe import load_script
    from zoo.registry import describe
    from zoo.tasks.table import recipe_from_dict as from_dict

    module = load_script(name)
    recipe = module.recipe
    assert recipe.name == name and f"python recipes/{name}.py" in module.__doc__
    assert name in describe(recipe.model).recipes
    assert from_dict(recipe.to_dict()) == recipe
    unchanged, _ = parse(recipe, [])
    assert unchanged == recipe and unchanged.fingerprint() == recipe.fingerprint()


@pytest.mark.full
def test_a_script_equals_the_command(tmp_path):
    flags = ("--limit-steps", "3", "--dry-run")
    by_script = run_python(ROOT / "recipes" / "lenet5_digits.py", *flags, cwd=tmp_path)
    by_name = zoo("train", "lenet5_digits", *flags, cwd=tmp_path)
    assert by_script.returncode == by_name.returncode == 0, by_script.stderr + by_name.stderr
    assert list(tmp_path.iterdir()) == []

    def table(done):
        return [line for line in done.stdout.splitlines() if "accuracy" in line and "│" in line]

    assert table(by_script) == table(by_name) != []
    assert by_name.stderr == ""


def test_data_that_are_not_here_are_named(small_recipe, image_folder, tmp_path, monkeypatch, capsys):
    recipe = small_recipe(dataset=f"folder:{image_folder()}", limit_steps=1, batch_size=4)
    result = run(recipe, run_dir=tmp_path / "run")
    (tmp_path / "images").rename(tmp_path / "moved")
    assert call(monkeypatch, "evaluate", result.folder) == 2
    assert "Run the command there, or give --dataset." in capsys.readouterr().err


def test_training_lists_the_recipes(monkeypatch, capsys):
    assert call(monkeypatch, "train") == 2
    assert "lenet5_mnist" in capsys.readouterr().out


def test_evaluate_scores_a_run_and_an_export(run_folder, monkeypatch, capsys, image_folder, digits):
    assert call(monkeypatch, "evaluate", run_folder, "--json") == 0
    scored = json.loads(capsys.readouterr().out)
    trained = json.loads((run_folder / "result.json").read_text())["metrics"]
    assert scored["test_accuracy"] == trained["test_accuracy"] and scored["test_examples"] == 250
    answer = tf.saved_model.load(str(run_folder / "export" / "lenet5_digits" / "1")).signatures["serving_default"]
    probabilities = answer(images=tf.constant(digits.test.pictures))["probabilities"].numpy()
    right = np.maximum(probabilities[np.arange(250), digits.test.labels], np.finfo(np.float32).tiny)
    assert scored["test_cross_entropy"] == pytest.approx(-np.log(right).mean(), rel=1e-5)
    assert call(monkeypatch, "evaluate", run_folder / "export" / "lenet5_digits" / "1", "--dataset", "digits") == 0
    said = capsys.readouterr()
    assert f"{trained['test_accuracy']:.2%}" in said.out and "warning" not in said.err
    assert call(monkeypatch, "evaluate", run_folder, "--dataset", f"folder:{image_folder(count=20)}") == 2
    assert "does not know; its 10 classes are" in capsys.readouterr().err


def test_predict_answers_files_folders_and_stdin(run_folder, tmp_path, monkeypatch, capsys, digits):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(8):
        (folder / f"{i}.png").write_bytes(tf.io.encode_png(digits.test.pictures[i]).numpy())
    (tmp_path / "one.jpg").write_bytes(tf.io.encode_jpeg(digits.test.pictures[8], quality=100).numpy())
    monkeypatch.setattr("sys.stdin", type("In", (), {"buffer": io.BytesIO((folder / "0.png").read_bytes())})())
    assert call(monkeypatch, "predict", run_folder, folder, tmp_path / "one.jpg", "-", "--json") == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["file"] for answer in answers][-2:] == [str(tmp_path / "one.jpg"), "-"]
    assert answers[-1]["label"] == answers[0]["label"]
    right = [answer["class"] == label for answer, label in zip(answers, digits.test.labels[:9], strict=False)]
    assert np.mean(right) > 0.7 and all(0 <= answer["probability"] <= 1 for answer in answers)

    assert call(monkeypatch, "predict", run_folder, folder / "0.png") == 0
    assert "%" in capsys.readouterr().out
    assert call(monkeypatch, "predict", run_folder, folder / "0.png", "--json", "--top-k", "3") == 0
    top = json.loads(capsys.readouterr().out)["top"]
    assert len(top) == 3 and top[0]["label"] == answers[0]["label"]
    assert [entry["probability"] for entry in top] == sorted((e["probability"] for e in top), reverse=True)


def test_predict_continues_after_unreadable_input(run_folder, tmp_path, monkeypatch, capsys, digits):
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "good.png").write_bytes(tf.io.encode_png(digits.test.pictures[0]).numpy())
    (tmp_path / "empty").mkdir()
    files = [tmp_path / name for name in ("text.png", "missing.png", "empty", "good.png")]
    assert call(monkeypatch, "predict", run_folder, *files) == 1
    said = capsys.readouterr()
    assert "good.png" in said.out
    assert "text.png: not an image that can be read" in said.err and "missing.png: No such file" in said.err
    assert "the folder holds no image file" in said.err


def test_a_stopped_command_ends_the_process_without_destructors(tmp_path):
    code = """
import time
from zoo.cli.status import leave
from zoo.paths import temporary_folder

temporary_folder("zoo-").joinpath("words").touch()

class Slow:
    def __del__(self):
        time.sleep(600)

slow = Slow()

def stopped():
    print("the last line")
    raise KeyboardInterrupt

leave(stopped)
"""
    result = run_python(code=code, env={"TMPDIR": str(tmp_path)})
    assert (result.returncode, result.stdout, result.stderr.splitlines()[-1]) == (130, "the last line\n", "stopped")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii:strict"])
def test_any_text_can_be_printed(encoding):
    code = r"from zoo.cli.status import leave; leave(lambda: print('é\udce9'))"
    result = run_python(code=code, env={"PYTHONIOENCODING": encoding})
    assert (result.returncode, result.stdout.replace("\\xe9", "é")) == (0, "é\\udce9\n")


def test_a_file_does_not_get_the_number_of_a_closed_stream(tmp_path):
    code = """
import os, sys

from zoo.cli.status import leave

def command():
    with open("file", "w") as file:
        print("said")
        print("said", file=sys.stderr)
        os.write(1, b"said by TensorFlow"), os.write(2, b"said by TensorFlow")
        assert sys.stdin.read() == ""
        file.write(str(file.fileno() > 2))

leave(command)
"""
    closing = 'exec "$0" -c "$1" <&- >&- 2>&-'
    assert subprocess.run(["sh", "-c", closing, sys.executable, code], cwd=tmp_path).returncode == 0
    assert (tmp_path / "file").read_text() == "True"


def test_errors_of_the_library_are_errors_to_catch():
    assert issubclass(UsageError, ValueError)

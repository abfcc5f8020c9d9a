"""The documents agree with the code and with the measured results."""

import json
import re
import shlex
import subprocess
from dataclasses import fields

import pytest
import tensorflow as tf

import zoo
from conftest import EXPORTS, ROOT, need, run_python
from zoo.cli.commands import COMMANDS, dispatch
from zoo.cli.status import exit_status
from zoo.distribute.cluster import tf_config
from zoo.distribute.strategy import Devices
from zoo.errors import ZooError
from zoo.exports import read
from zoo.recipe import Recipe, list_recipes, load_recipe, load_script
from zoo.registry import describe, list_models
from zoo.report import results as report
from zoo.tasks.table import load_predictor

README = (ROOT / "README.md").read_text(encoding="utf-8")
PRETRAINED = [(name, tag) for name in list_models() for tag in describe(name).weights]


def between_marks(path):
    text = path.read_text(encoding="utf-8")
    return text.partition(report.TABLE_START)[2].partition(report.TABLE_END)[0].strip()


def test_the_tables_are_the_measured_rows():
    rows = report.read_results(ROOT / "results.csv")
    assert between_marks(ROOT / "README.md") == report.summary_table(rows)
    assert between_marks(ROOT / "docs" / "results.md") == report.full_tables(rows)
    assert between_marks(ROOT / "docs" / "finetuning.md") == report.comparison_table(rows, report.FINETUNING)
    assert between_marks(ROOT / "docs" / "exports.md") == report.comparison_table(rows, report.COMMITTEES)
    assert between_marks(ROOT / "docs" / "short-runs.md") == report.short_runs_table(rows)
    assert between_marks(ROOT / "saved_models" / "README.md") == report.exports_table(ROOT / "saved_models")
    for row in rows:
        assert row["recipe"] in list_recipes() or report.is_comparison(row)
        assert 0 <= float(row["value"]) and row["commit"] and row["versions"] and row["trained_on"] and row["command"]
        assert "dirty" not in row["commit"]


def test_results_are_of_the_recipes_as_they_stand():
    rows = [row for row in report.read_results(ROOT / "results.csv") if not report.is_comparison(row)]
    for row in rows:
        recipe = load_recipe(row["recipe"])
        if recipe.model_args:  # without arguments, a script may compare several
            assert row["model"] == recipe.call, row["recipe"]


def test_a_recipe_without_results_says_so():
    rows = report.read_results(ROOT / "results.csv")
    measured = {row["recipe"] for row in rows if report.is_complete(row)}
    for name in set(list_recipes()) - measured:
        header = " ".join(load_script(name).__doc__.split())
        said = re.search(r"Not (trained|measured)|Ours: \d|Ours; measured", header)
        assert said, f"recipes/{name}.py does not say that it has no results"


def finished_run(folder, metrics, **changes):
    """A run's folder with a result, as the engine leaves it."""
    setting = dict.fromkeys(report.COLUMNS, "x") | {"seed": 0, "paper": None, "steps": 2000, "planned_steps": 2000}
    setting |= {"recipe": "a", "model": "net", "precision": "float32", "strategy": "one_device", "seconds": 90}
    rows = [{**setting, **changes, "metric": metric, "value": value} for metric, value in metrics.items()]
    folder.mkdir()
    (folder / "result.json").write_text(json.dumps({"rows": rows}), encoding="utf-8")
    return folder


def test_results_are_added_and_averaged_over_seeds(tmp_path):
    results = tmp_path / "results.csv"
    scores = {"test_accuracy": 0.5, "test_nats_per_char": 1.25}
    first = [
        finished_run(tmp_path / "b", scores, recipe="b", precision="bfloat16", strategy="mirrored × 2"),
        finished_run(tmp_path / "old", {"test_accuracy": 0.1}),
        finished_run(tmp_path / "seed 1", {"test_accuracy": 0.7}, seed=1, paper=0.75, seconds=30),
    ]
    report.add_results(first, results)
    report.add_results([finished_run(tmp_path / "new", {"test_accuracy": 0.5}, paper=0.75)], results)
    assert report.results_table(report.read_results(results)).splitlines()[2:] == [
        "| `a` | `net` | x | test accuracy | 75.00% | 60.00% ± 14.14% | 2 | 2,000 | 1.0 | x |",
        "| `b` | `net` | x | test accuracy | – | 50.00% | 1 | 2,000 | 1.5 | x, bfloat16, mirrored × 2 |",
        "|  |  |  | test nats per char | – | 1.250 |  |  |  |  |",
    ]
    with pytest.raises(ZooError, match="holds no result.json"):
        report.add_results([tmp_path], results)


def test_a_complete_run_replaces_a_short_one_and_not_the_reverse(tmp_path):
    results = tmp_path / "results.csv"

    def steps_after(name, steps):
        report.add_results([finished_run(tmp_path / name, {"test_accuracy": 0.5}, steps=steps)], results)
        return sorted(int(row["steps"]) for row in report.read_results(results))

    assert steps_after("short", 20) == [20] and steps_after("whole", 2000) == [2000]
    assert steps_after("again", 30) == [30, 2000] and steps_after("shorter", 10) == [10, 2000]


def test_short_runs_have_a_table_of_their_own(tmp_path):
    runs = [
        finished_run(tmp_path / "short", {"test_accuracy": 0.1}, steps=20),
        finished_run(tmp_path / "whole", {"validation_accuracy": 0.6, "test_accuracy": 0.5}, recipe="b", paper=0.7),
        finished_run(tmp_path / "half", {"test_accuracy": 0.4}, recipe="b", precision="bfloat16"),
        finished_run(tmp_path / "wide", {"val_loss": 2.0}, recipe="c", model="net(units=3)", precision="bfloat16"),
        finished_run(tmp_path / "gpu", {"test_accuracy": 0.6}, recipe="b", paper=0.7, trained_on="1 GPU", seconds=6),
        finished_run(
            tmp_path / "core", {"test_accuracy": 0.55}, recipe="b", seed=1, trained_on="1 CPU core (Z)", seconds=180
        ),
    ]
    report.add_results(runs, tmp_path / "results.csv")
    rows = report.read_results(tmp_path / "results.csv")
    assert report.summary_table(rows).splitlines()[2:] == [
        "| `b` | `net` | x | test accuracy | 70.00% | 55.00% ± 5.00% | 3 | 1.5, 3.0 (1 core), 0.1 (GPU) |",
        "| `c`, bfloat16 | `net` ¹ | x | val loss | – | 2.000 | 1 | 1.5 |",
    ]
    assert report.short_runs_table(rows).splitlines()[2:] == [
        "| `a` | `net` | x | test accuracy | – | 10.00% | 1 | 20 of 2,000 | 1.5 | x |"
    ]
    assert "20 of 2,000" not in report.full_tables(rows)


def test_comparisons_have_a_table_of_their_own(tmp_path):
    runs = [
        finished_run(
            tmp_path / f"{way}{seed}", {"test_accuracy": value}, recipe=f"{way}/pets", seed=seed, dataset="pets"
        )
        for way, value, seed in (("finetuned", 0.75, 0), ("finetuned", 0.85, 1), ("scratch", 0.5, 0))
    ]
    report.add_results([*runs, finished_run(tmp_path / "own", {"test_accuracy": 0.5})], tmp_path / "results.csv")
    rows = report.read_results(tmp_path / "results.csv")
    assert report.comparison_table(rows, {"finetuned": "tuned", "scratch": "new", "x": "x"}).splitlines()[2:] == [
        "| `net` | `pets` | test accuracy | 80.00% ± 7.07% | 50.00% | – | 2 |"
    ]
    for table in (report.summary_table(rows), report.full_tables(rows), report.short_runs_table(rows)):
        assert "pets" not in table


def test_translations_are_also_scored_by_length(tmp_path):
    scores = {"test_bleu": 30.0, "test_bleu_to_10_words": 35.0, "test_bleu_over_10_words": 25.0, "test_beam_bleu": 31.0}
    report.add_results([finished_run(tmp_path / "run", scores)], tmp_path / "results.csv")
    assert report.full_tables(report.read_results(tmp_path / "results.csv")).splitlines()[2:] == [
        "| `a` | `net` | x | test bleu | – | 30.00 | 1 | 2,000 | 1.5 | x |",
        "|  |  |  | test beam bleu | – | 31.00 |  |  |  |  |",
        "",
        "BLEU of greedy translations:",
        "",
        "| words in the source | to 10 | over 10 | all |",
        "|---|---:|---:|---:|",
        "| `a` | 35.00 | 25.00 | 30.00 |",
    ]


def test_readmes_commands_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"(?:^    |`)make ([a-z-]+)", README, re.MULTILINE)
    assert {"demo", "test", "test-full"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for command, argument in re.findall(r"zoo (list|show|train|evaluate|predict|\w+) +([\w\"*/.…]+)?", README):
        if command in COMMANDS and argument and command == "train":
            assert argument in list_recipes() or argument == "NAME"


def test_readmes_python_runs(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(block, names)
    assert names["model"].output_shape == (None, 26)
    assert (tmp_path / "runs" / "lenet5_digits" / "latest" / "result.json").exists()
    assert "Gradient-based learning" in capsys.readouterr().out


README_COMMANDS = [
    shlex.split(line)[1:] for line in re.findall(r"^    (zoo [^#\n]*?) *(?:#.*)?$", README, re.MULTILINE)
]


def test_readmes_commands_run(tmp_path, monkeypatch, image_folder, digits, capsys):
    """Each command of the README; trainings are shortened. Others have tests of their own."""
    need("mnist")
    monkeypatch.chdir(tmp_path)
    pictures = image_folder(root=tmp_path / "pictures", count=20)
    demo = ["train", "lenet5_digits", "--run-dir", "runs/demo", "--limit-steps", "2"]
    assert exit_status(lambda: dispatch(demo)) == 0
    (tmp_path / "runs" / "demo" / "digits").mkdir()
    for file in ("digit.png", "runs/demo/digits/digit00_is_7.png"):
        (tmp_path / file).write_bytes(tf.io.encode_png(digits.test.pictures[0]).numpy())
    ran = set()
    for command in README_COMMANDS:
        words = [word.replace("folder:PATH", f"folder:{pictures}") for word in command]
        # test_serve_docs, test_finetune, test_distribute
        if words[0] in ("serve", "finetune") or "--logical-devices" in words:
            continue
        if words[0] == "train":
            words += ["--limit-steps", "2"] if words[1:] == ["lenet5_mnist"] else ["--dry-run"]
        if words[0] == "launch":
            words += ["--help"]
        status = exit_status(lambda words=words: dispatch(words))
        assert status == 0, (words, capsys.readouterr().err[-500:])
        ran.add(words[0])
    assert {"list", "show", "train", "evaluate", "predict", "launch"} <= ran


def test_scalings_flags_exist_and_its_tables_are_computed():
    text = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    known = {entry.name for kind in (*Recipe.__subclasses__(), Devices) for entry in fields(kind)}
    known |= {"run_dir", "workers", "predict"}
    flags = {flag.replace("-", "_") for flag in re.findall(r"--([a-z][a-z-]+)", text)}
    assert flags <= known and {"strategy", "cluster", "connect_timeout", "accumulate_steps"} <= flags
    printed = run_python(ROOT / "benchmarks" / "all_reduce.py", "--predict", env={"PYTHONPATH": str(ROOT)}).stdout
    rows = [line for line in printed.splitlines() if line.startswith("|")]
    assert len(rows) == 18 and all(row in text.splitlines() for row in rows)


def test_the_manifests_pods_know_each_other(monkeypatch, capsys):
    manifest = (ROOT / "deploy" / "kubernetes.yaml").read_text(encoding="utf-8")
    for key, value in re.findall(r'name: (WORKERS?), value: "(.*?)"', manifest):
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    exec(re.search(r"python -c '(.*?)'", manifest)[1], {})
    assert tf_config(capsys.readouterr().out) == (("zoo-0.zoo:2222", "zoo-1.zoo:2222"), 1)


@pytest.mark.parametrize(
    ("name", "tag"), [(n, t) for n, t in PRETRAINED if describe(n).weights[t] != "keras-applications"]
)
def test_every_tag_of_a_card_loads(name, tag):
    model = zoo.build(name, weights=tag)
    built = read.read_card(read.find(ROOT / "saved_models" / describe(name).weights[tag]))["arguments_built"]
    assert model.count_params() == zoo.build(name, **built).count_params()
    if describe(name).task == "image_classification":  # the sizes of others follow the data and the recipe
        assert model.count_params() == describe(name).parameters
    assert zoo.build(name, weights="default").name == name


@pytest.mark.parametrize("folder", EXPORTS, ids=lambda path: path.parent.name)
def test_every_export_is_complete_and_named_by_a_card(folder):
    assert read.find(folder) == folder
    about = read.read_card(folder)
    assert folder.parent.name in describe(about["name"]).weights.values()


@pytest.mark.parametrize(
    "folder",
    [
        pytest.param(
            folder, id=folder.parent.name, marks=[] if folder.parent.name == "lenet5_mnist" else pytest.mark.full
        )
        for folder in EXPORTS
    ],
)
def test_every_export_scores_what_its_card_says(folder):
    recipe, about = read.read_recipe(folder), read.read_card(folder)
    need(recipe["dataset"])
    results = load_predictor(folder).evaluate()
    shared = {metric: value for metric, value in about["metrics"].items() if metric in results}
    assert shared
    for metric, value in shared.items():  # a sum of logarithms is rounded, a share is a count
        exact = 1e-8 if metric.endswith("per_char") else 1e-9
        assert value == pytest.approx(results[metric], abs=0.02 if "data_changed" in results else exact), metric


def test_nothing_committed_is_a_pickle_or_too_large():
    done = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True)
    files = [ROOT / name for name in done.stdout.split("\0") if name]
    assert all(path.stat().st_size < 8 * 2**20 for path in files if path.exists())
    exports = [path for path in files if path.is_relative_to(ROOT / "saved_models") and path.exists()]
    assert sum(path.stat().st_size for path in exports) < 64 * 2**20
    assert not [path for path in files if path.suffix in (".pkl", ".pickle", ".h5", ".keras")]

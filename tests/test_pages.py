"""The pages of the models and the gallery are those that cards, recipes and results give, and their commands exist."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from conftest import ROOT
from zoo.recipe import list_recipes, load_recipe
from zoo.registry import describe, list_models
from zoo.report.pages import APPLICATIONS, HISTORY, gallery, model_page
from zoo.report.pictures import LARGEST, copy_pictures
from zoo.report.results import best_row, read_results
from zoo.tasks.table import create_task

DOCS = ROOT / "docs"
ROWS = read_results(ROOT / "results.csv")
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in (DOCS / "models").glob("*.md")}
SMALL = 5_000_000  # parameters


def test_the_gallery_is_generated_and_has_each_model():
    assert (DOCS / "index.md").read_text(encoding="utf-8") == gallery(ROWS, DOCS), "run make results"
    families = [family for _, families in HISTORY for family in families]
    assert sorted(families) == sorted({describe(name).family for name in list_models()})
    assert sorted(PAGES) == list_models()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if describe(name).parameters < SMALL else [pytest.mark.full])
        for name in list_models()
    ],
)
def test_a_page_is_generated(name):
    assert PAGES[name] == model_page(name, ROWS, DOCS), "run make results"


@pytest.mark.parametrize("name", list_models())
def test_the_commands_of_a_page_exist(name):
    commands = re.findall(r"^    zoo (.*?)(?:  #.*)?$", PAGES[name], re.MULTILINE)
    for words in map(str.split, commands):
        if words[0] == "train":
            recipe = load_recipe(words[1])
            own_data = ["--dataset", recipe.data] if recipe.data == "folder:PATH" else []
            assert words[2:] in (own_data, ["--model", name]) and ("--model" in words or recipe.model == name)
            assert create_task(replace(recipe, model=name)).recipe.task == describe(name).task
        elif words[0] == "ensemble":
            assert words[1].split("/")[1] in list_recipes()
        elif words[1].startswith("runs/"):
            assert words[1].split("/")[1] in list_recipes()
            assert set(describe(name).weights.values()) <= {APPLICATIONS}
        elif words[0] == "finetune":
            model, _, tag = words[1].partition(":")
            assert model == name and tag in describe(name).weights
        elif words[0] == "predict":
            assert (ROOT / "saved_models" / words[1]).is_dir()
        else:
            assert words == ["serve", "saved_models"]
    assert any(command.startswith("train ") for command in commands) == (name != "inception_v3")


def test_links_lead_to_files():
    for page in (DOCS / "index.md", *(DOCS / "models").glob("*.md")):
        for target in re.findall(r'\]\(([^)\s]+)\)|src="(.*?)"', page.read_text(encoding="utf-8")):
            target = "".join(target)
            assert target.startswith("http") or (page.parent / target).exists(), (page.name, target)


def result(value, recipe="a", dataset="d", paper="", **changes):
    setting = {"recipe": recipe, "model": "net(units=3)", "dataset": dataset, "metric": "test_accuracy", "seed": "0"}
    setting |= {"precision": "float32", "strategy": "one_device", "steps": "9", "planned_steps": "9"}
    return {**setting, "value": str(value), "paper": paper, **changes}


def test_the_best_setting_is_the_first_recipes_data_and_a_complete_run():
    rows = [
        result(0.9, steps="5"),  # stopped early
        result(0.6, precision="bfloat16"),
        result(0.5),
        result(0.8, "b", "other"),
        result(0.99, "c", model="net2"),
    ]
    assert best_row(rows, "net", ["a", "b"]) == ("`a`", "test accuracy", "–", "60.00%")
    assert best_row(rows, "net", ["b", "a"]) == ("`b`", "test accuracy", "–", "80.00%")
    assert best_row(rows[:1], "net", ["a"]) is None
    losses = [result(1.5, metric="nats_per_char"), result(1.2, "b", metric="nats_per_char")]
    assert best_row(losses, "net", ["a", "b"])[3] == "1.200"
    assert best_row([*rows, result(0.7, "of another model")], "net", ["a"])[0] == "`of another model`"


def test_pictures_of_a_run_are_copied_small(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (600, 900, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "curves.png")
    Image.new("RGB", (30, 20), "white").save(tmp_path / "confusion.png")
    row = {"recipe": "softmax_mnist", "model": "softmax_regression", "dataset": "mnist", "steps": 9, "planned_steps": 9}
    (tmp_path / "result.json").write_text(json.dumps({"rows": [row]}), encoding="utf-8")
    others = ({"recipe": "scratch/softmax_mnist"}, {"recipe": "own"}, {"dataset": "d"}, {"model": "mlp"}, {"steps": 8})
    for number, changes in enumerate(others):
        (tmp_path / str(number)).mkdir()
        Image.new("RGB", (1, 1)).save(tmp_path / str(number) / "curves.png")
        result = json.dumps({"rows": [row | changes]})
        (tmp_path / str(number) / "result.json").write_text(result, encoding="utf-8")
    copy_pictures([tmp_path, *(tmp_path / str(number) for number in range(len(others)))], tmp_path / "images")
    copies = {path.name: path for path in (tmp_path / "images").iterdir()}
    assert set(copies) == {"softmax_mnist_curves.png", "softmax_mnist_confusion.png"}
    assert copies["softmax_mnist_curves.png"].stat().st_size <= LARGEST
    for name, size in (("confusion", (30, 20)), ("curves", (1, 1))):
        with Image.open(copies[f"softmax_mnist_{name}.png"]) as image:
            assert (image.size == size) == (name == "confusion")


def test_committed_pictures_are_small():
    for picture in (DOCS / "models" / "images").glob("*.png"):
        assert picture.stat().st_size <= LARGEST, picture.name

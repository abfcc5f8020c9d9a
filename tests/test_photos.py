"""The recipe of one's own photographs, and data that is not given yet."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import zoo
from conftest import prepared
from zoo.cli.commands import dispatch
from zoo.cli.status import exit_status
from zoo.data.images import load_images
from zoo.data.labelled import load_labelled
from zoo.data.pairs import load_pairs
from zoo.data.sentences import load_tagged
from zoo.data.text import load_text
from zoo.data.views import whole
from zoo.recipe import load_recipe


def photographs(root, count):
    """JPEG files of two classes that differ in colour and not in brightness."""
    for number, name in enumerate(("red", "blue")):
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = np.random.default_rng([number, i]).integers(0, 60, (48, 64, 3), dtype=np.uint8)
            pixels[..., 2 * number] += 150
            Image.fromarray(pixels).save(root / name / f"{i}.jpg")
    return root


def test_the_recipe_is_the_fine_tuning_of_its_export():
    recipe = load_recipe("photos")
    tuned = zoo.finetuning_recipe(recipe.weights, dataset=recipe.dataset)
    assert replace(tuned, name="photos") == recipe
    assert "photos" in zoo.describe("resnet20").recipes


def test_without_data_one_line_says_how_to_give_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert exit_status(lambda: dispatch(["train", "photos"])) == 2
    said = capsys.readouterr()
    assert said.err.splitlines() == [
        "error: There is no data yet: give it with --dataset folder:PATH, where PATH is a folder with a subfolder of "
        "images for each class."
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("load", "data"),
    [
        (lambda name: load_images(name, whole((8, 8, 3))), "folder:PATH"),
        (lambda name: load_labelled(name, validation_examples=1, seed=0), "tsv:FILE"),
        (load_pairs, "tsv:FILE"),
        (load_tagged, "conllu:PATH"),
        (lambda name: load_text(name, split="tfds", streams=2, sequence_length=2), "text:PATH"),
    ],
)
def test_data_without_a_path_is_not_the_current_folder(load, data, tmp_path, monkeypatch):
    photographs(tmp_path, 10)
    monkeypatch.chdir(tmp_path)
    for name in (data, data.partition(":")[0] + ":"):
        with pytest.raises(zoo.UsageError, match=f"There is no data yet: give it with --dataset {data}, where "):
            load(name)


def test_a_folder_may_be_called_path(tmp_path, monkeypatch):
    photographs(tmp_path / "PATH", 10)
    monkeypatch.chdir(tmp_path)
    assert len(load_images("folder:PATH", whole((8, 8, 3))).train) == 16


def test_photographs_are_read_in_colour_and_counted(tmp_path, capsys):
    task = prepared(replace(load_recipe("photos"), dataset=f"folder:{photographs(tmp_path, 30)}"))
    said = capsys.readouterr().out
    assert "48 train, 6 validation and 6 test images, 2 classes" in said and "blue: 24 train, 3 validation" in said
    assert "read as 32 × 32 in colour" in said
    images = next(iter(task.data.test.batches(10)))[0].numpy()
    assert images.shape == (6, 32, 32, 3) and np.ptp(images.mean((0, 1, 2))) > 20


def test_too_few_photographs_are_counted(tmp_path):
    with pytest.raises(zoo.ZooError, match="too few images for a test split: 3 in the largest class, .*at least 4 are"):
        prepared(replace(load_recipe("photos"), dataset=f"folder:{photographs(tmp_path, 3)}"))

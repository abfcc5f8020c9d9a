"""The main function of every recipe script, as a user calls it."""

import runpy
import sys

import numpy as np
import pytest
import tensorflow as tf

from conftest import ROOT, folder_of_pictures, need
from zoo.recipe import list_recipes, load_recipe

QUICK = ("lenet5_digits",)  # test_documents trains photos and seq2seq_dates


def call_main(name, monkeypatch, *flags):
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *flags])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "recipes" / f"{name}.py"), run_name="__main__")
    return ended.value.code


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in QUICK else pytest.mark.full)
        for name in list_recipes()
        if name != "mlp_depth_mnist"
    ],
)
def test_a_script_makes_a_dry_run(name, tmp_path, monkeypatch, capsys, image_folder):
    recipe, flags = load_recipe(name), []
    if recipe.dataset == "imagenet2012":
        root = folder_of_pictures(tmp_path / "pictures", sizes=((375, 500), (500, 400), (360, 480)), count=2)
        flags = ["--dataset", f"folder:{root}"]
    elif recipe.dataset == "imdb_reviews":
        texts = tmp_path / "texts.tsv"
        texts.write_text("".join(f"a {'good' if i % 2 else 'bad'} film, number {i}\t{i % 2}\n" for i in range(300)))
        flags = ["--dataset", f"tsv:{texts}", "--validation-examples", "20"]
    elif name == "photos":
        flags = ["--dataset", f"folder:{image_folder(count=30, size=(40, 60))}"]
    elif recipe.task == "image_classification":  # any pictures will do, and these are read in a second
        flags = ["--dataset", "digits"] + (["--validation-examples", "0"] if recipe.validation_examples else [])
        flags += ["--teacher", "mlp:mnist"] if recipe.teacher else []
    else:
        need(recipe.dataset)
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    assert call_main(name, monkeypatch, "--dry-run", *flags) == 0, capsys.readouterr().err
    assert f"Dry run of {name} finished" in capsys.readouterr().out and set(tmp_path.iterdir()) == before


@pytest.mark.full
def test_the_depth_study_runs(tmp_path, monkeypatch, capsys):
    need("mnist")
    monkeypatch.chdir(tmp_path)
    for seeds in ("0", "-1"):
        assert call_main("mlp_depth_mnist", monkeypatch, "--seeds", seeds) == 2
    assert not list(tmp_path.iterdir())
    capsys.readouterr()
    assert call_main("mlp_depth_mnist", monkeypatch, "--limit-steps", "2") == 0
    said = capsys.readouterr().out
    assert "Nielsen's depth study, mean of 1 run(s)" in said and "times weaker" in said
    picture = tf.io.decode_png((tmp_path / "runs" / "mlp_depth_mnist" / "gradient_norms.png").read_bytes())
    assert np.std(picture) > 5

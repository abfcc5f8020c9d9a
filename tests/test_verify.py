"""`zoo verify`: checksums and scores of exports."""

import json
import shutil
from dataclasses import replace

import pytest

from conftest import run
from zoo.cli.verify import verify_command
from zoo.exports import read


@pytest.fixture
def export(small_recipe, tmp_path):
    return run(small_recipe(epochs=1), run_dir=tmp_path / "run").export


def changed_card(folder, entry="metrics", **values):
    card = folder / "assets.extra" / "card.json"
    content = json.loads(card.read_text())
    card.write_text(json.dumps({**content, entry: {**content[entry], **values}}))
    sums = folder / read.SUMS
    rest = [line for line in sums.read_text().splitlines() if not line.endswith("card.json")]
    sums.write_text("\n".join([*rest, f"{read.sha256(card)}  assets.extra/card.json"]) + "\n")


def test_a_score_on_data_that_changed_since_the_training_is_no_fault_of_the_export(export, capsys):
    changed_card(export, test_accuracy=0.999)
    changed_card(export, "data", examples=1000, source="scikit-learn 0.1")
    assert verify_command([str(export)]) == 0
    out, log = capsys.readouterr()
    changed = "(1797 examples now, 1000 in training)"
    assert "sums ok, test_accuracy is 0." in out
    assert out.strip().endswith(f"on data that changed since the training {changed}")
    assert f"warning: digits changed since {export} was trained on it {changed}" in log


def test_the_fault_of_each_export_is_named(export, tmp_path, capsys):
    names = {}
    for name in ("cut", "better", "without_data"):
        names[name] = shutil.copytree(export, tmp_path / name / "1")
    data = next((names["cut"] / "variables").glob("*.data*"))
    data.write_bytes(data.read_bytes()[:-1])
    changed_card(names["better"], test_accuracy=0.999)
    recipe = names["without_data"] / "assets.extra" / "recipe.json"
    changed = json.loads(recipe.read_text()) | {"dataset": f"folder:{tmp_path}/none"}
    recipe.write_text(json.dumps(changed))
    sums = names["without_data"] / read.SUMS
    lines = [line for line in sums.read_text().splitlines() if not line.endswith("recipe.json")]
    sums.write_text("\n".join([*lines, f"{read.sha256(recipe)}  assets.extra/recipe.json"]) + "\n")
    assert verify_command([str(export)]) == 0
    assert f"{export}: sums ok, test_accuracy 0." in capsys.readouterr().out
    assert verify_command([str(names["without_data"])]) == 0
    assert "sums ok, not scored (" in capsys.readouterr().out
    assert verify_command([str(names["cut"]), str(names["better"])]) == 1
    cut, better = capsys.readouterr().out.strip().splitlines()
    assert "FAILED" in cut and data.name in cut
    assert "FAILED. test_accuracy is 0." in better and "the card says 0.999" in better


def test_data_without_a_test_split_are_scored_on_validation(small_recipe, image_folder, tmp_path, capsys):
    for split in ("train", "validation"):
        image_folder(tmp_path / "data" / split)
    recipe = small_recipe(dataset=f"folder:{tmp_path / 'data'}", batch_size=4, limit_steps=3, normalisation="per_image")
    result = run(replace(recipe, model_args={"input_shape": (8, 8, 3)}), run_dir=tmp_path / "run")
    assert "validation_accuracy" in result.metrics and "test_accuracy" not in result.metrics
    assert verify_command([str(result.export)]) == 0
    assert "sums ok, validation_accuracy" in capsys.readouterr().out

"""Recipes: values of fields, and errors for invalid ones."""

import importlib.util
import math
from dataclasses import replace

import pytest

import zoo
from conftest import ROOT, image_recipe, run_python
from zoo.recipe import load_recipe
from zoo.tasks.table import list_tasks, recipe_class, recipe_from_dict


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"optimizer": "Adam"}, "optimizer is 'Adam'. Did you mean 'adam'"),
        ({"schedule": "Cosine"}, "schedule is 'Cosine'. Did you mean 'cosine'"),
        ({"keep": "bset"}, "keep is 'bset'. Did you mean 'best'"),
        ({"crop": "random"}, "crop is 'random'. Known: inception, none, scale, square"),
        ({"precision": "half"}, "precision is 'half'"),
        ({"loss": None}, "loss is None"),
        ({"epochs": "3"}, "epochs is '3'; it must be a finite number"),
        ({"epochs": True}, "epochs is True; it must be a finite number"),
        ({"batch_size": "3"}, "batch_size is '3'; it must be a whole number"),
        ({"batch_size": 2.5}, "batch_size is 2.5; it must be a whole number"),
        ({"batch_size": True}, "batch_size is True; it must be a whole number"),
        ({"epochs": 0}, "epochs is 0; it must be at least 1"),
        ({"deterministic": True, "jit_compile": True}, "jit_compile is True; it must be None or False with determ"),
        ({"learning_rate": math.inf}, "learning_rate is inf; it must be a finite number"),
        ({"learning_rate": math.nan}, "learning_rate is nan; it must be a finite number"),
        ({"learning_rate": -0.1}, "learning_rate is -0.1; it must be 0 or more"),
        ({"learning_rate": "0.1"}, "learning_rate is '0.1'; it must be a finite number"),
        ({"random_flip": 1}, "random_flip is 1; it must be True or False"),
        ({"pixel_mean": 0.5}, "pixel_mean is 0.5; it must be a tuple"),
        ({"pixel_mean": ("a",)}, "pixel_mean is 'a'; it must be a finite number"),
        ({"dataset": 3}, "dataset is 3; it must be a string"),
        ({"model_args": [1]}, r"model_args is \[1\]; it must be a mapping"),
        ({"seed": -1}, "seed is -1; it must be at least 0 and below"),
        ({"seed": 2**32}, "seed is 4294967296; it must be at least 0 and below"),
        ({"clip_norm": 0.0}, "clip_norm is 0.0; it must be positive"),
        ({"limit_steps": "x"}, "limit_steps is 'x'; it must be a whole number"),
        ({"warmup_epochs": 2.0}, "warmup_epochs is 2.0; it must be from 0 to the 1 epochs"),
        ({"schedule_epochs": (2.0, 1.0), "schedule_factors": (0.1, 0.01)}, "schedule_epochs is .*ascending order"),
        ({"schedule_epochs": (1.0,)}, "schedule_epochs has 1 values and schedule_factors 0"),
        (
            {"model_args": {"weights": "mnist"}},
            "model_args has 'weights', which a recipe does not take",
        ),
    ],
    ids=str,
)
def test_invalid_values_of_fields_are_errors(changes, said):
    with pytest.raises(zoo.UsageError, match=said):
        image_recipe(**changes)


def test_equal_values_compare_equal():
    listed = image_recipe(schedule="piecewise", schedule_epochs=[1, 2], schedule_factors=[1, 0], epochs=3)
    plain = replace(listed, schedule_epochs=(1.0, 2.0), schedule_factors=(1.0, 0.0))
    assert listed == plain and listed.fingerprint() == plain.fingerprint()
    assert isinstance(image_recipe(learning_rate=1).learning_rate, float)
    assert recipe_from_dict(listed.to_dict()) == listed


def test_every_task_has_a_recipe():
    shipped = [task for task in list_tasks() if recipe_class(task).__module__.startswith("zoo.")]
    assert len(shipped) == 5
    for task in shipped:
        kind = recipe_class(task)
        assert kind.task == task and getattr(zoo, kind.__name__) is kind


def test_an_export_of_an_unknown_task_is_refused():
    with pytest.raises(zoo.UsageError, match=r"no task 'segmentation'.*zoo\.register_task"):
        recipe_from_dict({"task": "segmentation"})


def test_the_page_of_fields_is_generated():
    spec = importlib.util.spec_from_file_location("recipe_fields", ROOT / "docs" / "recipe_fields.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page()
    assert "| `batch_size` | `int` | required |" in module.page() and "`word_dropout`" in module.page()


def test_old_names_of_flags_are_refused_with_the_new_ones():
    from zoo.cli.flags import parse

    for old, new in (("--least-count", "--min-count"), ("--longest=3", "--max-length")):
        with pytest.raises(zoo.UsageError, match=f"{old.partition('=')[0]} is now {new}"):
            parse(load_recipe("seq2seq_dates"), [old, "3"])


def test_a_misspelt_argument_in_a_script_reaches_the_builders_check(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(
        "import zoo\n"
        "recipe = zoo.ImageRecipe(name='mine', model='mlp', model_args={'hiden': (3,)}, dataset='digits', epochs=1,\n"
        "                         batch_size=4, learning_rate=0.1)\n"
        "zoo.main(recipe)\n"
    )
    done = run_python(script, "--limit-steps", "2", cwd=tmp_path)
    assert done.returncode == 2 and "'mlp' takes no argument 'hiden'. Did you mean 'hidden'" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]

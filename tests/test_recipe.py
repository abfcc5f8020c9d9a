"""Recipes: values of fields, and errors for invalid ones."""

import copy
import importlib.util
import json
import math
import pickle
from dataclasses import asdict, replace

import numpy as np
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
        ({"model_args": {"pretrained": True}}, "model_args has 'pretrained', which a recipe does not take; use zoo fi"),
        ({"model_args": {"classifier_activation": "softmax"}}, "model_args has 'classifier_activation'.* on logits"),
        ({"model_args": {"features": ("C1",)}}, "model_args has 'features', which a recipe does not take"),
        ({"model_args": {3: 1}}, "a key of model_args is 3; it must be a string"),
        ({"paper": {"test_accuracy": "high"}}, r"paper\['test_accuracy'\] is 'high'; it must be a finite number"),
        ({"learning_rate_factors": {"*": math.nan}}, r"learning_rate_factors\['\*'\] is nan; it must be a finite"),
        ({"learning_rate_factors": {"*": -1}}, "learning_rate_factors is .*; it must be patterns with factors of 0 or"),
        ({"weight_decay_factors": {"*": "2"}}, r"weight_decay_factors\['\*'\] is '2'; it must be a finite number"),
        ({"weight_decay_factors": {1: 2.0}}, "a key of weight_decay_factors is 1; it must be a string"),
        ({"frozen_after": {"*": True}}, r"frozen_after\['\*'\] is True; it must be a whole number"),
        ({"schedule": "piecewise"}, "schedule_epochs is .*at least one value for piecewise"),
        ({"name": ""}, "name is ''; it must be the name of a folder, without slashes"),
        ({"name": "../mine"}, "name is '../mine'; it must be the name of a folder"),
        ({"name": "a/b"}, "name is 'a/b'; it must be the name of a folder"),
        ({"dataset": "tsv:rows.tsv"}, "dataset is 'tsv:rows.tsv'; own data for image_classification is folder:PATH"),
        ({"model_args": {"input_shape": "x"}}, r"input_shape'\] is 'x'; it must be \(height, width, channels\)"),
        ({"model_args": {"input_shape": 5}}, r"input_shape'\] is 5; it must be"),
        ({"model_args": {"input_shape": (8, 8)}}, r"input_shape'\] is \(8, 8\); it must be"),
        ({"model_args": {"input_shape": (None, None, 1)}}, r"\(None, None, 1\).*training needs images of one size"),
        ({"model_args": {"input_shape": (8, 8, 4)}}, r"\(8, 8, 4\); it must be .*1 or 3 channels"),
        (
            {"model_args": {"bias_initializer": print}},
            r"model_args\['bias_initializer'\] is .*; it must be a text, a nu",
        ),
        ({"dataset": "conllu:"}, "dataset is 'conllu:'; own data for image_classification is folder:PATH"),
        ({"dataset": " "}, "dataset is ' '; own data for image_classification is folder:PATH"),
        ({"dataset": "csv:rows.csv"}, "dataset is 'csv:rows.csv'; own data for image_classification is folder:PATH"),
        ({"dataset": "Folder:a:b"}, "'Folder:a:b'; own data for image_classification is folder:PATH; write folder:a:b"),
        ({"dataset": "folder = a\nb"}, "own data for image_classification is folder:PATH; write folder:a\nb"),
        ({"dataset": f"photos={ROOT}"}, "dataset is 'photos=.*'; own data for image_classification is folder:PATH"),
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
    of_numpy = image_recipe(learning_rate=np.float64(0.5), seed=np.int64(3), paper={"test_accuracy": np.float32(0.5)})
    assert of_numpy == image_recipe(learning_rate=0.5, seed=3, paper={"test_accuracy": 0.5})
    assert type(of_numpy.seed) is int and of_numpy.fingerprint()
    by_numpy = image_recipe(model_args={"hidden": (np.int64(3),), "drop_rate": np.float64(0.5)})
    assert by_numpy.fingerprint() == image_recipe(model_args={"hidden": (3,), "drop_rate": 0.5}).fingerprint()


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


def test_recipes_are_pickled_and_copied():
    recipe = load_recipe("nin_cifar10")
    for copied in (pickle.loads(pickle.dumps(recipe)), copy.deepcopy(recipe)):
        assert copied == recipe and copied.fingerprint() == recipe.fingerprint()
        with pytest.raises(TypeError, match="read-only"):
            copied.model_args["drop_rate"] = 0.1
        for change in ("clear", "popitem", "update", "setdefault", "pop", "__delitem__", "__ior__"):
            with pytest.raises(TypeError, match="read-only"):
                getattr(copied.learning_rate_factors, change)({})
    assert json.loads(json.dumps(asdict(recipe)))["paper"] == recipe.paper
    assert type(recipe)(**asdict(recipe)) == recipe


def test_a_model_with_arguments_is_written_in_one_way():
    from zoo.cli.flags import parse

    recipe = load_recipe("nin_cifar10_fast")
    assert recipe.call == "nin_cifar(drop_rate=0.2, kernel_initializer='he_normal')"
    assert parse(recipe, [])[0].call == replace(recipe, model_args=dict(reversed(recipe.model_args.items()))).call


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

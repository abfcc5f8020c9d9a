"""The vision recipes: their settings, and a run of each at full resolution from pictures to export."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from conftest import folder_of_pictures, run
from zoo.errors import UsageError
from zoo.recipe import list_recipes, load_recipe
from zoo.training import optimizers
from zoo.training.optimizers import divide_epoch

IMAGENET = [name for name in list_recipes() if name.endswith("_imagenet2012")]
SMALL = ("mobilenet_imagenet2012",)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in SMALL else [pytest.mark.full]) for name in IMAGENET]
)
def test_imagenet_recipes_run_on_a_folder(name, tmp_path):
    root = folder_of_pictures(tmp_path / "pictures", sizes=((375, 500), (500, 400), (360, 480)), count=2)
    recipe = replace(load_recipe(name), dataset=f"folder:{root}", batch_size=2)
    result = run(recipe, dry_run=True)
    assert 0 <= result.metrics["validation_accuracy"] <= 1 and np.isfinite(result.metrics["validation_loss"])
    assert isinstance(result.model.output, keras.KerasTensor)  # no auxiliary head is exported


def test_the_resnet_recipe_ends_at_the_papers_steps():
    recipe = load_recipe("resnet20_cifar10")
    rate = optimizers.learning_rate(recipe, 390)
    assert [round(float(rate(step)), 6) for step in (0, 31_999, 32_000, 47_999, 48_000, 63_999)] == [
        0.1, 0.1, 0.01, 0.01, 0.001, 0.001,
    ]  # fmt: skip
    assert divide_epoch(recipe, 50_000)[0] == 390 and recipe.limit_steps == 64_000 <= recipe.epochs * 390
    warm = optimizers.learning_rate(load_recipe("resnet110_cifar10"), 390)
    assert [round(float(warm(step)), 6) for step in (0, 399, 400, 32_000, 48_000)] == [0.01, 0.01, 0.1, 0.01, 0.001]


def test_an_exponential_schedule_goes_in_steps():
    rate = optimizers.learning_rate(load_recipe("inception_small_cifar10"), 390)
    np.testing.assert_allclose([float(rate(s)) for s in (0, 389, 390, 780)], [0.1, 0.1, 0.095, 0.09025], rtol=1e-5)


def test_rates_of_single_layers():
    model = zoo.build("nin_cifar", drop_rate=0.0)
    recipe = replace(load_recipe("nin_cifar10"), momentum=0.0, schedule="constant")
    recipe = replace(recipe, schedule_epochs=(), schedule_factors=())
    paths = [weight.path for weight in model.trainable_variables]
    optimizer = optimizers.optimizer(recipe, 10, paths)
    before = [weight.numpy() for weight in model.trainable_variables]
    optimizer.apply([tf.ones(weight.shape) for weight in model.trainable_variables], model.trainable_variables)
    steps = {p: (b - w.numpy()).max() for p, b, w in zip(paths, before, model.trainable_variables, strict=True)}
    for path, step in steps.items():
        factor = (2.0 if path.endswith("bias") else 1.0) * (0.1 if path.startswith("cccp6") else 1.0)
        np.testing.assert_allclose(step, 0.1 * factor, rtol=1e-3, err_msg=path)


def test_what_decays_is_what_the_recipe_names():
    model = zoo.build("mobilenet", alpha=0.25)
    paths = [weight.path for weight in model.trainable_variables]
    recipe = load_recipe("mobilenet_imagenet2012")
    decayed = optimizers.matching(recipe.decayed_weights, paths, "decayed_weights")
    assert len(decayed) == 1 + 13 + 1 and not any("_dw" in path or "bn" in path for path in decayed)
    with pytest.raises(UsageError, match=r"no weight's path matches 'conv1/kernl'; paths are like conv1/kernel"):
        optimizers.matching(["conv1/kernl"], paths, "decayed_weights")
    xception = [weight.path for weight in zoo.build("xception").trainable_variables]
    patterns = load_recipe("xception_imagenet2012").decayed_weights
    kinds = {path.rpartition("/")[2] for path in optimizers.matching(patterns, xception, "")}
    assert kinds == {"kernel", "depthwise_kernel", "pointwise_kernel"}

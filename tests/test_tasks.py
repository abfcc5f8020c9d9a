"""Every task of the package passes the suite of all tasks."""

from dataclasses import replace

import pytest
from check_task import check_task

from small_recipes import TASKS, small_recipes


@pytest.mark.parametrize("name", TASKS)
def test_a_task_follows_the_contract(name, tmp_path):
    recipe = small_recipes(tmp_path)[name]
    arguments = {**recipe.model_args, "drop_rate": 0.2}  # whose random state a run resumes with
    recipe = replace(recipe, limit_steps=8, steps_per_epoch=3, epochs=3, model_args=arguments)
    kind = recipe.dataset.partition(":")[0] if ":" in recipe.dataset else None
    check_task(recipe, tmp_path, damaged={"dataset": f"{kind}:{tmp_path / 'none'}" if kind else "digtis"})

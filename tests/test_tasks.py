"""Every shipped task passes the suite that each task is to pass."""

from dataclasses import replace

import pytest
from check_task import check_task

from small_recipes import TASKS, small_recipes


@pytest.mark.parametrize("name", TASKS)
def test_a_task_keeps_the_contract(name, tmp_path):
    recipe = replace(small_recipes(tmp_path)[name], limit_steps=8)
    kind = recipe.dataset.partition(":")[0] if ":" in recipe.dataset else None
    check_task(recipe, tmp_path, damaged={"dataset": f"{kind}:{tmp_path / 'none'}" if kind else "digtis"})

"""Writes docs/recipe-fields.md from the dataclasses of the recipes: `python docs/recipe_fields.py`."""

import ast
import inspect
import textwrap
from dataclasses import MISSING, fields
from pathlib import Path

from zoo.recipe import GradientRecipe, Recipe
from zoo.tasks.table import list_tasks, recipe_class

PAGE = Path(__file__).with_name("recipe-fields.md")
HEAD = """# Recipe fields

Every field is an argument of the recipe's class, and a flag of the same name on the command line (`batch_size` is
`--batch-size`). A value of another type, out of its range or not among the choices is refused. Arguments of the model's
builder go to `model_args`; as flags they are `--model.NAME`. As a flag, a mapping is pairs such as
`--learning-rate-factors "*/bias=64"`, and without a pair it is empty. This page is generated from the classes.
"""


def page() -> str:
    """The page in Markdown."""
    kinds = [kind for kind in map(recipe_class, list_tasks()) if kind.__module__.startswith("zoo.")]
    parts = [HEAD, section(Recipe, "Every recipe: `zoo.Recipe`")]
    parts.append(section(GradientRecipe, "Training by gradient descent: `zoo.GradientRecipe`, which adds"))
    for kind in kinds:
        title = kind.task.replace("_", " ").capitalize()
        parts.append(section(kind, f"{title}: `zoo.{kind.__name__}`, a `GradientRecipe` that adds"))
    return "\n".join(parts)


def section(kind: type, title: str) -> str:
    """The fields that a class itself defines, as a table."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    defaults = {entry.name: entry.default for entry in fields(kind)}
    rows = []
    for node, text in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(node, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            default = defaults[node.target.id]
            shown = "required" if default is MISSING and node.value is None else f"`{default!r}`"
            shown = "`{}`" if default is MISSING and node.value is not None else shown
            annotation = ast.unparse(node.annotation).replace("|", "\\|")
            rows.append(f"| `{node.target.id}` | `{annotation}` | {shown} | {' '.join(text.value.value.split())} |")
    return "\n".join([f"## {title}", "", "| field | type | default | meaning |", "|---|---|---|---|", *rows, ""])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

"""The allowed imports between the parts of the package."""

import ast

from conftest import ROOT

# Each part may import those named here and what those may import, never the other way round.
ALLOWED = {
    "errors": (),
    "shipped": (),
    "paths": ("errors",),
    "fields": ("errors",),
    "recipe": ("fields", "shipped"),
    "registry": ("fields",),
    "layers": ("errors",),
    "models": ("layers", "fields"),
    "backend": ("errors",),
    "serialization": ("layers",),
    "exports": ("errors", "paths", "recipe", "registry"),
    "weights": ("exports", "registry", "shipped", "models"),
    "arguments": ("fields", "registry"),
    "building": ("arguments", "registry", "weights", "backend"),
    "data": ("errors", "paths"),
    "distribute": ("fields", "paths"),
    "report": ("errors", "building", "models", "recipe", "weights"),
    "tasks": ("recipe", "registry", "exports", "weights", "building", "data", "report", "layers"),
    "training": ("tasks", "distribute", "exports", "report", "building", "layers", "backend"),
    "serve": ("errors", "exports", "backend"),
    "finetuning": ("training", "tasks", "weights", "exports"),
    "ensembling": ("tasks", "weights", "exports"),
    "distillation": ("training", "tasks", "weights", "exports"),
    "cli": (
        "finetuning",
        "ensembling",
        "distillation",
        "training",
        "tasks",
        "distribute",
        "weights",
        "report",
        "serve",
    ),
}


def part(module):
    names = module.split(".")
    return names[1] if len(names) > 1 else ""


def imports(path):
    """Modules of the zoo that a file imports anywhere, except for type checkers."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "zoo":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "zoo")


def reachable(name, seen=()):
    found = {name}
    for other in ALLOWED[name]:
        if other not in seen:
            found |= reachable(other, (*seen, name))
    return found


def test_imports_follow_the_arrows():
    wrong = []
    for path in sorted((ROOT / "zoo").rglob("*.py")):
        own = path.relative_to(ROOT / "zoo").parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        assert own in ALLOWED, f"{path} belongs to no part"
        for module in imports(path):
            if part(module) and part(module) not in reachable(own):
                wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_the_arrows_have_no_cycle():
    def visit(name, path):
        assert name not in path, " → ".join((*path, name))
        for other in ALLOWED[name]:
            visit(other, (*path, name))

    for name in ALLOWED:
        visit(name, ())


def test_a_task_imports_no_other():
    for path in (ROOT / "zoo" / "tasks").glob("*/*.py"):
        for module in imports(path):
            names = module.split(".")
            if names[1] == "tasks" and (ROOT / "zoo" / "tasks" / names[2]).is_dir():
                assert names[2] == path.parent.name, f"{path} imports {module}"

"""`zoo lr-find`: a short run with a rising learning rate, and the rate that it suggests."""

from collections.abc import Sequence

from zoo.cli.finetune import recipe_for
from zoo.cli.flags import load_tensorflow, parse
from zoo.cli.parser import Parser
from zoo.errors import UsageError, ZooError, reason
from zoo.paths import user_path
from zoo.recipe import list_recipes, load_recipe

USAGE = """usage: zoo lr-find RECIPE|EXPORT [--dataset DATASET] [--steps N] [--plot PNG] [FLAGS]

Trains for up to N steps (100) while the learning rate rises from 1e-6 to 1, plots the loss by rate into PNG
(NAME-lr-find.png) and suggests the rate at which the loss falls fastest. An export is tried as `zoo finetune` would
train it. It writes no other file. The flags are those of `zoo train RECIPE` or `zoo finetune EXPORT`.
"""


def lr_find_command(arguments: Sequence[str]) -> int:
    """Runs the command line of `zoo lr-find` and returns its exit status."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if arguments else 2
    if arguments[0].startswith("-"):
        raise UsageError("The first argument of `zoo lr-find` is a recipe or an export.")
    name = arguments[0]
    parser = Parser("lr-find", "", add_help=False)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--plot")
    options, rest = parser.parse_known_args(arguments[1:])
    recipe, rest = (load_recipe(name), rest) if name in list_recipes() else recipe_for("lr-find", name, rest)
    load_tensorflow()
    recipe, run_options = parse(recipe, rest, program=f"zoo lr-find {name}")
    from zoo.report import plots
    from zoo.training.rate_test import rate_test

    found = rate_test(recipe, steps=options.steps, devices=run_options["devices"])
    path = user_path(options.plot or f"{recipe.name}-lr-find.png")
    try:
        plots.loss_by_rate(found.rates, found.losses, found.suggestion, path)
    except (OSError, ValueError) as error:
        raise ZooError(f"The picture cannot be written to {path}: {reason(error)}.") from error
    print(
        f"The loss falls fastest at {found.suggestion:.2g} and was tried up to {found.rates[-1]:.2g} ({path}). Use "
        f"--learning-rate {found.suggestion:.2g}"
    )
    return 0

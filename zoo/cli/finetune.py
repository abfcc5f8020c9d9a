"""`zoo finetune`: train an export's model on other data."""

import argparse
import re
from collections.abc import Sequence

from zoo.cli.flags import load_tensorflow, parse
from zoo.cli.parser import Parser
from zoo.errors import UsageError
from zoo.recipe import GradientRecipe

USAGE = """usage: zoo finetune EXPORT [--dataset DATASET] [--weights-only] [FLAGS]

Trains an export's model on other data, starting from its weights, and exports it. EXPORT is a run directory, an
export's folder, its name, or MODEL:TAG. Without --dataset the data is the export's own. --weights-only takes the
weights and the preprocessing, and not the augmentation, loss and other fields of the export's recipe. The flags are the
fields of the recipe, --epochs, --frozen-epochs and --depth-decay among them; `zoo finetune EXPORT --help` lists them.
"""


def finetune_command(arguments: Sequence[str]) -> int:
    """Runs the command line of `zoo finetune` and returns its exit status."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if arguments else 2
    if arguments[0].startswith("-"):
        raise UsageError("The first argument of `zoo finetune` is the export.")
    recipe, rest = recipe_for("finetune", arguments[0], arguments[1:])
    load_tensorflow()
    recipe, run_options = parse(recipe, rest, program=f"zoo finetune {arguments[0]}")
    from zoo.training.run import run

    run(recipe, **run_options)
    return 0


def recipe_for(command: str, export: str, arguments: Sequence[str]) -> tuple[GradientRecipe, list[str]]:
    """The recipe that fine-tunes an export, and the flags that are not applied to it yet."""
    parser = Parser(command, "", add_help=False)
    parser.add_argument("--dataset")
    parser.add_argument("--weights-only", action="store_true")
    options, rest = parser.parse_known_args(arguments)
    # The defaults of other fields depend on these; what is wrong with a value is said where all flags are parsed.
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flag in ("--epochs", "--frozen-epochs", "--frozen_epochs"):
        first.add_argument(flag)
    given = {key: value or "" for key, value in vars(first.parse_known_args(rest)[0]).items()}
    stated = {key: int(value) for key, value in given.items() if re.fullmatch(r"\d+", value)}
    stated |= {key: float(value) for key, value in given.items() if re.fullmatch(r"\d*\.\d+", value)}
    from zoo.finetuning import finetuning_recipe

    return finetuning_recipe(export, dataset=options.dataset, weights_only=options.weights_only, **stated), rest

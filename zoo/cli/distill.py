"""`zoo distill`: train a model to give the probabilities of an export."""

from collections.abc import Sequence

from zoo.cli.flags import load_tensorflow, parse
from zoo.cli.parser import Parser
from zoo.errors import UsageError

USAGE = """usage: zoo distill TEACHER --student MODEL [--dataset DATASET] [FLAGS]

Trains MODEL on the labels of a data set and on the probabilities of TEACHER, and exports it. TEACHER is a run
directory, an export's folder, its name, or MODEL:TAG; it may be an ensemble. Without --dataset the data is the
teacher's own, as preprocessing, augmentation and optimizer are. The flags are the fields of the recipe, --temperature
(4) and --alpha (0.9), the part of the teacher in the loss, among them; `zoo distill TEACHER --student MODEL --help`
lists them.
"""


def distill_command(arguments: Sequence[str]) -> int:
    """Runs the command line of `zoo distill` and returns its exit status."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if arguments else 2
    if arguments[0].startswith("-"):
        raise UsageError("The first argument of `zoo distill` is the teacher.")
    parser = Parser("distill", "", add_help=False)
    parser.add_argument("--student", required=True)
    parser.add_argument("--dataset")
    options, rest = parser.parse_known_args(arguments[1:])
    load_tensorflow()
    from zoo.distillation import distillation_recipe

    recipe = distillation_recipe(arguments[0], student=options.student, dataset=options.dataset)
    recipe, run_options = parse(recipe, rest, program=f"zoo distill {arguments[0]} --student {options.student}")
    from zoo.training.run import run

    run(recipe, **run_options)
    return 0

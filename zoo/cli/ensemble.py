"""`zoo ensemble`: several exports as one."""

from collections.abc import Sequence

from zoo.cli.flags import load_tensorflow
from zoo.cli.parser import Parser


def ensemble_command(arguments: Sequence[str]) -> int:
    """Runs the command line of `zoo ensemble` and returns its exit status."""
    parser = Parser("ensemble", "Writes an export that answers with the mean of the probabilities of several exports.")
    help = "run directories, exports' folders, their names, or MODEL:TAG; two or more image classifiers"
    parser.add_argument("exports", metavar="EXPORT", nargs="+", help=help)
    parser.add_argument("--output", metavar="NAME", required=True, help="the folder of the export, above its versions")
    options = parser.parse_args(arguments)
    load_tensorflow()
    from zoo.ensembling import ensemble
    from zoo.exports.read import read_card
    from zoo.report import console

    folder = ensemble(options.exports, options.output)
    rows = [
        (key.replace("_", " "), console.format_metric(key, value))
        for key, value in read_card(folder)["metrics"].items()
    ]
    if rows:
        console.table(str(folder), ("metric", "value"), rows)
    print(f"export: {folder}")
    return 0

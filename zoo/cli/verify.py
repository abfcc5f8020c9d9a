"""`zoo verify`: checks the files of exports against their checksums, and their scores against their cards."""

import sys
from collections.abc import Sequence
from pathlib import Path

from zoo.cli.flags import load_tensorflow
from zoo.cli.parser import Parser
from zoo.errors import UsageError, ZooError
from zoo.exports.read import read_card
from zoo.report.console import differs
from zoo.shipped import shipped_folder
from zoo.weights.exports import find_export


def verify_command(arguments: Sequence[str]) -> int:
    """Runs the command line of `zoo verify` and returns its exit status: 1 where an export is not as its card says."""
    parser = Parser("verify", "Checks the SHA-256 checksums of exports and evaluates them again on their data.")
    help = "run directories, exports' folders, their names, or MODEL:TAG; default: all in saved_models/"
    parser.add_argument("exports", metavar="EXPORT", nargs="*", help=help)
    options = parser.parse_args(arguments)
    shipped = shipped_folder("saved_models")
    names = options.exports or sorted(str(path) for path in shipped.glob("*") if path.is_dir())
    if not names:
        raise UsageError(f"There is no export in {shipped}; name one.")
    load_tensorflow()
    failed = False
    for name in names:
        try:
            folder = find_export(name)
        except ZooError as error:
            failed = True
            print(f"{name}: FAILED. {error}", flush=True)
            continue
        faults, scored = [], ""
        try:
            pairs, changed = _scores(folder)
            differing = [
                f"{key} is {now:.6g}, the card says {card:.6g}" for key, card, now in pairs if differs(key, card, now)
            ]
            scored = ", ".join(f"{key} {now:.6g}" for key, _, now in pairs) or "nothing to compare"
            if changed:
                scored = f"{'; '.join(differing) or scored}, on data that changed since the training ({changed})"
            else:
                faults = differing
        except ZooError as error:
            scored = f"not scored ({error})"
        failed |= bool(faults)
        print(f"{folder}: sums ok, {'FAILED. ' + '; '.join(faults) if faults else scored}", flush=True)
    return int(failed)


def _scores(folder: Path) -> tuple[list[tuple[str, float, float]], str | None]:
    """Each metric that the card of an export has and that it is scored by, as its name, the card's value and the value
    now; and how the data differ from those that the card's values are of."""
    from zoo.tasks.table import load_predictor

    measured = read_card(folder)["metrics"]
    results = load_predictor(folder).evaluate(log=lambda text: print(text, file=sys.stderr))
    pairs = [(key, measured[key], value) for key, value in results.items() if key in measured]
    return pairs, results.get("data_changed")

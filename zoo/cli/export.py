"""`zoo export`: an export as a file for ONNX Runtime or LiteRT."""

from collections.abc import Sequence
from pathlib import Path

from zoo.cli.flags import load_tensorflow
from zoo.cli.parser import Parser
from zoo.exports.portable import SUFFIXES, write_portable
from zoo.weights.exports import find_export


def export_command(arguments: Sequence[str]) -> int:
    """Runs the command line of `zoo export` and returns its exit status."""
    parser = Parser("export", "Writes an export as a file for ONNX Runtime or LiteRT, and compares their answers.")
    parser.add_argument("export", metavar="EXPORT", help="a run directory, an export's folder, its name, or MODEL:TAG")
    parser.add_argument("--format", required=True, choices=list(SUFFIXES))
    parser.add_argument("--output", metavar="PATH", help="the file (NAME.onnx or NAME.tflite); an old one is replaced")
    options = parser.parse_args(arguments)
    folder = find_export(options.export)
    load_tensorflow()
    from zoo.tasks.table import load_predictor

    path = Path(options.output or f"{folder.parent.name}{SUFFIXES[options.format]}")
    portable = load_predictor(folder).portable()
    worst = write_portable(portable, options.format, path)
    inputs = ", ".join(
        f"{name} {value.dtype} (N, {', '.join(map(str, value.shape[1:]))})" for name, value in portable.examples.items()
    )
    print(f"{path}: takes {inputs}; its answers differ from the SavedModel's by at most {worst:.1g}")
    return 0

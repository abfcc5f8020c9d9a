"""`zoo export`: an export as a file for ONNX Runtime or LiteRT, or with its weights in half precision."""

from collections.abc import Sequence
from pathlib import Path

from zoo.cli.flags import load_tensorflow
from zoo.cli.parser import Parser
from zoo.data.paths import display_path
from zoo.exports.portable import SUFFIXES, write_portable
from zoo.report import console
from zoo.weights.exports import find_export

HALF = "float16"


def export_command(arguments: Sequence[str]) -> int:
    """Runs the command line of `zoo export` and returns its exit status."""
    about = (
        "Writes an export for ONNX Runtime or LiteRT and compares the answers, or in float16 and compares the metrics."
    )
    parser = Parser("export", about)
    parser.add_argument("export", metavar="EXPORT", help="a run directory, an export's folder, its name, or MODEL:TAG")
    parser.add_argument("--format", required=True, choices=[*SUFFIXES, HALF])
    parser.add_argument(
        "--output",
        metavar="PATH",
        help="the file (NAME.onnx or NAME.tflite), an old one is replaced; for float16 the folder of the new export "
        "(NAME_float16), which gets the next version in it",
    )
    options = parser.parse_args(arguments)
    folder = find_export(options.export)
    load_tensorflow()
    if options.format == HALF:
        from zoo.training.half_precision import export_in_half

        written = export_in_half(folder, options.output or f"{folder.parent.name}_{HALF}")
        print(f"{display_path(written)}: {_size(written)}, where {display_path(folder)} has {_size(folder)}")
        return 0
    from zoo.tasks.table import load_predictor

    path = Path(options.output or f"{folder.parent.name}{SUFFIXES[options.format]}")
    portable = load_predictor(folder).portable()
    worst = write_portable(portable, options.format, path)
    inputs = ", ".join(
        f"{name} {value.dtype} (N, {', '.join(map(str, value.shape[1:]))})" for name, value in portable.examples.items()
    )
    count = len(next(iter(portable.examples.values())))
    print(
        f"{path}: takes {inputs}; on {count} random inputs its answers differ from the SavedModel's by at most "
        f"{worst:.1g} of the largest"
    )
    return 0


def _size(folder: Path) -> str:
    return console.format_bytes(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))

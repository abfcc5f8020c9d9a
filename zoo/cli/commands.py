"""The commands of `zoo`; those with a file of their own are imported."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from zoo.cli.distill import distill_command
from zoo.cli.ensemble import ensemble_command
from zoo.cli.export import export_command
from zoo.cli.finetune import finetune_command
from zoo.cli.flags import load_tensorflow, parse
from zoo.cli.lr_find import lr_find_command
from zoo.cli.parser import Parser
from zoo.cli.status import leave
from zoo.cli.verify import verify_command
from zoo.data.paths import display_path
from zoo.errors import UsageError, ZooError, nearest
from zoo.paths import user_path
from zoo.recipe import OWN_KINDS, Recipe, list_recipes, load_recipe, load_script


def main(recipe: Recipe, arguments: Sequence[str] | None = None) -> NoReturn:
    """The main function of a recipe script: parses the flags, runs the recipe, exits with status 0, 1 or 2."""
    leave(lambda: _train(recipe, arguments))


def console() -> NoReturn:
    """The `zoo` command."""
    leave(lambda: dispatch(sys.argv[1:]))


def dispatch(arguments: Sequence[str]) -> int:
    """Runs the command of a command line and returns its exit status."""
    arguments = list(arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0
    if arguments[0] == "--version":
        import zoo

        print(zoo.__version__)
        return 0
    if arguments[0] not in COMMANDS:
        raise UsageError(f"There is no command {arguments[0]!r}. {nearest(arguments[0], COMMANDS)}")
    run, _ = COMMANDS[arguments[0]]
    return run(arguments[1:]) or 0


def _usage() -> str:
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {help}" for name, (_, help) in COMMANDS.items())
    return (
        "usage: zoo COMMAND …; `zoo COMMAND --help` shows its flags\n\n"
        f"Reference models for Keras 3 on TensorFlow.\n\n{rows}\n\n  --version: print the version"
    )


def _list(arguments: Sequence[str]) -> None:
    from zoo.registry import describe, list_models

    parser = Parser("list", "Lists the models that match.")
    parser.add_argument(
        "pattern", nargs="?", default="*", help='a part of the name, or a name with wildcards: "resnet*_v2"'
    )
    parser.add_argument("--task", help="only models of this task")
    parser.add_argument("--family", help="only models of this family")
    parser.add_argument("--pretrained", action="store_true", help="only models with pretrained weights")
    options = parser.parse_args(arguments)
    names = list_models(options.pattern, task=options.task, family=options.family, pretrained=options.pretrained)
    if not names:
        raise ZooError(f"No model matches {options.pattern!r}. {nearest(options.pattern, list_models())}")
    cards = [describe(name) for name in names]
    rows = [("model", "parameters", "MACs", "year", "weights", "what it is")]
    for card in cards:
        rows.append(
            (
                card.name,
                f"{card.parameters:,}" if card.parameters is not None else "",
                f"{card.macs:,}" if card.macs is not None else "",
                str(card.year or ""),
                ", ".join(card.weights),
                card.summary,
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    for row in rows:
        cells = [row[0].ljust(widths[0]), row[1].rjust(widths[1]), row[2].rjust(widths[2]), row[3].rjust(widths[3])]
        line = "  ".join([*cells, row[4].ljust(widths[4]), row[5]]).rstrip()
        print(line if len(line) <= width else f"{line[: width - 1]}…")


def _show(arguments: Sequence[str]) -> None:
    from zoo.registry import describe, list_models

    parser = Parser("show", "Shows the card of a model, or a recipe.")
    parser.add_argument("name", help="a model, a family or a recipe")
    parser.add_argument("--layers", action="store_true", help="show the layers of the model, too")
    options = parser.parse_args(arguments)
    name = options.name
    if name in list_recipes():
        if options.layers:
            raise UsageError(f"{name!r} is a recipe; --layers is for models. Try zoo show {load_recipe(name).model}.")
        module = load_script(name)
        print(module.__doc__.strip() + "\n")
        for key, value in module.recipe.to_dict().items():
            print(f"  {key:<24} {value}")
        return
    try:
        card = describe(name)
    except UsageError as error:
        raise UsageError(
            f"There is no model or recipe {name!r}. {nearest(name, [*list_models(), *list_recipes()])}"
        ) from error
    if name != card.name:
        others = ", ".join(list_models(family=name))
        print(f"{name} is a family, of {others}. This is its default, {card.name}.\n")
    print(card)
    if options.layers:
        print()
        _show_layers(name)


def _show_layers(name: str) -> None:
    load_tensorflow()
    from zoo.building import build
    from zoo.models.summary import TABLE_NOTES, layer_table, table_cells

    cells = table_cells(layer_table(build(name)))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        texts = [
            text.ljust(width) if i < 4 else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(texts).rstrip())
    print("", *TABLE_NOTES, sep="\n")


def _train_by_name(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: zoo train RECIPE [FLAGS]; `zoo train RECIPE --help` shows the flags.\n\nrecipes:")
        for name in list_recipes():
            print(f"  {name:<34} {load_script(name).__doc__.strip().splitlines()[0]}")
        return 0 if arguments else 2
    module = load_script(arguments[0])
    load_tensorflow()
    if hasattr(module, "main"):
        return module.main(arguments[1:])
    return _train(module.recipe, arguments[1:])


def _train(recipe: Recipe, arguments: Sequence[str] | None) -> int:
    recipe, options = parse(recipe, arguments)
    from zoo.training.run import run

    run(recipe, **options)
    return 0


def _launch(arguments: Sequence[str]) -> int:
    from zoo.distribute.launch import launch

    arguments, command = list(arguments), []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, command = arguments[:at], arguments[at + 1 :]
    parser = Parser("launch", "zoo launch --workers 2 -- train NAME runs a command in several processes as a cluster.")
    parser.usage = "zoo launch [-h] [--workers WORKERS] -- COMMAND …"
    parser.add_argument("--workers", type=int, default=2, help="number of processes (2)")
    return launch(parser.parse_args(arguments).workers, command)


def _evaluate(arguments: Sequence[str]) -> None:
    parser = Parser("evaluate", "Evaluates an export on the test split of a data set.")
    parser.add_argument("export", metavar="EXPORT", help="a run directory, an export's folder, its name, or MODEL:TAG")
    parser.add_argument("--dataset", help="default: the data set it was trained on")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    from zoo.weights.exports import find_export

    folder = find_export(options.export)
    load_tensorflow()
    from zoo.report import console
    from zoo.tasks.table import load_predictor

    predictor = load_predictor(folder)
    kind, _, path = predictor.plain_recipe["dataset"].partition(":")
    if options.dataset is None and kind in OWN_KINDS and not os.path.exists(user_path(path)):
        raise UsageError(
            f"{folder} was trained on {kind}:{path}, seen from the folder in which the training ran, and there is no "
            "such file or folder from here. Run the command there, or give --dataset."
        )
    results = predictor.evaluate(options.dataset, lambda text: print(text, file=sys.stderr))
    if options.json:
        print(json.dumps(results))
        return
    rows = [
        (key.replace("_", " "), console.format_metric(key, value) if isinstance(value, float) else value)
        for key, value in results.items()
    ]
    console.table(str(folder), ("metric", "value"), rows)


def _predict(arguments: Sequence[str]) -> int:
    parser = Parser("predict", "Predicts for files or texts. The flags depend on the task of the export.")
    help = "a run directory, an export's folder, its name, or MODEL:TAG; it must be the first argument"
    parser.add_argument("export", metavar="EXPORT", help=help)
    parser.add_argument("files", nargs="*", metavar="FILE", help="files or - (stdin); for images also folders")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    if not arguments or arguments[0].startswith("-"):
        parser.parse_args(arguments)
        raise UsageError("The first argument of `zoo predict` is the export.")
    from zoo.exports.read import read_recipe
    from zoo.tasks.table import load_predictor, predictor_class
    from zoo.weights.exports import find_export

    folder = find_export(arguments[0])
    load_tensorflow()
    predictor_class(read_recipe(folder)["task"]).add_flags(parser)
    options = parser.parse_intermixed_args(arguments)
    predictor, failed = load_predictor(folder), False
    for answer in predictor.predict(options):
        failed |= "error" in answer
        if options.json:
            print(json.dumps(answer), flush=True)
            continue
        if "file" in answer:
            answer = {**answer, "file": display_path(answer["file"])}
        if "error" in answer:
            print(f"error: {answer['file']}: {answer['error']}", file=sys.stderr, flush=True)
        else:
            print(predictor.format(answer), flush=True)
    return int(failed)


def _serve(arguments: Sequence[str]) -> int:
    from zoo.serve import command

    parser = Parser("serve", command.DESCRIPTION)
    command.add_flags(parser)
    return command.run(parser.parse_args(arguments))


def _serve_config(arguments: Sequence[str]) -> int:
    from zoo.serve import command

    parser = Parser("serve-config", "Writes the configuration of the tensorflow/serving image.")
    command.add_config_flags(parser)
    return command.write_config(parser.parse_args(arguments))


def _check_xla(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(
            "usage: zoo check-xla RECIPE [FLAGS]; the flags are those of `zoo train RECIPE`, without those that select "
            "devices."
        )
        return 0 if arguments else 2
    module = load_script(arguments[0])
    from zoo.report import console
    from zoo.training import check_xla

    with tempfile.TemporaryDirectory(prefix="zoo-xla-") as folder:
        check_xla.dump_to(Path(folder))
        recipe, options = parse(module.recipe, arguments[1:])
        unused = [key for key, value in options.items() if value != type(value)() and value is not None]
        if unused:
            raise UsageError(f"check-xla compiles for one device and trains nothing; omit {unused[0]}.")
        programs = check_xla.check(recipe, Path(folder))
    rows = [
        (
            name,
            f"{p.instructions:,}",
            f"{p.flops / 1e9:,.2f}",
            console.format_bytes(p.argument_bytes),
            console.format_bytes(p.temporary_bytes),
        )
        for name, p in programs.items()
    ]
    title = f"{recipe.name}: XLA compiles it for one device, at static shapes, without calls to the host"
    console.table(title, ("step", "instructions", "GFLOPs", "arguments", "temporary"), rows)
    return 0


COMMANDS: dict[str, tuple[Callable[[Sequence[str]], int | None], str]] = {
    "list": (_list, "list models"),
    "show": (_show, "show a model's card, its layers, or a recipe"),
    "train": (_train_by_name, "train with a recipe; `zoo train` lists them"),
    "finetune": (finetune_command, "train an export's model on other data"),
    "distill": (distill_command, "train a model to give the probabilities of an export"),
    "lr-find": (lr_find_command, "suggest a learning rate for a recipe or an export"),
    "launch": (_launch, "train in several processes on this machine"),
    "evaluate": (_evaluate, "evaluate an export on a data set"),
    "verify": (verify_command, "check the checksums of exports, and evaluate them again"),
    "export": (export_command, "write an export for ONNX Runtime or LiteRT, or in float16"),
    "ensemble": (ensemble_command, "write several exports as one, which answers with their mean probabilities"),
    "predict": (_predict, "predict for files or texts"),
    "serve": (_serve, "serve exports with TensorFlow Serving's protocols and a page to try them"),
    "serve-config": (_serve_config, "write the configuration of the tensorflow/serving image"),
    "check-xla": (_check_xla, "compile a recipe's steps as a TPU needs them"),
}

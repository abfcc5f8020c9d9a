"""The command line: zoo list | show | train | launch | evaluate | predict | serve | serve-config | check-xla."""

import argparse
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, fields, make_dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, NoReturn

from zoo.errors import UsageError, ZooError, nearest
from zoo.recipe import Recipe, list_recipes, load_script
from zoo.serve import command as serve

COMMANDS = ("list", "show", "train", "launch", "evaluate", "predict", "serve", "serve-config", "check-xla")


def main(recipe: Recipe, arguments: Sequence[str] | None = None) -> NoReturn:
    """What a recipe script does: reads the flags, runs the recipe, exits with 0, 1 or 2."""
    sys.exit(guarded(lambda: _train(recipe, arguments)))


def console() -> NoReturn:
    """The `zoo` command."""
    sys.exit(guarded(lambda: _dispatch(sys.argv[1:])))


def guarded(command: Callable[[], int | None]) -> int:
    """Runs a command and returns its exit status; errors that a user can mend become one line on stderr."""
    try:
        return command() or 0
    except ZooError as error:
        print(error if error.exit_status == 130 else f"error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _dispatch(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="zoo", description="Reference models for Keras 3 on TensorFlow.")
    parser.add_argument("--version", action="store_true", help="print the version and stop")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    listing = commands.add_parser("list", help="the models", description="Lists the models that match.")
    listing.add_argument("pattern", nargs="?", default="*", help='a name, with wildcards: "resnet*"')
    listing.add_argument("--task", help="only this task's")
    listing.add_argument("--family", help="only this family's")
    listing.add_argument("--pretrained", action="store_true", help="only those with weights to load")

    showing = commands.add_parser("show", help="one model's card, or one recipe", description="Shows a model's card.")
    showing.add_argument("name", help="a model, a family or a recipe")

    commands.add_parser("train", help="train by a recipe; `zoo train` lists them", add_help=False)

    launching = commands.add_parser(
        "launch", help="train in several processes on this machine", description="zoo launch --workers 2 -- train NAME"
    )
    launching.add_argument("--workers", type=int, default=2, help="how many processes (2)")

    evaluating = commands.add_parser("evaluate", help="score an export on a data set")
    evaluating.add_argument("export", metavar="RUN_OR_EXPORT", help="a run's folder, or an export's")
    evaluating.add_argument("--dataset", help="default: the one it was trained on (its test split)")
    evaluating.add_argument("--json", action="store_true", help="print JSON")

    predicting = commands.add_parser("predict", help="answer for files or texts")
    predicting.add_argument("export", metavar="EXPORT", help="an export's folder, or a run's")
    files = "PNG or JPEG files, folders of them, texts; or - for stdin"
    predicting.add_argument("files", nargs="*", metavar="FILE", help=files)
    predicting.add_argument("--text", action="append", metavar="TEXT", help="a text in place of a file; repeatable")
    predicting.add_argument("--length", type=int, default=200, help="characters that a language model adds (200)")
    predicting.add_argument("--temperature", type=float, default=0.7, help="how freely it draws; 0: not at all (0.7)")
    predicting.add_argument("--seed", type=int, default=0, help="what it draws by (0)")
    predicting.add_argument("--beam", action="store_true", help="translate with beam search")
    predicting.add_argument("--plot", metavar="PNG", help="draw a translation's attention into this file")
    predicting.add_argument("--json", action="store_true", help="print one JSON object a line")

    serving = commands.add_parser(
        "serve", help="answer over TensorFlow Serving's protocol", description=serve.DESCRIPTION
    )
    serve.add_flags(serving)
    configuring = commands.add_parser("serve-config", help="write TensorFlow Serving's configuration")
    serve.add_config_flags(configuring)

    commands.add_parser("check-xla", help="compile a recipe's steps as a TPU would need them", add_help=False)

    if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        raise UsageError(f"There is no command {arguments[0]!r}. {nearest(arguments[0], COMMANDS)}")
    if arguments[:1] == ["train"]:
        return _train_by_name(arguments[1:])
    if arguments[:1] == ["check-xla"]:
        return _check_xla(arguments[1:])
    command: list[str] = []
    if arguments[:1] == ["launch"] and "--" in arguments:
        place = arguments.index("--")
        arguments, command = arguments[:place], arguments[place + 1 :]
    options, rest = parser.parse_known_args(arguments)
    if options.command == "predict":  # argparse takes positional arguments in one place only
        options.files += [argument for argument in rest if argument == "-" or not argument.startswith("-")]
        rest = [argument for argument in rest if argument not in options.files]
    if rest:
        raise UsageError(f"Unknown argument {rest[0]!r}; `zoo {options.command or ''} --help` lists the right ones.")
    if options.version:
        import zoo

        print(zoo.__version__)
    elif options.command == "list":
        _list(options)
    elif options.command == "show":
        _show(options.name)
    elif options.command == "launch":
        from zoo.launch import launch

        return launch(options.workers, command)
    elif options.command == "serve":
        return serve.run(options)
    elif options.command == "serve-config":
        return serve.write_config(options)
    elif options.command == "evaluate":
        return _evaluate(options)
    elif options.command == "predict":
        return _predict(options)
    else:
        parser.print_help()
    return 0


def _list(options: argparse.Namespace) -> None:
    from zoo.registry import describe, list_models

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
    for row in rows:
        cells = [row[0].ljust(widths[0]), row[1].rjust(widths[1]), row[2].rjust(widths[2]), row[3].rjust(widths[3])]
        print("  ".join([*cells, row[4].ljust(widths[4]), row[5]]).rstrip())


def _show(name: str) -> None:
    from zoo.registry import describe, list_models

    if name in list_recipes():
        module = load_script(name)
        print(module.__doc__.strip() + "\n")
        for key, value in module.recipe.to_dict().items():
            print(f"  {key:<20} {value}")
        return
    try:
        print(describe(name))
    except UsageError as error:
        raise UsageError(
            f"There is no model or recipe {name!r}. {nearest(name, [*list_models(), *list_recipes()])}"
        ) from error


def _evaluate(options: argparse.Namespace) -> int:
    load_tensorflow()
    from zoo import export, report

    folder = export.find(options.export)
    results = _task_module(folder).evaluate(folder, export.recipe_of(folder), export.about(folder), options.dataset)
    if options.json:
        print(json.dumps(results))
    else:
        rows = [
            (key.replace("_", " "), report.shown(key, value) if isinstance(value, float) else value)
            for key, value in results.items()
        ]
        report.table(str(folder), ("metric", "value"), rows)
    return 0


def _predict(options: argparse.Namespace) -> int:
    load_tensorflow()
    from zoo import export

    folder = export.find(options.export)
    module, failed = _task_module(folder), False
    if (options.beam or options.plot) and export.about(folder)["task"] != "translation":
        flag = "--beam" if options.beam else "--plot"
        raise UsageError(f"{flag} is for translation; {folder} is an export for {export.about(folder)['task']}.")
    for answer in module.predict(folder, options):
        failed |= "error" in answer
        if options.json:
            print(json.dumps(answer), flush=True)
        elif "error" in answer:
            print(f"error: {answer['file']}: {answer['error']}", file=sys.stderr, flush=True)
        else:
            print(module.shown(answer), flush=True)
    return int(failed)


def _task_module(folder: Path) -> ModuleType:
    from zoo import export

    return importlib.import_module(export.recipe_of(folder)["task"].partition(":")[0])


def _train_by_name(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: zoo train RECIPE [FLAGS]; `zoo train RECIPE --help` shows the flags.\n\nrecipes:")
        for name in list_recipes():
            print(f"  {name:<28} {load_script(name).__doc__.strip().splitlines()[0]}")
        return 0 if arguments else 2
    module = load_script(arguments[0])
    load_tensorflow()
    if hasattr(module, "main"):
        return module.main(arguments[1:])
    return _train(module.recipe, arguments[1:])


def _check_xla(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: zoo check-xla RECIPE [FLAGS]; the flags are those of `zoo train RECIPE`, but for where it runs.")
        return 0 if arguments else 2
    module = load_script(arguments[0])
    from zoo import check_xla, report

    with tempfile.TemporaryDirectory(prefix="zoo-xla-") as folder:
        check_xla.dump_to(Path(folder))
        recipe, options = parse(module.recipe, arguments[1:])
        unused = [key for key, value in options.items() if value != type(value)() and value is not None]
        if unused:
            raise UsageError(
                f"check-xla compiles for one device and trains nothing; leave out what is for {unused[0]}."
            )
        programs = check_xla.check(recipe, Path(folder))
    rows = [
        (
            name,
            f"{p.instructions:,}",
            f"{p.flops / 1e9:,.2f}",
            report.size(p.argument_bytes),
            report.size(p.temporary_bytes),
        )
        for name, p in programs.items()
    ]
    title = f"{recipe.name}: XLA compiles it for one device, at static shapes, without calls to the host"
    report.table(title, ("step", "instructions", "GFLOPs", "arguments", "temporary"), rows)
    return 0


def _train(recipe: Recipe, arguments: Sequence[str] | None) -> int:
    recipe, options = parse(recipe, arguments)
    from zoo.engine import run

    run(recipe, **options)
    return 0


def parse(recipe: Recipe, arguments: Sequence[str] | None = None) -> tuple[Recipe, dict[str, Any]]:
    """A recipe with the command line's flags applied, and the arguments of `zoo.run` among them.

    Each field is a flag, each argument of the model's builder a flag `--model.NAME`. Exits with 2 for a flag that
    is neither.
    """
    import tyro

    load_tensorflow()
    from zoo.distribute import Devices

    # --model decides whose arguments --model.NAME are, so it is read first.
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--model", default=recipe.model)
    model = first.parse_known_args(arguments)[0].model
    ModelArguments = make_dataclass("ModelArguments", _builder_fields(model, recipe))
    # Mappings are no flags: the builder's arguments have flags of their own, and what a paper says is not to choose.
    mappings = [entry.name for entry in fields(recipe) if isinstance(getattr(recipe, entry.name), Mapping)]
    Shown = make_dataclass(
        type(recipe).__name__,
        [(name, tyro.conf.Suppress[tyro.conf.Fixed[Any]], field(default=None)) for name in mappings],
        bases=(type(recipe),),
        frozen=True,
        kw_only=True,
    )
    options = [
        ("run_dir", Annotated[str | None, tyro.conf.arg(help="The run's folder; default runs/NAME/seedS-….")], None),
        ("restart", Annotated[bool, tyro.conf.arg(help="Begin anew; discard what the folder holds.")], False),
        ("dry_run", Annotated[bool, tyro.conf.arg(help="Build, train 2 steps, export, delete.")], False),
        ("devices", Annotated[Devices, tyro.conf.arg(name="")], Devices()),
    ]
    Flags = make_dataclass(
        "Flags",
        [
            ("recipe", Annotated[Shown, tyro.conf.arg(name="")]),
            ("model_args", Annotated[ModelArguments, tyro.conf.arg(name="model")]),
            *options,
        ],
    )
    values = {entry.name: getattr(recipe, entry.name) for entry in fields(recipe)}
    defaults = Flags(recipe=Shown(**values), model_args=ModelArguments())
    flags = tyro.cli(
        Flags,
        prog=f"zoo train {recipe.name}",
        description=f"Trains {recipe.name}. Each field of the recipe is a flag.",
        args=arguments,
        default=defaults,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    stated = set(recipe.model_args) if model == recipe.model else set()
    chosen = {
        name: value
        for name, value in vars(flags.model_args).items()
        if name in stated or value != getattr(defaults.model_args, name)
    }
    values = {name: getattr(flags.recipe, name) for name in values}
    return type(recipe)(**{**values, "model_args": chosen}), {name: getattr(flags, name) for name, _, _ in options}


def load_tensorflow() -> None:
    """Imports TensorFlow and Keras without the start-up notes that no environment variable silences."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            import keras  # noqa: F401
            import tensorflow as tf

            tf.config.list_physical_devices()
        except BaseException:
            os.lseek(notes.fileno(), 0, os.SEEK_SET)
            os.write(terminal, notes.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def _builder_fields(model: str, recipe: Recipe) -> list[tuple[str, Any, Any]]:
    """The arguments of a model's builder as dataclass fields, with the recipe's values as defaults."""
    import inspect

    from zoo.registry import builder_of, describe

    card = describe(model)
    defaults = {**card.arguments, **(recipe.model_args if model == recipe.model else {})}
    fields = []
    for parameter in inspect.signature(builder_of(card)).parameters.values():
        if parameter.kind is not parameter.KEYWORD_ONLY or parameter.name in ("name", "num_classes", "include_top"):
            continue
        value = defaults.get(parameter.name, parameter.default)
        value = tuple(value) if isinstance(value, list) else value
        kind = tuple[int, ...] if str(parameter.annotation) == "collections.abc.Sequence[int]" else parameter.annotation
        fields.append((parameter.name, kind, field(default=value)))
    return fields

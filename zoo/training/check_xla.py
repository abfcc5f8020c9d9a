"""`zoo check-xla NAME`: checks on a machine without a TPU whether a recipe could run on one.

XLA compiles the whole train step and the whole evaluation step for one device, at static shapes; the compiled program
must not call back into the host and must have no shape that is known only when it runs.
"""

import inspect
import math
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from zoo.errors import UsageError, ZooError, reason
from zoo.recipe import Recipe
from zoo.registry import builder_of, describe

EMBEDDED = {  # replaces data that is not available, by task
    "language_modelling": "python_docs",
    "tagging": "python_tokens",
    "translation": "dates",
}
STAND_INS = (*EMBEDDED, "image_classification", "text_classification")  # the tasks that have such data
# Instructions and calls with which a program accesses the host during a step.
HOST_INSTRUCTIONS = ("infeed", "outfeed", "send", "recv")
HOST_CALL = re.compile(r'custom_call_target="([^"]*(?:callback|host)[^"]*)"', re.IGNORECASE)
DYNAMIC_SHAPE = re.compile(r"\w+\[[^\]]*<=[^\]]*\]")
INSTRUCTION = re.compile(
    r"^\s*(?:ROOT )?%?(?P<name>[\w.\-]+) = (?P<shape>\(.*?\)|\S+) (?P<operation>[a-z][a-z0-9\-]*)\("
)
COMPUTATION = re.compile(r"^(?P<entry>ENTRY )?%?(?P<name>[\w.\-]+) \(.*\) -> .*\{$")
CALLED = re.compile(r"(?:calls|to_apply|body|branch_computations)=\{?(%?[\w.\-]+(?:, %?[\w.\-]+)*)")
OPERAND = re.compile(r"%([\w.\-]+)")


@dataclass(frozen=True)
class Program:
    """The program that XLA compiled for a step."""

    instructions: int
    flops: int
    """Of matrix products and convolutions, a multiplication and an addition each; loops as often as they run."""
    argument_bytes: int
    """Weights, optimizer state and batch."""
    temporary_bytes: int
    """What a step needs in addition to its arguments."""


def check(recipe: Recipe, dump: Path, log: Callable[[str], None] = print) -> dict[str, Program]:
    """Compiles a recipe's training and evaluation step, and returns both programs.

    `dump` is the folder that `dump_to` was given before TensorFlow was loaded. Data that are not here are replaced by
    an embedded set, in batches of the same form. Raises `ZooError` if XLA cannot compile a step, or makes a program
    of it that a TPU could not run by itself.
    """
    import tensorflow as tf

    from zoo.distribute.strategy import Devices
    from zoo.training.descent import GradientDescent
    from zoo.training.run import Run

    with tempfile.TemporaryDirectory(prefix="zoo-check-xla-") as folder:
        run = Run(recipe, Path(folder), Devices(strategy="one_device"))
        try:
            model = run.prepare()
        except ZooError as error:
            own = ":" in recipe.dataset or recipe.task not in STAND_INS  # the user's own data is not replaced
            if isinstance(error, UsageError) or own:
                raise
            stand_in = with_embedded_data(recipe, Path(folder))
            log(f"{recipe.dataset} is not available; {stand_in.dataset} replaces it, with batches of the same shape")
            run = Run(stand_in, Path(folder), Devices(strategy="one_device"))
            model = run.prepare()
        trainer = GradientDescent(run.training(model)).model
        batches = {"training": (trainer.train_step, run.task.training_batches(0))}
        if (validation := run.task.validation_batches()) is not None:
            batches["evaluation"] = (trainer.test_step, validation)
        programs = {}
        for name, (step, data) in batches.items():
            log(f"{recipe.name}: compiling the {name} step")
            compiled = tf.function(step, jit_compile=True)
            with run.naming_faults():
                batch = next(iter(data))
            programs[name] = program(f"{recipe.name}'s {name} step", compiled, batch, dump)
    return programs


def with_embedded_data(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe on data that needs no network, in batches of the same form; files are written to `folder`."""
    if recipe.task == "text_classification":
        texts = folder / "texts.tsv"
        words = "word " * (recipe.max_length - 1)
        texts.write_text("".join(f"{words}w{i}\t{i % 2}\n" for i in range(8 * recipe.batch_size)))
        return replace(recipe, dataset=f"tsv:{texts}", validation_examples=recipe.batch_size)
    if recipe.task == "image_classification":
        card = describe(recipe.model)
        default = inspect.signature(builder_of(card)).parameters["num_classes"].default
        classes = recipe.model_args.get("num_classes", card.arguments.get("num_classes", default))
        _write_images(folder / "images", classes, max(classes, 2 * recipe.batch_size))
        return replace(recipe, dataset=f"folder:{folder / 'images'}", validation_examples=0)
    return replace(recipe, dataset=EMBEDDED[recipe.task])


def _write_images(folder: Path, classes: int, count: int) -> None:
    """`count` images in each of two splits, all different, with a folder for each class."""
    from PIL import Image

    for number in range(2 * count):
        split = "train" if number < count else "validation"
        path = folder / split / f"{number % classes:04d}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number % 256, number // 256, 0)).save(path)


def program(name: str, step: Any, batch: Any, dump: Path) -> Program:
    import tensorflow as tf

    for old in dump.iterdir():
        old.unlink()
    try:
        before = step.experimental_get_compiler_ir(batch)(stage="hlo")
        after = step.experimental_get_compiler_ir(batch)(stage="optimized_hlo")
    except (tf.errors.OpError, ValueError) as error:
        raise ZooError(f"{name}: XLA cannot compile it ({reason(error)}).") from error
    check_runs_alone(name, before)
    memory = _memory(dump)
    return Program(
        instructions=sum(bool(INSTRUCTION.match(line)) for line in after.splitlines()),
        flops=flops(after),
        argument_bytes=memory["parameter"],
        temporary_bytes=memory["preallocated-temp"],
    )


def check_runs_alone(name: str, program: str) -> None:
    """Raises `ZooError` for a program, in XLA's text form, that needs the host or has shapes that are not static."""
    found = HOST_CALL.findall(program)
    for line in program.splitlines():
        match = INSTRUCTION.match(line)
        if match and match["operation"].removesuffix("-done") in HOST_INSTRUCTIONS:
            found.append(match["operation"])
    if found:
        raise ZooError(f"{name} calls back into the host: {', '.join(sorted(set(found)))}.")
    if dynamic := DYNAMIC_SHAPE.findall(program):
        raise ZooError(f"{name} has shapes that are known only when it runs: {', '.join(sorted(set(dynamic))[:3])}.")


def flops(program: str) -> int:
    """What the matrix products and convolutions of a program in XLA's text form take, loops as often as they run."""
    computations, entry = _computations(program)
    known: dict[str, int] = {}

    def total(name: str) -> int:
        if name not in known:
            computation = computations.get(name, {})
            known[name] = 0
            for instruction in computation.values():
                known[name] += _own_flops(instruction, computation)
                called = sum(map(total, instruction.called))
                if called and instruction.operation == "while":
                    called *= _trips(instruction, computation, computations)
                known[name] += called
        return known[name]

    return total(entry)


class Instruction(NamedTuple):
    """A line of a program in XLA's text form."""

    shape: str
    operation: str
    operands: list[str]
    called: list[str]
    text: str


def _computations(program: str) -> tuple[dict[str, dict[str, Instruction]], str]:
    """The instructions of each computation by their names, and the name of the one to begin with."""
    computations: dict[str, dict[str, Instruction]] = {}
    entry = name = ""
    for line in program.splitlines():
        if match := COMPUTATION.match(line):
            name = match["name"]
            computations[name] = {}
            entry = name if match["entry"] else entry
        elif match := INSTRUCTION.match(line):
            operands = OPERAND.findall(line[match.end() :].partition(")")[0])
            called = [other.strip(" %") for group in CALLED.findall(line) for other in group.split(",")]
            computations[name][match["name"]] = Instruction(match["shape"], match["operation"], operands, called, line)
    return computations, entry


def _trips(
    loop: Instruction, computation: Mapping[str, Instruction], computations: Mapping[str, Mapping[str, Instruction]]
) -> int:
    """The number of iterations of a loop: the number that XLA found, else the one in its condition, else, for the loop
    of a gradient, that of the loop whose counter it starts from."""
    if found := re.search(r'known_trip_count":\{"n":"(\d+)"', loop.text):
        return int(found[1])
    condition = computations[re.search(r"condition=%?([\w.\-]+)", loop.text)[1]]
    parts = [condition, *(computations.get(name, {}) for part in condition.values() for name in part.called)]
    limits = [re.search(r" s32\[\] constant\((\d+)\)", part.text) for group in parts for part in group.values()]
    if limits := [int(limit[1]) for limit in limits if limit and int(limit[1]) > 0]:
        return min(limits)
    for name in computation[loop.operands[0]].operands:
        start = computation[name]
        if start.shape == "s32[]" and start.operation == "get-tuple-element":
            other = computation[start.operands[0]]
            if other.operation == "while":
                return _trips(other, computation, computations)
    return 1


def _own_flops(instruction: Instruction, computation: Mapping[str, Instruction]) -> int:
    result = math.prod(_sizes(instruction.shape)) if instruction.operation in ("dot", "convolution") else 0
    if instruction.operation == "dot":
        left = _sizes(computation[instruction.operands[0]].shape)
        contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.text)[1]
        return 2 * result * math.prod(left[int(axis)] for axis in contracted.split(",") if axis)
    if instruction.operation == "convolution":
        kernel = _sizes(computation[instruction.operands[1]].shape)
        output = re.search(r"dim_labels=\w+_(\w+)->", instruction.text)[1].index("o")
        return 2 * result * math.prod(kernel) // kernel[output]
    return 0


def _sizes(shape: str) -> list[int]:
    return [int(size) for size in re.match(r"\w+\[([\d,]*)\]", shape)[1].split(",") if size]


def dump_to(folder: Path) -> None:
    """Makes XLA write its allocations to a folder. Call it before TensorFlow is loaded."""
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_dump_to={folder} --xla_dump_hlo_as_text".strip()


def _memory(dump: Path) -> dict[str, int]:
    """The bytes of the arguments and of what is temporary in the last program of XLA's dump."""
    report = max(dump.glob("*buffer-assignment.txt"))
    sizes = {"parameter": 0, "preallocated-temp": 0}
    for line in report.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"allocation \d+: size (\d+), (parameter|preallocated-temp)", line):
            sizes[match[2]] += int(match[1])
    return sizes

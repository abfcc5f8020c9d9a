"""Which code and which command a result comes from. Standard library only."""

import contextlib
import shlex
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import zoo

ROOT = Path(zoo.__file__).parent.parent


def commit() -> str:
    """The commit of the code, with "-dirty" where it was changed since; without a repository the version."""
    found = ""
    if (ROOT / ".git").exists():
        describe = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=12", "--dirty"]
        with contextlib.suppress(OSError):  # git is not installed
            found = subprocess.run(describe, capture_output=True, text=True).stdout.strip()
    return found or f"version {zoo.__version__}"


def command(without: Collection[str]) -> str:
    """The command of this process, but for the flags in `without` and their values."""
    kept, arguments = [], iter(sys.argv[1:])
    for argument in arguments:
        flag, equals, _ = argument.partition("=")
        if flag.replace("_", "-") not in without:
            kept.append(argument)
        elif not equals:
            next(arguments, None)
    return " ".join([_program(), *map(shlex.quote, kept)])


def _program() -> str:
    """The program that runs: a script of the checkout by its path in it, another one by its name."""
    program = Path(sys.argv[0])
    if program.suffix != ".py":
        return program.name
    script = Path(getattr(sys.modules["__main__"], "__file__", program))  # absolute, also if the folder was changed
    inside = script.name == program.name and script.is_relative_to(ROOT)
    return f"python {script.relative_to(ROOT) if inside else program.name}"

"""The parser of a command's own flags."""

import argparse
from typing import NoReturn

from zoo.errors import UsageError


class Parser(argparse.ArgumentParser):
    """Argparse with our error for a wrong flag."""

    def __init__(self, command: str, description: str, *, add_help: bool = True):
        super().__init__(prog=f"zoo {command}", description=description, allow_abbrev=False, add_help=add_help)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}; `{self.prog} --help` shows the flags.")

"""The command line."""

from zoo.cli.commands import console

__all__ = ["console"]

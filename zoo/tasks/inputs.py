"""The texts of a command line."""

import argparse
from collections.abc import Iterator

from zoo.data.text import texts_of
from zoo.errors import UsageError


def add_text_flag(parser: argparse.ArgumentParser) -> None:
    """Adds --text, which may be repeated."""
    parser.add_argument("--text", action="append", metavar="TEXT", help="a text instead of a file; may be repeated")


def read_texts(options: argparse.Namespace) -> Iterator[tuple[str, bytes | OSError]]:
    """Name and content of each text: those of --text, then the files, where `-` is standard input.

    Raises `UsageError` where there is none.
    """
    if not options.text and not options.files:
        raise UsageError("There is nothing to answer: give --text TEXT, files, or - for standard input.")
    yield from texts_of(options)


def read_lines(options: argparse.Namespace) -> Iterator[tuple[str, bytes | OSError]]:
    """Name and content of each line of the texts."""
    for name, content in read_texts(options):
        if isinstance(content, OSError):
            yield name, content
            continue
        for line in content.splitlines() or [b""]:
            yield name, line

"""The texts of a command line, decoded and normalised as training data is."""

import argparse
import sys
from collections.abc import Iterator

from zoo.data.paths import display_path
from zoo.data.text_files import decode_text, split_lines
from zoo.errors import UsageError, ZooError, reason
from zoo.paths import user_path


def add_text_flag(parser: argparse.ArgumentParser) -> None:
    """Adds --text, which may be repeated."""
    parser.add_argument("--text", action="append", metavar="TEXT", help="a text instead of a file; may be repeated")


def read_texts(options: argparse.Namespace, one: str = "") -> Iterator[tuple[str, str | ZooError]]:
    """Name and content of each text: those of --text, then the files, where `-` is standard input. The content of one
    that cannot be read or decoded is the error. The name of a text is "--text", or "--text 1" where there are several.

    With `one`, what is one input, such as "a line", warns of files with tabs, whose columns are not told apart. Raises
    `UsageError` if there is none.
    """
    if not options.text and not options.files:
        raise UsageError("There is no input: give --text TEXT, files, or - for standard input.")
    if options.files.count("-") > 1:
        raise UsageError("Standard input, -, is named twice; it can be read once.")
    texts = options.text or ()
    for number, text in enumerate(texts, start=1):
        yield "--text" if len(texts) == 1 else f"--text {number}", _text(text.encode(errors="surrogateescape"))
    for name in options.files:
        try:
            content = sys.stdin.buffer.read() if name == "-" else user_path(name).read_bytes()
        except OSError as error:
            yield name, ZooError(reason(error))
        except ZooError as error:  # no path
            yield name, error
        else:
            text = _text(content)
            if one and "\t" in str(text):
                print(
                    f"warning: {display_path(name)} has tabs; {one} is one input, with all its columns (`cut -f1 FILE` "
                    "has the first)",
                    file=sys.stderr,
                )
            yield name, text


def read_lines(options: argparse.Namespace) -> Iterator[tuple[str, str | ZooError]]:
    """Name and content of each line of the texts."""
    for name, content in read_texts(options, "a line"):
        if isinstance(content, ZooError):
            yield name, content
            continue
        for line in split_lines(content) or [""]:
            yield name, line


def _text(content: bytes) -> str | ZooError:
    try:
        return decode_text(content, "it")
    except ZooError as error:
        return error

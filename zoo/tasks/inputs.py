"""What `zoo predict` reads from its command line."""

import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from zoo.data.text_files import decode_text
from zoo.errors import ZooError, reason


def texts_of(options: Namespace) -> Iterator[tuple[str, str | ZooError]]:
    """The texts of a command line, decoded and normalised as training data is: those after --text, then those in files,
    `-` being standard input. In place of one that cannot be read or decoded there is the error."""
    for text in options.text or ():
        yield "--text", _text(text.encode(errors="surrogateescape"))
    for name in options.files:
        try:
            content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        except OSError as error:
            yield name, ZooError(reason(error))
        else:
            yield name, _text(content)


def _text(content: bytes) -> str | ZooError:
    try:
        return decode_text(content, "it")
    except ZooError as error:
        return error

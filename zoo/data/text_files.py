"""Text as it comes from files and requests: one decoding, one normalisation and one kind of line end for all tasks."""

import codecs
import re
import unicodedata
from pathlib import Path

from zoo.data.paths import display_path
from zoo.errors import ZooError, reason

# UTF-32 comes first: the byte-order mark of UTF-16 is the beginning of its own.
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def normalize(text: str) -> str:
    """A text in NFC, without a byte-order mark at its start, with \\n for \\r\\n and \\r.

    `zoo.data.unicode.normalize` does the same in the graph.
    """
    return unicodedata.normalize("NFC", re.sub("\r\n?", "\n", text.removeprefix("\ufeff")))


def decode_text(content: bytes, name: str) -> str:
    """The text of a file's content, normalised; `name` is how errors call the file.

    It is UTF-8, with or without a byte-order mark, or UTF-16 or UTF-32 with one. Raises `ZooError` that names the first
    byte that does not fit.
    """
    mark, encoding = next(((m, e) for m, e in BYTE_ORDER_MARKS if content.startswith(m)), (b"", "utf-8"))
    if not mark and content[:4096].count(0) > len(content[:4096]) // 5:
        raise ZooError(f"{name} is not UTF-8: many of its bytes are 0. {_convert('UTF-16LE')}")
    try:
        return normalize(content[len(mark) :].decode(encoding))
    except UnicodeDecodeError as error:
        at = len(mark) + error.start
        raise ZooError(
            f"{name} is not {encoding.upper()} (byte {at:,} is 0x{content[at]:02x}). {_convert('CP1252')}"
        ) from error


def _convert(encoding: str) -> str:
    return f"Convert it first, for example with: iconv -f {encoding} -t UTF-8 OLD > NEW"


def read_text(file: Path) -> str:
    """A file's text, decoded and normalised. Raises `ZooError` if it cannot be read or decoded."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ZooError(f"{display_path(file)}: {reason(error)}.") from error
    return decode_text(content, display_path(file))


def split_lines(text: str) -> list[str]:
    """The lines of a normalised text. Only \\n ends a line; U+2028, U+0085, VT and FF are text."""
    lines = text.split("\n")
    return lines if lines[-1] else lines[:-1]

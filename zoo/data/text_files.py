"""Text as it comes from files and requests: one decoding, one normalisation and one kind of line end for all tasks."""

import codecs
import re
import unicodedata
from pathlib import Path

from zoo.data.paths import absent, display_path
from zoo.errors import UsageError, ZooError, reason

# UTF-32 comes first: the byte-order mark of UTF-16 is the beginning of its own.
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


# What files begin with that are no text, what they are, and what to do instead.
OTHER_FILES = (
    (b"\x1f\x8b", "compressed by gzip", "unpack it with gunzip"),
    (b"BZh", "compressed by bzip2", "unpack it with bunzip2"),
    (b"\xfd7zXZ\0", "compressed by xz", "unpack it with unxz"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it with unzstd"),
    (b"PK\x03\x04", "a ZIP archive, as .xlsx, .docx and .odt are, too", "unpack it, or save it as text"),
    (b"\xd0\xcf\x11\xe0", "a document of Microsoft Office", "save it as text"),
    (b"%PDF-", "a PDF document", "save it as text"),
    (b"{\\rtf", "a document in RTF", "save it as text"),
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
    for start, what, instead in OTHER_FILES:
        if content.startswith(start):
            raise ZooError(f"{name} is no text, but {what}; {instead}.")
    if content and not content.strip(b"\0"):
        raise ZooError(f"{name} is no text: all its bytes are 0. Restore it from a copy.")
    mark, encoding = next(((m, e) for m, e in BYTE_ORDER_MARKS if content.startswith(m)), (b"", "utf-8"))
    if not mark:
        _check_controls(content[:4096], name)
    try:
        return normalize(content[len(mark) :].decode(encoding))
    except UnicodeDecodeError as error:
        ends = error.reason in ("unexpected end of data", "truncated data")
        if ends and (mark or not content[: error.start].isascii()):  # else it may be Latin-1
            raise ZooError(f"{name} ends within a character; its end is missing. Restore it from a copy.") from error
        at = len(mark) + error.start
        raise ZooError(
            f"{name} is not {encoding.upper()} (byte {at:,} is 0x{content[at]:02x}). {_convert('CP1252')}"
        ) from error


def _check_controls(head: bytes, name: str) -> None:
    """Raises `ZooError` for bytes that are valid UTF-8 but another encoding, which shows in control characters.

    In UTF-16 without a byte-order mark each second byte is that of a script's block, such as 0 (Latin), 4 (Cyrillic) or
    9 (Devanagari), and spaces have a 0. Encodings such as ISO-2022-JP have ESC $ before other characters than ASCII.
    """
    if b"\x1b$" in head:
        raise ZooError(f"{name} is not UTF-8: it has the escape sequences of ISO-2022. {_convert('ISO-2022-JP')}")
    low = [at for at, byte in enumerate(head) if byte < 32]
    controls = [at for at in low if head[at] not in b"\t\n\v\f\r\x1c\x1d\x1e\x1f"]
    even = sum(at % 2 == 0 for at in low)
    one_side = 10 * min(even, len(low) - even) < len(low)  # tabs and line feeds of a table are on both
    if 10 * len(controls) > len(head) or (0 in head and one_side and 3 * len(low) > len(head)):
        what = "0" if 5 * head.count(0) > len(head) else "control characters"
        order = "BE" if 2 * even > len(low) else "LE"
        raise ZooError(f"{name} is not UTF-8: many of its bytes are {what}. {_convert(f'UTF-16{order}')}")


def _convert(encoding: str) -> str:
    return f"Convert it first, for example with: iconv -f {encoding} -t UTF-8 OLD > NEW"


def read_text(file: Path) -> str:
    """A file's text, decoded and normalised. Raises `ZooError` if it cannot be read or decoded, or is no file."""
    if not file.is_file():
        raise UsageError(f"{display_path(file)}: {absent(file, 'file')}.")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ZooError(f"{display_path(file)}: {reason(error)}.") from error
    return decode_text(content, display_path(file))


def split_lines(text: str) -> list[str]:
    """The lines of a normalised text. Only \\n ends a line; U+2028, U+0085, VT and FF are text."""
    lines = text.split("\n")
    return lines if lines[-1] else lines[:-1]

"""Files with two columns separated by a tab, and warnings about their content."""

import re
from dataclasses import dataclass
from pathlib import Path

from zoo.data.paths import absent, display_path
from zoo.data.text_files import read_text, split_lines
from zoo.errors import UsageError, ZooError


@dataclass(frozen=True)
class Columns:
    """The rows of a file: two cells each."""

    rows: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]  # what was left out
    warnings: tuple[str, ...]
    size: int  # bytes of the file
    header: tuple[str, str] | None = None


def read_columns(path: Path, expected: str, header: re.Pattern[str]) -> Columns:
    """The rows of a tab-separated file; empty lines are left out, and the first line where it is a header.

    `expected` says what a line is, for errors. A line is a header where it is the first and both its cells match
    `header`, and where it is the same as that one, as in files that were joined. Raises `UsageError` if there is no
    such file, `ZooError` that names the line where it is not as expected.
    """
    if not path.is_file():
        raise UsageError(f"tsv:{display_path(path)}: {absent(path, 'file')}.")
    rows, notes, titles, repeated = [], [], None, 0
    for number, line in enumerate(split_lines(read_text(path)), start=1):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.removeprefix("\ufeff").split("\t")]
        plain = [cell.lstrip("#").strip(' "').casefold() for cell in cells]
        if len(cells) != 2 or not all(map(_visible, cells)):
            raise ZooError(f"{display_path(path)}, line {number}: {_fault(line, cells)}; a line is {expected}.")
        if not rows and not titles and all(map(header.fullmatch, plain)):
            titles = (plain[0], plain[1])
            notes.append(f"line {number} is a header ({cells[0]}, {cells[1]}) and was left out")
            continue
        if tuple(plain) == titles:
            repeated += 1
            continue
        rows.append((cells[0], cells[1]))
    if repeated:
        notes.append(f"the header is there {repeated + 1:,} times, and was left out each time")
    if copies := len(rows) - len(set(rows)):
        notes.append(f"{copies:,} of {len(rows):,} rows are copies of others")
    quoted = sum(any(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in row) for row in rows)
    warnings = []
    if quoted:
        warnings.append(
            f"{quoted:,} of {len(rows):,} rows have a cell in double quotes, which are read as part of it; "
            "if a spreadsheet put them there, save the file without quotes"
        )
    return Columns(tuple(rows), tuple(notes), tuple(warnings), path.stat().st_size, titles)


def _visible(cell: str) -> bool:
    return any(c.isprintable() and not c.isspace() for c in cell)


def _fault(line: str, cells: list[str]) -> str:
    count = f"{len(cells)} column{'s' if len(cells) > 1 else ''} separated by tabs"
    if len(cells) == 2:
        return f"{count}, of which one is empty"
    if len(cells) > 2:
        return f"{count} (`cut -f1,2 OLD > NEW` keeps the first two)"
    if line.count('"') % 2:
        return f"{count}, with an open quote: a cell cannot go on in the next line"
    for sign, name in ((",", "commas"), (";", "semicolons"), ("   ", "spaces")):
        if sign in line:
            return f"{count}, but there are {name}; convert them to tabs"
    return count

"""How a text of columns is written: delimiter, decimal sign, header. Pure Python, bounded, safe in any process.

Law: rather no table than a wrong one. Numbers or times must stand in columns, row after row; a log or a text with commas has none.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass

from archiver.formats import times

ROWS_MAX = 200  # rows that are looked at to tell
PREAMBLE_MAX = 100  # lines that may stand before the columns
COLUMNS_MAX = 2_000
NUMBER_MAX = 60  # characters; the pattern's time grows with their square
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?|[+-]?inf(?:inity)?", re.IGNORECASE)
_COMMA_NUMBER = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "-", "--", "?"})
_COMMENT = ("#", "%", "!", "//", "*", "'")
_CODE = ("{", "[", "(", "=", "\\")  # ends of lines of programs, in which lists of numbers are no table


@dataclass(frozen=True)
class Dialect:
    """A table's way of being written. `delimiter` None: blanks. `skip`: lines before the first row of values; `names` may be empty."""

    encoding: str
    delimiter: str | None
    decimal_comma: bool
    skip: int
    names: tuple[str, ...]
    units: tuple[str, ...]
    columns: int
    preamble: tuple[str, ...]

    def rows(self, lines: list[str]) -> list[list[str]]:
        """The cells of these lines, blank and commented ones left out. Raises csv.Error."""
        wanted = [line for line in lines if line.strip() and not line.startswith(_COMMENT)]
        return split(wanted, self.delimiter)


def split(lines: list[str], delimiter: str | None) -> list[list[str]]:
    """Cells of lines. Raises csv.Error."""
    if delimiter is None:
        return [line.split() for line in lines]
    return [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter, skipinitialspace=True)]


def encoding_of(head: bytes) -> str | None:
    """utf-8-sig, utf-16 or latin-1; None where this is no text."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if re.search(rb"[\0-\x08\x0e-\x1a\x1c-\x1f\x7f]", head):
        return None
    try:
        head[:-4].decode("utf-8-sig")  # its last character may be cut
    except UnicodeDecodeError as error:
        if error.start < len(head) - 8:
            return "latin-1"
    return "utf-8-sig"


def sniff(head: bytes, *, whole: bool) -> Dialect | None:
    """The dialect of the table that begins like this; None if it is no table. `whole`: the file ends here."""
    encoding = encoding_of(head)
    if not head or encoding is None or head.lstrip()[:1] in (b"<", b"{"):
        return None
    decoded = head[: len(head) // 2 * 2].decode(encoding, "replace")
    lines = decoded.splitlines()
    if not whole:
        del lines[-1:]
    for delimiter in ("\t", ";", ",", "|", None):
        if found := _as(lines[: ROWS_MAX + PREAMBLE_MAX], delimiter, encoding):
            return found
    return None


def _as(lines: list[str], delimiter: str | None, encoding: str) -> Dialect | None:
    places = [index for index, line in enumerate(lines) if line.strip() and not line.startswith(_COMMENT)]
    try:
        rows = split([lines[index] for index in places], delimiter)
    except csv.Error:
        return None
    if len(rows) != len(places):  # a quoted line break: cells and lines no longer agree, so the header is where the file begins
        places = list(range(len(rows)))
    columns, _ = Counter(len(row) for row in rows[-ROWS_MAX:]).most_common(1)[0] if rows else (0, 0)
    if not (1 if delimiter is None else 2) <= columns <= COLUMNS_MAX:
        return None
    first = next((index for index, row in enumerate(rows) if len(row) == columns), 0)
    body = [row for row in rows[first:] if len(row) == columns]
    odd = len(rows) - first - len(body)
    # A last line that was cut off, or one row in twenty that is broken, is damage, of a table nevertheless.
    if first > PREAMBLE_MAX or odd > (len(body) // 20 or (len(body) > 2 and len(rows[-1]) < columns)):
        return None
    comma = delimiter in ("\t", ";", None) and any(len(cell) <= NUMBER_MAX and _COMMA_NUMBER.fullmatch(cell) for row in body[:20] for cell in row)
    titles = 0  # rows of names, then perhaps of units, above the values
    while titles < min(2, len(body)) and not any(_is_value(cell, comma) for cell in body[titles]):
        titles += 1
    values = body[titles:]
    if not _has_values(values, titles, delimiter, comma):
        return None
    preamble = tuple(line for line in lines[: places[first]] if line.strip())
    if any(line.rstrip().endswith(_CODE if delimiter == ";" else (*_CODE, ";")) and not line.startswith(_COMMENT) for line in preamble):
        return None
    names = tuple(body[0]) if titles else _named_above(preamble, columns, delimiter)
    units = tuple(body[1]) if titles == 2 else ()
    return Dialect(encoding, delimiter, comma, places[first + titles], names, units, columns, preamble[:PREAMBLE_MAX])


def _has_values(rows: list[list[str]], titles: int, delimiter: str | None, comma: bool) -> bool:
    """Whether there are columns of numbers or times; without a title every column must be one."""
    if len(rows) < (1 if titles and delimiter else 3):
        return False
    of_values = 0
    for column in zip(*rows, strict=True):
        told = [cell for cell in column if cell.lower() not in MISSING]
        good = sum(_is_value(cell, comma) for cell in told) >= 0.9 * len(told)
        if not good and (not titles or delimiter is None):
            return False
        of_values += bool(told) and good
    return of_values > 0


def _is_value(cell: str, comma: bool) -> bool:
    return is_number(cell, comma=comma) or is_clock(cell) or times.parse(cell) is not None


def is_number(cell: str, *, comma: bool) -> bool:
    return len(cell) <= NUMBER_MAX and bool(NUMBER.fullmatch(cell) or (comma and _COMMA_NUMBER.fullmatch(cell)))


def is_clock(cell: str) -> bool:
    return bool(re.fullmatch(r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?", cell))


def _named_above(preamble: tuple[str, ...], columns: int, delimiter: str | None) -> tuple[str, ...]:
    """Names in the last line above the values, as in `# energy mu`, where it has one for each column."""
    if not preamble:
        return ()
    line = re.sub(r"^(?:#L|[#%!*'/]+)\s*", "", preamble[-1])
    for by in (delimiter, "\t", r"  +", None):
        names = re.split(by, line.strip()) if by == r"  +" else split([line], by)[0]
        if len(names) == columns and not any(is_number(name, comma=False) for name in names):
            return tuple(names)
    return ()

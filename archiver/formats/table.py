"""Texts of columns: CSV, TSV and columns between blanks. Columns with types, units and ranges, rows, the time that a column spans.

A table of up to READ_MAX_BYTES is read whole; of a longer one the beginning and the end, and its rows are counted by its lines.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any, BinaryIO

import numpy as np

from archiver.formats import drawing, texts
from archiver.formats.content import HEAD_BYTES
from archiver.formats.dialect import MISSING, Dialect, is_clock, is_number, sniff
from archiver.formats.preview import Preview
from archiver.formats.reading import NotOfThisFormat, Reading, Source, bounded, text, without_blanks
from archiver.formats.times import Moment, iso, parse, zone_said

READ_MAX_BYTES = 8 * 2**20
TAIL_BYTES = 2**16
COUNTED_MAX_BYTES = 2 * 2**30  # of a longer table the rows are estimated
COLUMNS_MAX = 500  # that are looked at
TIMES_MAX = 20_000  # of one column that are all read; of more, some
_UNITS = re.compile(r"(.*?)\s*(?:[(\[]([^()\[\]]{1,30})[)\]]|/\s?([a-zA-Zµ°%Å]{1,6}))$")
_PAIR = re.compile(r"^(?:[#%!*'/;]*)\s*([A-Za-z][\w .-]{0,60}?)\s*[:=]\s*(.+)$")
_DATED = re.compile(r"date|time|start|acquired|begin", re.IGNORECASE)
_EPOCH_NAMES = re.compile(r"(unix|epoch)?[ _]?(time|timestamp|epoch|t)(_s|_ms|_ns)?", re.IGNORECASE)


@dataclass(frozen=True)
class _Column:
    """A column: numbers (NaN where missing), or seconds since 1970, or neither."""

    name: str
    units: str | None
    kind: str  # integer, float, time, string, empty
    values: np.ndarray[Any, Any] | None
    missing: int
    zone_assumed: bool = False

    def ends(self) -> tuple[float, float] | None:
        """The least and the greatest value."""
        good = self.values[np.isfinite(self.values)] if self.values is not None else np.empty(0)
        return (float(good.min()), float(good.max())) if good.size else None

    def span(self) -> tuple[Moment | None, Moment | None]:
        """The ends of a column of times."""
        ends = self.ends()
        return (parse(ends[0]), parse(ends[1])) if ends else (None, None)

    def said(self) -> dict[str, Any]:
        span: dict[str, Any] = {}
        if self.kind == "time":
            span = {key: iso(moment.at) for key, moment in zip(("min", "max"), self.span(), strict=True) if moment}
        elif ends := self.ends():
            span = {key: int(end) if self.kind == "integer" else end for key, end in zip(("min", "max"), ends, strict=True)}
        return without_blanks({"name": self.name, "dtype": self.kind, "units": self.units, **span, "missing": self.missing or None})


def read(source: Source) -> Iterator[Reading | Preview]:
    """Metadata and preview of a table. Raises `Unreadable`, `NotOfThisFormat`."""
    with source.open() as file:
        head = file.read(HEAD_BYTES)
        dialect = sniff(head, whole=len(head) == source.size_bytes)
        if dialect is None:
            raise NotOfThisFormat
        file.seek(0)
        lines = list(texts.lines(file, dialect.encoding, READ_MAX_BYTES))
        cut = source.size_bytes > READ_MAX_BYTES
        rows, problem = _rows(lines, dialect, cut=cut)
        count, estimated, tail = len(rows), False, []
        if cut:
            count, estimated = _counted(file, source.size_bytes, dialect, rows)
            tail = _tail(file, source.size_bytes, dialect)
        elif problem is None and rows and len(lines) > 0:
            problem = _cut_off(file, source.size_bytes, lines, dialect)
    if not rows:
        raise NotOfThisFormat
    columns = _columns(rows, dialect, source.zone)
    ends = _columns(tail, dialect, source.zone) if tail else []
    yield _said(columns, dialect, source, count, ends, problem, estimated=estimated)
    if preview := _drawn(columns):
        yield preview


def _rows(lines: list[str], dialect: Dialect, *, cut: bool) -> tuple[list[list[str]], str | None]:
    """The rows of values, up to the first that is none, and what is wrong with it."""
    body = lines[dialect.skip : len(lines) - 1 if cut else len(lines)]
    try:
        rows = dialect.rows(body)
    except csv.Error as error:
        return [], f"Its rows cannot be told apart ({text(str(error))})."
    good = next((index for index, row in enumerate(rows) if len(row) != dialect.columns), len(rows))
    odd = [row for row in rows[good:] if len(row) != dialect.columns]
    problem = None
    if odd and not (len(odd) == 1 and good == len(rows) - 1):
        problem = f"{len(odd):,} of its rows have not {dialect.columns} columns; the first is row {good + 1:,} of the values."
    return [row for row in rows if len(row) == dialect.columns], problem


def _cut_off(file: BinaryIO, size_bytes: int, lines: list[str], dialect: Dialect) -> str | None:
    """Whether the last line is a part of one: too few columns and no end."""
    file.seek(max(0, size_bytes - 1))
    if file.read(1) in (b"\n", b"\r", b"\0"):
        return None
    last = dialect.rows(lines[-1:])
    short = bool(last) and len(last[0]) != dialect.columns
    return "The file is cut off: its last row is not complete. It was probably copied before it was complete." if short else None


def _counted(file: BinaryIO, size_bytes: int, dialect: Dialect, rows: list[list[str]]) -> tuple[int, bool]:
    """Rows by line ends (quoted line breaks count too), or by the mean length of the rows that were read."""
    if size_bytes > COUNTED_MAX_BYTES:
        return round(size_bytes / READ_MAX_BYTES * len(rows)), True
    file.seek(0)
    ends, last = 0, b""
    while piece := file.read(2**22):
        ends, last = ends + piece.count(b"\n"), piece[-1:]
    return max(0, ends + (last != b"\n") - dialect.skip), False


def _tail(file: BinaryIO, size_bytes: int, dialect: Dialect) -> list[list[str]]:
    file.seek(size_bytes - TAIL_BYTES)
    raw = file.read(TAIL_BYTES)
    lines = raw.decode(dialect.encoding.removesuffix("-sig"), "replace").splitlines()[1:]
    try:
        return [row for row in dialect.rows(lines) if len(row) == dialect.columns]
    except csv.Error:
        return []


def _columns(rows: list[list[str]], dialect: Dialect, zone: tzinfo) -> list[_Column]:
    cells = list(zip(*rows, strict=True))[:COLUMNS_MAX]
    return _joined(cells, dialect, zone) + [_column(each, index, dialect, zone) for index, each in enumerate(cells)]


def _column(cells: tuple[str, ...], index: int, dialect: Dialect, zone: tzinfo) -> _Column:
    named = dialect.names[index] if index < len(dialect.names) else ""
    name, units = _name_and_units(named, dialect.units[index] if index < len(dialect.units) else "", dialect.preamble, index)
    name = name or f"column {index + 1}"
    told = [cell for cell in cells if cell.lower() not in MISSING]
    missing = len(cells) - len(told)
    if not told:
        return _Column(name, units, "empty", None, missing)
    values = _numbers(cells, comma=dialect.decimal_comma)
    if values is not None:
        whole = all(re.fullmatch(r"[+-]?\d+", cell) for cell in told[:1000]) and bool(np.all(values[np.isfinite(values)] % 1 == 0))
        if _EPOCH_NAMES.fullmatch(name) and (first := parse(float(values[np.isfinite(values)][0]))) is not None:
            scale = first.at.timestamp() / float(values[np.isfinite(values)][0])
            return _Column(name, None, "time", values * scale, missing)
        return _Column(name, units, "integer" if whole else "float", values, missing)
    moments = _moments(cells, zone)
    if moments:
        return _Column(name, None, "time", moments[0], missing, zone_assumed=moments[1])
    return _Column(name, units, "string", None, missing)


def _name_and_units(named: str, below: str, preamble: tuple[str, ...], index: int) -> tuple[str, str | None]:
    """`temp (°C)`, `temp [K]`, `energy/eV`; a row of units below the names; XDI's `# Column.1: energy eV`."""
    for line in preamble:
        if found := re.match(rf"#\s*Column\.{index + 1}:\s*(\S+)(?:\s+(\S+))?", line):
            return text(found[1]), text(found[2]) if found[2] else None
    named, units = text(named), below.strip("()[] ")
    if found := _UNITS.fullmatch(named):
        return text(found[1] or named), text(found[2] or found[3]) or None
    return text(named), text(units) or None


def _numbers(cells: tuple[str, ...], *, comma: bool) -> np.ndarray[Any, Any] | None:
    """The column as numbers, NaN where missing; None if other things stand in it."""
    cleaned = ["nan" if cell.lower() in MISSING else cell.replace(",", ".") if comma else cell for cell in cells]
    if not all(cell == "nan" or is_number(cell, comma=False) for cell in cleaned[:200]) or any("_" in cell for cell in cleaned):
        return None
    try:
        return np.array([float(cell.replace("D", "e").replace("d", "e") if "d" in cell.lower() else cell) for cell in cleaned])
    except ValueError:
        return None


def _moments(cells: tuple[str, ...], zone: tzinfo) -> tuple[np.ndarray[Any, Any], bool] | None:
    """The column as seconds since 1970, and whether its zone was assumed; None if it is no column of times."""
    step = max(1, len(cells) // TIMES_MAX)
    places = sorted({*range(0, len(cells), step), len(cells) - 1})
    found: list[Moment | None] = []
    for place in places:
        moment = parse(cells[place], zone)
        if moment is None and cells[place].lower() not in MISSING:
            return None
        found.append(moment)
    known = [moment for moment in found if moment]
    if not known:
        return None
    seconds = np.array([moment.at.timestamp() if moment else np.nan for moment in found])
    # between the places that were read, time goes on evenly
    return np.interp(np.arange(len(cells)), places, seconds) if step > 1 else seconds, any(moment.zone_assumed for moment in known)


def _joined(cells: list[tuple[str, ...]], dialect: Dialect, zone: tzinfo) -> list[_Column]:
    """A date in one column and the clock in the next are one time, as loggers write it."""
    for index in range(len(cells) - 1):
        dates, clocks = cells[index], cells[index + 1]
        if is_clock(clocks[0]) and ":" not in dates[0] and parse(dates[0]) and all(is_clock(clock) for clock in clocks[:200]):
            moments = _moments(tuple(f"{date} {clock}" for date, clock in zip(dates, clocks, strict=True)), zone)
            if moments:
                names = [dialect.names[place] if place < len(dialect.names) else f"column {place + 1}" for place in (index, index + 1)]
                return [_Column(" + ".join(text(name) for name in names), None, "time", moments[0], 0, zone_assumed=moments[1])]
    return []


def _said(
    columns: list[_Column], dialect: Dialect, source: Source, count: int, ends: list[_Column], problem: str | None, *, estimated: bool
) -> Reading:
    kind = "columns" if dialect.delimiter is None else "tsv" if dialect.delimiter == "\t" else "csv"
    header = {text(found[1]): text(found[2]) for line in dialect.preamble if (found := _PAIR.match(line))}
    clock = next((column for column in columns if column.kind == "time"), None)
    start, end = clock.span() if clock else (None, None)
    assumed = bool(clock and clock.zone_assumed)
    if clock and (later := next((column.span()[1] for column in ends if column.kind == "time"), None)):
        end = max(later, end or later, key=lambda moment: moment.at)
    if start is None:
        start = next((moment for key, value in header.items() if _DATED.search(key) and (moment := parse(value, source.zone))), None)
        assumed = bool(start and start.zone_assumed)
    title = next((value for key, value in header.items() if key.lower() in ("title", "sample", "name", "sample.name")), None)
    metadata = {
        "title": title,
        "rows": None if estimated else count,
        "rows_estimated": count if estimated else None,
        "columns": [column.said() for column in columns if " + " not in column.name or column.kind != "time"],
        "column_count": dialect.columns,
        "delimiter": dialect.delimiter,
        "skip_rows": dialect.skip,
        "encoding": dialect.encoding.removesuffix("-sig"),
        "decimal_comma": dialect.decimal_comma or None,
        "time_column": clock.name if clock else None,
        "start_time": iso(start.at) if start else None,
        "end_time": iso(end.at) if end and clock else None,
        **zone_said(assumed, source.zone),
        "header": dict(list(header.items())[:100]),
    }
    return Reading(kind, title, start.at if start else None, bounded(without_blanks(metadata)), problem)


def _drawn(columns: list[_Column]) -> Preview | None:
    """Columns of numbers over the time, else over the first column where that goes on evenly upwards or downwards, else by row."""
    clock = next((column for column in columns if column.kind == "time"), None)
    numbers = [column for column in columns if column.kind in ("integer", "float") and column.values is not None]
    along = clock
    if along is None and len(numbers) > 1 and numbers[0].values is not None:
        steps = np.diff(numbers[0].values)
        along = numbers[0] if steps.size and (np.all(steps > 0) or np.all(steps < 0)) else None
    shown = [column for column in numbers if column is not along]
    x = drawing.of_array(along.values) if along and along.values is not None else None
    lines = [
        drawing.Line(column.name, len(column.values), drawing.of_array(column.values), x, column.units)
        for column in shown
        if column.values is not None
    ]
    axis = drawing.Axis(along.name, along.units) if along else drawing.Axis("row")
    return drawing.lines("line", lines, axis, time=clock is not None)

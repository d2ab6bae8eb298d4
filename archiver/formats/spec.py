"""SPEC: scans in a text, each with its command, date, motors and columns.

Why not by silx: its reader indexes the whole file in C without bounds, opens by name only, and brings 18 MB for it. The format is lines
that begin with # and a letter (Certified Scientific Software, "spec: standard data file format"). Law: one pass, a bounded number of scans.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite
from typing import Any

import numpy as np

from archiver.formats import drawing, texts
from archiver.formats.preview import Preview
from archiver.formats.reading import Reading, Source, bounded, plain, text, without_blanks
from archiver.formats.times import Moment, iso, parse, zone_said

READ_MAX_BYTES = 256 * 2**20
SCANS_MAX = 5_000  # that are kept; all are counted
LISTED_MAX = 200  # that are described
POINTS_MAX = 200_000  # of one scan that are drawn from
COLUMNS_MAX = 1_000


@dataclass
class Scan:
    """One #S and what follows it. `points`: the lines of values; `values`: the numbers of the scan to draw."""

    number: int
    command: str
    at: Moment | None = None
    columns: list[str] = field(default_factory=list)
    announced: int | None = None
    points: int = 0
    odd_lines: int = 0
    mca: int = 0
    count_s: str | None = None
    positions: list[float | None] = field(default_factory=list)
    values: list[list[float]] = field(default_factory=list)

    def said(self) -> dict[str, Any]:
        return without_blanks(
            {
                "scan": self.number,
                "command": text(self.command),
                "date": iso(self.at.at) if self.at else None,
                "points": self.points,
                "columns": self.columns[:50],
                "column_count": len(self.columns),
                "mca_spectra": self.mca or None,
                "count_time": text(self.count_s) if self.count_s else None,
            }
        )


class _Reader:
    """Reads lines; of the scans, the longest keeps its values, to be drawn."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.scans: list[Scan] = []
        self.count = 0
        self.now: Scan | None = None
        self.best: Scan | None = None
        self.file_at: Moment | None = None
        self.head: dict[str, str] = {}
        self.motors: list[str] = []
        self.comments: list[str] = []
        self.continued = False
        self.last_is_short = False

    def line(self, line: str) -> None:
        if self.continued:  # a spectrum goes on after a backslash
            self.continued = line.endswith("\\")
        elif line.startswith("#"):
            self.control(line)
        elif line.startswith("@"):
            self.continued = line.endswith("\\")
            if self.now:
                self.now.mca += 1
        elif line.strip() and self.now:
            self.point(self.now, line)

    def control(self, line: str) -> None:
        key, _, rest = line[1:].partition(" ")
        rest = rest.strip()
        if key == "S" and (found := re.match(r"(\d{1,9})\s*(.*)", rest)):
            self.end_scan()
            self.count += 1
            self.now = Scan(int(found[1]), found[2])
            if len(self.scans) < SCANS_MAX:
                self.scans.append(self.now)
        elif key == "F":
            self.head.setdefault("file_name", rest)
        elif key in ("D", "E"):
            self.date(key, rest)
        elif key == "C":
            if len(self.comments) < 20:
                self.comments.append(text(rest))
        elif re.fullmatch(r"O\d+", key) and self.count <= 1:
            self.motors += [text(name) for name in re.split(r"\s{2,}", rest) if name][: COLUMNS_MAX - len(self.motors)]
        elif self.now:
            self.of_scan(self.now, key, rest)

    def date(self, key: str, said: str) -> None:
        """#E counts seconds since 1970, once per file; #D is a date without a zone."""
        at = parse(int(said) if key == "E" and re.fullmatch(r"\d{9,10}", said) else said, self.source.zone)
        if self.now is None:
            self.file_at = self.file_at or at
        elif key == "D":
            self.now.at = self.now.at or at

    def of_scan(self, scan: Scan, key: str, rest: str) -> None:
        if key == "L":
            scan.columns = [text(name) for name in re.split(r"\s{2,}|\t", rest) if name][:COLUMNS_MAX]
        elif key == "N" and (found := re.match(r"\d{1,5}", rest)):
            scan.announced = int(found[0])
        elif key == "T":
            scan.count_s = rest
        elif re.fullmatch(r"P\d+", key):
            scan.positions += [_number(value) for value in rest.split()][: COLUMNS_MAX - len(scan.positions)]

    def point(self, scan: Scan, line: str) -> None:
        values = [_number(value) for value in line.split()[:COLUMNS_MAX]]
        expected = len(scan.columns) or scan.announced or (len(scan.values[0]) if scan.values else len(values))
        self.last_is_short = len(values) != expected or None in values
        if self.last_is_short:
            scan.odd_lines += 1
            return
        scan.points += 1
        if len(scan.values) < POINTS_MAX:
            scan.values.append([value if value is not None else float("nan") for value in values])

    def end_scan(self) -> None:
        if self.now and self.now.points > 1 and (self.best is None or self.now.points >= self.best.points):
            if self.best:
                self.best.values = []
            self.best = self.now
        elif self.now:
            self.now.values = []


def _number(said: str) -> float | None:
    try:
        return float(said)
    except ValueError:
        return None


def read(source: Source) -> Iterator[Reading | Preview]:
    """Metadata and preview of a SPEC file. Raises `Unreadable`."""
    reader = _Reader(source)
    with source.open() as file:
        for line in texts.lines(file, "utf-8", READ_MAX_BYTES):
            reader.line(line)
        file.seek(max(0, source.size_bytes - 1))
        whole = file.read(1) in (b"\n", b"\r")
    reader.end_scan()
    yield _said(reader, whole=whole)
    if reader.best and (preview := _drawn(reader.best)):
        yield preview


def _said(reader: _Reader, *, whole: bool) -> Reading:
    scans = reader.scans
    moments: list[Moment] = [scan.at for scan in scans if scan.at]
    first: Moment | None = reader.file_at or min(moments, key=lambda moment: moment.at, default=None)
    last: datetime | None = max((moment.at for moment in moments), default=None)
    positions = reader.best.positions if reader.best else []
    finite = {name: plain(value) for name, value in zip(reader.motors, positions, strict=False) if value is not None and isfinite(value)}
    cut = [f"scans: {LISTED_MAX} of {reader.count} shown"] if reader.count > LISTED_MAX else []
    if reader.source.size_bytes > READ_MAX_BYTES:
        cut.append(f"only the first {READ_MAX_BYTES:,} bytes were read")
    metadata = {
        "file_name": text(reader.head.get("file_name", "")),
        "start_time": iso(first.at) if first else None,
        "last_scan_time": iso(last) if last else None,
        **zone_said(any(moment.zone_assumed for moment in [*([first] if first else []), *moments]), reader.source.zone),
        "scan_count": reader.count,
        "scans": [scan.said() for scan in scans[:LISTED_MAX]],
        "motors": finite or reader.motors,
        "comments": reader.comments,
        "cut": cut,
    }
    problem = None
    odd = sum(scan.odd_lines for scan in scans)
    if odd == 1 and reader.last_is_short and not whole:
        problem = "The file is cut off: its last line of values is not complete. It was probably copied before it was complete."
    elif odd:
        problem = f"{odd:,} of its lines have not as many numbers as their scan has columns."
    elif not reader.count:
        problem = "The file begins like SPEC, but has no scan."
    title = text(scans[0].command) if reader.count == 1 else None
    return Reading("spec", title, first.at if first else None, bounded(without_blanks(metadata)), problem)


def _drawn(scan: Scan) -> Preview | None:
    """The last counter over the first motor, as SPEC itself plots."""
    values = np.array(scan.values)
    width = values.shape[1]
    names = scan.columns if len(scan.columns) == width else [f"column {index + 1}" for index in range(width)]
    x = drawing.of_array(values[:, 0]) if width > 1 else None
    line = drawing.Line(names[-1], len(values), drawing.of_array(values[:, -1]), x)
    return drawing.lines("line", [line], drawing.Axis(names[0] if width > 1 else "point"))

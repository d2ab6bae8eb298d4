"""SPEC scans and spectra of multichannel analysers → pandas.

SPEC's format: lines that begin with # and a letter (Certified Scientific Software, "spec: standard data file format"). silx reads it too, but indexes
a whole file in C without bounds: a damaged one would end the kernel.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from neve.errors import NotFound, UnreadableData
from neve.local import whole

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]


@dataclass
class Scan:
    """One #S and what follows it. `key`: its number, with `.2` for the second of that number, as SPEC's readers write it."""

    key: str
    command: str
    columns: list[str] = field(default_factory=list)
    header: list[str] = field(default_factory=list)
    rows: list[list[float]] = field(default_factory=list)
    spectra: list[list[float]] = field(default_factory=list)


def read_spec(handle: Path | BinaryIO, scan: str | None = None) -> pd.DataFrame:
    """One scan (`"3"`, `"3.2"`), or all of them below each other with the scan's key as first index.

    `attrs`: `command`, `header`, and `mca` with a scan's spectra (points × channels), by key where there are several scans.
    Raises `NotFound` with the keys that there are, `UnreadableData`.
    """
    import pandas as pd  # noqa: PLC0415 - heavy

    scans = {one.key: one for one in _scans(whole(handle).decode("utf-8", "replace").splitlines())}
    if not scans:
        raise UnreadableData("it has no scans.", "See what is in it with a text editor.")
    if scan is not None:
        key = scan if "." in scan else f"{scan}.1"
        if key not in scans:
            raise NotFound(f"There is no scan {scan} in this file.", f"It has: {', '.join(list(scans)[:10])}{', …' if len(scans) > 10 else ''}.")
        return _frame(scans[key])
    frames = {key: _frame(one) for key, one in scans.items()}
    if len(frames) == 1:
        return next(iter(frames.values()))
    joined = pd.concat({key: pd.DataFrame(frame) for key, frame in frames.items()}, names=["scan", "point"])
    joined.attrs = {name: {key: frame.attrs[name] for key, frame in frames.items()} for name in ("command", "header", "mca")}
    return joined


def _scans(lines: list[str]) -> Iterator[Scan]:
    current: Scan | None = None
    seen: dict[str, int] = {}
    held = ""
    for line in lines:
        if found := re.match(r"#S\s+(\d+)\s*(.*)", line):
            if current is not None:
                yield current
            seen[found[1]] = seen.get(found[1], 0) + 1
            current, held = Scan(f"{found[1]}.{seen[found[1]]}", found[2].strip()), ""
        elif current is None:
            continue  # the file's own header
        elif line.startswith("#L"):
            current.columns = [name for name in re.split(r"\s{2,}|\t", line[2:].strip()) if name]
        elif line.startswith("#"):
            current.header.append(line)
        elif held or line.startswith("@A"):
            held += line.removeprefix("@A").rstrip("\\") + " "
            if not line.endswith("\\"):
                current.spectra.append(_numbers(held))
                held = ""
        elif line.strip():
            current.rows.append(_numbers(line))
    if current is not None:
        yield current


def _numbers(line: str) -> list[float]:
    try:
        return [float(said) for said in line.split()]
    except ValueError:
        return []


def _frame(scan: Scan) -> pd.DataFrame:
    import numpy as np  # noqa: PLC0415 - heavy
    import pandas as pd  # noqa: PLC0415

    width = len(scan.columns) or max((len(row) for row in scan.rows), default=0)
    names = scan.columns or [f"column {index + 1}" for index in range(width)]
    rows = [row for row in scan.rows if len(row) == width]  # a line that was cut off, or is none of values
    frame = pd.DataFrame(np.array(rows, float).reshape(len(rows), width), columns=_told_apart(names))
    frame.attrs = {"command": scan.command, "header": scan.header, "mca": _stacked(scan.spectra)}
    return frame


def _told_apart(names: list[str]) -> list[str]:
    return [name if name not in names[:index] else f"{name} ({index + 1})" for index, name in enumerate(names)]


def _stacked(spectra: list[list[float]]) -> Any:
    import numpy as np  # noqa: PLC0415

    lengths = {len(spectrum) for spectrum in spectra}
    return np.array(spectra) if len(lengths) == 1 else spectra


def read_mca(handle: Path | BinaryIO) -> pd.DataFrame:
    """A spectrum as `counts` by `channel`: Ortec's SPE and Amptek's text. Raises `UnreadableData`. `attrs["header"]`: its other blocks."""
    import pandas as pd  # noqa: PLC0415 - heavy

    lines = [line.strip() for line in whole(handle).decode("latin-1").splitlines()]
    amptek = bool(lines) and lines[0].startswith("<<")
    header: dict[str, str] = {}
    counts: list[int] = []
    block, first = "", 0
    for line in lines:
        if mark := re.fullmatch(r"<<(.*)>>" if amptek else r"\$([A-Z_]+):.*", line):
            block = mark[1]
        elif block == "DATA" and line:
            if not amptek and not counts and (span := re.fullmatch(r"(\d+)\s+(\d+)", line)) and not first:
                first = int(span[1]) or -1  # the first line says from which channel to which
                continue
            counts += [int(float(said)) for said in line.split()]
        elif block and line:
            key, _, value = line.partition(" - ") if amptek and " - " in line else (block, "", line)
            header[key] = f"{header[key]}\n{value}" if key in header else value
    if not counts:
        raise UnreadableData("it has no spectrum.", "See what is in it with a text editor.")
    start = max(first, 0)
    frame = pd.DataFrame({"counts": counts}, index=pd.RangeIndex(start, start + len(counts), name="channel"))
    frame.attrs["header"] = header
    return frame

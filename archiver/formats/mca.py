"""Spectra of multichannel analysers as text: Ortec's SPE ($DATA: blocks, ASCII/IAEA form) and Amptek's (<<PMCA SPECTRUM>>)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from archiver.formats import drawing, texts
from archiver.formats.preview import Preview
from archiver.formats.reading import Reading, Source, Unreadable, bounded, text, without_blanks
from archiver.formats.times import iso, parse, zone_said

READ_MAX_BYTES = 64 * 2**20
CHANNELS_MAX = 2**20
_AMERICAN = re.compile(r"(\d\d)[/-](\d\d)[/-](\d{4})\s+(\d\d:\d\d:\d\d)")  # $DATE_MEA and START_TIME are month/day/year by definition


@dataclass
class _Spectrum:
    announced: int | None = None
    counts: list[float] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)
    ended: bool = True  # SPE has no mark of its end; Amptek's has

    def add(self, line: str) -> None:
        for said in line.split():
            if len(self.counts) < CHANNELS_MAX:
                self.counts.append(_count(said))


def _count(said: str) -> float:
    if not re.fullmatch(r"\d{1,18}\.?\d*", said):
        raise Unreadable(f"Among its counts stands {text(said)[:40]!r}, which is no count.")
    return float(said)


def read(source: Source) -> Iterator[Reading | Preview]:
    """Metadata and preview of a spectrum. Raises `Unreadable`."""
    with source.open() as file:
        lines = [line.strip() for line in texts.lines(file, "latin-1", READ_MAX_BYTES)]
    spectrum = _amptek(lines) if lines and lines[0].startswith("<<") else _spe(lines)
    said, problem = spectrum.fields, None
    if spectrum.announced is not None and len(spectrum.counts) != spectrum.announced:
        problem = f"The file is cut off or damaged: it announces {spectrum.announced:,} channels, {len(spectrum.counts):,} are there."
    elif not spectrum.ended or not spectrum.counts:
        problem = "The file is cut off or damaged: its spectrum has no end." if spectrum.counts else "The file has no spectrum."
    moment = parse(_spelled(said.get("DATE_MEA") or said.get("START_TIME")), source.zone)
    measured = (said.get("MEAS_TIM") or "").split()
    live = measured[0] if measured else said.get("LIVE_TIME")
    real = measured[1] if len(measured) > 1 else said.get("REAL_TIME")
    energy = _calibration(said)
    title = text(said.get("SPEC_ID") or said.get("DESCRIPTION") or "") or None
    metadata = {
        "title": title,
        "start_time": iso(moment.at) if moment else None,
        **zone_said(bool(moment and moment.zone_assumed), source.zone),
        "channels": len(spectrum.counts),
        "counts": int(sum(spectrum.counts)),
        "live_time": _seconds(live),
        "real_time": _seconds(real),
        "energy_calibration": energy,
        "header": without_blanks({text(key): text(value) for key, value in list(said.items())[:100]}),
    }
    yield Reading("mca", title, moment.at if moment else None, bounded(without_blanks(metadata)), problem)
    counts = np.array(spectrum.counts)
    offset, gain = (energy["value"][0], energy["value"][1]) if energy else (0.0, 1.0)
    line = drawing.Line("counts", len(counts), drawing.of_array(counts), None, "counts", offset, gain)
    axis = drawing.Axis("energy", energy.get("units")) if energy else drawing.Axis("channel")
    if preview := drawing.lines("line", [line], axis):
        yield preview


def _spe(lines: list[str]) -> _Spectrum:
    found, block = _Spectrum(), ""
    for line in lines:
        if mark := re.fullmatch(r"\$([A-Z_]+):(.*)", line):
            block = mark[1]
            line = mark[2].strip()  # noqa: PLW2901  a value may stand on the line of its mark
        if not line:
            continue
        if block == "DATA":
            if found.announced is None and not found.counts and (span := re.fullmatch(r"(\d{1,7})\s+(\d{1,7})", line)):
                found.announced = int(span[2]) - int(span[1]) + 1
            else:
                found.add(line)
        elif block and len(found.fields) < 200:
            found.fields[block] = f"{found.fields[block]}\n{line}" if block in found.fields else line
    return found


def _amptek(lines: list[str]) -> _Spectrum:
    found, block = _Spectrum(ended=False), ""
    for line in lines:
        if mark := re.fullmatch(r"<<(.*)>>", line):
            block = mark[1]
            found.ended = found.ended or block == "END"
        elif block == "DATA" and line:
            found.add(line)
        elif block == "PMCA SPECTRUM" and (pair := re.fullmatch(r"([A-Z_ ]+?) - (.*)", line)) and len(found.fields) < 200:
            found.fields[pair[1]] = pair[2]
    return found


def _spelled(said: str | None) -> str | None:
    found = _AMERICAN.match(said or "")
    return f"{found[3]}-{found[1]}-{found[2]}T{found[4]}" if found else said


def _seconds(said: str | None) -> dict[str, Any] | None:
    return {"value": float(said), "units": "s"} if said and re.fullmatch(r"\d{1,30}\.?\d{0,30}", said) else None


def _calibration(said: dict[str, str]) -> dict[str, Any] | None:
    """Energy = offset + gain × channel, where the file has it (ENER_FIT, or MCA_CAL with a count of coefficients and units)."""
    parts = (said.get("MCA_CAL", "").split("\n", 1)[-1] or said.get("ENER_FIT", "")).split() or said.get("ENER_FIT", "").split()
    numbers = [float(part) for part in parts if re.fullmatch(r"[-+]?\d{0,30}\.?\d{1,30}(?:[eE][-+]?\d{1,3})?", part)]
    units = next((part for part in parts if part.lower() in ("ev", "kev", "mev")), None)
    return without_blanks({"value": numbers[:3], "units": units}) if len(numbers) > 1 and numbers[1] > 0 else None

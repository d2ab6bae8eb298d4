"""miniSEED 2 and 3: channels, their spans, rates, encodings, gaps and overlaps. Records are libmseed's, through pymseed.

Only headers are unpacked for the description; samples of a few channels for the preview. Law: a file is whole only if it is records
from its first byte to its last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import pymseed

from archiver.formats import drawing
from archiver.formats.preview import Preview
from archiver.formats.reading import Reading, Source, Unreadable, bounded, text, without_blanks
from archiver.formats.times import iso

CHANNELS_MAX = 2_000  # that are told apart
BREAKS_MAX = 50  # gaps and overlaps of one channel that are listed; all are counted
BLOCK_BYTES = 16 * 2**20  # of the file in memory; records are at most 128 KiB (miniSEED 2) or longer and rare
DRAWN_MAX_BYTES = 16 * 2**20  # of the file whose samples are unpacked for the preview
RECORDS_MAX = 500_000  # that are looked at: some seconds of work
STRETCHES_MAX = 100_000  # of one channel
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Channel:
    """What was seen of one channel: stretches without a break as [first sample, last sample, time of one sample], in ns since 1970."""

    name: str
    rates: set[float] = field(default_factory=set)
    encodings: set[str] = field(default_factory=set)
    records: int = 0
    samples: int = 0
    stretches: list[list[int]] = field(default_factory=list)

    def add(self, record: Any, encoding: str) -> None:
        self.records += 1
        self.encodings.add(encoding)
        count, rate = record.samplecnt, record.samprate
        if not count or not rate > 0:
            return  # a log, or a record of state of health: no samples in time
        start, end, step = record.starttime, record.endtime, max(1, int(1e9 / rate))
        self.rates.add(rate)
        self.samples += count
        last = self.stretches[-1] if self.stretches else None
        if last and abs(start - last[1] - step) <= step // 2 + 1:
            last[1] = end
        elif len(self.stretches) < STRETCHES_MAX:
            self.stretches.append([start, end, step])

    def span(self) -> tuple[int | None, int | None]:
        """First and last sample."""
        return min((each[0] for each in self.stretches), default=None), max((each[1] for each in self.stretches), default=None)

    def breaks(self) -> list[tuple[str, int, int]]:
        """Gaps and overlaps in order of time, whatever the order in the file."""
        found: list[tuple[str, int, int]] = []
        expected: int | None = None
        for start, end, step in sorted(self.stretches):
            if expected is not None and abs(start - expected) > step // 2 + 1:
                found.append(("gap" if start > expected else "overlap", expected, start))
            expected = end + step if expected is None else max(expected, end + step)
        return found

    def said(self) -> dict[str, Any]:
        breaks = self.breaks()
        kinds = [kind for kind, _, _ in breaks]
        first, last = self.span()
        return without_blanks(
            {
                "channel": self.name,
                "start": _time(first),
                "end": _time(last),
                "rate_hz": min(self.rates) if len(self.rates) == 1 else None,
                "rates_hz": sorted(self.rates)[:10] if len(self.rates) > 1 else None,
                "samples": self.samples,
                "records": self.records,
                "encoding": ", ".join(sorted(self.encodings)),
                "gaps": kinds.count("gap") or None,
                "overlaps": kinds.count("overlap") or None,
                "breaks": [
                    {"kind": kind, "from": _time(expected), "to": _time(came), "seconds": abs(came - expected) / 1e9}
                    for kind, expected, came in breaks[:BREAKS_MAX]
                ],
            }
        )


def _time(at_ns: int | None) -> str | None:
    moment = _moment(at_ns)
    return iso(moment) if moment else None


def _moment(at_ns: int | None) -> datetime | None:
    try:
        return None if at_ns is None else _EPOCH + timedelta(microseconds=at_ns // 1000)
    except OverflowError:
        return None


@cache
def _named(identifier: str) -> str:
    """NET.STA.LOC.CHA; a source identifier that is no such (miniSEED 3 allows others) as it stands."""
    try:
        return text(".".join(pymseed.sourceid2nslc(identifier)))
    except (ValueError, pymseed.MiniSEEDError):
        return text(identifier)


def _records(source: Source, *, samples: bool, most_bytes: int) -> Iterator[Any]:
    """The records one after the other, in blocks. Raises `Unreadable` where what follows is none."""
    done = count = 0
    with source.open() as file:
        rest = b""
        while block := file.read(min(BLOCK_BYTES, most_bytes - done - len(rest))):
            held, used = rest + block, 0
            try:
                for record in pymseed.MS3Record.from_buffer(held, unpack_data=samples):
                    count += 1
                    used += record.reclen
                    yield record
                    if count == RECORDS_MAX:
                        return
            except pymseed.MiniSEEDError as error:
                if not (file.tell() < source.size_bytes and used and len(held) - used < BLOCK_BYTES // 2):  # the last one may go on in the next block
                    raise Unreadable(_broken(error, done + used, count)) from None
            done += used
            rest = held[used:]


def _broken(error: Exception, place: int, count: int) -> str:
    reason = text(str(error).replace("Error: ", "").split(" :: ")[0])
    if not count:
        return f"The file begins like miniSEED, but no whole record stands there. ({reason})"
    return f"What stands from byte {place:,} on is no whole miniSEED record, after {count:,} that are. ({reason})"


def _source(record: Any) -> str:
    try:
        return _named(record.sourceid)
    except UnicodeDecodeError:
        raise Unreadable("One of its records names its channel in bytes that are no text.") from None


def read(source: Source) -> Iterator[Reading | Preview]:
    """Metadata and preview of a miniSEED file. Raises `Unreadable`."""
    channels: dict[str, Channel] = {}
    versions: set[int] = set()
    encodings: dict[int, str] = {}
    problem, count = None, 0
    try:
        for record in _records(source, samples=False, most_bytes=source.size_bytes):
            count += 1
            name, encoding = _source(record), record.encoding
            if encoding not in encodings:
                encodings[encoding] = record.encoding_str()
            if name in channels or len(channels) < CHANNELS_MAX:
                channels.setdefault(name, Channel(name)).add(record, encodings[encoding])
                versions.add(record.formatversion)
    except Unreadable as error:
        if not channels:
            raise
        problem = str(error)
    spans = [channel.span() for channel in channels.values()]
    starts, ends = ([at for at in side if at is not None] for side in zip(*spans, strict=True))
    metadata = {
        "version": min(versions) if len(versions) == 1 else sorted(versions),
        "start_time": _time(min(starts, default=None)),
        "end_time": _time(max(ends, default=None)),
        "channel_count": len(channels),
        "channels": [channels[name].said() for name in sorted(channels)],
        "cut": [f"only the first {RECORDS_MAX:,} records were looked at"] if count == RECORDS_MAX else None,
    }
    yield Reading("miniseed", None, _moment(min(starts, default=None)), bounded(without_blanks(metadata)), problem)
    if preview := _drawn(source, [channels[name] for name in sorted(channels) if channels[name].samples]):
        yield preview


def _drawn(source: Source, channels: list[Channel]) -> Preview | None:
    wanted = {channel.name: channel for channel in channels[: drawing.SERIES_MAX]}
    times: dict[str, list[Any]] = {name: [] for name in wanted}
    values: dict[str, list[Any]] = {name: [] for name in wanted}
    try:
        for record in _records(source, samples=True, most_bytes=min(source.size_bytes, DRAWN_MAX_BYTES)):
            name = _source(record)
            if name in wanted and record.numsamples and record.samprate > 0 and record.sampletype in ("i", "f", "d"):
                taken = np.array(record.np_datasamples, "f8")
                if times[name] and record.starttime / 1e9 - times[name][-1][-1] > 1.5 / record.samprate:
                    times[name].append(np.array([times[name][-1][-1] + 1 / record.samprate]))
                    values[name].append(np.array([np.nan]))  # a gap is no line
                times[name].append(record.starttime / 1e9 + np.arange(len(taken)) / record.samprate)
                values[name].append(taken)
    except Unreadable:
        pass  # the description has said so; what stands before is drawn
    shown = []
    for name in wanted:
        if values[name]:
            x, y = np.concatenate(times[name]), np.concatenate(values[name])
            shown.append(drawing.Line(name, len(y), drawing.of_array(y), drawing.of_array(x), "counts"))
    return drawing.lines("waveform", shown, drawing.Axis("time"), time=True) if shown else None

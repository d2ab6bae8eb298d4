"""miniSEED → an ObsPy stream where ObsPy is installed, else traces with times and samples (pymseed, from the format's authors)."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from neve.errors import UnreadableData
from neve.local import whole


@dataclass(frozen=True)
class Trace:
    """Samples of one channel without a gap. `id`: NET.STA.LOC.CHA; `times`: datetime64[ns], UTC, one for each sample; `rate_hz`: per second."""

    id: str
    rate_hz: float
    times: Any = field(repr=False)
    samples: Any = field(repr=False)

    def __repr__(self) -> str:
        return f"<Trace {self.id}: {len(self.samples)} samples at {self.rate_hz:g} Hz from {self.times[0]}>"


def read(handle: Path | BinaryIO) -> Any:
    """An `obspy.Stream`, or a list of `Trace`. Raises `UnreadableData`."""
    body = whole(handle)
    try:
        import obspy  # type: ignore[import-not-found] # noqa: PLC0415 - who has it wants its streams
    except ImportError:
        return _traces(body)
    return obspy.read(io.BytesIO(body), format="MSEED")


def _traces(body: bytes) -> list[Trace]:
    import numpy as np  # noqa: PLC0415 - heavy
    import pymseed  # noqa: PLC0415

    found = []
    try:
        with pymseed.MS3TraceList.from_buffer(body, unpack_data=True, skip_not_data=True) as traces:
            for channel in traces:
                name = _name(channel.sourceid)
                for segment in channel:
                    samples = np.array(segment.np_datasamples)
                    if not len(samples):
                        continue  # a log, or a record without samples
                    step = 1e9 / segment.samprate if segment.samprate > 0 else 0.0
                    times = np.datetime64(segment.starttime, "ns") + np.round(np.arange(len(samples)) * step).astype("timedelta64[ns]")
                    found.append(Trace(name, segment.samprate, times, samples))
    except pymseed.PymseedError as error:
        raise UnreadableData(f"it is damaged ({error}).", "What of it can be read: pymseed.MS3Record.from_file.") from None
    if not found:
        raise UnreadableData("it holds no samples.", "Choose another file.")
    return found


def _name(sourceid: str) -> str:
    """NET.STA.LOC.CHA, where the FDSN source identifier can be written so."""
    import pymseed  # noqa: PLC0415

    try:
        return ".".join(pymseed.sourceid2nslc(sourceid))
    except (ValueError, pymseed.PymseedError):
        return sourceid

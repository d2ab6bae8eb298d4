"""EDF, the ESRF's data format: blocks of a text header in braces and binary data, one after the other.

Why not by fabio: it follows EDF_BinaryFileName to other files, and fills what is cut off with zeros. Rules of the format: P. Boesecke,
"Reduction of two-dimensional small- and wide-angle X-ray scattering data" (2007), and fabio's edfimage. Law: nothing outside the file is read.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import tzinfo
from math import prod
from typing import Any, BinaryIO

import numpy as np

from archiver.formats import detector
from archiver.formats.preview import Preview
from archiver.formats.reading import Reading, Source, Unreadable, cut_off
from archiver.formats.times import Moment, parse

HEADER_MAX_BYTES = 2**20
FRAMES_MAX = 100_000  # whose headers are looked at
_END = re.compile(rb"\}\r?\n")
_TYPES = (
    (r"signed(byte|8)", "i1"),
    (r"unsigned(byte|8)", "u1"),
    (r"signed(short|16)", "i2"),
    (r"unsigned(short|16|shortinteger)", "u2"),
    (r"signed(integer|long|32)", "i4"),
    (r"unsigned(integer|long|32)", "u4"),
    (r"signed64", "i8"),
    (r"unsigned64", "u8"),
    (r"float|floatvalue|floatieee32|float32|real", "f4"),
    (r"double|doublevalue|floatieee64|doubleieee64", "f8"),
)
_TIMES = ("EDF_Time", "time", "Date", "DATE (scan begin)", "acq_time", "HMStartTime", "time_of_day")


@dataclass(frozen=True)
class Frame:
    """One block with data."""

    header: dict[str, str]
    start: int
    size_bytes: int

    def get(self, *names: str) -> str | None:
        """The first of these values that says something; keys differ in case between programs."""
        lowered = {key.lower(): value for key, value in self.header.items()}
        return next((value for name in names if (value := lowered.get(name.lower()))), None)

    def dtype(self) -> np.dtype[Any]:
        """Raises `Unreadable` for one that is not known."""
        named = (self.get("DataType") or "").lower()
        order = ">" if "high" in (self.get("ByteOrder") or "").lower() else "<"
        for pattern, code in _TYPES:
            if re.fullmatch(pattern, named):
                return np.dtype(code if code[1] == "1" else order + code)
        raise Unreadable(f"Its header names an unknown type of data ({named[:40] or 'none'}).")

    def shape(self, dtype: np.dtype[Any]) -> tuple[int, ...]:
        edges: list[int] = []
        while (said := self.get(f"Dim_{len(edges) + 1}")) and len(edges) < 4:
            if not re.fullmatch(r"\d{1,12}", said):
                raise Unreadable(f"Its header announces an image of {said[:40]} pixels, which cannot be.")
            edges.append(int(said))
        return detector.shape_checked(edges[::-1], dtype)


def _frames(file: BinaryIO, size_bytes: int) -> Iterator[Frame]:
    defaults: dict[str, str] = {}
    place = 0
    for _ in range(FRAMES_MAX):
        file.seek(place)
        head = file.read(HEADER_MAX_BYTES) if place == 0 else file.read(8192)
        if not head.strip(b"\0 \r\n"):
            return
        if place and not _END.search(head):
            head += file.read(HEADER_MAX_BYTES)
        end = _END.search(head)
        if end is None or not head.lstrip().startswith(b"{"):
            raise Unreadable(
                "The file is cut off or damaged: a header that begins does not end." if place == 0 else f"No header stands at byte {place:,}."
            )
        header = _pairs(head[: end.start()])
        start = place + end.end()
        if header.get("EDF_DataFormatVersion") or "EDF_BlockBoundary" in header:
            defaults = header  # the general block of newer files: defaults for the others
            size = _whole(header.get("EDF_BinarySize"), 0)
        else:
            frame = Frame({**defaults, **header}, start, 0)
            size = _whole(frame.get("EDF_BinarySize", "Size"), None)
            if size is None:
                size = prod(frame.shape(frame.dtype())) * frame.dtype().itemsize
            yield Frame(frame.header, start, size)
        place = start + size
        if place >= size_bytes:
            return


def _pairs(head: bytes) -> dict[str, str]:
    pairs = {}
    for part in head.decode("latin-1").replace("{", "", 1).split(";"):
        key, equals, value = part.partition("=")
        if equals and len(key) < 200:
            pairs[key.strip()] = value.strip()
    return pairs


def _whole(said: str | None, otherwise: int | None) -> Any:
    return int(said) if said and re.fullmatch(r"\d{1,15}", said) else otherwise


def read(source: Source) -> Iterator[Reading | Preview]:
    """Metadata and preview of an EDF file. Raises `Unreadable`."""
    with source.open() as file:
        size_bytes, first, middle, last, count, problem = source.size_bytes, None, None, None, 0, None
        try:
            for frame in _frames(file, size_bytes):
                first, last, count = first or frame, frame, count + 1
                middle = frame if count & (count - 1) == 0 else middle  # a frame that is not the first, without keeping all
        except Unreadable as error:
            if first is None:
                raise
            problem = f"{error} What stands before was read."
        if first is None or last is None:
            raise Unreadable("The file has a header but no image.")
        dtype = first.dtype()
        shape = first.shape(dtype)
        outside = first.get("EDF_BinaryFileName")
        needed = prod(shape) * dtype.itemsize
        packed = (first.get("COMPRESSION", "EDF_BinaryCompression") or "none").lower()
        if not outside and packed.startswith("none") and first.size_bytes < needed:
            problem = f"Its header announces {needed:,} bytes of image and {first.size_bytes:,} bytes of data."
        elif not outside and last.start + last.size_bytes > size_bytes:
            problem = cut_off(last.start + last.size_bytes, size_bytes)
        yield detector.reading(
            "edf", (count, *shape) if count > 1 else shape, dtype, _moment(first, source.zone), source.zone, **_said(first), problem=problem
        )
        if not outside and not problem and len(shape) == 2 and middle:
            frame = middle if middle.dtype() == dtype and middle.shape(dtype) == shape else first
            yield from detector.drawn(_pixels(file, frame, shape, dtype), "image", shape)


def _moment(frame: Frame, zone: tzinfo) -> Moment | None:
    return next((moment for name in _TIMES if (moment := parse(frame.get(name), zone))), None)


def _said(frame: Frame) -> dict[str, Any]:
    wavelength, distance, pixel = (frame.get(name) for name in ("WaveLength", "SampleDistance", "PSize_1"))
    metres = detector.quantity(wavelength, "m")
    return {
        "title": frame.get("Title"),
        "exposure": detector.quantity(frame.get("ExposureTime", "acq_expo_time", "exposure_time", "count_time", "Exposure"), "s"),
        # metres in the format's convention; a value that can be none is said without units
        "wavelength": metres if metres and metres["value"] < 1e-6 else detector.quantity(wavelength, None),
        "distance": detector.quantity(distance, "m"),
        "pixel_size": detector.quantity(pixel, "m"),
        "detector": frame.get("Detector", "det_model", "detector_name"),
        "motors": _counted(frame, "motor"),
        "counters": _counted(frame, "counter"),
        "in_other_file": frame.get("EDF_BinaryFileName"),
        "header": detector.kept(frame.header),
    }


def _counted(frame: Frame, kind: str) -> dict[str, Any] | None:
    names, values = (frame.get(f"{kind}_mne") or "").split(), (frame.get(f"{kind}_pos") or "").split()
    pairs = {name: detector.quantity(value, None, zero_is_unset=False) for name, value in zip(names, values, strict=False)}
    return {name: said["value"] for name, said in pairs.items() if said} or None


def _pixels(file: BinaryIO, frame: Frame, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    needed = prod(shape) * dtype.itemsize
    if max(needed, frame.size_bytes) > detector.PIXELS_MAX_BYTES:
        raise Unreadable(f"One image has {needed:,} bytes; no preview is drawn of more than {detector.PIXELS_MAX_BYTES:,}.")
    file.seek(frame.start)
    raw = file.read(frame.size_bytes)
    packed = (frame.get("COMPRESSION", "EDF_BinaryCompression") or "none").lower()
    if "gz" in packed or packed.startswith("z"):
        raw = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress(raw, needed)
    elif not packed.startswith("none"):
        raise Unreadable(f"Its image is packed by {packed[:40]}, of which no preview is drawn.")
    return np.frombuffer(raw, dtype, prod(shape)).reshape(shape)

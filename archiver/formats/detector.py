"""What the headers of area detectors say, in one shape: exposure, wavelength, distance, pixel size, beam centre, whatever the format.

Quantities keep the file's units; without units in the file or in its convention there are none here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import tzinfo
from math import prod
from typing import Any

import numpy as np

from archiver.formats import drawing
from archiver.formats.preview import Preview
from archiver.formats.reading import Reading, Unreadable, bounded, plain, text, without_blanks
from archiver.formats.times import Moment, iso, zone_said

HEADER_MAX = 200  # pairs of a header that are kept
PIXELS_MAX_BYTES = 512 * 2**20  # of one frame that are unpacked
_NUMBER = r"[-+]?(?:\d{1,30}\.?\d{0,30}|\.\d{1,30})(?:[eE][-+]?\d{1,3})?"
_PILATUS = {
    "exposure": re.compile(rf"Exposure_time[\s=:]{{1,9}}({_NUMBER})\s?(\w{{0,12}})"),
    "exposure_period": re.compile(rf"Exposure_period[\s=:]{{1,9}}({_NUMBER})\s?(\w{{0,12}})"),
    "wavelength": re.compile(rf"Wavelength[\s=:]{{1,9}}({_NUMBER})\s?(\w{{0,12}})"),
    "distance": re.compile(rf"Detector_distance[\s=:]{{1,9}}({_NUMBER})\s?(\w{{0,12}})"),
    "energy_threshold": re.compile(rf"Threshold_setting[\s=:]{{1,9}}({_NUMBER})\s?(\w{{0,12}})"),
    "start_angle": re.compile(rf"Start_angle[\s=:]{{1,9}}({_NUMBER})\s?(\w{{0,12}})"),
    "angle_increment": re.compile(rf"Angle_increment[\s=:]{{1,9}}({_NUMBER})\s?(\w{{0,12}})"),
}
_PILATUS_PIXEL = re.compile(rf"Pixel_size[\s=:]{{1,9}}({_NUMBER})\s?(\w{{1,12}})\s?x\s?({_NUMBER})")
_PILATUS_BEAM = re.compile(rf"Beam_xy[\s=:(]{{1,9}}({_NUMBER})[,\s]{{1,9}}({_NUMBER})")
_PILATUS_DETECTOR = re.compile(r"Detector:\s?([^\r\n#]{1,200})")


def quantity(value: Any, units: str | None, *, zero_is_unset: bool = True) -> dict[str, Any] | None:
    """A number with units; None where there is none (instruments write 0 into what they do not know)."""
    try:
        number = plain(float(value))
    except (TypeError, ValueError, OverflowError):
        return None
    return None if number is None or (zero_is_unset and not number) else without_blanks({"value": number, "units": units})


def pilatus(said: str) -> dict[str, Any]:
    """What DECTRIS detectors write as comments into CBF and TIFF (`# Exposure_time 1.0 s`)."""
    found: dict[str, Any] = {}
    for name, pattern in _PILATUS.items():
        if match := pattern.search(said):
            found[name] = quantity(match[1], match[2] or None, zero_is_unset=name not in ("start_angle", "angle_increment"))
    if match := _PILATUS_PIXEL.search(said):
        found["pixel_size"] = _pair(match[1], match[3], match[2])
    if match := _PILATUS_BEAM.search(said):
        found["beam_center"] = _pair(match[1], match[2], "pixels")
    if match := _PILATUS_DETECTOR.search(said):
        found["detector"] = text(match[1])
    return found


def _pair(first: str, second: str, units: str) -> dict[str, Any] | None:
    values = [plain(float(first)), plain(float(second))]
    return {"value": values, "units": units} if None not in values and any(values) else None


def kept(header: Mapping[str, Any]) -> dict[str, Any]:
    """The header's pairs as they stand, the first HEADER_MAX of them."""
    pairs = list(header.items())[:HEADER_MAX]
    return without_blanks({text(key): plain(value) for key, value in pairs})


def shape_checked(edges: list[int], dtype: np.dtype[Any]) -> tuple[int, ...]:
    """The shape (slowest first). Raises `Unreadable` where the header announces none, or one that cannot be."""
    if not edges or any(edge <= 0 for edge in edges) or prod(edges) * dtype.itemsize > 2**46:
        raise Unreadable(f"Its header announces an image of {' × '.join(str(edge) for edge in edges) or 'no'} pixels, which cannot be.")
    return tuple(edges)


def reading(
    kind: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    moment: Moment | None,
    zone: tzinfo,
    *,
    title: str | None = None,
    problem: str | None = None,
    **said: Any,
) -> Reading:
    """A detector file as a `Reading`."""
    when = {"start_time": iso(moment.at), **zone_said(moment.zone_assumed, zone)} if moment else {}
    metadata = without_blanks({"title": title, "shape": list(shape), "dtype": dtype.name, **when, **said})
    return Reading(kind, title, moment.at if moment else None, bounded(metadata), problem)


def drawn(values: np.ndarray[Any, Any], name: str, shape: tuple[int, ...], frame: int | None = None) -> Iterator[Preview]:
    """The preview of one frame, if there is something to see."""
    said = without_blanks({"name": name, "shape": list(shape), "frame": [frame] if frame is not None else None})
    if preview := drawing.image(values, said, [drawing.Axis("row"), drawing.Axis("column")]):
        yield preview

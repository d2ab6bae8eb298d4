"""Images of the mar345 image plate: a binary header, a text header, pixels packed after CCP4's PCK, which fabio's codec unpacks.

Law: the codec writes past its arrays for some damaged files, so it runs in a fork of its own, which leaves nothing but pixels behind.
Source of the layout: marXperts, "mar345 image plate scanner: file formats".
"""

from __future__ import annotations

import mmap
import os
import re
import signal
import struct
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from archiver.formats import detector
from archiver.formats.preview import Preview
from archiver.formats.reading import Reading, Source, Unreadable, text
from archiver.formats.times import parse

HEADER_BYTES = 4096
EDGE_MAX = 4_000  # the largest plate has 3450 pixels along an edge
UNPACK_LIMIT_S = 10.0
_PACKED = re.compile(rb"CCP4 packed image( V2)?, X: *(\d{1,6}), Y: *(\d{1,6})\s")
_BITS = ((0, 4, 5, 6, 7, 8, 16, 32), (0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 32))  # of one pixel in a block; PCK 1 and 2


def read(source: Source) -> Iterator[Reading | Preview]:
    """Metadata and preview of a mar345 file. Raises `Unreadable`."""
    with source.open() as file:
        raw = file.read(min(source.size_bytes, detector.PIXELS_MAX_BYTES))
    if len(raw) < HEADER_BYTES:
        raise Unreadable(f"The file is cut off within its header: it has {len(raw):,} bytes, the header alone has {HEADER_BYTES:,}.")
    order = "<" if raw[:4] == b"\xd2\x04\0\0" else ">"
    edge, high, _, _, pixels, length, height, wavelength, distance, phi, phi_end = struct.unpack(f"{order}11i", raw[4:48])
    dtype = np.dtype("u4")
    if not 0 < edge <= EDGE_MAX or not 0 < pixels <= EDGE_MAX**2 or pixels % edge or not 0 <= high <= pixels:
        raise Unreadable(f"Its header is damaged: it announces {pixels:,} pixels in lines of {edge:,}, of which {high:,} are saturated.")
    shape = detector.shape_checked([pixels // edge, edge], dtype)
    lines = raw[128:HEADER_BYTES].decode("latin-1").split("END OF HEADER")[0].splitlines()
    header = {found[1]: found[2].strip() for line in lines if (found := re.match(r"([A-Z][A-Z ]{2,14}?) {2,60}(.+)", line))}
    said: dict[str, Any] = {
        "wavelength": detector.quantity(wavelength / 1e6, "A"),
        "distance": detector.quantity(distance / 1e3, "mm"),
        "exposure": _exposure(header),
        "pixel_size": {"value": [length / 1e3, height / 1e3], "units": "mm"} if length > 0 and height > 0 else None,
        "phi": {"value": [phi / 1e3, phi_end / 1e3], "units": "deg"},
        "detector": text(f"mar345 {header.get('SCANNER', '')}"),
        "program": header.get("PROGRAM"),
        "header": detector.kept(header),
    }
    packed = _PACKED.search(raw, HEADER_BYTES)
    problem = None
    if not packed or (int(packed[2]), int(packed[3])) != (edge, pixels // edge):
        problem = "The file is cut off or damaged: its image does not begin after the header, or has another size."
    elif (there := _pixels_packed(raw, packed.end(), pixels, second=packed[1] is not None)) < pixels:
        problem = f"The file is cut off or damaged: its header announces {pixels:,} pixels, {there:,} are there."
    yield detector.reading("mar345", shape, dtype, parse(header.get("DATE"), source.zone), source.zone, **said, problem=problem)
    if packed and not problem:
        yield from detector.drawn(_pixels(raw, shape, high, order), "image", shape)


def _exposure(header: dict[str, str]) -> dict[str, Any] | None:
    found = re.match(r"([\d.]+)", header.get("TIME", ""))
    return detector.quantity(found[1], "s") if found else None


def _pixels_packed(raw: bytes, start: int, wanted: int, *, second: bool) -> int:
    """How many pixels stand in the packed image, by the heads of its blocks: the header does not say how long it is."""
    width, bits = (4, _BITS[1]) if second else (3, _BITS[0])
    place, end, count = start * 8, len(raw) * 8, 0
    while count < wanted and place + 2 * width <= end:
        head = int.from_bytes(raw[place >> 3 : (place >> 3) + 2], "little") >> (place & 7)
        pixels = 1 << (head & (1 << width) - 1)
        place += 2 * width + pixels * bits[head >> width & (1 << width) - 1]
        count += pixels if place <= end else 0
    return count


def _pixels(raw: bytes, shape: tuple[int, ...], high: int, order: str) -> np.ndarray[Any, Any]:
    from fabio.compression import decPCK  # noqa: PLC0415  fabio takes a second to import

    with mmap.mmap(-1, prod(shape) * 4) as shared:
        process = os.fork()
        if not process:
            try:
                signal.setitimer(signal.ITIMER_REAL, UNPACK_LIMIT_S)  # its default action ends the process
                values = np.asarray(decPCK(raw, shape[1], shape[0], high, byteorder=order)).astype("u4").reshape(shape)
                shared[:] = values.tobytes()
                os._exit(0)
            finally:
                os._exit(1)
        _, status = os.waitpid(process, 0)
        if status:
            raise Unreadable("Its packed image is damaged.")
        return np.frombuffer(shared[:], "u4").reshape(shape)

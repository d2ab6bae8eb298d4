"""TIFF and BigTIFF, those of detectors first of all: pages, pixels, what the tags say. marccd files are TIFF with a second header.

Tags and plain pixels are read here, because detectors use types that picture libraries refuse; packed pixels are Pillow's.
Source: Adobe, "TIFF, Revision 6.0"; for marccd, marUSA's header definition (mccd.h).
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from archiver.formats import detector, drawing
from archiver.formats.preview import Preview
from archiver.formats.reading import Reading, Source, Unreadable, cut_off, text
from archiver.formats.times import parse

PAGES_MAX = 10_000  # that are counted
TAGS_MAX = 500  # of one page
VALUE_MAX_BYTES = 2**20  # of one tag
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_CODES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_TEXTS = {270: "description", 271: "make", 272: "model", 305: "software", 315: "artist"}
_PACKINGS = {1: None, 5: "LZW", 7: "JPEG", 8: "deflate", 32773: "PackBits", 32946: "deflate", 34925: "LZMA", 50000: "Zstandard", 34933: "PNG"}
_KINDS = {1: "u", 2: "i", 3: "f"}


@dataclass(frozen=True)
class Page:
    """The tags of one image, and where the list of the next begins (0: nowhere)."""

    tags: dict[int, Any]
    following: int

    def one(self, tag: int, otherwise: int) -> int:
        value = self.tags.get(tag, (otherwise,))
        return int(value[0]) if isinstance(value, tuple) and value else otherwise

    def all(self, tag: int) -> tuple[int, ...]:
        value = self.tags.get(tag, ())
        return tuple(int(each) for each in value) if isinstance(value, tuple) else ()

    def text(self, tag: int) -> str | None:
        value = self.tags.get(tag)
        return text(value) if isinstance(value, bytes) else None


def _pages(file: BinaryIO) -> Iterator[Page]:
    head = file.read(16).ljust(16, b"\0")
    order = "<" if head[:2] == b"II" else ">"
    big = head[2:4] in (b"+\0", b"\0+")
    (place,) = struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)
    seen: set[int] = set()
    while place and place not in seen and len(seen) < PAGES_MAX:
        seen.add(place)
        page = _page(file, place, order, big=big)
        yield page
        place = page.following


def _page(file: BinaryIO, place: int, order: str, *, big: bool) -> Page:
    width, counter, offset = (20, "Q", "Q") if big else (12, "H", "I")
    (count,) = struct.unpack(order + counter, _take(file, place, 8 if big else 2))
    if count > TAGS_MAX:
        raise Unreadable(f"The file is damaged: one of its images announces {count:,} tags.")
    start = place + (8 if big else 2)
    listed = _take(file, start, count * width)
    tags: dict[int, Any] = {}
    for index in range(count):
        tag, kind = struct.unpack_from(order + "HH", listed, index * width)
        (length,) = struct.unpack_from(order + offset, listed, index * width + 4)
        size = length * _SIZES.get(kind, 0)
        if not 0 < size <= VALUE_MAX_BYTES:
            continue
        inline = index * width + (12 if big else 8)
        raw = listed[inline : inline + size]
        if size > (8 if big else 4):
            raw = _take(file, struct.unpack_from(order + offset, listed, inline)[0], size)
        if kind in (2, 7):
            tags[tag] = raw
        elif kind in _CODES:
            tags[tag] = struct.unpack(f"{order}{length}{_CODES[kind]}", raw)
    (following,) = struct.unpack(order + offset, _take(file, start + count * width, 8 if big else 4))
    return Page(tags, following)


def _take(file: BinaryIO, place: int, size: int) -> bytes:
    file.seek(min(place, os.fstat(file.fileno()).st_size))
    taken = file.read(size)
    if len(taken) < size:
        raise Unreadable("The file is cut off or damaged: a list of tags points beyond its end. It was probably copied before it was complete.")
    return taken


def read(source: Source) -> Iterator[Reading | Preview]:
    """Metadata and preview of a TIFF file. Raises `Unreadable`."""
    with source.open() as file:
        problem, first, count = None, None, 0
        try:
            for page in _pages(file):
                first, count = first or page, count + 1
        except Unreadable as error:
            if first is None:
                raise
            problem = f"{error} What stands before was read."
        if first is None:
            raise Unreadable("The file begins like TIFF, but has no image.")
        little = _order(file)
        dtype, shape = _pixels_of(first, little)
        ends = [start + size for start, size in zip(first.all(273) or first.all(324), first.all(279) or first.all(325), strict=False)]
        if ends and max(ends) > source.size_bytes:
            problem = cut_off(max(ends), source.size_bytes)
        packing, needed = first.one(259, 1), prod(shape) * dtype.itemsize
        there = sum(first.all(279) or first.all(325))
        if packing == 1 and first.one(258, 1) >= 8 and there < needed:
            problem = f"The file is damaged: its image has {needed:,} bytes, of which it announces {there:,}."
        file.seek(1024)
        mar = _marccd(file.read(3072), little)
        description = first.text(270) or ""
        moment = parse((mar or {}).pop("date", None) or first.text(306) or _date_in(description), source.zone)
        said = mar if mar is not None else detector.pilatus(description)
        texts = {name: first.text(tag) for tag, name in _TEXTS.items()}
        yield detector.reading(
            "tiff" if mar is None else "marccd",
            (count, *shape) if count > 1 else shape,
            dtype,
            moment,
            source.zone,
            packed_by=_PACKINGS.get(packing, f"method {packing}"),
            **{**texts, **said},
            problem=problem,
        )
        if not problem:
            yield from _drawn(file, first, dtype, shape, packed=packing != 1)


def _order(file: BinaryIO) -> str:
    file.seek(0)
    return "<" if file.read(2) == b"II" else ">"


def _pixels_of(page: Page, order: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
    bits, kind, samples = page.one(258, 1), page.one(339, 1), page.one(277, 1)
    edges = [page.one(257, 0), page.one(256, 0), *([samples] if samples != 1 else [])]
    if bits in (1, 4):
        return np.dtype("u1"), detector.shape_checked(edges, np.dtype("u1"))
    if bits not in (8, 16, 32, 64) or _KINDS.get(kind, "u") + str(bits) == "f8":
        raise Unreadable(f"Its pixels have {bits} bits of kind {kind}, which is not known here.")
    dtype = np.dtype(f"{order}{_KINDS.get(kind, 'u')}{bits // 8}")
    return dtype, detector.shape_checked(edges, dtype)


def _date_in(description: str) -> str | None:
    """Pilatus writes the date as a line of its own: `# 2011/Oct/23 14:28:20.123`."""
    found = re.search(r"#\s*(\d{4}[-/:]\w{2,3}[-/:]\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?)", description)
    return found[1] if found else None


def _marccd(header: bytes, order: str) -> dict[str, Any] | None:
    """What the header of marccd says; None if there is none. Offsets below 1024 of the file, all numbers are integers of small units."""
    if len(header) < 3072 or header[4:7] != b"MMX":
        return None

    def number(place: int) -> int:
        return int(struct.unpack_from(order + "i", header, place)[0])

    date = re.fullmatch(rb"(\d\d)(\d\d)(\d\d)(\d\d)(\d{4})\.(\d\d)\0*", header[1344:1376].rstrip(b"\0 "))  # MMDDhhmmYYYY.ss
    month, day, hour, minute, year, second = (part.decode("ascii") for part in date.groups()) if date else ("",) * 6
    beam = [number(644) / 1e3, number(648) / 1e3]
    pixel = [number(772) / 1e3, number(776) / 1e3]
    return {
        "date": f"{year}-{month}-{day}T{hour}:{minute}:{second}" if date else None,
        "title": text(header[1024:1152]),
        "exposure": detector.quantity(number(656) / 1e3, "s"),
        "wavelength": detector.quantity(number(908) / 1e5, "A"),
        "distance": detector.quantity(number(640) / 1e3, "mm"),
        "beam_center": {"value": beam, "units": "pixels"} if any(beam) else None,
        "pixel_size": {"value": pixel, "units": "um"} if any(pixel) else None,
        "comments": text(header[1440:1952]),
    }


def _drawn(file: BinaryIO, page: Page, dtype: np.dtype[Any], shape: tuple[int, ...], *, packed: bool) -> Iterator[Preview]:
    needed = prod(shape) * dtype.itemsize
    if needed > detector.PIXELS_MAX_BYTES:
        raise Unreadable(f"One image has {needed:,} bytes; no preview is drawn of more than {detector.PIXELS_MAX_BYTES:,}.")
    starts, sizes = page.all(273), page.all(279)
    if not packed and starts and sum(sizes) == needed and len(starts) == len(sizes) and len(shape) == 2:
        pieces = []
        for start, size in zip(starts, sizes, strict=True):
            file.seek(start)
            pieces.append(file.read(size))
        yield from detector.drawn(np.frombuffer(b"".join(pieces), dtype, prod(shape)).reshape(shape), "image", shape)
        return
    file.seek(0)
    try:
        picture = Image.open(file, formats=("TIFF",))
        picture.load()
    except UnidentifiedImageError:
        raise Unreadable("Its pixels are of a type of which no preview is drawn.") from None
    if len(picture.getbands()) > 1 or picture.mode == "P":
        yield drawing.photo(picture)
    else:
        yield from detector.drawn(np.asarray(picture), "image", shape)

"""CBF: a CIF text with one binary section, as detectors of DECTRIS write it. Pixels are unpacked by fabio's codec.

Why the header is read here: fabio's reader goes on for ever where the binary section has no beginning, and only logs a wrong checksum.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from archiver.formats import detector
from archiver.formats.preview import Preview
from archiver.formats.reading import Reading, Source, Unreadable, cut_off, text
from archiver.formats.times import Moment, parse

HEADER_MAX_BYTES = 2**18
_SECTION, _START = b"--CIF-BINARY-FORMAT-SECTION--", b"\x0c\x1a\x04\xd5"
_TYPES = {f"{sign} {bits}-bit integer": f"<{code}{bits // 8}" for sign, code in (("signed", "i"), ("unsigned", "u")) for bits in (8, 16, 32, 64)} | {
    f"signed {bits}-bit real IEEE": f"<f{bits // 8}" for bits in (32, 64)
}


def read(source: Source) -> Iterator[Reading | Preview]:
    """Metadata and preview of a CBF file. Raises `Unreadable`."""
    with source.open() as file:
        head = file.read(HEADER_MAX_BYTES)
        section = head.find(_SECTION)
        start = head.find(_START, section)
        if section < 0 or start < 0:
            raise Unreadable("The file is cut off or damaged: its binary section does not begin where it should.")
        cif, binary = head[:section].decode("latin-1"), _pairs(head[section:start].decode("latin-1"))
        announced = binary.get("x-binary-size", "")
        if not re.fullmatch(r"\d{1,15}", announced):
            raise Unreadable("Its binary section does not say how long it is.")
        start += len(_START)
        size = int(announced)
        dtype = np.dtype(_TYPES.get(binary.get("x-binary-element-type", ""), "<i4"))
        edges = [binary.get(f"x-binary-size-{name}-dimension", "") for name in ("third", "second", "fastest")]
        shape = detector.shape_checked([int(edge) for edge in edges if re.fullmatch(r"[1-9]\d{0,9}", edge)], dtype)
        problem, packed = None, b""
        if start + size > source.size_bytes:
            problem = cut_off(start + size, source.size_bytes)
        elif size <= detector.PIXELS_MAX_BYTES:
            file.seek(start)
            packed = file.read(size)
            told = binary.get("content-md5", "")
            if told and told != base64.b64encode(hashlib.md5(packed, usedforsecurity=False).digest()).decode("ascii"):
                problem = "Its image is damaged: its checksum is not the one in the header."
        yield detector.reading("cbf", shape, dtype, _moment(cif, source), source.zone, **_said(cif, binary), problem=problem)
        if packed and not problem and len(shape) == 2:
            yield from detector.drawn(_pixels(packed, shape, dtype, binary.get("conversions", "")), "image", shape)


def _pairs(section: str) -> dict[str, str]:
    """MIME headers, some continued on the next line: `conversions="x-CBF_BYTE_OFFSET"`."""
    return {
        found[1].lower(): found[2].strip(' "\r;')
        for found in re.finditer(r"^[ \t]{0,20}([A-Za-z][\w-]{0,60})[ \t]{0,20}[:=][ \t]{0,20}([^\r\n]*)", section, re.MULTILINE)
    }


def _moment(cif: str, source: Source) -> Moment | None:
    for line in re.findall(r"^#[ \t]{0,20}(?:Date:?[ \t]{0,20})?([^\r\n]{8,60})", cif, re.MULTILINE):
        if moment := parse(line.strip(), source.zone):
            return moment
    return None


def _said(cif: str, binary: dict[str, str]) -> dict[str, Any]:
    comments = re.findall(r"^# {1,9}([A-Za-z_]\w{0,60})[:= \t]{1,9}([^\r\n]*)", cif, re.MULTILINE)
    block = re.search(r"^data_(\S+)", cif, re.MULTILINE)
    return {
        **detector.pilatus(cif),
        "block": text(block[1]) if block else None,
        "packed_by": text(binary.get("conversions", "")),
        "header": detector.kept(dict(comments)),
    }


def _pixels(packed: bytes, shape: tuple[int, ...], dtype: np.dtype[Any], conversions: str) -> np.ndarray[Any, Any]:
    count = prod(shape)
    if count * 8 > detector.PIXELS_MAX_BYTES:
        raise Unreadable(f"Its image has {count:,} pixels; no preview is drawn of so many.")
    if not conversions:
        return np.frombuffer(packed, dtype, count).reshape(shape)
    if "byte_offset" not in conversions.lower():
        raise Unreadable(f"Its image is packed by {text(conversions)[:40]}, of which no preview is drawn.")
    from fabio.compression import decByteOffset  # noqa: PLC0415  fabio takes a second to import

    values = decByteOffset(packed, size=count, dtype=dtype.name)
    if len(values) != count:
        raise Unreadable(f"Its header announces {count:,} pixels, its image has {len(values):,}.")
    return np.asarray(values).reshape(shape)

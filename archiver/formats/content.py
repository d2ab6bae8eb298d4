"""What a file is, by its content, never by its ending. Pure Python, a few small reads, safe in any process."""

from __future__ import annotations

import os
import re
from pathlib import Path
from stat import S_ISREG
from typing import IO, Literal

from archiver.formats import dialect

Content = Literal["hdf5", "netcdf3", "hdf4", "miniseed", "edf", "cbf", "tiff", "mar345", "png", "jpeg", "spec", "mca", "table"]

HEAD_BYTES = 65_536  # of the file that are looked at; no header that we know begins later
_HDF5 = b"\x89HDF\r\n\x1a\n"
_MAGIC: tuple[tuple[bytes, Content], ...] = (
    (_HDF5, "hdf5"),
    (b"CDF\x01", "netcdf3"),
    (b"CDF\x02", "netcdf3"),
    (b"CDF\x05", "netcdf3"),
    (b"\x0e\x03\x13\x01", "hdf4"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),  # BigTIFF
    (b"MM\0+", "tiff"),
    (b"###CBF", "cbf"),
    (b"<<PMCA SPECTRUM>>", "mca"),
)
_PATTERNS: tuple[tuple[re.Pattern[bytes], Content], ...] = (
    # The tests of libmseed's MS2_ISVALIDHEADER and MS3_ISVALIDHEADER: sequence number, quality, hour, minute, second.
    (re.compile(rb"[0-9 \0]{6}[DRQM][ \0].{16}[\0-\x17][\0-;][\0-<]", re.DOTALL), "miniseed"),
    (re.compile(rb"MS\x03.{9}[\0-\x17][\0-;][\0-<]", re.DOTALL), "miniseed"),
    (re.compile(rb"(?:\xd2\x04\0\0|\0\0\x04\xd2).{60,188}mar research", re.DOTALL), "mar345"),
    (re.compile(rb"\s{0,2}\{\s[^{}]*\b(?:Dim_1|EDF_DataBlockID)\s*=", re.IGNORECASE), "edf"),
    (re.compile(rb"(?:#[^\n]*\n|\s)*data_.*--CIF-BINARY-FORMAT-SECTION--", re.DOTALL), "cbf"),
    (re.compile(rb"\s*#[A-Z]\w* .*^#[LN] ?", re.DOTALL | re.MULTILINE), "spec"),
    (re.compile(rb"\s*\$[A-Z_]+:\s.*^\$DATA:", re.DOTALL | re.MULTILINE), "mca"),
)
_SCAN = re.compile(rb"^#S\s+\d+", re.MULTILINE)


def content_of(path: Path) -> Content | None:
    """The format that the bytes announce; None for anything else. Raises OSError if the file cannot be read."""
    # Non-blocking, because opening a FIFO waits for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123  a descriptor has no Path
        about = os.fstat(descriptor)
        return content_in(file, about.st_size) if S_ISREG(about.st_mode) else None


def content_in(file: IO[bytes], size_bytes: int) -> Content | None:
    """The same of what can be read from a file that stands at its begin."""
    head = file.read(HEAD_BYTES)
    if found := _announced(head):
        return found
    if head[257:262] == b"ustar":
        return None  # a tar whose first member is HDF5 has the signature at 512, where a user block would end
    place = 512  # HDF5 looks at 512, 1024, 2048 … for the end of a user block
    while place + 8 <= size_bytes:
        file.seek(place)
        if file.read(8) == _HDF5:
            return "hdf5"
        place *= 2
    return "table" if dialect.sniff(head, whole=len(head) == size_bytes) else None


def _announced(head: bytes) -> Content | None:
    for magic, content in _MAGIC:
        if head.startswith(magic):
            return content
    for pattern, content in _PATTERNS:
        if pattern.match(head) and (content != "spec" or _SCAN.search(head)):
            return content
    return None

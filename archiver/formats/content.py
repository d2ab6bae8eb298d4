"""What a file is, by its content, never by its ending. Pure Python, a few small reads, safe in any process."""

from __future__ import annotations

import os
from pathlib import Path
from stat import S_ISREG
from typing import Literal

Content = Literal["hdf5", "netcdf3", "hdf4"]

_HDF5 = b"\x89HDF\r\n\x1a\n"
_MAGIC: tuple[tuple[bytes, Content], ...] = (
    (_HDF5, "hdf5"),
    (b"CDF\x01", "netcdf3"),
    (b"CDF\x02", "netcdf3"),
    (b"CDF\x05", "netcdf3"),
    (b"\x0e\x03\x13\x01", "hdf4"),
)


def content_of(path: Path) -> Content | None:
    """The format that the bytes announce; None for anything else. Raises OSError if the file cannot be read."""
    # Non-blocking, because opening a FIFO waits for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123  a descriptor has no Path
        about = os.fstat(descriptor)
        if not S_ISREG(about.st_mode):
            return None
        head = file.read(512)
        for magic, content in _MAGIC:
            if head.startswith(magic):
                return content
        if head[257:262] == b"ustar":
            return None  # a tar whose first member is HDF5 has the signature at 512, where a user block would end
        place = 512  # HDF5 looks at 512, 1024, 2048 … for the end of a user block
        while place + 8 <= about.st_size:
            file.seek(place)
            if file.read(8) == _HDF5:
                return "hdf5"
            place *= 2
    return None

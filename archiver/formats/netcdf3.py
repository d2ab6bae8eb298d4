"""The header of a netCDF-3 file (classic, 64-bit offset, 64-bit data), read in Python.

Why not by the netCDF library: it opens a file that was cut off without a word, and its C code meets hostile bytes. The format
is three lists (NetCDF Classic Format Specification, Unidata). Law: a count is believed only if the file is long enough for it.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from math import prod
from typing import Any, BinaryIO

import numpy as np

from archiver.formats.reading import Unreadable, text

_TYPES = {1: "i1", 2: "S1", 3: ">i2", 4: ">i4", 5: ">f4", 6: ">f8", 7: "u1", 8: ">u2", 9: ">u4", 10: ">i8", 11: ">u8"}
_DIMENSION, _VARIABLE, _ATTRIBUTE = 10, 11, 12
_ATTRIBUTE_MAX_BYTES = 2**16  # longer ones are skipped: a history of megabytes is no metadata
_DAMAGED = "The file begins like netCDF-3, but its header is damaged."


@dataclass(frozen=True)
class Variable:
    """A variable; `shape` counts the records that are there."""

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    attributes: dict[str, Any]
    begin: int
    step: int | None  # bytes from one record to the next, None without records


@dataclass(frozen=True)
class Header:
    """All that a netCDF-3 file says about itself. `expected_bytes`: how long it must be for all its data."""

    dims: dict[str, int]
    unlimited: tuple[str, ...]
    attributes: dict[str, Any]
    variables: list[Variable]
    expected_bytes: int


class _Cursor:
    """Reads the header; each step is checked against the file's size."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self.file, self.size_bytes = file, size_bytes
        magic = self.take(4)
        if magic[:3] != b"CDF" or magic[3] not in (1, 2, 5):
            raise Unreadable(_DAMAGED)
        self.wide_counts, self.wide_offsets = magic[3] == 5, magic[3] != 1

    def take(self, count: int) -> bytes:
        taken = self.file.read(count) if count <= self.size_bytes else b""
        if len(taken) < count:
            raise Unreadable("The file is cut off within its netCDF-3 header. It was probably copied before it was complete.")
        return taken

    def number(self, wide: bool) -> int:
        return int.from_bytes(self.take(8 if wide else 4), "big")

    def count(self) -> int:
        return self.number(self.wide_counts)

    def name(self) -> str:
        length = self.count()
        name = text(self.take(length))
        self.take(-length % 4)
        return name

    def list_length(self, tag: int) -> int:
        found, length = self.number(wide=False), self.count()
        if found not in (0, tag) or (found == 0 and length) or length * 8 > self.size_bytes:
            raise Unreadable(_DAMAGED)
        return length

    def dtype(self) -> np.dtype[Any]:
        code = self.number(wide=False)
        if code not in _TYPES:
            raise Unreadable(_DAMAGED)
        return np.dtype(_TYPES[code])

    def attributes(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _ in range(self.list_length(_ATTRIBUTE)):
            name, dtype = self.name(), self.dtype()
            length_bytes = self.count() * dtype.itemsize
            if length_bytes > self.size_bytes:
                raise Unreadable(_DAMAGED)
            if length_bytes > _ATTRIBUTE_MAX_BYTES:
                self.file.seek(length_bytes + -length_bytes % 4, 1)
                continue
            raw = self.take(length_bytes)
            self.take(-length_bytes % 4)
            found[name] = text(raw) if dtype.kind == "S" else np.frombuffer(raw, dtype)
        return found


def header(file: BinaryIO, size_bytes: int) -> Header:
    """The header of the netCDF-3 file open at its beginning. Raises `Unreadable`."""
    cursor = _Cursor(file, size_bytes)
    records = cursor.count()
    streaming = records == (2**64 - 1 if cursor.wide_counts else 2**32 - 1)
    dims = [(cursor.name(), cursor.count()) for _ in range(cursor.list_length(_DIMENSION))]
    attributes = cursor.attributes()
    drafts = []
    for _ in range(cursor.list_length(_VARIABLE)):
        name = cursor.name()
        rank = cursor.count()
        if rank > 1024:  # NC_MAX_VAR_DIMS
            raise Unreadable(_DAMAGED)
        ids = [cursor.count() for _ in range(rank)]
        if any(index >= len(dims) for index in ids):
            raise Unreadable(_DAMAGED)
        own = cursor.attributes()
        dtype = cursor.dtype()
        cursor.count()  # vsize: redundant by the specification, and wrong above 4 GiB
        drafts.append((name, ids, own, dtype, cursor.number(cursor.wide_offsets)))

    recorded = [draft for draft in drafts if draft[1] and dims[draft[1][0]][1] == 0]
    sizes = [prod(dims[index][1] for index in ids[1:]) * dtype.itemsize for _, ids, _, dtype, _ in recorded]
    # The one exception to padding: a single record variable is packed (specification, note on padding).
    step = sizes[0] if len(sizes) == 1 else sum(size + -size % 4 for size in sizes)
    if streaming:
        begin = min((draft[4] for draft in recorded), default=size_bytes)
        records = max(0, size_bytes - begin) // step if step else 0
    variables, expected = [], 0
    for name, ids, own, dtype, begin in drafts:
        by_record = bool(ids) and dims[ids[0]][1] == 0
        shape = tuple(records if dims[index][1] == 0 else dims[index][1] for index in ids)
        one = prod(shape[1:] if by_record else shape) * dtype.itemsize
        if not by_record or records:
            expected = max(expected, begin + one + (step * (records - 1) if by_record else 0))
        names = tuple(dims[index][0] for index in ids)
        variables.append(Variable(name, names, shape, dtype, own, begin, step if by_record else None))
    sized = {name: length or records for name, length in dims}
    return Header(sized, tuple(name for name, length in dims if length == 0), attributes, variables, expected)


def element(file: BinaryIO, variable: Variable, index: int) -> float | None:
    """Element `index` of a one-dimensional variable; None if it is not there."""
    place = variable.begin + index * (variable.step if variable.step is not None else variable.dtype.itemsize)
    try:
        file.seek(place)
        raw = file.read(variable.dtype.itemsize)
        return float(np.frombuffer(raw, variable.dtype)[0]) if len(raw) == variable.dtype.itemsize else None
    except (ValueError, OverflowError, OSError, struct.error):
        return None


def part(file: BinaryIO, variable: Variable, select: tuple[Any, ...]) -> np.ndarray[Any, Any]:
    """The values that `select` (a slice or index per dimension) takes of a variable. Raises ValueError where they are not there."""
    inner = [variable.dtype.itemsize]
    for edge in reversed(variable.shape[1:]):
        inner.insert(0, inner[0] * edge)
    strides = tuple([variable.step, *inner[1:]] if variable.step is not None else inner)
    # A frame of a long series lies far into the file: only what is between its first and last byte is mapped.
    first, shape, left = variable.begin, list(variable.shape), list(select)
    for place, chosen in enumerate(select):
        start, stop = (chosen.start or 0, chosen.stop or shape[place]) if isinstance(chosen, slice) else (chosen, chosen + 1)
        first += start * strides[place]
        shape[place], left[place] = stop - start, slice(None, None, chosen.step) if isinstance(chosen, slice) else 0
    length = sum((edge - 1) * stride for edge, stride in zip(shape, strides, strict=True)) + variable.dtype.itemsize
    begin = first // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
    with mmap.mmap(file.fileno(), first - begin + length, access=mmap.ACCESS_READ, offset=begin) as mapped:
        whole: np.ndarray[Any, Any] = np.ndarray(tuple(shape), variable.dtype, mapped, first - begin, strides)
        taken = np.array(whole[tuple(left)])
        del whole  # or the map could not be closed
    return taken.astype(variable.dtype.newbyteorder("="))

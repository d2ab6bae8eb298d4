"""netCDF: title, dimensions, variables and time coverage, in one shape for netCDF-3 and netCDF-4.

netCDF-4 is HDF5 and is read as such (see `hdf5` for its law); netCDF-3 by `netcdf3`. Times follow CF: a count since an epoch in
a calendar. Only a calendar that is ours gives an acquisition time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from math import isfinite, prod
from typing import Any

import h5py
import numpy as np

from archiver.formats import netcdf3
from archiver.formats.arrays import Array, preview
from archiver.formats.hdf5 import Document
from archiver.formats.preview import Preview
from archiver.formats.reading import Reading, Source, Unreadable, bounded, cut_off, plain, text, without_blanks
from archiver.formats.times import from_count, iso, parse, zone_said

VARIABLES_MAX = 300
FILL = 9e36  # 9.97e36 is netCDF's own fill value for floats
_START, _END = ("time_coverage_start", "start_time", "start_date"), ("time_coverage_end", "end_time", "end_date")
_PURE_DIMENSION = "This is a netCDF dimension but not a netCDF variable"  # what the library writes into NAME
_RESERVED = ("_NCProperties", "_Netcdf4Coordinates", "_Netcdf4Dimid", "_nc3_strict", "CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST")


@dataclass(frozen=True)
class _Variable:
    """A variable of either kind; `element(i)` reads one number of it, `array()` is what there is to draw."""

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    attributes: dict[str, Any]
    element: Callable[[int], float | None]
    array: Callable[[], Array | None]


def _read_classic(source: Source) -> Iterator[Reading | Preview]:
    size_bytes = source.size_bytes
    with source.open() as file:
        header = netcdf3.header(file, size_bytes)

        def reader(variable: netcdf3.Variable) -> Callable[[int], float | None]:
            return lambda index: netcdf3.element(file, variable, index)

        variables = []
        for each in header.variables:
            dtype = "string" if each.dtype.kind == "S" else each.dtype.name
            own = _jsoned(each.attributes)
            variables.append(_Variable(each.name, each.dims, each.shape, dtype, own, reader(each), _drawn_classic(source, each, own)))
        found = _describe("netcdf3", _jsoned(header.attributes), header.dims, list(header.unlimited), variables, source.zone)
        if len(variables) > VARIABLES_MAX:
            found.metadata["cut"] = [f"variables: {VARIABLES_MAX} of {len(variables)} shown"]
        whole = header.expected_bytes <= size_bytes
        yield replace(found, metadata=bounded(found.metadata), problem=None if whole else cut_off(header.expected_bytes, size_bytes))
        if seen := _draw(variables):
            yield seen


def _drawn_classic(source: Source, variable: netcdf3.Variable, own: dict[str, Any]) -> Callable[[], Array | None]:
    def read(select: tuple[Any, ...]) -> np.ndarray[Any, Any]:
        with source.open() as file:
            return netcdf3.part(file, variable, select)

    units = own.get("units")
    return lambda: Array(variable.name, variable.shape, variable.dtype, read, units if isinstance(units, str) else None, _calendar(own))


def read_hdf5(document: Document) -> tuple[Reading, Callable[[], Preview | None]] | None:
    """The open HDF5 file as netCDF-4, or None if it is none: the library's mark, or dimension scales."""
    datasets = [(path, found) for path, found in document.walk(document.file) if isinstance(found, h5py.Dataset)]
    scales = [(path, found) for path, found in datasets if document.attribute(found, "CLASS") == "DIMENSION_SCALE"]
    if not scales and document.attribute(document.file, "_NCProperties") is None:
        return None
    dims: dict[str, int] = {}
    unlimited: list[str] = []
    pure: set[str] = set()
    for path, found in scales:
        dims[text(path)] = int(found.shape[0]) if found.shape else 0
        if found.maxshape and found.maxshape[0] is None:
            unlimited.append(text(path))
        if str(document.attribute(found, "NAME") or "").startswith(_PURE_DIMENSION):
            pure.add(path)
    variables = []
    for path, found in datasets:
        if path not in pure:
            described = document.shape_of(found)
            shape = tuple(described.get("shape", ()))
            name = text(path).replace("_nc4_non_coord_", "")  # the library's prefix for a variable that only shares a dimension's name
            own = document.attributes(found)
            dims_of = _dims(document, path, found, dims)
            variables.append(_Variable(name, dims_of, shape, described["dtype"], own, _reader(document, found), _drawn(document, found, name)))
    if len(variables) > VARIABLES_MAX:
        document.note(f"variables: {VARIABLES_MAX} of {len(variables)} shown")
    found = _describe("netcdf4", document.attributes(document.file), dims, unlimited, variables, document.zone)
    return found, lambda: _draw(variables)


def _drawn(document: Document, dataset: Any, name: str) -> Callable[[], Array | None]:
    return lambda: document.drawable(dataset, name)


def _draw(variables: list[_Variable]) -> Preview | None:
    """The variable with the most dimensions, then values, that is no coordinate, along its coordinates."""
    coordinates = {variable.name: variable for variable in variables if variable.dims == (variable.name,)}
    data = [variable for variable in variables if variable.name not in coordinates and "bounds" not in variable.name]
    for variable in sorted(data, key=lambda found: (-sum(edge > 1 for edge in found.shape), -prod(found.shape))):
        array = variable.array()
        if array and array.is_drawable():
            along = [coordinates[name].array() if name in coordinates else None for name in variable.dims]
            if seen := preview(_unpacking(array, variable.attributes), along):
                return seen
    return None


def _unpacking(array: Array, said: dict[str, Any]) -> Array:
    """The array as CF means it: fill values missing, scale and offset applied."""
    fills = [value for key in ("_FillValue", "missing_value") if isinstance(value := said.get(key), int | float)]
    scale, offset = (value if isinstance(value := said.get(key), int | float) else None for key in ("scale_factor", "add_offset"))

    def read(select: tuple[Any, ...]) -> np.ndarray[Any, Any]:
        packed = np.asarray(array.read(select))
        good = ~np.isin(packed, fills) if fills else np.ones(packed.shape, bool)
        if packed.dtype.kind == "f":
            good &= np.abs(packed) < FILL
        elif scale is None and offset is None and good.all():
            return packed
        return np.where(good, packed * (1 if scale is None else scale) + (offset or 0), np.nan)

    return replace(array, read=read)


def _calendar(said: dict[str, Any]) -> str:
    return str(said.get("calendar") or "standard").lower()


def _reader(document: Document, dataset: Any) -> Callable[[int], float | None]:
    def element(index: int) -> float | None:
        value = plain(document.array(dataset, index))
        return value if isinstance(value, int | float) else None

    return element


def _dims(document: Document, path: str, dataset: Any, dims: dict[str, int]) -> tuple[str, ...]:
    named = document.raw_attribute(dataset, "DIMENSION_LIST")
    if named is None:
        return (text(path),) if text(path) in dims else ()
    try:
        return tuple(text(str(document.file[axis[0]].name).strip("/")) if len(axis) else "" for axis in named)
    except (KeyError, OSError, RuntimeError, TypeError, ValueError):
        return ()


def _jsoned(attributes: dict[str, Any]) -> dict[str, Any]:
    return without_blanks({name: plain(value) for name, value in attributes.items()})


def _describe(kind: str, attributes: dict[str, Any], dims: dict[str, int], unlimited: list[str], variables: list[_Variable], zone: tzinfo) -> Reading:
    attributes = {name: value for name, value in attributes.items() if name not in _RESERVED}
    start, start_text, source, assumed = _coverage(attributes, variables, zone, last=False)
    _, end_text, *_ = _coverage(attributes, variables, zone, last=True)
    title = attributes.get("title") or attributes.get("Title")
    metadata = without_blanks(
        {
            "title": title,
            "institution": attributes.get("institution"),
            "conventions": attributes.get("Conventions"),
            "dimensions": dims,
            "unlimited": unlimited,
            "variables": [_listed(variable) for variable in variables[:VARIABLES_MAX]],
            "time_coverage": without_blanks({"start": start_text, "end": end_text, "from": source}),
            "attributes": {k: v for k, v in attributes.items() if k not in ("title", "institution", "Conventions", "Title")},
            **zone_said(assumed, zone),
        }
    )
    return Reading(kind, title if isinstance(title, str) else None, start, metadata)


def _listed(variable: _Variable) -> dict[str, Any]:
    said = {key: variable.attributes.get(key) for key in ("units", "long_name", "standard_name", "calendar")}
    return {"name": variable.name, "dtype": variable.dtype, "shape": list(variable.shape), **without_blanks({"dims": list(variable.dims), **said})}


def _coverage(
    attributes: dict[str, Any], variables: list[_Variable], zone: tzinfo, *, last: bool
) -> tuple[datetime | None, str | None, str | None, bool]:
    """First (or last) time that the file covers: (aware UTC or None, text, where from, zone assumed)."""
    for name in _END if last else _START:
        if moment := parse(attributes.get(name), zone):
            return moment.at, iso(moment.at), name, moment.zone_assumed
    for variable in sorted(filter(_is_time, variables), key=lambda found: "/" in found.name):
        ends = [value for value in (_first_valid(variable, from_end=False), _first_valid(variable, from_end=True)) if value is not None]
        if not ends:
            continue
        calendar = _calendar(variable.attributes)
        decoded = from_count(max(ends) if last else min(ends), str(variable.attributes["units"]), calendar)
        if decoded:
            return decoded[0], decoded[1], f"variable {variable.name}" + ("" if decoded[0] else f", calendar {calendar}"), False
    return None, None, None, False


def _first_valid(variable: _Variable, *, from_end: bool) -> float | None:
    """The first (last) value; a preallocated series begins or ends in fill values, so a little further in is looked at too."""
    length = variable.shape[0] if variable.shape else 1
    for step in range(min(length, 50)):
        value = _unpacked(variable, length - 1 - step if from_end else step)
        if value is not None:
            return value
    return None


def _unpacked(variable: _Variable, index: int) -> float | None:
    value = variable.element(index)
    if (
        value is None
        or not isfinite(value)
        or value in (variable.attributes.get("_FillValue"), variable.attributes.get("missing_value"))
        or abs(value) > FILL
    ):
        return None
    scale, offset = (variable.attributes.get(key) for key in ("scale_factor", "add_offset"))
    return value * (scale if isinstance(scale, int | float) else 1) + (offset if isinstance(offset, int | float) else 0)


def _is_time(variable: _Variable) -> bool:
    """A time coordinate: one-dimensional or scalar, `<unit> since <epoch>`, and called or marked as time."""
    said = variable.attributes
    marked = said.get("standard_name") == "time" or said.get("axis") == "T" or variable.name.rsplit("/", 1)[-1].lower() in ("time", "t", "times")
    return marked and len(variable.shape) <= 1 and variable.dtype != "string" and " since " in str(said.get("units", ""))


def read(source: Source) -> Iterator[Reading | Preview]:
    """Metadata and preview of a netCDF-3 file; damage that the header's reader did not foresee is still only damage."""
    try:
        yield from _read_classic(source)
    except (ValueError, OverflowError) as error:
        raise Unreadable(f"The file begins like netCDF-3, but its header makes no sense ({error}).") from None

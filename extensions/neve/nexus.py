"""NeXus/HDF5 → xarray: the default plot of a file, with axes and units.

The NeXus rules, newest first: `default` attributes lead to an NXdata group whose `signal`, `axes` and `…_indices` attributes name its parts; older
files mark the signal field with `signal=1` and its axes with `axes="x:y"` or `axis=1`. (manual.nexusformat.org, "NXdata".) An image stack is
just a signal with three dimensions.

Errors stand beside what they belong to, as `NAME_errors` (`errors`: of the signal, in older files): those of a signal are data, those of an axis
coordinates.

`layout` says what is where without reading arrays, so that `read` and chunked reading share it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from neve.errors import UnreadableData

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Variable:
    """One array: where it is in the file and what it will be in xarray."""

    h5_path: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: Any
    chunks: tuple[int, ...] | None
    attrs: Mapping[str, Any]


@dataclass
class Layout:
    """An NXdata group as an xarray Dataset that is still to be read."""

    attrs: dict[str, Any]
    data: dict[str, Variable] = field(default_factory=dict)
    coords: dict[str, Variable] = field(default_factory=dict)


def open_h5(handle: Path | BinaryIO) -> Any:
    """The file opened for reading, with the filters that detectors use."""
    import h5py  # noqa: PLC0415 - heavy, and only for this format
    import hdf5plugin  # noqa: F401, PLC0415 - registers the filters

    # No locks: the mount is read-only, and nobody writes what has been received.
    return h5py.File(handle, "r", locking=False) if isinstance(handle, Path) else h5py.File(handle, "r")


def read(handle: Path | BinaryIO) -> xr.Dataset:
    """The file's default NXdata, in memory."""
    import xarray as xr  # noqa: PLC0415

    with open_h5(handle) as file:
        plan = layout(file)

        def arrays(variables: Mapping[str, Variable]) -> dict[str, Any]:
            return {name: (item.dims, file[item.h5_path][()], dict(item.attrs)) for name, item in variables.items()}

        return xr.Dataset(arrays(plan.data), arrays(plan.coords), plan.attrs)


def layout(file: Any) -> Layout:
    """Find the default NXdata of an open file. UnreadableData if there is none, or if its arrays are in another file."""
    broken: list[str] = []
    for group in _candidates(file):
        signal = _signal(group)
        if signal is None:
            missing = _text(group.attrs.get("signal"))
            if missing:
                broken.append(f"{group.name}/{missing}")
            continue
        return _layout(group, signal)
    if broken:
        raise UnreadableData(
            f"The file's data are in another file that could not be followed from here (missing: {', '.join(broken)}).",
            "Open it with h5py at its path, beside the file it refers to.",
        )
    raise UnreadableData("The file has no group of class NXdata with numbers in it.", "See what it holds: `with cat[name].h5() as f:`.")


def _candidates(file: Any) -> Iterator[Any]:
    """NXdata groups, the one that `default` attributes lead to first, then in the order of the file."""
    chosen = _follow_default(file)
    if chosen is not None:
        yield chosen
    for group in _walk(file):
        if _class(group) == "NXdata" and (chosen is None or group != chosen):
            yield group


def _follow_default(group: Any) -> Any:
    for _ in range(10):  # root → entry → (subentry →) data; a loop of links must not hang
        if _class(group) == "NXdata":
            return group
        name = _text(group.attrs.get("default"))
        if name is None:
            entries = [item for item in _children(group) if _is_group(item) and _class(item) == "NXentry" and "default" in item.attrs]
            if not entries:
                return None
            group = entries[0]
            continue
        after = group.get(name)
        if not _is_group(after):
            return None
        group = after
    return None


def _walk(group: Any, depth: int = 0) -> Iterator[Any]:
    for item in _children(group):
        if _is_group(item):
            yield item
            if depth < 8:  # deeper than any NeXus definition; ends loops of links
                yield from _walk(item, depth + 1)


def _children(group: Any) -> Iterator[Any]:
    for name in group:
        item = group.get(name)  # None for a link that leads nowhere
        if item is not None:
            yield item


def _is_group(item: Any) -> bool:
    return item is not None and hasattr(item, "keys")


def _class(group: Any) -> str | None:
    return _text(group.attrs.get("NX_class"))


def _is_numeric(item: Any) -> bool:
    return (
        item is not None
        and not _is_group(item)
        and getattr(item, "dtype", None) is not None
        and item.dtype.kind in "iufcb"
        and item.shape is not None
    )


def _signal(group: Any) -> str | None:
    named = _text(group.attrs.get("signal"))
    if named is not None:
        return named if _is_numeric(group.get(named)) else None
    fields: list[str] = [name for name in group if _is_numeric(group.get(name))]
    for name in fields:
        if _text(group[name].attrs.get("signal")) == "1":
            return name
    # Neither way is used: what NeXus calls its data, else the largest array.
    if "data" in fields:
        return "data"
    return max(fields, key=lambda name: int(group[name].size)) if fields else None


def _layout(group: Any, signal: str) -> Layout:
    array = group[signal]
    names = _axes(group, array)
    dims: list[str] = []
    for number in range(array.ndim):
        name = names[number] if number < len(names) else "."
        axis = group.get(name) if name != "." else None
        fits = axis is not None and _is_numeric(axis) and axis.ndim == 1 and axis.shape[0] == array.shape[number]
        # A name that cannot be a coordinate of its own dimension (two-dimensional positions, bin edges) does not name it either.
        usable = name not in {".", signal} and name not in dims and (fits or axis is None)
        dims.append(name if usable else f"dim_{number}")

    plan = Layout(attrs={"signal": signal, "nexus_path": group.name, **_entry_attrs(group)})
    plan.data[signal] = _variable(array, tuple(dims))
    beside = _texts(group.attrs.get("auxiliary_signals"))
    for name in dict.fromkeys([*beside, *(f"{one}_errors" for one in (signal, *beside)), "errors"]):
        other = group.get(name)
        if _is_numeric(other) and other.shape == array.shape and name not in dims:
            plan.data[name] = _variable(other, tuple(dims))
    for name in dict.fromkeys([*names, *(key.removesuffix("_indices") for key in group.attrs if key.endswith("_indices"))]):
        axis = group.get(name) if name not in {".", signal} else None
        if axis is None or not _is_numeric(axis) or name in plan.data:
            continue
        over = _spans(group, name, names, axis.ndim)
        if over and all(0 <= number < array.ndim and axis.shape[place] == array.shape[number] for place, number in enumerate(over)):
            plan.coords[name] = _variable(axis, tuple(dims[number] for number in over))
            errors = group.get(f"{name}_errors")
            if _is_numeric(errors) and errors.shape == axis.shape:
                plan.coords[f"{name}_errors"] = _variable(errors, plan.coords[name].dims)
    return plan


def _axes(group: Any, array: Any) -> list[str]:
    """Axis names per dimension of the signal; "." where there is none."""
    named = _texts(group.attrs.get("axes"))
    if not named:
        old = _text(array.attrs.get("axes"))
        named = [part for part in re.split(r"[:,\s]+", old.strip("[] ")) if part] if old else []
    if not named:
        numbered: dict[int, str] = {}
        for name in group:
            item = group.get(name)
            number = _text(item.attrs.get("axis")) if _is_numeric(item) else None
            if number is not None and number.isdigit():
                numbered.setdefault(int(number) - 1, name)
        named = [numbered.get(number, ".") for number in range(array.ndim)] if numbered else []
    return named


def _spans(group: Any, name: str, names: list[str], ndim: int) -> list[int]:
    """Which dimensions of the signal the axis `name` goes along."""
    given = group.attrs.get(f"{name}_indices")
    if given is not None:
        flat = [int(number) for number in (given.flat if hasattr(given, "flat") else [given])]
        return flat if len(flat) == ndim else []
    return [names.index(name)] if name in names and ndim == 1 else []


def _variable(array: Any, dims: tuple[str, ...]) -> Variable:
    attrs = {name: text for name in ("units", "long_name") if (text := _text(array.attrs.get(name)))}
    return Variable(array.name, dims, tuple(array.shape), array.dtype, array.chunks, attrs)


def _entry_attrs(group: Any) -> dict[str, str]:
    """Title and start of the entry that the group belongs to."""
    found: dict[str, str] = {}
    title = _text(group.attrs.get("title"))
    above = group
    while above.name != "/":
        above = above.parent
        if _class(above) == "NXentry":
            for name in ("title", "start_time"):
                item = above.get(name)
                if item is not None and not _is_group(item) and item.size == 1:
                    value = _text(item[()])
                    if value:
                        found[name] = value
            break
    return found | ({"title": title} if title else {})


def _text(value: Any) -> str | None:
    """An attribute or scalar as text: HDF5 gives bytes, str, numbers, or arrays of one of them. Other shapes have no text."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value) if isinstance(value, str | int | float) else None


def _texts(value: Any) -> list[str]:
    if hasattr(value, "tolist"):
        value = value.tolist()
    items = value if isinstance(value, list) else [value]
    return [text for item in items if (text := _text(item)) is not None]

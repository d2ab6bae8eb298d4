"""Datasets whose arrays are read chunk by chunk (dask).

Law: a chunk's file is found and opened like a whole read's, on the mount or in a store, and stays open for a moment, so that the next chunk is one
read and no question. What fails is closed, found and opened anew: a dataset that leaves hot meanwhile is read from where it went, and a failure
that stays is a NeveError. An array can be pickled: the dataset's name and the archiver's address go with it, neither token nor open file.
"""

from __future__ import annotations

import atexit
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from neve import netcdf, nexus, records
from neve.client import Client
from neve.errors import UnreadableData
from neve.sources import Handle

if TYPE_CHECKING:
    import xarray as xr

    from neve.readers import DatasetReader

CHUNK_BYTES = 32 * 2**20
"""A chunk's size is about this, in whole chunks of the file."""
KEPT = 4
"""Files open at once; each may hold what a window keeps (neve.window)."""
KEPT_S = 10.0
"""How long a file stays open after its last chunk was read."""
_ARRAYS = frozenset({"nexus", "hdf5", "netcdf4", "netcdf3"})

T = TypeVar("T")


@dataclass(frozen=True)
class Arrays:
    """One file of a dataset, for whoever reads its arrays."""

    reader: DatasetReader
    file: str | None

    def use(self, read: Callable[[Any, str], T], *, quiet: bool = True) -> T:
        """`read(opened, format)`, with h5py's File or, of netCDF, xarray's Dataset; again, on the file found anew, where one that was open failed."""
        return _kept.of(self.reader.client(), self.reader.name, self.file).use(self, read, quiet)


@dataclass
class _Open:
    """A file that may be open. One reads it at a time, as HDF5 has it anyway."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    used_at: float = 0.0
    opened: tuple[Any, str] | None = None
    stack: ExitStack = field(default_factory=ExitStack)
    over: bool = False  # others took its place: whoever had it in hand by then closes it

    def use(self, arrays: Arrays, read: Callable[[Any, str], T], quiet: bool) -> T:
        with self.lock:
            try:
                if self.opened is not None:
                    try:
                        return read(*self.opened)
                    except Exception:  # noqa: BLE001 - whatever it was, the file is found anew, and what fails then is told
                        self.close()
                return self._anew(arrays, read, quiet)
            finally:
                self.used_at = time.monotonic()
                if self.over:
                    self.close()

    def _anew(self, arrays: Arrays, read: Callable[[Any, str], T], quiet: bool) -> T:
        def use(handle: Handle, file: records.File, _source: str) -> tuple[T, ExitStack]:
            with ExitStack() as inner:
                opened = inner.enter_context(_opened(handle, str(file.format))), str(file.format)
                result = read(*opened)
                self.opened = opened
                return result, inner.pop_all()

        with ExitStack() as outer:
            result, inner = arrays.reader.from_anywhere(arrays.file, use, quiet=quiet, keep=outer)
            outer.push(inner)  # closed first
            self.stack = outer.pop_all()
        return result

    def close(self) -> None:
        self.opened = None
        self.stack.close()


class _Kept:
    """The files that are open, the one asked for last at the end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: dict[tuple[int, Client, str, str | None], _Open] = {}
        self._looking = False

    def of(self, *key: *tuple[Client, str, str | None]) -> _Open:
        here = (os.getpid(), *key)  # after a fork, what is open is the parent's
        with self._lock:
            found = self._files.pop(here) if here in self._files else _Open(used_at=time.monotonic())
            self._files[here] = found
            over = [self._files.pop(old) for old in list(self._files)[:-KEPT]]
            if not self._looking:
                self._looking = True
                self._look_later()
        _close(over)
        return found

    def close_idle(self, idle_s: float = KEPT_S) -> None:
        """Close what nobody has used for so long."""
        end = time.monotonic() - idle_s
        with self._lock:
            over = [self._files.pop(key) for key, file in list(self._files.items()) if file.used_at <= end and not file.lock.locked()]
        _close(over)

    def _look_later(self) -> None:
        timer = threading.Timer(KEPT_S / 2, self._look)
        timer.daemon = True
        timer.start()

    def _look(self) -> None:
        self.close_idle()
        with self._lock:
            self._looking = bool(self._files)
            if self._looking:
                self._look_later()


def _close(files: list[_Open]) -> None:
    for file in files:
        with file.lock:
            file.over = True
            file.close()


_kept = _Kept()
atexit.register(_kept.close_idle, 0)  # HDF5 would close them when Python's files are gone already, and crash


def _opened(handle: Handle, kind: str) -> Any:
    if kind not in _ARRAYS:
        raise UnreadableData(f"it is read whole ({kind}), not chunk by chunk.", "Use .read().")
    return netcdf.opened(handle, 3 if kind == "netcdf3" else 4) if kind.startswith("netcdf") else nexus.open_h5(handle)


@dataclass(frozen=True)
class LazyArray:
    """What dask needs to know of an array, and how to read a part of it. `name`: a netCDF variable's, or a path in HDF5."""

    arrays: Arrays
    name: str
    shape: tuple[int, ...]
    dtype: Any

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: Any) -> Any:
        return self.arrays.use(lambda opened, kind: opened[self.name][index].to_numpy() if kind.startswith("netcdf") else opened[self.name][index])


def lazy(arrays: Arrays) -> xr.Dataset:
    """The file's Dataset with its coordinates read and its arrays still to be."""
    return arrays.use(lambda opened, kind: _lazy_netcdf(arrays, opened) if kind.startswith("netcdf") else _lazy_nexus(arrays, opened), quiet=False)


def _lazy_nexus(arrays: Arrays, file: Any) -> xr.Dataset:
    import xarray as xr  # noqa: PLC0415 - heavy

    plan = nexus.layout(file)
    coords = {name: (item.dims, file[item.h5_path][()], dict(item.attrs)) for name, item in plan.coords.items()}
    data = {
        name: (
            item.dims,
            file[item.h5_path][()] if not item.shape else _dask(LazyArray(arrays, item.h5_path, item.shape, item.dtype), item.chunks),
            dict(item.attrs),
        )
        for name, item in plan.data.items()
    }
    return xr.Dataset(data, coords, plan.attrs)


def _lazy_netcdf(arrays: Arrays, dataset: xr.Dataset) -> xr.Dataset:
    small = dataset.drop_vars([name for name, item in dataset.data_vars.items() if item.ndim]).load()
    for name, item in dataset.data_vars.items():
        if item.ndim:
            sizes = item.encoding.get("chunksizes")
            array = _dask(LazyArray(arrays, str(name), item.shape, item.dtype), None if sizes is None else tuple(sizes))
            small[name] = (item.dims, array, item.attrs)
    return small


def _dask(array: LazyArray, stored: Sequence[int] | None) -> Any:
    import dask.array as da  # noqa: PLC0415 - heavy

    return da.from_array(array, chunks=_chunks(array.shape, array.dtype.itemsize, stored), name=False, asarray=False, meta=_empty(array))  # type: ignore[no-untyped-call]


def _empty(array: LazyArray) -> Any:
    import numpy as np  # noqa: PLC0415

    return np.empty((0,) * array.ndim, dtype=array.dtype)


def _chunks(shape: tuple[int, ...], item_bytes: int, stored: Sequence[int] | None) -> tuple[int, ...]:
    """Whole chunks of the file, widened from the last dimension to the first until they hold about CHUNK_BYTES."""
    sizes = [min(max(1, size), length) or 1 for size, length in zip(stored or [1] * len(shape), shape, strict=True)]
    for axis in reversed(range(len(shape))):
        room = CHUNK_BYTES // max(1, math.prod(sizes) * item_bytes)
        if room > 1:
            sizes[axis] = max(1, min(shape[axis], sizes[axis] * room))
    return tuple(sizes)

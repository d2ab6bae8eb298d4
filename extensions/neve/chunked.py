"""Datasets whose arrays are read chunk by chunk (dask).

Law: a chunk keeps nothing open. Each one is found and opened when it is computed, on the mount or in a store, like a whole read: so a dataset
that leaves hot meanwhile is read from where it went, and a failure is a NeveError.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from neve import netcdf, nexus, records
from neve.sources import Handle

if TYPE_CHECKING:
    import xarray as xr

CHUNK_BYTES = 32 * 2**20
"""A chunk's size is about this, in whole chunks of the file."""

T = TypeVar("T")
Use = Callable[[Handle, records.File, str], T]
Anywhere = Callable[[Use[Any]], Any]


class LazyArray:
    """What dask needs to know of an array, and how to read a part of it."""

    def __init__(self, shape: tuple[int, ...], dtype: Any, part: Callable[[Any], Any]) -> None:
        self.shape = shape
        self.dtype = dtype
        self.ndim = len(shape)
        self._part = part

    def __getitem__(self, index: Any) -> Any:
        return self._part(index)


def lazy(anywhere: Anywhere) -> xr.Dataset:
    """`anywhere(use)` calls use(handle, file, source) on the file, wherever it is."""

    def plan(handle: Handle, file: records.File, _source: str) -> xr.Dataset:
        if file.format in {"netcdf3", "netcdf4"}:
            return _lazy_netcdf(anywhere, handle, 3 if file.format == "netcdf3" else 4)
        return _lazy_nexus(anywhere, handle)

    dataset: xr.Dataset = anywhere(plan)
    return dataset


def _lazy_nexus(anywhere: Anywhere, handle: Handle) -> xr.Dataset:
    import xarray as xr  # noqa: PLC0415 - heavy

    with nexus.open_h5(handle) as file:
        plan = nexus.layout(file)
        coords = {name: (item.dims, file[item.h5_path][()], dict(item.attrs)) for name, item in plan.coords.items()}

    def part_of(h5_path: str) -> Callable[[Any], Any]:
        def use(handle: Handle, index: Any) -> Any:
            with nexus.open_h5(handle) as file:
                return file[h5_path][index]

        return lambda index: anywhere(lambda handle, _file, _source: use(handle, index))

    data = {
        name: (item.dims, _dask(LazyArray(item.shape, item.dtype, part_of(item.h5_path)), item.chunks), dict(item.attrs))
        for name, item in plan.data.items()
    }
    return xr.Dataset(data, coords, plan.attrs)


def _lazy_netcdf(anywhere: Anywhere, handle: Handle, version: int) -> xr.Dataset:
    def part_of(name: str) -> Callable[[Any], Any]:
        def use(handle: Handle, index: Any) -> Any:
            with netcdf.opened(handle, version) as dataset:
                return dataset[name][index].to_numpy()

        return lambda index: anywhere(lambda handle, _file, _source: use(handle, index))

    with netcdf.opened(handle, version) as dataset:
        small = dataset.drop_vars(list(dataset.data_vars)).load()
        for name, item in dataset.data_vars.items():
            sizes = item.encoding.get("chunksizes")
            array = _dask(LazyArray(item.shape, item.dtype, part_of(str(name))), None if sizes is None else tuple(sizes))
            small[name] = (item.dims, array, item.attrs)
        return small


def _dask(array: LazyArray, stored: Sequence[int] | None) -> Any:
    import dask.array as da  # noqa: PLC0415 - heavy

    if array.ndim == 0:
        return array[()]
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

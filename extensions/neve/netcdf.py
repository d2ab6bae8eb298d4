"""netCDF → xarray, version 3 and 4, from a path or from bytes of a store; times and missing values decoded as CF says (cfconventions.org)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import xarray as xr


@contextmanager
def opened(handle: Path | BinaryIO, version: int) -> Iterator[xr.Dataset]:
    """The file as a Dataset whose arrays are read when touched, until the block ends. `version`: 3 or 4."""
    import xarray as xr  # noqa: PLC0415 - heavy, and only for this format

    if version == 4:
        # As an open file also on the mount: HDF5 then takes no lock, which read-only mounts may refuse.
        with handle.open("rb") if isinstance(handle, Path) else handle as file, xr.open_dataset(file, engine="h5netcdf") as dataset:
            yield dataset
        return
    if isinstance(handle, Path):
        with xr.open_dataset(handle, engine="netcdf4") as dataset:
            yield dataset
        return
    import netCDF4  # noqa: PLC0415

    # The C library of netCDF-3 reads paths or memory, no Python files. xarray closes what it is given.
    raw = netCDF4.Dataset("in-memory.nc", memory=handle.read())
    with xr.open_dataset(xr.backends.NetCDF4DataStore(raw)) as dataset:  # type: ignore[no-untyped-call]
        yield dataset


def read(handle: Path | BinaryIO, version: int) -> xr.Dataset:
    """The whole file, in memory."""
    with opened(handle, version) as dataset:
        return dataset.load()

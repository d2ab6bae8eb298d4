"""Facilities' own files through the readers: what the archiver tells of them and what is read agree. They lie beside the repository, not in it."""

import os
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from neve import netcdf, nexus, scans, seismic, tables
from neve.window import Window

from archiver.formats import extract

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the facilities' files are not at {DATA}")


@pytest.mark.parametrize("name", ["csv/airports.csv", "csv/seattle-temps.csv", "csv/seattle-weather.csv", "spec/EXAFS_Ge.dat"])
def test_tables(name):
    said = extract(DATA / name, name).metadata
    frame = tables.read(DATA / name, said)
    assert frame.shape == (said["rows"], said["column_count"])
    assert list(frame.columns) == [column["name"] for column in said["columns"]]
    for column in said["columns"]:
        values = frame[column["name"]]
        if column["dtype"] in {"integer", "float"}:
            assert (values.min(), values.max()) == (column["min"], column["max"])
        if column["dtype"] == "time" and pd.api.types.is_datetime64_any_dtype(values):
            assert values.min() == pd.Timestamp(column["min"])
        assert values.isna().sum() == column.get("missing", 0)


def test_a_spectrum():
    frame = scans.read_mca(DATA / "spec/Steel.spe")
    said = extract(DATA / "spec/Steel.spe", "Steel.spe").metadata
    assert (len(frame), frame["counts"].sum()) == (said["channels"], said["counts"])


@pytest.mark.parametrize(
    "name", ["IU.ANMO.00.BHZ.mseed", "two_channels.mseed", "int32_Steim2_littleEndian.mseed", "corrupt_one_extra_byte_at_end.mseed"]
)
def test_seismograms(name):
    said = extract(DATA / "seismic" / name, name).metadata
    traces = seismic.read(DATA / "seismic" / name)
    assert {trace.id for trace in traces} == {channel["channel"] for channel in said["channels"]}
    assert sum(len(trace.samples) for trace in traces) == sum(channel["samples"] for channel in said["channels"])
    assert min(trace.times[0] for trace in traces).astype("datetime64[s]") == np.datetime64(said["start_time"].rstrip("Z"), "s")


def test_the_others_are_read_as_before():
    assert nexus.read(DATA / "nexus/APS/AgBehenate_228.hdf5").sizes == {"dim_0": 195, "dim_1": 487}
    assert netcdf.read(DATA / "netcdf/tiny.nc", 3).sizes == {"dim_0": 5}


@pytest.mark.filterwarnings("ignore:variable .* has non-conforming")  # what xarray says of eraint_uvz.nc, rightly
@pytest.mark.parametrize(
    ("name", "read"), [("nexus/SLS/Sample_Stack_2021-03-16_128.hdf5", nexus.read), ("netcdf/eraint_uvz.nc", lambda file: netcdf.read(file, 3))]
)
def test_through_a_window_as_from_their_path(name, read):
    source = os.open(DATA / name, os.O_RDONLY)

    def fetch(start, end):
        answer = Future()
        answer.set_result(os.pread(source, end - start, start))
        return answer

    try:
        there = read(Window(fetch, (DATA / name).stat().st_size))
    finally:
        os.close(source)
    assert there.identical(read(DATA / name))

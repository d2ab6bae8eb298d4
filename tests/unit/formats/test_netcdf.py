"""netCDF of each kind, written by the netCDF library and read by ours."""

import json
import os
from datetime import UTC, datetime

import netCDF4
import numpy as np
import pytest

from archiver.formats import extract
from archiver.model import MetadataState

CLASSIC = ("NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA")
KINDS = (*CLASSIC, "NETCDF4", "NETCDF4_CLASSIC")


def series(path, kind, *, units="hours since 2024-02-03 04:00:00 UTC", calendar="standard", times=(1.5, 2.5, 3.5), unlimited=False):
    with netCDF4.Dataset(path, "w", format=kind) as file:
        file.setncatts({"title": "Neige à Grenoble", "institution": "IGE", "Conventions": "CF-1.8", "history": "made"})
        file.createDimension("time", None if unlimited else len(times))
        file.createDimension("level", 2)
        time = file.createVariable("time", "f8", ("time",))
        time.setncatts({"units": units, "calendar": calendar, "standard_name": "time"})
        time[:] = np.array(times)
        temperature = file.createVariable("temperature", "f4", ("time", "level"))
        temperature.setncatts({"units": "K", "long_name": "Air temperature"})
        temperature[:] = np.full((len(times), 2), 270, "f4")
        if kind != "NETCDF4":
            flag = file.createVariable("flag", "i1", ("time",))
            flag[:] = np.zeros(len(times), "i1")
    return path


def read(path):
    found = extract(path, path.name)
    json.dumps(found.metadata, allow_nan=False)
    return found


@pytest.mark.parametrize("unlimited", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(tmp_path, kind, unlimited):
    found = read(series(tmp_path / "a.nc", kind, unlimited=unlimited))
    assert (found.format, found.state, found.error) == ("netcdf3" if kind in CLASSIC else "netcdf4", MetadataState.OK, None)
    assert found.title == "Neige à Grenoble"
    assert found.acquired_at == datetime(2024, 2, 3, 5, 30, tzinfo=UTC)
    said = found.metadata
    assert said["dimensions"] == {"time": 3, "level": 2}
    assert said.get("unlimited", []) == (["time"] if unlimited else [])
    assert (said["institution"], said["conventions"], said["attributes"]) == ("IGE", "CF-1.8", {"history": "made"})
    assert said["time_coverage"] == {"start": "2024-02-03T05:30:00Z", "end": "2024-02-03T07:30:00Z", "from": "variable time"}
    assert {
        "name": "temperature",
        "dtype": "float32",
        "shape": [3, 2],
        "dims": ["time", "level"],
        "units": "K",
        "long_name": "Air temperature",
    } in said["variables"]


@pytest.mark.parametrize("kind", KINDS)
def test_cut_off(tmp_path, kind):
    path = series(tmp_path / "a.nc", kind)
    whole = path.stat().st_size
    os.truncate(path, whole - 9)
    found = read(path)
    assert found.state is MetadataState.FAILED
    assert f" bytes, {whole - 9:,} are there" in found.error
    if kind in CLASSIC:  # the header is whole, so it is shown
        assert found.title == "Neige à Grenoble"
    os.truncate(path, 20)
    assert read(path).state is MetadataState.FAILED


@pytest.mark.parametrize(
    ("calendar", "start", "text"),
    [
        ("proleptic_gregorian", datetime(2024, 2, 29, tzinfo=UTC), "2024-02-29T00:00:00Z"),
        ("gregorian", datetime(2024, 2, 29, tzinfo=UTC), "2024-02-29T00:00:00Z"),
        ("noleap", None, "2024-03-01T00:00:00"),
        ("360_day", None, "2024-02-30T00:00:00"),
        ("of the moon", None, None),
    ],
)
def test_calendars(tmp_path, calendar, start, text):
    count = 59  # the last of February, if there is one
    found = read(series(tmp_path / "a.nc", "NETCDF4", units="days since 2024-01-01", calendar=calendar, times=(count, count + 1)))
    assert found.state is MetadataState.OK
    assert found.acquired_at == start
    assert found.metadata.get("time_coverage", {}).get("start") == text


@pytest.mark.parametrize(
    ("units", "times", "start"),
    [
        ("seconds since 1970-01-01", (1706933106, 1706933107), datetime(2024, 2, 3, 4, 5, 6, tzinfo=UTC)),
        ("hours since 2024-02-03 04:00:00 +01:00", (1, 2), datetime(2024, 2, 3, 4, tzinfo=UTC)),
        ("hours since 2024-02-03 04:00:00", (9.969209968386869e36, 2, 1, 9.969209968386869e36), datetime(2024, 2, 3, 5, tzinfo=UTC)),
        ("hours since 2024-02-03 04:00:00", (np.nan, 1), datetime(2024, 2, 3, 5, tzinfo=UTC)),
        ("days since the beginning", (1, 2), None),
        ("days since 0001-01-01", (1, 2), None),
        ("days since 2024-01-01", (1e12, 1e13), None),
        ("K", (1, 2), None),
    ],
)
def test_counts_of_time(tmp_path, units, times, start):
    found = read(series(tmp_path / "a.nc", "NETCDF3_CLASSIC", units=units, times=times))
    assert (found.state, found.acquired_at) == (MetadataState.OK, start)


def test_global_attributes_win_and_a_missing_zone_is_said(tmp_path):
    path = series(tmp_path / "a.nc", "NETCDF4")
    with netCDF4.Dataset(path, "a") as file:
        file.time_coverage_start = "2024-02-01T00:00:00"
    found = read(path)
    assert found.acquired_at == datetime(2024, 2, 1, tzinfo=UTC)
    assert found.metadata["time_zone_assumed"] is True
    assert found.metadata["time_coverage"]["from"] == "time_coverage_start"


def test_groups_text_and_a_variable_called_like_a_dimension(tmp_path):
    path = tmp_path / "a.nc"
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("x", 4)
        file.createDimension("y", 3)
        file.createVariable("x", "f4", ("y", "x"))[:] = 0
        inner = file.createGroup("inner")
        inner.createVariable("name", str, ("x",))[:] = np.array(["a", "b", "c", "d"], object)
    found = read(path)
    assert (found.format, found.state) == ("netcdf4", MetadataState.OK)
    listed = {variable["name"]: variable for variable in found.metadata["variables"]}
    assert listed["inner/name"]["dtype"] == "string"
    assert listed["inner/name"]["dims"] == ["x"]
    assert listed["x"]["shape"] == [3, 4]

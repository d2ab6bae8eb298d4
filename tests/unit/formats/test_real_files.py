"""Metadata of facilities' own files, by value. They lie beside the repository and are no part of it."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from archiver.formats import Extracted, extract
from archiver.model import MetadataState

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the facilities' files are not at {DATA}")


def read(name: str) -> Extracted:
    found = extract(DATA / name, name)
    json.dumps(found.metadata, allow_nan=False)
    return found


def test_areadetector_file_of_aps():
    found = read("nexus/APS/AgBehenate_228.hdf5")
    assert (found.format, found.state, found.error, found.title) == ("nexus", MetadataState.OK, None, "Glassy carbon C6 fixed")
    # its start_time is an empty text, so the time at which the file was made stands in
    assert found.acquired_at == datetime(2011, 10, 23, 20, 28, 20, tzinfo=UTC)
    assert found.metadata == {
        "creator": "areaDetector NDFileNexus plugin v0.2",
        "file_time": "2011-10-23T14:28:20-06:00",
        "NeXus_version": "4.2.0",
        "entry": "entry",
        "entry_count": 1,
        "entry_chosen": "the only one",
        "title": "Glassy carbon C6 fixed",
        "definition": "NXsas",
        "proposal": "GUP26110",
        "users": ["Dale Schaefer"],
        "instrument": "USAXS",
        "source": "Advanced Photon Source Undulator A, sector 15ID-D",
        "probe": "x-ray",
        "sample": "Glassy carbon C6 fixed",
        "energy": {"value": 16.900143290280887, "units": "keV"},
        "wavelength": {"value": 0.7336283596559928, "units": "A"},
        "data": [{"path": "/entry/data", "signal": {"name": "data", "shape": [195, 487], "dtype": "int32"}}],
        "acquired_from": "file_time",
    }


def test_file_of_dls_whose_data_lie_in_another_file():
    found = read("nexus/DLS/p45-1168.nxs")
    assert (found.format, found.state, found.title, found.acquired_at) == ("nexus", MetadataState.OK, None, None)
    assert found.metadata["sample"] == "Unnamed Sample"
    axes = [{"name": "stagey_value_set", "shape": [5], "dtype": "float64"}, {"name": "stagex_value_set", "shape": [5], "dtype": "float64"}]
    assert found.metadata["data"] == [
        {"path": "/entry/mic", "signal": {"name": "data", "in_other_file": "p45-1168-mic.hdf5:/entry/instrument/detector/data"}, "axes": axes},
        {
            "path": "/entry/mic_total",
            "signal": {"name": "total", "in_other_file": "p45-1168-mic.hdf5:/entry/instrument/NDAttributes/StatsTotal"},
            "axes": axes,
        },
    ]


def test_file_of_dials_whose_fields_stand_in_a_subentry():
    found = read("nexus/DLS/thaumatin_integrated.nxs")
    assert (found.format, found.state, found.title) == ("nexus", MetadataState.OK, "FROM_DIALS")
    assert found.acquired_at == datetime(2020, 1, 28, 16, 3, 25, tzinfo=UTC)
    assert found.metadata == {
        "file_time": "2020-01-28T16:03:25",
        "entry": "entry",
        "entry_count": 1,
        "entry_chosen": "the only one",
        "title": "FROM_DIALS",
        "definition": "NXmx",
        "instrument": "Unknown",
        "source": "Unknown",
        "sample": "FROM_DIALS",
        "wavelength": {"value": 0.9762499999999994, "units": "angstrom"},
        "acquired_from": "file_time",
        "time_zone_assumed": "UTC",
    }


@pytest.mark.parametrize(
    ("name", "acquired_at", "end", "energy", "shape"),
    [
        ("Sample_Image_2021-03-16_095.hdf5", (14, 6, 5), "2021-03-16T14:06:48Z", {"value": 350.0, "units": "eV"}, [50, 50]),
        (
            "Sample_Stack_2021-03-16_128.hdf5",
            (15, 50, 18),
            "2021-03-16T15:52:58Z",
            {"min": 280.0, "max": 320.0, "count": 4, "units": "eV"},
            [4, 50, 50],
        ),
    ],
)
def test_files_of_sls_behind_a_user_block(name, acquired_at, end, energy, shape):
    found = read(f"nexus/SLS/{name}")
    assert (found.format, found.state, found.title) == ("nexus", MetadataState.OK, "Sample")
    assert found.acquired_at == datetime(2021, 3, 16, *acquired_at, tzinfo=UTC)
    said = found.metadata
    assert (said["definition"], said["entry"], said["source"], said["end_time"]) == ("NXstxm", "entry1", "Swiss Light Source", end)
    assert said["acquired_from"] == "start_time"
    assert said["energy"] == energy
    [data] = said["data"]
    assert data["path"] == "/entry1/counter0"
    assert data["signal"] == {"name": "data", "shape": shape, "dtype": "float64"}
    assert [axis["name"] for axis in data["axes"]] == ["energy", "sample_y", "sample_x"][-len(shape) :]
    assert data["axes"][-1] == {"name": "sample_x", "shape": [50], "dtype": "float64", "units": "μm"}


def test_file_of_the_nexus_code_with_two_entries_and_no_default():
    found = read("nexus/code/NXtest.h5")
    assert (found.format, found.state) == ("nexus", MetadataState.OK)
    assert found.acquired_at == datetime(2009, 2, 20, 9, 5, 48, tzinfo=UTC)
    said = found.metadata
    assert (said["entry"], said["entry_count"], said["entry_chosen"]) == ("entry", 2, "the first with data; the file names none")
    assert said["other_entries"] == [{"entry": "link"}]
    assert said["data"][0]["fields"][2] == {"name": "r8_data", "shape": [4, 4], "dtype": "float64"}


def test_protein_structure_in_nexus():
    found = read("nexus/nxpdb/4n8z.h5")
    assert (found.format, found.state, found.title, found.acquired_at) == ("nexus", MetadataState.OK, None, None)
    assert found.metadata == {"entry": "entry", "entry_count": 1, "entry_chosen": "the only one"}


def test_hdf4_is_named_and_not_read():
    assert read("nexus/code/dmc01.hdf") == Extracted("hdf4", MetadataState.NONE)


def test_netcdf_64_bit_offset():
    found = read("netcdf/eraint_uvz.nc")
    assert (found.format, found.state, found.title, found.acquired_at) == ("netcdf3", MetadataState.OK, None, None)
    said = found.metadata
    assert said["dimensions"] == {"longitude": 480, "latitude": 241, "level": 3, "month": 2}
    assert said["conventions"] == "CF-1.0"
    assert said["attributes"] == {"Info": "Monthly ERA-Interim data. Downloaded and edited by fabien.maussion@uibk.ac.at"}
    assert said["variables"][3] == {
        "name": "z",
        "dtype": "int16",
        "shape": [2, 3, 241, 480],
        "dims": ["month", "level", "latitude", "longitude"],
        "units": "m**2 s**-2",
        "long_name": "Geopotential",
        "standard_name": "geopotential",
    }
    assert "time_coverage" not in said  # its `month` has no units, so it is no time


def test_netcdf_classic():
    found = read("netcdf/tiny.nc")
    assert (found.format, found.state) == ("netcdf3", MetadataState.OK)
    assert found.metadata == {"dimensions": {"dim_0": 5}, "variables": [{"name": "tiny", "dtype": "int32", "shape": [5], "dims": ["dim_0"]}]}


def test_other_formats_are_none_of_these():
    others = [path for path in DATA.rglob("*") if path.is_file() and path.suffix in (".mseed", ".csv", ".dat", ".spe", ".mda", ".xml", ".md")]
    assert len(others) > 8
    assert [path.name for path in others if extract(path, path.name) != Extracted(None, MetadataState.NONE)] == []

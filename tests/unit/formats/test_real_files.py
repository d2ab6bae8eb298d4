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
        "program": "NeXus areaDetector",
        "detector_distance": {"value": 513.8},
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
        "program": "dials.export_nxmx",
        "detector": "SENSOR_PAD",
        "exposure": {"min": 0.067, "max": 0.067, "count": 540, "units": "s"},
        "instrument": "Unknown",
        "source": "Unknown",
        "sample": "FROM_DIALS",
        "wavelength": {"value": 0.9762499999999994, "units": "angstrom"},
        "acquired_from": "file_time",
        "time_zone_assumed": True,
        "time_zone": "UTC",
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
    others = [path for path in DATA.rglob("*") if path.is_file() and path.suffix in (".mda", ".xml", ".md")]
    assert len(others) > 2
    assert [path.name for path in others if extract(path, path.name) != Extracted(None, MetadataState.NONE)] == []


def test_miniseed():
    found = read("seismic/IU.ANMO.00.BHZ.mseed")
    assert (found.format, found.state) == ("miniseed", MetadataState.OK)
    assert found.acquired_at == datetime(2010, 2, 27, 6, 29, 59, 819538, tzinfo=UTC)
    assert found.metadata == {
        "version": 2,
        "start_time": "2010-02-27T06:29:59.819538Z",
        "end_time": "2010-02-27T06:31:00.169538Z",
        "channel_count": 1,
        "channels": [
            {
                "channel": "IU.ANMO.00.BHZ",
                "start": "2010-02-27T06:29:59.819538Z",
                "end": "2010-02-27T06:31:00.169538Z",
                "rate_hz": 20.0,
                "samples": 1208,
                "records": 4,
                "encoding": "STEIM-2 integer compression",
            }
        ],
    }
    [series] = found.preview.plot["series"]
    assert (found.preview.plot["kind"], series["count"], series["y"][:2]) == ("waveform", 1208, [-47086, -47145])
    found = read("seismic/two_channels.mseed")
    assert [(channel["channel"], channel["samples"]) for channel in found.metadata["channels"]] == [("BW.UH3..EHE", 386), ("BW.UH3..EHZ", 386)]
    found = read("seismic/int32_Steim2_littleEndian.mseed")
    assert (found.metadata["channels"][0]["channel"], found.preview.plot["series"][0]["y"][:3]) == ("XX.TEST..BHE", [1, 2, 3])


def test_damaged_miniseed():
    found = read("seismic/corrupt_one_extra_byte_at_end.mseed")
    assert (found.format, found.state, found.metadata["channels"][0]["samples"]) == ("miniseed", MetadataState.FAILED, 412)
    assert found.error == (
        "What stands from byte 512 on is no whole miniSEED record, after 1 that are. (Incomplete miniSEED record at end of buffer, 1 unparsed byte)"
    )
    found = read("seismic/microsecond_wrap.mseed")
    assert (found.format, found.state, found.metadata) == ("miniseed", MetadataState.FAILED, {})
    assert "nanosecond (1000000000) is out of range" in found.error
    assert read("seismic/not.mseed") == Extracted(None, MetadataState.NONE)


def test_spectrum():
    found = read("spec/Steel.spe")
    assert (found.format, found.state, found.metadata) == ("mca", MetadataState.OK, {"channels": 2048, "counts": 5607017})
    assert found.preview.plot["series"][0]["count"] == 2048


def test_columns_without_a_header():
    found = read("spec/EXAFS_Ge.dat")
    assert (found.format, found.state, found.acquired_at) == ("columns", MetadataState.OK, None)
    assert found.metadata == {
        "rows": 1201,
        "columns": [
            {"name": "column 1", "dtype": "float", "min": 10800.0, "max": 13102.4},
            {"name": "column 2", "dtype": "float", "min": 0.0, "max": 1.6365},
        ],
        "column_count": 2,
        "skip_rows": 0,
        "encoding": "utf-8",
    }
    plot = found.preview.plot
    assert (plot["axes"], plot["series"][0]["x"][0], plot["series"][0]["y"][0]) == ([{"name": "column 1"}], 10800, 0.0709745)


def test_tables():
    found = read("csv/seattle-weather.csv")
    assert (found.format, found.state, found.acquired_at) == ("csv", MetadataState.OK, datetime(2012, 1, 1, tzinfo=UTC))
    assert found.metadata == {
        "rows": 1461,
        "columns": [
            {"name": "date", "dtype": "time", "min": "2012-01-01T00:00:00Z", "max": "2015-12-31T00:00:00Z"},
            {"name": "precipitation", "dtype": "float", "min": 0.0, "max": 55.9},
            {"name": "temp_max", "dtype": "float", "min": -1.6, "max": 35.6},
            {"name": "temp_min", "dtype": "float", "min": -7.1, "max": 18.3},
            {"name": "wind", "dtype": "float", "min": 0.4, "max": 9.5},
            {"name": "weather", "dtype": "string"},
        ],
        "column_count": 6,
        "delimiter": ",",
        "skip_rows": 1,
        "encoding": "utf-8",
        "time_column": "date",
        "start_time": "2012-01-01T00:00:00Z",
        "end_time": "2015-12-31T00:00:00Z",
        "time_zone_assumed": True,
        "time_zone": "UTC",
    }
    found = read("csv/seattle-temps.csv")
    assert (found.metadata["rows"], found.metadata["end_time"]) == (8759, "2010-12-31T23:00:00Z")
    found = read("csv/airports.csv")
    assert (found.metadata["rows"], found.metadata["column_count"], found.acquired_at) == (3376, 7, None)
    assert found.metadata["columns"][2] == {"name": "city", "dtype": "string", "missing": 12}


@pytest.mark.parametrize(
    ("name", "kind", "shape"),
    [
        ("nexus/APS/AgBehenate_228.hdf5", "image", [195, 487]),
        ("nexus/SLS/Sample_Image_2021-03-16_095.hdf5", "image", [50, 50]),
        ("nexus/SLS/Sample_Stack_2021-03-16_128.hdf5", "image", [4, 50, 50]),
        ("nexus/code/NXtest.h5", "image", [20, 100]),
        ("netcdf/eraint_uvz.nc", "image", [2, 3, 241, 480]),
    ],
)
def test_previews(name, kind, shape):
    found = read(name)
    plot = found.preview.plot
    assert (plot["kind"], plot["signal"]["shape"], found.preview_error) == (kind, shape, None)
    assert len(found.preview.png) + len(json.dumps(plot, allow_nan=False)) < 100_000


def test_preview_of_a_packed_variable_has_its_physical_values():
    plot = read("netcdf/eraint_uvz.nc").preview.plot
    assert (plot["signal"]["name"], plot["signal"]["units"], plot["signal"]["frame"]) == ("z", "m**2 s**-2", [1, 1])
    assert plot["signal"]["min"] == pytest.approx(47455.2)
    assert plot["axes"][1] == {"name": "longitude", "units": "degrees_east", "min": -180.0, "max": 179.25}


def test_no_preview_where_the_data_lie_elsewhere():
    assert read("nexus/DLS/p45-1168.nxs").preview is None

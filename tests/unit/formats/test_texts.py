"""SPEC, MCA and texts of columns, as instruments and people write them."""

import json
import os
from datetime import UTC, datetime

import pytest
from fixtures import samples

from archiver.formats import Extracted, extract
from archiver.model import MetadataState

AT = datetime(2021, 3, 16, 14, 6, 5, tzinfo=UTC)


def read(path, said, zone="UTC", encoding="utf-8"):
    path.write_bytes(said if isinstance(said, bytes) else said.encode(encoding))
    found = extract(path, path.name, zone=zone)
    json.dumps(found.metadata, allow_nan=False)
    return found


def test_spec(tmp_path):
    found = read(tmp_path / "a", samples.SPEC, "Europe/Paris")
    assert (found.format, found.state, found.acquired_at) == ("spec", MetadataState.OK, AT)
    said = found.metadata
    assert (said["file_name"], said["scan_count"], said["comments"]) == ("/data/run7.spec", 2, ["run7  User = opid13"])
    assert said["scans"] == [
        {
            "scan": 1,
            "command": "ascan  th 0 1 4 0.5",
            "date": "2021-03-16T14:07:00Z",
            "points": 5,
            "columns": ["Theta", "Monitor", "Detector"],
            "column_count": 3,
            "count_time": "0.5  (Seconds)",
        },
        {
            "scan": 2,
            "command": "mesh  sx 0 1 1  sy 0 1 1 0.1",
            "date": "2021-03-16T14:08:00Z",
            "points": 2,
            "columns": ["Sample X", "Detector"],
            "column_count": 2,
            "mca_spectra": 1,
        },
    ]
    assert said["motors"] == {"Two Theta": 10.5, "Theta": 5.25, "Sample X": -1.5, "Energy": 12.398}
    assert (said["time_zone_assumed"], said["time_zone"]) == (True, "Europe/Paris")
    [series] = found.preview.plot["series"]
    assert (series["name"], series["x"], series["y"]) == ("Detector", [0, 0.25, 0.5, 0.75, 1], [1, 4, None, 5, 2])


def test_spec_that_was_cut_off_and_one_without_scans(tmp_path):
    found = read(tmp_path / "a", samples.SPEC.split("1 102 2")[0] + "1 10")
    assert (found.state, found.metadata["scan_count"], found.metadata["scans"][0]["points"]) == (MetadataState.FAILED, 1, 4)
    assert "cut off" in found.error
    assert read(tmp_path / "a", "#F /data/empty\n#E 1615903565\n#C nothing yet\n") == Extracted(None, MetadataState.NONE)


def test_amptek(tmp_path):
    found = read(tmp_path / "a.mca", samples.AMPTEK, "Europe/Paris")
    assert (found.format, found.state, found.title, found.acquired_at) == ("mca", MetadataState.OK, "Fe foil", AT)
    said = found.metadata
    assert (said["channels"], said["counts"]) == (4, 10)
    assert (said["live_time"], said["real_time"]) == ({"value": 9.5, "units": "s"}, {"value": 10.0, "units": "s"})
    assert found.preview.plot["series"][0]["y"] == [0, 3, 5, 2]
    found = read(tmp_path / "b.mca", samples.AMPTEK.split("<<END")[0])
    assert (found.state, found.metadata["channels"]) == (MetadataState.FAILED, 4)


def test_ortec(tmp_path):
    found = read(tmp_path / "a.spe", samples.ORTEC, "Europe/Paris")
    assert (found.format, found.state, found.title, found.acquired_at) == ("mca", MetadataState.OK, "Steel no. 4", AT)
    said = found.metadata
    assert (said["channels"], said["counts"], said["energy_calibration"]) == (8, 22, {"value": [0.5, 0.25]})
    assert said["live_time"] == {"value": 300.0, "units": "s"}
    assert found.preview.plot["series"][0]["x"] == [0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.25]
    found = read(tmp_path / "a.spe", samples.ORTEC.split("       3")[0])
    assert found.error == "The file is cut off or damaged: it announces 8 channels, 4 are there."


@pytest.mark.parametrize(
    ("delimiter", "comma", "kind"), [(",", False, "csv"), (";", False, "csv"), (";", True, "csv"), ("\t", True, "tsv"), ("|", False, "csv")]
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
def test_tables(tmp_path, delimiter, comma, kind, encoding):
    found = read(tmp_path / "a", samples.table(delimiter, comma=comma), "Europe/Paris", encoding)
    assert (found.format, found.state) == (kind, MetadataState.OK)
    assert found.acquired_at == datetime(2024, 2, 3, 3, 5, tzinfo=UTC)
    said = found.metadata
    assert (said["rows"], said["column_count"], said["delimiter"], said.get("decimal_comma")) == (50, 4, delimiter, comma or None)
    assert (said["time_column"], said["end_time"], said["time_zone"]) == ("time", "2024-02-03T03:05:49Z", "Europe/Paris")
    assert said["columns"] == [
        {"name": "time", "dtype": "time", "min": "2024-02-03T03:05:00Z", "max": "2024-02-03T03:05:49Z"},
        {"name": "temperature", "dtype": "float", "units": "°C", "min": 20.0, "max": 32.25},
        {"name": "pressure", "dtype": "float", "units": "mbar", "min": 0.0, "max": 4.9e-05},
        {"name": "note", "dtype": "string"},
    ]
    plot = found.preview.plot
    assert (plot["kind"], plot["axes"]) == ("line", [{"name": "time", "time": True}])
    assert [(series["name"], series["units"]) for series in plot["series"]] == [("temperature", "°C"), ("pressure", "mbar")]
    assert plot["series"][0]["x"][:2] == ["2024-02-03T03:05:00Z", "2024-02-03T03:05:01Z"]


def test_columns_with_an_xdi_header(tmp_path):
    found = read(tmp_path / "a.xdi", samples.COLUMNS)
    assert (found.format, found.state, found.acquired_at) == ("columns", MetadataState.OK, datetime(2024, 2, 3, 4, 5, 6, tzinfo=UTC))
    assert found.metadata["columns"] == [
        {"name": "energy", "dtype": "float", "units": "eV", "min": 7000.0, "max": 7079.0},
        {"name": "mu", "dtype": "float", "min": 0.0125, "max": 1.0},
    ]
    assert found.metadata["header"]["Scan.start_time"] == "2024-02-03T04:05:06"


@pytest.mark.parametrize(
    ("said", "kind", "rows", "names", "units"),
    [
        ("x y\n1 2\n3 4\n5 6\n", "columns", 3, ["x", "y"], [None, None]),
        ("# theta[deg]  counts\n1 2\n3 4\n5 6\n", "columns", 3, ["theta", "counts"], ["deg", None]),
        ("t,v\n(s),(mV)\n0,1\n1,2\n", "csv", 2, ["t", "v"], ["s", "mV"]),
        (
            "Logger: north\nStart: 2024-02-03\n\nDate;Time;T/°C\n03.02.2024;04:05:06;1,5\n03.02.2024;04:05:07;2,5\n",
            "csv",
            2,
            ["Date", "Time", "T"],
            [None, None, "°C"],
        ),
        ('"a, b",c\n1,2\n,3\n', "csv", 2, ["a, b", "c"], [None, None]),
        ("1\t2\n3\t4\n5\t6\n", "tsv", 3, ["column 1", "column 2"], [None, None]),
        ("1.0D+03 2\n1.5D+03 3\n1.5D+04 NaN\n", "columns", 3, ["column 1", "column 2"], [None, None]),
        ("a,b\r\n1,2\r\n", "csv", 1, ["a", "b"], [None, None]),
    ],
)
def test_headers(tmp_path, said, kind, rows, names, units):
    found = read(tmp_path / "a", said)
    assert (found.format, found.state, found.metadata["rows"]) == (kind, MetadataState.OK, rows)
    assert [column["name"] for column in found.metadata["columns"]] == names
    assert [column.get("units") for column in found.metadata["columns"]] == units


def test_date_and_clock_in_two_columns_are_one_time(tmp_path):
    found = read(tmp_path / "a", "Date;Time;T\n03.02.2024;04:05:06;1,5\n03.02.2024;04:05:07;2,5\n")
    assert (found.metadata["start_time"], found.metadata["end_time"]) == ("2024-02-03T04:05:06Z", "2024-02-03T04:05:07Z")
    assert found.metadata["time_column"] == "Date + Time"


def test_counts_since_1970_are_a_time(tmp_path):
    found = read(tmp_path / "a", "timestamp,v\n" + "".join(f"{1706933106000 + index},{index}\n" for index in range(9)))
    assert (found.acquired_at, found.metadata["columns"][0]["dtype"]) == (datetime(2024, 2, 3, 4, 5, 6, tzinfo=UTC), "time")


@pytest.mark.parametrize(
    "said",
    [
        "2024-02-03 04:05:06,123 INFO started\n2024-02-03 04:05:07,001 INFO went on\n2024-02-03 04:05:08,500 ERROR ended\n",
        "Dear all,\nthe beam, as you know, is off.\nBest, A.\n",
        '{"a": 1,\n"b": 2}\n',
        "<x>\n1,2\n3,4\n</x>\n",
        "name,city\nAda,London\nIda,Bonn\n",
        "def f(a, b):\n    return a, b\n\n\nx = f(1, 2)\n",
        "- one\n- two\n",
        "1\n2\n",
        "192.168.1.1 host\n192.168.1.2 other\n192.168.1.3 more\n",
        "ORDER = (\n" + "1,2,3,\n" * 50 + ")\n",
        "return <<'END';\n" + "128\n" * 50 + "END\n",
        "#!/bin/sh\n#S 1 of a comment\necho 1\n",
        "\n\n\n",
        "a" * 200_000,
    ],
)
def test_what_is_no_table(tmp_path, said):
    assert read(tmp_path / "a", said) == Extracted(None, MetadataState.NONE)


def test_table_that_was_cut_off(tmp_path):
    found = read(tmp_path / "a", samples.table(",").rstrip("\n").rpartition(",")[0].rpartition(",")[0])
    assert (found.format, found.state, found.metadata["rows"]) == ("csv", MetadataState.FAILED, 49)
    assert "cut off" in found.error
    found = read(tmp_path / "a", samples.table(",") + "1,2\n" + samples.table(",").split("\n", 1)[1] + "3\n")
    assert (found.state, found.metadata["rows"]) == (MetadataState.FAILED, 100)
    assert found.error == "2 of its rows have not 4 columns; the first is row 51 of the values."


def test_long_table_is_read_at_both_ends_and_counted(tmp_path):
    lines = 340_000
    with (tmp_path / "a").open("w") as file:
        file.write("time,v\n")
        file.writelines(
            f"2024-02-{1 + index // 86400:02}T{index // 3600 % 24:02}:{index // 60 % 60:02}:{index % 60:02}Z,{index}\n" for index in range(lines)
        )
    assert (tmp_path / "a").stat().st_size > 8.5 * 2**20
    found = extract(tmp_path / "a", "a")
    assert (found.state, found.metadata["rows"]) == (MetadataState.OK, lines)
    assert (found.metadata["start_time"], found.metadata["end_time"]) == ("2024-02-01T00:00:00Z", "2024-02-04T22:26:39Z")


def test_one_line_of_a_gigabyte(tmp_path):
    for name, start in (("csv", samples.table(",") * 50), ("spec", samples.SPEC * 100), ("mca", samples.ORTEC)):
        (tmp_path / name).write_text(start)
        os.truncate(tmp_path / name, 2**30)  # sparse: one line of zeros
        found = extract(tmp_path / name, name)
        assert found.state in (MetadataState.FAILED, MetadataState.NONE)
        assert found.error is None or "longer than 1,048,576 characters" in found.error

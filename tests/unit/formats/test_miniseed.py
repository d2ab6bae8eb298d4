"""miniSEED as libmseed writes it, with gaps, overlaps, and damage."""

from datetime import UTC, datetime

import numpy as np
import pymseed
import pytest
from fixtures import samples

from archiver.formats import extract
from archiver.model import MetadataState

BEGIN = datetime(2024, 2, 3, 4, 5, 6, tzinfo=UTC)


@pytest.mark.parametrize("version", [2, 3])
def test_channels_spans_gaps_and_overlaps(tmp_path, version):
    samples.miniseed(tmp_path / "a", version)
    found = extract(tmp_path / "a", "a")
    assert (found.format, found.state, found.acquired_at) == ("miniseed", MetadataState.OK, BEGIN)
    assert found.metadata == {
        "version": version,
        "start_time": "2024-02-03T04:05:06Z",
        "end_time": "2024-02-03T04:06:14.950000Z",
        "channel_count": 2,
        "channels": [
            {
                "channel": "FR.OGVG.00.HHZ",
                "start": "2024-02-03T04:05:06Z",
                "end": "2024-02-03T04:06:14.950000Z",
                "rate_hz": 20.0,
                "samples": 1200,
                "records": 6,
                "encoding": "STEIM-1 integer compression",
                "gaps": 1,
                "overlaps": 1,
                "breaks": [
                    {"kind": "gap", "from": "2024-02-03T04:05:26Z", "to": "2024-02-03T04:05:36Z", "seconds": 10.0},
                    {"kind": "overlap", "from": "2024-02-03T04:05:56Z", "to": "2024-02-03T04:05:55Z", "seconds": 1.0},
                ],
            },
            {
                "channel": "FR.OGVG.00.LHN",
                "start": "2024-02-03T04:05:06Z",
                "end": "2024-02-03T04:05:25.950000Z",
                "rate_hz": 20.0,
                "samples": 400,
                "records": 2,
                "encoding": "STEIM-1 integer compression",
            },
        ],
    }
    plot = found.preview.plot
    assert (plot["kind"], [series["name"] for series in plot["series"]]) == ("waveform", ["FR.OGVG.00.HHZ", "FR.OGVG.00.LHN"])
    assert plot["series"][1]["y"] == [float(value) for value in (1000 * np.sin(np.arange(400) / 7)).astype("i4")]
    assert plot["series"][1]["x"][:2] == ["2024-02-03T04:05:06Z", "2024-02-03T04:05:06.050000Z"]


def test_records_in_any_order_have_the_same_gaps(tmp_path):
    samples.miniseed(tmp_path / "a")
    records = (tmp_path / "a").read_bytes()
    pieces = [records[start : start + 512] for start in range(0, len(records), 512)]
    (tmp_path / "b").write_bytes(b"".join(reversed(pieces)))
    there, back = (extract(tmp_path / name, name).metadata for name in "ab")
    assert back == there


@pytest.mark.parametrize(("encoding", "kind"), [(1, "i2"), (3, "i4"), (4, "f4"), (5, "f8"), (11, "i4")])
def test_encodings(tmp_path, encoding, kind):
    traces = pymseed.MS3TraceList()
    values = (np.arange(300) - 100).astype("i4" if kind[0] == "i" else kind)
    traces.add_data("FDSN:XX_A__B_H_Z", values, {"i2": "i", "i4": "i", "f4": "f", "f8": "d"}[kind], 1.0, starttime_str="2024-02-03T04:05:06Z")
    traces.to_file(str(tmp_path / "a"), encoding=encoding, format_version=2, max_record_length=512)
    found = extract(tmp_path / "a", "a")
    [channel] = found.metadata["channels"]
    assert (found.state, channel["channel"], channel["samples"]) == (MetadataState.OK, "XX.A..BHZ", 300)
    assert found.preview.plot["series"][0]["y"] == values.tolist()


def test_damage_after_good_records_is_said_and_the_rest_described(tmp_path):
    samples.miniseed(tmp_path / "a")
    whole = (tmp_path / "a").read_bytes()
    (tmp_path / "b").write_bytes(whole[:1024] + b"\0" * 512 + whole[1536:])
    found = extract(tmp_path / "b", "b")
    assert (found.state, found.metadata["channels"][0]["records"]) == (MetadataState.FAILED, 2)
    assert "What stands from byte 1,024 on is no whole miniSEED record, after 2 that are." in found.error
    (tmp_path / "c").write_bytes(whole[:-1])
    assert "What stands from byte 3,584 on" in extract(tmp_path / "c", "c").error


def test_absurd_counts(tmp_path):
    samples.miniseed(tmp_path / "a")
    record = bytearray((tmp_path / "a").read_bytes()[:512])
    for place, value in ((30, b"\xff\xff"), (44, b"\xff\xff"), (46, b"\xff\xff"), (32, b"\x7f\xff"), (34, b"\x7f\xff"), (54, b"\x3f")):
        absurd = bytearray(record)
        absurd[place : place + len(value)] = value
        (tmp_path / "b").write_bytes(absurd)
        found = extract(tmp_path / "b", "b", time_limit_s=5)
        assert found.state in (MetadataState.OK, MetadataState.FAILED)
        assert found.preview is None or sum(len(series["x"]) for series in found.preview.plot["series"]) <= 1000

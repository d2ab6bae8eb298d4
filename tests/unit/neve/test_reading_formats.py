"""Images, tables, scans and seismograms: read by value, from the mount and in place from a store."""

import sys
import types

import neve
import numpy as np
import pandas as pd
import pytest
from neve.errors import NotFound, UnreadableData
from neve.seismic import Trace
from PIL import Image as Pillow

from archiver.formats import extract
from tests.fixtures import samples

DEVICES = "date;time;temp (°C);flux\n2024-05-17;08:30:00;21,5;1\n2024-05-17;08:31:00;21,75;2\n2024-05-17;08:32:00;-;4\n"
COLUMNS = "# sample: silver\n# energy mu\n7000 0.1\n7001 0.2\n# a note\n7002 0.4\n"
TIMED = "time,value,value\n2024-05-17T08:30:00,1,2\n2024-05-17T08:31:00,3,4\n"


@pytest.fixture(params=["hot", "archive"])
def put(request, lab, tmp_path):
    """Put a file into a dataset of its own, with the metadata that the archiver finds in it; returns its reader."""

    def add(name: str, body: bytes, zone: str = "UTC"):
        path = tmp_path / name
        path.write_bytes(body)
        found = extract(path, name, zone=zone)
        assert found.format, found
        number = lab.add(f"box/{request.param}", {name: (body, found.format)}, [request.param], age_days=1)
        lab.files[number][0]["metadata"] = found.metadata
        return neve.catalog()[f"box/{request.param}"]

    return add


def sample(kind, tmp_path) -> bytes:
    path = tmp_path / f"sample-{kind}"
    samples.write(kind, path)
    return path.read_bytes()


@pytest.mark.parametrize(("kind", "times"), [("edf", 1), ("cbf", 1), ("tiff", 1), ("marccd", 1), ("mar345", 100)])
def test_a_detectors_image_with_its_header(put, tmp_path, kind, times):
    reader = put(f"frame.{kind}", sample(kind, tmp_path))
    image = reader.read()
    assert image.data.ndim == 2
    assert np.array_equal(image, samples.picture(*image.shape, dtype="i8") * times)
    assert image.header
    assert reader.output_instance == "neve.images:Image"
    assert repr(image).startswith(f"<Image {image.shape[0]} × {image.shape[1]} of {image.dtype}")


def test_frames_are_stacked(put, tmp_path):
    from fabio.edfimage import EdfImage

    pile = EdfImage(np.full((4, 5), 7, "u2"), {"title": "first"})
    pile.append_frame(data=np.full((4, 5), 9, "u2"), header={"title": "second"})
    pile.write(str(tmp_path / "pile"))
    image = put("pile.edf", (tmp_path / "pile").read_bytes()).read()
    assert image.shape == (2, 4, 5)
    assert [frame.max() for frame in image.data] == [7, 9]
    assert image.header["title"] == "first"


def test_a_picture(put, tmp_path):
    colours = np.zeros((6, 9, 3), "u1")
    colours[2, 4] = 250, 100, 3
    Pillow.fromarray(colours).save(tmp_path / "photo", format="PNG", pnginfo=None)
    assert np.array_equal(put("photo.png", (tmp_path / "photo").read_bytes()).read(), colours)


def test_a_photograph(put, tmp_path):
    grey = np.full((16, 24), 128, "u1")
    Pillow.fromarray(grey).save(tmp_path / "photo", format="JPEG")
    image = put("photo.jpeg", (tmp_path / "photo").read_bytes()).read()
    assert np.array_equal(image, grey)


def test_a_table_with_decimal_commas_and_units(put):
    frame = put("log.csv", DEVICES.encode()).read()
    assert list(frame.columns) == ["date", "time", "temp", "flux"]
    assert frame["temp"].tolist()[:2] == [21.5, 21.75]
    assert np.isnan(frame["temp"][2])
    assert frame["flux"].tolist() == [1, 2, 4]
    assert frame.attrs["units"] == {"temp": "°C"}


def test_columns_between_blanks(put):
    frame = put("scan.dat", COLUMNS.encode()).read()
    assert list(frame.columns) == ["energy", "mu"]
    assert frame["mu"].tolist() == [0.1, 0.2, 0.4]
    assert frame.attrs["header"]["sample"] == "silver"


def test_times_without_a_zone_are_the_instruments(put):
    frame = put("log.csv", TIMED.encode(), zone="Europe/Paris").read()
    assert list(frame.columns) == ["time", "value", "value (3)"]
    assert frame["time"][0] == pd.Timestamp("2024-05-17T06:30:00Z")
    assert frame["value (3)"].tolist() == [2, 4]


def test_a_table_of_which_nothing_is_known(put, lab):
    reader = put("scan.dat", COLUMNS.encode())
    for files in lab.files.values():
        for file in files:
            file["metadata"].pop("skip_rows", None)
    with pytest.raises(UnreadableData, match="how its columns are written is not known"):
        reader.read()


def test_spec_scans(put):
    reader = put("run7.spec", samples.SPEC.encode())
    both = reader.read()
    assert both.index.get_level_values("scan").unique().tolist() == ["1.1", "2.1"]
    assert both.loc["1.1", "Detector"].tolist()[:2] == [1, 4]
    first = reader.read(scan="1")
    assert list(first.columns) == ["Theta", "Monitor", "Detector"]
    assert first["Theta"].tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert np.isnan(first["Detector"][2])
    assert first.attrs["command"] == "ascan  th 0 1 4 0.5"
    second = reader.read(scan="2.1")
    assert list(second.columns) == ["Sample X", "Detector"]
    assert second["Detector"].tolist() == [1, 3]
    assert second.attrs["mca"].tolist() == [[1, 2, 3, 4, 5, 6]]
    with pytest.raises(NotFound, match=r"no scan 9.*1\.1, 2\.1"):
        reader.read(scan="9")


@pytest.mark.parametrize(("body", "counts"), [(samples.AMPTEK, [0, 3, 5, 2]), (samples.ORTEC, [1, 2, 9, 4, 3, 2, 1, 0])])
def test_spectra(put, body, counts):
    frame = put("fe.mca", body.encode()).read()
    assert frame["counts"].tolist() == counts
    assert frame.index.tolist() == list(range(len(counts)))
    assert {"DESCRIPTION": "Fe foil"}.items() <= frame.attrs["header"].items() or frame.attrs["header"]["SPEC_ID"] == "Steel no. 4"


def test_seismograms(put, tmp_path):
    traces = put("x.mseed", sample("miniseed", tmp_path)).read()
    assert traces
    for trace in traces:
        assert isinstance(trace, Trace)
        assert len(trace.times) == len(trace.samples)
        step = (trace.times[1] - trace.times[0]) / np.timedelta64(1, "ns")
        assert step == pytest.approx(1e9 / trace.rate_hz, abs=1)


def test_who_has_obspy_gets_its_stream(put, tmp_path, monkeypatch):
    fake = types.ModuleType("obspy")
    fake.read = lambda stream, **how: (how["format"], len(stream.read()))
    monkeypatch.setitem(sys.modules, "obspy", fake)
    body = sample("miniseed", tmp_path)
    assert put("x.mseed", body).read() == ("MSEED", len(body))


@pytest.mark.parametrize("kind", ["edf", "cbf", "tiff", "marccd", "mar345", "png", "jpeg", "miniseed"])
def test_what_is_cut_off_is_a_sentence_or_what_is_left(put, tmp_path, kind):
    body = sample(kind, tmp_path)
    reader = put(f"cut.{kind}", body[: int(len(body) * 0.6)])
    try:
        reader.read()
    except UnreadableData as error:
        assert f"cut.{kind} of box/" in str(error)


def test_not_chunk_by_chunk(put):
    with pytest.raises(UnreadableData, match=r"read whole \(columns\).*\.read\(\)"):
        put("scan.dat", COLUMNS.encode()).to_dask()


def test_scan_is_for_spec_only(put):
    with pytest.raises(UnreadableData, match="only SPEC files have scans"):
        put("scan.dat", COLUMNS.encode()).read(scan="1")


def test_h5_is_h5py_wherever_it_lies(lab):
    cat = neve.catalog()
    for name in ("run42", "run10"):
        with cat[name].h5() as file:
            assert file["entry/data/counts"][1, 2, 3] == 600 + 60 + 3
        assert not file
    with pytest.raises(UnreadableData, match="no HDF5"), cat["weather/old"].h5():
        pass
    with pytest.raises(neve.ColdDataError), cat["scan7"].h5():
        pass


def test_a_fault_in_the_block_is_the_users_own(lab):
    with pytest.raises(KeyError, match="nothing"), neve.catalog()["run42"].h5():
        raise KeyError("nothing")


def test_a_measurement_rather_than_the_log_beside_it(lab):
    lab.add("box/both", {"a.csv": (TIMED.encode(), "csv"), "scan.h5": (lab.bodies[1, "scan.h5"], "nexus")}, ["hot"], age_days=1)
    assert neve.catalog()["box/both"].read()["counts"].shape == (3, 20, 30)

"""Each format by value on each way to the bytes: the mount, a store, a member of a bundle in the archive (whole, and through a window)."""

from __future__ import annotations

import shutil

import neve
import numpy as np
import pandas as pd
import pytest
from fabio.edfimage import EdfImage
from neve import chunked, sources
from PIL import Image as Pillow

from archiver.formats import extract
from tests.fixtures import samples
from tests.unit.neve.conftest import h5_bytes, weather

COUNTS = np.arange(4 * 6 * 5, dtype="u2").reshape(4, 6, 5)
LOG = "time,flux (mA)\n2024-05-17T08:30:00Z,1.5\n2024-05-17T08:31:00Z,2.5\n"


def stack(file) -> None:
    data = file.create_group("entry/data")
    file["entry"].attrs["NX_class"] = "NXentry"
    data.attrs.update(NX_class="NXdata", signal="counts", axes=["angle", "y", "x"])
    data.create_dataset("counts", data=COUNTS, chunks=(1, 6, 5)).attrs["units"] = "counts"
    data["counts_errors"] = np.sqrt(COUNTS)
    data["angle"] = [0.0, 0.5, 1.0, 1.5]
    data["angle"].attrs["units"] = "deg"
    data["angle_errors"] = [0.1, 0.1, 0.2, 0.2]


@pytest.fixture
def bodies(tmp_path):
    EdfImage(COUNTS[1], {"title": "silver"}).write(str(tmp_path / "edf"))
    Pillow.fromarray(COUNTS[2].astype("u1")).save(tmp_path / "png", format="PNG")
    samples.write("miniseed", tmp_path / "mseed")
    return {
        "day.nc": weather(tmp_path, "NETCDF4"),
        "frame.edf": (tmp_path / "edf").read_bytes(),
        "log.csv": LOG.encode(),
        "old.nc": weather(tmp_path, "NETCDF3_CLASSIC"),
        "photo.png": (tmp_path / "png").read_bytes(),
        "run7.spec": samples.SPEC.encode(),
        "scan.h5": h5_bytes(stack),
        "x.mseed": (tmp_path / "mseed").read_bytes(),
    }


@pytest.fixture(params=["mount", "store", "bundle", "window"])
def reader(request, lab, bodies, tmp_path, monkeypatch):
    known = {}
    for name, body in bodies.items():
        (tmp_path / name).write_bytes(body)
        known[name] = extract(tmp_path / name, name, zone="UTC")
    inside = request.param in {"bundle", "window"}
    files = {name: (body, known[name].format) for name, body in bodies.items()}
    number = lab.add("box/all", files, ["archive"] if inside else ["hot"], age_days=1)
    bundle, at = b"", 0
    for file, (name, body) in zip(lab.files[number], bodies.items(), strict=True):
        file["metadata"] = known[name].metadata
        bundle += bytes(512) + body + bytes(-len(body) % 512)
        if inside:
            file["copies"][0].update(key="p1/bundles/1.tar", offset_bytes=at + 512)
        at = len(bundle)
    if inside:
        version = lab.s3.put_object(Bucket=lab.buckets["archive"], Key="p1/bundles/1.tar", Body=bundle)["VersionId"]
        for file in lab.files[number]:
            file["copies"][0]["version_id"] = version
    else:
        assert (lab.data / lab.datasets[number]["prefix"] / "scan.h5").exists()
    if request.param == "store":
        shutil.rmtree(lab.data)
    if request.param == "window":
        monkeypatch.setattr(sources, "WHOLE_BYTES", 0)
    found = neve.catalog()["box/all"]
    assert found.path == lab.data / lab.datasets[number]["prefix"]
    assert found.files == list(bodies)
    yield found
    chunked._kept.close_idle(0)


def test_every_format(reader, bodies):
    data = reader.read("scan.h5")
    assert np.array_equal(data["counts"], COUNTS)
    assert np.array_equal(data["counts_errors"], np.sqrt(COUNTS))
    assert data["counts"].dims == ("angle", "y", "x")
    assert (data["counts"].attrs["units"], data["angle"].attrs["units"]) == ("counts", "deg")
    assert data["angle"].to_numpy().tolist() == [0, 0.5, 1, 1.5]
    assert data["angle_errors"].to_numpy().tolist() == [0.1, 0.1, 0.2, 0.2]
    assert data["angle_errors"].dims == ("angle",)
    with reader.h5("scan.h5") as file:
        assert np.array_equal(file["entry/data/counts"][:, 5, 1], COUNTS[:, 5, 1])
    lazy = reader.to_dask("scan.h5")
    assert np.array_equal(lazy["counts"][3].compute(scheduler="synchronous"), COUNTS[3])
    assert np.array_equal(lazy["counts"][::2, 1:3].compute(scheduler="threads"), COUNTS[::2, 1:3])
    assert np.array_equal(lazy["counts_errors"].compute(scheduler="threads"), np.sqrt(COUNTS))
    for name in ("day.nc", "old.nc"):
        day = reader.read(name)
        assert np.allclose(day["temperature"], 273 + np.arange(24) / 10, atol=0.06)
        assert day["time"][23] == np.datetime64("2026-10-01T23:00")
        assert np.array_equal(reader.to_dask(name)["temperature"][3:5].compute(scheduler="synchronous"), day["temperature"][3:5])
    frame = reader.read("frame.edf")
    assert np.array_equal(frame.data, COUNTS[1])
    assert frame.header["title"] == "silver"
    assert np.array_equal(reader.read("photo.png"), COUNTS[2])
    log = reader.read("log.csv")
    assert log["flux"].tolist() == [1.5, 2.5]
    assert log["time"][1] == pd.Timestamp("2024-05-17T08:31Z")
    assert log.attrs["units"] == {"flux": "mA"}
    assert reader.read("run7.spec", scan="1")["Theta"].tolist() == [0, 0.25, 0.5, 0.75, 1]
    traces = reader.read("x.mseed")
    assert sum(len(trace.samples) for trace in traces) == sum(channel["samples"] for channel in extract_of(reader, "x.mseed")["channels"])


def extract_of(reader, name: str):
    return next(file.metadata for file in reader.client().files(reader.info.id) if file.path == name)

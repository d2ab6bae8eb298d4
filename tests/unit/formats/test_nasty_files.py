"""Files that are damaged, odd or hostile: never an exception, never a wait, always a sentence."""

import io
import json
import os
import random
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
import pytest
from fixtures import samples

from archiver.formats import Extracted, extract, sandbox
from archiver.formats.content import content_in, content_of
from archiver.formats.reading import METADATA_MAX_BYTES
from archiver.model import MetadataState

FUZZ_SEED = 20261120


def nexus(path: Path, *, entries: tuple[str, ...] = ("entry",), **how) -> Path:
    with h5py.File(path, "w", **how) as file:
        for name in entries:
            entry = file.create_group(name)
            entry.attrs["NX_class"] = "NXentry"
            entry["title"] = f"title of {name}"
            entry["start_time"] = "2024-02-03T04:05:06+01:00"
            data = entry.create_group("data")
            data.attrs.update({"NX_class": "NXdata", "signal": "counts", "axes": ["x"]})
            data["counts"] = np.arange(500, dtype="i4")
            data["counts"].attrs["units"] = "counts"
            data["x"] = np.linspace(0, 1, 500)
    return path


def read(path: Path, time_limit_s: float = 20) -> Extracted:
    found = extract(path, path.name, time_limit_s=time_limit_s)
    assert len(json.dumps(found.metadata, allow_nan=False)) <= METADATA_MAX_BYTES
    assert (found.state is MetadataState.FAILED) == (found.error is not None)
    return found


@pytest.mark.parametrize("block", [0, 512, 1024, 2048, 4096, 65536])
def test_user_block(tmp_path, block):
    found = read(nexus(tmp_path / "a.h5", userblock_size=block))
    assert (found.format, found.title) == ("nexus", "title of entry")
    assert found.acquired_at == datetime(2024, 2, 3, 3, 5, 6, tzinfo=UTC)


@pytest.mark.parametrize("kind", samples.KINDS)
def test_what_is_in_memory_is_known_as_what_is_in_a_file(tmp_path, kind):
    path = samples.write(kind, tmp_path / "a")
    content = path.read_bytes()
    assert content_in(io.BytesIO(content), len(content)) == content_of(path) is not None


@pytest.mark.parametrize("block", [0, 512, 65536, 2**20])
def test_a_user_block_in_memory(tmp_path, block):
    content = nexus(tmp_path / "a.h5", userblock_size=block).read_bytes()
    assert content_in(io.BytesIO(content), len(content)) == "hdf5"
    assert content_in(io.BytesIO(b""), 0) is None
    noise = bytes([0, *range(255)]) * 20_000
    assert content_in(io.BytesIO(noise), len(noise)) is None


@pytest.mark.parametrize("block", [0, 2048])
def test_cut_off_hdf5_says_how_much_is_missing(tmp_path, block):
    path = nexus(tmp_path / "a.h5", userblock_size=block)
    whole = path.stat().st_size
    os.truncate(path, whole - 700)
    found = read(path)
    assert (found.format, found.state) == ("hdf5", MetadataState.FAILED)
    assert found.error.startswith(f"The file is cut off: its header announces {whole:,} bytes, {whole - 700:,} are there.")


def test_cut_within_the_first_bytes(tmp_path):
    path = nexus(tmp_path / "a.h5")
    for length in (8, 9, 30, 90):
        os.truncate(path, length)
        assert read(path).state is MetadataState.FAILED
        nexus(path)


def test_nothing_and_almost_nothing(tmp_path):
    for content in (b"", b"\x89", b"CDF", b"\x89HDF\r\n\x1a", b"\0" * 4096):
        (tmp_path / "a").write_bytes(content)
        assert read(tmp_path / "a") == Extracted(None, MetadataState.NONE)


@pytest.mark.parametrize("start", [b"\x89HDF\r\n\x1a\n", b"CDF\x01", b"CDF\x02", b"CDF\x05"])
def test_garbage_behind_a_true_signature(tmp_path, start):
    chance = random.Random(FUZZ_SEED)
    for size in (0, 1, 100, 5000):
        (tmp_path / "a").write_bytes(start + chance.randbytes(size))
        found = read(tmp_path / "a")
        assert found.state is MetadataState.FAILED
        assert found.error.endswith((".", ")"))


def test_only_known_content_starts_a_child(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "Child", None)
    sandbox.end_children()
    (tmp_path / "a.h5").write_bytes(b"not HDF5 at all" * 1000)
    assert read(tmp_path / "a.h5").state is MetadataState.NONE


def test_a_tar_that_begins_with_hdf5_is_a_tar(tmp_path):
    nexus(tmp_path / "a.h5")
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        tar.add(tmp_path / "a.h5", "a.h5")
    assert (tmp_path / "a.tar").read_bytes()[512:516] == b"\x89HDF"
    assert read(tmp_path / "a.tar") == Extracted(None, MetadataState.NONE)


def test_missing_fifo_and_folder(tmp_path):
    assert "No such file" in read(tmp_path / "absent").error
    os.mkfifo(tmp_path / "pipe")
    assert read(tmp_path / "pipe").state is MetadataState.NONE
    assert read(tmp_path).state in (MetadataState.NONE, MetadataState.FAILED)


def test_name_that_is_no_utf8(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/m\xe9tal.h5"))
    nexus(tmp_path / "a.h5").rename(path)
    assert read(path).title == "title of entry"


def test_original_is_not_touched(tmp_path):
    path = nexus(tmp_path / "a.h5")
    path.chmod(0o444)
    before = (path.read_bytes(), path.stat().st_mtime_ns)
    read(path)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_odd_attributes(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for name, value in {
            "empty": h5py.Empty("S1"),
            "nan": np.nan,
            "infinite": np.float32("inf"),
            "nans": np.array([np.nan, 1.0]),
            "latin1": np.bytes_("µrad à Grenoble".encode("latin-1")),
            "utf8": "μm",
            "nul": np.bytes_(b"cut\0here"),
            "none": np.array([], "f8"),
            "many": np.arange(5000),
            "one": np.array([b"alone"]),
            "long": "x" * 5000,
            "complex": 1 + 2j,
            "boolean": True,
            "large": np.uint64(2**63 + 1),
            "record": np.array((1, 2.5), dtype=[("a", "i4"), ("b", "f8")]),
        }.items():
            file.attrs[name] = value
        file.attrs["reference"] = file.ref
    found = read(path)
    assert (found.format, found.state) == ("hdf5", MetadataState.OK)
    said = found.metadata["attributes"]
    assert said["nans"] == [None, 1.0]
    assert (said["latin1"], said["utf8"], said["nul"], said["one"]) == ("µrad à Grenoble", "μm", "cut", "alone")
    assert (said["large"], said["boolean"], said["many"]) == (2**63 + 1, True, "int64 array of 5000 values")
    assert len(said["long"]) == 500
    assert {"empty", "nan", "infinite", "none", "reference"}.isdisjoint(said)


def test_two_entries(tmp_path):
    path = nexus(tmp_path / "a.nxs", entries=("first", "second"))
    found = read(path)
    assert (found.title, found.metadata["entry_chosen"]) == ("title of first", "the first with data; the file names none")
    assert found.metadata["other_entries"][0]["title"] == "title of second"
    with h5py.File(path, "a") as file:
        file.attrs["default"] = "second"
    assert (read(path).title, read(path).metadata["entry_chosen"]) == ("title of second", "named by the file")


@pytest.mark.parametrize(
    ("spelled", "at", "assumed"),
    [
        ("2024-02-03T04:05:06Z", (4, 5, 6), False),
        ("2024-02-03T04:05:06.1234567+0100", (3, 5, 6, 123456), False),
        ("2024-02-03 04:05:06 +01:00", (3, 5, 6), False),
        ("2024-02-03 04:05:06 UTC", (4, 5, 6), False),
        ("2024-02-03T04:05:06", (4, 5, 6), True),
        ("20240203T040506", (4, 5, 6), True),
        ("2024/02/03 04:05:06", (4, 5, 6), True),
        ("Sat Feb  3 04:05:06 2024", (4, 5, 6), True),
        ("03-FEB-2024 04:05:06", (4, 5, 6), True),
        ("03.02.2024 04:05:06", (4, 5, 6), True),
        (1706933106.0, (4, 5, 6), False),
        (np.array(["2024-02-03T04:05:06Z"], "S30"), (4, 5, 6), False),
    ],
)
def test_spellings_of_time(tmp_path, spelled, at, assumed):
    path = nexus(tmp_path / "a.nxs")
    with h5py.File(path, "a") as file:
        del file["entry/start_time"]
        file["entry/start_time"] = spelled
    found = read(path)
    assert found.acquired_at == datetime(2024, 2, 3, *at, tzinfo=UTC)
    assert (found.metadata.get("time_zone_assumed"), found.metadata.get("time_zone")) == ((True, "UTC") if assumed else (None, None))


@pytest.mark.parametrize("spelled", ["", "yesterday", "03/02/2024", "0001-01-01T00:00:00+14:00", "2024-13-45", "2024", 12.0])
def test_what_is_no_time(tmp_path, spelled):
    path = nexus(tmp_path / "a.nxs")
    with h5py.File(path, "a") as file:
        del file["entry/start_time"]
        file["entry/start_time"] = spelled
    found = read(path)
    assert found.acquired_at is None
    if spelled:
        assert found.metadata["start_time"] == str(spelled)


def test_links_in_circles_and_out_of_the_file(tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["title"] = "must not be read"
    path = nexus(tmp_path / "a.nxs")
    with h5py.File(path, "a") as file:
        entry = file["entry"]
        entry["self"] = entry
        entry["root"] = file["/"]
        entry["soft"] = h5py.SoftLink("/entry/soft")
        entry["ping"], entry["pong"] = h5py.SoftLink("/entry/pong"), h5py.SoftLink("/entry/ping")
        entry["dangling"] = h5py.SoftLink("/nowhere/at/all")
        entry["out"] = h5py.ExternalLink(str(secret), "/")
        del entry["title"]
        entry["title"] = h5py.SoftLink("/entry/out/title")
        group = entry
        for _ in range(200):
            group = group.create_group("deep")
        # other ways out of the file: raw data elsewhere, and a virtual dataset
        entry.create_dataset("definition", (20,), "S1", external=[("/etc/passwd", 0, 20)])
        layout = h5py.VirtualLayout((1,), "S20")
        layout[0] = h5py.VirtualSource(str(secret), "title", ())
        entry.create_virtual_dataset("experiment_identifier", layout)
    found = read(path)
    assert (found.state, found.title) == (MetadataState.OK, None)
    assert {"definition", "experiment_identifier", "title"}.isdisjoint(found.metadata)
    assert "must not be read" not in json.dumps(found.metadata)
    assert "groups deeper than 12 were not looked at" in found.metadata["cut"]


def test_names_that_are_no_utf8(tmp_path):
    path = nexus(tmp_path / "a.nxs")
    with h5py.File(path, "a") as file:
        data = file["entry/data"]
        h5py.h5g.create(file["entry"].id, b"r\xe9glage")
        data.move("x", b"\xb5")
        data.attrs["axes"] = np.array([b"\xb5"])
        data.attrs.create(b"not\xe9", "noted")
    [data] = read(path).metadata["data"]
    assert data["signal"]["name"] == "counts"
    assert data["axes"][0]["name"] == "µ"


def test_master_file_of_links_to_entries(tmp_path):
    path = tmp_path / "master.h5"
    with h5py.File(path, "w") as file:
        file.attrs["NX_class"] = "NXroot"
        file["1.1"] = h5py.ExternalLink("scan0001.h5", "/1.1")
    found = read(path)
    assert (found.format, found.metadata["entries_in_other_files"]) == ("nexus", ["1.1 in scan0001.h5:/1.1"])


def test_more_than_fits_is_cut_and_said(tmp_path):
    path = nexus(tmp_path / "a.nxs", entries=tuple(f"entry{index:03d}" for index in range(300)))
    found = read(path)
    assert "only the first 20 entries were read" in found.metadata["cut"]
    wide = tmp_path / "wide.h5"
    with h5py.File(wide, "w") as file:
        for index in range(3000):
            file.create_group(f"{'long name ' * 40}{index}")
        for index in range(200):
            file.attrs[f"text{index}"] = "é" * 500
    found = read(wide)
    assert any("shown" in line for line in found.metadata["cut"])
    assert any("only the first 2000 members" in line for line in found.metadata["cut"])


def test_old_spelling_of_signal_and_axes(tmp_path):
    path = nexus(tmp_path / "a.nxs")
    with h5py.File(path, "a") as file:
        data = file["entry/data"]
        del data.attrs["signal"], data.attrs["axes"]
        data["counts"].attrs["signal"] = 1
        data["x"].attrs["axis"] = 1
    [data] = read(path).metadata["data"]
    assert data["signal"] == {"name": "counts", "shape": [500], "dtype": "int32", "units": "counts"}
    assert data["axes"] == [{"name": "x", "shape": [500], "dtype": "float64"}]


def test_file_that_is_being_written(tmp_path):
    path = nexus(tmp_path / "a.nxs", libver="latest")
    with h5py.File(path, "a", libver="latest") as writer:
        writer.swmr_mode = True
        found = read(path)
        assert (found.state, found.title) == (MetadataState.OK, "title of entry")
        assert found.metadata["remark"] == "a program was still writing this file (SWMR)"

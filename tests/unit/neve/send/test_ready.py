"""When a file is complete: what HDF5 superblocks say, names that wait, and what a marker vouches for."""

from __future__ import annotations

import shutil

import h5py
import numpy as np
import pytest
from fixtures.processes import REPO
from hypothesis import given, settings
from hypothesis import strategies as st
from neve.send.ready import MANIFESTS, MARKERS, TEMPORARY, Names, Seen, Signal, superblock, unfinished, vouched

VERSIONS = {"v0": ("earliest", "v108"), "v2": ("v108", "v108"), "v3": ("v110", "v110"), "latest": ("latest", "latest")}
SHARED = REPO.parent / "shared" / "data"


def looked_at(path):
    with path.open("rb") as file:
        return superblock(file, path.stat().st_size)


@pytest.mark.parametrize("user_block", [0, 512, 4096])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_file_that_is_written_waits_and_a_closed_one_does_not(tmp_path, version, user_block):
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w", libver=VERSIONS[version], userblock_size=user_block) as file:
        assert unfinished(path)  # just made: the library has promised more than it has written
        file.create_dataset("data", data=np.arange(5_000), chunks=(1_000,), maxshape=(None,))
        file.flush()
        assert unfinished(path) == "an HDF5 file that a program has open for writing"
        if version in {"v3", "latest"}:
            file.swmr_mode = True
            assert unfinished(path) == "an HDF5 file that a program has open for writing (SWMR)"
    assert unfinished(path) == ""
    found = looked_at(path)
    assert (found.writing, found.swmr, found.end_bytes) == (False, False, path.stat().st_size)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_file_reopened_for_appending_waits_again(tmp_path, version):
    path = tmp_path / "scan.nxs"
    h5py.File(path, "w", libver=VERSIONS[version]).close()
    with h5py.File(path, "r+", libver=VERSIONS[version]) as file:
        file["more"] = np.zeros(100)
        file.flush()
        assert "open for writing" in unfinished(path)
    with h5py.File(path, "r"):
        assert unfinished(path) == ""  # a reader is no writer


@pytest.mark.parametrize("user_block", [0, 1024])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_truncated_file_waits_whatever_is_missing(tmp_path, version, user_block):
    path = tmp_path / "scan.dat"  # the content says it, not the name
    with h5py.File(path, "w", libver=VERSIONS[version], userblock_size=user_block) as file:
        file["data"] = np.arange(1_000)
    whole = path.read_bytes()
    for size in (len(whole) - 1, len(whole) // 2, user_block + 60, user_block + 30, user_block + 10, user_block + 8):
        path.write_bytes(whole[:size])
        assert unfinished(path).startswith("an HDF5 file of which "), size
    path.write_bytes(whole + b"more")  # a trailer is nobody's loss
    assert unfinished(path) == ""


def test_a_file_that_was_put_behind_a_user_block_later(tmp_path):
    """What h5jam does: the addresses in it are those from before."""
    plain, jammed = tmp_path / "plain.h5", tmp_path / "jammed.h5"
    for versions in VERSIONS.values():
        with h5py.File(plain, "w", libver=versions) as file:
            file["data"] = np.arange(1_000)
        jammed.write_bytes(b"#".ljust(2048) + plain.read_bytes())
        assert unfinished(jammed) == ""
        with h5py.File(jammed, "r") as file:
            assert file["data"][-1] == 999
        jammed.write_bytes(jammed.read_bytes()[:-1])
        assert "of which" in unfinished(jammed)


def test_the_library_writes_data_before_its_first_bytes(tmp_path):
    for name, data in {"a.h5": b"", "b.NXS": b"\0" * 5000, "c.nc": b"\0" * 8}.items():
        path = tmp_path / name
        path.write_bytes(data)
        assert "first bytes are still empty" in unfinished(path)
    for name, data in {
        "a.dat": b"",
        "b.raw": b"\0" * 5000,
        "c.nc": b"CDF\x01" + b"\0" * 50,
        "d.h5": b"no HDF5 at all",
        "e.hdf": b"\x0e\x03\x13\x01",
    }.items():
        path = tmp_path / name
        path.write_bytes(data)
        assert unfinished(path) == ""  # empty files and other formats are what they are


def test_old_libraries_left_flags_behind(tmp_path):
    """Version 0 with consistency flags 3, as HDF5 1.6 left them in every file; 1 is what later libraries set while they write."""
    path = tmp_path / "old.hdf5"
    with h5py.File(path, "w", libver=("earliest", "v108")) as file:
        file["data"] = np.arange(10)
    data = bytearray(path.read_bytes())
    assert data[8] == 0
    assert data[20] == 0
    data[20] = 3
    path.write_bytes(data)
    assert unfinished(path) == ""
    data[20] = 1
    path.write_bytes(data)
    assert "open for writing" in unfinished(path)


def test_files_of_facilities_are_complete():
    found = [path for path in SHARED.rglob("*") if path.is_file()]
    assert len(found) > 20
    assert {path.name: unfinished(path) for path in found if unfinished(path)} == {}


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([0, 512, 1024]))
def test_no_bytes_break_the_look(tmp_path_factory, tail, at):
    path = tmp_path_factory.mktemp("fuzz") / "x.h5"
    path.write_bytes(b"\1" * at + b"\x89HDF\r\n\x1a\n" + tail)
    assert isinstance(unfinished(path), str)
    shutil.rmtree(path.parent)


def test_what_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(OSError):
        unfinished(tmp_path / "gone.h5")


def test_temporary_names():
    names = Names(TEMPORARY)
    waiting = [
        b"a.tmp",
        b"A.TMP",
        b"scan.h5.part",
        b".~lock.x.ods#",
        b"~$report.docx",
        b".nfs0000123",
        b"x.crdownload",
        b".scan_7.h5.Ab12Cd",
        b".x.swp",
        b"a\n.tmp",
    ]
    assert [name for name in waiting if not names.match(name)] == []
    final = [b"scan.h5", b"tmp", b"a.tmp.h5", b".complete", b".done", b"part", b"\xff.h5", b".hidden", b"template.h5"]
    assert [name for name in final if names.match(name)] == []
    assert not Names([]).match(b"a.tmp")


def test_markers_and_manifests_by_name():
    markers, manifests = Names(MARKERS), Names(MANIFESTS)
    assert [markers.stem(name) for name in (b"run.done", b"a.h5.DONE", b".complete", b"x\xff.done")] == [b"run", b"a.h5", b"", b"x\xff"]
    assert [manifests.match(name) for name in (b"SHA256SUMS", b"manifest-sha256.txt", b"run.sha256", b"notes.txt")] == [True, True, True, False]
    assert manifests.stem(b"scan.h5.sha256") == b"scan.h5"
    assert manifests.stem(b"manifest-sha256.txt") == b""


def test_a_marker_vouches_for_what_was_there_before_it():
    file = Seen(10, 1_000)
    assert vouched(file, 3, Signal(mtime_ns=1_000, scan=3))
    assert not vouched(file, 4, Signal(mtime_ns=1_000, scan=3))  # came, or changed, after the marker was seen
    assert not vouched(file, 3, Signal(mtime_ns=999, scan=3))  # written after the marker, as the disk says

"""What is cut of a file that is being written is whole in its format: lines, records, an HDF5 file that opens as any other."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from fixtures.samples import miniseed, miniseed3, netcdf4
from neve.send import cutting, readable, superblock
from neve.send.cutting import NotNow, cut

WRITER = Path(__file__).parents[3] / "fixtures" / "swmr_writer.py"


@contextmanager
def made(original, folder, *, known_only=True, pause=lambda _seconds: None):
    spool = folder / "spool"
    with cut(original, spool, known_only=known_only, pause=pause) as one:
        data = one.path.read_bytes()
        assert (one.size_bytes, one.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        yield one
    assert list(spool.iterdir()) == [], "the copy goes"


def taken(original, folder, **how) -> bytes:
    with made(original, folder, **how) as one:
        return one.path.read_bytes()


def refused(original, folder, **how) -> str:
    with pytest.raises(NotNow) as why, made(original, folder, **how):
        pass
    assert list((folder / "spool").iterdir()) == []
    return str(why.value)


def file(folder, data, name="log.csv"):
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (b"t,x\n0,1\n1,", b"t,x\n0,1\n"),
        (b"t,x\n0,1\n", b"t,x\n0,1\n"),
        ("température,x\n0,1\r\n1".encode(), "température,x\n0,1\r\n".encode()),
        (b"#F scan\n#S 1\n" + b"0.1 0.2\n" * 100_000 + b"0.", b"#F scan\n#S 1\n" + b"0.1 0.2\n" * 100_000),
        (b"x\n" + b"y" * 200_000, b"x\n"),
    ],
)
def test_text_ends_with_a_line(tmp_path, data, whole):
    assert taken(file(tmp_path, data), tmp_path) == whole


def test_text_without_a_line_waits(tmp_path):
    assert refused(file(tmp_path, b"t,x"), tmp_path) == "no line of it has ended yet"


def test_text_that_is_written_anew_meanwhile_is_refused(tmp_path):
    path = file(tmp_path, b"first\n" * 400_000)

    def anew(_seconds):
        path.write_bytes(b"other\n" * 500_000)

    assert refused(path, tmp_path, pause=anew) == "is written anew from its beginning"

    def shorter(_seconds):
        path.write_bytes(b"other\n")

    assert refused(path, tmp_path, pause=shorter) == "became shorter while it was sent"


def test_lines_that_come_meanwhile_are_no_hindrance(tmp_path):
    path = file(tmp_path, b"0\n" * 600_000)

    def more(_seconds):
        with path.open("ab") as end:
            end.write(b"1\n2")

    assert taken(path, tmp_path, pause=more) == b"0\n" * 600_000


@pytest.mark.parametrize("more", [b"", b"x" * 100, b"\0" * 511])
def test_miniseed_is_cut_at_a_record(tmp_path, more):
    miniseed(tmp_path / "a.mseed")
    whole = (tmp_path / "a.mseed").read_bytes()
    assert len(whole) % 512 == 0
    assert len(whole) >= 4 * 512
    assert taken(file(tmp_path, whole + more, "b.mseed"), tmp_path) == whole
    assert refused(file(tmp_path, whole[:500], "c.mseed"), tmp_path) == "no record of it is whole yet"


def test_miniseed_that_does_not_say_its_length_is_refused(tmp_path):
    miniseed(tmp_path / "a.mseed")
    data = bytearray((tmp_path / "a.mseed").read_bytes())
    mixed = bytes(data[:512]) + bytes(data[:512]) + b"\0" * 512
    assert refused(file(tmp_path, mixed, "m.mseed"), tmp_path) == "its miniSEED records are not all of 512 bytes"
    data[48:50] = (999).to_bytes(2, "big")
    assert "blockette 1000" in refused(file(tmp_path, bytes(data), "b.mseed"), tmp_path)
    miniseed3(tmp_path / "v3.mseed")
    assert "does not say where it may be cut" in refused(tmp_path / "v3.mseed", tmp_path)


@pytest.mark.parametrize("data", [b"SIMPLE  =" + b" " * 100_000, b"\xff\xfet\0,\0x\0\n\0", b"{\nHeaderID\n}\n" + bytes(2000), b"\x89PNG\r\n\x1a\n\0"])
def test_what_no_format_says_is_copied_while_it_is_still_where_it_is_named(tmp_path, data):
    path = file(tmp_path, data, "a.fits")
    assert "name it in `snapshot_match`" in refused(path, tmp_path)
    assert taken(path, tmp_path, known_only=False) == data
    rounds = []

    def more(seconds):
        rounds.append(seconds)
        with path.open("ab") as end:
            end.write(b"\0")

    assert refused(path, tmp_path, known_only=False, pause=more) == "changed while it was copied"
    assert len([seconds for seconds in rounds if seconds]) == cutting.TRIES - 1


def test_a_copy_that_would_fill_the_disk_is_not_made(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=1_000_000_003))
    assert taken(file(tmp_path, b"ab\n"), tmp_path) == b"ab\n"
    assert refused(file(tmp_path, b"abc\n"), tmp_path).startswith("a copy of 4 B would fill the disk of")


def test_what_a_killed_process_left_is_cleared(tmp_path):
    file(tmp_path, b"x", "snapshot-12")
    file(tmp_path, b"x", "mine")
    cutting.clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


# HDF5


@pytest.mark.parametrize("name", [None, "h5py is not here"])
def test_a_file_written_with_swmr_is_taken_while_it_is_written(tmp_path, monkeypatch, name):
    """The snapshot opens as any file, and its rows are a beginning of the truth; ten of them, one after the other."""
    path = tmp_path / "scan.h5"
    with subprocess.Popen([sys.executable, WRITER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout.readline() == "ready\n"
            with pytest.raises(OSError, match="already open for write"):
                h5py.File(shutil.copy(path, tmp_path / "raw.h5"), "r")
            if name:
                monkeypatch.setattr(readable, "can_be_asked", lambda: False)
                writer.send_signal(19)  # SIGSTOP: between two rows
            before = 0
            for _ in range(10):
                with made(path, tmp_path) as one, h5py.File(one.path, "r") as held:
                    rows = [held["entry"][dataset].shape[0] for dataset in ("counts", "frames", "late")]
                    assert max(rows) - min(rows) <= 1
                    assert min(rows) >= max(before, 6)
                    before = min(rows)
                    np.testing.assert_array_equal(held["entry/counts"][:], np.arange(rows[0]))
                    np.testing.assert_array_equal(held["entry/frames"][:], np.broadcast_to(np.arange(rows[1])[:, None, None], (rows[1], 64, 64)))
                    np.testing.assert_array_equal(held["entry/late"][:], np.arange(rows[2]))
                    np.testing.assert_array_equal(held["entry/sealed"][:], np.arange(10))
            assert name or before > 6, "it has grown meanwhile"
        finally:
            writer.kill()
    assert path.read_bytes()[11] == 5, "the original is as its writer left it"


def test_without_h5py_a_file_that_moves_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(readable, "can_be_asked", lambda: False)
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as held:
        held["x"] = np.arange(1000)
        held.flush()

        def more(_seconds):
            with (tmp_path / "a.h5").open("ab") as end:
                end.write(b"\0")

        assert "without h5py it cannot be seen" in refused(tmp_path / "a.h5", tmp_path, pause=more)


def test_a_copy_that_cannot_be_read_is_none(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as held:
        held.create_dataset("x", data=np.arange(100_000), chunks=(1000,))
    data = (tmp_path / "a.h5").read_bytes()
    why = refused(file(tmp_path, data[: len(data) // 2], "half.h5"), tmp_path)
    assert why.startswith("as it stands on the disk it cannot be read (")
    assert refused(file(tmp_path, data[:20], "begun.h5"), tmp_path) == "its superblock is being written"
    spoilt = data[:30] + b"\xee" + data[31:]
    assert refused(file(tmp_path, spoilt, "spoilt.h5"), tmp_path) == "its superblock is being written"


@pytest.mark.parametrize("how", [{"libver": "latest"}, {}, {"libver": "latest", "userblock_size": 1024}, {"libver": ("v108", "v108")}])
def test_the_checksum_is_that_of_the_library(tmp_path, how):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", **how) as held:
        held["x"] = np.arange(10)
    before = path.read_bytes()
    assert superblock.close(path)
    assert path.read_bytes() == before, "a closed file is as the library closes it"
    assert taken(path, tmp_path) == before


def test_the_checksum_of_known_texts():
    """From lookup3.c's own driver5."""
    assert superblock.lookup3(b"") == 0xDEADBEEF
    assert superblock.lookup3(b"Four score and seven years ago") == 0x17770551


def test_netcdf4_is_hdf5(tmp_path):
    netcdf4(tmp_path / "a.nc")
    assert taken(tmp_path / "a.nc", tmp_path) == (tmp_path / "a.nc").read_bytes()

"""Checksum manifests in the forms that are met, and that none is passed over in silence."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess

import pytest
from neve.errors import WrongUse
from neve.send.offer import Offer
from neve.send.source import Skipped
from neve.send.sums import is_manifest, read_sums, sums_below

A, B = "a" * 64, "b" * 64


def read(folder, text, name="SHA256SUMS", **options):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_sums(path, **options)


@pytest.mark.parametrize(
    ("text", "sums"),
    [
        (f"{A}  x\n", {b"x": A}),
        (f"{A} *x\n{B}  y z\n", {b"x": A, b"y z": B}),
        (f"{A.upper()}  x", {b"x": A}),
        (f"{A}  ./x/y\r\n", {b"x/y": A}),
        (f"\\{A}  a\\nb\\\\c\\r\n", {b"a\nb\\c\r": A}),
        (f"{A}  a\\nb\n", {b"a\\nb": A}),
        (f"SHA256 (x (1).h5) = {A}\n", {b"x (1).h5": A}),
        (f"\ufeff{A}  x\n", {b"x": A}),
        (f"# made by hand\n\n{A}   x\n", {b" x": A}),
        (b"%s  \xff\xfe\n" % A.encode(), {b"\xff\xfe": A}),
        (f"{A}  ä\n".encode("utf-16"), {"ä".encode(): A}),
        (f"{A}  x\n{A}  x\n", {b"x": A}),
        ("", {}),
    ],
)
def test_coreutils_and_its_kin(folder, text, sums):
    assert read(folder, text, windows=False) == sums


def test_coreutils_itself(folder):
    names = [b"plain", b"new\nline", b"back\\slash", b"\xff bytes", b"cr\r", "🧊".encode()]
    for name in names:
        (folder / os.fsdecode(name)).write_bytes(name)
    for flags in ([], ["--binary"], ["--tag"]):
        printed = subprocess.run(["sha256sum", *flags, "--", *names], cwd=folder, capture_output=True, check=True).stdout
        assert read(folder, printed, "x.sha256") == {name: hashlib.sha256(name).hexdigest() for name in names}


def test_bagit(folder):
    assert read(folder, f"{A}  data/50%25 new%0Aline%0D.h5\n{B}\tdata/x\n", "manifest-sha256.txt") == {b"data/50% new\nline\r.h5": A, b"data/x": B}


def test_windows_and_a_lone_sum(folder):
    assert read(folder, f"{A}  sub\\x\n", windows=True) == {b"sub/x": A}
    assert read(folder, f"{A}\n", "scan.h5.sha256") == {b"scan.h5": A}


@pytest.mark.parametrize("text", ["hello\n", f"{A[:-1]}  x\n", f"{A}\n", f"{A}  x\n{B}  x\n", "\0\0"])
def test_what_is_no_manifest_is_said(folder, text):
    with pytest.raises(WrongUse):
        read(folder, text)


def test_names_of_manifests():
    assert all(map(is_manifest, ["x.sha256", "X.SHA256", "SHA256SUMS", "sha256sums.txt", "manifest-sha256.txt"]))
    assert not any(map(is_manifest, ["x.sha25", "sums", "manifest-md5.txt"]))


def test_sums_given_from_elsewhere(tmp_path):
    sums = {b"run42/x": A, b"run42/sub/y": B, b"other/z": A, b"../w": B}
    assert sums_below(tmp_path / "SHA256SUMS", sums, tmp_path / "run42") == {b"x": A, b"sub/y": B}
    assert sums_below(tmp_path / "run42" / "sub" / "SHA256SUMS", {b"y": A, b"../x": B}, tmp_path / "run42") == {b"sub/y": A, b"x": B}
    assert sums_below(tmp_path / "s", {os.fsencode(tmp_path / "run42" / "x"): A}, tmp_path / "run42") == {b"x": A}


def test_a_manifest_among_the_files_counts_by_itself(folder):
    (folder / "bag" / "data").mkdir(parents=True)
    (folder / "bag" / "data" / "x").write_bytes(b"x")
    (folder / "bag" / "manifest-sha256.txt").write_text(f"{A}  data/x\n{B}  data/gone\n")
    (folder / "y").write_bytes(b"y")
    (folder / "y.sha256").write_text(f"{B}\n")
    (folder / "z.sha256").write_text("no manifest\n")
    offer = Offer([folder], None)
    given = list(offer.sources())
    assert offer.sums == {b"bag/data/x": A, b"bag/data/gone": B, b"y": B}
    failed = sorted(f"{one.path.name} {one.reason}" for one in given if isinstance(one, Skipped))
    assert failed[0] == "manifest-sha256.txt names bag/data/gone, which is not there"
    assert failed[1].startswith("z.sha256 cannot be used: Line 1 of ")
    single = Offer([folder / "y"], None)
    assert [one.name for one in single.sources()] == [b"y"]
    assert single.sums == {b"y": B}


def test_a_manifest_that_is_given(folder, tmp_path):
    (folder / "x").write_bytes(b"x")
    (tmp_path / "SHA256SUMS").write_text(f"{A}  run42/x\n{B}  elsewhere\n")
    assert Offer([folder], tmp_path / "SHA256SUMS").sums == {b"x": A}
    assert Offer([folder / "x"], tmp_path / "SHA256SUMS").sums == {b"x": A}
    (tmp_path / "names").write_text(f"{A}  x\n")
    assert Offer([folder], tmp_path / "names").sums == {b"x": A}
    with pytest.raises(WrongUse, match="cannot be read"):
        Offer([folder], tmp_path / "nowhere")
    shutil.rmtree(folder)
    with pytest.raises(WrongUse, match="There is no"):
        Offer([folder], None)
    folder.mkdir()
    with pytest.raises(WrongUse, match="no file"):
        Offer([folder], None)

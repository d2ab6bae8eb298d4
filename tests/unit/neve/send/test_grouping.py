"""Which dataset a file belongs to, and under which name."""

from __future__ import annotations

import importlib.util

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from neve.errors import WrongUse
from neve.send.grouping import ByField, ByFolder, ByPattern, Place, dataset_name
from neve.send.ready import MANIFESTS, MARKERS, Names

from archiver import names

SIGNALS = Names([*MARKERS, *MANIFESTS])


def by_folder(*folders, deepest=False):
    return ByFolder(SIGNALS, set(folders).__contains__, deepest=deepest)


def placed(rule, name):
    found = rule.place(name, None)
    return None if found is None else (found.dataset, found.name)


def test_the_first_folder_is_the_dataset_with_all_below_it():
    rule = by_folder()
    assert placed(rule, b"run42/scan.h5") == ("run42", b"scan.h5")
    assert placed(rule, b"run42/raw/a/scan.h5") == ("run42", b"raw/a/scan.h5")
    assert placed(rule, "Probe é 3/x".encode()) == ("Probe é 3", b"x")


def test_a_file_beside_the_folders_is_a_dataset_with_its_companions():
    rule = by_folder()
    assert placed(rule, b"scan_001.h5") == ("scan_001", b"scan_001.h5")
    assert placed(rule, b"scan_001.log") == ("scan_001", b"scan_001.log")
    assert placed(rule, b"scan_001.h5.sha256") == ("scan_001", b"scan_001.h5.sha256")
    assert placed(rule, b"v1.2 of things") == ("v1.2 of things", b"v1.2 of things")


def test_markers_beside_a_folder_go_with_it():
    rule = by_folder(b"v1.2", b"a/run1")
    assert placed(rule, b"v1.2.done") == ("v1.2", b"v1.2.done")
    assert placed(rule, b"v1.2.sha256") == ("v1.2", b"v1.2.sha256")
    assert placed(rule, b"other.done") == ("other", b"other.done")
    assert placed(rule, b"a/run1.done") == ("a", b"run1.done")


def test_the_deepest_folder():
    rule = by_folder(b"a/run1", deepest=True)
    assert placed(rule, b"a/run1/x.h5") == ("a_run1", b"x.h5")
    assert placed(rule, b"a/run1.done") == ("a_run1", b"run1.done")
    assert placed(rule, b"a/notes.txt") == ("a", b"notes.txt")
    assert placed(rule, b"loose.h5") == ("loose", b"loose.h5")
    # names that would read the same stay apart
    assert placed(rule, b"a_b/c/x")[0] != placed(rule, b"a/b_c/x")[0]


def test_a_pattern_with_groups():
    rule = ByPattern(r"(?P<project>[^/]+)/(?P<dataset>scan\d+)[^/]*/(?P<path>.+)")
    found = rule.place(b"ice-2026/scan7_test/raw/a.h5", None)
    assert found == Place("scan7", b"raw/a.h5", "ice-2026")
    assert rule.place(b"elsewhere.h5", None) is None
    whole = ByPattern(r"(?P<dataset>scan\d+)")
    assert placed(whole, b"scan7_001.h5") == ("scan7", b"scan7_001.h5")
    assert placed(whole, b"scan7/a/\xff.h5") == ("scan7", b"scan7/a/\xff.h5")
    assert placed(ByPattern(r"(?P<dataset>x?)"), b"y") is None


@pytest.mark.parametrize(("pattern", "says"), [("(", "no regular expression"), (r"scan\d+", "no group `dataset`")])
def test_a_pattern_that_cannot_be(pattern, says):
    with pytest.raises(WrongUse, match=says):
        ByPattern(pattern)


def test_a_field_of_the_file(tmp_path):
    rule = ByField("/entry/entry_identifier", "/entry/@proposal", by_folder())
    path = tmp_path / "x.h5"
    for value, dataset in [
        ("run 7", "run 7"),
        (b"run8", "run8"),
        (np.array([b"run9"]), "run9"),
        (12, "12"),
        (np.array(["a", "b"], dtype="S1"), "folder"),
        ("", "folder"),
    ]:
        with h5py.File(path, "w") as file:
            file["entry/entry_identifier"] = value
            file["entry"].attrs["proposal"] = "ice-2026"
        found = rule.place(b"folder/x.h5", path)
        assert (found.dataset, found.project) == (dataset, None if dataset == "folder" else "ice-2026")
        assert found.name == (b"x.h5" if dataset == "folder" else b"folder/x.h5")
    for broken in (b"no HDF5", b"\x89HDF\r\n\x1a\n" + b"\xff" * 90):
        path.write_bytes(broken)
        assert placed_at(rule, b"folder/x.h5", path) == ("folder", b"x.h5")
    with h5py.File(path, "w") as file:
        file["entry/entry_identifier"] = h5py.SoftLink("/nowhere")
    assert placed_at(rule, b"folder/x.h5", path) == ("folder", b"x.h5")


def placed_at(rule, name, path):
    found = rule.place(name, path)
    return found.dataset, found.name


def test_without_h5py_a_field_is_refused_at_the_start(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(WrongUse, match=r"need h5py.*pip install h5py"):
        ByField("/entry/title", None, by_folder())


@given(st.binary(min_size=1, max_size=255).filter(lambda raw: b"/" not in raw and b"\0" not in raw))
def test_every_folder_name_gives_a_name_that_the_archiver_takes(raw):
    name = dataset_name(raw)
    assert names.dataset(name) == name
    assert dataset_name(raw) == name  # the same for ever
    if name.encode() == raw:
        return
    assert name != dataset_name(raw + b"?")  # what had to be changed is told apart by its true name

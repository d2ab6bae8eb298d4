"""What a run needs before it runs: read out of notebooks and programs, without running them."""

import json

import neve
import pytest
from neve.errors import NotFound, WrongUse
from neve.preflight_check import Preflight


@pytest.fixture
def lab(as_notebook):
    as_notebook.add("xas/scan7", {"scan.h5": (b"x" * 1000, "nexus")}, ["deep"])
    as_notebook.add("xas/scan8", {"scan.h5": (b"x" * 3000, "nexus")}, ["deep"])
    as_notebook.add("saxs/run1", {"scan.h5": (b"x" * 1000, "nexus")}, ["hot"])
    as_notebook.add("saxs/run2", {"scan.h5": (b"x" * 1000, "nexus")}, ["archive"])
    return as_notebook


def notebook(path, *cells):
    path.write_text(json.dumps({"cells": [{"cell_type": kind, "source": source.splitlines(keepends=True)} for kind, source in cells]}))
    return path


def test_names(lab):
    seen = neve.preflight(["scan7", "saxs/run1", "run2", "xas/scan7"])
    assert [one.dataset.full_name for one in seen] == ["xas/scan7", "saxs/run1", "saxs/run2"]
    assert seen.cold == ["xas/scan7"]
    assert not seen.ready
    assert repr(seen).splitlines() == [
        "<Preflight: 3 inputs; 1 cold (1.0 kB): .restore() asks for them>",
        "  xas/scan7  1.0 kB  deep archive  after it was brought back, within 3 days of asking",
        "  saxs/run1  1.0 kB  fast storage  at its path",
        "  saxs/run2  1.0 kB  archive  from the archive, slower",
    ]
    assert "<td" in seen._repr_html_()
    assert neve.preflight("run1").ready


def test_a_name_that_is_none(lab):
    with pytest.raises(NotFound, match="Did you mean"):
        neve.preflight("xas/scan9")


def test_a_notebook(lab, tmp_path):
    lab.add("saxs/path", {"scan.h5": (b"x", "nexus")}, ["deep"], project="snow")
    path = notebook(
        tmp_path / "run.ipynb",
        ("markdown", 'Nothing of cat["saxs/run2"] is read here.'),
        ("code", "%matplotlib inline\nimport neve\ncat = neve.catalog()\ndata = cat['scan7'].read()\nx = data['energy']"),
        ("code", '!ls\nfor n in (1, 2):\n    cat[f"saxs/run{n}"].read()\nneve.restore("xas/scan9").wait()'),
        ("code", f'open("{lab.data}/snow/saxs/2026/11/path/scan.h5")\nunits = "m/s"\nother = ["xas/scan8", 3]'),
    )
    seen = neve.preflight(path)
    assert [(one.name, one.cold) for one in seen] == [("xas/scan9", False), ("scan7", True), ("saxs/path", True), ("xas/scan8", True)]
    assert seen.unseen == 1
    assert repr(seen).startswith(
        "<Preflight: 4 inputs; 3 cold (4.0 kB): .restore() asks for them; 1 not known; 1 put together only while it runs: not seen>"
    )
    assert "see whether the name is right" in repr(seen)
    assert lab.asked("POST", "restores") == []


def test_all_that_is_cold_is_asked_for(lab):
    handles = neve.preflight(["scan7", "scan8", "run1"]).restore(days=3)
    assert [handle.dataset for handle in handles] == ["xas/scan7", "xas/scan8"]
    assert {restore["keep_days"] for restore in lab.restores.values()} == {3}
    assert "on its way back (asked for)" in repr(neve.preflight("scan7"))
    assert [handle.wait(timeout=30).status for handle in handles] == ["ready", "ready"]
    assert neve.preflight(["scan7", "scan8"]).ready


def test_a_program_that_python_does_not_understand(lab, tmp_path):
    path = tmp_path / "old.py"
    path.write_text('print "xas/scan7"\n')
    assert neve.preflight(str(path)).cold == ["xas/scan7"]


@pytest.mark.parametrize("text", ["no json", "[]", '{"cells": [{}]}'])
def test_no_notebook(lab, tmp_path, text):
    path = tmp_path / "x.ipynb"
    path.write_text(text)
    with pytest.raises(WrongUse, match="is no notebook"):
        neve.preflight(path)
    with pytest.raises(WrongUse, match="cannot be read"):
        neve.preflight(tmp_path / "absent.py")


def test_nothing_is_needed(lab, tmp_path):
    path = notebook(tmp_path / "x.ipynb", ("code", "1 + 1"))
    seen = neve.preflight(path)
    assert isinstance(seen, Preflight)
    assert seen.ready
    assert repr(seen) == "<Preflight: 0 inputs; none cold>"

"""Tags, comments and the files of a dataset."""

import neve
import pytest
from neve.errors import NotFound, WrongUse


@pytest.fixture
def lab(as_notebook):
    as_notebook.add("saxs/run1", {"b.h5": (b"x" * 1000, "nexus"), "a.log": (b"x", None)}, ["hot"])
    return as_notebook


def test_tags(lab):
    assert neve.tag("run1", "good", "calibrated") == ("good", "calibrated")
    assert neve.tag("run1", remove="good") == ("calibrated",)
    assert neve.tag("run1") == ("calibrated",)
    assert len(lab.asked("PATCH", "datasets")) == 2
    assert neve.catalog()["run1"].info.tags == ("calibrated",)


def test_comments(lab):
    said = neve.comment("saxs/run1", "beam lost at 12:03")
    assert (said.user, said.text) == ("alice", "beam lost at 12:03")
    assert neve.comments("run1") == [said]


def test_files(lab):
    files = neve.ls("run1")
    assert repr(files) == "a.log  1 B    \nb.h5  1.0 kB  nexus  "
    assert "<td" in files._repr_html_()
    assert [file.path for file in neve.ls("run1", "*.h5")] == ["b.h5"]


def test_wrong(lab):
    with pytest.raises(NotFound, match="Did you mean"):
        neve.tag("saxs/run2", "x")
    with pytest.raises(WrongUse, match=r"neve\.catalog"):
        neve.ls("")


def test_search_by_metadata_and_tag(lab):
    neve.catalog().search(tag="good", sample="silver", energy_kev=(8, None), angle=0.5, sample__name='"12"', scan=">3")._first_page()
    asked = lab.seen[-1][1]
    for part in ("tag=good", "meta.sample=silver", "meta.energy_kev=8.0..", "meta.angle=0.5", "meta.sample.name=%2212%22", "meta.scan=%3E3"):
        assert part in asked
    with pytest.raises(WrongUse, match="no range"):
        neve.catalog().search(energy_kev=(1, 2, 3))


def test_more_than_are_counted(lab, monkeypatch):
    page = lab.page
    monkeypatch.setattr(lab, "page", lambda query: {**page(query), "total_more": True})
    assert "more than 1 dataset" in repr(neve.catalog())
    assert len(neve.catalog()) == 1


def test_lineage_names_each_once_and_is_escaped(as_notebook):
    numbers = [as_notebook.add(name, {"f.h5": (b"x", "nexus")}, ["hot"]) for name in ("saxs/raw", "xas/dark", "results/mean", "results/fit")]
    raw, dark, mean, fit = numbers
    as_notebook.datasets[fit]["title"] = "<b>Fit</b>"
    as_notebook.datasets[dark]["state"] = "erased"
    as_notebook.edges = [(mean, raw), (mean, dark), (fit, mean), (fit, raw)]
    family = neve.lineage("fit")
    assert repr(family).splitlines() == [
        "results/fit in p1: <b>Fit</b>",
        "  made of",
        "    results/mean in p1",
        "      saxs/raw in p1",
        "      xas/dark in p1 (erased)",
        "    saxs/raw (see above)",
        "  made into: nothing that is known here",
    ]
    assert "<b>" not in family._repr_html_()
    assert "&lt;b&gt;Fit" in family._repr_html_()
    assert [one.full_name for one in neve.lineage("raw").descendants] == ["results/mean", "results/fit"]
    with pytest.raises(NotFound, match="Did you mean"):
        neve.lineage("fi")

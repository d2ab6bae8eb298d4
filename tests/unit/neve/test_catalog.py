"""The catalog: intake's, lazy, paged, narrowed by the server, and without secrets."""

import inspect

import intake
import neve
import pytest
import yaml
from neve.errors import Ambiguous, NotFound, WrongUse
from neve.intake_catalog import NeveCatalog

TOKEN = "secret-token-0123456789"


@pytest.fixture
def cat(as_notebook):
    for number in range(250):
        as_notebook.add(f"saxs/run{number:03}", {"f.h5": (b"x", "nexus")}, ["hot"] if number < 200 else ["deep"], age_days=number)
    as_notebook.add("xas/run007", {"f.h5": (b"x", "nexus")}, ["archive"], age_days=300, title="Copper foil")
    return neve.catalog()


def test_is_an_intake_catalog(cat):
    assert isinstance(cat, intake.Catalog)
    reader = cat["saxs/run001"]
    assert isinstance(reader, intake.BaseReader)
    assert reader.output_instance == "xarray:Dataset"
    assert reader.discover.__func__ is intake.BaseReader.discover


def test_opening_asks_nobody(cat, as_notebook):
    assert bool(cat)
    assert as_notebook.seen == []


def test_length_and_iteration(cat, as_notebook):
    assert len(cat) == 251
    assert next(iter(cat)) == "saxs/run000"
    assert len(as_notebook.seen) == 2
    names = list(cat)
    assert len(names) == 251
    assert names[-1] == "xas/run007"


def test_names(cat):
    assert "saxs/run001" in cat
    assert "run001" in cat
    assert cat["saxs/run001"] in cat
    assert "run999" not in cat
    assert 7 not in cat
    assert cat["run001"].name == "saxs/run001"
    with pytest.raises(Ambiguous):
        cat["run007"]
    with pytest.raises(KeyError) as caught:
        cat["saxs/run999"]
    assert isinstance(caught.value, NotFound)
    assert caught.value.nearest


def test_metadata_of_an_entry(cat):
    metadata = cat["saxs/run001"].metadata
    assert metadata["tier"] == "hot"
    assert metadata["size_bytes"] == 1
    assert metadata["acquired_at"].year == 2026
    assert metadata["measured"] == {"sample": "silver"}


def test_search_is_the_servers(cat, as_notebook):
    found = cat.search("run00", tier="hot", project="p1", instrument="saxs")
    assert as_notebook.seen == []
    assert list(found) == [f"saxs/run00{n}" for n in range(10)]
    assert len(found) == 10
    assert list(cat.search("copper foil".title())) == ["xas/run007"]
    assert len(cat.search(since="2026-10-30")) == 3
    assert len(cat.search(since="2026-10-30", until="2026-10-30")) == 1
    assert list(cat.search("run00").search("5")) == ["saxs/run005"]
    assert len(cat.search(tier="deep").search("run2")) == 50


def test_search_narrows_lookups(cat):
    found = cat.search(tier="deep")
    assert "saxs/run001" not in found
    with pytest.raises(NotFound, match="not in this search"):
        found["saxs/run001"]
    assert found["saxs/run200"].name == "saxs/run200"


@pytest.mark.parametrize("wrong", [{"since": "yesterday"}, {"until": "2024-13-01"}])
def test_search_refuses(cat, wrong):
    with pytest.raises(WrongUse):
        cat.search(**wrong)
    with pytest.raises(WrongUse):
        cat.search(tier="hot").search(tier="deep")


def test_intake_search_expression(cat):
    from intake.readers.search import Text

    assert len(cat.search("run24").search(Text("run249"))) == 1


def test_repr(cat, as_notebook):
    text = repr(cat)
    assert "251 datasets" in text
    assert "saxs/run000" in text
    assert "and 241 more" in text
    assert len(as_notebook.seen) == 1
    assert "Dataset saxs/run001: 1 B in 1 file(s), 2026-10-31, fast storage" in repr(cat["saxs/run001"])


def test_html_repr_is_escaped(cat, as_notebook):
    as_notebook.add("saxs/new", {"f.h5": (b"x", "nexus")}, ["hot"], age_days=-3, title="<script>alert(1)</script>")
    text = cat._repr_html_()
    assert "&lt;script&gt;" in text
    assert "<script>" not in text
    assert "<table>" in text


def test_repr_says_what_is_wrong(cat, as_notebook):
    as_notebook.fail += [(500, "text/html", b"")] * 2
    assert "is not the archiver" in repr(cat)
    assert "is not the archiver" in cat._repr_html_()


def test_completion(cat):
    names = cat.search("run00")._ipython_key_completions_()
    assert "saxs/run001" in names
    assert "run001" in names
    assert "run007" not in names  # two instruments have one


def test_completion_and_attributes_are_quiet(cat, as_notebook):
    assert not hasattr(cat, "run001")
    assert not hasattr(cat, "_ipython_display_")
    assert "search" in dir(cat)
    reader = cat["saxs/run001"]
    asked = len(as_notebook.seen)
    assert not hasattr(reader, "raed")
    with pytest.raises(AttributeError, match="has no 'raed'"):
        reader.raed()
    assert len(as_notebook.seen) == asked


def test_yaml_has_no_secret_and_opens_again(cat, as_notebook, tmp_path):
    path = tmp_path / "cat.yaml"
    cat.search("run00", tier="hot").to_yaml_file(str(path))
    text = path.read_text()
    assert TOKEN not in text
    assert not {"access_key", "secret"} & set(text.split())
    assert yaml.safe_load(text)["version"] == 2
    again = intake.from_yaml_file(str(path))
    assert len(again) == 10
    reader = again["saxs/run003"]
    assert isinstance(reader, neve.DatasetReader)
    assert reader.name == "saxs/run003"
    assert reader.info.size_bytes == 1
    assert "saxs/run003" in repr(reader)


def test_no_secret_in_any_repr(cat):
    entry = cat.get_entity("saxs/run001")
    told = [
        repr(cat),
        repr(cat.entries),
        repr(entry),
        repr(cat["saxs/run001"]),
        str(entry.to_dict()),
        str(cat["saxs/run001"].to_dict()),
        str(cat["saxs/run001"].kwargs),
    ]
    assert not [text for text in told if TOKEN in text]


def test_read_only(cat):
    for change in (
        lambda: cat.add_entry(None),
        lambda: cat.__setitem__("x", cat["saxs/run001"]),
        lambda: cat.__delitem__("saxs/run001"),
        lambda: cat.__iadd__(cat),
        lambda: cat.rename("a", "b"),
    ):
        with pytest.raises(WrongUse, match="not written to"):
            change()


def test_together_with_another_catalog(cat):
    other = intake.Catalog()
    other["mine"] = cat["xas/run007"].to_entry()
    both = cat.search("run000") + other
    assert sorted(both.entries) == ["mine", "saxs/run000"]
    assert both["mine"].name == "xas/run007"


def test_an_empty_catalog_stays_itself(as_notebook):
    cat = neve.catalog()
    assert len(cat) == 0
    assert list(cat) == []
    assert "0 datasets" in repr(cat)
    as_notebook.add("saxs/run1", {"f.h5": (b"x", "nexus")}, ["hot"])
    assert list(cat) == ["saxs/run1"]
    assert list(cat.entries) == ["saxs/run1"]


def test_equal_and_hashable(cat):
    assert cat == neve.catalog()
    assert cat.search(tier="hot") != cat
    assert hash(cat) == hash(neve.catalog())
    assert cat() is cat


def test_every_public_method_of_intake_was_thought_of():
    """What intake's Catalog does with its dicts must be done anew here, or be harmless: a new intake must not bring back the eager form."""
    harmless = {
        "check_imports",
        "from_dict",
        "from_entries",
        "from_yaml_file",
        "get_aliases",
        "name",
        "pprint",
        "qname",
        "tab_completion_fixer",
        "to_yaml_file",
        "token",
    }
    ignored = {"delete", "extract_parameter", "move_parameter", "promote_parameter_name"}  # they go through get_entity and __delitem__
    public = {name for name, _ in inspect.getmembers(intake.Catalog) if not name.startswith("_")}
    assert public - set(vars(NeveCatalog)) == harmless | ignored

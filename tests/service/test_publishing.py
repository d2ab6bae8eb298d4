"""Results that people publish: through the real API into a real store, with what they were made of; and taken home again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import neve
import pytest
from fixtures.door import Door
from fixtures.site import ALL
from neve import client as neve_client
from neve.errors import NotFound, WrongUse

from archiver import auth, names

TABLE = "energy,mu\n7000,0.1\n7001,0.2\n7002,0.4\n"


@pytest.fixture
def lab(request, doors: Callable[..., Door], tmp_path: Path, monkeypatch) -> Door:
    """alice, in snow; saxs/raw is measured. With a `param`, the store is known outside by another name than it answers at here."""
    outside = getattr(request, "param", None)
    door = doors(endpoint_url=outside)
    monkeypatch.setenv("NEVE_API_URL", door.url)
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", door.hub.add("alice", "snow", scopes=[*ALL, auth.INGEST]))
    if outside:
        monkeypatch.setenv("NEVE_S3_URL", door.bench.archive.settings.store.endpoint_url or "")
    door.bench.ingest("raw", {"scan.dat": b"1 2\n"})
    monkeypatch.chdir(tmp_path)
    Path("fit.csv").write_text(TABLE)
    yield door
    neve_client.disconnect()


@pytest.mark.parametrize("lab", [None, "http://store.invalid:9"], indirect=True)
def test_a_result_is_found_read_and_taken_home(lab: Door, tmp_path: Path):
    with lab.working():
        made = neve.publish("fit.csv", "Fit of the edge", derived_from="saxs/raw")
    seen = made.info
    assert (seen.full_name, seen.project, seen.state, seen.title, seen.file_count) == ("results/fit", "snow", "closed", "Fit of the edge", 1)
    assert [item.full_name for item in neve_client.connect().datasets({"q": "edge"})] == ["results/fit"]
    family = neve.lineage("results/fit")
    assert [one.full_name for one in family.ancestors] == ["saxs/raw"]
    assert repr(family).splitlines() == [
        "results/fit in snow: Fit of the edge", "  made of", "    saxs/raw in snow", "  made into: nothing that is known here",
    ]  # fmt: skip
    assert repr(neve.lineage("raw")).endswith("  made into\n    results/fit in snow: Fit of the edge")
    done = neve.download("fit", tmp_path / "home")
    assert (done.failed, (tmp_path / "home" / "fit" / "fit.csv").read_text()) == ({}, TABLE)


def test_again_it_is_the_same_and_another_content_is_a_new_one(lab: Door):
    with lab.working():
        first = neve.publish("fit.csv", "Fit", derived_from=neve.catalog()["raw"])
        again = neve.publish("fit.csv", "Fit", derived_from=["saxs/raw"])
        assert again.info.id == first.info.id
        Path("fit.csv").write_text(TABLE + "7003,0.8\n")
        neve.publish("fit.csv", "Fit", derived_from=["saxs/raw"])
    assert sorted(neve.catalog().search(instrument="results")) == ["results/fit", "results/fit+1"]


def test_the_title_a_person_gave_stays(lab: Door):
    Path("named.dat").write_text("# title: inside\n# x y\n1 2\n3 4\n5 6\n")
    with lab.working():
        made = neve.publish("named.dat", "Outside", project="snow")
    assert made.info.title == "Outside"
    with lab.bench.archive.ledger.read() as tx:
        described = tx.object_with_key(names.manifest_key(made.info.prefix))
        copy = tx.copies_of(described.id)[0]
    manifest = json.loads(b"".join(lab.bench.archive.tiers[copy.tier].read(copy.key, copy.version_id)))
    assert (manifest["dataset"]["title"], manifest["dataset"]["called"]) == ("Outside", "Outside")


def test_what_is_missing_is_said_before_anything_is_sent(lab: Door):
    with pytest.raises(NotFound, match="Did you mean saxs/raw"):
        neve.publish("fit.csv", "Fit", derived_from="saxs/rau")
    with pytest.raises(WrongUse, match="without a title"):
        neve.publish("fit.csv", " ")
    with pytest.raises(WrongUse, match="nothing to publish"):
        neve.publish([], "Fit")
    lab.hub.add("alice", "snow", "ice-cores", scopes=[*ALL, auth.INGEST])
    with pytest.raises(WrongUse, match=r"ice-cores, snow\. Give project="):
        neve.publish("fit.csv", "Fit")
    assert sorted(neve.catalog()) == ["saxs/raw"]


def test_an_instrument_publishes_nothing(lab: Door):
    answer = lab.client().post("datasets", json={"name": "x", "title": "mine"})
    assert (answer.status_code, answer.json()["code"]) == (422, "wrong-use")

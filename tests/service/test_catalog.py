"""The catalog by its API: searching, tags and comments, lineage, public projects, taking data home; who may do which."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import subprocess
import zipfile
from datetime import timedelta

import httpx
import intake
import pytest
import sqlalchemy as sa
from fixtures.archive import Bench, lose_the_ledger
from fixtures.routes import ROUTES, problem
from fixtures.site import ALL, HOSTILE, HOSTILE_FILE

from archiver import auth, download, rebuild, remark, upload
from archiver.api import models
from archiver.api.catalog_routes import Facets
from archiver.download import Listed, Wanted
from archiver.errors import NotFound, WrongUse
from archiver.keys import Sender


@pytest.fixture
def public(site):
    """The project ice-cores, public since yesterday, until the test ends."""
    with site.bench.archive.ledger.begin() as tx:
        tx.make_public("ice-cores", site.bench.now - timedelta(days=1))
    yield site
    with site.bench.archive.ledger.begin() as tx:
        tx.make_public("ice-cores", None)


# Searching


def test_an_unknown_name_is_answered_with_the_three_nearest(site):
    alice = site.as_("alice")
    assert alice.json("datasets/complete", prefix="rum-3")["near"][:1] == ["saxs/run-3"]
    assert alice.json("datasets/complete", prefix="saxs/run-33")["near"][:1] == ["saxs/run-3"]
    assert len(alice.json("datasets/complete", prefix="run-9")["near"]) == 3
    assert alice.json("datasets/complete", prefix="run-3") == {"names": ["run-3"], "tags": [], "fields": [], "near": []}
    assert alice.json("datasets/complete", prefix="core-2")["near"] == [], "another project's"
    assert site.as_("bob").json("datasets/complete", prefix="core-2")["near"] == ["weather/core-1"]


def asked_of_the_ledger(site, who: str, path: str, **params: object) -> list[str]:
    """The statements that one request makes, and where its transactions begin."""
    engine, said = site.bench.archive.ledger.engine, list[str]()

    def note(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        said.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        site.as_(who).json(path, **params)
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
    return said


def test_a_search_is_one_transaction_of_few_statements(site):
    """However many datasets are on the page: none is asked for by itself."""
    for path, params, most in (
        ("datasets", {}, 9),
        ("datasets", {"q": "run"}, 9),
        ("datasets/facets", {}, 6),
        ("datasets/complete", {"prefix": "run"}, 5),
    ):
        said = asked_of_the_ledger(site, "bob", path, **params)
        assert len([one for one in said if one.startswith("BEGIN")]) == 1, said
        assert len(said) - 1 <= most, said


def test_a_page_of_the_catalog_is_of_the_shape_that_is_declared(site):
    """It is not looked at again on its way out: what `describe` makes is the declared form, no member more or less, written in the same way."""
    for asked in ({}, {"q": "run"}, {"limit": 2}):
        page = site.as_("root").get("api/v1/datasets", params=asked)
        again = models.Datasets.model_validate_json(page.content)
        assert (page.headers["Content-Type"], again.items[0].name != "") == ("application/json", True)
        assert page.json() == json.loads(again.model_dump_json())
    counts = site.as_("root").get("api/v1/datasets/facets")
    assert counts.json() == json.loads(Facets.model_validate_json(counts.content).model_dump_json())


def test_words_filters_and_metadata_by_address(site):
    alice, number = site.as_("alice"), site.ids["saxs/run-3"]
    with site.bench.archive.ledger.begin() as tx:
        tx.update_dataset(number, metadata={"energy_kev": 12.5, "sample": {"name": "Silver foil"}, "user": "carol"})
    for asked, names in (
        ({"q": "silver"}, ["run-3"]),
        ({"q": "un-3 carol"}, ["run-3"]),
        ({"meta.energy_kev": ">12"}, ["run-3"]),
        ({"meta.energy_kev": "8..12"}, []),
        ({"meta.energy_kev": ["12.5", "<=13"]}, ["run-3"]),
        ({"meta.sample.name": "silver FOIL"}, ["run-3"]),
        ({"meta.user": "*"}, ["run-3"]),
        ({"meta.user": "carol", "tier": "hot"}, []),
    ):
        found = alice.json("datasets", **asked)
        assert ([d["name"] for d in found["items"]], found["total"], found["total_more"]) == (names, len(names), False), asked
    assert site.as_("bob").json("datasets", **{"meta.energy_kev": ">12"})["total"] == 0
    assert alice.json("datasets/facets", q="silver")["project"] == [{"value": "snow", "count": 1, "more": False}]
    assert "energy_kev" in alice.json("datasets/complete", prefix="ene")["fields"]
    assert site.as_("bob").json("datasets/complete", prefix="ene") == {"names": [], "tags": [], "fields": [], "near": []}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"meta.x": ">abc"}, "no number"),
        ({"meta.x": "9..1"}, "ends before it begins"),
        ({"meta.x": ""}, "no condition"),
        ({"meta.": "1"}, "not known here"),
        ({"colour": "red"}, "colour is not known here"),
        ({"q": "\0"}, "q is wrong"),
        ({"q": "x" * 10_000}, "q is wrong"),
        ({"tag": "two words"}, "cannot be a tag"),
        ({"sort": "best"}, "sort"),
        ({"cursor": "WyJuZXdlc3QiLCAxXQ"}, "cursor"),
        ({"cursor": "AAAA"}, "cursor"),
        ({f"meta.f{n}": "1" for n in range(11)}, "More than 10"),
    ],
)
def test_what_is_no_question_is_refused_with_a_sentence(site, asked, said):
    assert said in problem(site.as_("alice").get("api/v1/datasets", params=asked), 422, "wrong-use")["detail"]
    if not {"sort", "cursor"} & set(asked):
        problem(site.as_("alice").get("api/v1/datasets/facets", params=asked), 422, "wrong-use")


@pytest.mark.parametrize("q", ['"', "silver OR *", "NEAR(a b)", "a:b", "%", "_", "' OR 1=1 --", "\\", "🧊", "-", "^", "(" * 400])
def test_hostile_words_find_nothing_and_break_nothing(site, q):
    assert site.as_("eve").json("datasets", q=q)["total"] == 0
    assert site.as_("alice").get("api/v1/datasets/facets", params={"q": q}).status_code == 200
    assert site.as_("alice").get("api/v1/datasets/complete", params={"prefix": q}).status_code == 200


def test_every_order_by_pages(site):
    alice = site.as_("alice")
    for sort, key in (("name", "name"), ("largest", "size_bytes"), ("smallest", "size_bytes")):
        seen, cursor = [], None
        while True:
            page = alice.json("datasets", sort=sort, limit=3, **({"cursor": cursor} if cursor else {}))
            seen += [d[key] for d in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert seen == sorted(seen, reverse=sort == "largest")
        assert len(seen) == page["total"]
    first = alice.json("datasets", sort="name", limit=1)["next_cursor"]
    problem(alice.get("api/v1/datasets", params={"cursor": first}), 422, "wrong-use")


# Tags and comments


def test_tags_are_set_added_and_removed(site):
    alice, number = site.as_("alice"), site.ids["saxs/run-1"]

    def patch(**said):
        return alice.request("PATCH", f"api/v1/datasets/{number}", json=said)

    assert patch(tags=["Beam-Time", "good"]).json()["tags"] == ["beam-time", "good"]
    assert patch(add_tags=["x1"], remove_tags=["good", "none"]).json()["tags"] == ["beam-time", "x1"]
    assert [d["id"] for d in alice.json("datasets", tag=["beam-time", "x1"])["items"]] == [number]
    assert alice.json("datasets/complete", prefix="beam")["tags"] == ["beam-time"]
    assert {"value": "x1", "count": 1, "more": False} in alice.json("datasets/facets")["tag"]
    assert site.as_("bob").json("datasets/facets")["tag"] == []
    for wrong in ({"tags": ["two words"]}, {"add_tags": ["-"]}, {"tags": ["x" * 41]}, {"add_tags": [f"t{n}" for n in range(31)]}, {"tag": "x"}):
        problem(patch(**wrong), 422, "wrong-use")
    problem(site.as_("bob").request("PATCH", f"api/v1/datasets/{number}", json={"tags": []}), 404, "not-found")
    tagged = [e for e in alice.json(f"datasets/{number}/events", limit=200)["items"] if e["kind"] == "dataset.tagged"]
    assert [(e["actor"], e["detail"]) for e in tagged] == [
        ("alice", {"added": ["beam-time", "good"], "removed": []}),
        ("alice", {"added": ["x1"], "removed": ["good"]}),
    ]
    assert patch(tags=[]).json()["tags"] == []


def test_comments_are_their_authors(site):
    alice, number = site.as_("alice"), site.ids["saxs/run-2"]
    site.hub.add("dora", "snow")
    dora = site.as_("dora")
    assert alice.request("PATCH", f"api/v1/datasets/{number}", json={"comment": "The <b>beam</b> was lost.\n\nAt noon."}).json()["comments"] == 1
    made = dora.post(f"api/v1/datasets/{number}/comments", json={"text": "Not at all."})
    assert made.status_code == 201, made.text
    first, second = alice.json(f"datasets/{number}/comments")["items"]
    assert (first["user"], first["text"], second["user"]) == ("alice", "The <b>beam</b> was lost.\n\nAt noon.", "dora")
    assert alice.json("datasets", q="NOON")["total"] == 1
    path = f"api/v1/datasets/{number}/comments/{first['id']}"
    problem(dora.request("PATCH", path, json={"text": "x"}), 409, "conflict")
    problem(dora.request("DELETE", path), 409, "conflict")
    problem(site.as_("bob").request("DELETE", path), 404, "not-found")
    problem(alice.request("PATCH", path.replace(f"/{number}/", f"/{site.ids['saxs/run-1']}/"), json={"text": "x"}), 404, "not-found")
    assert alice.request("PATCH", path, json={"text": "It was found."}).json()["changed_at"] is not None
    for wrong in ("", " \n ", "x" * 4001, "a\x1b[31m"):
        problem(alice.request("PATCH", path, json={"text": wrong}), 422, "wrong-use")
    assert site.as_("root").request("DELETE", path).status_code == 204
    assert dora.request("DELETE", f"api/v1/datasets/{number}/comments/{second['id']}").status_code == 204
    assert alice.json(f"datasets/{number}/comments")["items"] == []
    assert alice.json("datasets", q="found")["total"] == 0


def test_tags_comments_and_lineage_are_there_after_a_rebuild(bench: Bench):
    source = bench.ingest("run1", {"a.txt": b"a"})
    sender = Sender("ana", None, ("snow",))
    made = upload.open_dataset(bench.archive, sender, "result", "snow", "saxs", ["run1"], ["snow"])
    assert upload.open_dataset(bench.archive, sender, "result", "snow", "saxs", ["saxs/run1"], ["snow"]).id == made.id
    with pytest.raises(WrongUse, match="opened as made of others"):
        upload.open_dataset(bench.archive, sender, "result", "snow", "saxs", ["result"], ["snow"])
    bench.ingest("result", {"r.txt": b"r"})
    remark.say(bench.archive, "ana", source.id, only=["good", "cold"])
    said = remark.comment(bench.archive, "ben", source.id, "Look at frame 7.")
    bench.settle()
    remark.say(bench.archive, "ana", source.id, remove=["cold"], comment="Late.")
    bench.settle()
    second = lose_the_ledger(bench)
    report = rebuild.rebuild(second.archive)
    assert report.problems == []
    assert any("comments" in line for line in report.cannot_know)
    with second.archive.ledger.read() as tx:
        again, result = tx.find_dataset("run1"), tx.find_dataset("result")
        assert tx.tags_of([again.id]) == {again.id: ["good"]}
        assert [(c.user, c.text, c.created_at) for c in tx.comments(again.id)] == [
            ("ben", "Look at frame 7.", said.created_at),
            ("ana", "Late.", bench.now),
        ]
        assert tx.parents([result.id]) == [(result.id, again.id)]
        assert [d.id for d in tx.search(_query("frame"), 9)] == [again.id]
    second.archive.ledger.dispose()


def _query(text: str):
    from archiver.ledger.searching import Query

    return Query(text=text)


# Lineage


def test_lineage_leaves_out_what_is_not_theirs(site):
    ids, archive = site.ids, site.bench.archive
    with archive.ledger.begin() as tx:
        tx.derive(ids["saxs/run-2"], [ids["saxs/run-1"], ids["weather/core-1"]])
        tx.derive(ids["saxs/run-1"], [ids["weather/run-1"]])
        tx.derive(ids["weather/core-1"], [ids["saxs/run-0"]])
        tx.derive(ids["saxs/run-3"], [ids["saxs/run-2"]])
    seen = site.as_("alice").json(f"datasets/{ids['saxs/run-2']}/lineage")
    assert [d["full_name"] for d in seen["ancestors"]] == ["saxs/run-1"]
    assert [d["full_name"] for d in seen["descendants"]] == ["saxs/run-3"]
    assert sorted((e["dataset_id"], e["derived_from_id"]) for e in seen["edges"]) == sorted(
        [(ids["saxs/run-2"], ids["saxs/run-1"]), (ids["saxs/run-3"], ids["saxs/run-2"])]
    )
    assert "weather" not in json.dumps(seen)
    everything = site.as_("root").json(f"datasets/{ids['saxs/run-2']}/lineage")
    assert {d["full_name"] for d in everything["ancestors"]} == {"saxs/run-1", "weather/core-1", "weather/run-1", "saxs/run-0"}
    problem(site.as_("bob").get(f"api/v1/datasets/{ids['saxs/run-2']}/lineage"), 404, "not-found")


def test_one_derives_from_what_one_may_read_only(site):
    site.hub.add("ina", "snow", scopes=[*ALL, auth.INGEST])
    ina = site.as_("ina")
    asked = {"name": "fit-1", "project": "snow", "instrument": "saxs"}
    hidden = problem(ina.post("api/v1/datasets", json={**asked, "derived_from": ["weather/core-1"]}), 404, "not-found")
    absent = problem(ina.post("api/v1/datasets", json={**asked, "derived_from": ["weather/core-9"]}), 404, "not-found")
    assert hidden["detail"].replace("core-1", "N") == absent["detail"].replace("core-9", "N")
    made = ina.post("api/v1/datasets", json={**asked, "derived_from": ["saxs/run-0", str(site.ids["saxs/run-1"])]})
    assert made.status_code == 200, made.text
    family = ina.json(f"datasets/{made.json()['id']}/lineage")
    assert {d["full_name"] for d in family["ancestors"]} >= {"saxs/run-0", "saxs/run-1"}


# Public projects


def test_public_data_is_read_by_all_and_changed_by_members_alone(public):
    site, number = public, public.ids["weather/core-1"]
    alice, eve = site.as_("alice"), site.as_("eve")
    shown = eve.json(f"datasets/{number}")
    assert (shown["public"], shown["project"]) == (True, "ice-cores")
    assert {d["project"] for d in eve.json("datasets", limit=200)["items"]} == {"ice-cores"}
    assert [v["value"] for v in eve.json("datasets/facets")["project"]] == ["ice-cores"]
    assert eve.json("datasets/complete", prefix="core")["names"] == ["core-1"]
    assert eve.json("me")["projects"] == []
    assert [(p["name"], p["member"]) for p in alice.json("projects")["items"]] == [("ice-cores", False), ("snow", True)]
    assert eve.post("api/v1/credentials", json={"project": "ice-cores"}).status_code == 200
    file = eve.json(f"datasets/{number}/files")["items"][0]["id"]
    for path in (f"datasets/{number}/events", f"datasets/{number}/comments", f"datasets/{number}/lineage", f"files/{file}/receipt"):
        assert eve.get(f"api/v1/{path}").status_code == 200, path
    asked = eve.post("api/v1/restores", json={"dataset": "weather/core-1"})
    assert asked.status_code == 201, asked.text
    mine = asked.json()["id"]
    assert [r["id"] for r in eve.json("restores")["items"]] == [mine]
    problem(alice.get(f"api/v1/restores/{mine}"), 404, "not-found")
    assert mine not in [r["id"] for r in alice.json("restores")["items"]]
    assert mine in [r["id"] for r in site.as_("bob").json("restores")["items"]]
    assert alice.json(f"datasets/{number}")["restore"] is None
    assert {c["user"] for c in alice.json(f"datasets/{number}")["claims"]} == {None}
    assert eve.post(f"api/v1/restores/{mine}/cancel").status_code == 200
    for answer in (
        eve.request("PATCH", f"api/v1/datasets/{number}", json={"tags": ["mine"]}),
        eve.post(f"api/v1/datasets/{number}/comments", json={"text": "hello"}),
    ):
        problem(answer, 403, "not-allowed")
    site.hub.add("ivo", scopes=[*ALL, auth.INGEST])
    problem(site.as_("ivo").post("api/v1/datasets", json={"name": "x", "project": "ice-cores", "instrument": "weather"}), 403, "not-allowed")


def test_a_day_that_has_not_come_makes_nothing_public(site):
    with site.bench.archive.ledger.begin() as tx:
        tx.make_public("ice-cores", site.bench.now + timedelta(days=1))
        with pytest.raises(NotFound):
            tx.make_public("nowhere", None)
    assert site.as_("eve").json("datasets")["total"] == 0
    problem(site.as_("eve").get(f"api/v1/datasets/{site.ids['weather/core-1']}"), 404, "not-found")
    with site.bench.archive.ledger.begin() as tx:
        tx.make_public("ice-cores", None)


def test_an_embargo_is_never_shorter_than_it_says(site):
    """Whatever day is said for the public: by every way that asks, its data are hidden until the embargo is over, and public from then on."""
    number, eve, day = site.ids["weather/core-1"], site.as_("eve"), timedelta(days=1)
    now = site.bench.now
    with site.bench.archive.ledger.begin() as tx:
        tx.put_project("ice-cores", {"public_after": now - day, "embargo_until": now + day, "pi": "Ada", "quota_bytes": 10**12})
    try:
        assert eve.json("projects")["items"] == []
        assert eve.json("datasets")["total"] == 0
        problem(eve.get(f"api/v1/datasets/{number}"), 404, "not-found")
        problem(eve.get(f"api/v1/datasets/{number}/download"), 404, "not-found")
        problem(eve.post("api/v1/credentials", json={"project": "ice-cores"}), 404, "not-found")
        assert site.as_("bob").json(f"datasets/{number}")["public"] is False
        site.bench.now = now + day  # it ends at that moment
        (told,) = eve.json("projects")["items"]
        assert (told["pi"], told["member"], told["quota_bytes"]) == ("Ada", False, None)
        assert told["public_from"] == told["embargo_until"] == (now + day).isoformat().replace("+00:00", "Z")
        assert site.as_("bob").json("projects")["items"][0]["quota_bytes"] == 10**12
        assert eve.json(f"datasets/{number}")["public"] is True
        with site.bench.archive.ledger.begin() as tx:
            tx.put_project("ice-cores", {"public_after": None})
        assert eve.json("projects")["items"] == [], "an embargo that is over makes nothing public by itself"
    finally:
        site.bench.now = now
        with site.bench.archive.ledger.begin() as tx:
            tx.put_project("ice-cores", dict.fromkeys(("public_after", "embargo_until", "pi", "quota_bytes")))


READING = {
    ("get", "/api/v1/datasets/{dataset_id}"),
    ("get", "/api/v1/datasets/{dataset_id}/files"),
    ("get", "/api/v1/datasets/{dataset_id}/events"),
    ("get", "/api/v1/datasets/{dataset_id}/comments"),
    ("get", "/api/v1/datasets/{dataset_id}/lineage"),
    ("get", "/api/v1/datasets/{dataset_id}/download"),
    ("get", "/api/v1/datasets/{dataset_id}/links"),
    ("get", "/api/v1/files/{file_id}/receipt"),
    ("get", "/api/v1/files/{file_id}/content"),
}
"""Routes that tell of one dataset or file to whoever may read it; each other one that names a number is refused to those who are not its members."""


@pytest.mark.parametrize(("method", "path"), sorted(r for r in ROUTES if "{" in r[1]))
def test_what_each_route_gives_of_public_and_of_hidden_data(site, method, path):
    """The public project's dataset is read and never changed; the hidden one answers as if it were not."""
    number, hidden = site.ids["weather/core-1"], site.ids["saxs/run-0"]
    site.hub.add("nora", scopes=[*ALL, auth.INGEST])
    nora = site.as_("nora")
    bodies = {
        "comments": {"text": "x"},
        "patch": {"tags": ["x"]},
        "extend": {"days": 1},
        "retry": {},
        "deny": {"reason": "x"},
        "uploads": {"files": []},
    }

    def ask(dataset: int) -> httpx.Response:
        with site.bench.archive.ledger.read() as tx:
            file = tx.files(dataset)[0].id
        address = re.sub(r"\{\w+\}", "999999", path.lstrip("/").replace("{dataset_id}", str(dataset)).replace("{file_id}", str(file)))
        body = bodies.get(path.rpartition("/")[2], bodies.get(method, {}))
        return nora.request(method.upper(), address, **({} if method in {"get", "delete"} else {"json": body}))

    before = site.changes()
    with site.bench.archive.ledger.begin() as tx:
        tx.make_public("ice-cores", site.bench.now)
    try:
        shown = ask(number)
        assert (shown.status_code in {200, 307}) == ((method, path) in READING), shown.text
    finally:
        with site.bench.archive.ledger.begin() as tx:
            tx.make_public("ice-cores", None)
    for dataset in (number, hidden):
        refused = ask(dataset)
        assert refused.status_code in {403, 404, 422}, refused.text
        if (method, path) in READING:
            problem(refused, 404, "not-found")
    assert site.changes() == before


# Taking data home


def test_a_zip_is_what_arrived(site):
    alice, number = site.as_("alice"), site.ids["saxs/run-2"]
    answer = alice.get(f"api/v1/datasets/{number}/download")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip"), answer.text
    assert "run-2.zip" in answer.headers["content-disposition"]
    packed = zipfile.ZipFile(io.BytesIO(answer.content))
    assert packed.testzip() is None
    assert {i.filename: (i.file_size, i.compress_type) for i in packed.infolist()} == {"run-2/a.txt": (6, 0), "run-2/deep/b.bin": (3002, 0)}
    assert packed.read("run-2/a.txt") == b"snow 2"
    some = zipfile.ZipFile(io.BytesIO(alice.get(f"api/v1/datasets/{number}/download", params={"path": ["*.txt", "none"]}).content))
    assert some.namelist() == ["run-2/a.txt"]
    problem(alice.get(f"api/v1/datasets/{number}/download", params={"path": "none"}), 422, "wrong-use")
    problem(site.as_("bob").get(f"api/v1/datasets/{number}/download"), 404, "not-found")


def test_what_is_cold_is_refused_with_the_line_that_brings_it_back(site):
    alice, number = site.as_("alice"), site.ids["saxs/run-0"]
    file = alice.json(f"datasets/{number}/files")["items"][0]["id"]
    for path in (f"datasets/{number}/download", f"datasets/{number}/links", f"files/{file}/content"):
        said = problem(alice.get(f"api/v1/{path}"), 409, "cold-data")
        assert (said["tier"], said["dataset"], said["restore"]) == ("deep", "saxs/run-0", 'neve.restore("saxs/run-0").wait()')
        assert said["restore"] in said["next_step"]


def test_links_read_the_store_with_nothing_else(site):
    alice, number = site.as_("alice"), site.ids["saxs/run-2"]
    first = alice.json(f"datasets/{number}/links", limit=1)
    rest = alice.json(f"datasets/{number}/links", limit=1, cursor=first["next_cursor"])
    assert rest["next_cursor"] is None
    for item in (*first["items"], *rest["items"]):
        got = httpx.get(item["url"])
        assert got.status_code == 200, got.text
        assert (len(got.content), hashlib.sha256(got.content).hexdigest()) == (item["size_bytes"], item["sha256"])
        assert httpx.get(item["url"], headers={"Range": "bytes=1-2"}).content == got.content[1:3]
        assert httpx.put(item["url"], content=b"x").status_code == 403
    plain = alice.get(f"api/v1/datasets/{number}/links", params={"format": "aria2"})
    assert plain.headers["content-type"].startswith("text/plain")
    assert plain.text.count("  out=run-2/") == plain.text.count("  checksum=sha-256=") == 2
    assert len(alice.get(f"api/v1/datasets/{number}/links", params={"format": "urls"}).text.splitlines()) == 2


def test_each_page_of_links_looks_at_its_own_files_and_the_first_at_all(site, monkeypatch):
    alice, number = site.as_("alice"), site.ids["saxs/run-2"]
    first = alice.json(f"datasets/{number}/links", limit=1)
    went_cold = first["items"][0]["path"]
    real = download._lying

    def lying(*asked):
        return [(file, None if file.path == went_cold else place, held) for file, place, held in real(*asked)]

    monkeypatch.setattr(download, "_lying", lying)
    links = f"api/v1/datasets/{number}/links"
    problem(alice.get(links, params={"limit": 1}), 409, "cold-data")
    rest = alice.get(links, params={"limit": 1, "cursor": first["next_cursor"]})
    assert [item["path"] for item in rest.json()["items"]] == ["deep/b.bin"], "what it gives is readable: another page's files are no matter"
    went_cold = "deep/b.bin"
    problem(alice.get(links, params={"limit": 1, "cursor": first["next_cursor"]}), 409, "cold-data")


def test_a_files_content_is_where_it_is(site):
    alice = site.as_("alice")
    file = next(f for f in alice.json(f"datasets/{site.ids['saxs/run-5']}/files")["items"] if f["path"] == "a.txt")
    answer = alice.get(f"api/v1/files/{file['id']}/content")
    assert answer.status_code == 307
    assert httpx.get(answer.headers["location"]).content == b"snow 5"
    assert httpx.get(answer.headers["location"]).headers["content-disposition"] == "attachment; filename*=UTF-8''a.txt"


def test_a_member_of_a_bundle_is_streamed_by_range(bench_on):
    from fixtures.site import Browser, TokenTable

    from archiver.api import create_app

    bench = bench_on(archive={"bundles": True})
    dataset = bench.ingest("run1", {"a.txt": b"0123456789", "b.txt": b"b" * 1000, "empty": b""})
    bench.settle()
    bench.turn(days=61)
    for _ in range(3):
        bench.settle()
        bench.turn(hours=2)
    assert bench.tiers(dataset) != {"hot"}
    hub = TokenTable()
    hub.add("alice", "snow")
    import asyncio

    with asyncio.Runner() as runner:
        app = create_app(bench.archive, hub)
        alice = Browser(app, runner, "token-of-alice")

        def get(path: str, **headers: str) -> httpx.Response:
            return alice.get(f"/api/v1/{path}", headers=headers)

        items = get(f"datasets/{dataset.id}/links").json()["items"]
        member = next(i for i in items if i["path"] == "a.txt")
        assert httpx.get(member["url"], headers={"Range": member["range"]}).content == b"0123456789"
        whole = get(f"files/{member['file_id']}/content")
        assert (whole.status_code, whole.content, whole.headers["content-length"]) == (200, b"0123456789", "10")
        part = get(f"files/{member['file_id']}/content", Range="bytes=2-4")
        assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"234", "bytes 2-4/10")
        assert get(f"files/{member['file_id']}/content", Range="bytes=-3").content == b"789"
        assert get(f"files/{member['file_id']}/content", Range="bytes=99-").status_code == 416
        problem(get(f"datasets/{dataset.id}/links?format=urls"), 409, "conflict")
        packed = zipfile.ZipFile(io.BytesIO(get(f"datasets/{dataset.id}/download").content))
        assert packed.read("run1/b.txt") == b"b" * 1000
        lists = {
            form: b"".join(download.listed(bench.archive, [Wanted(dataset)], form, "http://empty.test/")).decode()
            for form in (Listed.CURL, Listed.SHA256)
        }
        entries = {re.search('output = "(.*)"', entry)[1]: entry for entry in lists["curl"].split("next\n")}
        assert f'range = "{member["range"].removeprefix("bytes=")}"' in entries["run1/a.txt"]
        assert 'url = "http://empty.test/"' in entries["run1/empty"]
        assert "range" not in entries["run1/empty"], "nothing of a bundle is nothing"
        assert f"{hashlib.sha256(b'').hexdigest()}  run1/empty\n" in lists["sha256"]
        runner.run(alice.http.aclose())
    bench.give_back()


@pytest.mark.parametrize(
    ("path", "safe"),
    [
        ("a/b.txt", "d/a/b.txt"),
        ("../../etc/passwd", "d/__/__/etc/passwd"),
        ("/etc/passwd", "d/_/etc/passwd"),
        ("a/./b", "d/a/_/b"),
        ("a\\..\\b", "d/a_.._b"),
        ("C:evil", "d/C_evil"),
        ("new\nline\x00\x1b", "d/new_line__"),
        ("é/ü.txt", "d/é/ü.txt"),
        ("trailing. ", "d/trailing"),
        ("a\u202etxt", "d/a_txt"),
    ],
)
def test_names_in_a_zip_stay_inside(path, safe):
    assert download.safe_name("d", path) == safe


def test_what_is_past_the_limits_of_old_zips_is_zip64(bench, monkeypatch, tmp_path):
    """The same code as for 4 GiB and 65,535 files, with limits that a test can reach; the real thing: test_a_zip_above_4_gib."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 2000)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 3)
    files = {"large.bin": bytes(range(256)) * 20, "empty": b"", "a.txt": b"a" * 1999, "z.txt": b"z"}
    dataset = bench.ingest("big", files)
    whole = b"".join(download.zipped(bench.archive, [Wanted(dataset)]))
    assert whole.count(b"PK\x06\x06") == whole.count(b"PK\x06\x07") == 1, "ZIP64's end and its locator"
    (tmp_path / "big.zip").write_bytes(whole)
    monkeypatch.undo()
    with zipfile.ZipFile(tmp_path / "big.zip") as packed:
        assert packed.testzip() is None
        assert {info.filename: packed.read(info) for info in packed.infolist()} == {f"big/{path}": content for path, content in files.items()}
        assert packed.getinfo("big/large.bin").extract_version == zipfile.ZIP64_VERSION
    if unzip := shutil.which("unzip"):
        assert subprocess.run([unzip, "-tq", tmp_path / "big.zip"], check=False).returncode == 0


def test_hostile_names_are_packed_once_each(site):
    packed = zipfile.ZipFile(io.BytesIO(site.as_("alice").get(f"api/v1/datasets/{site.ids[f'saxs/{HOSTILE}']}/download").content))
    (name,) = packed.namelist()
    assert name == download.safe_name(HOSTILE, HOSTILE_FILE)
    assert not set('<>"\\:') & set(name)
    assert packed.read(name) == b"hostile"
    used: set[str] = set()
    assert [download._free(name, used) for name in ("a/B", "a/b", "a/b")] == ["a/B", "a/b~2", "a/b~3"]


def test_so_many_streams_and_no_more_and_a_client_that_goes_gives_its_slot_back(site):
    import asyncio

    app = next(route.app for route in site.app.routes)._api
    slots = app.state.downloads
    number = site.ids["saxs/run-2"]
    for _ in range(4):
        slots.take("alice")
    said = site.as_("alice").get(f"api/v1/datasets/{number}/download")
    problem(said, 429, "too-many")
    assert said.headers["retry-after"]
    assert site.as_("reader").get(f"api/v1/datasets/{number}/download").status_code == 200
    for _ in range(4):
        slots.give_back("alice")
    sent: list[dict] = []

    async def gone() -> None:
        scope = {
            "type": "http", "method": "GET", "path": f"/services/archiver/api/v1/datasets/{number}/download", "query_string": b"", "root_path": "",
            "headers": [(b"authorization", b"Bearer token-of-alice")], "http_version": "1.1", "scheme": "http", "server": ("neve.test", 80),
        }  # fmt: skip

        async def receive() -> dict:
            await asyncio.sleep(0)
            return {"type": "http.disconnect"} if sent else {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict) -> None:
            sent.append(message)

        await site.app(scope, receive, send)

    site.runner.run(gone())
    assert slots.held("alice") == 0
    assert site.as_("alice").get(f"api/v1/datasets/{number}/download").status_code == 200
    assert slots.held("alice") == 0


# For intake


def test_catalog_yaml_opens_in_intake_and_holds_no_token(site, tmp_path, monkeypatch):
    from neve.intake_catalog import NeveCatalog

    answer = site.as_("alice").get("api/v1/catalog.yaml")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/yaml")
    assert len(answer.content) < 10_000
    assert "token" not in answer.text.lower()
    (tmp_path / "catalog.yaml").write_text(answer.text)
    opened = intake.open_catalog(str(tmp_path / "catalog.yaml"))
    assert list(opened) == ["neve"]
    monkeypatch.setenv("NEVE_API_URL", "http://127.0.0.1:9/services/archiver")
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "a-token")
    assert isinstance(opened["neve"].read(), NeveCatalog)

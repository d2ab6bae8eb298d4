"""The REST API over a real archive: what it answers, to whom, and what it refuses without changing anything."""

from __future__ import annotations

import base64
import json
import re
from datetime import datetime

import pytest
from botocore.exceptions import ClientError
from fixtures.routes import ROUTES, problem
from fixtures.site import ALL, HOSTILE

from archiver import auth
from archiver.api import models

# Reading


def test_me(site):
    assert site.as_("alice").json("me") == {
        "name": "alice",
        "admin": False,
        "projects": ["snow"],
        "scopes": [auth.READ, auth.RESTORE],
        "team_notebooks": False,
    }
    root = site.as_("root").json("me")
    assert root["admin"]
    assert root["projects"] == ["ice-cores", "snow"]
    assert site.as_("scopeless").json("me")["scopes"] == []


def test_the_hubs_own_form_of_the_header(site):
    assert site.client().get("api/v1/me", headers={"Authorization": "token token-of-bob"}).json()["name"] == "bob"


def test_projects(site):
    unsaid = dict.fromkeys(("pi", "starts_at", "ends_at", "embargo_until", "public_after", "public_from", "quota_bytes"))
    assert site.as_("bob").json("projects") == {"items": [{"name": "ice-cores", "title": "ice-cores", "member": True, **unsaid}]}
    assert site.as_("eve").json("projects") == {"items": []}


def test_a_dataset_says_where_it_is_and_why(site):
    alice = site.as_("alice")
    old, middle, young = (alice.json(f"datasets/{site.ids[name]}") for name in ("saxs/run-0", "saxs/run-2", "saxs/run-5"))
    assert (old["tier"], old["tiers"], old["readable"], old["stub"]) == ("deep", ["deep"], "after_restore", True)
    assert (middle["tier"], middle["tiers"], middle["readable"]) == ("archive", ["archive", "deep"], "in_place")
    assert (young["tier"], young["tiers"], young["readable"], young["stub"]) == ("hot", ["hot", "archive", "deep"], "now", False)
    assert (old["back_within_s"], middle["back_within_s"], young["back_within_s"]) == (3 * 86400, 4 * 3600, 0)
    assert old["hot_until"] is None
    assert young["hot_until"] == "2026-04-29T12:00:00Z"
    assert [(c["tier"], c["kind"], c["user"]) for c in young["claims"]] == [(tier, "age", None) for tier in ("hot", "archive", "deep")]
    assert young["path"] == f"/data/{young['prefix']}" == "/data/snow/saxs/2026/02/run-5"
    assert (young["size_bytes"], young["file_count"], young["full_name"]) == (3011, 2, "saxs/run-5")


def test_answers_have_the_documented_members_and_no_others(site):
    alice, number = site.as_("alice"), site.ids["saxs/run-5"]
    with site.bench.archive.ledger.read() as tx:
        from archiver import describe

        shaped = describe.datasets(tx, site.bench.archive.settings, [tx.dataset(number)])[0]
        file = describe.files(tx, site.bench.archive.settings, tx.files(number))[0]
        event = describe.events(tx.events(number))[0]
    for model, made, answered in (
        (models.Dataset, shaped, alice.json(f"datasets/{number}")),
        (models.File, file, alice.json(f"datasets/{number}/files")["items"][0]),
        (models.Event, event, alice.json(f"datasets/{number}/events")["items"][0]),
    ):
        assert set(made) == set(model.model_fields) == set(answered)
        assert json.loads(json.dumps(made, default=str)) == answered


def test_times_are_utc_with_z(site):
    found = site.as_("root").json("datasets", limit=200)["items"]
    times = [d[name] for d in found for name in ("received_at", "acquired_at", "closed_at", "hot_until") if d[name]]
    assert times
    assert all(t.endswith("Z") and datetime.fromisoformat(t).utcoffset().total_seconds() == 0 for t in times)


def test_files_with_copies_and_proofs(site):
    files = site.as_("alice").json(f"datasets/{site.ids['saxs/run-2']}/files")["items"]
    assert {f["path"] for f in files} == {"a.txt", "deep/b.bin"}
    for file in files:
        assert {c["tier"] for c in file["copies"]} == {"archive", "deep"}
        for copy in file["copies"]:
            assert copy["proof"] == "read-back"
            assert copy["key"].endswith(f"run-2/{file['path']}")
            assert copy["size_bytes"] == file["size_bytes"]
            assert copy["version_id"] not in ("", "null")


def test_events_are_in_order(site):
    alice, number = site.as_("alice"), site.ids["saxs/run-2"]
    seen, cursor = [], None
    while True:
        page = alice.json(f"datasets/{number}/events", limit=7, **({"cursor": cursor} if cursor else {}))
        seen += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert [e["seq"] for e in seen] == list(range(1, len(seen) + 1))
    assert seen[0]["kind"] == "dataset.open"
    assert {"dataset.closed", "drop.dropped"} <= {e["kind"] for e in seen}


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"q": "run"}, ["run-5", "run-4", "run-3", "run-2", "run-1", "run-0"]),
        ({"q": "RUN 3"}, ["run-3"]),
        ({"q": "%"}, []),
        ({"q": "_"}, []),
        ({"q": "\\"}, []),
        ({"q": "' OR 1=1 --"}, []),
        ({"q": "onerror"}, [HOSTILE]),
        ({"name": "run-2"}, ["run-2"]),
        ({"name": "saxs/run-2"}, ["run-2"]),
        ({"name": "weather/run-2"}, []),
        ({"name": "run"}, []),
        ({"name": "twin"}, ["twin", "twin"]),
        ({"project": "ice-cores"}, []),
        ({"instrument": "weather"}, ["twin"]),
        ({"tier": "hot", "q": "run"}, ["run-5", "run-4"]),
        ({"tier": "archive"}, ["run-3", "run-2"]),
        ({"tier": "deep"}, ["run-1", "run-0"]),
        ({"state": "open"}, []),
        ({"from": "2026-01-01", "q": "run"}, ["run-5", "run-4"]),
        ({"to": "2024-01-01T00:00:00+01:00"}, ["run-1", "run-0"]),
        ({"from": "2025-01-01T00:00:00Z", "to": "2025-03-01"}, ["run-2"]),
    ],
)
def test_filters(site, filters, names):
    found = site.as_("alice").json("datasets", **filters)
    assert [d["name"] for d in found["items"]] == names
    assert found["total"] == len(names)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 200])
def test_pages_are_complete_and_stable_while_data_arrives(site, limit):
    root = site.as_("root")
    before = [d["id"] for d in root.json("datasets", limit=200)["items"]]
    seen, cursor, arrived = [], None, False
    while True:
        page = root.json("datasets", limit=limit, **({"cursor": cursor} if cursor else {}))
        assert len(page["items"]) <= limit
        seen += [d["id"] for d in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        if not arrived:
            site.bench.turn(seconds=1)
            site.bench.ingest(f"late-{limit}", {"x.txt": b"x%d" % limit}, "snow", "weather")
            arrived = True
    assert seen == before
    assert len(set(seen)) == len(seen)


def test_a_longer_page_asks_the_ledger_no_more_often(site):
    import sqlalchemy as sa

    asked: list[str] = []
    engine = site.bench.archive.ledger.engine

    def note(_connection, _cursor, statement, *_):
        asked.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        counts = []
        for limit in (1, 2):
            asked.clear()
            assert len(site.as_("alice").json("datasets", name="twin", limit=limit)["items"]) == limit
            counts.append(len(asked))
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
    assert counts[0] == counts[1]


# Who may see what


def test_another_projects_data_answers_as_if_it_were_not(site):
    alice, theirs = site.as_("alice"), site.ids["weather/core-1"]
    theirs_restore = site.as_("bob").post("api/v1/restores", json={"dataset": "weather/core-1"}).json()["id"]
    before = site.changes()
    for path, none in (
        (f"datasets/{theirs}", "datasets/999999"),
        (f"datasets/{theirs}/files", "datasets/999999/files"),
        (f"datasets/{theirs}/events", "datasets/999999/events"),
        (f"restores/{theirs_restore}", "restores/999999"),
        (f"restores?dataset={theirs}", "restores?dataset=999999"),
    ):
        hidden = problem(alice.get(f"api/v1/{path}"), 404, "not-found")
        absent = problem(alice.get(f"api/v1/{none}"), 404, "not-found")
        assert json.dumps(hidden).replace(str(theirs), "N").replace(str(theirs_restore), "N").replace("999999", "N") == json.dumps(absent).replace(
            "999999", "N"
        )
    problem(alice.post(f"api/v1/restores/{theirs_restore}/cancel"), 404, "not-found")
    for reference in ("weather/core-1", "core-1", str(theirs)):
        problem(alice.post("api/v1/restores", json={"dataset": reference}), 404, "not-found")
    problem(alice.post("api/v1/credentials", json={"project": "ice-cores"}), 404, "not-found")
    problem(alice.post("api/v1/credentials", json={"project": "no-project-of-the-ledger"}), 404, "not-found")
    assert site.changes() == before


def test_lists_and_counts_tell_nothing_of_others(site):
    alice, bob, eve = site.as_("alice"), site.as_("bob"), site.as_("eve")
    for filters in ({}, {"q": "core"}, {"name": "run-1"}, {"project": "ice-cores"}, {"tier": "deep"}, {"instrument": "weather"}):
        found = alice.json("datasets", limit=200, **filters)
        assert {d["project"] for d in found["items"]} <= {"snow"}
        assert found["total"] == len(found["items"])
        nothing = eve.json("datasets", limit=200, **filters)
        assert nothing == {"items": [], "next_cursor": None, "total": 0, "total_more": False}
    assert bob.json("datasets", name="run-1")["items"][0]["full_name"] == "weather/run-1"
    assert alice.json("datasets", name="run-1")["items"][0]["full_name"] == "saxs/run-1"
    assert all(r["dataset_id"] != site.ids["weather/core-1"] for r in alice.json("restores")["items"])


@pytest.mark.parametrize(
    ("token", "status", "code"), [(None, 401, "not-signed-in"), ("nobody's", 401, "not-signed-in"), ("a b", 401, "not-signed-in")]
)
def test_every_route_needs_a_token(site, token, status, code):
    client = site.client()
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    for method, path in ROUTES - {("get", "/health")}:
        address = re.sub(r"\{\w+\}", "1", path.lstrip("/"))
        answer = client.request(method.upper(), address, headers=headers)
        problem(answer, status, code)
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("who", "allowed"),
    [
        ("stranger", set()),
        ("scopeless", {("get", "/api/v1/me")}),
        (
            "reader",
            {r for r in ROUTES if r[0] == "get" and not r[1].startswith("/api/v1/erasures")}
            - {("get", "/api/v1/plan"), ("get", "/api/v1/transfers")}
            - {("get", f"/api/v1/{path}") for path in ("instrument", "datasets/{dataset_id}/uploads", "datasets/{dataset_id}/receipts")}
            | {("post", "/api/v1/credentials"), ("put", "/api/v1/me/notices"), ("post", "/api/v1/me/notices/seen")},
        ),
    ],
)
def test_every_route_needs_its_scope(site, who, allowed):
    client, before = site.as_(who), site.changes()
    for method, path in ROUTES - {("get", "/health")}:
        address = re.sub(r"\{\w+\}", "999999", path.lstrip("/").replace("{dataset_id}", str(site.ids["saxs/run-5"])))
        body = {"dataset": "saxs/run-0"} if path.endswith("restores") else {"project": "snow"}
        body = {"notices": {}, "seen": {"up_to": 1}}.get(path.rpartition("/")[2], body)
        answer = client.request(method.upper(), address, **({"json": body} if method in {"post", "put", "patch"} else {}))
        if (method, path) in allowed:
            assert answer.status_code == (404 if "{" in path.replace("{dataset_id}", "") else 200), (path, answer.text)
        else:
            problem(answer, 403, "not-allowed")
    assert site.changes() == before


def test_rights_end_with_the_group(site):
    token = site.hub.add("carol", "snow")
    carol = site.client(token)
    assert carol.json("datasets")["total"] > 0
    site.hub.add("carol", "ice-cores")
    assert {d["project"] for d in carol.json("datasets", limit=200)["items"]} == {"ice-cores"}
    site.hub.models.pop(token)
    problem(carol.get("api/v1/datasets"), 401, "not-signed-in")


# Restores


def test_a_restore_from_asking_to_ready(site):
    alice, number = site.as_("alice"), site.ids["saxs/run-0"]
    answer = alice.post("api/v1/restores", json={"dataset": "saxs/run-0", "files": "*.txt", "days": 3})
    assert answer.status_code == 201, answer.text
    asked = answer.json()
    assert set(asked) == set(models.Restore.model_fields)
    assert answer.headers["Location"] == f"/services/archiver/api/v1/restores/{asked['id']}"
    assert (asked["state"], asked["user"], asked["dataset"], asked["files_total"], asked["files_ready"]) == ("requested", "alice", "saxs/run-0", 1, 0)
    again = alice.post("api/v1/restores", json={"dataset": str(number), "files": "*.txt", "days": 3}).json()
    assert again["id"] == asked["id"]
    shown = alice.json(f"datasets/{number}")
    assert shown["restore"] == asked
    assert ("hot", "restore", None, "alice") in [(c["tier"], c["kind"], c["until"], c["user"]) for c in shown["claims"]]
    site.bench.settle()
    ready = alice.json(f"restores/{asked['id']}")
    assert (ready["state"], ready["files_ready"], ready["bytes_ready"], ready["errors"]) == ("ready", 1, 6, [])
    assert ready["expires_at"] is not None
    assert ready in alice.json("restores", dataset=number, mine="true")["items"]
    assert ready not in site.as_("reader").json("restores", dataset=number, mine="true")["items"]
    assert ready in site.as_("reader").json("restores", dataset=number)["items"]


def test_a_restore_is_cancelled_once_and_by_its_user(site):
    alice = site.as_("alice")
    site.hub.add("dave", "snow")
    asked = alice.post("api/v1/restores", json={"dataset": "saxs/run-1"}).json()
    assert asked["keep_days"] == 7
    problem(site.as_("dave").post(f"api/v1/restores/{asked['id']}/cancel"), 409, "conflict")
    ended = alice.post(f"api/v1/restores/{asked['id']}/cancel")
    assert ended.status_code == 200
    assert ended.json()["state"] == "cancelled"
    problem(alice.post(f"api/v1/restores/{asked['id']}/cancel"), 409, "conflict")
    other = alice.post("api/v1/restores", json={"dataset": "saxs/run-1", "days": 5}).json()
    assert site.as_("root").post(f"api/v1/restores/{other['id']}/cancel").json()["state"] == "cancelled"


def test_a_bare_name_of_two_is_asked_back(site):
    said = problem(site.as_("alice").post("api/v1/restores", json={"dataset": "twin"}), 409, "ambiguous")
    assert sorted(said["candidates"]) == ["saxs/twin", "weather/twin"]


# Holds


def test_a_hold_from_placing_to_ending(site):
    alice, number = site.as_("alice"), site.ids["saxs/run-4"]
    asked = {"dataset": "saxs/run-4", "until": "2026-09-01", "reason": "for the thesis", "files": "*.txt"}
    answer = alice.post("api/v1/holds", json=asked)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert answer.headers["Location"] == f"/services/archiver/api/v1/holds/{made['id']}"
    assert (made["state"], made["user"], made["until"], made["files_glob"]) == ("in_force", "alice", "2026-09-01T23:59:59Z", "*.txt")
    assert made == alice.json(f"holds/{made['id']}")
    assert made in site.as_("reader").json("holds", dataset=number)["items"]
    assert made not in site.as_("reader").json("holds", mine="true")["items"]
    claims = [c for c in alice.json(f"datasets/{number}")["claims"] if c["kind"] == "hold"]
    assert claims == [{"tier": "hot", "kind": "hold", "until": "2026-09-01T23:59:59Z", "user": "alice", "reason": "for the thesis"}]
    again = alice.post("api/v1/holds", json={**asked, "until": "2026-10-01"}).json()
    assert (again["id"], again["until"]) == (made["id"], "2026-10-01T23:59:59Z")
    patched = alice.request("PATCH", f"api/v1/holds/{made['id']}", json={"until": "2026-11-01T00:00:00+01:00", "reason": "the book"}).json()
    assert (patched["until"], patched["reason"]) == ("2026-10-31T23:00:00Z", "the book")
    site.hub.add("dave", "snow")
    problem(site.as_("dave").request("DELETE", f"api/v1/holds/{made['id']}"), 409, "conflict")
    problem(site.as_("bob").request("DELETE", f"api/v1/holds/{made['id']}"), 404, "not-found")
    problem(site.as_("bob").request("PATCH", f"api/v1/holds/{made['id']}", json={"until": "2026-12-01"}), 404, "not-found")
    problem(site.as_("bob").get(f"api/v1/holds/{made['id']}"), 404, "not-found")
    problem(site.as_("bob").get(f"api/v1/holds?dataset={number}"), 404, "not-found")
    problem(site.as_("bob").post("api/v1/holds", json=asked), 404, "not-found")
    assert site.as_("bob").json("holds", ended="true")["items"] == []
    assert site.as_("root").request("DELETE", f"api/v1/holds/{made['id']}").json()["state"] == "ended"
    assert made["id"] not in [h["id"] for h in alice.json("holds", mine="true")["items"]]
    assert made["id"] in [h["id"] for h in alice.json("holds", mine="true", ended="true")["items"]]
    kinds = [e["kind"] for e in alice.json(f"datasets/{number}/events", limit=200)["items"]]
    assert [k for k in kinds if k.startswith("hold.")] == ["hold.placed", "hold.changed", "hold.changed", "hold.ended"]


def test_a_hold_on_what_is_deep_waits_for_a_restore(site):
    alice = site.as_("alice")
    made = alice.post("api/v1/holds", json={"dataset": "saxs/run-0", "until": "2026-09-01", "reason": "again"}).json()
    assert made["state"] == "waiting"
    assert alice.json(f"restores/{made['restore_id']}")["dataset"] == "saxs/run-0"
    assert alice.post(f"api/v1/restores/{made['restore_id']}/cancel").status_code == 200
    assert alice.json(f"holds/{made['id']}")["state"] == "ended"


# Messages to people


def test_my_notices_are_mine_alone(site, monkeypatch):
    settings = site.bench.archive.settings
    hosts = settings.model_copy(update={"notices": settings.notices.model_copy(update={"webhook_hosts": ["127.0.0.1"]})})
    monkeypatch.setattr(site.bench.archive.__class__, "settings", property(lambda _: hosts), raising=False)
    alice, bob, hook = site.as_("alice"), site.as_("bob"), "http://127.0.0.1:9/x"
    nothing = {"email": None, "webhook_url": None, "wants": True, "webhook_secret": None, "has_webhook_secret": False}
    assert alice.json("me/notices") == nothing
    put = alice.request("PUT", "api/v1/me/notices", json={"email": "alice@lab.example", "webhook_url": hook}).json()
    assert len(put.pop("webhook_secret")) >= 32
    shown = alice.json("me/notices")
    assert shown == {**put, "webhook_secret": None} == {**nothing, "email": "alice@lab.example", "webhook_url": hook, "has_webhook_secret": True}
    assert alice.request("PUT", "api/v1/me/notices", json={"webhook_url": hook}).json()["webhook_secret"] is None
    assert alice.request("PUT", "api/v1/me/notices", json={"webhook_url": hook, "renew_secret": True}).json()["webhook_secret"]
    assert bob.json("me/notices") == nothing
    for body, field in (
        ({"email": "a@b.example\nBcc: c@d.example"}, "email"),
        ({"webhook_url": "http://169.254.169.254/latest/"}, "webhook_url"),
        ({"webhook_url": "https://[::1"}, "webhook_url"),
        ({"wants": "yes"}, "wants"),
        ({"user": "bob"}, "user"),
    ):
        assert field in problem(alice.request("PUT", "api/v1/me/notices", json=body), 422, "wrong-use")["detail"]
    assert alice.json("me/notices")["webhook_url"] == hook
    alice.request("PUT", "api/v1/me/notices", json={})
    assert alice.json("me/notices") == nothing
    service = site.client(site.hub.add("cron", token="token-of-cron", kind="service"))
    problem(service.request("PUT", "api/v1/me/notices", json={}), 403, "not-allowed")


def test_messages_until_they_are_seen(site):
    alice, bob = site.as_("alice"), site.as_("bob")
    with site.bench.archive.ledger.begin() as tx:
        for number in range(3):
            tx.add_notice("alice", f"restore.ready#{number}", "2026-03-01", "notebook", f"subject {number}", {"text": f"text {number}"})
        tx.add_notice("alice", "restore.ready#1", "2026-03-01", "mail", "subject", {"text": "text"})
    found = alice.json("me/notices/messages")
    assert [(m["subject"], m["text"], m["seen"]) for m in found["items"][:3]] == [(f"subject {n}", f"text {n}", False) for n in (2, 1, 0)]
    assert bob.json("me/notices/messages") == {"items": [], "unseen": 0}
    middle = found["items"][1]["id"]
    bob.post("api/v1/me/notices/seen", json={"up_to": middle})
    assert alice.json("me/notices/messages")["unseen"] == found["unseen"], "nobody sees another's messages"
    left = alice.post("api/v1/me/notices/seen", json={"up_to": middle}).json()
    assert [m["subject"] for m in left["items"]] == ["subject 2"]
    assert alice.json("me/notices/messages")["unseen"] == 1
    problem(alice.post("api/v1/me/notices/seen", json={"up_to": 0}), 422, "wrong-use")


# Wrong use


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("datasets?limit=0", "limit"),
        ("datasets?limit=201", "limit"),
        ("datasets?limit=many", "limit"),
        ("datasets?limit=1e3", "limit"),
        ("datasets?projct=snow", "projct"),
        ("datasets?state=shut", "state"),
        ("datasets?tier=cold", "cold"),
        ("datasets?from=yesterday", "from"),
        ("datasets?from=2026", "it is a number, and no time such as 2026-03-01T12:00:00Z"),
        ("datasets/facets?to=0.5", "to"),
        ("datasets?from=0001-01-01T00:00:00%2B14:00", "from"),
        ("datasets?from=2026-02-01&to=2026-01-01", "from"),
        ("datasets?q=" + "a" * 501, "q"),
        ("datasets?q=a%00b", "q"),
        ("datasets?name=%0A", "name"),
        ("datasets?cursor=rubbish", "cursor"),
        ("datasets?cursor=%C3%A9", "cursor"),
        ("datasets?cursor=" + base64.urlsafe_b64encode(b"2026-01-01T00:00:00 1").decode(), "cursor"),
        ("datasets?cursor=" + base64.urlsafe_b64encode(b"2026-01-01T00:00:00+00:00 -1").decode(), "cursor"),
        ("datasets/0", "dataset_id"),
        ("datasets/x", "dataset_id"),
        ("datasets/99999999999999999999", "dataset_id"),
        ("datasets/1.5", "dataset_id"),
        ("datasets/1/files?cursor=x", "cursor"),
        ("datasets/1/events?limit=-1", "limit"),
        ("restores?dataset=abc", "dataset"),
        ("restores?mine=perhaps", "mine"),
        ("restores/0", "restore_id"),
    ],
)
def test_a_wrong_question_names_its_field(site, path, field):
    said = problem(site.as_("alice").get(f"api/v1/{path}"), 422, "wrong-use")
    assert field in said["detail"]


@pytest.mark.parametrize(
    ("route", "body", "field"),
    [
        ("restores", {}, "dataset"),
        ("restores", {"dataset": ""}, "dataset"),
        ("restores", {"dataset": None}, "dataset"),
        ("restores", {"dataset": 5}, "dataset"),
        ("restores", {"dataset": ["saxs/run-0"]}, "dataset"),
        ("restores", {"dataset": "a\u0000b"}, "dataset"),
        ("restores", {"dataset": "x" * 501}, "dataset"),
        ("restores", {"dataset": "saxs/run-0", "days": 0}, "0 days"),
        ("restores", {"dataset": "saxs/run-0", "days": 91}, "91 days"),
        ("restores", {"dataset": "saxs/run-0", "days": -1}, "-1 days"),
        ("restores", {"dataset": "saxs/run-0", "days": 10**30}, "days"),
        ("restores", {"dataset": "saxs/run-0", "days": "7"}, "days"),
        ("restores", {"dataset": "saxs/run-0", "days": 1.5}, "days"),
        ("restores", {"dataset": "saxs/run-0", "days": True}, "days"),
        ("restores", {"dataset": "saxs/run-0", "files": ""}, "files"),
        ("restores", {"dataset": "saxs/run-0", "files": "*.none"}, "*.none"),
        ("restores", {"dataset": "saxs/run-0", "until": "2030"}, "until"),
        ("holds", {"dataset": "saxs/run-5", "reason": "x"}, "until"),
        ("holds", {"dataset": "saxs/run-5", "until": "2026-09-01"}, "reason"),
        ("holds", {"dataset": "saxs/run-5", "until": "2026-09-01", "reason": " "}, "reason"),
        ("holds", {"dataset": "saxs/run-5", "until": "2026-09-01", "reason": "a\nb"}, "reason"),
        ("holds", {"dataset": "saxs/run-5", "until": "2020-09-01", "reason": "x"}, "until"),
        ("holds", {"dataset": "saxs/run-5", "until": "2099-09-01", "reason": "x"}, "until"),
        ("holds", {"dataset": "saxs/run-5", "until": 1790000000, "reason": "x"}, "until"),
        ("holds", {"dataset": "saxs/run-5", "until": "soon", "reason": "x"}, "until"),
        ("holds", {"dataset": "saxs/run-5", "until": "2026-09-01", "reason": "x", "files": "*.none"}, "*.none"),
        ("credentials", {"project": 1}, "project"),
        ("credentials", {"project": "snow", "write": True}, "write"),
        ("credentials", {}, "project"),
        ("restores", [], "body"),
        ("restores", "saxs/run-0", "body"),
        ("restores", None, "body"),
    ],
)
def test_a_wrong_order_names_its_field_and_changes_nothing(site, route, body, field):
    alice, before = site.as_("alice"), site.changes()
    said = problem(alice.post(f"api/v1/{route}", content=json.dumps(body), headers={"Content-Type": "application/json"}), 422, "wrong-use")
    assert field in said["detail"]
    assert site.changes() == before


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b'{"dataset": "\\ud800"}', b"NaN", b"[" * 10_000, b'{"dataset": "saxs/run-0", "days": 1e999}']
)
def test_what_is_no_json_is_refused(site, body):
    alice, before = site.as_("alice"), site.changes()
    problem(alice.post("api/v1/restores", content=body, headers={"Content-Type": "application/json"}), 422, "wrong-use")
    assert site.changes() == before


def test_a_form_is_no_json(site):
    problem(site.as_("alice").post("api/v1/restores", data={"dataset": "saxs/run-0"}), 422, "wrong-use")


def test_a_body_too_large_is_refused(site):
    problem(site.as_("alice").post("api/v1/restores", json={"dataset": "x" * 2**21}), 413, "wrong-use")


def test_unknown_addresses_and_methods(site):
    alice = site.as_("alice")
    problem(alice.get("api/v1/nothing"), 404, "not-found")
    problem(alice.get("api/v2/datasets"), 404, "not-found")
    for path in ("datasets/%0A/files", "datasets/1%0A", "datasets/%C3%A9%0A"):  # no route takes a line's end
        problem(alice.get(f"api/v1/{path}"), 404, "not-found")
        assert alice.request("PATCH", f"api/v1/{path}", json={}).headers["Content-Type"] == "application/problem+json"
    problem(alice.get("/elsewhere"), 404, "not-found")
    problem(alice.post("api/v1/me"), 405, "method-not-allowed")
    assert alice.request("DELETE", "api/v1/datasets").headers["Allow"] == "GET, POST"
    assert alice.request("TRACE", "api/v1/datasets/1").headers["Allow"] == "GET, PATCH"


def test_a_fault_of_ours_is_logged_and_not_shown(site, monkeypatch, caplog):
    def broken(*_, **__):
        raise RuntimeError("the secret reason")

    monkeypatch.setattr("archiver.describe.datasets", broken)
    answer = site.as_("alice").get("api/v1/datasets")
    problem(answer, 500, "internal")
    assert "secret reason" not in answer.text
    assert "the secret reason" in caplog.text


def test_no_answer_is_kept_or_framed(site):
    headers = site.as_("alice").get("api/v1/datasets").headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in headers


# Keys


def test_keys_read_one_project_and_nothing_else(site, store):
    answer = site.as_("alice").post("api/v1/credentials", json={"project": "snow"})
    assert answer.status_code == 200, answer.text
    keys = answer.json()
    assert set(keys["buckets"]) == {"hot", "archive"}
    assert (keys["endpoint_url"], keys["region"]) == (store.endpoint_url, store.region)
    left = datetime.fromisoformat(keys["expires_at"]) - datetime.now().astimezone()
    assert 50 * 60 < left.total_seconds() <= 61 * 60
    s3 = store.client(access_key_id=keys["access_key_id"], secret_access_key=keys["secret_access_key"], session_token=keys["session_token"])
    ours = site.as_("alice").json(f"datasets/{site.ids['saxs/run-2']}/files")["items"][0]
    theirs = site.as_("bob").json(f"datasets/{site.ids['weather/core-1']}/files")["items"][0]
    copy = next(c for c in ours["copies"] if c["tier"] == "archive")
    assert s3.get_object(Bucket=copy["bucket"], Key=copy["key"], VersionId=copy["version_id"])["ContentLength"] == ours["size_bytes"]
    assert s3.list_objects_v2(Bucket=copy["bucket"], Prefix="snow/")["KeyCount"] > 0
    foreign = next(c for c in theirs["copies"] if c["tier"] == "archive")
    deep = next(c for c in ours["copies"] if c["tier"] == "deep")
    for attempt in (
        lambda: s3.get_object(Bucket=foreign["bucket"], Key=foreign["key"]),
        lambda: s3.get_object(Bucket=deep["bucket"], Key=deep["key"]),
        lambda: s3.list_objects_v2(Bucket=copy["bucket"], Prefix="ice-cores/"),
        lambda: s3.list_objects_v2(Bucket=copy["bucket"]),
        lambda: s3.get_object(Bucket=copy["bucket"], Key=".neve/tier"),
        lambda: s3.put_object(Bucket=copy["bucket"], Key="snow/mine", Body=b"x"),
        lambda: s3.delete_object(Bucket=copy["bucket"], Key=copy["key"]),
    ):
        with pytest.raises(ClientError) as refused:
            attempt()
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    s3.close()


def test_without_a_role_there_are_no_keys(site, monkeypatch):
    settings = site.bench.archive.settings
    monkeypatch.setattr(site.bench.archive.__class__, "settings", property(lambda _: _without_role(settings)), raising=False)
    problem(site.as_("alice").post("api/v1/credentials", json={"project": "snow"}), 501, "not-configured")


def _without_role(settings):
    return settings.model_copy(update={"api": settings.api.model_copy(update={"broker_role_arn": None})})


# Beside it


def test_health(site):
    answer = site.client().get("health")
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "ok"
    assert {c["name"] for c in answer.json()["checks"]} == {
        "ledger", "worker", "copies", "drills", "instruments", "room", "store of tier hot", "store of tier archive", "store of tier deep",
    }  # fmt: skip


def test_health_says_what_is_ill(site, monkeypatch, caplog):
    from archiver.errors import StoreUnavailable

    def away():
        raise StoreUnavailable("http://10.0.0.1 does not answer.", "Mend it.")

    from archiver.pages import create_site

    monkeypatch.setattr(site.bench.archive.tiers["deep"], "ping", away)
    client = site.client()
    client.http._transport.app = create_site(site.bench.archive, site.hub)
    answer = client.get("health")
    assert answer.status_code == 503
    assert answer.json()["status"] == "ill"
    assert [c["name"] for c in answer.json()["checks"] if not c["ok"]] == ["store of tier deep"]
    assert "10.0.0.1" not in answer.text
    assert "10.0.0.1" in caplog.text


def test_openapi_tells_every_route_and_error(site):
    document = site.client().get("openapi.json").json()
    told = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert told == ROUTES
    assert document["servers"] == [{"url": "/services/archiver"}]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if path == "/health":
                continue
            statuses = set(operation["responses"])
            assert {"401", "403", "422", "500", "503"} <= statuses, path
            assert ("404" in statuses) == (
                "{" in path
                or (method, path)
                in {
                    ("get", "/api/v1/restores"),
                    *(("post", f"/api/v1/{noun}") for noun in ("restores", "credentials", "quotes", "erasures", "datasets")),
                }
                or path == "/api/v1/holds"
            )
            assert operation["description"], path
            assert operation["security"], path
            for status, answer in operation["responses"].items():
                assert (
                    list(answer.get("content", ())) == []
                    if status in {"204", "307"}
                    else list(answer["content"]) == ["application/problem+json" if status[0] in "45" else "application/json"]
                    or (status in {"200", "206"} and path.rpartition("/")[2] in {"catalog.yaml", "download", "links", "content"})
                ), (path, status)
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_scopes_in_use_are_those_of_the_contract():
    assert set(ALL[1:]) < set(auth.SCOPES)


# Quotes, and what follows a restore


def test_a_quote_says_what_a_restore_would_mean_and_is_taken_up_once(site):
    alice, before = site.as_("alice"), site.changes()
    said = alice.post("api/v1/quotes", json={"datasets": ["saxs/run-0", "saxs/run-5"], "days": 3})
    assert said.status_code == 201, said.text
    quote = said.json()
    assert quote["datasets"] == ["saxs/run-0", "saxs/run-5"]
    assert quote["size_bytes"] == quote["hot_bytes"] + quote["absent_bytes"] > 0
    assert quote["cost"]["amount"] is None or quote["absent_bytes"] == 0, "no price is set: unknown, never zero"
    assert {q["kind"] for q in quote["quotas"]} == {"user", "project"}
    assert site.changes() == before, "a quote changes nothing"
    hidden = problem(site.as_("bob").post("api/v1/restores", json={"quote": quote["id"]}), 404, "not-found")
    assert "no quote" in hidden["detail"]
    problem(alice.post("api/v1/restores", json={"quote": quote["id"], "days": 3}), 422, "wrong-use")
    made = alice.post("api/v1/restores", json={"quote": quote["id"]})
    assert made.status_code == 201, made.text
    assert [r["dataset"] for r in made.json()["items"]] == quote["datasets"]
    assert alice.post("api/v1/restores", json={"quote": quote["id"]}).json() == made.json()
    for one in made.json()["items"]:
        longer = alice.post(f"api/v1/restores/{one['id']}/extend", json={"days": 2}).json()
        assert longer["keep_days"] == one["keep_days"] + 2
        problem(alice.post(f"api/v1/restores/{one['id']}/extend", json={"days": -2}), 422, "wrong-use")
        problem(alice.post(f"api/v1/restores/{one['id']}/retry", json={}), 409, "conflict")
        problem(alice.post(f"api/v1/restores/{one['id']}/approve"), 403, "not-allowed")
        problem(site.as_("root").post(f"api/v1/restores/{one['id']}/approve"), 409, "conflict")
        problem(site.as_("root").post(f"api/v1/restores/{one['id']}/deny", json={"reason": "no"}), 409, "conflict")
        assert alice.post(f"api/v1/restores/{one['id']}/cancel").json()["state"] == "cancelled"


def test_a_quote_ends(site):
    alice = site.as_("alice")
    quote = alice.post("api/v1/quotes", json={"dataset": "saxs/run-0"}).json()
    now = site.bench.now
    try:
        site.bench.turn(hours=2)
        problem(alice.post("api/v1/restores", json={"quote": quote["id"]}), 409, "quote-expired")
    finally:
        site.bench.now = now


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({}, 422, "wrong-use"),
        ({"dataset": "saxs/run-0", "datasets": ["saxs/run-1"]}, 422, "wrong-use"),
        ({"datasets": []}, 422, "wrong-use"),
        ({"dataset": "saxs/run-0", "days": -1}, 422, "wrong-use"),
        ({"dataset": "saxs/run-0", "days": 100_000}, 422, "wrong-use"),
        ({"dataset": "saxs/run-0", "files": "no-such-*"}, 422, "wrong-use"),
        ({"dataset": "saxs/run-0", "files": []}, 422, "wrong-use"),
        ({"datasets": ["saxs/run-0", "weather/core-1"]}, 404, "not-found"),
        ({"dataset": "999999"}, 404, "not-found"),
    ],
)
def test_a_selection_that_makes_no_sense_is_neither_quoted_nor_restored(site, asked, status, code):
    alice, before = site.as_("alice"), site.changes()
    for path in ("quotes", "restores"):
        problem(alice.post(f"api/v1/{path}", json=asked), status, code)
    problem(alice.post("api/v1/restores", json={"dataset": "saxs/run-0", "priority": 9}), 422, "wrong-use")
    assert site.changes() == before


def test_promises_and_transfers_are_told(site):
    items = site.as_("reader").json("promises")["items"]
    assert [p["tier"] for p in items] == ["archive", "deep"]
    assert all(p["kept"] >= 0 and p["missed"] >= 0 for p in items)
    assert site.as_("root").json("transfers", state="proven")["items"]
    problem(site.as_("root").post("api/v1/transfers/999999/retry"), 404, "not-found")
    number = site.as_("root").json("transfers", state="proven")["items"][0]["id"]
    problem(site.as_("root").post(f"api/v1/transfers/{number}/retry"), 409, "conflict")


# Erasures


def test_an_erasure_needs_two_admins_and_shows_what_it_ends(site):
    before = site.changes()
    root, alice = site.as_("root"), site.as_("alice")
    problem(alice.post("api/v1/erasures", json={"dataset": "saxs/run-1", "reason": "mine"}), 403, "not-allowed")
    for wrong, status, code in (
        ({"dataset": "saxs/run-1", "reason": " "}, 422, "wrong-use"),
        ({"dataset": "saxs/run-1", "reason": "law", "files": "nothing-like-it"}, 422, "wrong-use"),
        ({"dataset": "saxs/nowhere", "reason": "law"}, 404, "not-found"),
        ({"dataset": "saxs/run-1"}, 422, "wrong-use"),
    ):
        problem(root.post("api/v1/erasures", json=wrong), status, code)
    assert site.changes() == before
    asked = root.post("api/v1/erasures", json={"dataset": "saxs/run-1", "reason": "Consent was withdrawn"})
    assert asked.status_code == 201, asked.text
    said = asked.json()
    assert (said["state"], said["asked_by"], said["ends"]["files"] > 0, said["receipt"]) == ("requested", "root", True, None)
    assert root.get(asked.headers["Location"].removeprefix("/services/archiver/")).json() == said
    problem(root.post("api/v1/erasures", json={"dataset": "saxs/run-1", "reason": "again"}), 409, "conflict")
    problem(root.post(f"api/v1/erasures/{said['id']}/approve"), 409, "conflict")
    site.hub.add("ben", scopes=[auth.ACCESS, auth.READ, auth.ADMIN])
    ben = site.as_("ben")
    assert ben.json("erasures")["items"] == [said]
    assert ben.post(f"api/v1/erasures/{said['id']}/withdraw").json()["state"] == "withdrawn"
    problem(ben.post(f"api/v1/erasures/{said['id']}/approve"), 409, "conflict")
    assert ben.json("erasures")["items"] == []
    assert [e["state"] for e in ben.json("erasures", ended=True)["items"]] == ["withdrawn"]
    problem(ben.post("api/v1/erasures/999/approve"), 404, "not-found")

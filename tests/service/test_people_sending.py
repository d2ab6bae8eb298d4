"""What people send: to projects of theirs, from a browser too, and never into what others opened; what they take back; and the store's rule."""

from __future__ import annotations

import re
import secrets
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fixtures.door import Door
from fixtures.site import ALL

from archiver import app, auth
from archiver.check import check
from archiver.pages.sessions import COOKIE

PART = 5 * 2**20
SCOPES = [*ALL, auth.INGEST]
FILE = {"files": [{"path": "f", "size_bytes": 1, "mark": "m"}]}


def opened(client: httpx.Client, name: str = "by-hand", project: str = "snow", instrument: str = "saxs") -> int:
    answer = client.post("datasets", json={"name": name, "project": project, "instrument": instrument})
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def everything_refused(client: httpx.Client, dataset: int) -> None:
    for method, path, body in (
        ("POST", "uploads", FILE),
        ("POST", "uploads/done", {"files": [{"file_id": 1, "sha256": "0" * 64}]}),
        ("POST", "uploads/1/parts", {"numbers": [1]}),
        ("DELETE", "uploads/1", None),
        ("GET", "uploads", None),
        ("GET", "receipts", None),
        ("POST", "close", None),
    ):
        answer = client.request(method, f"datasets/{dataset}/{path}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found"), (path, answer.text)


def test_people_send_to_their_own_projects_and_into_nobody_elses_dataset(door: Door):
    alice = door.client(door.hub.add("alice", "snow", scopes=SCOPES))
    hers, instruments = opened(alice), door.client().post("datasets", json={"name": "measured"}).json()["id"]
    assert alice.post(f"datasets/{hers}/uploads", json=FILE).status_code == 200
    with door.bench.archive.ledger.read() as tx:
        before = tx.states()
    everything_refused(alice, instruments)
    taken = alice.post("datasets", json={"name": "measured", "project": "snow", "instrument": "saxs"})
    assert taken.status_code == 404
    assert taken.json()["detail"] == "alice may not add to saxs/measured: it is another's."
    for other in (
        door.hub.add("carol", "snow", scopes=SCOPES),  # the same project, another person
        door.hub.add("bob", "ice-cores", scopes=SCOPES),
        door.hub.add("glob", "*", "sn*", "[s]now", scopes=SCOPES),  # a group of the hub is a name, not a pattern
        door.hub.add("eve", scopes=SCOPES),
        door.key,
    ):
        everything_refused(door.client(other), hers)
    for other in ("token-of-bob", "token-of-glob", "token-of-eve"):
        answer = door.client(other).post("datasets", json={"name": "x", "project": "snow", "instrument": "saxs"})
        assert (answer.status_code, answer.json()["code"]) == (403, "not-allowed")
    with door.bench.archive.ledger.read() as tx:
        assert tx.states() == before
    door.hub.add("alice", "ice-cores", scopes=SCOPES)  # she has left the project
    everything_refused(alice, hers)


def test_a_persons_name_for_a_dataset_is_in_no_instruments_way(door: Door):
    """`run+1` is what an instrument's `run` is continued as; that somebody has it already must not stop the instrument."""
    alice, instrument = door.client(door.hub.add("alice", "snow", scopes=SCOPES)), door.client()
    opened(alice, "run+1")
    first = instrument.post("datasets", json={"name": "run"}).json()["id"]
    (item,) = instrument.post(f"datasets/{first}/uploads", json=FILE).json()["items"]
    assert httpx.put(item["put"]["url"], headers=item["put"]["headers"], content=b"1").status_code == 200
    one = {"file_id": item["file_id"], "sha256": "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"}
    assert instrument.post(f"datasets/{first}/uploads/done", json={"files": [one]}).status_code == 200
    assert instrument.post(f"datasets/{first}/close").status_code == 202
    late = instrument.post(f"datasets/{first}/uploads", json={"files": [{"path": "late", "size_bytes": 1, "mark": "m"}]})
    assert late.status_code == 200, late.text
    with door.bench.archive.ledger.read() as tx:
        assert tx.dataset(late.json()["items"][0]["dataset_id"]).name == "run+2"


@pytest.mark.parametrize("project", ["snow", "ice-cores"])
def test_a_person_cannot_keep_an_instrument_from_a_name(door: Door, project: str):
    alice, instrument = door.client(door.hub.add("alice", project, scopes=SCOPES)), door.client()
    alice.post("datasets", json={"name": "run", "project": project, "instrument": "saxs"}).raise_for_status()
    given = [instrument.post("datasets", json={"name": "run"}) for _ in range(2)]
    assert [(one.status_code, one.json()["full_name"], one.json()["project"]) for one in given] == [(200, "saxs/run+1", "snow")] * 2
    assert given[0].json()["id"] == given[1].json()["id"]


def test_what_is_on_its_way_can_be_given_up_and_what_was_sent_stays(doors):
    door = doors(f"[reception]\nparts_above_bytes = {PART}\n", worker=f"part_bytes = {PART}")
    client = door.client(door.hub.add("alice", "snow", scopes=SCOPES))
    dataset, content = opened(client), secrets.token_bytes(PART + 1)
    wanted = [{"path": "big", "size_bytes": len(content), "mark": "m"}, {"path": "small", "size_bytes": 1, "mark": "m"}, *FILE["files"]]
    big, small, kept = client.post(f"datasets/{dataset}/uploads", json={"files": wanted}).json()["items"]
    part = client.post(f"datasets/{dataset}/uploads/{big['file_id']}/parts", json={"numbers": [1]}).json()["items"][0]
    for request, data in ((part, content[:PART]), (small["put"], b"1"), (kept["put"], b"1")):
        assert httpx.put(request["url"], headers=request["headers"], content=data).status_code == 200
    one = {"file_id": kept["file_id"], "sha256": "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"}
    client.post(f"datasets/{dataset}/uploads/done", json={"files": [one]})
    assert client.post(f"datasets/{dataset}/close").status_code == 409, "two are not sent"
    for item in (big, small):
        assert client.delete(f"datasets/{dataset}/uploads/{item['file_id']}").status_code == 204
        assert client.delete(f"datasets/{dataset}/uploads/{item['file_id']}").status_code == 404, "it is gone"
    for _ in range(2):  # while it is being proven, and afterwards
        answer = client.delete(f"datasets/{dataset}/uploads/{kept['file_id']}")
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        door.settle()
    assert client.post(f"datasets/{dataset}/close").status_code == 202
    door.settle()
    with door.bench.archive.ledger.read() as tx:
        assert [(file.path, file.state) for file in tx.files(dataset)] == [("f", "received")]
        assert [event.detail["path"] for event in tx.events(dataset) if event.kind == "file.forgotten"] == ["big", "small"]
    assert [key.rpartition("/")[2] for key in door.bench.keys("hot")] == ["f"]
    assert list(door.bench.archive.tiers["hot"].uploads()) == []
    assert check(door.bench.archive) == []


# From a browser


@pytest.fixture
def browser(door: Door):
    """A browser in which alice has signed in: (client with her cookie, what her page knows)."""
    door.hub.add("alice", "snow", scopes=SCOPES)
    with httpx.Client(base_url=door.url + "/") as client:
        state = parse_qs(urlsplit(client.get("upload").headers["Location"]).query)["state"][0]
        client.get("oauth_callback", params={"code": "code-of-alice", "state": state})
        page = client.get("upload")
        assert page.status_code == 200
        yield client, dict(re.findall(r'data-(xsrf|user)="([^"]*)"', page.text))


def test_pages_ask_with_their_session_and_its_token_and_no_other_way(door: Door, browser):
    client, page = browser
    wanted = {"name": "by-hand", "project": "snow", "instrument": "saxs"}
    assert page["user"] == "alice"
    for headers, status in (
        ({}, 401),  # a cookie alone is what another site's form would send
        ({"X-Neve-Xsrf": "made-up"}, 401),
        ({"X-Neve-Xsrf": page["xsrf"], "Origin": "https://evil.example"}, 403),
        ({"X-Neve-Xsrf": page["xsrf"], "Sec-Fetch-Site": "cross-site"}, 403),
        ({"X-Neve-Xsrf": page["xsrf"], "Authorization": "Bearer nobody"}, 401),
    ):
        answer = client.post("api/v1/datasets", json=wanted, headers=headers)
        assert answer.status_code == status, headers
        assert answer.headers["content-type"] == "application/problem+json"
    with door.bench.archive.ledger.read() as tx:
        assert tx.dataset_named("saxs", "by-hand") is None
    answer = client.post("api/v1/datasets", json=wanted, headers={"X-Neve-Xsrf": page["xsrf"], "Sec-Fetch-Site": "same-origin"})
    assert answer.status_code == 200, answer.text
    with door.bench.archive.ledger.read() as tx:
        assert tx.dataset(answer.json()["id"]).opened_by == "alice"
    for path in ("datasets", "me", "restores"):
        assert client.get(f"api/v1/{path}").status_code == 401, "the cookie alone"
        assert client.get(f"api/v1/{path}", headers={"X-Neve-Xsrf": "guessed"}).status_code == 401
        assert client.get(f"api/v1/{path}", headers={"X-Neve-Xsrf": page["xsrf"]}).status_code == 200
    keys = client.post("api/v1/credentials", json={"project": "snow"}, headers={"X-Neve-Xsrf": page["xsrf"]})
    assert keys.status_code == 401, "no keys into a browser"
    client.cookies.delete(COOKIE)
    assert client.post("api/v1/datasets", json=wanted, headers={"X-Neve-Xsrf": page["xsrf"]}).status_code == 401


def test_the_store_lets_pages_send_and_nothing_more(door: Door):
    hot = door.bench.admin["hot"]
    assert hot.lets_browsers_send()
    assert "rule" not in " ".join(app.setup(door.bench.archive)), "it was made by the first setup"
    preflight = {"Origin": "https://hub.lab", "Access-Control-Request-Headers": "if-none-match,x-amz-storage-class"}
    for method, allowed in (("PUT", True), ("GET", False), ("DELETE", False)):
        answer = httpx.options(f"{hot.endpoint_url}/{hot.bucket}/snow/x", headers={**preflight, "Access-Control-Request-Method": method})
        assert (method in answer.headers.get("access-control-allow-methods", "")) is allowed, method
    theirs = {"AllowedOrigins": ["https://viewer.lab"], "AllowedMethods": ["GET"], "AllowedHeaders": ["*"]}
    hot.client.put_bucket_cors(Bucket=hot.bucket, CORSConfiguration={"CORSRules": [theirs]})
    assert not hot.lets_browsers_send()
    assert app.setup(door.bench.archive) == [f"rule for browsers of {hot.bucket}"]
    assert hot.lets_browsers_send()
    rules = hot.client.get_bucket_cors(Bucket=hot.bucket)["CORSRules"]
    assert [rule["AllowedOrigins"] for rule in rules] == [["https://viewer.lab"], ["*"]]

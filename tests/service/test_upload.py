"""What is sent from outside: complete, once, and proven; and what a key cannot do."""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

import h5py
import httpx
import pytest
import sqlalchemy as sa
from fixtures.door import Door
from fixtures.processes import wait_until

from archiver import app, batch, closing, erasure, formats, names, strays, transfer, upload, worker
from archiver.check import check
from archiver.errors import PublicError, StoreUnavailable
from archiver.ledger import Transaction
from archiver.model import DatasetState
from archiver.policy import View
from archiver.storage import Tier
from archiver.worker import Worker

MIB = 2**20


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def opened(client: httpx.Client, name: str = "run1", **more: Any) -> int:
    answer = client.post("datasets", json={"name": name, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def begun(client: httpx.Client, dataset: int, **files: bytes) -> list[dict[str, Any]]:
    wanted = [{"path": path, "size_bytes": len(content), "mark": sha(content)} for path, content in files.items()]
    answer = client.post(f"datasets/{dataset}/uploads", json={"files": wanted})
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def put(request: dict[str, Any], content: bytes) -> httpx.Response:
    return httpx.put(request["url"], headers=request["headers"], content=content)


def told(client: httpx.Client, dataset: int, file_id: int, content: bytes) -> str:
    answer = client.post(f"datasets/{dataset}/uploads/done", json={"files": [{"file_id": file_id, "sha256": sha(content)}]})
    assert answer.status_code == 200, answer.text
    return answer.json()["items"][0]["state"]


def sent(client: httpx.Client, dataset: int, path: str, content: bytes) -> dict[str, Any]:
    """Send one small file, all of it."""
    (item,) = begun(client, dataset, **{path: content})
    assert item["state"] == "put"
    assert put(item["put"], content).status_code == 200
    assert told(client, dataset, item["file_id"], content) == "verifying"
    return item


def sent_parts(client: httpx.Client, dataset: int, item: dict[str, Any], content: bytes, numbers: list[int]) -> None:
    answer = client.post(f"datasets/{dataset}/uploads/{item['file_id']}/parts", json={"numbers": numbers})
    assert answer.status_code == 200, answer.text
    size = item["part_bytes"]
    for part in answer.json()["items"]:
        start = (part["number"] - 1) * size
        assert put(part, content[start : start + size]).status_code == 200


def test_a_small_file_is_received_once_it_is_proven_and_the_dataset_closes(door: Door):
    client, content = door.client(), secrets.token_bytes(1000)
    assert client.get("instrument").json()["name"] == "saxs"
    dataset = opened(client)
    sent(client, dataset, "a/b c.bin", content)
    assert client.get(f"datasets/{dataset}/uploads").json() == {
        "received": 0,
        "verifying": 1,
        "sending": 0,
        "items": [
            {"file_id": 1, "dataset_id": dataset, "path": "a/b c.bin", "path_base64": None, "state": "verifying", "error": None},
        ],
        "next_cursor": None,
    }
    assert client.post(f"datasets/{dataset}/close").json()["items"][0]["state"] == "closing"
    door.settle()
    assert client.post(f"datasets/{dataset}/close").json()["items"][0]["state"] == "closed"
    with door.bench.archive.ledger.read() as tx:
        found = tx.dataset(dataset)
        (file,) = tx.files(dataset)
    assert (file.sha256, file.size_bytes, file.state) == (sha(content), 1000, "received")
    assert file.crc64nvme is not None
    assert door.bench.read(found, "a/b c.bin") == content
    assert door.bench.tiers(found) == {"hot", "archive", "deep"}
    (receipt,) = client.get(f"datasets/{dataset}/receipts").json()["items"]
    assert (receipt["path"], receipt["size_bytes"], receipt["sha256"]) == ("a/b c.bin", 1000, sha(content))
    assert {copy["place"] for copy in receipt["copies"]} == {"hot", "archive", "deep"}


def test_a_large_file_comes_in_parts_and_goes_on_where_it_was(door: Door):
    client, content = door.client(), secrets.token_bytes(40 * MIB + 17)
    dataset = opened(client)
    (item,) = begun(client, dataset, big=content)
    assert (item["state"], item["part_bytes"], item["done"]) == ("parts", 16 * MIB, [])
    sent_parts(client, dataset, item, content, [1, 3])
    assert told(client, dataset, item["file_id"], content) == "missing"
    (again,) = begun(client, dataset, big=content)
    assert again["file_id"] == item["file_id"]
    assert again["done"] == [{"number": 1, "size_bytes": 16 * MIB}, {"number": 3, "size_bytes": 8 * MIB + 17}]
    sent_parts(client, dataset, again, content, [2])
    assert told(client, dataset, item["file_id"], content) == "verifying"
    assert told(client, dataset, item["file_id"], content) == "verifying"
    door.settle()
    assert told(client, dataset, item["file_id"], content) == "received"
    with door.bench.archive.ledger.read() as tx:
        assert door.bench.read(tx.dataset(dataset), "big") == content
    assert list(door.bench.archive.tiers["hot"].uploads()) == []


def test_another_source_under_the_same_path_begins_anew(door: Door):
    client, first, second = door.client(), secrets.token_bytes(20 * MIB), secrets.token_bytes(21 * MIB)
    dataset = opened(client)
    item, small = begun(client, dataset, big=first, small=b"first")
    sent_parts(client, dataset, item, first, [1])
    put(small["put"], b"first")
    assert begun(client, dataset, big=second)[0]["done"] == []
    (anew,) = begun(client, dataset, small=b"the second")
    assert put(anew["put"], b"the second").status_code == 200, "what the first left is in the way"
    assert told(client, dataset, anew["file_id"], b"the second") == "verifying"
    door.settle()
    with door.bench.archive.ledger.read() as tx:
        assert {f.path: f.state for f in tx.files(dataset)} == {"big": "arriving", "small": "received"}
        assert door.bench.read(tx.dataset(dataset), "small") == b"the second"


def test_the_same_content_is_no_work_and_other_content_a_version(door: Door):
    client = door.client()
    dataset = opened(client)
    sent(client, dataset, "f", b"one")
    door.settle()
    assert begun(client, dataset, f=b"two")[0]["state"] == "known"
    wanted = {"path": "f", "size_bytes": 3, "mark": "m"}
    same = client.post(f"datasets/{dataset}/uploads", json={"files": [{**wanted, "sha256": sha(b"one")}]}).json()["items"][0]
    assert (same["state"], same["path"]) == ("received", "f")
    other = client.post(f"datasets/{dataset}/uploads", json={"files": [{**wanted, "sha256": sha(b"two")}]}).json()["items"][0]
    assert (other["state"], other["path"]) == ("put", "f@v2")
    assert put(other["put"], b"two").status_code == 200
    assert told(client, dataset, other["file_id"], b"two") == "verifying"
    client.post(f"datasets/{dataset}/close")
    late = begun(client, dataset, late=b"late")[0]
    assert late["dataset_id"] != dataset, "it closes already"
    put(late["put"], b"late")
    told(client, dataset, late["file_id"], b"late")
    door.settle()
    states = [(one["name"], one["state"]) for one in client.post(f"datasets/{dataset}/close").json()["items"]]
    assert states == [("run1", "closed"), ("run1+1", "closing")]
    with door.bench.archive.ledger.read() as tx:
        assert [f.path for f in tx.files(dataset)] == ["f", "f@v2"]


def test_wrong_bytes_are_never_received_and_can_be_sent_again(door: Door):
    client = door.client()
    dataset = opened(client)
    (item,) = begun(client, dataset, f=b"right")
    assert put(item["put"], b"wrong").status_code == 200
    assert told(client, dataset, item["file_id"], b"right") == "verifying"
    door.settle()
    (failed,) = client.get(f"datasets/{dataset}/uploads").json()["items"]
    assert failed["state"] == "failed"
    assert sha(b"right") in failed["error"] and sha(b"wrong") in failed["error"]
    assert door.bench.keys("hot") == [], "nothing of it is left"
    assert client.post(f"datasets/{dataset}/close").status_code == 409
    sent(client, dataset, "f", b"right")
    door.settle()
    assert client.get(f"datasets/{dataset}/uploads").json()["received"] == 1


def test_a_checksum_that_was_told_before_must_fit(door: Door):
    client = door.client()
    dataset = opened(client)
    wanted = {"path": "f", "size_bytes": 5, "mark": "m", "sha256": sha(b"other")}
    (item,) = client.post(f"datasets/{dataset}/uploads", json={"files": [wanted]}).json()["items"]
    put(item["put"], b"bytes")
    answer = client.post(f"datasets/{dataset}/uploads/done", json={"files": [{"file_id": item["file_id"], "sha256": sha(b"bytes")}]})
    assert (answer.status_code, answer.json()["code"], answer.json()["file_id"]) == (422, "checksum-mismatch", item["file_id"])
    assert sha(b"other") in answer.json()["detail"] and sha(b"bytes") in answer.json()["detail"]
    door.settle()
    assert client.get(f"datasets/{dataset}/uploads").json()["received"] == 0


def test_what_a_request_is_signed_for_is_all_it_does(door: Door):
    client = door.client()
    dataset = opened(client)
    (item,) = begun(client, dataset, f=b"12345")
    request = item["put"]
    assert put(request, b"123456").status_code == 403, "another size"
    assert httpx.put(request["url"], content=b"12345").status_code == 403, "without the condition that nothing stands there"
    assert httpx.get(request["url"]).status_code == 403
    assert httpx.delete(request["url"]).status_code == 403
    assert httpx.put(request["url"].replace("/f?", "/g?"), headers=request["headers"], content=b"12345").status_code == 403
    assert put(request, b"12345").status_code == 200
    assert put(request, b"54321").status_code == 412, "what stands there is not written over"


@pytest.mark.parametrize("path", ["../x", "a//b", "/x", ".", "a/./b", "x\0y", "a/..", "x" * 5000])
def test_paths_that_no_dataset_has_are_refused(door: Door, path: str):
    client = door.client()
    dataset = opened(client)
    answer = client.post(f"datasets/{dataset}/uploads", json={"files": [{"path": path, "size_bytes": 1, "mark": "m"}]})
    assert (answer.status_code, answer.json()["code"]) == (422, "wrong-use")
    with door.bench.archive.ledger.read() as tx:
        assert tx.files(dataset) == []


def test_a_key_opens_nothing_else(door: Door):
    """Other instruments' datasets, other projects, what people opened, reading, listing: all refused, and nothing changed."""
    other = door.client(door.key_of("weather", "ice-cores"))
    mine, theirs = opened(door.client()), opened(other, "storm")
    closed = door.bench.ingest("old", {"x": b"x"}).id
    person = door.client(door.hub.add("alice", "snow", scopes=["access:services!service=archiver", "custom:archiver:ingest"]))
    hers = opened(person, "by-hand", project="snow", instrument="saxs")
    with door.bench.archive.ledger.read() as tx:
        before = tx.states()
    client = door.client()
    file = {"files": [{"path": "f", "size_bytes": 1, "mark": "m"}]}
    for dataset in (theirs, hers, 99):
        for method, path, body in (
            ("POST", "uploads", file),
            ("POST", "uploads/done", {"files": [{"file_id": 1, "sha256": "0" * 64}]}),
            ("POST", "uploads/1/parts", {"numbers": [1]}),
            ("GET", "uploads", None),
            ("GET", "receipts", None),
            ("POST", "close", None),
        ):
            answer = client.request(method, f"datasets/{dataset}/{path}", json=body)
            assert (answer.status_code, answer.json()["code"]) == (404, "not-found"), (path, answer.text)
    assert client.post("datasets", json={"name": "x", "project": "ice-cores"}).status_code == 403
    assert client.post("datasets", json={"name": "x", "instrument": "weather"}).status_code == 403
    for path in (
        "datasets",
        f"datasets/{mine}",
        f"datasets/{closed}/files",
        f"datasets/{closed}/events",
        "me",
        "projects",
        "restores",
        "plan",
        "files/1/receipt",
    ):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (403, "not-allowed"), path
    for path in ("restores", "quotes", "holds", "credentials", "erasures"):
        assert client.post(path, json={}).status_code == 403, path
    with door.bench.archive.ledger.read() as tx:
        assert tx.states() == before
    assert client.post("datasets", json={"name": "by-hand"}).json()["full_name"] == "saxs/by-hand+1", "one of its own"


def test_a_revoked_or_invented_key_is_nobodys(door: Door):
    client = door.client()
    opened(client)
    with door.bench.archive.ledger.begin() as tx:
        assert tx.revoke_keys("saxs") == 1
    answer = client.post("datasets", json={"name": "run2"})
    assert (answer.status_code, answer.json()["code"]) == (401, "not-signed-in")
    assert "revoked" in answer.json()["detail"]
    assert door.client("neve_" + "A" * 43).get("instrument").status_code == 401
    assert door.client(door.hub.add("reader", "snow")).post("datasets", json={"name": "x"}).status_code == 403, "without the scope"


def test_too_large(doors):
    door = doors("[reception]\nfile_max_bytes = 1000\n")
    client = door.client()
    dataset = opened(client)
    answer = client.post(f"datasets/{dataset}/uploads", json={"files": [{"path": "f", "size_bytes": 1001, "mark": "m"}]})
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
    assert "1001" in answer.json()["detail"] and "1000" in answer.json()["detail"]


def test_no_room_is_said_with_when_to_come_back_and_ends_when_there_is(doors):
    door = doors(policy="hot_capacity_bytes = 3000")
    door.bench.ingest("old", {"x": bytes(2500)})
    client = door.client()
    dataset = opened(client)
    wanted = {"files": [{"path": "g", "size_bytes": 1000, "mark": "m"}]}
    answer = client.post(f"datasets/{dataset}/uploads", json=wanted)
    assert (answer.status_code, answer.json()["code"]) == (507, "reception-full")
    assert int(answer.headers["Retry-After"]) > 0
    checks = httpx.get(f"{door.url}/health").json()["checks"]
    assert next(check for check in checks if check["name"] == "room")["detail"] == "Fast storage is full"
    door.bench.settle()
    door.bench.turn(days=61)
    door.bench.settle()
    door.bench.turn(hours=2)
    door.bench.settle()
    assert client.post(f"datasets/{dataset}/uploads", json=wanted).status_code == 200
    checks = httpx.get(f"{door.url}/health").json()["checks"]
    assert next(check for check in checks if check["name"] == "room")["ok"]


def test_an_open_dataset_is_read_whole_only_when_something_of_it_is_copied_on(doors, monkeypatch: pytest.MonkeyPatch):
    """With each file that comes it would cost more than the one before."""
    door = doors(archive={"bundles": True}, deep={"bundles": True})
    seen: list[int] = []
    plain = worker.view

    def counted(tx: Transaction, dataset_id: int) -> View:
        seen.append(dataset_id)
        return plain(tx, dataset_id)

    monkeypatch.setattr(worker, "view", counted)
    client = door.client()
    dataset = opened(client)
    for number in range(3):
        sent(client, dataset, f"small{number}", secrets.token_bytes(100))
        door.settle()
    assert seen == []
    sent(client, dataset, "large", secrets.token_bytes(MIB))
    door.settle()
    assert set(seen) == {dataset}
    assert state_of(door, dataset) == (DatasetState.OPEN, False)
    with door.bench.archive.ledger.read() as tx:
        assert {(copy.key.rpartition("/")[2], copy.tier) for copy in tx.copies(dataset) if copy.tier != "hot"} == {
            ("large", "archive"),
            ("large", "deep"),
        }
    client.post(f"datasets/{dataset}/close")
    door.settle()
    with door.bench.archive.ledger.read() as tx:
        bundles = {copy.tier for copy in tx.copies(dataset) if copy.key.endswith(".tar")}
    assert bundles == {"archive", "deep"}
    assert check(door.bench.archive) == []


def test_reports_are_kept_for_admins(door: Door):
    assert door.client().post("instrument/report", json={"waiting": 3, "oldest_waiting_s": 60, "message": "HDF5 open"}).status_code == 204
    with door.bench.archive.ledger.read() as tx:
        instrument = tx.instrument("saxs")
    assert instrument.seen_at == door.bench.now
    assert instrument.report is not None and instrument.report["waiting"] == 3


def test_a_dataset_left_open_closes_after_a_quiet_time(door: Door):
    client = door.client()
    dataset = opened(client)
    sent(client, dataset, "f", b"one")
    door.settle()
    closing.run(door.bench.archive)
    assert state_of(door, dataset) == (DatasetState.OPEN, False)
    door.bench.turn(days=1, minutes=1)
    closing.run(door.bench.archive)
    assert state_of(door, dataset) == (DatasetState.OPEN, True)
    door.settle()
    assert state_of(door, dataset)[0] is DatasetState.CLOSED


def test_what_never_came_whole_holds_a_dataset_open_for_so_long_and_is_then_forgotten(door: Door):
    client, content = door.client(), secrets.token_bytes(20 * MIB)
    dataset = opened(client)
    sent(client, dataset, "f", b"one")
    half, lost = begun(client, dataset, half=content, lost=b"lost")
    sent_parts(client, dataset, half, content, [1])
    put(lost["put"], b"lost")  # and it never says so
    door.settle()
    door.bench.turn(days=2)
    closing.run(door.bench.archive)
    assert state_of(door, dataset) == (DatasetState.OPEN, False), "a sender may come back"
    door.bench.turn(days=13)
    closing.run(door.bench.archive)
    door.settle()
    assert state_of(door, dataset)[0] is DatasetState.CLOSED
    with door.bench.archive.ledger.read() as tx:
        assert [f.path for f in tx.files(dataset)] == ["f"]
        assert [e.detail["path"] for e in tx.events(dataset) if e.kind == "file.forgotten"] == ["half", "lost"]
    assert [key.rpartition("/")[2] for key in door.bench.keys("hot")] == ["f"]
    assert list(door.bench.archive.tiers["hot"].uploads()) == []
    assert check(door.bench.archive) == []


def state_of(door: Door, dataset: int) -> tuple[DatasetState, bool]:
    with door.bench.archive.ledger.read() as tx:
        found = tx.dataset(dataset)
    return found.state, found.closing_at is not None


@pytest.mark.usefixtures("quick_clients")
def test_a_store_that_is_away_while_it_is_proven_is_waited_for(door: Door):
    client = door.client()
    dataset = opened(client)
    sent(client, dataset, "f", b"one")
    there = door.bench.archive
    nowhere = there.settings.model_copy(update={"store": there.settings.store.model_copy(update={"endpoint_url": "http://127.0.0.1:9"})})
    door.bench.archive = replace(there, tiers={**there.tiers, "hot": Tier("hot", nowhere)})
    door.settle()
    with there.ledger.read() as tx:
        (waiting,) = tx.transfers(dataset)
    assert (waiting.state, waiting.faults, waiting.attempts) == ("verifying", 0, 2)  # it was begun once, and its proof tried once
    assert client.get(f"datasets/{dataset}/uploads").json()["verifying"] == 1
    door.bench.archive = there
    door.bench.turn(minutes=1)
    door.settle()
    assert client.get(f"datasets/{dataset}/uploads").json()["received"] == 1


def test_what_is_inside_is_read_after_it_is_received(door: Door, tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["title"] = "A frozen lake"
    client = door.client()
    dataset = opened(client)
    sent(client, dataset, "a.h5", path.read_bytes())
    sent(client, dataset, "b.h5", path.read_bytes()[:600])
    client.post(f"datasets/{dataset}/close")
    door.settle()
    with door.bench.archive.ledger.read() as tx:
        good, broken = tx.files(dataset)
        assert tx.dataset(dataset).title == "A frozen lake"
    assert (good.format, good.metadata_state, good.metadata["title"]) == ("hdf5", "ok", "A frozen lake")
    assert (broken.state, broken.metadata_state) == ("received", "failed")
    assert broken.metadata_error
    assert list((door.bench.archive.spool / "contents").iterdir()) == []


def test_what_there_is_to_see_of_a_file_stays_when_it_is_cold_and_goes_when_it_is_erased(door: Door):
    table = b"t,x\n" + b"".join(b"%d,%d\n" % (n, n * n) for n in range(200))
    client = door.client()
    dataset = opened(client)
    sent(client, dataset, "squares.csv", table)
    sent(client, dataset, "noise", secrets.token_bytes(100))
    client.post(f"datasets/{dataset}/close")
    door.settle()
    door.bench.ingest("from-disk", {"squares.csv": table})
    reader = door.client(door.hub.add("alice", "snow"))
    squares, noise = reader.get(f"datasets/{dataset}/files").json()["items"]
    assert (squares["has_preview"], noise["has_preview"]) == (True, False)
    assert reader.get(f"files/{noise['id']}/preview").status_code == 404
    assert door.client(door.hub.add("bob", "ice-cores")).get(f"files/{squares['id']}/preview").status_code == 404
    seen = reader.get(f"files/{squares['id']}/preview").json()
    assert base64.b64decode(seen["png_base64"]).startswith(b"\x89PNG")
    assert seen["plot"]["kind"] == "line"
    other = reader.get(f"datasets/{dataset + 1}/files").json()["items"][0]
    assert reader.get(f"files/{other['id']}/preview").json() == seen, "by hand or over the network"
    door.bench.settle()
    door.bench.turn(days=800)
    door.bench.settle()
    door.bench.turn(hours=2)
    door.bench.settle()
    assert reader.get(f"datasets/{dataset}").json()["tiers"] == ["deep"]
    assert reader.get(f"files/{squares['id']}/preview").json() == seen
    asked = erasure.request(door.bench.archive, "ana", "saxs/run1", None, "a test wants it so")
    erasure.approve(door.bench.archive, "ben", asked.id)
    door.bench.settle()
    assert reader.get(f"files/{squares['id']}/preview").status_code == 404
    with door.bench.archive.ledger.read() as tx:
        key = names.preview_key(tx.dataset(dataset).prefix, b"squares.csv")
    assert door.bench.archive.tiers["hot"].standing(key) == []
    assert check(door.bench.archive) == []


@pytest.mark.parametrize("version", ["invented", "null", "6d1a0e5c-not-there"])
def test_a_version_that_the_store_does_not_have_is_not_waited_for(door: Door, version: str):
    client = door.client()
    dataset = opened(client)
    (item,) = begun(client, dataset, f=b"one")
    if version != "null":  # which stands for the newest
        assert put(item["put"], b"one").status_code == 200
    told_of = {"file_id": item["file_id"], "sha256": sha(b"one"), "version_id": version}
    assert client.post(f"datasets/{dataset}/uploads/done", json={"files": [told_of]}).status_code == 200
    door.settle()
    (failed,) = client.get(f"datasets/{dataset}/uploads").json()["items"]
    assert failed["state"] == "failed"
    sent(client, dataset, "f", b"one")
    door.settle()
    assert client.get(f"datasets/{dataset}/uploads").json()["received"] == 1


def test_a_name_that_looks_like_a_version_is_a_name(door: Door):
    client = door.client()
    dataset = opened(client)
    sent(client, dataset, "f", b"one")
    door.settle()
    wanted = [{"path": path, "size_bytes": 5, "mark": "m", "sha256": sha(b"other")} for path in ("f@v2", "f", "f@v3")]
    items = client.post(f"datasets/{dataset}/uploads", json={"files": wanted}).json()["items"]
    assert [item["path"] for item in items] == ["f@v2", "f@v3", "f@v3@v2"]
    again = client.post(f"datasets/{dataset}/uploads", json={"files": wanted}).json()["items"]
    assert [(item["state"], item["file_id"]) for item in again] == [("put", item["file_id"]) for item in items]


def test_a_close_that_waits_for_a_sender_who_is_gone_ends_with_the_datasets_age(door: Door):
    client = door.client()
    dataset = opened(client)
    sent(client, dataset, "f", b"one")
    (item,) = begun(client, dataset, g=b"right")
    put(item["put"], b"wrong")
    told(client, dataset, item["file_id"], b"right")
    assert client.post(f"datasets/{dataset}/close").status_code == 202
    door.settle()
    closing.run(door.bench.archive)
    assert state_of(door, dataset) == (DatasetState.OPEN, True), "the sender may send it again"
    door.bench.turn(days=15)
    closing.run(door.bench.archive)
    door.settle()
    assert state_of(door, dataset)[0] is DatasetState.CLOSED
    assert check(door.bench.archive) == []


def test_a_fault_of_ours_with_one_file_costs_its_metadata_only(door: Door, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    real = formats.extract

    def faulty(path, name, **more):
        if name == "bad.csv":
            raise RuntimeError("a fault of ours")
        return real(path, name, **more)

    monkeypatch.setattr(formats, "extract", faulty)
    client = door.client()
    dataset = opened(client)
    for name in ("bad.csv", "good.csv"):
        sent(client, dataset, name, b"t,x\n0,1\n1,2\n")
    client.post(f"datasets/{dataset}/close")
    door.settle()
    assert state_of(door, dataset)[0] is DatasetState.CLOSED
    assert metadata_of(door, dataset) == {"bad.csv": "failed", "good.csv": "ok"}
    assert "a fault of ours" in caplog.text


def foreign_at(door: Door, dataset: int, path: str) -> tuple[str, str]:
    """Put an object there that is not ours: (key, version)."""
    with door.bench.archive.ledger.read() as tx:
        key = f"{tx.dataset(dataset).prefix}/{path}"
    return key, door.bench.archive.tiers["hot"].begin_put(key, b"somebody else's", "STANDARD")()


def test_what_is_not_ours_is_left_alone_however_often_its_place_is_asked_for(door: Door):
    client, hot = door.client(), door.bench.archive.tiers["hot"]
    dataset = opened(client)
    key, version = foreign_at(door, dataset, "f")
    for mark in ("m", "m", "another", "m"):
        wanted = {"files": [{"path": "f", "size_bytes": 1, "mark": mark}]}
        answer = client.post(f"datasets/{dataset}/uploads", json=wanted)
        assert (answer.status_code, answer.json()["code"]) == (409, "foreign-object"), answer.text
        door.bench.turn(hours=1)
        door.settle()
    (waiting,) = client.get(f"datasets/{dataset}/uploads").json()["items"]
    assert "holds an object that the ledger does not know" in waiting["error"]
    assert client.delete(f"datasets/{dataset}/uploads/{waiting['file_id']}").status_code == 204
    strays.run(door.bench.archive)
    assert b"".join(hot.read(key, version)) == b"somebody else's"
    hot.delete_version(key, version)
    sent(client, dataset, "f", b"1")
    client.post(f"datasets/{dataset}/close")
    door.settle()
    assert state_of(door, dataset)[0] is DatasetState.CLOSED
    assert check(door.bench.archive) == []


@pytest.mark.parametrize("how", ["api", "ingest"])
def test_what_came_to_stand_there_while_the_store_was_away_is_not_ours(door: Door, monkeypatch: pytest.MonkeyPatch, how: str):
    """That a try failed before it began does not make it ours."""
    client, hot = door.client(), door.bench.archive.tiers["hot"]
    folder = door.bench.write("run1", {"f": b"1"})

    def ask() -> int | list[Any]:
        if how == "api":
            return client.post(f"datasets/{dataset}/uploads", json={"files": [{"path": "f", "size_bytes": 1, "mark": "m"}]}).status_code
        return app.ingest(door.bench.archive, "snow", "saxs", "run1", [folder])[0]

    dataset = opened(client) if how == "api" else 1
    with monkeypatch.context() as patched:
        for name in ("head", "begin_look"):
            patched.setattr(Tier, name, lambda *_: (_ for _ in ()).throw(StoreUnavailable("It is away.", "Wait.")))
        with suppress(PublicError):
            ask()
    key, version = foreign_at(door, dataset, "f")
    for _ in range(3):
        door.bench.turn(hours=1)
        with suppress(PublicError):
            ask()
        assert b"".join(hot.read(key, version)) == b"somebody else's"


def test_what_comes_late_to_a_key_that_was_given_up_is_ended(door: Door):
    """A presigned request can be made as long as it is valid, whatever its file has become."""
    client, hot = door.client(), door.bench.archive.tiers["hot"]
    dataset = opened(client)
    (item, kept) = begun(client, dataset, f=b"one", kept=b"two")
    for one in (item, kept):
        assert client.delete(f"datasets/{dataset}/uploads/{one['file_id']}").status_code == 204
    strays.run(door.bench.archive)  # nothing is there yet
    assert put(item["put"], b"one").status_code == 200
    assert put(kept["put"], b"two").status_code == 200
    again = sent(client, dataset, "kept", b"two!")
    door.settle()
    door.bench.turn(minutes=30)
    strays.run(door.bench.archive)
    assert set(door.bench.keys("hot")) == {f"snow/saxs/2026/03/run1/{name}" for name in ("f", "kept")}, "it can still come"
    door.bench.turn(minutes=40)
    strays.run(door.bench.archive)
    assert door.bench.keys("hot") == ["snow/saxs/2026/03/run1/kept"]
    with door.bench.archive.ledger.read() as tx:
        assert tx.connection.execute(sa.text("SELECT count(*) FROM stray")).scalar() == 0
    assert told(client, dataset, again["file_id"], b"two!") == "received"
    assert hot.head("snow/saxs/2026/03/run1/f") is None
    assert check(door.bench.archive) == []


def test_what_is_sent_is_proven_and_looked_into_while_every_hand_copies(doors, monkeypatch: pytest.MonkeyPatch):
    door: Door = doors(worker="parallel = 1")
    door.bench.ingest("before", {f"{number}.csv": b"t,x\n0,1\n1,2\n" for number in range(3)})
    run, copying, go_on, over = batch.run, threading.Event(), threading.Event(), threading.Event()

    def slow(archive, transfers):
        if transfers[0].source_uri is None:
            copying.set()
            assert go_on.wait(60)
        return run(archive, transfers)

    monkeypatch.setattr(batch, "run", slow)
    working = threading.Thread(target=Worker(door.bench.archive).run, args=[over])
    working.start()
    try:
        assert copying.wait(30)
        client = door.client()
        dataset = opened(client)
        item = sent(client, dataset, "new.csv", b"t,x\n0,1\n1,2\n")
        deadline = time.monotonic() + 30
        while told(client, dataset, item["file_id"], b"t,x\n0,1\n1,2\n") != "received" or metadata_of(door, dataset) != {"new.csv": "ok"}:
            assert time.monotonic() < deadline, "what was sent waits for copies"
            time.sleep(0.05)
        assert door.bench.keys("archive") == []
    finally:
        go_on.set()
        over.set()
        working.join(60)
    door.settle()
    assert door.bench.keys("archive") != []
    assert check(door.bench.archive) == []


def metadata_of(door: Door, dataset: int) -> dict[str, str]:
    with door.bench.archive.ledger.read() as tx:
        return {file.path: file.metadata_state for file in tx.files(dataset)}


def test_a_request_of_a_sender_long_killed_adds_nothing_to_what_was_received_since(door: Door, monkeypatch):
    """It saw nothing there, was slow to write down, and meanwhile another sender had sent the same file, which is received."""
    client = door.client()
    dataset = opened(client)
    look, late = upload._see_room, []

    def slow(archive, project, more_bytes):
        look(archive, project, more_bytes)
        if not late:
            late.append(1)
            assert received_now(client, door, dataset) == "received"

    monkeypatch.setattr(upload, "_see_room", slow)
    (item,) = client.post(f"datasets/{dataset}/uploads", json={"files": [{"path": "f", "size_bytes": 1, "mark": "m"}]}).json()["items"]
    assert (item["state"], item["path"]) == ("known", "f")
    with door.bench.archive.ledger.read() as tx:
        assert [file.path for file in tx.files(dataset)] == ["f"]
    assert client.post(f"datasets/{dataset}/close").status_code == 202


def received_now(client, door: Door, dataset: int) -> str:
    wanted = {"files": [{"path": "f", "size_bytes": 1, "mark": "m"}]}
    (item,) = client.post(f"datasets/{dataset}/uploads", json=wanted).json()["items"]
    assert httpx.put(item["put"]["url"], headers=item["put"]["headers"], content=b"1").status_code == 200
    done = {"files": [{"file_id": item["file_id"], "sha256": hashlib.sha256(b"1").hexdigest()}]}
    client.post(f"datasets/{dataset}/uploads/done", json=done).raise_for_status()
    door.settle()
    return client.post(f"datasets/{dataset}/uploads/done", json=done).json()["items"][0]["state"]


def test_a_ledger_without_room_says_so_and_takes_it_later(door: Door):
    engine = door.bench.archive.ledger.engine

    def limit(connection: Any, _record: Any) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count={pages}")

    engine.dispose()
    sa.event.listen(engine, "connect", limit)
    client = door.client()
    for kept in range(1000):
        answer = client.post("datasets", json={"name": f"run{kept}-{'x' * 180}"})
        if answer.status_code != 200:
            break
    assert (answer.status_code, answer.json()["code"]) == (503, "ledger-unavailable"), answer.text
    assert "is full; nothing was written. Make room there, then try again." in answer.json()["detail"] + " " + answer.json()["next_step"]
    sa.event.remove(engine, "connect", limit)
    engine.dispose()
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM dataset")).scalar() == kept
    assert opened(client, f"run{kept}-{'x' * 180}") == kept + 1
    assert check(door.bench.archive) == []


@pytest.mark.parametrize("released", [True, False])
def test_copies_give_way_to_what_senders_wait_for_but_not_for_ever(door: Door, monkeypatch: pytest.MonkeyPatch, released: bool):
    """`released`: it is proven soon, so that there is a lull; else it is in hand for longer than copies wait."""
    monkeypatch.setattr(worker, "_GIVES_WAY_S", 60.0 if released else 2.0)
    bench, client, proven, stop = door.bench, door.client(), threading.Event(), threading.Event()
    app.ingest(bench.archive, "snow", "saxs", "before", [bench.write("before", {"a": b"a"})])
    sent(client, opened(client), "b.bin", b"b" * 1000)
    begun_at: dict[str, float] = {}
    run = batch.run

    def watched(archive: Any, transfers: Any) -> Any:
        what = "arrival" if transfer.is_upload(transfers[0]) else "copy"
        begun_at.setdefault(what, time.monotonic())
        if what == "arrival":
            assert proven.wait(30)
        return run(archive, transfers)

    monkeypatch.setattr(batch, "run", watched)
    monkeypatch.setattr(Worker, "_plan", _once_the_arrival_is_begun(begun_at, Worker._plan))
    running = threading.Thread(target=Worker(bench.archive).run, args=(stop,))
    running.start()
    try:
        wait_until(lambda: "arrival" in begun_at, 20, "the arrival")
        if released:
            time.sleep(1)
            assert "copy" not in begun_at
            proven.set()
        wait_until(lambda: "copy" in begun_at, 20, "a copy")
        assert begun_at["copy"] - begun_at["arrival"] >= (2.0 if released else 1.9)
    finally:
        proven.set()
        stop.set()
        running.join()


def _once_the_arrival_is_begun(begun_at: dict[str, float], plan: Any) -> Any:
    return lambda self: "arrival" in begun_at and plan(self)

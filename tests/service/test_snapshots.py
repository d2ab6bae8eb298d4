"""Snapshots of files that grow: shown once proven, replaced without a gap, gone when the file is received, a file when it never is."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fixtures.archive import START, Bench
from fixtures.door import Door

from archiver import closing, inventory, names, showing
from archiver.check import check
from archiver.errors import SnapshotInTheWay
from archiver.model import DatasetState, SnapshotState
from archiver.storage import Tier

MIB = 2**20
PREFIX = "snow/saxs/2026/03/run1"


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def opened(client: httpx.Client, name: str = "run1") -> int:
    return client.post("datasets", json={"name": name}).json()["id"]


def begun(client: httpx.Client, dataset: int, path: str, content: bytes, minute: int = 0) -> dict[str, Any]:
    """Announce a snapshot, taken so many minutes after the start."""
    at = (START + timedelta(minutes=minute)).isoformat()
    said = {"path": path, "size_bytes": len(content), "mark": sha(content), "taken_at": at, "mtime": at}
    answer = client.post(f"datasets/{dataset}/snapshots", json={"files": [said]})
    assert answer.status_code == 200, answer.text
    return answer.json()["items"][0]


def put(request: dict[str, Any], content: bytes) -> int:
    return httpx.put(request["url"], headers=request["headers"], content=content).status_code


def told(client: httpx.Client, dataset: int, snapshot_id: int, content: bytes) -> str:
    answer = client.post(f"datasets/{dataset}/snapshots/done", json={"files": [{"snapshot_id": snapshot_id, "sha256": sha(content)}]})
    assert answer.status_code == 200, answer.text
    return answer.json()["items"][0]["state"]


def taken(client: httpx.Client, dataset: int, path: str, content: bytes, minute: int = 0) -> dict[str, Any]:
    """Send a small snapshot, all of it."""
    item = begun(client, dataset, path, content, minute)
    assert item["state"] == "put", item
    assert put(item["put"], content) == 200
    assert told(client, dataset, item["snapshot_id"], content) == "verifying"
    return item


def asked(client: httpx.Client, dataset: int, path: str, content: bytes, minute: int = 0) -> httpx.Response:
    at = (START + timedelta(minutes=minute)).isoformat()
    said = {"path": path, "size_bytes": len(content), "mark": sha(content), "mtime": at}
    return client.post(f"datasets/{dataset}/uploads", json={"files": [said]})


def sent(client: httpx.Client, dataset: int, path: str, content: bytes, minute: int = 0) -> None:
    """Send a small file, all of it."""
    item = asked(client, dataset, path, content, minute).json()["items"][0]
    if item["state"] == "known":
        item = client.post(
            f"datasets/{dataset}/uploads", json={"files": [{"path": path, "size_bytes": len(content), "mark": "m", "sha256": sha(content)}]}
        ).json()["items"][0]
    assert put(item["put"], content) == 200
    said = {"files": [{"file_id": item["file_id"], "sha256": sha(content)}]}
    assert client.post(f"datasets/{dataset}/uploads/done", json=said).json()["items"][0]["state"] == "verifying"


def stands(bench: Bench) -> dict[str, bytes]:
    """What lies in hot below the dataset, one version of each: path to bytes. Nothing of a snapshot on its way is left beside."""
    tier, found = bench.archive.tiers["hot"], {}
    assert list(tier.listed(names.SNAPSHOTS)) == []
    assert list(tier.uploads()) == []
    for key in bench.keys("hot"):
        (version,) = tier.standing(key)
        found[key.removeprefix(f"{PREFIX}/")] = b"".join(tier.read(key, version.version_id))
    return found


def lines(bench: Bench, dataset: int) -> list[tuple[str, str]]:
    """What the history says of snapshots."""
    with bench.archive.ledger.read() as tx:
        return [
            (e.kind.removeprefix("snapshot."), e.detail.get("why", e.detail["path"])) for e in tx.events(dataset) if e.kind.startswith("snapshot.")
        ]


def state_of(bench: Bench, dataset: int) -> tuple[DatasetState, dict[str, str]]:
    with bench.archive.ledger.read() as tx:
        assert tx.snapshots([dataset]) == [] or tx.dataset(dataset).state is DatasetState.OPEN
        return tx.dataset(dataset).state, {f.path: f.state for f in tx.files(dataset)}


def test_a_snapshot_is_shown_once_proven_replaced_without_a_gap_and_goes_with_its_file(door: Door):
    client, bench = door.client(), door.bench
    reader = door.client(door.hub.add("alice", "snow"))
    dataset = opened(client)
    item = taken(client, dataset, "raw/scan.h5", b"one", minute=1)
    assert item["path"] == "raw/scan.snapshot.h5"
    assert reader.get(f"datasets/{dataset}/snapshots").json() == {"items": []}, "it is not proven yet"
    assert bench.keys("hot") == []
    door.settle()
    shown = {"path": "raw/scan.snapshot.h5", "of": "raw/scan.h5", "size_bytes": 3, "sha256": sha(b"one"), "taken_at": "2026-03-01T12:01:00Z"}
    shown["proven_at"] = "2026-03-01T12:00:00Z"
    assert reader.get(f"datasets/{dataset}/snapshots").json() == {"items": [shown]} == client.get(f"datasets/{dataset}/snapshots").json()
    assert reader.get(f"datasets/{dataset}").json()["snapshots"] == [shown]
    assert door.client(door.hub.add("bob", "ice-cores")).get(f"datasets/{dataset}/snapshots").status_code == 404
    assert stands(bench) == {"raw/scan.snapshot.h5": b"one"}
    assert begun(client, dataset, "raw/scan.h5", b"one")["state"] == "shown"
    # The next takes its place; until it is proven the first stands.
    item = taken(client, dataset, "raw/scan.h5", b"one two", minute=11)
    assert begun(client, dataset, "raw/scan.h5", b"one two three")["state"] == "busy"
    assert bench.archive.tiers["hot"].newest(f"{PREFIX}/raw/scan.snapshot.h5") == b"one"
    door.settle()
    assert stands(bench) == {"raw/scan.snapshot.h5": b"one two"}
    assert told(client, dataset, item["snapshot_id"], b"one two") == "shown"
    # It is no file: nothing is received, nothing is in any list of files.
    assert client.get(f"datasets/{dataset}/uploads").json()["received"] == 0
    assert reader.get(f"datasets/{dataset}/files").json()["items"] == []
    assert client.get(f"datasets/{dataset}/receipts").json()["items"] == []
    counts = inventory.full(bench.archive, "hot")["counts"]
    assert (counts["snapshots"], counts.get("foreign", 0)) == (1, 0)
    assert check(bench.archive) == []
    sent(client, dataset, "raw/scan.h5", b"one two three", minute=20)
    door.settle()
    assert stands(bench) == {"raw/scan.h5": b"one two three"}
    assert client.get(f"datasets/{dataset}/snapshots").json() == {"items": []}
    assert begun(client, dataset, "raw/scan.h5", b"one two", minute=19)["state"] == "busy", "the file is there"
    client.post(f"datasets/{dataset}/close")
    door.settle()
    assert state_of(bench, dataset) == (DatasetState.CLOSED, {"raw/scan.h5": "received"})
    manifest = json.loads(bench.archive.tiers["archive"].newest(names.manifest_key(PREFIX)) or b"")
    assert [file["path"] for file in manifest["files"]] == ["raw/scan.h5"]
    path = "raw/scan.snapshot.h5"
    assert lines(bench, dataset) == [("shown", path), ("shown", path), ("ended", "the file itself is received")]
    assert check(bench.archive) == []


def test_a_large_one_comes_in_parts_and_another_begins_anew(door: Door):
    client, content = door.client(), secrets.token_bytes(20 * MIB)
    dataset = opened(client)
    for number, size in ((1, 16 * MIB), (2, 4 * MIB)):
        item = begun(client, dataset, "big.dat", content)
        assert (item["state"], item["part_bytes"]) == ("parts", 16 * MIB)
        assert [part["number"] for part in item["done"]] == list(range(1, number))
        asking = f"datasets/{dataset}/snapshots/{item['snapshot_id']}"
        (part,) = client.post(f"{asking}/parts", json={"numbers": [number]}).json()["items"]
        assert put(part, content[(number - 1) * 16 * MIB :][:size]) == 200
        assert client.post(f"{asking}/parts", json={"numbers": [3]}).status_code == 422
        assert told(client, dataset, item["snapshot_id"], content) == ("missing" if number == 1 else "verifying")
    door.settle()
    assert stands(door.bench) == {"big.snapshot.dat": content}
    begun(client, dataset, "big.dat", content + b"more")
    item = taken(client, dataset, "big.dat", b"small now")
    door.settle()
    assert stands(door.bench) == {"big.snapshot.dat": b"small now"}, "nothing is left of what was never sent"
    assert client.post(f"datasets/{dataset}/snapshots/{item['snapshot_id']}/parts", json={"numbers": [1]}).status_code == 409


def test_what_is_not_what_was_told_is_dropped_with_a_line_and_the_one_before_stands(door: Door):
    client = door.client()
    dataset = opened(client)
    item = begun(client, dataset, "log", b"right")
    assert told(client, dataset, item["snapshot_id"], b"right") == "missing"
    put(item["put"], b"wrong")
    told(client, dataset, item["snapshot_id"], b"right")
    door.settle()
    assert stands(door.bench) == {}
    taken(client, dataset, "log", b"first")
    door.settle()
    item = begun(client, dataset, "log", b"right")
    put(item["put"], b"wrong")
    told(client, dataset, item["snapshot_id"], b"right")
    door.settle()
    assert stands(door.bench) == {"log.snapshot": b"first"}
    kinds = [kind for kind, _ in lines(door.bench, dataset)]
    assert kinds == ["dropped", "ended", "shown", "dropped"]
    why = lines(door.bench, dataset)[-1][1]
    assert sha(b"right") in why and sha(b"wrong") in why
    taken(client, dataset, "log", b"second")
    door.settle()
    assert stands(door.bench) == {"log.snapshot": b"second"}
    invented = begun(client, dataset, "log", b"third")
    said = {"files": [{"snapshot_id": invented["snapshot_id"], "sha256": sha(b"third"), "version_id": "invented"}]}
    assert client.post(f"datasets/{dataset}/snapshots/done", json=said).status_code == 200
    door.settle()
    assert stands(door.bench) == {"log.snapshot": b"second"}
    assert check(door.bench.archive) == []


@pytest.mark.parametrize("how", ["its sender", "quiet", "age"])
def test_at_the_close_a_snapshot_whose_file_never_came_becomes_a_file(door: Door, how: str):
    client, bench = door.client(), door.bench
    dataset = opened(client)
    taken(client, dataset, "scan.csv", b"t,x\n0,1\n1,2\n", minute=1)
    taken(client, dataset, "done.csv", b"t\n", minute=1)
    taken(client, dataset, "half.csv", b"t\n", minute=1)
    door.settle()
    sent(client, dataset, "done.csv", b"t\n0\n", minute=2)
    begun(client, dataset, "half.csv", b"t\n1\n", minute=3)  # and it is never sent
    begun(client, dataset, "never.csv", b"t\n1\n", minute=3)
    door.settle()
    if how == "its sender":
        assert client.post(f"datasets/{dataset}/close").json()["items"][0]["state"] == "closing"
        assert begun(client, dataset, "scan.csv", b"later")["dataset_id"] != dataset
    else:
        bench.turn(days=2 if how == "quiet" else 15)
        closing.run(bench.archive)
    door.settle()
    files = {"scan.snapshot.csv": "received", "done.csv": "received", "half.snapshot.csv": "received"}
    assert state_of(bench, dataset) == (DatasetState.CLOSED, files)
    with bench.archive.ledger.read() as tx:
        promoted = next(f for f in tx.files(dataset) if f.path == "scan.snapshot.csv")
    assert (promoted.sha256, promoted.format, promoted.metadata_state) == (sha(b"t,x\n0,1\n1,2\n"), "csv", "ok")
    door.bench.settle()
    with bench.archive.ledger.read() as tx:
        assert bench.tiers(tx.dataset(dataset)) == {"hot", "archive", "deep"}
    assert [kind for kind, _ in lines(bench, dataset)].count("promoted") == 2
    assert check(bench.archive) == []


def test_a_dataset_of_nothing_but_a_snapshot_closes_with_it(door: Door):
    client = door.client()
    dataset = opened(client)
    taken(client, dataset, "log", b"a\n")
    assert client.post(f"datasets/{dataset}/close").status_code == 409, "nothing of it is proven yet"
    door.settle()
    assert client.post(f"datasets/{dataset}/close").status_code == 202
    door.settle()
    assert state_of(door.bench, dataset) == (DatasetState.CLOSED, {"log.snapshot": "received"})


def test_one_that_is_spoilt_in_the_store_holds_no_close_up(door: Door):
    client, bench = door.client(), door.bench
    dataset = opened(client)
    sent(client, dataset, "f", b"f")
    taken(client, dataset, "log", b"a\n")
    door.settle()
    bench.admin["hot"].delete_all_versions(f"{PREFIX}/log.snapshot")
    client.post(f"datasets/{dataset}/close")
    door.settle()
    assert state_of(bench, dataset) == (DatasetState.OPEN, {"f": "received", "log.snapshot": "arriving"})
    closing.run(bench.archive)
    door.settle()
    assert state_of(bench, dataset) == (DatasetState.CLOSED, {"f": "received"})
    assert check(bench.archive) == []


def test_other_content_under_a_known_path_has_a_snapshot_of_its_own(door: Door):
    client, bench = door.client(), door.bench
    dataset = opened(client)
    sent(client, dataset, "scan.h5", b"first measurement", minute=1)
    door.settle()
    bench.turn(minutes=10)
    taken(client, dataset, "scan.h5", b"second", minute=9)
    door.settle()
    assert stands(bench) == {"scan.h5": b"first measurement", "scan.snapshot.h5": b"second"}
    sent(client, dataset, "scan.h5", b"second measured", minute=1)  # its writer set the time back
    door.settle()
    assert stands(bench) == {"scan.h5": b"first measurement", "scan.h5@v2": b"second measured"}


def test_a_true_file_keeps_its_name_and_a_snapshot_makes_way(door: Door):
    client, bench = door.client(), door.bench
    dataset = opened(client)
    sent(client, dataset, "a.snapshot.h5", b"a file")
    door.settle()
    assert taken(client, dataset, "a.h5", b"growing")["path"] == "a.snapshot.h5@v2"
    assert taken(client, dataset, "b.h5", b"growing")["path"] == "b.snapshot.h5"
    door.settle()
    answer = asked(client, dataset, "b.snapshot.h5", b"a file too")
    assert (answer.status_code, answer.json()["code"]) == (503, "snapshot-in-the-way")
    assert int(answer.headers["Retry-After"]) > 0
    with pytest.raises(SnapshotInTheWay):
        bench.ingest("run1", {"a.snapshot.h5": b"other content"})
    door.settle()
    sent(client, dataset, "b.snapshot.h5", b"a file too")
    door.settle()
    assert taken(client, dataset, "b.h5", b"growing")["path"] == "b.snapshot.h5@v2"
    door.settle()
    assert stands(bench) == {"a.snapshot.h5": b"a file", "b.snapshot.h5": b"a file too", "b.snapshot.h5@v2": b"growing"}
    assert check(bench.archive) == []


def test_one_that_is_left_in_a_closed_dataset_is_said_and_ends(door: Door):
    """Another sender announces it between the manifest and the close."""
    bench = door.bench
    dataset = bench.ingest("run1", {"f": b"f"})
    client = door.client()
    assert taken(client, dataset.id, "log", b"a\n")["dataset_id"] != dataset.id
    with bench.archive.ledger.begin() as tx:
        row = tx.snapshot_of(dataset.id + 1, b"log")
        tx.add_snapshot(dataset.id, b"x", b"x.snapshot", f"{PREFIX}/x.snapshot", coming_key=f"{names.SNAPSHOTS}x", coming_mtime=tx.at)
    assert row is not None
    said = f"saxs/run1: a snapshot stands at {PREFIX}/x.snapshot, though the dataset is closed"
    assert said in check(bench.archive)
    bench.settle()
    assert check(bench.archive) == []
    with bench.archive.ledger.read() as tx:
        assert tx.snapshots([dataset.id]) == []
        assert [one.state for one in tx.snapshots([dataset.id + 1])] == [SnapshotState.SHOWN]


def test_an_empty_one_and_odd_names(door: Door):
    client = door.client()
    dataset = opened(client)
    shown = {}
    for path, content in (("empty", b""), ("new\nline é.h5", b"odd"), (".hidden", b"h"), ("a.tar.gz", b"t")):
        item = taken(client, dataset, path, content)
        shown[item["path"]] = content
        door.settle()
    assert set(shown) == {"empty.snapshot", "new\nline é.snapshot.h5", ".hidden.snapshot", "a.tar.snapshot.gz"}
    stood = stands(door.bench)
    assert sorted(stood.values()) == sorted(shown.values())
    assert {"empty.snapshot", ".hidden.snapshot", "a.tar.snapshot.gz"} <= set(stood)
    client.post(f"datasets/{dataset}/close")
    door.settle()
    assert state_of(door.bench, dataset) == (DatasetState.CLOSED, dict.fromkeys(shown, "received"))


def test_what_is_nobodys_at_its_place_is_left_alone(door: Door):
    client, tier = door.client(), door.bench.archive.tiers["hot"]
    tier.put_text(f"{PREFIX}/log.snapshot", "somebody's")
    dataset = opened(client)
    taken(client, dataset, "log", b"a\n")
    door.settle()
    assert stands(door.bench) == {"log.snapshot": b"somebody's"}
    assert [kind for kind, _ in lines(door.bench, dataset)] == ["dropped", "ended"]


def test_a_key_reaches_no_snapshot_of_others(door: Door):
    other = door.client(door.key_of("weather", "ice-cores"))
    theirs = opened(other, "storm")
    item = taken(other, theirs, "log", b"a\n")
    mine, client = opened(door.client()), door.client()
    person = door.client(door.hub.add("carol", "snow", scopes=["access:services!service=archiver", "custom:archiver:ingest"]))

    def all_of_it() -> tuple[Any, ...]:
        with door.bench.archive.ledger.read() as tx:
            return tx.snapshots([theirs, mine]), tx.events(theirs), tx.events(mine)

    before = all_of_it()
    file = {"path": "log", "size_bytes": 1, "mark": "m", "taken_at": START.isoformat()}
    done = {"files": [{"snapshot_id": item["snapshot_id"], "sha256": "0" * 64}]}
    for who in (client, person):
        for method, path, body in (
            ("POST", f"datasets/{theirs}/snapshots", {"files": [file]}),
            ("POST", f"datasets/{theirs}/snapshots/done", done),
            ("POST", f"datasets/{theirs}/snapshots/{item['snapshot_id']}/parts", {"numbers": [1]}),
            ("POST", f"datasets/{mine}/snapshots/{item['snapshot_id']}/parts", {"numbers": [1]}),
            ("POST", f"datasets/{mine}/snapshots/done", done),
            ("GET", f"datasets/{theirs}/snapshots", None),
        ):
            answer = who.request(method, path, json=body)
            assert (answer.status_code, answer.json()["code"]) in {(404, "not-found"), (403, "not-allowed")}, (path, answer.text)
            assert answer.status_code == 404 or (who is person and method == "GET"), path
    assert all_of_it() == before
    for path in ("../x", "a//b", "x" * 5000):
        assert client.post(f"datasets/{mine}/snapshots", json={"files": [{**file, "path": path}]}).status_code == 422
    assert all_of_it() == before


def test_too_large_and_no_room_and_files_come_first(doors):
    door = doors("[reception]\nfile_max_bytes = 5000\n", policy="hot_capacity_bytes = 10000")
    client = door.client()
    dataset = opened(client)
    file = {"path": "log", "size_bytes": 5001, "mark": "m", "taken_at": START.isoformat()}
    answer = client.post(f"datasets/{dataset}/snapshots", json={"files": [file]})
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
    taken(client, dataset, "log", bytes(4000))
    door.settle()
    taken(client, dataset, "other", bytes(4000))
    answer = client.post(f"datasets/{dataset}/snapshots", json={"files": [{**file, "size_bytes": 4000}]})
    assert (answer.status_code, answer.json()["code"]) == (507, "reception-full")
    for number in (1, 2):
        sent(client, dataset, f"file{number}", secrets.token_bytes(5000))
    door.settle()
    assert client.get(f"datasets/{dataset}/uploads").json()["received"] == 2


@pytest.mark.usefixtures("quick_clients")
def test_a_store_that_is_away_is_waited_for(door: Door):
    client = door.client()
    dataset = opened(client)
    taken(client, dataset, "log", b"a\n")
    there = door.bench.archive
    nowhere = there.settings.model_copy(update={"store": there.settings.store.model_copy(update={"endpoint_url": "http://127.0.0.1:9"})})
    door.bench.archive = replace(there, tiers={**there.tiers, "hot": Tier("hot", nowhere)})
    door.settle()
    with there.ledger.read() as tx:
        (waiting,) = tx.snapshots([dataset])
    assert (waiting.state, waiting.attempts, waiting.lease_by) == (SnapshotState.PROVING, 1, None)
    assert "cannot be used" in (waiting.error or "")
    door.bench.archive = there
    door.bench.turn(minutes=1)
    door.settle()
    assert stands(door.bench) == {"log.snapshot": b"a\n"}


def test_what_was_never_sent_is_given_up_and_strays_are_removed(door: Door):
    client, tier = door.client(), door.bench.archive.tiers["hot"]
    dataset = opened(client)
    old = begun(client, dataset, "log", b"a\n")
    item = begun(client, dataset, "log", b"a\nb\n")
    big = begun(client, dataset, "big", bytes(17 * MIB))
    assert put(old["put"], b"a\n") == 200, "a request that somebody held back"
    assert put(item["put"], b"a\nb\n") == 200
    showing.sweep(door.bench.archive)
    assert len(list(tier.listed(names.SNAPSHOTS))) == 1, "what nobody waits for any more is removed"
    assert told(client, dataset, item["snapshot_id"], b"a\nb\n") == "verifying"
    door.bench.turn(days=1, minutes=1)
    showing.sweep(door.bench.archive)
    door.settle()
    assert stands(door.bench) == {"log.snapshot": b"a\nb\n"}
    assert client.post(f"datasets/{dataset}/snapshots/{big['snapshot_id']}/parts", json={"numbers": [1]}).status_code == 404
    assert check(door.bench.archive) == []

"""A receipt is enough for a stranger: with it and the store's objects, bytes, proofs and history are verified, here without any of our code."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from fixtures.archive import Bench
from fixtures.site import Browser, TokenTable

from archiver import anchors
from archiver.api import create_app
from archiver.ledger import tables as t


@pytest.fixture
def bundled(bench_on: Any) -> Iterator[Bench]:
    made: Bench = bench_on(archive={"bundles": True}, deep={"bundles": True})
    yield made
    made.give_back()


@pytest.fixture
def ask(bundled: Bench) -> Iterator[Any]:
    """`ask(name)`: the API as that user."""
    hub = TokenTable()
    hub.add("alice", "snow")
    hub.add("bob", "ice-cores")
    app = create_app(bundled.archive, hub)
    with asyncio.Runner() as runner:
        browsers = {name: Browser(app, runner, f"token-of-{name}") for name in ("alice", "bob")}
        yield lambda name, file_id: browsers[name].get(f"/api/v1/files/{file_id}/receipt")
        for browser in browsers.values():
            runner.run(browser.http.aclose())


def digest(array: list[Any]) -> str:
    return hashlib.sha256(json.dumps(array, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def verify(receipt: dict[str, Any], client: Any) -> dict[int, str]:
    """What the docstring of archiver/receipt.py tells a stranger to do; `client` reads objects, nothing else. Returns hash by number."""
    file = receipt["file"]
    for copy in receipt["copies"]:
        start, size = copy["offset_bytes"], copy["size_bytes"]
        where = {"Bucket": copy["bucket"], "Key": copy["key"], "VersionId": copy["version_id"]}
        body = client.get_object(**where, Range=f"bytes={start}-{start + size - 1}")["Body"].read() if size else b""
        assert hashlib.sha256(body).hexdigest() == file["sha256"]
    chain = receipt["chain"]
    before, hashes, number = chain["before"], {}, chain["links"][0]["seq"]
    for link in chain["links"]:
        assert link["seq"] == number
        told = "kind" in link
        said = digest([chain["dataset"], link["seq"], link["at"], link["actor"], link["kind"], link["detail"]]) if told else link["said"]
        before = hashes[number] = digest([before, said])
        assert before == link.get("hash", before)
        number += 1
    assert hashes[chain["head"]["seq"]] == chain["head"]["hash"]
    for anchor in receipt["anchors"]:
        body = client.get_object(Bucket=anchor["bucket"], Key=anchor["key"], VersionId=anchor["version_id"])["Body"].read()
        assert hashlib.sha256(body).hexdigest() == anchor["sha256"]
        for line in map(json.loads, body.splitlines()):
            if line.get("dataset") == chain["dataset"]:
                assert hashes[line["seq"]] == line["hash"]
    return hashes


def test_a_stranger_verifies_a_receipt(bundled: Bench, ask: Any):
    bench = bundled
    dataset = bench.ingest("run1", {"big.h5": bytes(2 * 2**20), "one": b"1", "two": b"22", "empty": b""})
    bench.settle()
    anchors.run(bench.archive)
    with bench.archive.ledger.read() as tx:
        files = {f.path: f for f in tx.files(dataset.id)}
        events = tx.events(dataset.id)
    client = bench.archive.tiers["hot"].client
    for path, copies in (("big.h5", [False] * 3), ("two", [False, True, True]), ("empty", None)):
        answer = ask("alice", files[path].id)
        assert answer.status_code == 200, answer.text
        receipt = answer.json()
        assert len(verify(receipt, client)) == len(events)
        assert [a["day"] for a in receipt["anchors"]] == ["2026-03-01"]
        kinds = [link["kind"] for link in receipt["chain"]["links"] if "kind" in link]
        assert kinds[0] == "dataset.open"
        assert kinds.count("transfer.proven") >= 3
        assert {c["proof"] for c in receipt["copies"]} == {"read-back"}
        assert {c["place"] for c in receipt["copies"]} == {"hot", "archive", "deep"}
        if copies is not None:
            assert sorted(c["bundled"] for c in receipt["copies"]) == copies
    # Other files' names and steps are not told.
    assert "big.h5" not in json.dumps(ask("alice", files["one"].id).json())
    # A forged history does not pass.
    forged = ask("alice", files["one"].id).json()
    link = next(link for link in forged["chain"]["links"] if link.get("kind") == "transfer.proven")
    link["actor"] = "somebody else"
    with pytest.raises(AssertionError):
        verify(forged, client)
    for name, number in (("bob", files["one"].id), ("alice", 9999)):
        answer = ask(name, number)
        assert (answer.status_code, answer.json()["detail"]) == (404, f"There is no file number {number}.")


def test_what_has_left_and_what_is_erased_have_receipts_too(bundled: Bench, ask: Any):
    bench = bundled
    dataset = bench.ingest("run1", {"one": b"1", "two": b"22"})
    bench.settle()
    bench.turn(days=61)
    bench.settle()
    bench.turn(hours=2)
    bench.settle()
    with bench.archive.ledger.read() as tx:
        one, two = tx.files(dataset.id)
    receipt = ask("alice", one.id).json()
    verify(receipt, bench.archive.tiers["archive"].client)
    assert {c["tier"] for c in receipt["copies"]} == {"archive", "deep"}
    assert "drop.dropped" in {link.get("kind") for link in receipt["chain"]["links"]}
    assert receipt["anchors"] == []
    with bench.archive.ledger.engine.begin() as connection:
        connection.execute(sa.update(t.copy).values(dropped_at=bench.now))
        connection.execute(sa.update(t.file).where(t.file.c.id == two.id).values(state="erased"))
    receipt = ask("alice", two.id).json()
    assert (receipt["file"]["state"], receipt["file"]["sha256"], receipt["copies"]) == ("erased", hashlib.sha256(b"22").hexdigest(), [])
    verify(receipt, None)

"""Anchors and `ledger check`: a history that was changed, cut short or rewritten is found, whoever had the database."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from fixtures.archive import Bench

from archiver import anchors, chain
from archiver.check import check
from archiver.errors import ForeignObject
from archiver.ledger import tables as t
from archiver.model import Anchor


def stored(bench: Bench, day: str) -> list[dict[str, Any]]:
    tier = bench.archive.tiers["archive"]
    head = tier.head(f".neve/anchors/{day}.json")
    assert head is not None
    assert head.storage_class == "STANDARD"
    return [json.loads(line) for line in b"".join(tier.read(f".neve/anchors/{day}.json", head.version_id)).splitlines()]


def known(bench: Bench) -> list[Anchor]:
    with bench.archive.ledger.read() as tx:
        return tx.anchors()


def heads(bench: Bench) -> dict[str, tuple[int, str]]:
    with bench.archive.ledger.read() as tx:
        return {head.dataset: (head.seq, head.hash) for head in tx.heads(0, 100)}


def execute(bench: Bench, statement: sa.Executable) -> None:
    """What somebody does who has the database."""
    with bench.archive.ledger.engine.begin() as connection:
        connection.execute(statement)


def rewrite(bench: Bench, dataset_id: int, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a history, and compute every hash anew, as one would who knows how."""
    with bench.archive.ledger.read() as tx:
        dataset, events = tx.dataset(dataset_id), [dict(e.__dict__) for e in tx.events(dataset_id)]
    before = chain.GENESIS
    for event in events:
        change(event)
        said = chain.said(dataset.full_name, event["seq"], event["at"], event["actor"], event["kind"], event["detail"])
        before = chain.link(before, said)
        execute(bench, sa.update(t.event).where(t.event.c.id == event["id"]).values(detail=event["detail"], actor=event["actor"], hash=before))


def test_each_day_the_heads_that_moved_are_written_and_cite_the_day_before(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(anchors, "_HEADS", 2)  # several pages
    sets = [bench.ingest(f"run{n}", {"a": b"%d" % n}) for n in range(5)]
    bench.settle()
    first = heads(bench)
    anchors.run(bench.archive)
    anchors.run(bench.archive)  # once a day
    header, *lines = stored(bench, "2026-03-01")
    assert header["previous"] is None
    assert {line["dataset"]: (line["seq"], line["hash"]) for line in lines} == first
    bench.turn(days=1)
    with bench.archive.ledger.begin() as tx:
        tx.event(sets[3].id, "test", {})
    anchors.run(bench.archive)
    header, *lines = stored(bench, "2026-03-02")
    assert header["previous"] == {"day": "2026-03-01", "sha256": known(bench)[0].sha256}
    assert {line["dataset"] for line in lines} == set(first)  # what changed since the anchor before the last
    bench.turn(days=3)
    with bench.archive.ledger.begin() as tx:
        tx.event(sets[1].id, "test", {})
    anchors.run(bench.archive)
    _, *lines = stored(bench, "2026-03-05")
    assert {line["dataset"] for line in lines} == {sets[1].full_name, sets[3].full_name}
    assert [(a.day, a.datasets) for a in known(bench)] == [("2026-03-01", 5), ("2026-03-02", 5), ("2026-03-05", 2)]
    assert check(bench.archive) == []
    bench.turn(days=-2)
    anchors.run(bench.archive)  # the clock went back: nothing is written between
    assert len(known(bench)) == 3


def test_cut_short_between_the_object_and_its_row_it_is_taken_up(bench: Bench):
    dataset = bench.ingest("run1", {"a": b"1"})
    bench.settle()
    anchors.run(bench.archive)
    bench.turn(days=1)
    anchors.run(bench.archive)
    written = known(bench)[1]
    execute(bench, sa.delete(t.anchor).where(t.anchor.c.day == written.day))
    with bench.archive.ledger.begin() as tx:
        tx.event(dataset.id, "test", {})  # the chain has gone on meanwhile
    anchors.run(bench.archive)
    assert known(bench)[1] == written
    bench.turn(days=1)
    anchors.run(bench.archive)
    assert known(bench)[2].datasets == 1
    assert check(bench.archive) == []
    # What somebody else put there is not taken for ours, and not written over.
    bench.turn(days=1)
    bench.admin["archive"].put_text(".neve/anchors/2026-03-04.json", '{"anchor":"2026-03-04","previous":null}\n')
    with pytest.raises(ForeignObject, match="is not this ledger's anchor of 2026-03-04"):
        anchors.run(bench.archive)
    assert len(known(bench)) == 3


def test_what_was_done_to_a_history_is_found_and_named(bench: Bench):
    one, two = (bench.ingest(name, {"a": name.encode()}) for name in ("run1", "run2"))
    bench.settle()
    anchors.run(bench.archive)
    assert check(bench.archive) == []
    c = t.event.c
    with bench.archive.ledger.read() as tx:
        events = tx.events(one.id)
        last = events[-1]

    def undo() -> None:
        execute(bench, sa.delete(t.event).where(c.dataset_id == one.id))
        execute(bench, sa.insert(t.event).values([dict(e.__dict__) for e in events]))
        assert check(bench.archive) == []

    execute(bench, sa.update(t.event).where(c.id == events[2].id).values(actor="nobody"))
    assert check(bench.archive) == [f"saxs/run1: event 3 ({events[2].kind}) is not what was written: it was changed or put in"]
    undo()
    execute(bench, sa.delete(t.event).where(c.id == events[4].id))
    assert check(bench.archive) == ["saxs/run1: event 5 is missing"]
    undo()
    execute(bench, sa.update(t.event).where(c.id == events[1].id).values(seq=9999))
    execute(bench, sa.update(t.event).where(c.id == events[2].id).values(seq=2))
    execute(bench, sa.update(t.event).where(c.id == events[1].id).values(seq=3))
    assert f"saxs/run1: event 2 ({events[2].kind}) was moved: it was written as number 3" in check(bench.archive)
    undo()
    execute(bench, sa.insert(t.event).values(dataset_id=one.id, seq=last.seq + 1, at=bench.now, actor="archiver", kind="forged", detail={}))
    assert check(bench.archive) == [f"saxs/run1: event {last.seq + 1} (forged) is not what was written: it was changed or put in"]
    undo()
    # No link is broken by what follows: the anchor tells.
    execute(bench, sa.delete(t.event).where(c.id == last.id))
    assert check(bench.archive) == [f"the anchor of 2026-03-01: saxs/run1: event {last.seq} is missing from its history"]
    undo()
    rewrite(bench, one.id, lambda event: event.update(actor="somebody else"))
    assert check(bench.archive) == [f"the anchor of 2026-03-01: saxs/run1: its history up to event {last.seq} was rewritten"]
    undo()
    execute(bench, sa.delete(t.event).where(c.dataset_id == two.id))
    found = check(bench.archive)
    assert "saxs/run2: its history is missing" in found
    assert any(line.startswith("the anchor of 2026-03-01: saxs/run2") for line in found)


def test_what_was_done_to_the_anchors_is_found_and_named(bench: Bench):
    dataset = bench.ingest("run1", {"a": b"1"})
    bench.settle()
    for _ in range(3):
        anchors.run(bench.archive)
        bench.turn(days=1)
    first, middle, last = known(bench)
    assert check(bench.archive) == []
    # A rewritten history with an anchor to fit: another object, or another row, does not go unseen.
    rewrite(bench, dataset.id, lambda event: event.update(actor="somebody else"))
    (seq, digest) = heads(bench)["saxs/run1"]
    header = stored(bench, middle.day)[0]
    forged = "".join(json.dumps(line) + "\n" for line in (header, {"dataset": "saxs/run1", "seq": seq, "hash": digest}))
    version = bench.admin["archive"].put_text(middle.key, forged)
    sha256 = hashlib.sha256(forged.encode()).hexdigest()
    execute(bench, sa.update(t.anchor).where(t.anchor.c.day == middle.day).values(version_id=version, sha256=sha256))
    found = check(bench.archive)
    assert f"the anchor of {last.day}: it does not cite the anchor of {middle.day} as the ledger knows it" in found
    assert f"the anchor of {first.day}: saxs/run1: its history up to event {seq} was rewritten" in found
    execute(bench, sa.update(t.anchor).where(t.anchor.c.day == middle.day).values(sha256=middle.sha256))
    assert f"the anchor of {middle.day}: it is not what was written" in check(bench.archive)
    execute(bench, sa.delete(t.anchor).where(t.anchor.c.day == middle.day))
    assert f"the anchor of {middle.day} stands in archive, and the ledger does not know it" in check(bench.archive)
    execute(bench, sa.delete(t.anchor).where(t.anchor.c.day == first.day))
    assert f"the anchor of {last.day}: it cites an anchor of {middle.day} that the ledger does not know" in check(bench.archive)
    bench.admin["archive"].delete_versions([(last.key, last.version_id)])
    assert f"the anchor of {last.day} (archive/{last.key}): it is not in the store" in check(bench.archive)

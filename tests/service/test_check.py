"""`ledger check` finds each state that no start leaves and each file without the copies it should have: every rule broken once by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from fixtures.archive import START, Bench

from archiver.check import check
from archiver.ledger import tables as t

FAR = START + timedelta(days=365 * 5)


@contextmanager
def changed(bench: Bench, *statements: sa.Executable) -> Iterator[list[str]]:
    """What check says after these statements; then the rows are as before."""
    engine = bench.archive.ledger.engine
    tables = (t.copy, t.transfer, t.drop, t.recall, t.claim, t.restore, t.file, t.dataset)
    with engine.begin() as connection:
        before = {table: [dict(row._mapping) for row in connection.execute(sa.select(table))] for table in tables}
        for statement in statements:
            connection.execute(statement)
    yield check(bench.archive)
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        for table in tables:
            connection.execute(sa.delete(table))
        for table, rows in before.items():
            if rows:
                connection.execute(sa.insert(table), rows)
    assert check(bench.archive) == []


def test_every_broken_invariant_is_named(bench_on: Any):  # noqa: PLR0915  # one archive for all: a store per line would cost minutes
    bench: Bench = bench_on(archive={"bundles": True}, deep={"bundles": True})
    dataset = bench.ingest("run1", {"big": bytes(2 * 2**20), "small1": b"1", "small2": b"2"})
    bench.settle()
    assert check(bench.archive) == []
    with bench.archive.ledger.read() as tx:
        files = {f.path: f for f in tx.files(dataset.id)}
        copies = {(c.object_id, c.tier): c for c in tx.copies(dataset.id)}
        bundle = tx.members(dataset.id)[0].bundle_id
    big = files["big"].object_id
    key = next(c.key for c in copies.values() if c.object_id == big)
    bundle_key = copies[bundle, "deep"].key
    quiet = sa.update(t.dataset).values(look_at=FAR)
    at = {"created_at": START, "updated_at": START}

    def drop_copies(*which: tuple[int, str]) -> list[sa.Executable]:
        return [sa.update(t.copy).where(t.copy.c.id == copies[one].id).values(dropped_at=START) for one in which]

    def transfer(**values: Any) -> sa.Executable:
        row = {"object_id": big, "dataset_id": dataset.id, "tier": "deep", "key": key, "state": "planned", "attempts": 0, "next_try_at": START}
        return sa.insert(t.transfer).values(**{**row, "source_copy_id": copies[big, "hot"].id, **at, **values})

    # copies
    with changed(bench, *drop_copies((big, "deep"))) as found:
        assert f"saxs/run1: {key} has no copy in deep and nothing is under way" in found
    with changed(bench, *drop_copies((big, "deep")), transfer()) as found:
        assert found == []  # it is under way
    with changed(bench, *drop_copies((big, "deep")), sa.update(t.dataset).values(look_at=START)) as found:
        assert found == []  # a worker looks at it next
    with changed(bench, *drop_copies((big, "deep")), transfer(state="quarantined", error="it went bad")) as found:
        assert f"saxs/run1: {key} has no copy in deep: it went bad" in found
    with changed(bench, *drop_copies((big, "deep"), (big, "archive")), quiet) as found:
        assert f"saxs/run1: {key} lies in 1 place(s), 2 are needed, and nothing is under way" in found
    with changed(bench, *drop_copies((big, "deep"), (big, "archive"), (big, "hot"))) as found:
        assert f"saxs/run1: {key} lies in 0 place(s), 2 are needed, and nothing is under way" in found
        assert f"saxs/run1: {key} has no copy in deep, and there is none to make it from" in found
    with changed(bench, *drop_copies((bundle, "deep"), (bundle, "archive"))) as found:  # a bundled file is counted through its bundle
        small = next(c.key for c in copies.values() if c.object_id == files["small1"].object_id)
        assert f"saxs/run1: {small} lies in 1 place(s), 2 are needed, and nothing is under way" in found
        assert f"saxs/run1: {bundle_key} has no copy in archive and nothing is under way" in found
    with changed(bench, sa.update(t.copy).where(t.copy.c.id == copies[big, "deep"].id).values(tier="attic")) as found:
        assert f"saxs/run1: {key} has a copy in attic, which is no tier of the settings" in found
    with changed(bench, sa.update(t.file).where(t.file.c.object_id == big).values(state="arriving")) as found:
        assert "saxs/run1: big is not received, though the dataset is closed" in found
    with changed(bench, sa.update(t.file).where(t.file.c.object_id == big).values(state="erased")) as found:
        assert {f"saxs/run1: {key} was erased, and has a copy in {tier}" for tier in ("archive", "deep", "hot")} <= set(found)
    with changed(bench, sa.update(t.dataset).values(look_at=None)) as found:
        assert any("it is not looked at when its claims change" in line for line in found)

    # transfers
    gone = drop_copies((big, "deep"))
    for values, says in (
        ({"state": "recalling"}, "waits for a recall that nobody has asked for"),
        ({"state": "verifying"}, "has nothing to verify"),
        ({"state": "copying", "source_copy_id": None}, "copies from nowhere"),
        ({"source_uri": "file:///a"}, "is an arrival in a dataset that is closed: nobody will send it"),
        (
            {"state": "copying", "source_uri": "file:///a"},
            "has begun, and counts no attempt: what it has sent would be taken for somebody else's",
        ),
        ({"next_try_at": FAR}, "is not tried before 2031-02-28"),
    ):
        with changed(bench, *gone, transfer(**values)) as found:
            assert any(line.startswith("saxs/run1: transfer ") and line.endswith(f"of {key} into deep {says}") for line in found), says
    with changed(bench, transfer()) as found:
        assert any(line.endswith("into deep makes a copy that is there already") for line in found)
    with changed(bench, *gone, transfer(tier="attic")) as found:
        assert any(line.endswith("into attic: this is no tier of the settings") for line in found)

    # drops
    dropping = sa.insert(t.drop).values(copy_id=copies[big, "deep"].id, dataset_id=dataset.id, state="planned", reason="a test", **at)
    with changed(bench, *gone, dropping) as found:
        assert any("is planned, though its copy is dropped already" in line for line in found)
    with changed(bench, dropping, quiet) as found:
        assert any("goes on, though its copy is claimed" in line for line in found)

    # claims and restores
    restore = {"dataset_id": dataset.id, "user": "alice", "keep_days": 1, "requested_at": START, "promised_by": START}
    claim = {"dataset_id": dataset.id, "tier": "hot", "user": "alice", "reason": "a test", "created_at": START}
    ended = sa.insert(t.restore).values(id=1, state="cancelled", ended_at=START, **restore)
    with changed(bench, ended, sa.insert(t.claim).values(kind="restore", restore_id=1, **claim)) as found:
        assert any("goes on, though restore 1 has ended" in line for line in found)
    with changed(bench, ended, sa.insert(t.claim).values(kind="hold", restore_id=1, until=FAR, **claim)) as found:
        assert any("goes on, though restore 1 has ended" in line for line in found)
    with changed(bench, sa.insert(t.claim).values(kind="hold", until=START, **claim)) as found:
        assert any("is over and was not ended" in line for line in found)
    with changed(bench, sa.insert(t.claim).values(kind="hold", **claim)) as found:
        assert any("has no end" in line for line in found)
    with changed(bench, sa.insert(t.restore).values(id=1, state="ready", ready_at=START, **restore)) as found:
        assert "saxs/run1: restore 1 is ready and has no end" in found
        assert "saxs/run1: restore 1 is ready and claims nothing" in found

    # what nobody claims, and nothing lets go
    bench.turn(days=61)
    with bench.archive.ledger.engine.begin() as connection:
        connection.execute(sa.update(t.dataset).values(look_at=FAR + timedelta(days=365), stub_at=START))
    found = check(bench.archive)
    assert any("are claimed by nobody, and nothing lets them go" in line for line in found)
    bench.give_back()

"""Which transfers are next: by priority, fair share and age as if all that wait were sorted, and without reading them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fixtures.ledgers import put_ledger

from archiver.ledger import Ledger, Transaction
from archiver.ledger import tables as t
from archiver.ledger.leases import Lease
from archiver.model import ObjectKind, Proof, RecallState, Transfer, TransferState

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WAITING = (TransferState.PLANNED, TransferState.FAILED)
BEGUN = (TransferState.COPYING, TransferState.VERIFYING)


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    url = put_ledger(f"sqlite:///{tmp_path}/neve.sqlite") if request.param == "sqlite" else request.getfixturevalue("postgres").ledger()
    made = Ledger(url, lambda: NOW)
    with made.begin() as tx:
        tx.add_project("snow", "Snow")
        tx.add_instrument("saxs", "SAXS")
        tx.open_dataset("snow", "saxs", "run1", "p", None)
    yield made
    made.dispose()


def add(tx: Transaction, **said: Any) -> None:
    object_id = tx.add_object(1, ObjectKind.FILE, f"p/{tx.newest_event_id()}/{random.random()}", 1, sha256="0", crc64nvme="A")
    common = {"dataset_id": 1, "key": "k", "attempts": 0, "created_at": NOW, "updated_at": NOW}
    if said["state"] is TransferState.RECALLING:
        live = {"object_id": object_id, "tier": "deep", "key": "k", "version_id": "v", "storage_class": "S", "proven_at": NOW}
        copy_id = tx._insert(t.copy, **live, proof=Proof.READ_BACK)
        recall = tx.recall_for(tx.copy(copy_id), 1)
        if said.pop("readable"):
            tx.change("recall", recall, RecallState.RUNNING)
            tx.change("recall", next(one for one in tx.recalls_under_way() if one.id == recall.id), RecallState.READABLE)
        said["recall_id"] = recall.id
    said.pop("readable", None)
    tx._insert(t.transfer, object_id=object_id, **common, **said)


def expected(tx: Transaction, limit: int, without: set[int]) -> list[int]:
    """As if all were read."""
    every = tx._all(Transfer, sa.select(t.transfer))
    readable = set(tx.connection.execute(sa.select(t.recall.c.id).where(t.recall.c.state == RecallState.READABLE)).scalars())
    can = [
        one
        for one in every
        if one.source_uri is None
        and one.id not in without
        and ((one.state in (*WAITING, *BEGUN) and one.next_try_at <= NOW) or (one.state is TransferState.RECALLING and one.recall_id in readable))
    ]
    running = Counter(one.user for one in every if one.state in BEGUN)
    share: dict[int, int] = {}
    for user in {one.user for one in can} - {None}:
        mine = sorted((one for one in can if one.user == user), key=lambda one: (-one.priority, one.next_try_at, one.id))
        share |= {one.id: place + running[user] for place, one in enumerate(mine, 1)}
    ordered = sorted(can, key=lambda one: (one.tier != "hot", -one.priority, share.get(one.id, 0), one.next_try_at, one.id))
    return [one.id for one in ordered[:limit]]


@pytest.mark.parametrize("seed", range(12))
def test_the_next_are_those_that_would_be_next_if_all_were_sorted(ledger: Ledger, seed: int):
    dice = random.Random(seed)
    users = [None, None, "ann", "ben", "", "\U0001f600"][: dice.randrange(1, 7)]
    states = [*WAITING, TransferState.PLANNED, *BEGUN, TransferState.RECALLING, TransferState.PROVEN, TransferState.QUARANTINED]
    with ledger.begin() as tx:
        for _ in range(dice.randrange(1, 90)):
            user = dice.choice(users)
            add(
                tx,
                tier="hot" if user is not None else dice.choice(["hot", "archive", "deep"]),  # what people wait for comes into hot
                user=user,
                priority=dice.choice([0, 0, 1, 5, 9]),
                state=dice.choice(states),
                next_try_at=NOW + timedelta(minutes=dice.randrange(-5, 3)),
                source_uri=dice.choice([None, None, None, "file:///a"]),
                readable=dice.random() < 0.5,
            )
    for limit in (1, 3, 8, 1000):
        with ledger.read() as tx:
            without = set(dice.sample(range(1, 91), dice.choice([0, 5])))
            assert [one.id for one in tx.transfers_due(limit, without)] == expected(tx, limit, without), f"seed {seed}"


def test_however_many_wait_few_are_read(ledger: Ledger):
    if ledger.url.get_backend_name() != "sqlite":
        pytest.skip("PostgreSQL's plans depend on what it has counted")
    with ledger.begin() as tx:
        for number in range(400):
            add(tx, tier=("archive", "deep")[number % 2], user=None, priority=0, state=TransferState.PLANNED, next_try_at=NOW)
        tx.connection.execute(sa.text("ANALYZE"))
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            asked.append((statement, parameters))

    sa.event.listen(ledger.engine, "before_cursor_execute", note)
    with ledger.begin() as tx:
        assert len(tx.take_transfers(Lease("here:1:ann", timedelta(minutes=1)), 8, {1, 2, 3}, {"archive": 5, "deep": 5})) == 7  # three are in hand
    sa.event.remove(ledger.engine, "before_cursor_execute", note)
    with ledger.read() as tx:
        plans = [row[3] for statement, parameters in asked for row in tx.connection.exec_driver_sql("EXPLAIN QUERY PLAN " + statement, parameters)]
    read = [plan for plan in plans if "transfer" in plan]
    assert len(read) > 8
    assert [plan for plan in read if plan.startswith("SCAN transfer") and "USING" not in plan] == []
    assert any("ix_transfer_turn (tier=? AND user=? AND priority=?" in plan for plan in read)

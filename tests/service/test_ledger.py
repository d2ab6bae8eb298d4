"""The ledger refuses what must not be: another revision, a second of what is unique, an illegal step, a time without zone, a gap."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from archiver.errors import LedgerUnavailable, NotFound
from archiver.ledger import Ledger
from archiver.ledger import tables as t
from archiver.ledger.store import Moved
from archiver.model import DropState, Object, ObjectKind, Proof, RecallState, Transfer, TransferState

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A new ledger with one dataset of one object."""
    made = Ledger(f"sqlite:///{tmp_path}/home/neve.sqlite", lambda: NOW)
    made.upgrade()
    with made.begin() as tx:
        tx.add_project("snow", "Snow")
        tx.add_instrument("saxs", "SAXS")
        dataset = tx.open_dataset("snow", "saxs", "run1", "snow/saxs/2026/03/run1", None)
        object_id = tx.add_object(dataset.id, ObjectKind.FILE, "snow/saxs/2026/03/run1/a", 1, sha256="00", crc64nvme="AA")
        tx.add_file(dataset.id, "a", b"a", 1, object_id, None)
    yield made
    made.dispose()


def the_object(ledger: Ledger) -> Object:
    with ledger.read() as tx:
        return tx.object(1)


def plan(ledger: Ledger, tier: str = "archive") -> Transfer:
    with ledger.begin() as tx:
        return tx.transfer(tx.plan_transfer(tx.object(1), tier, source_uri="file:///a"))


# opening


def test_no_ledger_names_the_command(tmp_path: Path):
    ledger = Ledger(f"sqlite:///{tmp_path}/none.sqlite")
    with pytest.raises(LedgerUnavailable, match=r"There is no ledger at .*none.sqlite. Run `archiver setup`"):
        ledger.check_revision()
    assert not (tmp_path / "none.sqlite").exists()
    ledger.dispose()


@pytest.mark.parametrize("statement", ["UPDATE alembic_version SET version_num = '9999'", "DELETE FROM alembic_version"])
def test_another_revision_names_the_command(ledger: Ledger, statement: str):
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql(statement)
    with pytest.raises(LedgerUnavailable, match=r"of revision (9999|none), this program needs \w+. Run `archiver ledger upgrade`"):
        ledger.check_revision()


def test_upgrade_can_be_repeated(ledger: Ledger):
    ledger.upgrade()
    ledger.check_revision()
    assert the_object(ledger).sha256 == "00"


def test_a_file_that_is_no_database(tmp_path: Path):
    (tmp_path / "neve.sqlite").write_bytes(b"no database, " * 1000)
    ledger = Ledger(f"sqlite:///{tmp_path}/neve.sqlite")
    with pytest.raises(LedgerUnavailable, match="not a database"):
        ledger.check_revision()
    ledger.dispose()


HOLD = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None)
held.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
held.execute("ROLLBACK")
"""


def test_another_process_that_writes_is_waited_for_and_then_named(ledger: Ledger):
    """Readers never wait; a writer waits, and says what is the matter when it lasts too long."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD, ledger.url.database], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == "held\n"
    assert the_object(ledger).id == 1
    impatient = Ledger(str(ledger.url), lambda: NOW)
    impatient.engine = sa.create_engine(ledger.url, connect_args={"timeout": 0.2})
    sa.event.listen(impatient.engine, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
    sa.event.listen(impatient.engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    with pytest.raises(LedgerUnavailable, match=r"does not answer: database is locked\. See that it is there and not locked"), impatient.begin():
        pass
    releasing = threading.Timer(0.5, lambda: holder.communicate("\n"))
    releasing.start()
    with ledger.begin() as tx:  # waits, and gets its turn
        tx.set_note("a", "b")
    releasing.join()
    holder.wait()
    impatient.dispose()


def test_it_keeps_what_was_committed_and_nothing_else(ledger: Ledger):
    def fails() -> None:
        with ledger.begin() as tx:
            tx.set_note("a", "b")
            raise KeyError("a fault")

    with pytest.raises(KeyError):
        fails()
    with ledger.read() as tx:
        assert tx.note("a") is None
    raw = sqlite3.connect(ledger.url.database)
    assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    raw.close()


def test_reading_writes_nothing(ledger: Ledger):
    with ledger.read() as tx:
        tx.set_note("a", "b")
    with ledger.read() as tx:
        assert tx.note("a") is None


# what is unique


def refused(ledger: Ledger, table: sa.Table, **values: object) -> None:
    with pytest.raises(sa.exc.IntegrityError), ledger.engine.begin() as connection:
        connection.execute(sa.insert(table).values(**values))


def test_one_transfer_under_way_per_object_and_tier(ledger: Ledger):
    first = plan(ledger)
    with pytest.raises(sa.exc.IntegrityError):
        plan(ledger)
    plan(ledger, "deep")
    with ledger.begin() as tx:
        tx.change("transfer", first, TransferState.CANCELLED)
    again = plan(ledger)  # one that has ended is in nobody's way
    with ledger.begin() as tx:
        tx.change("transfer", again, TransferState.FAILED)
        tx.change("transfer", tx.transfer(again.id), TransferState.QUARANTINED)
    with pytest.raises(sa.exc.IntegrityError):
        plan(ledger)  # a quarantined one has not ended: a person decides


def test_one_of_each_name_path_key_copy_drop_recall_and_number(ledger: Ledger):
    copy = {
        "object_id": 1, "tier": "deep", "key": "k", "version_id": "v", "storage_class": "STANDARD", "proof": Proof.READ_BACK, "proven_at": NOW,
    }  # fmt: skip
    with ledger.engine.begin() as connection:
        connection.execute(sa.insert(t.copy).values(**copy))
    refused(ledger, t.copy, **copy)
    with ledger.begin() as tx:
        tx.plan_drop(tx.copy(1), 1, "a test")
        tx.recall_for(tx.copy(1), 1)
    times = {"created_at": NOW, "updated_at": NOW}
    refused(ledger, t.drop, copy_id=1, dataset_id=1, state=DropState.CHECKED, reason="a test", **times)
    refused(ledger, t.recall, copy_id=1, dataset_id=1, state=RecallState.RUNNING, asked_at=NOW, updated_at=NOW)
    refused(ledger, t.event, dataset_id=1, seq=1, at=NOW, actor="a", kind="k", detail={})
    refused(ledger, t.object_, dataset_id=1, kind=ObjectKind.FILE, key="snow/saxs/2026/03/run1/a", size_bytes=1)
    with pytest.raises(sa.exc.IntegrityError), ledger.begin() as tx:
        tx.add_file(1, "a", b"a", 1, 1, None)
    for name, prefix in (("run1", "elsewhere"), ("run2", "snow/saxs/2026/03/run1")):
        with pytest.raises(sa.exc.IntegrityError), ledger.begin() as tx:
            tx.open_dataset("snow", "saxs", name, prefix, None)
    with ledger.begin() as tx:  # the recall that is under way is shared
        assert tx.recall_for(tx.copy(1), 1).id == 1


def test_nothing_points_at_what_is_not_there(ledger: Ledger):
    with pytest.raises(sa.exc.IntegrityError), ledger.begin() as tx:
        tx.open_dataset("nobody", "saxs", "run9", "p", None)
    with pytest.raises(NotFound, match="no dataset number 77"), ledger.read() as tx:
        tx.dataset(77)


# steps


def test_an_illegal_step_is_refused_and_leaves_no_trace(ledger: Ledger):
    transfer = plan(ledger)
    with pytest.raises(ValueError, match="planned -> proven is not a legal change"), ledger.begin() as tx:
        tx.change("transfer", transfer, TransferState.PROVEN)
    with ledger.read() as tx:
        assert tx.transfer(transfer.id) == transfer
        assert [e.kind for e in tx.events(1)] == ["dataset.open", "transfer.planned"]


def test_of_two_that_move_one_row_one_learns_that_it_moved(ledger: Ledger):
    transfer = plan(ledger)
    outcomes = []
    both = threading.Barrier(2)

    def move() -> None:
        both.wait()
        try:
            with ledger.begin() as tx:
                tx.change("transfer", transfer, TransferState.COPYING)
                outcomes.append("mine")
        except Moved:
            outcomes.append("moved")

    threads = [threading.Thread(target=move) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["mine", "moved"]
    with ledger.read() as tx:
        assert [e.kind for e in tx.events(1)].count("transfer.copying") == 1


def test_a_time_without_zone_is_refused(ledger: Ledger):
    with pytest.raises(sa.exc.StatementError, match="a time without zone"), ledger.begin() as tx:
        tx.update_dataset(1, look_at=datetime(2026, 3, 1))  # noqa: DTZ001  # the point of it
    with ledger.begin() as tx:
        tx.update_dataset(1, look_at=datetime.fromisoformat("2026-03-01T13:00:00+01:00"))
    with ledger.read() as tx:
        assert tx.dataset(1).look_at == NOW


def test_events_are_numbered_without_a_gap_by_eight_threads(ledger: Ledger):
    def write(number: int) -> None:
        for turn in range(25):
            with ledger.begin(f"writer {number}") as tx:
                tx.event(1, "test", {"turn": turn})

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with ledger.read() as tx:
        events = tx.events(1)
    assert [e.seq for e in events] == list(range(1, 202))
    for number in range(8):
        assert [e.detail["turn"] for e in events if e.actor == f"writer {number}"] == list(range(25))


def test_what_was_made_durable_is_told_after_the_commit(tmp_path: Path, ledger: Ledger):
    told: list[str] = []

    def tell(states: list[str]) -> None:
        with ledger.read() as tx:  # another connection sees it already
            assert tx.transfers(1)
        told.extend(states)

    with ledger.begin() as tx:
        tx.note("nothing")
    ledger.after_commit = tell
    transfer = plan(ledger)
    with ledger.begin() as tx:
        tx.change("transfer", transfer, TransferState.COPYING)
    assert told == ["transfer.planned", "transfer.copying"]

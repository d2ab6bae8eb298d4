"""The ledger refuses what must not be: another revision, a second of what is unique, an illegal step, a time without zone, a gap."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from fixtures.ledgers import put_ledger
from fixtures.postgres import Postgres

from archiver import chain
from archiver.errors import LedgerUnavailable, NotFound
from archiver.ledger import Ledger, migrations
from archiver.ledger import tables as t
from archiver.ledger.audit import Sought
from archiver.ledger.searching import Query
from archiver.ledger.store import Moved
from archiver.model import DropState, Object, ObjectKind, Proof, RecallState, Transfer, TransferState

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TWICE = (sa.exc.IntegrityError, Moved)  # on PostgreSQL it is told as though another writer had been first


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a new ledger may be made: in a file, or in an empty database of PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/home/neve.sqlite"
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.database()


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """A new ledger with one dataset of one object."""
    postgres: Postgres | None = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    made = Ledger(postgres.ledger() if postgres else put_ledger(f"sqlite:///{tmp_path}/home/neve.sqlite"), lambda: NOW)
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


@pytest.mark.parametrize("ledger", ["sqlite"], indirect=True)
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


@pytest.mark.parametrize("ledger", ["sqlite"], indirect=True)
def test_readers_on_sqlite_never_wait(ledger: Ledger):
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
    with pytest.raises(TWICE):
        plan(ledger)
    plan(ledger, "deep")
    with ledger.begin() as tx:
        tx.change("transfer", first, TransferState.CANCELLED)
    again = plan(ledger)  # one that has ended is in nobody's way
    with ledger.begin() as tx:
        tx.change("transfer", again, TransferState.FAILED)
        tx.change("transfer", tx.transfer(again.id), TransferState.QUARANTINED)
    with pytest.raises(TWICE):
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
    with pytest.raises(TWICE), ledger.begin() as tx:
        tx.add_file(1, "a", b"a", 1, 1, None)
    for name, prefix in (("run1", "elsewhere"), ("run2", "snow/saxs/2026/03/run1")):
        with pytest.raises(TWICE), ledger.begin() as tx:
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


# what must not depend on the database


def test_text_with_nul_is_taken_and_looked_for(ledger: Ledger):
    with ledger.begin("act\0or") as tx:
        tx.update_dataset(1, title="a\0b", metadata={"unit": "m\0"})
        tx.event(1, "test", {"text": "c\0d"})
    with ledger.read() as tx:
        assert tx.dataset(1).title == "a\N{REPLACEMENT CHARACTER}b"
        assert tx.dataset(1).metadata == {"unit": "m\0"}
        assert tx.events(1)[-1].detail == {"text": "c\0d"}
        assert list(chain.verify("saxs/run1", tx.chain_of(1))) == []
        with pytest.raises(NotFound):
            tx.find_dataset("run\0001")


def test_numbers_beyond_32_bits(ledger: Ledger):
    """Ids are 64 bits; sums of bytes are whole numbers, not decimals."""
    high = 2**40
    with ledger.engine.begin() as connection:
        dataset = {"id": high, "project": "snow", "instrument": "saxs", "name": "big", "state": "open", "prefix": "p/big", "received_at": NOW}
        connection.execute(sa.insert(t.dataset).values(**dataset, size_bytes=2**50, file_count=0, metadata={}))
        connection.execute(sa.insert(t.object_).values(id=high, dataset_id=high, kind="file", key="p/big/a", size_bytes=2**50))
    with ledger.begin() as tx:
        obj = tx.object(high)
        transfer = tx.transfer(tx.plan_transfer(obj, "archive", source_uri="file:///a"))
        for state in (TransferState.COPYING, TransferState.VERIFYING):
            tx.change("transfer", transfer, state)
            transfer = tx.transfer(transfer.id)
        tx.finish_transfer(transfer, "STANDARD", "v", Proof.READ_BACK)
        drop = tx.plan_drop(tx.copies_of(high)[0], high, "a test")
        assert tx.drop(drop).dataset_id == high
    with ledger.read() as tx:
        assert tx.find_dataset(str(high)).name == "big"
        totals = tx.totals()
        assert totals == [("archive", 1, 2**50)]
        assert type(totals[0][2]) is int


def test_names_are_found_whatever_their_case(ledger: Ledger):
    with ledger.read() as tx:
        assert [d.name for d in tx.search(Query(text="RUN"), 10)] == ["run1"]
        assert tx.search(Query(text="r_n"), 10) == []
        assert tx.search(Query(text="%"), 10) == []


# chains


def test_every_event_is_chained_and_a_missing_dataset_is_an_error(ledger: Ledger):
    plan(ledger)
    with ledger.begin("alice") as tx:
        tx.events_of(1, "test", [{"n": n} for n in range(20)])
        tx.event(1, "test", {"n": 20})
    with ledger.read() as tx:
        assert list(chain.verify("saxs/run1", tx.chain_of(1))) == []
        events = tx.events(1)
        assert len({e.hash for e in events}) == len(events) == 23
        assert [e.seq for e in tx.chain_of(1, after_seq=21)] == [22, 23]


def test_many_rows_move_in_one_step_or_not_at_all(ledger: Ledger):
    with ledger.begin() as tx:
        ids = [tx.add_object(1, ObjectKind.FILE, f"k{n}", 1) for n in range(520)]
        transfers = [tx.transfer(tx.plan_transfer(tx.object(i), "deep", source_uri="file:///a")) for i in ids]
    with ledger.begin() as tx:
        tx.change("transfer", transfers[510], TransferState.CANCELLED)
    with pytest.raises(Moved), ledger.begin() as tx:
        tx.change_all("transfer", transfers, TransferState.COPYING)
    with ledger.read() as tx:
        assert {tx.transfer(one.id).state for one in transfers} == {TransferState.PLANNED, TransferState.CANCELLED}
    told: list[str] = []
    ledger.after_commit = told.extend
    statements: list[str] = []
    sa.event.listen(ledger.engine, "before_cursor_execute", lambda _c, _k, statement, *_: statements.append(statement))
    with ledger.begin() as tx:
        tx.change_all("transfer", transfers[:500], TransferState.COPYING)
    assert told == ["transfer.copying"] * 500
    assert len([s for s in statements if not s.startswith("BEGIN")]) <= 4
    with ledger.read() as tx:
        assert list(chain.verify("saxs/run1", tx.chain_of(1))) == []


def test_a_transaction_costs_two_queries_for_its_first_event_and_one_for_each_that_follows(ledger: Ledger):
    statements: list[str] = []
    sa.event.listen(ledger.engine, "before_cursor_execute", lambda _c, _k, statement, *_: statements.append(statement))
    with ledger.begin() as tx:
        statements.clear()
        for n in range(5):
            tx.event(1, "test", {"n": n})
    assert len(statements) == (6 if ledger.url.get_backend_name() == "sqlite" else 7)  # PostgreSQL: and the dataset's row is locked


def test_a_rebuilt_ledger_continues_its_chains(ledger: Ledger):
    with ledger.read() as tx:
        head = tx.heads(0, 10)[0]
    with ledger.engine.begin() as connection:
        connection.execute(sa.delete(t.event))
    with ledger.begin() as tx:
        tx.continue_chain(1, head.seq, head.hash, "2026-03-01", "00" * 32)
        tx.event(1, "test", {})
    with pytest.raises(ValueError, match="has a history already"), ledger.begin() as tx:
        tx.continue_chain(1, 1, head.hash, "2026-03-01", "00" * 32)
    with ledger.read() as tx:
        assert [(e.seq, e.kind) for e in tx.events(1)] == [(2, "chain.continued"), (3, "test")]
        assert list(chain.verify("saxs/run1", tx.chain_of(1))) == []
        assert tx.hashes_at([("saxs/run1", 1), ("saxs/run1", 3), ("saxs/none", 1)]) == {
            ("saxs/run1", 1): head.hash,
            ("saxs/run1", 3): tx.events(1)[-1].hash,
        }


def test_a_ledger_of_the_first_revision_is_chained_by_the_upgrade(url: str, tmp_path: Path):
    (tmp_path / "home").mkdir()
    ledger = Ledger(url, lambda: NOW)
    with ledger.engine.begin() as connection:
        migrations.upgrade(connection, "0001")
        old = sa.MetaData()
        old.reflect(connection)
        insert = {name: sa.insert(table) for name, table in old.tables.items()}
        stamp = NOW.replace(tzinfo=None)
        connection.execute(insert["project"].values(name="snow", title="Snow", created_at=stamp))
        connection.execute(insert["instrument"].values(name="saxs", title="SAXS", created_at=stamp))
        for number in range(1, 4):
            made = {"id": number, "project": "snow", "instrument": "saxs", "name": f"run{number}", "state": "open", "prefix": f"p{number}"}
            connection.execute(insert["dataset"].values(**made, received_at=stamp, size_bytes=0, file_count=0, metadata={}))
            for seq in range(1, 601 if number == 2 else 4):
                said = {"dataset_id": number, "seq": seq, "at": stamp, "actor": "é", "kind": "k", "detail": {"b": seq, "a": "\u00e9"}}
                connection.execute(insert["event"].values(**said))
    with pytest.raises(LedgerUnavailable, match=r"of revision 0001, this program needs 0011\. Run `archiver ledger upgrade`"):
        ledger.check_revision()
    ledger.upgrade()
    ledger.check_revision()
    with ledger.begin() as tx:
        tx.event(2, "test", {})
    with ledger.read() as tx:
        for number in range(1, 4):
            assert list(chain.verify(f"saxs/run{number}", tx.chain_of(number))) == []
        assert len(tx.events(2)) == 601
    ledger.dispose()


def test_a_projects_facts_and_who_changed_what(ledger: Ledger):
    with ledger.begin("ada") as tx:
        tx.put_project("snow", {"pi": "Ada", "quota_bytes": 2**40, "embargo_until": NOW})
    with ledger.begin("bob") as tx:
        tx.put_project("snow", {"pi": "Ada", "quota_bytes": None})
        tx.put_project("snow", {"pi": "Ada"})  # nothing new, nothing written down
        tx.put_project("ice", {"pi": "Bob", "public_after": NOW, "embargo_until": NOW + timedelta(seconds=1)})
        with pytest.raises(NotFound, match="There is no project 'nowhere'"):
            tx.make_public("nowhere", NOW)
    with ledger.read() as tx:
        snow, ice = tx.project("snow"), tx.project("ice")
        assert (snow.title, snow.pi, snow.quota_bytes, snow.embargo_until, snow.public_from) == ("Snow", "Ada", None, NOW, None)
        assert (ice.title, ice.public_from) == ("ice", NOW + timedelta(seconds=1))
        changes = [(c.actor, c.detail) for c in tx.project_changes("snow", 10)]
        assert changes[0] == ("bob", {"quota_bytes": [2**40, None]})
        assert changes[1] == ("ada", {"pi": [None, "Ada"], "quota_bytes": [None, 2**40], "embargo_until": [None, NOW.isoformat()]})
        assert len(changes) == 3
    for at, public in ((NOW, ()), (NOW + timedelta(seconds=1), ("ice",))):
        with ledger.read() as tx:  # it sees one moment
            tx.at = at
            assert tx.public_projects() == public
            assert {p.name for p in tx.projects() if p.public_from and p.public_from <= at} == set(public)


def test_a_project_of_the_revision_before_its_facts_keeps_what_it_has(url: str, tmp_path: Path):
    (tmp_path / "home").mkdir()
    ledger = Ledger(url, lambda: NOW)
    with ledger.engine.begin() as connection:
        migrations.upgrade(connection, "0008")
        insert = sa.text("INSERT INTO project (name, title, created_at, public_after) VALUES ('snow', 'Snow', :at, :at)")
        # As the ledger writes times, whatever a library that is loaded here has told Python's sqlite3 of them.
        connection.execute(insert.bindparams(sa.bindparam("at", NOW.replace(tzinfo=None), sa.DateTime())))
    ledger.upgrade()
    with ledger.read() as tx:
        found = tx.project("snow")
        assert (found.title, found.public_after, found.pi, found.embargo_until, found.quota_bytes) == ("Snow", NOW, None, None, None)
        assert tx.public_projects() == ("snow",)
    ledger.dispose()


def test_arrivals_of_the_revision_before_tell_whether_they_have_begun(url: str, tmp_path: Path):
    """Attempts were counted when one failed, also before it began; what was given up had found its place taken, or was cleared."""
    (tmp_path / "home").mkdir()
    ledger = Ledger(url, lambda: NOW)
    states = ["planned", "copying", "verifying", "failed", "quarantined", "proven"]
    at = NOW.replace(tzinfo=None)
    with ledger.engine.begin() as connection:
        migrations.upgrade(connection, "0010")
        before = sa.MetaData()
        before.reflect(connection)
        made = {
            "project": [{"name": "snow", "title": "Snow", "created_at": at}],
            "instrument": [{"name": "saxs", "title": "SAXS", "created_at": at}],
            "dataset": [{"project": "snow", "instrument": "saxs", "name": "run1", "state": "open", "prefix": "p", "received_at": at, "metadata": {}}],
            "object": [{"dataset_id": 1, "kind": "file", "key": f"p/{state}", "size_bytes": 1} for state in states],
            "transfer": [
                {"object_id": number, "dataset_id": 1, "tier": "hot", "key": f"p/{state}", "source_uri": source, "state": state, "attempts": tried}
                | {"next_try_at": at, "created_at": at, "updated_at": at}
                for number, state in enumerate(states, 1)
                for source, tried in [("upload:instrument/saxs", int(state == "quarantined"))]
            ],
        }
        for name, rows in made.items():
            table = before.tables[name]
            for row in rows:
                needed = {c.name: 0 for c in table.c if not c.nullable and c.server_default is None and not c.primary_key and c.name not in row}
                connection.execute(sa.insert(table).values(**needed, **row))
    ledger.upgrade()
    with ledger.read() as tx:
        found = {one.state.value: one.attempts for one in tx._all(Transfer, sa.select(t.transfer))}
    assert found == {"planned": 0, "copying": 1, "verifying": 1, "failed": 1, "quarantined": 0, "proven": 0}
    ledger.dispose()


def planned(ledger: Ledger, ask) -> str:
    """How the database carries out the last query of `ask`."""
    said: list[tuple[str, object]] = []
    listen = lambda _conn, _cursor, statement, values, *_: said.append((statement, values))  # noqa: E731
    with ledger.begin() as tx:
        sqlite = ledger.url.get_backend_name() == "sqlite"
        if not sqlite:  # so few rows are read one by one otherwise
            tx.connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            tx.connection.exec_driver_sql("SET LOCAL enable_bitmapscan = off")
        sa.event.listen(ledger.engine, "before_cursor_execute", listen)
        ask(tx)
        sa.event.remove(ledger.engine, "before_cursor_execute", listen)
        statement, values = said[0]
        rows = tx.connection.exec_driver_sql(("EXPLAIN QUERY PLAN " if sqlite else "EXPLAIN ") + statement, values)
        return "\n".join(str(row[-1]) for row in rows)


@pytest.mark.parametrize(
    ("index", "ask"),
    [
        ("ix_claim_standing", lambda tx: tx.standing_holds(51)),
        ("ix_claim_standing", lambda tx: tx.standing_holds(51, (NOW, 3))),
        ("ix_event_people", lambda tx: tx.deeds(Sought(), 51)),
        ("ix_event_people", lambda tx: tx.deeds(Sought(kind="restore.", since=NOW, until=NOW), 51, (NOW, 0, 9))),
        ("ix_event_person", lambda tx: tx.deeds(Sought(actor="alice"), 51, (NOW, 0, 9))),
        ("ix_transfer_state_next_try_at", lambda tx: tx.transfers_in(TransferState.QUARANTINED, 51, (NOW, 3))),
        ("ix_restore_state", lambda tx: tx.undecided(None, 51)),
    ],
)
def test_an_admins_lists_are_read_by_their_index(ledger: Ledger, index, ask):
    said = planned(ledger, ask)
    assert index in said, said
    assert "TEMP B-TREE FOR ORDER BY" not in said, said  # SQLite's word for sorting all of it


def test_deeds_are_found_by_who_what_and_when_from_the_newest_on(ledger: Ledger):
    at = NOW
    ledger.clock = lambda: at
    for n, (actor, kind) in enumerate(
        [("alice", "hold.placed"), ("archiver", "copy.lost"), ("instrument/saxs", "file"), ("bob", "hold_x"), ("alice", "a.b")]
    ):
        at = NOW + timedelta(seconds=n)
        with ledger.begin(actor) as tx:
            tx.event(1, kind, {"n": n})
    at = NOW + timedelta(seconds=9)
    with ledger.begin("alice") as tx:  # at the same moment
        tx.event(1, "hold.ended", {})
        tx.put_project("snow", {"pi": "Ada"})
        tx.deed("instrument.changed", "saxs", {"title": ["a", "b"]})
        tx.deed("instrument.key", "saxs", {})
    everything = [
        ("instrument.key", "saxs"),
        ("instrument.changed", "saxs"),
        ("project.changed", "snow"),
        ("hold.ended", "saxs/run1"),
        ("a.b", "saxs/run1"),
    ]
    everything += [("hold_x", "saxs/run1"), ("instrument.added", "saxs"), ("project.changed", "snow")]  # (the fixture's)
    everything.append(("hold.placed", "saxs/run1"))

    def found(limit: int = 50, before=None, **sought):
        with ledger.read() as tx:
            return tx.deeds(Sought(**sought), limit, before)

    def kinds(**sought) -> list[str]:
        return [one.kind for one in found(**sought)]

    assert [(one.kind, one.about) for one in found()] == everything
    assert kinds(actor="bob") == ["hold_x"]
    assert kinds(kind="hold_") == ["hold_x"]
    assert kinds(kind="hold.") == ["hold.ended", "hold.placed"]
    assert kinds(kind="instrument.", actor="alice") == ["instrument.key", "instrument.changed"]
    assert kinds(since=NOW + timedelta(seconds=3), until=NOW + timedelta(seconds=4)) == ["a.b", "hold_x"]
    assert "copy.lost" in kinds(dataset_id=1)
    assert "project.changed" not in kinds(dataset_id=1)
    for sought in ({}, {"dataset_id": 1}):
        page, seen = found(2, **sought), []
        while page:
            seen += [(one.kind, one.about) for one in page]
            page = found(2, (page[-1].at, *page[-1].place), **sought)
        assert seen == [(one.kind, one.about) for one in found(**sought)]
        assert len(seen) >= 6


def test_holds_that_stand_come_by_their_end_with_what_they_hold(ledger: Ledger):
    with ledger.begin() as tx:
        for n, (path, size) in enumerate((("a.txt", 1), ("b.txt", 10), ("deep/b.bin", 100))):
            obj = tx.add_object(1, ObjectKind.FILE, f"held-{n}", size)
            tx.add_file(1, path, path.encode(), size, obj, None)
        tx.update_dataset(1, file_count=3, size_bytes=111)
        holds = [tx.add_hold(1, "alice", "x", NOW + timedelta(days=days), glob) for days, glob in ((5, None), (3, "*.txt"), (4, "b*"), (3, "none*"))]
        ended = tx.add_hold(1, "bob", "x", NOW + timedelta(days=1), None)
        tx.end_hold(ended, "ended")
    with ledger.read() as tx:
        found = tx.standing_holds(10)
        assert [h.id for h in found] == [holds[1].id, holds[3].id, holds[2].id, holds[0].id]
        assert [h.id for h in tx.standing_holds(2, (found[0].until, found[0].id))] == [holds[3].id, holds[2].id]
        held = tx.held_by(found)
    assert held == {holds[0].id: (3, 111), holds[1].id: (2, 11), holds[2].id: (1, 10), holds[3].id: (0, 0)}


def test_the_newest_revision_is_the_one_that_alembic_finds_and_needs_no_alembic(ledger: Ledger):
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    assert ScriptDirectory(migrations.__path__[0]).get_heads() == [migrations.head()]
    with ledger.engine.connect() as connection:
        assert migrations.current(connection) == MigrationContext.configure(connection).get_current_revision() == migrations.head()
    alone = subprocess.run(
        [sys.executable, "-c", "import archiver.cli, sys; sys.exit('alembic' in sys.modules)"], check=False, capture_output=True, text=True
    )
    assert alone.returncode == 0, alone.stderr


def test_the_migrations_make_the_tables_that_the_program_knows(ledger: Ledger):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with ledger.engine.connect() as connection:
        beside = ("search_fts", "ix_search_words")  # of one database each
        ours = {
            "compare_type": True,
            "include_name": lambda name, _kind, _parents: not str(name).startswith(beside),
            "include_object": lambda _object, name, *_: not str(name).startswith(beside),
        }
        found = compare_metadata(MigrationContext.configure(connection, opts=ours), t.metadata)
    assert found == []

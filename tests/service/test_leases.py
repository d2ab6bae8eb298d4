"""Several workers on one ledger: each piece of work is done once, all take part, and what a dead one had in hand is taken over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from fixtures.archive import Bench, settings_toml
from fixtures.ledgers import put_ledger
from fixtures.postgres import Postgres
from fixtures.processes import Process, wait_until
from fixtures.store import S3Store

from archiver.check import check
from archiver.lease import Lessee
from archiver.ledger import Ledger
from archiver.ledger import tables as t
from archiver.ledger.leases import Lease
from archiver.model import ObjectKind, Proof, TransferState

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SPAN = timedelta(minutes=2)
ANNA, BEN = Lease("here:1:anna", SPAN), Lease("here:2:ben", SPAN)


class Clock:
    now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    """A new ledger with three datasets of four objects each, all planned into deep; each dataset has a drop in hot and one in archive."""
    url = put_ledger(f"sqlite:///{tmp_path}/neve.sqlite") if request.param == "sqlite" else request.getfixturevalue("postgres").ledger()
    made = Ledger(url, clock)
    with made.begin() as tx:
        tx.add_project("snow", "Snow")
        tx.add_instrument("saxs", "SAXS")
        for number in range(3):
            dataset = tx.open_dataset("snow", "saxs", f"run{number}", f"p{number}", None)
            for tier in ("hot", "archive", "hot", "deep"):
                object_id = tx.add_object(dataset.id, ObjectKind.FILE, f"p{number}/{tier}{tx.newest_event_id()}", 1, sha256="0", crc64nvme="A")
                tx.plan_transfer(tx.object(object_id), "deep", source_copy_id=None)
                if tier != "deep":
                    live = {"object_id": object_id, "tier": tier, "key": "k", "version_id": "v", "storage_class": "S", "proven_at": NOW}
                    copy_id = tx._insert(t.copy, **live, proof=Proof.READ_BACK)
                    tx.plan_drop(tx.copy(copy_id), dataset.id, "a test")
    yield made
    made.dispose()


def take(ledger: Ledger, lease: Lease, limit: int = 100) -> set[int]:
    with ledger.begin() as tx:
        return {one.id for one in tx.take_transfers(lease, limit, set())}


def test_what_one_has_the_other_does_not_get(ledger: Ledger, clock: Clock):
    first, second = take(ledger, ANNA, 5), take(ledger, BEN)
    assert (len(first), len(second)) == (5, 7)
    assert not first & second
    assert take(ledger, ANNA) == first  # its own are its own still: a worker whose thread was lost takes them up
    clock.now += SPAN / 2
    with ledger.begin() as tx:
        assert tx.renew(BEN) == 7
    clock.now += SPAN / 2
    assert take(ledger, BEN) == first | second  # anna's time is over
    with ledger.begin() as tx:
        tx.give_back(BEN, transfers=first)
    assert take(ledger, ANNA) == first
    with ledger.begin() as tx:
        tx.give_all_back(BEN.by)
        assert tx.lessees() == {ANNA.by}


def test_a_lease_that_a_wrong_clock_gave_is_none(ledger: Ledger, clock: Clock):
    clock.now += timedelta(days=5 * 365)
    with ledger.begin() as tx:
        tx.connection.execute(sa.update(t.transfer).values(lease_by=ANNA.by, lease_until=tx.at + SPAN))
    clock.now = NOW
    assert len(take(ledger, BEN)) == 12


def test_it_is_given_back_with_the_last_change_of_state(ledger: Ledger):
    with ledger.begin() as tx:
        one, two, three = tx.take_transfers(ANNA, 3, set())
        tx.change("transfer", one, TransferState.COPYING)
        tx.change("transfer", two, TransferState.FAILED)
        tx.change("transfer", three, TransferState.CANCELLED)
    with ledger.read() as tx:
        assert [tx.transfer(i.id).lease_by for i in (one, two, three)] == [ANNA.by, None, None]


def test_drops_are_one_hands_per_dataset_whatever_their_tier(ledger: Ledger):
    with ledger.begin() as tx:
        worker = tx.take_datasets_with_drops(ANNA, ["hot"], (), 2)
    with ledger.begin() as tx:
        reaper = tx.take_datasets_with_drops(BEN, ["archive", "deep"], (), 10)
    assert ([tier for _, tier in worker], [tier for _, tier in reaper]) == (["hot", "hot"], ["archive"])
    assert not {i for i, _ in worker} & {i for i, _ in reaper}
    with ledger.begin() as tx:
        tx.give_back(ANNA, datasets=[i for i, _ in worker])
    with ledger.begin() as tx:
        assert len(tx.take_datasets_with_drops(BEN, ["archive"], (), 10)) == 3


def test_a_chore_is_one_workers_and_comes_back(ledger: Ledger, clock: Clock):
    def taken(lease: Lease) -> bool:
        with ledger.begin() as tx:
            return tx.take_chore("anchors", lease)

    assert [taken(ANNA), taken(BEN), taken(ANNA)] == [True, False, True]
    clock.now += SPAN
    assert taken(BEN)
    with ledger.begin() as tx:
        tx.end_chore("anchors", tx.at + timedelta(days=1), "it failed")
    assert not taken(ANNA)
    clock.now += timedelta(days=1)
    assert taken(ANNA)


def test_eight_at_once_share_and_none_gets_anothers(ledger: Ledger):
    got: list[set[int]] = []
    ready = threading.Barrier(8)

    def work(number: int) -> None:
        ready.wait()
        mine: set[int] = set()
        lease = Lease(f"here:{number}:x", SPAN)
        for _ in range(6):
            with ledger.begin() as tx:
                mine |= {one.id for one in tx.take_transfers(lease, 1, mine)}
        got.append(mine)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(i for mine in got for i in mine) == Counter(range(1, 13))


def test_only_one_looks_at_a_dataset(ledger: Ledger):
    with ledger.begin() as tx:
        tx.update_dataset(1, look_at=tx.at)
    with ledger.begin() as tx:
        assert tx.take_look(1)
        if ledger.url.get_backend_name() != "sqlite":
            with ledger.begin() as other:
                assert not other.take_look(1)
        tx.update_dataset(1, look_at=None)
    with ledger.begin() as tx:
        assert not tx.take_look(1)


def test_what_a_dead_process_of_this_machine_had_is_free_at_once(bench: Bench):
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True)
    dataset = bench.ingest("run1", {"a": b"1"})
    here = Lessee(bench.archive, "worker")._here
    for by, freed in ((f"{here}:{dead.stdout.strip()}:worker-1", True), (f"{here}:{os.getpid()}:worker-2", False), ("elsewhere:1:worker-3", False)):
        with bench.archive.ledger.begin() as tx:
            tx.update_dataset(dataset.id, lease_by=by, lease_until=tx.at + SPAN)
        with Lessee(bench.archive, "worker"), bench.archive.ledger.read() as tx:
            assert (tx.dataset(dataset.id).lease_by is None) is freed


# two real workers


@pytest.fixture
def shared(tmp_path: Path, store: S3Store, postgres: Postgres) -> Iterator[Bench]:
    """An archive on PostgreSQL, its worker's lease short."""
    (tmp_path / "home").mkdir()
    text = settings_toml(tmp_path / "home", store, store.buckets("hot", "archive", "deep"))
    text = text.replace("[worker]\n", '[worker]\nlease = "PT3S"\nparallel = 2\n') + f'[ledger]\nurl = "{postgres.ledger()}"\n'
    (tmp_path / "neve.toml").write_text(text, "utf-8")
    made = Bench(tmp_path, tmp_path / "neve.toml", datetime.now(UTC))
    yield made
    made.give_back()


WORKER = """
import sys, time
from archiver import app, transfer
from archiver.config import load
from pathlib import Path
step = transfer._verify
def slow(archive, one):
    time.sleep(float(sys.argv[2]))
    step(archive, one)
transfer._verify = slow
app.work(app.open_archive(load(Path(sys.argv[1]))))
"""


def worked(bench: Bench) -> list[dict]:
    with bench.archive.ledger.engine.connect() as connection:
        return [dict(row._mapping) for row in connection.execute(sa.select(t.transfer).where(t.transfer.c.source_uri.is_(None)))]


def test_two_workers_share_and_one_takes_over_when_the_other_is_killed(shared: Bench, run_process: Callable[..., Process]):
    contents = {f"f{n:02}": bytes([n]) * 2**20 for n in range(15)}  # each by itself: smaller ones go many at a time
    dataset = shared.ingest("run1", contents)
    seen: dict[int, set[str]] = {}

    def watch() -> set[str]:
        for row in worked(shared):
            if row["lease_by"]:
                seen.setdefault(row["id"], set()).add(row["lease_by"])
        return {by for names in seen.values() for by in names}

    workers = [run_process([sys.executable, "-c", WORKER, shared.settings_file, "0.2"]) for _ in range(2)]
    wait_until(lambda: len(watch()) == 2, 30, "both have work")
    doomed = workers[0]
    name = next(by for by in watch() if by.split(":")[1] == str(doomed.pid))
    wait_until(lambda: any(r["lease_by"] == name and r["state"] == "verifying" for r in worked(shared)), 30, "the first is half-way")
    os.kill(doomed.pid, signal.SIGKILL)
    doomed.popen.wait()
    left = {row["id"] for row in worked(shared) if row["lease_by"] == name}
    assert left
    wait_until(lambda: watch() and all(r["state"] == "proven" for r in worked(shared)) and len(worked(shared)) == 32, 60, "all are made")
    workers[1].stop()
    assert all(len(seen[i]) == 2 for i in left)  # taken over, by the other
    assert all(len(names) == 1 for i, names in seen.items() if i not in left)
    shared.now = datetime.now(UTC)
    with shared.archive.ledger.read() as tx:
        proven = Counter(e.detail["transfer_id"] for e in tx.events(dataset.id) if e.kind == "transfer.proven")
        assert set(proven.values()) == {1}
        assert not tx.lessees()
    assert shared.tiers(dataset) == {"hot", "archive", "deep"}
    assert check(shared.archive) == []

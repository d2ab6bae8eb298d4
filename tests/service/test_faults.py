"""What the store, other hands and changed settings do to the archive: it heals by itself, and never goes below `copies_min`."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator

import pytest
from fixtures.archive import Bench
from fixtures.crash import driver, versions

from archiver import app, policy, restore
from archiver import drop as drops
from archiver.archive import view
from archiver.check import check
from archiver.commands import release
from archiver.config import load
from archiver.ledger import Transaction
from archiver.ledger import tables as t
from archiver.model import Copy, Dataset, DatasetState, RestoreState, TransferState

FILES = {"a.bin": b"a" * 1000, "sub/b.bin": bytes(range(256)) * 40, "empty": b""}
ALL = {"hot", "archive", "deep"}


class Guard:
    """Looks at the ledger at every commit: a closed dataset's object that once had `copies_min` counted copies never has fewer."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.reached, self.broken, self.looks = bench, set(), [], 0
        self.lock = threading.Lock()  # commits come from several threads, and an older look must not be judged by a newer one
        bench.archive.ledger.after_commit = self.look

    def look(self, states: list[str]) -> None:
        archive = self.bench.archive
        with self.lock, archive.ledger.read() as tx:
            self.looks += 1
            for dataset_id in tx.connection.execute(t.dataset.select().with_only_columns(t.dataset.c.id)).scalars():
                self._dataset(tx, dataset_id, states)

    def _dataset(self, tx: Transaction, dataset_id: int, states: list[str]) -> None:
        settings = self.bench.archive.settings
        seen = view(tx, dataset_id)
        if seen.dataset.state is not DatasetState.CLOSED:
            return
        going = {d.copy_id for d in seen.drops}
        least = policy.copies_min(seen.dataset, settings, tx.at)
        for obj in seen.objects:
            places = {settings.tiers[c.tier].place for c in seen.copies if c.object_id == obj.id and c.id not in going}
            if len(places) >= least:
                self.reached.add(obj.id)
            elif obj.id in self.reached:
                self.broken.append((states, obj.key, sorted(places), least))


@pytest.fixture
def guard(bench: Bench) -> Iterator[Guard]:
    made = Guard(bench)
    yield made
    assert made.looks > 10
    assert made.broken == []


def events(bench: Bench, dataset: Dataset) -> list[str]:
    with bench.archive.ledger.read() as tx:
        return [e.kind for e in tx.events(dataset.id)]


def states(bench: Bench) -> dict[str, dict[str, int]]:
    with bench.archive.ledger.read() as tx:
        return tx.states()


def copy_in(bench: Bench, dataset: Dataset, tier: str, path: str = "a.bin") -> Copy:
    with bench.archive.ledger.read() as tx:
        return next(c for c in tx.copies(dataset.id) if c.tier == tier and c.key.endswith(f"/{path}"))


def leave_hot(bench: Bench) -> None:
    """61 days on: the stub, its grace period, the drop; and again for what had to be mended first."""
    bench.turn(days=61)
    for _ in range(3):
        bench.settle()
        bench.turn(hours=2)
    bench.settle()


def sound(bench: Bench, dataset: Dataset, files: dict[str, bytes], tiers: set[str]) -> None:
    assert check(bench.archive) == []
    assert bench.tiers(dataset) == tiers
    for tier in tiers:
        for path, content in files.items():
            copy = copy_in(bench, dataset, tier, path)
            same = b"".join(bench.archive.tiers[tier].read(copy.key, copy.version_id)) == content
            assert same, (tier, path)  # a diff of bytes takes minutes
    assert set(states(bench)["transfer"]) <= {"proven", "cancelled"}
    assert set(states(bench)["drop"]) <= {"dropped", "revoked"}


def test_copies_min_holds_at_every_moment_of_a_life(bench: Bench, guard: Guard):
    dataset = bench.ingest("run1", FILES)
    bench.settle()
    leave_hot(bench)
    sound(bench, dataset, FILES, {"archive", "deep"})
    restore.request(bench.archive, "alice", "run1", None, 3, None)
    bench.settle()
    bench.turn(days=700)
    for _ in range(3):
        bench.settle()
        bench.turn(hours=2)
    sound(bench, dataset, FILES, {"deep"})


# behind our back


def _deleted(bench: Bench, copy: Copy) -> None:
    bench.admin[copy.tier].delete_version(copy.key, copy.version_id)


def _deleted_and_replaced(bench: Bench, copy: Copy) -> None:
    _deleted(bench, copy)
    bench.archive.tiers[copy.tier].put_text(copy.key, "x" * 1000)


def _truncated(bench: Bench, copy: Copy) -> None:
    _swap(bench, copy, "short")


def _swap(bench: Bench, copy: Copy, text: str) -> None:
    """The store now gives these bytes for the version the ledger counts on."""
    _deleted(bench, copy)
    version = bench.archive.tiers[copy.tier].put_text(copy.key, text)
    with bench.archive.ledger.begin() as tx:
        tx.connection.execute(t.copy.update().where(t.copy.c.id == copy.id).values(version_id=version))


@pytest.mark.parametrize("harm", [_deleted, _deleted_and_replaced, _truncated])
@pytest.mark.parametrize("tier", ["archive", "deep"])
def test_a_copy_harmed_behind_our_back_is_made_anew_before_hot_leaves(bench: Bench, tier: str, harm):
    dataset = bench.ingest("run1", FILES)
    bench.settle()
    harmed = copy_in(bench, dataset, tier)
    harm(bench, harmed)
    leave_hot(bench)
    kinds = events(bench, dataset)
    assert kinds.count("copy.lost") == 1
    assert "drop.revoked" in kinds
    lost, dropped = kinds.index("copy.lost"), len(kinds) - 1 - kinds[::-1].index("drop.dropped")
    assert lost < dropped
    assert copy_in(bench, dataset, tier).id != harmed.id
    sound(bench, dataset, FILES, {"archive", "deep"})


def test_an_overwritten_copy_is_still_there_by_version(bench: Bench):
    dataset = bench.ingest("run1", FILES)
    bench.settle()
    for tier in ("archive", "deep"):
        bench.archive.tiers[tier].put_text(copy_in(bench, dataset, tier).key, "other")
        admin = bench.admin[tier]
        admin.client.delete_object(Bucket=admin.bucket, Key=copy_in(bench, dataset, tier, "empty").key)
    leave_hot(bench)
    assert "copy.lost" not in events(bench, dataset)
    restore.request(bench.archive, "alice", "run1", None, 3, None)
    bench.settle()
    sound(bench, dataset, FILES, ALL)


def test_a_flipped_byte_is_found_before_the_drop_once_the_proof_is_old(bench: Bench):
    dataset = bench.ingest("run1", FILES)
    bench.settle()
    flipped = copy_in(bench, dataset, "archive")
    _swap(bench, flipped, "b" + "a" * 999)
    bench.turn(days=40)  # 91 days at the drop: more than the fixity period of 90
    leave_hot(bench)
    assert events(bench, dataset).count("copy.lost") == 1
    sound(bench, dataset, FILES, {"archive", "deep"})


def test_a_lost_copy_while_its_source_is_the_only_other(bench: Bench):
    """Deep alone is left; what is lost then cannot be made anew, and is said, not hidden."""
    dataset = bench.ingest("run1", FILES)
    bench.settle()
    leave_hot(bench)
    bench.turn(days=700)
    bench.settle()
    assert bench.tiers(dataset) == {"deep"}
    _deleted(bench, copy_in(bench, dataset, "deep"))
    asked = restore.request(bench.archive, "alice", "run1", None, 3, None)
    for _ in range(8):
        bench.settle()
        bench.turn(minutes=10)
    with bench.archive.ledger.read() as tx:
        assert tx.restore(asked.id).state is RestoreState.PARTLY_READY
        given_up = [tr for tr in tx.transfers(dataset.id) if tr.state is TransferState.QUARANTINED]
        assert tx.problems([dataset.id])
    assert [tr.key.rsplit("/", 1)[1] for tr in given_up] == ["a.bin"]
    assert bench.read(dataset, "sub/b.bin") == FILES["sub/b.bin"]


# claims against drops


def test_a_restore_between_planned_and_checked_revokes_the_drops(bench: Bench, guard: Guard, monkeypatch: pytest.MonkeyPatch):
    dataset = bench.ingest("run1", FILES)
    bench.settle()
    bench.turn(days=61)
    bench.settle()
    bench.turn(hours=2)
    look, todo = drops._look_at, [lambda: restore.request(bench.archive, "alice", "run1", None, 3, None)]

    def asked_meanwhile(*arguments):
        look(*arguments)
        while todo:
            todo.pop()()

    monkeypatch.setattr(drops, "_look_at", asked_meanwhile)
    bench.settle()
    kinds = events(bench, dataset)
    # What remains was found sound, but is claimed again by then: all are revoked, nothing left hot.
    assert kinds.count("drop.revoked") == len(FILES)
    assert kinds.count("drop.checked") == 1  # the manifest's, on the first day
    assert "restore.ready" in kinds
    sound(bench, dataset, FILES, ALL)


def test_a_restore_after_checked_waits_and_copies_again(bench: Bench, guard: Guard, monkeypatch: pytest.MonkeyPatch):
    dataset = bench.ingest("run1", FILES)
    bench.settle()
    bench.turn(days=61)
    bench.settle()
    bench.turn(hours=2)
    check_drops, todo = drops._check, [lambda: restore.request(bench.archive, "alice", "run1", None, 3, None)]

    def asked_after(*arguments):
        checked = check_drops(*arguments)
        assert len(checked[0]) == len(FILES)
        while todo:
            todo.pop()()
        return checked

    monkeypatch.setattr(drops, "_check", asked_after)
    bench.settle()
    kinds = events(bench, dataset)
    assert "drop.revoked" not in kinds
    assert kinds.count("drop.dropped") == 1 + len(FILES)  # with the manifest's, on the first day
    assert "restore.ready" in kinds
    sound(bench, dataset, FILES, ALL)


def test_settings_changed_from_sixty_days_to_six(bench: Bench, guard: Guard):
    dataset = bench.ingest("run1", FILES)
    bench.settle()
    bench.turn(days=8)
    bench.settle()
    assert bench.tiers(dataset) == ALL
    text = bench.settings_file.read_text("utf-8")
    bench.settings_file.write_text(text.replace("P60D", "P6D"), "utf-8")
    bench.archive.ledger.dispose()
    bench.archive = app.open_archive(load(bench.settings_file), lambda: bench.now)
    bench.archive.ledger.after_commit = guard.look
    for _ in range(2):
        bench.settle()
        assert bench.tiers(dataset) == ALL  # so much sooner for so much data waits for an admin
        bench.turn(hours=2)
    release.let_go(bench.archive, "root")
    bench.settle()
    assert bench.tiers(dataset) == ALL  # the stub comes first
    bench.turn(hours=2)
    bench.settle()
    sound(bench, dataset, FILES, {"archive", "deep"})
    # And back: claimed again, copied again.
    bench.settings_file.write_text(text, "utf-8")
    bench.archive.ledger.dispose()
    bench.archive = app.open_archive(load(bench.settings_file), lambda: bench.now)
    bench.archive.ledger.after_commit = guard.look
    bench.settle()
    sound(bench, dataset, FILES, ALL)


# several hands


def both(act: Callable[[int], object]) -> None:
    """`act(0)` and `act(1)` at the same time."""
    threads = [threading.Thread(target=act, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_two_workers_on_one_ledger(bench: Bench):
    """Two processes at once, then two threads, at each age: no copy twice, nothing given up, nothing lost."""
    chance = random.Random(3)
    files = {f"{number:02}.bin": chance.randbytes(chance.randrange(20_000)) for number in range(15)}
    datasets = [bench.ingest(f"run{number}", files) for number in range(3)]
    with driver(bench) as one, driver(bench) as other:
        for hours in (0, 61 * 24, 2, 2, 700 * 24, 2):
            bench.turn(hours=hours)
            both(lambda number: (one, other)[number].order("work", bench.now))
            both(lambda _: bench.settle())
            assert check(bench.archive) == []
            for name in ("hot", "archive", "deep"):
                with bench.archive.ledger.read() as tx:
                    counted = {(c.key, c.version_id) for d in datasets for c in tx.copies(d.id) if c.tier == name}
                assert versions(bench, name) == counted, name
    for dataset in datasets:
        sound(bench, dataset, files, {"deep"})
        kinds = events(bench, dataset)
        assert kinds.count("transfer.proven") == 3 * (len(files) + 1)
        assert "copy.lost" not in kinds
        assert "transfer.quarantined" not in kinds


def test_two_senders_of_one_dataset_at_once(bench: Bench):
    """The same files sent twice at the same time: whatever one of the two is told, what is received is there."""
    folder = bench.write("run1", {f"{number}.bin": bytes([number]) * 50_000 for number in range(12)})
    failures = []

    def send(_: int) -> None:
        try:
            app.ingest(bench.archive, "snow", "saxs", "run1", [folder])
        except Exception as error:  # noqa: BLE001  # whatever a sender is told; what counts is what is there afterwards
            failures.append(error)

    both(send)
    for _ in range(2):  # "run the same command again"
        try:
            app.ingest(bench.archive, "snow", "saxs", "run1", [folder])
            break
        except Exception as error:  # noqa: BLE001  # whatever a sender is told; what counts is what is there afterwards
            failures.append(error)
    bench.settle()
    assert check(bench.archive) == [], failures
    with bench.archive.ledger.read() as tx:
        dataset = tx.find_dataset("run1")
    sound(bench, dataset, {f"{number}.bin": bytes([number]) * 50_000 for number in range(12)}, ALL)


# a store that is away


def test_work_that_waits_for_its_store_ends_the_turn(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    """`worker --once` and `tier` come back when the store is away while drops are due; they do not go round and round."""
    dataset = bench.ingest("run1", FILES)
    bench.settle()
    bench.turn(days=61)
    bench.settle()
    bench.turn(hours=2)
    tier = bench.archive.tiers["archive"]
    monkeypatch.setattr(tier, "head", lambda *_: (_ for _ in ()).throw(tier._unavailable("it is away")))
    settled = threading.Thread(target=bench.settle, daemon=True)
    settled.start()
    settled.join(20)
    assert not settled.is_alive()
    assert states(bench)["drop"]["planned"] == len(FILES)
    monkeypatch.undo()
    bench.settle()
    sound(bench, dataset, FILES, {"archive", "deep"})


def test_a_stub_whose_store_is_away_is_laid_later(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    dataset = bench.ingest("run1", FILES)
    bench.settle()
    bench.turn(days=61)
    hot = bench.archive.tiers["hot"]
    monkeypatch.setattr(hot, "put_text", lambda *_: (_ for _ in ()).throw(hot._unavailable("it is away")))
    bench.settle()
    monkeypatch.undo()
    bench.turn(seconds=1)
    bench.settle()
    assert f"{dataset.prefix}/NEVE-ARCHIVED.txt" in bench.keys("hot")
    bench.turn(hours=2)
    bench.settle()
    sound(bench, dataset, FILES, {"archive", "deep"})
    restore.request(bench.archive, "alice", "run1", None, 3, None)
    monkeypatch.setattr(hot, "delete_all_versions", lambda *_: (_ for _ in ()).throw(hot._unavailable("it is away")))
    bench.settle()
    monkeypatch.undo()
    bench.turn(seconds=1)
    bench.settle()
    assert f"{dataset.prefix}/NEVE-ARCHIVED.txt" not in bench.keys("hot")

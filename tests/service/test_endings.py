"""Ending copies, many at a time: what remains is looked at first, the store's answer is read key by key, and guards make all of it wait."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from fixtures.archive import Bench
from fixtures.command import archiver

from archiver import drop, guards
from archiver.archive import utc_now
from archiver.check import check
from archiver.commands import release
from archiver.errors import PublicError
from archiver.guards import Guard
from archiver.ledger import tables as t
from archiver.model import Dataset, DropState, FileState, ObjectKind, Proof
from archiver.reaper import Reaper
from archiver.storage import Tier
from archiver.worker import Worker

FILES = {f"{n:02}.bin": bytes([n]) * 100 for n in range(6)}


def events(bench: Bench, dataset: Dataset) -> list[str]:
    with bench.archive.ledger.read() as tx:
        return [e.kind for e in tx.events(dataset.id)]


def drops(bench: Bench) -> dict[str, int]:
    with bench.archive.ledger.read() as tx:
        return tx.states()["drop"]


def waits(bench: Bench) -> dict[str, str]:
    with bench.archive.ledger.read() as tx:
        return guards.waits(tx, bench.archive.settings)


def archived(bench: Bench) -> Dataset:
    """A dataset that has left hot (only the ledger says so, that is quicker), and is 2 years old: all of it is planned to leave archive."""
    dataset = bench.ingest("run1", FILES)
    bench.settle()
    bench.turn(days=761)
    with bench.archive.ledger.begin() as tx:
        tx.connection.execute(t.copy.update().where(t.copy.c.tier == "hot").values(dropped_at=tx.at))
    Worker(bench.archive).settle()
    assert drops(bench)["planned"] == len(FILES)
    return dataset


# in batches


def with_many_more(bench: Bench, dataset: Dataset, number: int) -> None:
    """As many more files as if they had been copied and had left hot already: what lies in archive and deep, and the ledger's lines."""
    keys = [f"{dataset.prefix}/many/{n:04}.bin" for n in range(number)]
    sent = [(tier, key) for tier in ("archive", "deep") for key in keys]
    with ThreadPoolExecutor(16) as pool:
        versions = dict(zip(sent, pool.map(lambda to: bench.archive.tiers[to[0]].put(to[1], 4, iter([b"byte"]), "STANDARD"), sent), strict=True))
    sha256 = hashlib.sha256(b"byte").hexdigest()
    with bench.archive.ledger.begin() as tx:
        for n, key in enumerate(keys):
            obj = tx.add_object(dataset.id, ObjectKind.FILE, key, 4, sha256=sha256)
            file = tx.add_file(dataset.id, f"many/{n:04}.bin", f"many/{n:04}.bin".encode(), 4, obj, None)
            tx.update_file(file, state=FileState.RECEIVED, sha256=sha256, received_at=tx.at)
            for tier in ("archive", "deep"):
                row = {"object_id": obj, "tier": tier, "key": key, "version_id": versions[tier, key], "storage_class": "STANDARD"}
                tx.connection.execute(t.copy.insert().values(**row, proof=Proof.READ_BACK, proven_at=tx.at))
        tx.update_dataset(dataset.id, look_at=tx.at)


def test_a_thousand_files_leave_in_batches(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    """Each remaining copy is looked at once, versions end by 500 in a request, and every file is where it should be."""
    dataset = bench.ingest("run1", {"one.bin": b"1"})
    bench.settle()
    for hours in (61 * 24, 2):
        bench.turn(hours=hours)
        bench.settle()
    with_many_more(bench, dataset, 1000)
    bench.turn(days=680)
    with bench.archive.ledger.begin() as tx:  # proven lately, so that no byte has to be read
        tx.connection.execute(t.copy.update().values(proven_at=tx.at))
    Worker(bench.archive).settle()
    assert drops(bench)["planned"] == 1001
    calls: list[tuple[str, str, int]] = []
    call = Tier._call

    def counted(tier: Tier, operation: str, **arguments):
        calls.append((tier.name, operation, len(arguments.get("Delete", {}).get("Objects", ()))))
        return call(tier, operation, **arguments)

    monkeypatch.setattr(Tier, "_call", counted)
    Reaper(bench.reaping).settle()
    monkeypatch.undo()
    assert [n for _, operation, n in calls if operation == "delete_objects"] == [500, 500, 1]
    assert [(tier, operation) for tier, operation, _ in calls if operation == "head_object"] == [("deep", "head_object")] * 1001
    assert not [operation for _, operation, _ in calls if operation == "get_object"]
    assert bench.tiers(dataset) == {"deep"}
    assert bench.keys("archive") == []
    assert check(bench.archive) == []


def test_what_the_store_keeps_stays_checked_and_the_others_go(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    """A 200 answer that says AccessDenied of one key: that one is tried again, and said; the others have ended."""
    dataset = archived(bench)
    call = Tier._call

    def partly(tier: Tier, operation: str, **arguments):
        if operation != "delete_objects":
            return call(tier, operation, **arguments)
        entries = arguments["Delete"]["Objects"]
        kept = [e for e in entries if e["Key"].endswith("03.bin")]
        arguments["Delete"] = {**arguments["Delete"], "Objects": [e for e in entries if e not in kept]}
        answer = call(tier, operation, **arguments) if arguments["Delete"]["Objects"] else {}
        return {**answer, "Errors": [{**e, "Code": "AccessDenied", "Message": "no"} for e in kept]}

    monkeypatch.setattr(Tier, "_call", partly)
    Reaper(bench.reaping).settle()
    assert (drops(bench)["checked"], "planned" in drops(bench)) == (1, False)
    assert "the store keeps 1 version(s)" in waits(bench)["archive"]
    assert [k[-6:] for k in bench.keys("archive")] == ["03.bin"]
    monkeypatch.undo()
    bench.settle()
    assert bench.tiers(dataset) == {"deep"}
    assert waits(bench) == {}
    assert check(bench.archive) == []


def test_two_reapers_at_once_do_each_other_no_harm(bench: Bench):
    dataset = archived(bench)
    with bench.archive.ledger.begin() as tx:  # each file's version, and some that are unproven
        for n in range(20):
            tx.leave("deep", f"nowhere/{n}", "0" * 32, "a test says so")
    threads = [threading.Thread(target=Reaper(bench.reaping).settle) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bench.settle()
    kinds = events(bench, dataset)
    assert kinds.count("drop.dropped") == kinds.count("drop.checked")
    assert bench.tiers(dataset) == {"deep"}
    with bench.archive.ledger.read() as tx:
        assert tx.leftovers_waiting() == 0
    assert check(bench.archive) == []


def test_a_hand_that_comes_late_changes_nothing(bench: Bench):
    """Two that read the same drops: what the first has checked or dropped, the second leaves alone."""
    dataset = archived(bench)
    hands = bench.reaping
    tier = hands.tiers["archive"]
    with hands.ledger.read() as tx:
        planned = tx.drops_in(dataset.id, "archive")
    checked, revoked, why = drop._check(hands, dataset.id, planned, {})
    assert (len(checked), revoked, why) == (len(FILES), 0, None)
    assert drop._check(hands, dataset.id, planned, {}) == ([], 0, None)
    assert drop._end(hands, dataset.id, tier, checked) == len(FILES)
    before = events(bench, dataset)
    assert drop._end(hands, dataset.id, tier, checked) == len(FILES)
    assert events(bench, dataset) == before


@pytest.mark.parametrize("harm", ["deleted", "overwritten"])
def test_what_remains_was_harmed_between_plan_and_check(bench: Bench, harm: str):
    """The last other copy is gone, or is another's bytes: the drop is revoked, the copy made anew from what would have gone, then it goes."""
    dataset = archived(bench)
    with bench.archive.ledger.read() as tx:
        victim = next(c for c in tx.copies(dataset.id) if c.tier == "deep" and c.key.endswith("05.bin"))
    admin = bench.admin["deep"]
    admin.delete_version(victim.key, victim.version_id)
    if harm == "overwritten":
        admin.put_text(victim.key, "something else")
        version = admin.head(victim.key)
        assert version is not None
        with bench.archive.ledger.begin() as tx:  # the store gives other bytes for the version that the ledger knows
            tx.connection.execute(t.copy.update().where(t.copy.c.id == victim.id).values(version_id=version.version_id))
    Reaper(bench.reaping).settle()
    kinds = events(bench, dataset)
    assert kinds.count("drop.revoked") == kinds.count("copy.lost") == 1
    assert [k[-6:] for k in bench.keys("archive")] == ["05.bin"]
    for _ in range(3):
        bench.settle()
        bench.turn(minutes=10)
    assert bench.tiers(dataset) == {"deep"}
    assert bench.read(dataset, "05.bin", "deep") == FILES["05.bin"]
    assert check(bench.archive) == []


# guards


@pytest.fixture
def leaving(bench: Bench) -> Iterator[tuple[Bench, Dataset]]:
    """A dataset whose copies in archive nobody claims any more."""
    yield bench, archived(bench)


def reap(bench: Bench, wall: Callable[[], datetime] = utc_now) -> None:
    Reaper(replace(bench.reaping, wall=wall)).settle()


def test_nothing_is_dropped_while_this_clock_is_wrong(leaving: tuple[Bench, Dataset]):
    bench, dataset = leaving
    for off in (timedelta(days=1), -timedelta(days=1), timedelta(days=5 * 365), timedelta(minutes=6)):
        reap(bench, lambda off=off: datetime.now(UTC) + off)
        assert drops(bench)["planned"] == len(FILES), off
        assert "clock" in waits(bench)["archive"], off
        assert len(bench.keys("archive")) == len(FILES), off
    reap(bench)
    assert bench.tiers(dataset) == {"deep"}
    assert waits(bench) == {}


def test_a_clock_of_machine_and_store_together_is_not_believed_after_a_long_silence(leaving: tuple[Bench, Dataset], monkeypatch: pytest.MonkeyPatch):
    """One machine with its own store, which starts five years later: both tell the same wrong time; only an admin can say it is right."""
    bench, dataset = leaving

    def later() -> datetime:
        return datetime.now(UTC) + timedelta(days=5 * 365)

    monkeypatch.setattr(Tier, "ping", lambda _: later())
    reap(bench, later)
    assert "policy.clock_silence" in waits(bench)["archive"]
    assert len(bench.keys("archive")) == len(FILES)
    wrong = replace(bench.archive, wall=later)
    assert "policy.clock_silence" in release.held(wrong)[0]
    release.let_go(wrong, "root")
    reap(bench, later)
    assert bench.tiers(dataset) == {"deep"}
    # And back: the clock was later before.
    monkeypatch.undo()
    with bench.archive.ledger.read() as tx:
        assert "before" in (Guard(bench.archive).clock(tx) or "")


def test_a_clock_that_is_set_while_we_run(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    off = timedelta(0)
    hands = replace(bench.reaping, wall=lambda: datetime.now(UTC) + off)
    monkeypatch.setattr(Tier, "ping", lambda _: hands.wall())
    guard = Guard(hands)
    guard.beat()
    assert guard.hold(hands.tiers["archive"]) is None
    off = timedelta(days=1)
    guard.beat()
    assert "was set by 86,400 s" in (guard.hold(hands.tiers["archive"]) or "")
    off = timedelta(0)
    assert guard.hold(hands.tiers["archive"]) is None
    off = timedelta(days=1)
    release.let_go(hands, "root")
    assert guard.hold(hands.tiers["archive"]) is None


def test_an_event_of_the_future_holds_unless_the_time_is_a_wish(bench: Bench):
    """The bench acts at a time of its own (`--now`); a process whose clock is the machine's does not go on behind what another wrote."""
    dataset = bench.ingest("run1", {"a": b"a"})
    bench.now = datetime.now(UTC) + timedelta(hours=1)
    with bench.archive.ledger.begin() as tx:
        tx.event(dataset.id, "a.test", {})
    machine = replace(bench.archive, wall=bench.archive.ledger.clock)
    with bench.archive.ledger.read() as tx:
        assert Guard(bench.archive).outrun(tx) is Guard(machine).outrun(tx) is None
        bench.now -= timedelta(minutes=30)
        assert Guard(bench.archive).outrun(tx) is None
        assert "newest event" in (Guard(machine).outrun(tx) or "")
    assert "newest event" in (Guard(machine).hold(bench.archive.tiers["archive"]) or "")


def with_policy(bench: Bench, **policy: int) -> Bench:
    settings = bench.archive.settings
    bench.archive = replace(bench.archive, settings=settings.model_copy(update={"policy": settings.policy.model_copy(update=policy)}))
    return bench


@pytest.mark.parametrize(("caps", "a_day"), [({"drops_per_day": 2}, 2), ({"drop_bytes_per_day": 350}, 3), ({"drop_bytes_per_day": 99}, 1)], ids=str)
def test_what_exceeds_a_days_cap_waits_for_the_next(leaving: tuple[Bench, Dataset], caps: dict[str, int], a_day: int):
    """Never more in 24 hours; a copy larger than the whole cap goes alone. Nothing is revoked."""
    bench, dataset = leaving
    policy = bench.archive.settings.policy
    bench.archive = replace(bench.archive, settings=bench.archive.settings.model_copy(update={"policy": policy.model_copy(update=caps)}))
    for day in range(3 if a_day == 2 else 2):
        reap(bench)
        bench.turn(hours=23)
        reap(bench)
        left = len(FILES) - a_day * (day + 1)
        assert len(bench.keys("archive")) == left
        assert ("policy.drops_per_day" in waits(bench).get("archive", "")) == (left > 0)
        bench.turn(hours=2)
    assert "drop.revoked" not in events(bench, dataset)


def test_drops_that_are_held_wait_for_release(leaving: tuple[Bench, Dataset]):
    """In every tier, by the command line too; the reason stands where people look, and who released it is kept."""
    bench, dataset = leaving
    with bench.archive.ledger.begin() as tx:
        tx.set_note(guards.HOLD, "a test wants it")
    bench.settle()
    assert drops(bench)["planned"] == len(FILES)

    settings = ("--config", bench.settings_file)
    status = archiver(*settings, "status")
    assert "drops wait: a test wants it. `archiver release` lets drops go on." in status.stdout, status
    asked = archiver(*settings, "release", "--json")
    assert (asked.returncode, "Say --yes" in asked.stderr) == (2, True)
    bench.settle()
    assert drops(bench)["planned"] == len(FILES)
    assert "Held: a test wants it" in archiver(*settings, "release", "--yes").stdout
    assert "Nothing is held. Last released: by " in archiver(*settings, "release").stdout
    bench.settle()
    assert bench.tiers(dataset) == {"deep"}


def test_a_wrong_clock_cannot_be_released(bench: Bench):
    refused = release.refusal(replace(bench.archive, wall=lambda: datetime.now(UTC) + timedelta(days=1)))
    assert isinstance(refused, PublicError)
    assert "differ by" in refused.detail
    assert release.refusal(bench.archive) is None


def test_a_dataset_whose_drops_wait_does_not_stand_before_others(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    """Five datasets, of which as many as go at once cannot be ended: the last one goes all the same."""
    made = [bench.ingest(f"run{n}", {"a": bytes([n])}) for n in range(5)]
    bench.settle()
    for hours in (61 * 24, 2):
        bench.turn(hours=hours)
        bench.settle()
    bench.turn(days=700)
    Worker(bench.archive).settle()
    slow = {"backoff": timedelta(minutes=10)}
    bench.archive = replace(
        bench.archive, settings=bench.archive.settings.model_copy(update={"worker": bench.archive.settings.worker.model_copy(update=slow)})
    )
    end = drop._end
    stuck = {d.id for d in made[:4]}
    monkeypatch.setattr(drop, "_end", lambda archive, dataset_id, *rest: 0 if dataset_id in stuck else end(archive, dataset_id, *rest))
    reaper = Reaper(bench.reaping)
    for _ in range(3):
        reaper.turn()
    reaper.settle()
    assert bench.tiers(made[4]) == {"deep"}
    with bench.archive.ledger.read() as tx:
        assert {d.state for one in made[:4] for d in tx.drops(one.id)} == {DropState.CHECKED}

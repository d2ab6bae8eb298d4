"""Many small transfers made together: the same states, each committed before its work, and what goes wrong with one stays with it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fixtures.archive import Bench

from archiver import batch
from archiver.check import check
from archiver.errors import StoreUnavailable
from archiver.ledger.store import Ledger
from archiver.model import Dataset, Transfer, TransferState
from archiver.storage import Digest, Tier
from archiver.worker import Worker

FILES = {f"scan {number:02}.bin": bytes([number]) * (number + 1) for number in range(12)}


@pytest.fixture
def received(bench: Bench) -> Dataset:
    return bench.ingest("run1", FILES)


@pytest.fixture
def commits(bench: Bench) -> Iterator[list[list[str]]]:
    """The states that each commit has made durable."""
    made: list[list[str]] = []
    ledger = bench.archive.ledger
    ledger.after_commit = made.append
    yield made
    ledger.after_commit = None


def transfers(ledger: Ledger, dataset: Dataset, tier: str) -> dict[str, Transfer]:
    """Transfers into a tier that have not ended, by key."""
    with ledger.read() as tx:
        return {one.key: one for one in tx.transfers(dataset.id) if one.tier == tier}


def watch(monkeypatch: pytest.MonkeyPatch, seen: Callable[[Tier, str, str], None]) -> None:
    """`seen(tier, operation, key)` before each request about a key."""
    call, copy, read = Tier._call, Tier.begin_copy, Tier.begin_read

    def called(tier: Tier, operation: str, **arguments: Any) -> Any:
        if "Key" in arguments:
            seen(tier, operation, arguments["Key"])
        return call(tier, operation, **arguments)

    def copied(tier: Tier, source: Tier, key: str, *rest: Any) -> Any:
        seen(tier, "copy_object", key)
        return copy(tier, source, key, *rest)

    def begun(tier: Tier, key: str, version_id: str) -> Any:
        seen(tier, "get_object", key)
        return read(tier, key, version_id)

    monkeypatch.setattr(Tier, "_call", called)
    monkeypatch.setattr(Tier, "begin_copy", copied)
    monkeypatch.setattr(Tier, "begin_read", begun)


def test_each_state_is_in_the_ledger_before_its_work(bench: Bench, received: Dataset, monkeypatch: pytest.MonkeyPatch):
    found: list[tuple[str, TransferState]] = []
    lock = threading.Lock()

    def seen(tier: Tier, operation: str, key: str) -> None:
        if tier.name != "archive" or not key.startswith(received.prefix):
            return
        one = transfers(bench.archive.ledger, received, "archive")[key]
        with lock:
            found.append((operation, one.state))
        assert one.source_copy_id is not None
        assert (one.version_id is None) == (one.state is TransferState.COPYING)

    watch(monkeypatch, seen)
    bench.settle()
    assert Counter(found) == {("copy_object", TransferState.COPYING): len(FILES), ("get_object", TransferState.VERIFYING): len(FILES)}
    assert bench.tiers(received) == {"hot", "archive", "deep"}
    assert check(bench.archive) == []


def test_the_ledger_is_written_once_for_all(bench: Bench, received: Dataset, commits: list[list[str]]):
    bench.settle()
    for state in ("planned", "copying", "verifying", "proven"):
        counts = [states.count(f"transfer.{state}") for states in commits]
        assert sum(counts) == 2 * (len(FILES) + 1), state  # to archive and deep, the manifest too
        assert max(counts) >= len(FILES), state


def test_a_batch_is_bounded(bench: Bench, received: Dataset, commits: list[list[str]], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(batch, "MOST", 5)
    bench.settle()
    assert max(states.count("transfer.copying") for states in commits) == 5
    assert bench.tiers(received) == {"hot", "archive", "deep"}


def test_what_is_large_or_goes_to_a_tier_with_a_cap_goes_alone(bench_on: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch):
    bench = bench_on(archive={"parallel": 2})
    made: list[list[str]] = []
    bench.archive.ledger.after_commit = made.append
    monkeypatch.setattr(batch, "BELOW_BYTES", 6)
    dataset = bench.ingest("run1", FILES)  # five are smaller
    del made[:]
    bench.settle()
    counts = Counter(states.count("transfer.copying") for states in made if "transfer.copying" in states)
    assert counts == {5: 1, 1: 2 * (len(FILES) + 1) - 5}
    assert bench.tiers(dataset) == {"hot", "archive", "deep"}
    bench.archive.ledger.after_commit = None
    bench.give_back()


def test_one_that_fails_holds_no_other_up(bench: Bench, received: Dataset, monkeypatch: pytest.MonkeyPatch):
    begin_copy = Tier.begin_copy

    def broken(tier: Tier, source: Tier, key: str, *rest: Any) -> Callable[[], str]:
        if key.endswith("scan 03.bin") and tier.name == "archive":
            raise StoreUnavailable("The store is away.", "It comes back.")
        return begin_copy(tier, source, key, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Tier, "begin_copy", broken)
        bench.settle()
    (one,) = transfers(bench.archive.ledger, received, "archive").values()
    assert (one.key, one.state, one.attempts) == (f"{received.prefix}/scan 03.bin", TransferState.FAILED, 1)
    assert one.error == "The store is away. It comes back."
    assert {path for path in FILES if "archive" not in bench.tiers(received, path)} == {"scan 03.bin"}
    bench.turn(seconds=10)
    bench.settle()
    assert bench.tiers(received) == {"hot", "archive", "deep"}
    assert check(bench.archive) == []


def test_wrong_bytes_never_become_a_copy(bench: Bench, received: Dataset, monkeypatch: pytest.MonkeyPatch):
    digest = Tier.digest

    def tainted(tier: Tier, key: str, *rest: Any) -> Digest:
        true = digest(tier, key, *rest)
        return Digest(true.size_bytes, "0" * 64, true.crc64nvme) if tier.name == "archive" and key.endswith("scan 05.bin") else true

    with monkeypatch.context() as patch:
        patch.setattr(Tier, "digest", tainted)
        Worker(bench.archive).settle()
    with bench.archive.ledger.read() as tx:
        assert [left.key for left in tx.leftovers(["archive"], 10)] == [f"{received.prefix}/scan 05.bin"]
    assert {path for path in FILES if "archive" not in bench.tiers(received, path)} == {"scan 05.bin"}
    for _ in range(3):
        bench.turn(seconds=10)
        bench.settle()
    assert bench.tiers(received) == {"hot", "archive", "deep"}
    assert bench.read(received, "scan 05.bin", "archive") == FILES["scan 05.bin"]


def test_one_that_another_hand_has_moved_leaves_the_others_to_themselves(bench: Bench, received: Dataset, monkeypatch: pytest.MonkeyPatch):
    moved = threading.Event()

    def seen(tier: Tier, operation: str, key: str) -> None:
        if tier.name == "archive" and operation == "copy_object" and key.endswith("scan 07.bin") and not moved.is_set():
            moved.set()
            with bench.archive.ledger.begin("somebody") as tx:
                tx.cancel_transfer(next(one for one in tx.transfers(received.id) if (one.key, one.tier) == (key, "archive")))

    watch(monkeypatch, seen)
    bench.settle()
    assert moved.is_set()
    assert bench.tiers(received) == {"hot", "archive", "deep"}  # it is claimed, so it was planned anew, and what stood there was proven
    assert check(bench.archive) == []


def test_a_dataset_is_looked_at_once_its_last_transfer_has_ended(bench: Bench, received: Dataset):
    Worker(bench.archive)._plan_one(received.id)
    with bench.archive.ledger.read() as tx:
        planned = [one for one in tx.transfers(received.id) if one.tier == "archive"]
        later = tx.dataset(received.id).look_at
    assert later is not None
    assert later > bench.now  # nothing is to be decided until then
    batch.run(bench.archive, planned)
    with bench.archive.ledger.read() as tx:
        soon = tx.dataset(received.id).look_at  # those to deep go on still
    assert soon is not None
    assert bench.now < soon < later
    for one in transfers(bench.archive.ledger, received, "deep").values():
        batch.run(bench.archive, [one])
    with bench.archive.ledger.read() as tx:
        assert tx.dataset(received.id).look_at == bench.now


def test_a_store_that_was_away_is_no_reason_to_give_up(bench: Bench, received: Dataset, monkeypatch: pytest.MonkeyPatch):
    trouble: list[Exception] = [StoreUnavailable("The store is away.", "It comes back.")] * (2 * bench.archive.settings.worker.tries)
    trouble += [OSError("no room")] * (bench.archive.settings.worker.tries - 1)
    copy_from, begin_copy = Tier.copy_from, Tier.begin_copy

    def broken(copy: Callable[..., Any]) -> Callable[..., Any]:
        def copied(tier: Tier, source: Tier, key: str, *rest: Any) -> Any:
            if key.endswith("scan 03.bin") and tier.name == "archive" and trouble:
                raise trouble.pop(0)
            return copy(tier, source, key, *rest)

        return copied

    monkeypatch.setattr(Tier, "copy_from", broken(copy_from))
    monkeypatch.setattr(Tier, "begin_copy", broken(begin_copy))
    while trouble:
        bench.settle()
        (one,) = transfers(bench.archive.ledger, received, "archive").values()
        assert one.state is TransferState.FAILED
        bench.turn(minutes=10)
    assert (one.attempts, one.faults) == (14, 4)
    trouble.append(OSError("no room"))
    bench.settle()
    (one,) = transfers(bench.archive.ledger, received, "archive").values()
    assert one.state is TransferState.QUARANTINED
    assert one.faults == bench.archive.settings.worker.tries


def test_files_that_arrive_together_are_written_down_together(bench: Bench, commits: list[list[str]]):
    dataset = bench.ingest("run1", {**FILES, "large.h5": bytes(batch.BELOW_BYTES)})
    for state in ("planned", "copying", "verifying", "proven"):
        counts = [states.count(f"transfer.{state}") for states in commits]
        assert sum(counts) == len(FILES) + 2, state  # the manifest too
        assert max(counts) == len(FILES), state
    assert {path: bench.read(dataset, path) for path in FILES} == FILES
    assert check(bench.archive) == []


def test_an_answer_that_was_lost_is_not_taken_for_a_foreign_object(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    """What stands at the key was put there by the same step: it is looked at, cleared away and sent anew."""
    begin_put = Tier.begin_put

    def lost(tier: Tier, key: str, content: bytes, *rest: Any) -> Callable[[], str]:
        begin_put(tier, key, content, *rest)()
        return begin_put(tier, key, content, *rest)  # finds what the first has put there

    monkeypatch.setattr(Tier, "begin_put", lost)
    dataset = bench.ingest("run1", FILES)
    assert {path: bench.read(dataset, path) for path in FILES} == FILES
    for path in FILES:
        assert len(bench.archive.tiers["hot"].standing(f"{dataset.prefix}/{path}")) == 1
    assert check(bench.archive) == []

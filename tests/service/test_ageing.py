"""The life of a dataset on the real store: received, copied on its first day, let go by age, brought back."""

from __future__ import annotations

from fixtures.archive import Bench

from archiver import policy, restore
from archiver.check import check
from archiver.model import RestoreState

FILES = {"a.bin": b"a" * 1000, "sub/b.bin": bytes(range(256)) * 40, "empty": b""}


def test_everything_is_written_where_it_will_end_up_on_the_first_day(bench: Bench):
    dataset = bench.ingest("run1", FILES)
    assert bench.tiers(dataset) == {"hot"}
    bench.settle()
    assert bench.tiers(dataset) == {"hot", "archive", "deep"}
    for tier in ("hot", "archive", "deep"):
        for path, content in FILES.items():
            assert bench.read(dataset, path, tier) == content, (tier, path)
    assert check(bench.archive) == []


def test_age_lets_go_of_hot_then_of_archive_and_a_stub_takes_the_place(bench: Bench):
    dataset = bench.ingest("run1", FILES)
    bench.settle()
    bench.turn(days=59)
    bench.settle()
    assert bench.tiers(dataset) == {"hot", "archive", "deep"}
    bench.turn(days=1, minutes=1)
    bench.settle()  # the stub comes first, a grace period before the drop
    assert bench.tiers(dataset) == {"hot", "archive", "deep"}
    assert f"{dataset.prefix}/NEVE-ARCHIVED.txt" in bench.keys("hot")
    bench.turn(hours=1, minutes=1)
    bench.settle()
    assert bench.tiers(dataset) == {"archive", "deep"}
    assert bench.keys("hot") == [f"{dataset.prefix}/NEVE-ARCHIVED.txt"]
    assert check(bench.archive) == []
    bench.turn(days=671)
    bench.settle()
    assert bench.tiers(dataset) == {"deep"}
    assert bench.keys("archive") == []
    assert bench.read(dataset, "sub/b.bin", "deep") == FILES["sub/b.bin"]
    assert check(bench.archive) == []


def _deep(bench: Bench):
    dataset = bench.ingest("run1", FILES)
    bench.settle()
    for days in (61, 670):
        bench.turn(days=days)
        bench.settle()
        bench.turn(hours=2)
        bench.settle()
    assert bench.tiers(dataset) == {"deep"}
    return dataset


def _restored(bench: Bench, asked):
    with bench.archive.ledger.read() as tx:
        return tx.restore(asked.id)


def test_a_restore_brings_everything_back_to_the_same_path_and_expires(bench: Bench):
    dataset = _deep(bench)
    asked = restore.request(bench.archive, "alice", "run1", None, 3, ["snow"])
    assert asked.state is RestoreState.REQUESTED
    assert asked.promised_by - asked.requested_at == policy.promise("deep", bench.archive.settings)
    bench.turn(hours=5)
    bench.settle()
    ready = _restored(bench, asked)
    assert ready.state is RestoreState.READY
    assert (ready.expires_at - ready.ready_at).days == 3
    assert ready.ready_at == bench.now  # days count from ready, not from the request
    for path, content in FILES.items():
        assert bench.read(dataset, path) == content
    assert not [k for k in bench.keys("hot") if k.endswith("NEVE-ARCHIVED.txt")]
    assert bench.tiers(dataset) == {"hot", "deep"}
    assert check(bench.archive) == []
    bench.turn(days=3, minutes=1)
    bench.settle()
    bench.turn(hours=2)
    bench.settle()
    assert _restored(bench, asked).state is RestoreState.EXPIRED
    assert bench.tiers(dataset) == {"deep"}
    assert bench.keys("hot") == [f"{dataset.prefix}/NEVE-ARCHIVED.txt"]
    assert check(bench.archive) == []


def test_part_of_a_dataset_comes_back_and_the_stub_stays(bench: Bench):
    dataset = _deep(bench)
    asked = restore.request(bench.archive, "alice", "saxs/run1", "sub/*", 3, None)
    bench.settle()
    assert _restored(bench, asked).state is RestoreState.READY
    assert bench.read(dataset, "sub/b.bin") == FILES["sub/b.bin"]
    assert bench.read(dataset, "a.bin") is None
    assert f"{dataset.prefix}/NEVE-ARCHIVED.txt" in bench.keys("hot")


def test_a_second_restore_keeps_it_when_the_first_ends(bench: Bench):
    dataset = _deep(bench)
    restore.request(bench.archive, "alice", "run1", None, 3, None)
    bench.settle()
    bench.turn(days=2)
    later = restore.request(bench.archive, "bob", "run1", None, 5, None)
    bench.settle()
    bench.turn(days=2)
    bench.settle()
    assert bench.tiers(dataset) == {"hot", "deep"}
    assert _restored(bench, later).state is RestoreState.READY


def test_a_cancelled_restore_claims_nothing(bench: Bench):
    dataset = _deep(bench)
    asked = restore.request(bench.archive, "alice", "run1", None, 3, None)
    restore.cancel(bench.archive, "alice", asked.id, None, admin=False)
    bench.settle()
    assert bench.tiers(dataset) == {"deep"}
    assert check(bench.archive) == []

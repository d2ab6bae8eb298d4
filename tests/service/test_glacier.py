"""The same code where copies are cold: GLACIER_IR for archive, DEEP_ARCHIVE for deep, on moto's server with restores that take time."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fixtures.archive import Bench, settings_toml
from fixtures.glacier import Glacier
from fixtures.processes import wait_until
from fixtures.store import S3Store

from archiver import erasure, names, recall, restore
from archiver.check import check
from archiver.model import ErasureState, Proof, RecallState, RestoreState, TransferState
from archiver.storage import NotReadable
from archiver.worker import Worker

MIB = 2**20
FILES = {"a.bin": b"a" * 1000, "sub/b c+%.bin": bytes(range(256)) * 40, "empty": b"", "parts.h5": random.Random(7).randbytes(5 * MIB + 99)}
AGO = timedelta(days=800)


@pytest.fixture
def cold(tmp_path: Path, moto_server: Glacier) -> Callable[..., Bench]:
    """`cold(hot)`: archive and deep on moto, hot there too or on another store; 800 days ago by the bench's clock."""
    made: list[Bench] = []

    def make(hot: S3Store | None = None, **deep: str) -> Bench:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        buckets = moto_server.buckets("hot", "archive", "deep")
        tiers = {"archive": {"storage_class": "GLACIER_IR"}, "deep": {"storage_class": "DEEP_ARCHIVE", "recall": "auto", **deep}}
        if hot is not None:
            buckets["hot"] = hot.buckets("hot")["hot"]
            for tier in ("archive", "deep"):
                tiers[tier]["endpoint_url"] = moto_server.endpoint_url
        text = settings_toml(home, hot or moto_server, buckets, **tiers)
        file = tmp_path / "neve.toml"
        file.write_text(text.replace("[worker]\n", f"[worker]\npart_bytes = {5 * MIB}\ncopy_in_parts_above_bytes = {5 * MIB}\n"), "utf-8")
        made.append(Bench(tmp_path, file, datetime.now(UTC) - AGO))
        return made[-1]

    yield make
    for bench in made:
        bench.archive.ledger.dispose()


def age_to_deep(bench: Bench) -> None:
    """Its data is 800 days old now: hot, then archive, let go."""
    bench.now = datetime.now(UTC) - timedelta(hours=3)
    bench.settle()
    bench.turn(hours=2)
    bench.settle()
    bench.now = datetime.now(UTC)


def state_after_work(bench: Bench, asked: int) -> RestoreState:
    Worker(bench.archive).settle()
    with bench.archive.ledger.read() as tx:
        return tx.restore(asked).state


def comes_back(bench: Bench, asked: int) -> list[RestoreState]:
    """Work until the restore is ready; the states seen on the way."""
    seen: list[RestoreState] = []

    def ready() -> bool:
        state = state_after_work(bench, asked)
        if state not in seen:
            seen.append(state)
        return state in {RestoreState.READY, RestoreState.PARTLY_READY, RestoreState.FAILED}

    wait_until(ready, 60, "the restore")
    return seen


def proofs(bench: Bench, tier: str) -> dict[str, tuple[str, Proof]]:
    with bench.archive.ledger.read() as tx:
        dataset = tx.find_dataset("run1")
        paths = {f.object_id: f.path for f in tx.files(dataset.id)}
        return {paths[c.object_id]: (c.storage_class, c.proof) for c in tx.copies(dataset.id) if c.tier == tier and c.object_id in paths}


@pytest.mark.parametrize("streamed", [False, True], ids=["copied by the store", "streamed between stores"])
def test_down_to_deep_archive_and_back(cold, store: S3Store, moto_server: Glacier, streamed: bool):
    moto_server.restores_take(3)
    bench = cold(store if streamed else None)
    dataset = bench.ingest("run1", FILES)
    bench.settle()
    assert bench.tiers(dataset) == {"hot", "archive", "deep"}
    assert check(bench.archive) == []
    assert set(proofs(bench, "archive").values()) == {("GLACIER_IR", Proof.READ_BACK)}
    deep = proofs(bench, "deep")
    assert {kind for kind, _ in deep.values()} == {"DEEP_ARCHIVE"}
    assert deep["parts.h5"][1] is Proof.STORE_CRC64NVME  # many parts: only a CRC is over the full object
    assert {deep[p][1] for p in FILES if p != "parts.h5"} == {Proof.STORE_SHA256}
    age_to_deep(bench)
    assert bench.tiers(dataset) == {"deep"}
    assert proofs(bench, "deep") == deep  # proven anew before the drop (older than the fixity period), the same way
    with bench.archive.ledger.read() as tx:
        cold_copy = next(c for c in tx.copies(dataset.id) if c.key.endswith("a.bin"))
    with pytest.raises(NotReadable):
        bench.archive.tiers["deep"].digest(cold_copy.key, cold_copy.version_id, 10)
    asked = restore.request(bench.archive, "alice", "run1", None, 3, None)
    assert state_after_work(bench, asked.id) is RestoreState.RECALLING
    assert bench.read(dataset, "a.bin") is None
    seen = comes_back(bench, asked.id)
    assert seen[0] is RestoreState.RECALLING
    assert seen[-1] is RestoreState.READY
    for path, content in FILES.items():
        assert bench.read(dataset, path) == content, path
    with bench.archive.ledger.read() as tx:
        kinds = [e.kind for e in tx.events(dataset.id)]
        assert set(tx.states()["transfer"]) == {"proven"}
    assert kinds.count("recall.asked") == kinds.count("recall.running") == len(FILES)
    assert kinds.index("restore.recalling") < kinds.index("restore.ready")
    assert check(bench.archive) == []


def test_the_manifest_is_never_cold(cold):
    bench = cold()
    dataset = bench.ingest("run1", FILES)
    bench.settle()
    age_to_deep(bench)
    for tier in ("archive", "deep"):
        head = bench.archive.tiers[tier].head(f".neve/manifests/{dataset.prefix}.json")
        assert (head.storage_class, head.readable) == ("STANDARD", True), tier


def test_small_requests_at_once_meet_what_is_cold(cold):
    bench = cold()
    hot, deep = bench.archive.tiers["hot"], bench.archive.tiers["deep"]
    made = deep.begin_copy(hot, "k", hot.put_text("k", "ours"), "DEEP_ARCHIVE")()
    head = deep.head("k", made)
    assert (head.storage_class, head.readable, head.sha256) == ("DEEP_ARCHIVE", False, hashlib.sha256(b"ours").hexdigest())
    with pytest.raises(NotReadable):
        deep.begin_read("k", made)()


def test_a_batch_of_mixed_classes(cold, tmp_path: Path):
    """One file lies in deep as STANDARD (from before the class was set): it is not recalled, and does not stop the others."""
    bench = cold(storage_class="STANDARD")
    bench.ingest("run1", {"early.bin": b"early"})
    bench.settle()
    file = tmp_path / "neve.toml"
    file.write_text(file.read_text("utf-8").replace('storage_class = "STANDARD"', 'storage_class = "DEEP_ARCHIVE"'), "utf-8")
    later = Bench(tmp_path, file, bench.now)
    early = later.ingest("run2", {"late.bin": b"late", "later.bin": b"later"})
    later.settle()
    # One dataset of both kinds: the copy of late.bin is made again under the older class.
    with later.archive.ledger.begin() as tx:
        copy = next(c for c in tx.copies(early.id) if c.tier == "deep" and c.key.endswith("late.bin"))
        later.archive.tiers["deep"].delete_version(copy.key, copy.version_id)
        tx.lose_copy(copy, early.id, "a test took it")
    bench.settle()
    age_to_deep(later)
    assert later.tiers(early) == {"deep"}
    asked = [restore.request(later.archive, "alice", name, None, 3, None) for name in ("run1", "run2")]
    assert state_after_work(later, asked[0].id) is RestoreState.READY
    with later.archive.ledger.read() as tx:
        assert len(tx.recalls_under_way()) == 1
    assert later.read(early, "late.bin") == b"late"
    assert later.read(early, "later.bin") is None
    assert comes_back(later, asked[1].id)[-1] is RestoreState.READY
    assert later.read(early, "later.bin") == b"later"
    later.archive.ledger.dispose()


def test_a_second_restore_joins_the_running_recall(cold, moto_server: Glacier):
    moto_server.restores_take(4)
    bench = cold()
    dataset = bench.ingest("run1", {"a": b"a", "b": b"b"})
    bench.settle()
    age_to_deep(bench)
    first = restore.request(bench.archive, "alice", "run1", None, 3, None)
    bench.settle()
    second = restore.request(bench.archive, "bob", "run1", "a", 5, None)
    assert state_after_work(bench, second.id) is RestoreState.RECALLING
    with bench.archive.ledger.read() as tx:
        assert len(tx.recalls_under_way()) == 2  # one for each copy, whoever waits
        copy = tx.copy(tx.recalls_under_way()[0].copy_id)
    # The store itself answers 409 RestoreAlreadyInProgress: asked by a process that died before it could write it down.
    assert bench.archive.tiers["deep"].ask_recall(copy.key, copy.version_id) is True
    assert comes_back(bench, second.id)[-1] is RestoreState.READY
    assert comes_back(bench, first.id)[-1] is RestoreState.READY
    with bench.archive.ledger.read() as tx:
        assert [e.kind for e in tx.events(dataset.id)].count("recall.asked") == 2


def test_a_recall_that_was_cut_short_before_it_was_written_down_is_joined(cold, moto_server: Glacier):
    moto_server.restores_take(3)
    bench = cold()
    bench.ingest("run1", {"a": b"a"})
    bench.settle()
    age_to_deep(bench)
    asked = restore.request(bench.archive, "alice", "run1", None, 3, None)
    worker = Worker(bench.archive)
    worker.turn()  # plans the transfer, which finds its source cold and writes the recall down
    wait_until(lambda: worker.turn() is not None and _recalls(bench), 20, "a recall")
    with bench.archive.ledger.read() as tx:
        one = tx.recalls_under_way()[0]
        copy = tx.copy(one.copy_id)
    bench.archive.tiers["deep"].ask_recall(copy.key, copy.version_id)
    assert comes_back(bench, asked.id)[-1] is RestoreState.READY


def _recalls(bench: Bench) -> list[RecallState]:
    with bench.archive.ledger.read() as tx:
        return [r.state for r in tx.recalls_under_way()]


def test_a_recall_that_lapsed_is_asked_anew(cold, moto_server: Glacier):
    """The ledger believes the copy readable, the store does not: copying turns back to recalling and asks again."""
    moto_server.restores_take(1)
    bench = cold()
    dataset = bench.ingest("run1", {"a": b"a"})
    bench.settle()
    age_to_deep(bench)
    asked = restore.request(bench.archive, "alice", "run1", None, 3, None)
    with bench.archive.ledger.begin() as tx:
        copy = next(c for c in tx.copies(dataset.id) if c.key.endswith("/a"))
        one = tx.recall_for(copy, dataset.id)
        tx.change("recall", one, RecallState.READABLE, readable_until=bench.now + timedelta(hours=1))
        obj = tx.object(copy.object_id)
        transfer = tx.transfer(tx.plan_transfer(obj, "hot", source_copy_id=copy.id))
        tx.change("transfer", transfer, TransferState.COPYING, recall_id=one.id)
    assert comes_back(bench, asked.id)[-1] is RestoreState.READY
    with bench.archive.ledger.read() as tx:
        kinds = [e.kind for e in tx.events(dataset.id)]
        assert tx.recall(one.id).state is RecallState.LAPSED
    assert kinds.count("recall.asked") == 2
    assert bench.read(dataset, "a") == b"a"


def test_a_recall_that_lapsed_while_its_transfer_waited(cold):
    bench = cold(recall_keep="P1D")
    dataset = bench.ingest("run1", {"a": b"a"})
    bench.settle()
    age_to_deep(bench)
    asked = restore.request(bench.archive, "alice", "run1", None, 3, None)
    assert state_after_work(bench, asked.id) is RestoreState.RECALLING

    def readable() -> bool:
        with bench.archive.ledger.read() as tx:
            one = tx.recalls_under_way()[0]
        return recall.advance(bench.archive, one) is RecallState.READABLE

    wait_until(readable, 30, "the recall")
    bench.turn(days=2)
    with bench.archive.ledger.read() as tx:
        one = tx.recalls_under_way()[0]
    assert recall.advance(bench.archive, one) is RecallState.LAPSED
    assert comes_back(bench, asked.id)[-1] is RestoreState.READY
    assert bench.read(dataset, "a") == b"a"


def test_a_cold_copy_that_vanished_ends_its_recall_and_says_so(cold, moto_server: Glacier):
    """Nothing waits for ever for a copy that is gone: the restore of it fails with the reason."""
    moto_server.restores_take(0)
    bench = cold()
    dataset = bench.ingest("run1", {"a": b"a", "b": b"b"})
    bench.settle()
    age_to_deep(bench)
    moto_server.restores_take(60)
    asked = restore.request(bench.archive, "alice", "run1", None, 3, None)
    assert state_after_work(bench, asked.id) is RestoreState.RECALLING
    with bench.archive.ledger.read() as tx:
        copy = next(c for c in tx.copies(dataset.id) if c.key.endswith("/a"))
    bench.archive.tiers["deep"].delete_version(copy.key, copy.version_id)
    moto_server.restores_take(0)

    def ended() -> bool:
        bench.turn(minutes=1)
        return state_after_work(bench, asked.id) in {RestoreState.READY, RestoreState.PARTLY_READY, RestoreState.FAILED}

    wait_until(ended, 60, "the restore's end")
    with bench.archive.ledger.read() as tx:
        assert tx.restore(asked.id).state is RestoreState.PARTLY_READY
        assert "copy.lost" in [e.kind for e in tx.events(dataset.id)]
        assert set(tx.states()["recall"]) <= {"readable", "lapsed"}
    assert bench.read(dataset, "b") == b"b"


def test_what_survives_an_erasure_is_recalled_and_bundled_again(cold, moto_server: Glacier):
    moto_server.restores_take(2)
    bench = cold(bundles=True)
    dataset = bench.ingest("run1", FILES)
    bench.settle()
    age_to_deep(bench)
    with bench.archive.ledger.read() as tx:
        assert {c.tier for c in tx.copies(dataset.id)} == {"archive", "deep"}, "archive has the manifest"
    asked = erasure.request(bench.archive, "ana", "run1", "sub/*", "consent was withdrawn")
    erasure.approve(bench.archive, "ben", asked.id)

    def ended() -> bool:
        bench.settle()
        bench.turn(hours=2)  # survivors leave hot again after their grace
        with bench.archive.ledger.read() as tx:
            return tx.erasure(asked.id).state is ErasureState.ERASED and not tx.drops(dataset.id)

    wait_until(ended, 60, "the erasure")
    bench.settle()
    assert check(bench.archive) == []
    new = names.bundle_key(dataset.prefix, 2)
    assert bench.keys("deep") == sorted([new, f"{dataset.prefix}/parts.h5"])
    assert bench.keys("hot") == [f"{dataset.prefix}/NEVE-ARCHIVED.txt"]
    with bench.archive.ledger.read() as tx:
        copy = next(c for c in tx.copies(dataset.id) if c.key == new)
    assert (copy.storage_class, copy.proof) == ("DEEP_ARCHIVE", Proof.STORE_SHA256)
    back = restore.request(bench.archive, "alice", "run1", "empty", 3, None)
    comes_back(bench, back.id)
    assert bench.read(dataset, "empty") == b""

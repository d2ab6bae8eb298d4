"""Bundles: small files lie in archive and deep as members of a few objects, and every rule counts them through their bundle."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator

import pytest
from fixtures.archive import Bench

from archiver import describe, restore, transfer
from archiver.check import check
from archiver.ledger.searching import Query
from archiver.model import Dataset, ObjectKind, RestoreState, TransferState
from archiver.worker import Worker

SMALL = {f"part/{n:02}.csv": f"{n},1\n".encode() * (n + 1) for n in range(12)} | {"empty.log": b"", "ü ber+%.txt": b"odd name"}
LARGE = {"large.h5": b"\x89HDF\r\n" + b"L" * 1_200_000}


@pytest.fixture
def bundling(bench_on: Callable[..., Bench]) -> Iterator[Bench]:
    """An archive whose archive and deep take bundles; deep is recalled always, as a robot would."""
    made = bench_on(archive={"bundles": True}, deep={"bundles": True, "recall": "always", "recall_wait": "PT0.1S"})
    yield made
    made.give_back()


def bundles(bench: Bench, dataset: Dataset):
    with bench.archive.ledger.read() as tx:
        found = [o for o in tx.objects(dataset.id) if o.kind is ObjectKind.BUNDLE]
        return found, {o.id: tx.copies_of(o.id) for o in found}


def settle_restores(bench: Bench, restore_id: int) -> RestoreState:
    for _ in range(40):
        bench.turn(seconds=1)
        bench.settle()
        with bench.archive.ledger.read() as tx:
            asked = tx.restore(restore_id)
        if asked.ready_at or asked.ended_at:
            break
    return asked.state


def test_small_files_lie_in_one_tar_and_large_ones_by_themselves(bundling: Bench):
    dataset = bundling.ingest("run1", SMALL | LARGE)
    bundling.settle()
    made, copies = bundles(bundling, dataset)
    assert len(made) == 1
    key = f"{dataset.prefix}/NEVE-BUNDLE-00001.tar"
    for tier in ("archive", "deep"):
        assert bundling.keys(tier) == sorted([key, f"{dataset.prefix}/large.h5"])
        copy = next(c for c in copies[made[0].id] if c.tier == tier)
        body = b"".join(bundling.archive.tiers[tier].read(key, copy.version_id))
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            assert {m.name: (tar.extractfile(m) or io.BytesIO()).read() for m in tar.getmembers()} == SMALL
    assert check(bundling.archive) == []

    # what people and programs are told: every file is in every tier, and where its bytes begin
    with bundling.archive.ledger.read() as tx:
        document = describe.dataset_in_full(tx, bundling.archive.settings, tx.dataset(dataset.id))
        assert document["tiers"] == ["hot", "archive", "deep"]
        assert [d.id for d in tx.search(Query(tier="hot"), 10)] == [dataset.id]
    for file in document["files"]:
        for copy in file["copies"]:
            start = copy["offset_bytes"] or 0
            got = b"".join(bundling.archive.tiers[copy["tier"]].read(copy["key"], copy["version_id"], start, copy["size_bytes"]))
            assert got == (SMALL | LARGE)[file["path"]], (file["path"], copy["tier"])

    # the manifest alone says where each member lies (Law 6)
    manifest = json.loads(b"".join(read_manifest(bundling, dataset)))
    keys = {f["key"]: f["path"] for f in manifest["files"]}
    (said,) = manifest["bundles"]
    assert said["key"] == key
    assert said["size_bytes"] == len(body)
    for member in said["members"]:
        content = SMALL[keys[member["key"]]]
        assert body[member["offset_bytes"] : member["offset_bytes"] + len(content)] == content


def read_manifest(bench: Bench, dataset: Dataset) -> Iterator[bytes]:
    tier = bench.archive.tiers["deep"]
    key = f".neve/manifests/{dataset.prefix}.json"
    head = tier.head(key)
    assert head is not None
    return tier.read(key, head.version_id)


def test_hot_is_let_go_and_one_member_comes_back_from_deep_byte_for_byte(bundling: Bench):
    dataset = bundling.ingest("run1", SMALL | LARGE)
    bundling.settle()
    for days, tiers in ((61, {"archive", "deep"}), (700, {"deep"})):
        bundling.turn(days=days)
        bundling.settle()
        bundling.turn(hours=2)  # the grace after the stub
        bundling.settle()
        with bundling.archive.ledger.read() as tx:
            document = describe.datasets(tx, bundling.archive.settings, [tx.dataset(dataset.id)])[0]
        assert set(document["tiers"]) == tiers
    assert bundling.keys("hot") == [f"{dataset.prefix}/NEVE-ARCHIVED.txt"]
    assert bundling.keys("archive") == []
    assert check(bundling.archive) == []

    asked = restore.request(bundling.archive, "alice", "run1", "part/0[3-5].csv", 2, None)
    assert settle_restores(bundling, asked.id) is RestoreState.READY
    for path in ("part/03.csv", "part/04.csv", "part/05.csv"):
        assert bundling.read(dataset, path) == SMALL[path]
    assert bundling.read(dataset, "part/06.csv") is None
    with bundling.archive.ledger.read() as tx:
        recalled = tx.states()["recall"]
    assert sum(recalled.values()) == 1, "three members of one bundle share its recall"
    bundling.turn(days=3)
    bundling.settle()
    assert bundling.keys("hot") == [f"{dataset.prefix}/NEVE-ARCHIVED.txt"]

    whole = restore.request(bundling.archive, "alice", "run1", None, 2, None)
    assert settle_restores(bundling, whole.id) is RestoreState.READY
    assert {path: bundling.read(dataset, path) for path in SMALL | LARGE} == SMALL | LARGE
    assert check(bundling.archive) == []


def test_a_bundle_that_is_lost_is_built_again_the_same(bundling: Bench):
    dataset = bundling.ingest("run1", SMALL)
    bundling.settle()
    (made,), copies = bundles(bundling, dataset)
    lost = next(c for c in copies[made.id] if c.tier == "archive")
    bundling.admin["archive"].delete_version(lost.key, lost.version_id)
    with bundling.archive.ledger.begin() as tx:
        tx.lose_copy(lost, dataset.id, "a test took it")
    bundling.settle()
    (again,), copies = bundles(bundling, dataset)
    assert {c.tier for c in copies[made.id]} == {"archive", "deep"}
    assert again.sha256 == made.sha256, "from hot, not from deep, which would have to be recalled"
    with bundling.archive.ledger.read() as tx:
        assert tx.states()["recall"] == {}


def test_a_member_that_went_bad_in_hot_before_it_was_bundled_is_shouted_not_packed(bundling: Bench):
    dataset = bundling.ingest("run1", SMALL)
    with bundling.archive.ledger.begin() as tx:
        bad = next(f for f in tx.files(dataset.id) if f.path == "part/07.csv")
        tx.update_file(bad.id, sha256="0" * 64)  # as if the bytes were no longer those that arrived
    for _ in range(8):
        bundling.turn(hours=1)
        bundling.settle()
    with bundling.archive.ledger.read() as tx:
        given_up = [t for t in tx.transfers(dataset.id) if t.state is TransferState.QUARANTINED]
        problem = tx.problems([dataset.id])
    assert [("part/07.csv in hot reads as" in (t.error or "")) for t in given_up] == [True]
    assert "part/07.csv" in problem[dataset.id]
    assert bundling.keys("archive") == []
    bundling.turn(days=90)
    bundling.settle()
    assert bundling.read(dataset, "part/00.csv") == SMALL["part/00.csv"], "nothing leaves hot before its bundle is proven"


def test_a_build_that_was_cut_short_after_its_upload_goes_on(bundling: Bench, monkeypatch: pytest.MonkeyPatch):
    dataset = bundling.ingest("run1", SMALL)
    worker = Worker(bundling.archive)
    worker._plan()
    with bundling.archive.ledger.read() as tx:
        (planned,) = [t for t in tx.transfers(dataset.id) if t.key.endswith(".tar")]
    real = bundling.archive.ledger.begin

    calls = iter(range(100))

    def breaks(*args, **kwargs):
        if next(calls) == 1:
            raise OSError("power cut")  # after the upload, before the ledger knows
        return real(*args, **kwargs)

    monkeypatch.setattr(bundling.archive.ledger, "begin", breaks)
    transfer.run(bundling.archive, planned)
    monkeypatch.undo()
    bundling.turn(hours=1)
    bundling.settle()
    (made,), copies = bundles(bundling, dataset)
    assert {c.tier for c in copies[made.id]} == {"archive", "deep"}
    assert check(bundling.archive) == []


def test_while_a_dataset_is_open_large_files_are_copied_on_and_small_ones_wait(bundling: Bench):
    from archiver import app, reception

    folder = bundling.write("run1", SMALL | LARGE)
    app.send(bundling.archive, "snow", "saxs", "run1", reception.scan([folder]))
    bundling.settle()
    with bundling.archive.ledger.read() as tx:
        dataset = tx.find_dataset("run1")
    assert dataset.state == "open"
    assert bundling.keys("archive") == bundling.keys("deep") == [f"{dataset.prefix}/large.h5"]
    bundling.ingest("run1", SMALL | LARGE)
    bundling.settle()
    assert bundling.keys("archive") == sorted([f"{dataset.prefix}/NEVE-BUNDLE-00001.tar", f"{dataset.prefix}/large.h5"])
    assert check(bundling.archive) == []

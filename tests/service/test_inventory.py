"""Each tier is compared with the ledger, both ways; every difference has its answer, and what goes on meanwhile is none."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from fixtures.archive import Bench, settings_toml
from fixtures.store import S3Store
from typer.testing import CliRunner

from archiver import inventory, losses, transfer
from archiver.api.health import Health
from archiver.archive import STUB_NAME
from archiver.check import check
from archiver.cli import cli
from archiver.errors import StoreUnavailable
from archiver.model import Copy, Dataset, TransferState
from archiver.storage import Tier

FILES = {"a.bin": b"a" * 1000, "sub/b.bin": bytes(range(256)) * 40}
NUMBER = itertools.count(1)


@pytest.fixture(scope="module")
def bench(store: S3Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One archive for all tests here; each has a dataset of its own and leaves no difference behind."""
    folder = tmp_path_factory.mktemp("inventory")
    home = folder / "home"
    home.mkdir()
    file = folder / "neve.toml"
    file.write_text(settings_toml(home, store, store.buckets("hot", "archive", "deep")), "utf-8")
    made = Bench(folder, file)
    yield made
    made.give_back()


@pytest.fixture
def dataset(bench: Bench) -> Iterator[Dataset]:
    made = bench.ingest(f"run{next(NUMBER)}", FILES)
    bench.settle()
    yield made
    for _ in range(3):  # what a test has broken is mended
        losses.settle(bench.archive)
        bench.settle()
        if not findings(bench) and not check(bench.archive):
            break
        bench.turn(minutes=10)
        listed(bench, *{tier for tier, _, _ in findings(bench)})
    assert findings(bench) == []
    assert check(bench.archive) == []


def copy_in(bench: Bench, dataset: Dataset, tier: str, name: str = "a.bin") -> Copy:
    with bench.archive.ledger.read() as tx:
        return next(c for c in tx.copies(dataset.id) if c.tier == tier and c.key.endswith(f"/{name}"))


def listed(bench: Bench, *tiers: str) -> dict[str, dict[str, int]]:
    """Full listings, now: the counts by tier."""
    return {tier: inventory.full(bench.archive, tier)["counts"] for tier in tiers}


def findings(bench: Bench) -> list[tuple[str, str, str]]:
    with bench.archive.ledger.read() as tx:
        return [(f.tier, f.kind, f.key) for f in tx.findings()]


def events(bench: Bench, dataset: Dataset) -> list[str]:
    with bench.archive.ledger.read() as tx:
        return [e.kind for e in tx.events(dataset.id)]


def put(bench: Bench, tier: str, key: str, body: bytes = b"other") -> str:
    """Somebody else's version."""
    store = bench.admin[tier]
    return str(store.client.put_object(Bucket=store.bucket, Key=key, Body=body).get("VersionId", "null"))


def delete(bench: Bench, tier: str, key: str) -> None:
    """Somebody deletes by key: a delete marker."""
    store = bench.admin[tier]
    store.client.delete_object(Bucket=store.bucket, Key=key)


def test_nothing_is_found_where_all_is_right_and_the_listing_is_noted(bench: Bench, dataset: Dataset):
    counts = listed(bench, *bench.archive.tiers)
    with bench.archive.ledger.read() as tx:
        note = json.loads(tx.note("listing.deep") or "{}")
    assert findings(bench) == []
    assert set(counts["archive"]) == {"right", "records"}
    assert counts["archive"]["right"] == counts["deep"]["right"] >= 3  # two files and a manifest
    assert note["began_at"] == note["ended_at"] == bench.now.isoformat()
    assert note["counts"] == counts["deep"]


@pytest.mark.parametrize("tier", ["hot", "deep"])
def test_a_copy_that_is_not_in_the_store_is_made_anew(bench: Bench, dataset: Dataset, tier: str):
    lost = copy_in(bench, dataset, tier)
    bench.admin[tier].delete_version(lost.key, lost.version_id)
    assert listed(bench, tier)[tier]["lost"] == 1
    assert findings(bench) == [(tier, "lost", lost.key)]
    bench.settle()
    assert bench.read(dataset, "a.bin", tier) == FILES["a.bin"]
    assert copy_in(bench, dataset, tier).id != lost.id


def test_a_copy_of_another_size_is_made_anew(bench: Bench, dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    short = copy_in(bench, dataset, "archive")
    real = Tier.head

    def head(tier: Tier, key: str, version_id: str | None = None):
        found = real(tier, key, version_id)
        return dataclasses.replace(found, size_bytes=7) if found and tier.name == "archive" and key == short.key else found

    with monkeypatch.context() as patch:
        patch.setattr(Tier, "head", head)
        assert listed(bench, "archive")["archive"]["damaged"] == 1
    assert "copy.lost" in events(bench, dataset)
    bench.settle()
    bench.turn(minutes=10)
    bench.settle()
    assert bench.admin["archive"].head(short.key, short.version_id) is None
    assert bench.read(dataset, "a.bin", "archive") == FILES["a.bin"]


@pytest.mark.parametrize(("tier", "cover"), [("hot", "a version"), ("hot", "both"), ("archive", "a version"), ("archive", "a delete marker")])
def test_what_covers_our_copy_ends_once_ours_is_proven(bench: Bench, dataset: Dataset, tier: str, cover: str):
    ours = copy_in(bench, dataset, tier)
    if cover != "a delete marker":
        put(bench, tier, ours.key)
    if cover != "a version":
        delete(bench, tier, ours.key)
    assert bench.read(dataset, "a.bin", tier) != FILES["a.bin"]
    assert listed(bench, tier)[tier]["covered"] == 1
    if tier != "hot":  # the reaper ends it
        assert findings(bench) == [(tier, "covered", ours.key)]
        health = Health(bench.archive)
        assert {c.name for c in health.look().checks if not c.ok} == {"copies"}
        health.close()
        bench.settle()
        inventory.run(bench.archive)  # the chore, long before the next listing
    assert findings(bench) == []
    assert bench.read(dataset, "a.bin", tier) == FILES["a.bin"]
    assert copy_in(bench, dataset, tier) == dataclasses.replace(ours, proven_at=copy_in(bench, dataset, tier).proven_at)
    assert "key.cleared" in events(bench, dataset)
    assert "copy.lost" not in events(bench, dataset)


def test_what_covers_a_copy_that_cannot_be_proven_is_left(bench: Bench, dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    ours = copy_in(bench, dataset, "hot")
    theirs = put(bench, "hot", ours.key, b"other" * 200)

    def away(*_: object):
        raise StoreUnavailable("The store is away.", "Wait.")

    with monkeypatch.context() as patch:
        patch.setattr(inventory, "prove", away)
        with pytest.raises(StoreUnavailable):
            listed(bench, "hot")
    assert bench.admin["hot"].head(ours.key, theirs) is not None
    with bench.archive.ledger.begin() as tx:
        tx.set_note("hold-drops", "rebuilt")
    listed(bench, "hot")  # after a rebuild nothing is ended
    assert bench.admin["hot"].head(ours.key, theirs) is not None
    with bench.archive.ledger.begin() as tx:
        tx.forget_note("hold-drops")
    listed(bench, "hot")
    assert bench.admin["hot"].head(ours.key, theirs) is None


def test_foreign_objects_are_left_alone_and_folder_markers_and_records_are_none(bench: Bench, dataset: Dataset):
    foreign = ["elsewhere/x.txt", f"{dataset.prefix}/not-ours.bin", ".neve/other", f"{dataset.prefix}-1/y"]
    for key in foreign:
        put(bench, "archive", key)
    put(bench, "archive", f"{dataset.prefix}/folder/", b"")
    put(bench, "archive", ".neve/anchors/2026-03-01.json")
    put(bench, "archive", f"{dataset.prefix}/{STUB_NAME}")  # only hot has stubs
    counts = listed(bench, "archive")["archive"]
    assert (counts["foreign"], counts["folder markers"]) == (5, 1)
    assert counts["records"] >= 2  # and the location record of each dataset so far
    assert {key for _, kind, key in findings(bench) if kind == "foreign"} == {*foreign, f"{dataset.prefix}/{STUB_NAME}"}
    for key in foreign:
        assert b"".join(bench.admin["archive"].read(key, "null")) == b"other"
    shown = CliRunner().invoke(cli, ["--config", str(bench.settings_file), "inventory", "--tier", "archive", "--json"])
    assert json.loads(shown.stdout)["archive"]["open"] == {"foreign": 5}
    for key in [*foreign, f"{dataset.prefix}/{STUB_NAME}", f"{dataset.prefix}/folder/", ".neve/anchors/2026-03-01.json"]:
        bench.admin["archive"].delete_all_versions(key)
    listed(bench, "archive")
    assert findings(bench) == []


@pytest.mark.parametrize("tier", ["hot", "deep"])
def test_a_version_of_ours_that_nobody_counts_on_ends_if_its_bytes_are_elsewhere(bench: Bench, dataset: Dataset, tier: str):
    left = copy_in(bench, dataset, tier)
    with bench.archive.ledger.begin() as tx:
        tx.lose_copy(left, dataset.id, "a test took it")
    assert listed(bench, tier)[tier]["leftover"] == 1
    bench.settle()
    bench.turn(minutes=10)
    bench.settle()
    assert bench.admin[tier].head(left.key, left.version_id) is None
    assert bench.read(dataset, "a.bin", tier) == FILES["a.bin"]


def test_bytes_of_ours_that_are_nowhere_else_are_adopted(bench: Bench, dataset: Dataset):
    copies = [copy_in(bench, dataset, tier) for tier in bench.archive.tiers]
    with bench.archive.ledger.begin() as tx:
        for copy in copies:
            tx.lose_copy(copy, dataset.id, "a test took it")
    assert listed(bench, "deep")["deep"]["leftover"] == 1
    assert copy_in(bench, dataset, "deep").version_id == copies[2].version_id
    assert "copy.adopted" in events(bench, dataset)


def test_a_strangers_version_at_a_key_of_ours_is_left_alone(bench: Bench, dataset: Dataset):
    gone = copy_in(bench, dataset, "deep")
    bench.admin["deep"].delete_version(gone.key, gone.version_id)
    put(bench, "deep", gone.key)
    with bench.archive.ledger.begin() as tx:
        tx.lose_copy(gone, dataset.id, "a test took it")
    assert listed(bench, "deep")["deep"]["foreign"] == 1
    assert b"".join(bench.admin["deep"].read(gone.key, bench.admin["deep"].head(gone.key).version_id)) == b"other"
    bench.admin["deep"].delete_all_versions(gone.key)


def test_what_is_under_way_is_no_difference(bench: Bench, dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    lost = copy_in(bench, dataset, "archive")
    bench.admin["archive"].delete_version(lost.key, lost.version_id)
    with bench.archive.ledger.begin() as tx:
        tx.lose_copy(lost, dataset.id, "a test took it")
        obj = tx.object(lost.object_id)
        number = tx.plan_transfer(obj, "archive", source_copy_id=next(c.id for c in tx.copies_of(obj.id) if c.tier == "hot"))
    monkeypatch.setattr(transfer, "_verify", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))  # the bytes lie there, unproven
    with bench.archive.ledger.read() as tx:
        planned = tx.transfer(number)
    with pytest.raises(KeyboardInterrupt):
        transfer.run(bench.archive, planned)
    with bench.archive.ledger.read() as tx:
        assert tx.transfer(number).state is TransferState.VERIFYING
    assert listed(bench, "archive")["archive"]["under way"] == 1
    # A drop under way: its version is gone, the ledger does not say so yet.
    leaving = copy_in(bench, dataset, "deep")
    bench.admin["deep"].delete_version(leaving.key, leaving.version_id)
    with bench.archive.ledger.begin() as tx:
        tx.plan_drop(leaving, dataset.id, "a test wants it")
    assert listed(bench, "deep")["deep"]["under way"] == 1
    assert findings(bench) == []
    with bench.archive.ledger.begin() as tx:
        tx.lose_copy(leaving, dataset.id, "a test took it")


def test_a_stub_that_is_missing_is_laid_again_and_one_too_many_is_taken_away(bench: Bench, dataset: Dataset):
    key = f"{dataset.prefix}/{STUB_NAME}"
    put(bench, "hot", key)
    assert listed(bench, "hot")["hot"]["stubs"] == 1
    bench.settle()
    assert bench.admin["hot"].head(key) is None
    bench.turn(days=61)
    for _ in range(2):
        bench.settle()
        bench.turn(hours=2)
    bench.settle()
    assert bench.tiers(dataset) == {"archive", "deep"}
    bench.admin["hot"].delete_all_versions(key)
    assert listed(bench, "hot")["hot"]["stub"] == 1
    assert ("hot", "stub", key) in findings(bench)
    bench.settle()
    assert bench.admin["hot"].head(key) is not None


def test_the_chore_goes_on_where_it_was_at_its_rate_and_comes_again_in_time(bench: Bench, dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    bench.turn(days=31)
    bench.settle()
    proof = bench.archive.settings.proof.model_copy(update={"listing_keys_per_s": 1})
    slow = dataclasses.replace(bench.archive, settings=bench.archive.settings.model_copy(update={"proof": proof}))
    monkeypatch.setattr(inventory, "EVERY", timedelta(seconds=3))
    monkeypatch.setattr(inventory, "_CHUNK", 2)
    real, pages = Tier.page, []

    def page(tier: Tier, token: str | None = None, prefix: str = ""):
        if not prefix:
            pages.append((tier.name, token))
        return real(tier, token, prefix)

    monkeypatch.setattr(Tier, "page", page)
    begun = bench.now
    lost = copy_in(bench, dataset, "deep", "b.bin")
    bench.admin["deep"].delete_version(lost.key, lost.version_id)
    phases = set()
    for runs in itertools.count(1):
        inventory.run(slow)  # each is a new process as far as it knows
        bench.turn(seconds=3)
        with bench.archive.ledger.read() as tx:
            phases |= {(tier, json.loads(note)["phase"]) for tier in slow.tiers if (note := tx.note(f"listing-cursor.{tier}"))}
            if all((inventory.last(tx, tier) or {"began_at": ""})["began_at"] >= begun.isoformat() for tier in slow.tiers):
                break
        assert runs < 500
    assert runs > 10
    assert [name for name, _ in pages] == ["hot", "archive", "deep"]  # no pass was begun anew
    assert {("hot", "copies"), ("archive", "copies"), ("deep", "copies")} <= phases
    assert ("deep", "lost", lost.key) in findings(bench)
    inventory.run(slow)
    assert len(pages) == 3
    bench.turn(days=27)
    inventory.run(slow)
    assert len(pages) == 4  # before 30 days are over


def test_by_hand(bench: Bench, dataset: Dataset):
    shown = CliRunner().invoke(cli, ["--config", str(bench.settings_file), "inventory", "--full"])
    assert shown.exit_code == 0, shown.output
    assert [line.split(":")[0] for line in shown.stdout.splitlines()] == ["hot", "archive", "deep"]
    assert " right" in shown.stdout

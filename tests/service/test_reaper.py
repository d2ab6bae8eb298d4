"""Who may end what outside hot: the everyday identity nothing, the reaper what the ledger says; locked versions only by the reaper."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from fixtures.archive import Bench, settings_toml
from fixtures.command import archiver
from fixtures.glacier import Glacier
from fixtures.store import S3Store

from archiver import app, reaper, restore, transfer
from archiver.check import check
from archiver.config import load
from archiver.doctor import examine
from archiver.errors import StoreUnavailable, WrongSetting
from archiver.guards import Guard
from archiver.identity import Identity
from archiver.model import Dataset, Transfer, TransferState
from archiver.storage import AlreadyThere, Tier
from archiver.worker import Worker

MIB = 2**20
COLD = ("archive", "deep")


# the everyday identity


@pytest.mark.parametrize("tier", COLD)
def test_the_everyday_identity_writes_outside_hot_and_ends_nothing(bench: Bench, tier: str):
    """Every way to delete is refused, in a batch inside the 200 answer; what it needs for its work is not, an upload's end included."""
    everyday = bench.archive.tiers[tier]
    version = everyday.put("p/a", 1, iter([b"a"]), "STANDARD")
    s3, bucket = everyday.client, everyday.bucket
    for more in ({}, {"VersionId": version}, {"VersionId": version, "BypassGovernanceRetention": True}):
        with pytest.raises(ClientError, match="AccessDenied"):
            s3.delete_object(Bucket=bucket, Key="p/a", **more)
    kept = everyday.delete_versions([("p/a", version), ("p/never", "0" * 32)])
    assert {key for key, _ in kept} == {"p/a", "p/never"}
    assert all("AccessDenied" in why for why in kept.values())
    with pytest.raises(StoreUnavailable, match="cannot be ended"):
        everyday.delete_version("p/a", version)
    for refused in (
        lambda: s3.delete_bucket(Bucket=bucket),
        lambda: s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"}),
        lambda: s3.put_bucket_lifecycle_configuration(
            Bucket=bucket,
            LifecycleConfiguration={"Rules": [{"ID": "x", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}]},
        ),
        lambda: s3.put_bucket_policy(Bucket=bucket, Policy="{}"),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            refused()
    upload = s3.create_multipart_upload(Bucket=bucket, Key="p/half")["UploadId"]
    s3.upload_part(Bucket=bucket, Key="p/half", UploadId=upload, PartNumber=1, Body=b"x")
    s3.abort_multipart_upload(Bucket=bucket, Key="p/half", UploadId=upload)
    assert not s3.list_multipart_uploads(Bucket=bucket).get("Uploads")
    size = bench.archive.tiers[tier].part_bytes(0) + 5
    large = everyday.put("p/large", size, iter([b"x" * (size - 5), b"y" * 5]), "STANDARD")
    assert everyday.head("p/large", large).size_bytes == size  # type: ignore[union-attr]
    hands = bench.reaping.tiers[tier]
    assert hands.delete_versions([("p/a", version), ("p/large", large)]) == {}
    assert everyday.head("p/a", version) is None


def test_the_reaper_ends_nothing_in_hot_and_writes_nothing(bench: Bench):
    version = bench.archive.tiers["hot"].put("p/a", 1, iter([b"a"]), "STANDARD")
    hands = bench.reaping.tiers
    assert list(hands["hot"].delete_versions([("p/a", version)])) == [("p/a", version)]
    for tier in ("hot", *COLD):
        with pytest.raises(StoreUnavailable):
            hands[tier].put("p/b", 1, iter([b"b"]), "STANDARD")
    bench.archive.tiers["hot"].delete_version("p/a", version)


def test_the_worker_leaves_drops_outside_hot_to_the_reaper(bench: Bench):
    dataset = bench.ingest("run1", {"a": b"a"})
    bench.settle()
    for hours in (61 * 24, 2, 700 * 24):
        bench.turn(hours=hours)
        Worker(bench.archive).settle()
    with bench.archive.ledger.read() as tx:
        assert tx.drops_waiting() == {"archive": 1}
    assert bench.keys("archive") == [f"{dataset.prefix}/a"]
    bench.settle()
    assert bench.tiers(dataset) == {"deep"}


def test_without_its_keys_the_reaper_says_so(bench: Bench, tmp_path: Path):
    named = tmp_path / "other.toml"
    named.write_text(bench.settings_file.read_text("utf-8").replace("[store]\n", '[store]\nreaper_profile = "nobody"\n'), "utf-8")
    answer = archiver("--config", named, "reaper", "--once")
    assert (answer.returncode, "has no profile 'nobody'" in answer.stderr) == (2, True), answer.stderr
    ending = next(f for f in examine(app.open_archive(load(named))) if f.what == "tier deep, ending")
    assert ending.ok
    assert "the everyday identity is refused" in ending.detail
    assert "not on this machine" in ending.detail
    bench.reaping.tiers["archive"].delete_all_versions(".neve/doctor")
    bench.reaping.tiers["deep"].delete_all_versions(".neve/doctor")


def test_doctor_finds_an_everyday_identity_that_may_delete(bench: Bench):
    """The settings name the admin's keys as the everyday ones: that is a finding; as they should be, all is well and no probe is left."""
    assert [f for f in examine(bench.archive) if not f.ok] == []
    store = bench.archive.settings.store.model_copy(update={"profile": "setup"})
    settings = bench.archive.settings.model_copy(update={"store": store})
    careless = replace(bench.archive, settings=settings, tiers={name: Tier(name, settings) for name in settings.tiers})
    bad = {f.what: f.detail for f in examine(careless) if not f.ok}
    assert set(bad) == {"tier archive, ending", "tier deep, ending"}
    assert "may delete" in bad["tier deep, ending"]
    for tier in ("hot", *COLD):
        answer = bench.admin[tier].client.list_object_versions(Bucket=bench.admin[tier].bucket, Prefix=".neve/doctor")
        assert not answer.get("Versions"), tier


# leftovers


def states_of(bench: Bench, dataset: Dataset) -> list[Transfer]:
    with bench.archive.ledger.read() as tx:
        return tx.transfers(dataset.id)


def spoilt_in_archive(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """A file whose copy in archive read back wrong once: the version stands there, unproven."""
    digest = Tier.digest

    def wrong(tier: Tier, key: str, *rest: Any):
        found = digest(tier, key, *rest)
        return replace(found, sha256="0" * 64) if tier.name == "archive" and key.endswith("/a") else found

    dataset = bench.ingest("run1", {"a": b"aa", "b": b"b"})
    monkeypatch.setattr(Tier, "digest", wrong)
    Worker(bench.archive).settle()
    monkeypatch.undo()
    return dataset


def test_an_unproven_version_waits_for_the_reaper_and_costs_no_attempt(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    dataset = spoilt_in_archive(bench, monkeypatch)
    for _ in range(10):  # more often than worker.tries
        bench.turn(minutes=10)
        Worker(bench.archive).settle()
    (waiting,) = states_of(bench, dataset)
    assert (waiting.state, waiting.attempts) == (TransferState.FAILED, 1)
    assert "reaper" in (waiting.error or "")
    with bench.archive.ledger.read() as tx:
        assert tx.leftovers_waiting() == 1
    bench.settle()
    bench.turn(minutes=10)
    bench.settle()
    assert bench.tiers(dataset) == {"hot", "archive", "deep"}
    assert bench.read(dataset, "a", "archive") == b"aa"
    with bench.archive.ledger.read() as tx:
        assert tx.leftovers_waiting() == 0
    answer = bench.archive.tiers["archive"].client.list_object_versions(Bucket=bench.archive.tiers["archive"].bucket)
    assert len([v for v in answer["Versions"] if v["Key"].endswith("/a")]) == 1
    assert check(bench.archive) == []


def test_a_version_that_the_ledger_counts_on_is_never_ended_as_a_leftover(bench: Bench):
    dataset = bench.ingest("run1", {"a": b"aa"})
    bench.settle()
    with bench.archive.ledger.begin() as tx:
        copies = [c for c in tx.copies(dataset.id) if c.tier in COLD]
        for copy in copies:
            tx.leave(copy.tier, copy.key, copy.version_id, "a test says so, and is wrong")
    bench.settle()
    for copy in copies:
        assert bench.archive.tiers[copy.tier].head(copy.key, copy.version_id) is not None
    with bench.archive.ledger.read() as tx:
        assert tx.leftovers_waiting() == 0
    assert check(bench.archive) == []
    copies = [copy for copy in copies if copy.key.endswith("/a")]
    with bench.archive.ledger.begin() as tx:  # later it is lost, and stands in the way
        for copy in copies:
            tx.lose_copy(copy, dataset.id, "a test says so")
            tx.leave(copy.tier, copy.key, copy.version_id, "it is damaged")
    for _ in range(3):
        bench.settle()
        bench.turn(minutes=10)
    for copy in copies:
        assert bench.archive.tiers[copy.tier].head(copy.key, copy.version_id) is None
    assert bench.tiers(dataset) == {"hot", "archive", "deep"}
    assert check(bench.archive) == []


def test_a_version_that_waits_for_the_reaper_never_becomes_a_copy(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    """One worker could not prove it, another could: it is not counted, for the reaper may be about to end it."""
    dataset = bench.ingest("run1", {"a": b"aa"})
    prove = transfer.prove

    def found_wanting_meanwhile(tier: Tier, obj, version_id: str, *rest: Any):
        proof = prove(tier, obj, version_id, *rest)
        if tier.name == "deep" and obj.key.endswith("/a"):
            with bench.archive.ledger.begin() as tx:
                tx.leave(tier.name, obj.key, version_id, "another worker could not prove it")
        return proof

    monkeypatch.setattr(transfer, "prove", found_wanting_meanwhile)
    Worker(bench.archive).settle()
    monkeypatch.undo()
    assert bench.tiers(dataset, "a") == {"hot", "archive"}
    assert states_of(bench, dataset)[0].state is TransferState.FAILED
    bench.settle()
    bench.turn(minutes=10)
    bench.settle()
    assert bench.tiers(dataset) == {"hot", "archive", "deep"}
    assert check(bench.archive) == []


def test_an_unproven_version_that_the_store_keeps_stays_written_down(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    spoilt_in_archive(bench, monkeypatch)
    hands = bench.reaping
    monkeypatch.setattr(Tier, "delete_versions", lambda _, versions: dict.fromkeys(versions, "AccessDenied"))
    assert reaper.clear(hands, hands.tiers["archive"], Guard(hands)) is False
    with bench.archive.ledger.read() as tx:
        assert tx.leftovers_waiting() == 1
    monkeypatch.undo()
    assert reaper.clear(hands, hands.tiers["archive"], Guard(hands)) is True


# locks


def locking(folder: Path, store: S3Store, *, bundles: bool) -> Bench:
    (folder / "home").mkdir()
    buckets = store.buckets("hot") | store.buckets("archive", "deep", lock=True)
    text = settings_toml(folder / "home", store, buckets, archive={"lock": "P30D", "bundles": bundles}, deep={"lock": "P1D", "bundles": bundles})
    file = folder / "neve.toml"
    file.write_text(text.replace("[worker]\n", f"[worker]\npart_bytes = {5 * MIB}\ncopy_in_parts_above_bytes = {5 * MIB}\n"), "utf-8")
    return Bench(folder, file, datetime.now(UTC))


@pytest.fixture(params=["seaweedfs", "seaweedfs, bundles", "moto"])
def locked(request: pytest.FixtureRequest, tmp_path: Path, store: S3Store, moto_server: Glacier) -> Iterator[Bench]:
    """An archive with locks of 30 days in archive and one day in deep, where the store has them."""
    bench = locking(tmp_path, moto_server if request.param == "moto" else store, bundles="bundles" in request.param)
    yield bench
    bench.archive.ledger.dispose()


def test_every_new_copy_is_locked_and_only_the_reaper_passes(locked: Bench):
    """One part, many parts, a manifest, a bundle: each is locked until its day; only the reaper's word passes it by, and then it goes."""
    dataset = locked.ingest("run1", {"small": b"small", "large": b"x" * (5 * MIB + 9), "empty": b""})
    locked.settle()
    with locked.archive.ledger.read() as tx:
        copies = [c for c in tx.copies(dataset.id) if c.tier in COLD]
    assert {c.key.rsplit("/", 1)[-1] for c in copies if c.tier == "deep"} >= {"large", "run1.json"}
    for copy in copies:
        tier, hands = locked.archive.tiers[copy.tier], locked.reaping.tiers[copy.tier]
        found = hands.client.head_object(Bucket=tier.bucket, Key=copy.key, VersionId=copy.version_id)
        assert found["ObjectLockMode"] == "GOVERNANCE", copy.key
        days = {"archive": 30, "deep": 1}[copy.tier]  # SeaweedFS copies the lock of what it copies, too
        assert found["ObjectLockRetainUntilDate"] > locked.now + timedelta(days=days, minutes=-5), copy.key
    copy = next(c for c in copies if c.key.endswith("/large"))
    version = [(copy.key, copy.version_id)]
    assert list(locked.archive.tiers[copy.tier].delete_versions(version, bypass=False)) == version
    assert list(locked.reaping.tiers[copy.tier].delete_versions(version, bypass=False)) == version
    assert locked.reaping.tiers[copy.tier].delete_versions(version) == {}
    assert locked.archive.tiers[copy.tier].head(copy.key, copy.version_id) is None


def test_a_locked_copy_whose_claim_ended_goes(tmp_path: Path, store: S3Store):
    """The real clock has not reached the lock's end: the reaper ends what nobody claims, locked or not. A lock never comes back to hot."""
    bench = locking(tmp_path, store, bundles=False)
    dataset = bench.ingest("run1", {"a": b"a"})
    bench.settle()
    bench.turn(days=731)
    for _ in range(2):
        bench.settle()
        bench.turn(hours=2)
    assert bench.tiers(dataset) == {"deep"}
    assert bench.keys("archive") == []
    restore.request(bench.archive, "alice", "run1", None, 1, None)
    bench.settle()
    assert bench.tiers(dataset) == {"hot", "deep"}
    bench.turn(days=2)
    for _ in range(2):
        bench.settle()
        bench.turn(hours=2)
    assert bench.tiers(dataset) == {"deep"}
    assert [f for f in examine(bench.archive) if not f.ok] == []
    bench.archive.ledger.dispose()


def test_setup_makes_buckets_that_lock_and_says_when_one_cannot(tmp_path: Path, store: S3Store):
    (tmp_path / "home").mkdir()
    file = tmp_path / "neve.toml"
    names = store.buckets("hot", "archive")
    names["deep"] = names["archive"].replace("archive", "deep")  # not there yet
    file.write_text(settings_toml(tmp_path / "home", store, names, deep={"lock": "P1D"}), "utf-8")
    made = app.setup(app.open_archive(load(file), check=False))
    assert f"bucket {names['deep']}" in made
    archive = app.open_archive(load(file))
    assert archive.tiers["deep"].can_lock()
    assert not archive.tiers["archive"].can_lock()
    file.write_text(file.read_text("utf-8").replace("[tiers.archive]\n", '[tiers.archive]\nlock = "P1D"\n'), "utf-8")
    with pytest.raises(WrongSetting, match="made without Object Lock"):
        app.setup(app.open_archive(load(file)))
    archive.ledger.dispose()


def test_a_write_with_a_lock_still_never_overwrites(locked: Bench):
    tier = locked.archive.tiers["archive"]
    until = datetime.now(UTC) + timedelta(hours=1)
    tier.put("p/a", 1, iter([b"a"]), "STANDARD", until)
    with pytest.raises(AlreadyThere):
        tier.put("p/a", 1, iter([b"b"]), "STANDARD", until)


def test_each_identity_uses_its_own_profile(bench: Bench):
    used = [Tier("deep", bench.archive.settings, identity).client._request_signer._credentials.access_key for identity in Identity]
    assert [key.rpartition("-")[2] for key in used[:2]] == ["archiver", "reaper"]
    assert "-" not in used[2]

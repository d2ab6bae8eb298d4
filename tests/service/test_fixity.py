"""Every copy is proven anew in its time; one that is not what it should be is made anew from another, and the last is never ended."""

from __future__ import annotations

import dataclasses
import json
import random
import secrets
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fixtures.archive import Bench, settings_toml
from fixtures.glacier import Glacier
from fixtures.ports import STORE
from fixtures.store import S3Store, start_store, write_profiles
from typer.testing import CliRunner

from archiver import describe, fixity, losses, storage
from archiver.api.health import Health
from archiver.check import check
from archiver.cli import cli
from archiver.errors import StoreUnavailable
from archiver.ledger import tables as t
from archiver.model import Copy, Dataset, FindingKind, ObjectKind, Proof

FILES = {"a.bin": b"a" * 1000, "sub/b.bin": bytes(range(256)) * 40, "empty": b""}


def copy_in(bench: Bench, dataset: Dataset, tier: str, name: str = "a.bin") -> Copy:
    with bench.archive.ledger.read() as tx:
        return next(c for c in tx.copies(dataset.id) if c.tier == tier and c.key.endswith(f"/{name}"))


def flip(bench: Bench, copy: Copy) -> Copy:
    """One byte of the version that the ledger counts on is another now."""
    tier = bench.admin[copy.tier]
    body = bytearray(b"".join(tier.read(copy.key, copy.version_id)))
    body[len(body) // 2] ^= 1
    tier.delete_version(copy.key, copy.version_id)
    version = tier.client.put_object(Bucket=tier.bucket, Key=copy.key, Body=bytes(body))["VersionId"]
    with bench.archive.ledger.begin() as tx:
        tx.connection.execute(t.copy.update().where(t.copy.c.id == copy.id).values(version_id=version))
        return tx.copy(copy.id)


def events(bench: Bench, dataset: Dataset) -> list[str]:
    with bench.archive.ledger.read() as tx:
        return [e.kind for e in tx.events(dataset.id)]


def open_findings(bench: Bench) -> list[tuple[str, str]]:
    with bench.archive.ledger.read() as tx:
        return [(f.tier, f.kind) for f in tx.findings()]


def stands(bench: Bench, copy: Copy) -> bool:
    return bench.admin[copy.tier].head(copy.key, copy.version_id) is not None


def verified(bench: Bench) -> list[fixity.Report]:
    bench.turn(seconds=1)
    return [fixity.verify(bench.archive, tier, None) for tier in bench.archive.tiers]


def ill(bench: Bench) -> set[str]:
    health = Health(bench.archive)
    found = {check.name for check in health.look().checks if not check.ok}
    health.close()
    return found


def test_the_pace_proves_all_of_a_tier_within_the_period_oldest_first(bench: Bench):
    proof = bench.archive.settings.proof.model_copy(update={"fixity_every": timedelta(days=20)})
    bench.archive = dataclasses.replace(bench.archive, settings=bench.archive.settings.model_copy(update={"proof": proof}))
    dataset = bench.ingest("run1", {f"{n:02}.bin": random.Random(n).randbytes(300 * n) for n in range(11)})
    bench.settle()
    begun = bench.now
    seen = []
    for _ in range(20):
        bench.turn(days=1)
        before = {c.id: c.proven_at for c in copies(bench, dataset)}
        fixity.run(bench.archive)
        done = [c for c in copies(bench, dataset) if c.proven_at != before[c.id]]
        assert done, "a day without a proof"
        assert max(before[c.id] for c in done) <= min((at for i, at in before.items() if i not in {c.id for c in done}), default=bench.now)
        seen.append(len(done))
    assert min(c.proven_at for c in copies(bench, dataset)) > begun
    assert max(seen) <= 2  # 12 objects in 20 days


def copies(bench: Bench, dataset: Dataset, tier: str = "archive") -> list[Copy]:
    with bench.archive.ledger.read() as tx:
        return [c for c in tx.copies(dataset.id) if c.tier == tier]


def test_a_large_copy_costs_its_bytes_and_time_that_was_missed_is_made_up(bench: Bench):
    bench.ingest("run1", {"large.bin": b"x" * 100_000, **{f"{n}.bin": b"y" for n in range(30)}})
    bench.settle()
    report = fixity.pay(bench.archive, "archive")
    assert report.read_back == 1
    assert fixity.pay(bench.archive, "archive").read_back == 0  # paid for this moment
    bench.turn(days=20)
    assert fixity.pay(bench.archive, "archive").read_back >= 20
    assert fixity.pay(bench.archive, "archive").read_back == 0


@pytest.mark.parametrize("tier", ["hot", "archive"])
def test_a_flipped_byte_is_found_and_mended_from_another_copy(bench: Bench, tier: str):
    dataset = bench.ingest("run1", FILES)
    bench.settle()
    bad = flip(bench, copy_in(bench, dataset, tier))
    reports = {r.tier: r for r in verified(bench)}
    assert [key for key, _, _ in reports[tier].bad] == [bad.key]
    assert sum(len(r.bad) for r in reports.values()) == 1
    bench.settle()
    bench.turn(minutes=10)
    bench.settle()
    assert not stands(bench, bad)
    assert copy_in(bench, dataset, tier).id != bad.id
    assert bench.read(dataset, "a.bin", tier) == FILES["a.bin"]
    assert check(bench.archive) == []
    kinds = events(bench, dataset)
    story = [kinds.index(kind) for kind in ("copy.lost", "copy.cleared")]
    assert story == sorted(story)
    assert "transfer.proven" in kinds[story[-1] :]
    assert open_findings(bench) == []
    assert ill(bench) == set()


def test_a_flipped_byte_inside_a_bundle(bench_on: Callable[..., Bench]):
    bench = bench_on(archive={"bundles": True}, deep={"bundles": True})
    files = {f"{n}.csv": f"{n},1\n".encode() * 40 for n in range(8)}
    dataset = bench.ingest("run1", files)
    bench.settle()
    with bench.archive.ledger.read() as tx:
        bundle = next(o for o in tx.objects(dataset.id) if o.kind is ObjectKind.BUNDLE)
        lies = {c.tier: c for c in tx.copies_of(bundle.id)}
    bad = flip(bench, lies["archive"])
    assert [len(r.bad) for r in verified(bench)] == [0, 1, 0]
    bench.settle()
    bench.turn(minutes=10)
    bench.settle()
    assert not stands(bench, bad)
    assert check(bench.archive) == []
    assert all(not r.bad for r in verified(bench))
    # The only other place of a member of hot may be its bundle: it is read out of it.
    loose = flip(bench, copy_in(bench, dataset, "hot", "3.csv"))
    assert [len(r.bad) for r in verified(bench)] == [1, 0, 0]
    bench.settle()
    assert not stands(bench, loose)
    assert bench.read(dataset, "3.csv") == files["3.csv"]
    bench.give_back()


def test_the_last_copy_is_never_ended_and_is_shouted_and_counts_again_when_it_reads_well(bench: Bench):
    dataset = bench.ingest("run1", FILES)
    bench.settle()
    good = copy_in(bench, dataset, "hot")
    body = FILES["a.bin"]
    bad = [flip(bench, copy_in(bench, dataset, tier)) for tier in ("hot", "archive", "deep")]
    assert good.id == bad[0].id
    reports = verified(bench)
    assert [became.split(":")[0] for r in reports for _, became, _ in r.bad] == ["quarantined"] * 3
    for _ in range(6):
        bench.settle()
        bench.turn(minutes=10)
        fixity.run(bench.archive)
    assert all(stands(bench, copy) for copy in bad)
    assert events(bench, dataset).count("copy.quarantined") == 3
    assert check(bench.archive) != []  # it lies nowhere, and that is said
    assert ill(bench) == {"copies"}
    with bench.archive.ledger.read() as tx:
        assert "3 copies are not as they should be" in describe.datasets(tx, bench.archive.settings, [dataset])[0]["problem"]
    status = CliRunner().invoke(cli, ["--config", str(bench.settings_file), "status", "--json"])
    assert json.loads(status.stdout)["findings"] == {tier: {"quarantined": 1} for tier in ("archive", "deep", "hot")}
    # The store reads well again: what was quarantined in archive is proven, and mends the others.
    tier = bench.admin["archive"]
    tier.delete_version(bad[1].key, bad[1].version_id)
    version = tier.client.put_object(Bucket=tier.bucket, Key=bad[1].key, Body=body)["VersionId"]
    with bench.archive.ledger.begin() as tx:
        for table in (t.copy, t.finding):
            tx.connection.execute(table.update().where(table.c.version_id == bad[1].version_id).values(version_id=version))
    for _ in range(4):
        fixity.run(bench.archive)
        bench.settle()
        bench.turn(minutes=10)
    assert "copy.adopted" in events(bench, dataset)
    assert open_findings(bench) == []
    assert ill(bench) == set()
    assert check(bench.archive) == []
    assert not stands(bench, bad[0])
    assert bench.read(dataset, "a.bin") == body


def test_a_damaged_copy_is_kept_while_the_only_other_is_away_or_drops_are_held(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    dataset = bench.ingest("run1", FILES)
    bench.settle()
    bad = flip(bench, copy_in(bench, dataset, "hot"))

    def away(*_: object) -> bool:
        raise StoreUnavailable("The store of tier archive is away.", "Wait.")

    with monkeypatch.context() as patch:
        patch.setattr(losses, "_proven", away)
        assert [became.split(";")[0] for _, became, _ in verified(bench)[0].bad] == ["damaged"]
        bench.settle()
        assert stands(bench, bad)
    with bench.archive.ledger.begin() as tx:
        tx.set_note("hold-drops", "rebuilt")
    losses.settle(bench.archive)
    assert stands(bench, bad)
    assert open_findings(bench) == [("hot", "damaged")]
    with bench.archive.ledger.begin() as tx:
        tx.forget_note("hold-drops")
    losses.settle(bench.archive)
    assert not stands(bench, bad)
    bench.turn(minutes=10)
    bench.settle()
    assert bench.read(dataset, "a.bin") == FILES["a.bin"]


def test_a_copy_that_is_gone_and_the_last_that_is_gone(bench: Bench):
    dataset = bench.ingest("run1", FILES)
    bench.settle()
    gone = copy_in(bench, dataset, "deep")
    bench.admin["deep"].delete_version(gone.key, gone.version_id)
    assert verified(bench)[2].bad[0][1].startswith("lost; it is made anew")
    assert open_findings(bench) == [("deep", "lost")]
    bench.settle()
    fixity.run(bench.archive)
    assert open_findings(bench) == []
    for tier in bench.archive.tiers:
        copy = copy_in(bench, dataset, tier)
        bench.admin[tier].delete_version(copy.key, copy.version_id)
    assert [r.bad[0][1].split(";")[0].split(",")[0] for r in verified(bench)] == ["lost", "lost", "lost"]
    assert ("deep", "gone") in open_findings(bench)
    assert ill(bench) == {"copies"}


def test_what_differs_once_is_a_fault_on_the_way(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    dataset = bench.ingest("run1", FILES)
    bench.settle()
    real, wrong = storage.Tier.digest, {copy_in(bench, dataset, "archive").key}

    def once(tier: storage.Tier, key: str, version_id: str, *rest: Any) -> storage.Digest:
        if tier.name == "archive" and key in wrong:
            wrong.discard(key)
            return storage.Digest(3, "f" * 64, "")
        return real(tier, key, version_id, *rest)

    monkeypatch.setattr(storage.Tier, "digest", once)
    assert [len(r.bad) for r in verified(bench)] == [0, 0, 0]
    assert not wrong


def test_a_copy_that_the_store_cannot_give_is_damaged_a_day_later(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    dataset = bench.ingest("run1", FILES)
    bench.settle()
    rotten = copy_in(bench, dataset, "archive")
    real = storage.Tier.digest

    def reading(tier: storage.Tier, key: str, version_id: str, *rest: Any) -> storage.Digest:
        if version_id == rotten.version_id:
            raise StoreUnavailable("The store of tier archive cannot be used: InternalError.", "Wait.")
        return real(tier, key, version_id, *rest)

    monkeypatch.setattr(storage.Tier, "digest", reading)
    report = verified(bench)[1]
    assert (report.read_back, len(report.bad)) == (len(FILES), 1)  # the others have their turn; one is the manifest
    assert open_findings(bench) == [("archive", "unreadable")]
    assert copy_in(bench, dataset, "archive").id == rotten.id
    with monkeypatch.context() as patch:  # a store that does not answer at all is waited for
        patch.setattr(storage.Tier, "ping", lambda _tier: (_ for _ in ()).throw(StoreUnavailable("It is away.", "Wait.")))
        with pytest.raises(StoreUnavailable):
            verified(bench)
    bench.turn(days=1)
    assert verified(bench)[1].bad[0][1].startswith("damaged")
    bench.settle()
    bench.turn(minutes=10)
    bench.settle()
    assert not stands(bench, rotten)
    assert open_findings(bench) == []
    assert bench.read(dataset, "a.bin", "archive") == FILES["a.bin"]


def test_cold_copies_are_proven_by_the_store_and_say_so(tmp_path: Path, moto_server: Glacier):
    home = tmp_path / "home"
    home.mkdir()
    file = tmp_path / "neve.toml"
    tiers = {"deep": {"storage_class": "DEEP_ARCHIVE", "recall": "auto"}}
    file.write_text(settings_toml(home, moto_server, moto_server.buckets("hot", "archive", "deep"), **tiers), "utf-8")
    bench = Bench(tmp_path, file)
    dataset = bench.ingest("run1", FILES)
    bench.settle()
    hot, archive, deep = verified(bench)
    assert (hot.by_the_store, archive.by_the_store) == (0, 0)
    assert (deep.read_back, deep.by_the_store) == (1, len(FILES))  # the manifest is never cold
    assert copy_in(bench, dataset, "deep").proof is Proof.STORE_SHA256
    assert copy_in(bench, dataset, "deep").proven_at == bench.now
    bench.archive.ledger.dispose()


def test_by_hand(bench: Bench):
    dataset = bench.ingest("run1", FILES)
    bench.settle()
    run = CliRunner()

    def archiver(*words: str):
        return run.invoke(cli, ["--config", str(bench.settings_file), *words])

    sampled = archiver("verify", "--sample", "2", "--tier", "archive", "--json")
    assert sampled.exit_code == 0, sampled.output
    assert [(r["tier"], r["read_back"]) for r in json.loads(sampled.stdout)] == [("archive", 2)]
    assert "archive: 4 read back" in archiver("verify", "--all").stdout
    assert archiver("verify", "--all", "--sample", "3").exception is not None
    flip(bench, copy_in(bench, dataset, "archive"))
    found = archiver("verify", "--all")
    assert "copies were not what they should be" in str(found.exception)
    assert "damaged; it is made anew from another copy" in found.stdout


@pytest.fixture
def rotten_store(tmp_path: Path, port_base: Callable[..., int]) -> Iterator[tuple[S3Store, Path]]:
    """A store of the test's own, and the folder of its bytes."""
    folder, base = tmp_path / "store", port_base(STORE)
    folder.mkdir()
    access, secret = "own", secrets.token_hex(20)
    process = start_store(folder, base, access, secret)
    yield S3Store(f"http://127.0.0.1:{base + 6}", access, secret, write_profiles(folder / "credentials", access, secret)), folder / "data"
    process.drop()


@pytest.mark.long
def test_a_byte_that_rots_on_the_disk(tmp_path: Path, rotten_store: tuple[S3Store, Path]):
    """SeaweedFS sees its own checksum fail, tries for 20 s and answers InternalError."""
    store, data = rotten_store
    home = tmp_path / "home"
    home.mkdir()
    file = tmp_path / "neve.toml"
    file.write_text(settings_toml(home, store, store.buckets("hot", "archive", "deep")), "utf-8")
    bench = Bench(tmp_path, file)
    body = random.Random(5).randbytes(200_000)
    dataset = bench.ingest("run1", {"a.bin": body})
    bench.settle()
    rotten = copy_in(bench, dataset, "archive")
    volumes = [v for v in data.rglob("*.dat") if v.name.startswith(bench.archive.tiers["archive"].bucket) and body[:500] in v.read_bytes()]
    assert len(volumes) == 1
    at = volumes[0].read_bytes().index(body[:500]) + 250
    with volumes[0].open("r+b") as disk:
        disk.seek(at)
        disk.write(bytes([body[250] ^ 1]))
    assert [key for key, _, _ in verified(bench)[1].bad] == [rotten.key]
    assert open_findings(bench) == [("archive", FindingKind.UNREADABLE)]
    bench.turn(days=1)
    assert verified(bench)[1].bad[0][1].startswith("damaged")
    bench.settle()
    bench.turn(minutes=10)
    bench.settle()
    assert bench.read(dataset, "a.bin", "archive") == body
    assert check(bench.archive) == []
    bench.archive.ledger.dispose()

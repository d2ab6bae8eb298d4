"""The stores alone are enough: a ledger made again from manifests and location records is the ledger that was lost (Law 6)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fixtures.archive import Bench, lose_the_ledger

from archiver import anchors, inventory, locations, names, rebuild
from archiver.check import check
from archiver.commands import release
from archiver.errors import Conflict
from archiver.model import Dataset, ObjectKind

SMALL = {f"part/{n}.csv": f"{n}\n".encode() * (n + 1) for n in range(6)} | {"bad\udcff.bin": b"x", "empty.log": b""}
LARGE = {"large.h5": b"L" * 1_100_000}


@pytest.fixture
def bundling(bench_on: Callable[..., Bench]) -> Iterator[Bench]:
    made = bench_on(archive={"bundles": True}, deep={"bundles": True})
    yield made
    made.give_back()


def write(bench: Bench, name: str, files: dict[str, bytes]) -> Dataset:
    return bench.ingest(name, files)


def known(bench: Bench) -> dict[str, Any]:
    """Everything of a ledger that the stores can tell, without the numbers of its rows."""
    found: dict[str, Any] = {}
    with bench.archive.ledger.read() as tx:
        for dataset in tx.datasets_numbered(range(1, 50)).values():
            keys = {o.id: o.key for o in tx.objects(dataset.id)}
            said = {
                k: v for k, v in vars(dataset).items() if k not in {"id", "look_at", "follows_id", "closed_at", "lease_by", "lease_until", "stub_at"}
            }
            follows = tx.dataset(dataset.follows_id).full_name if dataset.follows_id else None
            files = {f.path_raw: {k: v for k, v in vars(f).items() if k not in {"id", "dataset_id", "object_id"}} for f in tx.files(dataset.id)}
            objects = {o.key: (o.kind, o.size_bytes, o.sha256) for o in tx.objects(dataset.id)}
            copies = {(c.key, c.tier): (c.version_id, c.storage_class, c.proof) for c in tx.copies(dataset.id)}
            members = {(keys[m.bundle_id], keys[m.object_id]): m.offset_bytes for m in tx.members(dataset.id)}
            found[dataset.full_name] = (said, follows, dataset.stub_at is not None, files, objects, copies, members)
    return found


def test_the_ledger_made_again_is_the_one_that_was_lost(bundling: Bench):
    write(bundling, "run1", SMALL | LARGE)
    bundling.settle()
    bundling.turn(days=61)
    bundling.settle()
    bundling.turn(hours=2)
    bundling.settle()
    anchors.run(bundling.archive)
    write(bundling, "run2", SMALL)
    write(bundling, "run2", SMALL | {"late.txt": b"late"})  # goes to run2+1, which continues run2
    bundling.settle()
    before = known(bundling)
    assert {name.split("/")[1] for name in before} == {"run1", "run2", "run2+1"}

    again = lose_the_ledger(bundling)
    report = rebuild.rebuild(again.archive)
    assert report.problems == []
    assert (report.datasets, report.proven_anew) == (3, 0), "every copy was in a location record"
    assert known(again) == before
    assert report.cannot_know
    with again.archive.ledger.read() as tx:
        first = tx.events(tx.find_dataset("run1").id)[0]
        head = tx.find_dataset("run2").id
        assert first.kind == "chain.continued", "run1 was anchored"
        assert tx.events(head)[0].kind == "dataset.rebuilt", "run2 was not"
    assert check(again.archive) == []

    # nothing is dropped before a full listing of each tier has ended, and an admin says so
    again.turn(days=61)
    again.settle()
    again.turn(hours=2)
    again.settle()
    with again.archive.ledger.read() as tx:
        assert tx.states()["drop"] == {}
    refused = release.refusal(again.archive)
    assert isinstance(refused, Conflict)
    assert "archiver inventory --full" in refused.next_step
    for tier in again.archive.tiers:
        inventory.full(again.archive, tier)
    assert release.refusal(again.archive) is None
    release.let_go(again.archive, "an admin")
    again.settle()
    again.turn(hours=2)
    again.settle()
    with again.archive.ledger.read() as tx:
        assert again.tiers(tx.find_dataset("run2")) == set(), "its small files lie in bundles only"
        assert {c.tier for c in tx.copies(tx.find_dataset("run2").id)} == {"archive", "deep"}
    assert check(again.archive) == []
    again.archive.ledger.dispose()


def test_what_no_record_tells_of_is_proven_before_it_counts(bundling: Bench):
    dataset = write(bundling, "run1", SMALL | LARGE)
    bundling.settle()
    large = f"{dataset.prefix}/large.h5"
    hot = bundling.archive.tiers["hot"]
    hot.client.delete_object(Bucket=hot.bucket, Key=names.location_key(dataset.prefix))
    head = hot.head(large)
    assert head is not None
    hot.client.delete_object(Bucket=hot.bucket, Key=large, VersionId=head.version_id)
    hot.client.put_object(Bucket=hot.bucket, Key=large, Body=b"not what arrived")

    again = lose_the_ledger(bundling)
    report = rebuild.rebuild(again.archive)
    assert report.proven_anew == len(SMALL), "the rest of hot was read back"
    assert [p for p in report.problems if large in p and "reads back as" in p]
    with again.archive.ledger.read() as tx:
        objects = {o.id: o for o in tx.objects(1)}
        assert {c.tier for c in tx.copies(1) if objects[c.object_id].key == large} == {"archive", "deep"}
    again.archive.ledger.dispose()


def test_a_rebuild_is_refused_into_a_ledger_that_knows_data_and_goes_on_after_a_crash(bundling: Bench):
    write(bundling, "run1", SMALL)
    write(bundling, "run2", LARGE)
    bundling.settle()
    with pytest.raises(Conflict, match="not empty"):
        rebuild.rebuild(bundling.archive)
    with bundling.archive.ledger.read() as tx:
        assert tx.note(rebuild.REBUILT) is None

    again = lose_the_ledger(bundling)

    def dies(name: str) -> None:
        if name == "saxs/run2":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild.rebuild(again.archive, dies)
    assert rebuild.rebuild(again.archive).datasets == 1
    assert known(again) == known(bundling)
    again.archive.ledger.dispose()


def test_a_record_is_in_the_store_after_the_proof_and_before_the_drop(bundling: Bench, monkeypatch: pytest.MonkeyPatch):
    dataset = write(bundling, "run1", SMALL)
    bundling.settle()

    def record(tier: str) -> set[str]:
        store = bundling.archive.tiers[tier]
        head = store.head(names.location_key(dataset.prefix))
        assert head is not None
        return {c["key"] for c in json.loads(b"".join(store.read(names.location_key(dataset.prefix), head.version_id)))["copies"]}

    with bundling.archive.ledger.read() as tx:
        objects = tx.objects(dataset.id)
    packed = {o.key for o in objects if o.kind is not ObjectKind.FILE}
    assert record("archive") == record("deep") == packed
    assert record("hot") == {o.key for o in objects if o.kind is ObjectKind.FILE}

    seen: list[set[str]] = []
    real = type(bundling.archive.tiers["hot"]).delete_versions

    def looks(tier, versions, **more):
        seen.append(record("hot") & {key for key, _ in versions})
        return real(tier, versions, **more)

    monkeypatch.setattr(type(bundling.archive.tiers["hot"]), "delete_versions", looks)
    bundling.turn(days=61)
    bundling.settle()
    bundling.turn(hours=2)
    bundling.settle()
    assert seen
    assert not any(seen), "what was ended was in the record no more"
    assert record("hot") == set()
    assert locations.write_due(bundling.archive) is False, "nothing is due"


def test_the_command_says_what_it_found_and_what_it_could_not_know(bundling: Bench):
    from typer.testing import CliRunner

    from archiver.cli import cli

    write(bundling, "run1", SMALL)
    bundling.settle()
    again = lose_the_ledger(bundling)
    done = CliRunner().invoke(cli, ["--config", str(again.settings_file), "ledger", "rebuild", "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.output)
    assert (said["datasets"], said["files"], said["problems"]) == (1, len(SMALL), [])
    assert any("holds" in line for line in said["cannot_know"])
    again.archive.ledger.dispose()

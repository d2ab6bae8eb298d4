"""Erasure (rule 13): two admins, a tombstone first, bundles built again, no version left in any store, and nothing comes back."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from fixtures.archive import Bench, lose_the_ledger
from fixtures.crash import versions
from fixtures.site import Site
from typer.testing import CliRunner

from archiver import app, erasure, hold, inventory, losses, names, restore
from archiver.check import check
from archiver.cli import cli
from archiver.commands import release
from archiver.config import load
from archiver.errors import Conflict, NotFound, PublicError, WrongUse
from archiver.model import Dataset, DatasetState, ErasureState, FileState
from archiver.rebuild import rebuild
from archiver.receipt import of_path
from archiver.worker import Worker

SMALL = {f"part/{n:02}.csv": f"{n},secret\n".encode() * (n + 1) for n in range(8)} | {
    "patient/42.csv": b"name,Jane\n" * 40,
    "patient/43.csv": b"name,Joe\n" * 40,
}
LARGE = {"large.h5": b"\x89HDF\r\n" + b"L" * 1_200_000, "patient/scan.h5": b"\x89HDF\r\n" + b"P" * 1_100_000}
ALL = SMALL | LARGE
PATIENT = {path for path in ALL if path.startswith("patient/")}
BECAUSE = "Consent was withdrawn"


@pytest.fixture
def bundling(bench_on: Callable[..., Bench]) -> Iterator[Bench]:
    """An archive whose archive and deep take bundles; deep is recalled always."""
    made = bench_on(archive={"bundles": True}, deep={"bundles": True, "recall": "always", "recall_wait": "PT0.1S"})
    yield made
    made.give_back()


@pytest.fixture
def erasing(bundling: Bench) -> tuple[Bench, Dataset]:
    dataset = bundling.ingest("run1", ALL)
    bundling.settle()
    return bundling, dataset


def erase(bench: Bench, dataset: Dataset, glob: str | None = None) -> int:
    asked = erasure.request(bench.archive, "ana", dataset.full_name, glob, BECAUSE)
    erasure.approve(bench.archive, "ben", asked.id)
    return asked.id


def settle(bench: Bench, erasure_id: int) -> ErasureState:
    for _ in range(40):
        bench.settle()
        with bench.archive.ledger.read() as tx:
            state = tx.erasure(erasure_id).state
        if state is ErasureState.ERASED:
            break
        bench.turn(seconds=30)
    return state


def everything(bench: Bench) -> bytes:
    """All bytes of all versions in all tiers, but for location records."""
    found = b""
    for name, tier in bench.archive.tiers.items():
        for key, version_id in sorted(versions(bench, name)):
            found += b"".join(tier.read(key, version_id))
    return found


def keys_of(bench: Bench, dataset: Dataset) -> dict[str, str]:
    with bench.archive.ledger.read() as tx:
        objects = {o.id: o.key for o in tx.objects(dataset.id)}
        return {f.path: objects[f.object_id] for f in [*tx.files(dataset.id), *tx.erased_files(dataset.id)]}


def release_all(bench: Bench) -> None:
    for name in bench.archive.tiers:
        inventory.full(bench.archive, name)
    assert release.refusal(bench.archive) is None
    release.let_go(bench.archive, "an admin")


def assert_gone(bench: Bench, dataset: Dataset, paths: set[str]) -> None:
    keys = {key for path, key in keys_of(bench, dataset).items() if path in paths}
    for name in bench.archive.tiers:
        assert not {key for key, _ in versions(bench, name)} & keys, name
    body = everything(bench)
    for path in paths:
        assert ALL[path][-600:] not in body, path


def test_some_files_are_erased_and_the_others_survive_in_new_bundles(erasing: tuple[Bench, Dataset]):
    bench, dataset = erasing
    erased = erase(bench, dataset, "patient/*")
    assert settle(bench, erased) is ErasureState.ERASED
    assert_gone(bench, dataset, PATIENT)
    assert check(bench.archive) == []
    with bench.archive.ledger.read() as tx:
        now = tx.dataset(dataset.id)
        assert {f.path for f in tx.files(dataset.id)} == set(ALL) - PATIENT
        assert {f.path: (f.state, f.metadata) for f in tx.erased_files(dataset.id)} == dict.fromkeys(PATIENT, (FileState.ERASED, {}))
        done = tx.erasure(erased)
    assert (now.state, now.file_count, now.size_bytes) == (DatasetState.CLOSED, len(ALL) - 3, sum(len(ALL[p]) for p in set(ALL) - PATIENT))
    assert done.receipt is not None
    assert (done.receipt["files"], done.receipt["size_bytes"]) == (3, sum(len(ALL[p]) for p in PATIENT))
    assert done.receipt["copies_ended"] == {
        "hot": 4,
        "archive": 3,
        "deep": 3,
    }  # hot: three files and the manifest's first copy; else scan, bundle, manifest
    for path in set(ALL) - PATIENT:
        assert bench.read(dataset, path) == ALL[path]
    key = names.bundle_key(dataset.prefix, 2)
    for tier in ("archive", "deep"):
        assert bench.keys(tier) == sorted([key, f"{dataset.prefix}/large.h5"])
        head = bench.archive.tiers[tier].head(key)
        assert head is not None
        with tarfile.open(fileobj=io.BytesIO(b"".join(bench.archive.tiers[tier].read(key, head.version_id)))) as tar:
            assert {m.name: (tar.extractfile(m) or io.BytesIO()).read() for m in tar.getmembers()} == {
                p: b for p, b in SMALL.items() if p not in PATIENT
            }


def test_a_dataset_that_is_cold_is_erased_whole_and_never_comes_back(erasing: tuple[Bench, Dataset]):
    bench, dataset = erasing
    bench.turn(days=800)
    bench.settle()
    bench.turn(hours=2)
    bench.settle()
    assert bench.tiers(dataset, "large.h5") == {"deep"}
    assert bench.keys("hot") == [f"{dataset.prefix}/NEVE-ARCHIVED.txt"]
    hot = bench.archive.tiers["hot"]
    hot.client.put_object(Bucket=hot.bucket, Key=f"{dataset.prefix}/large.h5", Body=ALL["large.h5"])  # behind our back
    deep = bench.archive.tiers["deep"]
    deep.client.create_multipart_upload(Bucket=deep.bucket, Key=f"{dataset.prefix}/patient/scan.h5")
    wished = restore.request(bench.archive, "alice", dataset.full_name, "patient/*", 7, None)
    erased = erase(bench, dataset)
    assert settle(bench, erased) is ErasureState.ERASED
    assert_gone(bench, dataset, set(ALL))
    assert check(bench.archive) == []
    for name, tier in bench.archive.tiers.items():
        assert bench.keys(name) == [], "not even the stub"
        assert not tier.client.list_multipart_uploads(Bucket=tier.bucket).get("Uploads")
    with bench.archive.ledger.read() as tx:
        now = tx.dataset(dataset.id)
        assert (now.state, now.file_count, now.title, now.metadata) == (DatasetState.ERASED, 0, None, {})
        assert tx.restore(wished.id).error == "Its files were erased."
        said = of_path(tx, bench.archive.settings, now, "large.h5")
    assert (said["file"]["state"], said["file"]["sha256"] is not None, said["copies"]) == (FileState.ERASED, True, [])
    assert {e.get("kind") for e in said["chain"]["links"]} >= {"erasure.requested", "erasure.approved", "erasure.erased", "dataset.erased"}
    with pytest.raises(Conflict, match="was erased"):
        restore.request(bench.archive, "alice", dataset.full_name, None, 7, None)
    with pytest.raises(Conflict, match="not received again"):
        bench.ingest("run1", ALL)

    again = lose_the_ledger(bench)
    report = rebuild(again.archive)
    assert (report.problems, report.erasures) == ([], 1)
    release_all(again)
    with again.archive.ledger.read() as tx:
        redone = tx.erasures()[0]
    assert settle(again, redone.id) is ErasureState.ERASED
    assert (redone.asked_by, redone.approved_by, redone.reason) == ("ana", "ben", BECAUSE)
    with again.archive.ledger.read() as tx:
        assert tx.dataset(1).state is DatasetState.ERASED
        assert {f.path for f in tx.erased_files(1)} == set(ALL)
    assert check(again.archive) == []
    with pytest.raises(Conflict, match="not received again"):
        again.ingest("run1", ALL)
    again.archive.ledger.dispose()


def test_a_ledger_lost_in_the_middle_goes_on_from_the_tombstone(erasing: tuple[Bench, Dataset]):
    bench, dataset = erasing
    erased = erase(bench, dataset, "patient/*")
    with bench.archive.ledger.read() as tx:
        asked = tx.erasure(erased)
    erasure.advance(bench.archive, asked)  # tombstone and ledger; no byte has ended
    stones = [k for k, _ in versions(bench, "deep") if k.startswith(names.ERASURES)]
    assert stones == [names.erasure_key(dataset.prefix, asked.approved_at or bench.now)]

    again = lose_the_ledger(bench)
    report = rebuild(again.archive)
    assert (report.problems, report.erasures) == ([], 1)
    again.settle()
    assert again.keys("hot") == bench.keys("hot"), "nothing ends before `archiver release`"
    release_all(again)
    assert settle(again, 1) is ErasureState.ERASED
    assert_gone(again, dataset, PATIENT)
    assert check(again.archive) == []
    third = lose_the_ledger(again, "third")
    assert (rebuild(third.archive).problems, third.tiers(dataset, "large.h5")) == ([], {"hot", "archive", "deep"})
    with third.archive.ledger.read() as tx:
        assert {f.path for f in tx.files(1)} == set(ALL) - PATIENT
        assert {f.path for f in tx.erased_files(1)} == PATIENT
    for made in (again, third):
        made.archive.ledger.dispose()


def test_two_admins_agree_and_what_is_held_is_not_erased(bench: Bench):
    dataset = bench.ingest("run1", {"a.csv": b"1\n", "b.csv": b"2\n"})
    archive = bench.archive
    for wrong, why in (("", "reason"), ("x" * 501, "reason"), ("bell\a", "reason")):
        with pytest.raises(WrongUse, match=why):
            erasure.request(archive, "ana", "run1", None, wrong)
    with pytest.raises(WrongUse, match="matches"):
        erasure.request(archive, "ana", "run1", "*.h5", BECAUSE)
    with pytest.raises(NotFound):
        erasure.request(archive, "ana", "run2", None, BECAUSE)
    held = hold.request(archive, "alice", "run1", bench.now + timedelta(days=9), "my thesis", "a.csv", None)
    with pytest.raises(Conflict, match="alice holds files"):
        erasure.request(archive, "ana", "run1", None, BECAUSE)
    asked = erasure.request(archive, "ana", "run1", "b.csv", BECAUSE)
    with pytest.raises(Conflict, match=f"Erasure {asked.id}"):
        erasure.request(archive, "cleo", "run1", "b.csv", BECAUSE)
    with pytest.raises(Conflict, match="yourself"):
        erasure.approve(archive, "ana", asked.id)
    bench.settle()
    assert bench.read(dataset, "b.csv") == b"2\n", "one admin's word ends nothing"
    assert erasure.withdraw(archive, "ben", asked.id).state is ErasureState.WITHDRAWN
    with pytest.raises(Conflict, match="withdrawn"):
        erasure.approve(archive, "ben", asked.id)
    hold.end(archive, "alice", held.id, None, admin=False)
    asked = erasure.request(archive, "ana", "run1", None, BECAUSE)
    hold.request(archive, "alice", "run1", bench.now + timedelta(days=9), "my thesis", None, None)
    with pytest.raises(Conflict, match="end hold"):
        erasure.approve(archive, "ben", asked.id)
    with archive.ledger.read() as tx:
        assert erasure.reach(tx, asked).files == 2
        assert tx.erasure(asked.id).state is ErasureState.REQUESTED
    with pytest.raises(NotFound, match="99"):
        erasure.approve(archive, "ben", 99)


def test_damaged_copies_that_were_kept_end_too_and_the_listing_adopts_nothing(bench: Bench):
    dataset = bench.ingest("run1", {"a.csv": b"1,one\n" * 9, "b.csv": b"2,two\n" * 9})
    bench.settle()
    key = f"{dataset.prefix}/a.csv"
    for name in bench.archive.tiers:
        with bench.archive.ledger.read() as tx:
            copy = next(c for c in tx.copies(dataset.id) if (c.key, c.tier) == (key, name))
        losses.strike_out(bench.archive, copy, "a test says so", gone=False)
    erased = erase(bench, dataset, "a.csv")
    assert settle(bench, erased) is ErasureState.ERASED
    for name, tier in bench.archive.tiers.items():
        assert key not in {k for k, _ in versions(bench, name)}
        tier.client.put_object(Bucket=tier.bucket, Key=key, Body=b"1,one\n" * 9)  # a backup of the store was laid back
        inventory.full(bench.archive, name)
    bench.settle()
    with bench.archive.ledger.read() as tx:
        assert not [c for c in tx.copies(dataset.id) if c.key == key]
        assert {f.kind for f in tx.findings() if f.key == key and f.resolved_at is None} == {"foreign"}
    assert check(bench.archive) == []


def test_a_copy_found_damaged_while_it_is_erased_ends_and_no_worker_goes_round(bench: Bench):
    dataset = bench.ingest("run1", {"a.csv": b"1,one\n" * 9, "b.csv": b"2,two\n" * 9})
    bench.settle()
    asked = erase(bench, dataset, "a.csv")
    with bench.archive.ledger.read() as tx:
        approved = tx.erasure(asked)
        copy = next(c for c in tx.copies(dataset.id) if c.tier == "deep" and c.key.endswith("a.csv"))
    erasure.advance(bench.archive, approved)
    for tier in ("hot", "archive"):  # nothing else is left of it, so that it is kept
        bench.admin[tier].delete_all_versions(copy.key)
    losses.strike_out(bench.archive, copy, "a test says so", gone=False)
    Worker(bench.archive).settle()  # comes back, whatever the reaper has still to do
    assert settle(bench, asked) is ErasureState.ERASED
    for name in bench.archive.tiers:
        assert copy.key not in {key for key, _ in versions(bench, name)}
    assert check(bench.archive) == []


def test_by_command_line(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    def archiver(*words: str, by: str = "ana") -> tuple[int, str]:
        monkeypatch.setenv("SUDO_USER", by)
        done = CliRunner().invoke(cli, ["--config", str(bench.settings_file), *words])
        return done.exit_code, done.output + (str(done.exception) if isinstance(done.exception, PublicError) else "")

    bench.ingest("run1", {"a.csv": b"1\n", "b.csv": b"2\n"})
    assert archiver("erasures") == (0, "none\n")
    code, said = archiver("erase", "--reason", BECAUSE)
    assert (code, "Name a dataset" in said) == (1, True)
    code, said = archiver("erase", "run1", "--files", "a.csv", "--reason", BECAUSE)
    assert (code, "would end 1 file(s), 2 bytes, in hot" in said, "archiver erasures approve 1" in said) == (0, True, True)
    code, said = archiver("erasures", "approve", "1")
    assert (code, "yourself" in said) == (1, True)
    code, said = archiver("erasures", "approve", "1", "--json", by="ben")
    assert (code, json.loads(said)[0]["approved_by"]) == (0, "ben")
    bench.settle()
    code, said = archiver("erasures", "--ended")
    assert (code, "1 file(s), 2 bytes ended on 2026-" in said) == (0, True)


def test_what_is_past_its_retention_can_be_asked_for_together(bench: Bench):
    text = bench.settings_file.read_text("utf-8").replace("[policy]\n", '[policy]\nretention = "P100D"\n')
    bench.settings_file.write_text(text + '[[rules]]\nproject = "ice-*"\nretention = "P10D"\n', "utf-8")
    bench.archive = app.open_archive(load(bench.settings_file), lambda: bench.now, check=False)
    young = bench.ingest("run1", {"a.csv": b"1\n"})
    ice = bench.ingest("core1", {"a.csv": b"3\n"}, project="ice-cores")
    held = bench.ingest("core2", {"a.csv": b"4\n"}, project="ice-cores")
    hold.request(bench.archive, "alice", "core2", bench.now + timedelta(days=60), "my thesis", None, None)
    assert erasure.past_retention(bench.archive) == []
    bench.turn(days=11)
    assert [d.id for d in erasure.past_retention(bench.archive)] == [ice.id]
    bench.turn(days=90)
    assert [d.id for d in erasure.past_retention(bench.archive)] == [young.id, ice.id, held.id]
    erasure.request(bench.archive, "ana", "core1", None, "Its retention is over")
    assert [d.id for d in erasure.past_retention(bench.archive)] == [young.id, held.id]


def test_its_page_says_what_was_erased(site: Site):
    archive = site.bench.archive
    asked = erasure.request(archive, "ana", "saxs/run-1", None, BECAUSE)
    erasure.approve(archive, "ben", asked.id)
    assert settle(site.bench, asked.id) is ErasureState.ERASED
    page = site.client().sign_in("code-of-alice", f"datasets/{asked.dataset_id}").text
    assert re.search(r"\d+ files? of this dataset (was|were) erased for ever on ", page)
    assert "It was erased: nothing of it is left." in page
    assert "arriving" not in page
    assert "Restore" not in page.split("<main", 1)[1].split("<h2", 1)[0]
    said = site.as_("alice").json(f"datasets/{asked.dataset_id}")
    assert (said["state"], said["tier"], said["file_count"], said["readable"]) == ("erased", None, 0, "never")
    assert site.as_("alice").json(f"datasets/{asked.dataset_id}/files")["items"] == []

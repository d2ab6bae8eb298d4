"""When the readers improve, what is old is read again: at a bounded rate, without a recall, and never at the cost of what was known."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from fixtures.archive import Bench, lose_the_ledger
from typer.testing import CliRunner

from archiver import contents, erasure, formats, guards, manifest, names, rereading, restore
from archiver.check import check
from archiver.cli import cli
from archiver.errors import StoreUnavailable
from archiver.formats import Extracted
from archiver.formats.preview import Preview
from archiver.model import Dataset, File, MetadataState
from archiver.rebuild import rebuild
from archiver.storage import Tier

NEWER = formats.VERSION + 1
TABLE = b"t,x\n" + b"".join(b"%d,%d\n" % (n, n * n) for n in range(200))


@pytest.fixture
def better(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """`better(title=…)`: the readers are of the next version and say this of every file; returns the list of what they have read."""
    old = formats.extract

    def make(**said: object) -> list[str]:
        read: list[str] = []

        def extract(path, name: str, *, zone: str) -> Extracted:
            read.append(name)
            return replace(old(path, name, zone=zone), **said)

        monkeypatch.setattr(formats, "VERSION", NEWER)
        monkeypatch.setattr(contents, "_UNKNOWN", {**contents._UNKNOWN, "reader_version": NEWER})
        monkeypatch.setattr(formats, "extract", extract)
        return read

    return make


def files(bench: Bench, dataset: Dataset) -> dict[str, File]:
    with bench.archive.ledger.read() as tx:
        return {file.path: file for file in tx.files(dataset.id)}


def now(bench: Bench, dataset: Dataset) -> Dataset:
    with bench.archive.ledger.read() as tx:
        return tx.dataset(dataset.id)


def manifest_in(bench: Bench, dataset: Dataset, tier: str = "hot") -> bytes | None:
    return bench.archive.tiers[tier].newest(names.manifest_key(dataset.prefix))


def test_each_file_says_with_which_version_it_was_read(bench: Bench):
    dataset = bench.ingest("run1", {"a.csv": TABLE, "noise": b"\0\1\2"})
    assert {file.path: file.reader_version for file in files(bench, dataset).values()} == {"a.csv": formats.VERSION, "noise": formats.VERSION}
    body = manifest_in(bench, dataset)
    assert body is not None
    assert [one["reader_version"] for one in json.loads(body)["files"]] == [formats.VERSION] * 2


def test_what_is_old_is_read_again_once_and_its_dataset_derived_as_at_close(bench: Bench, better):
    dataset = bench.ingest("run1", {"a.csv": TABLE, "b.csv": TABLE + b"7,7\n"})
    bench.settle()
    before = manifest_in(bench, dataset)
    measured = datetime(2020, 1, 2, tzinfo=UTC)
    read = better(title="A frozen lake", acquired_at=measured)
    rereading.run(bench.archive)
    assert read == ["a.csv", "b.csv"]
    found = files(bench, dataset)
    assert [(f.reader_version, f.metadata["title"], f.metadata_state, f.metadata_error) for f in found.values()] == [
        (NEWER, "A frozen lake", MetadataState.OK, None)
    ] * 2
    derived = now(bench, dataset)
    assert (derived.title, derived.acquired_at) == ("A frozen lake", measured)
    with bench.archive.ledger.read() as tx:
        for name, value in manifest.summary(tx.files(dataset.id), None).items():
            assert getattr(derived, name) == value
        assert [e.kind for e in tx.events(dataset.id)][-1] == "dataset.reread"
        assert tx.stale(10) == []
    assert manifest_in(bench, dataset) == before, "what was written at close stays"
    rereading.run(bench.archive)
    assert len(read) == 2
    new = bench.ingest("run2", {"c.csv": TABLE})
    rereading.run(bench.archive)
    assert read[2:] == ["c.csv"]
    assert files(bench, new)["c.csv"].reader_version == NEWER
    bench.settle()
    assert check(bench.archive) == []


def test_members_of_bundles_are_read_by_range_and_what_is_cold_when_it_is_restored(bench_on, better, monkeypatch: pytest.MonkeyPatch):
    bench = bench_on(archive={"bundles": True}, deep={"recall": "always", "bundles": True})
    dataset = bench.ingest("run1", {"a.csv": TABLE, "b.csv": TABLE + b"7,7\n"})
    bench.settle()
    bench.turn(days=70)
    bench.settle()
    bench.turn(hours=2)
    bench.settle()
    cold = bench.ingest("run0", {"z.csv": TABLE, "y.csv": TABLE})
    bench.settle()
    assert not [key for key in bench.keys("hot") if "run1/" in key and key.endswith(".csv")]
    ranged: list[tuple[str, int]] = []
    plain = Tier.read

    def seen(self: Tier, key: str, version_id: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        ranged.append((key, start))
        return plain(self, key, version_id, start, length)

    read = better(title="new")
    monkeypatch.setattr(Tier, "read", seen)
    rereading.run(bench.archive)
    assert sorted(read) == ["a.csv", "b.csv", "y.csv", "z.csv"]
    assert [start > 0 and key.endswith(".tar") for key, start in ranged] == [True], "one range brings the members that stand side by side"
    assert files(bench, dataset)["a.csv"].metadata["title"] == "new"
    monkeypatch.setattr(Tier, "read", plain)
    # now all of it is in deep only, which must be recalled
    bench.turn(days=800)
    bench.settle()
    bench.turn(hours=2)
    bench.settle()
    for which in (dataset, cold):
        with bench.archive.ledger.read() as tx:
            assert {copy.tier for copy in tx.copies(which.id) if copy.key.endswith(".tar")} == {"deep"}
            assert not [copy for copy in tx.copies(which.id) if copy.key.endswith(".csv")]
    monkeypatch.setattr(formats, "VERSION", NEWER + 1)
    monkeypatch.setattr(contents, "_UNKNOWN", {**contents._UNKNOWN, "reader_version": NEWER + 1})
    read.clear()
    rereading.run(bench.archive)
    assert read == []
    assert files(bench, dataset)["a.csv"].metadata["title"] == "new"
    assert files(bench, dataset)["a.csv"].reader_version == NEWER
    answer = CliRunner().invoke(cli, ["--config", str(bench.settings_file), "reread", "--json"])
    assert json.loads(answer.stdout) == {"read": 0, "failed": 0, "left": 4, "size_bytes": 0, "reader_version": NEWER + 1}
    restore.request(bench.archive, "alice", "saxs/run1", "a.csv", 7, None)
    bench.settle()
    rereading.run(bench.archive)
    assert read == ["a.csv"]
    assert {path: f.reader_version for path, f in files(bench, dataset).items()} == {"a.csv": NEWER + 1, "b.csv": NEWER}


def test_what_fails_this_time_keeps_what_was_known_and_says_so(bench: Bench, better):
    dataset = bench.ingest("run1", {"a.csv": TABLE})
    known = files(bench, dataset)["a.csv"]
    shown = contents.preview(bench.archive, dataset, known)
    better(state=MetadataState.FAILED, error="The reader stumbled.", metadata={}, title=None, preview=None)
    rereading.run(bench.archive)
    found = files(bench, dataset)["a.csv"]
    assert (found.format, found.metadata, found.metadata_state, found.has_preview) == ("csv", known.metadata, MetadataState.OK, True)
    assert found.metadata_error == (
        f"It was read again with version {NEWER} of the readers, in vain; what is shown was read before. The reader stumbled."
    )
    assert contents.preview(bench.archive, dataset, found) == shown
    assert now(bench, dataset).metadata == dataset.metadata
    answer = CliRunner().invoke(cli, ["--config", str(bench.settings_file), "status", "saxs/run1"])
    assert "ok: It was read again" in " ".join(answer.stdout.split())


def test_a_fault_of_ours_or_a_copy_that_is_gone_leaves_the_file_to_its_next_turn(bench: Bench, better, monkeypatch: pytest.MonkeyPatch, caplog):
    dataset = bench.ingest("run1", {"a.csv": TABLE})
    better()

    def fault(*_args: object, **_named: object) -> Extracted:
        raise RuntimeError("a mistake")

    with monkeypatch.context() as broken:
        broken.setattr(formats, "extract", fault)
        rereading.run(bench.archive)
    assert files(bench, dataset)["a.csv"].reader_version == NEWER - 1
    assert files(bench, dataset)["a.csv"].metadata_state is MetadataState.OK
    assert "could not be read again" in caplog.text
    report = rereading.by_hand(bench.archive, "saxs/run1", everything=False)
    assert (report.read, report.failed, report.left) == (1, 0, 0)
    assert files(bench, dataset)["a.csv"].reader_version == NEWER


def test_the_pace_is_kept_and_nothing_is_read_by_itself_when_it_is_zero(bench: Bench, better, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rereading, "_TOGETHER", 1)
    bench.ingest("run1", {f"{n}.csv": TABLE + b"%d,1\n" % n for n in range(4)})
    read = better()

    def per_day(size: int) -> None:
        bench.archive = replace(
            bench.archive,
            settings=bench.archive.settings.model_copy(
                update={"reception": bench.archive.settings.reception.model_copy(update={"reread_per_day_bytes": size})}
            ),
        )

    per_day(0)
    rereading.run(bench.archive)
    assert read == []
    per_day(len(TABLE) * 24 * 12 * 2)  # two files in five minutes
    rereading.run(bench.archive)
    assert 1 <= len(read) <= 3
    before = len(read)
    rereading.run(bench.archive)
    assert len(read) == before
    for _ in range(4):
        bench.turn(minutes=5)
        rereading.run(bench.archive)
    assert len(read) == 4


def test_a_store_that_is_away_is_waited_for(bench: Bench, better, monkeypatch: pytest.MonkeyPatch):
    dataset = bench.ingest("run1", {"a.csv": TABLE})
    read = better()

    def away(*_: object) -> object:
        raise StoreUnavailable("The store does not answer.", "Wait.")

    with monkeypatch.context() as broken:
        broken.setattr(Tier, "begin_read", away)
        with pytest.raises(StoreUnavailable):
            rereading.run(bench.archive)
    assert files(bench, dataset)["a.csv"].reader_version == NEWER - 1
    rereading.run(bench.archive)
    assert read == ["a.csv"]


def test_cut_short_before_the_dataset_was_derived_it_is_derived_next_time(bench: Bench, better, monkeypatch: pytest.MonkeyPatch):
    dataset = bench.ingest("run1", {"a.csv": TABLE})
    better(title="new")
    with monkeypatch.context() as cut:
        cut.setattr(rereading, "_derive", lambda _archive: None)
        rereading.run(bench.archive)
    assert now(bench, dataset).title != "new"
    rereading.run(bench.archive)
    assert now(bench, dataset).title == "new"


def test_what_is_erased_while_it_is_read_leaves_neither_metadata_nor_a_preview(bench: Bench, better, monkeypatch: pytest.MonkeyPatch):
    dataset = bench.ingest("run1", {"a.csv": TABLE, "b.csv": TABLE})
    bench.settle()
    better(title="secret", preview=Preview(png=b"\x89PNG secret", plot=None))
    plain = contents.keep_preview

    def erased_meanwhile(*arguments: object) -> None:
        with monkeypatch.context() as once:
            once.setattr(contents, "keep_preview", plain)
            asked = erasure.request(bench.archive, "ana", "saxs/run1", "a.csv", "a test wants it so")
            erasure.approve(bench.archive, "ben", asked.id)
            bench.settle()
        plain(*arguments)

    calls: list[object] = []

    def first(*arguments: object) -> None:
        (erased_meanwhile if not calls else plain)(*arguments)
        calls.append(arguments)

    monkeypatch.setattr(contents, "keep_preview", first)
    rereading.run(bench.archive)
    with bench.archive.ledger.read() as tx:
        gone = tx.erased_files(dataset.id)[0]
        assert (gone.path, gone.metadata) == ("a.csv", {})
        assert tx.dataset(dataset.id).title == "secret"
    assert bench.archive.tiers["hot"].standing(names.preview_key(dataset.prefix, b"a.csv")) == []
    assert len(bench.archive.tiers["hot"].standing(names.preview_key(dataset.prefix, b"b.csv"))) >= 1
    bench.settle()
    assert check(bench.archive) == []


def test_a_rebuilt_ledger_knows_what_the_manifest_says_and_reads_again(bench: Bench, better):
    dataset = bench.ingest("run1", {"a.csv": TABLE})
    bench.settle()
    title = files(bench, dataset)["a.csv"].metadata.get("title")
    read = better(title="new")
    rereading.run(bench.archive)
    assert files(bench, dataset)["a.csv"].metadata["title"] == "new"
    other = lose_the_ledger(bench)
    report = rebuild(other.archive)
    assert any("read again" in line for line in report.cannot_know)
    with other.archive.ledger.read() as tx:
        (file,) = tx.files(tx.find_dataset("saxs/run1").id)
        assert tx.note(guards.HOLD) is not None
    assert (file.metadata.get("title"), file.reader_version) == (title, NEWER - 1)
    read.clear()
    rereading.run(other.archive)
    assert read == ["a.csv"]
    with other.archive.ledger.read() as tx:
        assert tx.files(tx.find_dataset("saxs/run1").id)[0].metadata["title"] == "new"


def test_by_hand_one_dataset_or_all(bench: Bench, better):
    bench.ingest("run1", {"a.csv": TABLE})
    bench.ingest("run2", {"b.csv": TABLE + b"9,9\n"})
    read = better(title="new")
    answer = CliRunner().invoke(cli, ["--config", str(bench.settings_file), "reread", "saxs/run2"])
    assert answer.stdout == f"1 file(s) read again with version {NEWER} of the readers, {len(TABLE) + 4:,} bytes\n"
    assert read == ["b.csv"]
    answer = CliRunner().invoke(cli, ["--config", str(bench.settings_file), "reread", "--json"])
    assert json.loads(answer.stdout) == {"read": 1, "failed": 0, "left": 0, "size_bytes": len(TABLE), "reader_version": NEWER}
    answer = CliRunner().invoke(cli, ["--config", str(bench.settings_file), "reread", "--all", "--json"])
    assert json.loads(answer.stdout)["read"] == 2
    assert CliRunner().invoke(cli, ["--config", str(bench.settings_file), "reread", "saxs/run9"]).exit_code == 1

"""The archive on PostgreSQL: a dataset's whole life, notices, holds and quotes, many hands on one dataset, a database that goes and comes back."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from fixtures.archive import Bench, settings_toml
from fixtures.place import Who
from fixtures.postgres import Postgres
from fixtures.processes import wait_until
from fixtures.store import S3Store
from typer.testing import CliRunner

from archiver import anchors, asking, bundle, describe, erasure, hold, notices, quotes, restore, showing, snapshots, upload
from archiver.check import check
from archiver.cli import cli
from archiver.errors import LedgerUnavailable, NotFound, OverQuota
from archiver.keys import Sender
from archiver.ledger.searching import Query
from archiver.model import ErasureState, File, RestoreState
from archiver.snapshots import Cut
from archiver.upload import Sent, Wanted
from archiver.worker import Worker

ODD = "new\nline é.txt"


@pytest.fixture
def pg_bench(tmp_path: Path, store: S3Store, postgres: Postgres) -> Iterator[Bench]:
    """An archive on PostgreSQL, with bundles in archive and deep."""
    (tmp_path / "home").mkdir()
    tiers = {"archive": {"bundles": True}, "deep": {"bundles": True, "recall": "always", "recall_wait": "PT1H"}}
    text = settings_toml(tmp_path / "home", store, store.buckets("hot", "archive", "deep"), **tiers)
    (tmp_path / "neve.toml").write_text(text + f'[ledger]\nurl = "{postgres.database()}"\n', "utf-8")
    made = Bench(tmp_path, tmp_path / "neve.toml")
    yield made
    made.give_back()


def test_a_datasets_life_on_postgresql(pg_bench: Bench):
    bench = pg_bench
    dataset = bench.ingest("run1", {"big": bytes(2 * 2**20), "small": b"1", ODD: b"odd", "empty": b""})
    bench.settle()
    anchors.run(bench.archive)
    assert check(bench.archive) == []
    bench.turn(days=61)
    bench.settle()
    bench.turn(hours=2)
    bench.settle()
    assert bench.tiers(dataset, "big") == {"archive", "deep"}
    bench.turn(days=680)
    bench.settle()
    assert bench.tiers(dataset, "big") == {"deep"}
    asked = restore.request(bench.archive, "alice", "run1", None, 2, None)
    bench.settle()
    bench.turn(hours=2)
    bench.settle()
    with bench.archive.ledger.read() as tx:
        assert tx.restore(asked.id).state is RestoreState.READY
        shown = describe.datasets(tx, bench.archive.settings, tx.search(Query(text="RUN"), 10))[0]
        assert (shown["tier"], shown["restore"]["bytes_ready"]) == ("hot", 2 * 2**20 + 4)
    assert bench.read(dataset, "small") == b"1"
    anchors.run(bench.archive)
    bench.turn(days=3)
    bench.settle()
    bench.turn(hours=2)
    bench.settle()
    assert "hot" not in bench.tiers(dataset, "big")
    assert check(bench.archive) == []


def test_a_growing_file_on_postgresql(pg_bench: Bench):
    """Announced, shown, replaced, given up, ended by its file; what is left becomes a file."""
    bench, sender = pg_bench, Sender("instrument/saxs", "saxs", ("snow",))
    dataset = upload.open_dataset(bench.archive, sender, "run1", None, None)

    def take(path: bytes, content: bytes, told: bytes) -> None:
        (item,) = snapshots.begin(bench.archive, sender, dataset.id, [Cut(path, len(content), str(content), bench.now, bench.now)])
        assert item.put is not None
        assert item.snapshot_id is not None
        httpx.put(item.put.url, headers=item.put.headers, content=content).raise_for_status()
        said = snapshots.Sent(item.snapshot_id, hashlib.sha256(told).hexdigest())
        assert snapshots.done(bench.archive, sender, dataset.id, [said]) == {item.snapshot_id: "verifying"}
        bench.settle()

    for path in (b"a", b"b"):
        take(path, b"1", b"1")
        take(path, b"12", b"12")
        take(path, b"123", b"wrong")
    showing.sweep(bench.archive)
    with bench.archive.ledger.read() as tx:
        assert [(one.path_raw, one.size_bytes, one.state) for one in tx.snapshots([dataset.id])] == [(b"a", 2, "shown"), (b"b", 2, "shown")]
        assert tx.snapshot_bytes() == 4
    (item,) = upload.begin(bench.archive, sender, dataset.id, [Wanted(b"a", 4, bench.now, "m")])
    assert item.put is not None
    assert item.file_id is not None
    httpx.put(item.put.url, headers=item.put.headers, content=b"1234").raise_for_status()
    upload.done(bench.archive, sender, dataset.id, [Sent(item.file_id, hashlib.sha256(b"1234").hexdigest())])
    upload.close(bench.archive, sender, dataset.id)
    bench.settle()
    with bench.archive.ledger.read() as tx:
        assert tx.dataset(dataset.id).state == "closed"
        assert {f.path: f.size_bytes for f in tx.files(dataset.id)} == {"a": 4, "b.snapshot": 2}
    assert check(bench.archive) == []


def test_a_pack_on_postgresql(pg_bench: Bench):
    bench = pg_bench
    sender = Sender("instrument/saxs", "saxs", ("snow",))
    dataset = upload.open_dataset(bench.archive, sender, "packed", "snow", None)
    files = {f"{n:03d}".encode(): secrets.token_bytes(100 + n) for n in range(20)}
    wanted = [Wanted(path, len(content), bench.now, "m") for path, content in files.items()]
    first = upload.begin(bench.archive, sender, dataset.id, wanted, packs=True)[0].pack
    other = upload.begin(bench.archive, sender, dataset.id, wanted[1:], packs=True)[0].pack
    assert first is not None
    assert other is not None
    assert first.number != other.number
    body = b"".join(bundle.stream(_told(other.places, files), ([files[place.file.path_raw]] for place in other.places)))
    httpx.put(other.put.url, headers=other.put.headers, content=body).raise_for_status()
    sums = {place.file.id: hashlib.sha256(files[place.file.path_raw]).hexdigest() for place in other.places}
    with pytest.raises(NotFound):
        upload.pack_done(bench.archive, sender, dataset.id, first.number, sums)
    assert upload.pack_done(bench.archive, sender, dataset.id, other.number, sums) == "verifying"
    (item,) = upload.begin(bench.archive, sender, dataset.id, wanted[:1], packs=True)
    assert item.put is not None
    assert item.file_id is not None
    httpx.put(item.put.url, headers=item.put.headers, content=files[b"000"]).raise_for_status()
    upload.done(bench.archive, sender, dataset.id, [Sent(item.file_id, hashlib.sha256(files[b"000"]).hexdigest())])
    upload.close(bench.archive, sender, dataset.id)
    bench.settle()
    with bench.archive.ledger.read() as tx:
        assert tx.dataset(dataset.id).state == "closed"
    for path, content in files.items():
        assert bench.read(dataset, path.decode()) == content
    assert check(bench.archive) == []


def _told(places: Sequence[bundle.Place], files: Mapping[bytes, bytes]) -> list[File]:
    return [replace(place.file, sha256=hashlib.sha256(files[place.file.path_raw]).hexdigest()) for place in places]


def test_an_erasure_on_postgresql(pg_bench: Bench):
    bench = pg_bench
    files = {"patient/1.csv": b"one", "patient/2.csv": b"two", "scan/a.csv": b"a", "scan/b.csv": b"b", "scan/c.h5": bytes(2 * 2**20)}
    dataset = bench.ingest("run1", files)
    bench.settle()
    bench.turn(days=800)
    for _ in range(3):
        bench.settle()
        bench.turn(hours=2)
    assert bench.tiers(dataset, "scan/c.h5") == {"deep"}
    asked = erasure.request(bench.archive, "ana", "run1", "patient/*", "A patient wants it.")
    erasure.approve(bench.archive, "ben", asked.id)
    for _ in range(6):
        bench.settle()
        bench.turn(hours=2)
    with bench.archive.ledger.read() as tx:
        assert tx.erasure(asked.id).state is ErasureState.ERASED
        assert {f.path for f in tx.files(dataset.id)} == {path for path in files if path.startswith("scan/")}
        versions = [c.version_id for c in tx.copies(dataset.id) if c.tier == "deep"]
    everything = b"".join(b"".join(bench.archive.tiers["deep"].read(key, None)) for key in bench.keys("deep"))
    assert b"two" not in everything
    assert len(versions) == 3  # the large one, the new bundle, the new manifest
    assert check(bench.archive) == []


def test_notices_holds_and_quotes_on_postgresql(pg_bench: Bench):
    bench, archive = pg_bench, pg_bench.archive
    kept, gone = bench.ingest("run1", {"a": b"held"}), bench.ingest("run2", {"b": b"not held"})
    bench.settle()
    bench.turn(days=46)
    for _ in range(2):
        notices.tell(archive, Who())
    with archive.ledger.read() as tx:
        assert [one.subject.partition(",")[0] for one in tx.messages("alice", 9)] == ["2 datasets leave the fast storage soon"], "once"
        assert tx.unseen("alice") == 1
    held = hold.request(archive, "alice", "run1", bench.now + timedelta(days=60), "for the thesis", None, ["snow"])
    assert hold.request(archive, "alice", "run1", bench.now + timedelta(days=90), "É", None, ["snow"]).id == held.id
    bench.turn(days=15)
    bench.settle()
    bench.turn(hours=2)
    bench.settle()
    assert (bench.tiers(kept), bench.tiers(gone)) == ({"hot", "archive", "deep"}, {"archive", "deep"})

    said = quotes.quote(archive, "alice", ["run2"], None, 2, ["snow"])
    assert (said.answer["absent_bytes"], said.answer["from_tiers"], said.answer["quotas"][0]["used_bytes"]) == (8, {"archive": 8}, 4)
    with pytest.raises(NotFound):
        quotes.take_up(archive, "bob", said.id, ["snow"])
    asked = quotes.take_up(archive, "alice", said.id, ["snow"])
    assert [one.id for one in quotes.take_up(archive, "alice", said.id, ["snow"])] == [asked[0].id], "twice is once"
    bench.settle()
    notices.tell(archive, Who())
    with archive.ledger.read() as tx:
        assert tx.restore(asked[0].id).state is RestoreState.READY
        assert "saxs/run2 is restored" in [one.subject for one in tx.messages("alice", 2)]
        assert [(o.tier, o.kept) for o in tx.outcomes()] == [("archive", True)]
        assert [h["reason"] for h in describe.holds(tx, tx.holds(["snow"], None, "alice", 9))] == ["É"]
    assert hold.end(archive, "alice", held.id, ["snow"], admin=False).ended_at == bench.now
    assert check(archive) == []


def test_two_who_ask_at_once_do_not_both_get_what_fits_one(pg_bench: Bench):
    archive = pg_bench.archive
    for name in ("run1", "run2"):
        pg_bench.ingest(name, {"a": b"12345678"})
    with archive.ledger.begin() as tx:
        tx.set_quota("user", "alice", 10)
    at_once, answers = threading.Barrier(2), []

    def ask(name: str) -> None:
        at_once.wait(10)
        try:
            answers.append(restore.request(archive, "alice", name, None, 1, ["snow"]))
        except OverQuota as error:
            answers.append(error)

    hands = [threading.Thread(target=ask, args=(name,)) for name in ("run1", "run2")]
    for one in hands:
        one.start()
    for one in hands:
        one.join()
    assert sorted(type(answer).__name__ for answer in answers) == ["OverQuota", "Restore"]
    with archive.ledger.read() as tx:
        assert asking.usage(tx, archive.settings, "user", "alice").used_bytes == 8


def test_many_hands_on_one_dataset_are_never_in_each_others_way(pg_bench: Bench):
    """Workers' transfers, a planner and people, at once, on one dataset: no deadlock, no gap in its history."""
    dataset = pg_bench.ingest("run1", {f"f{n}": b"%d" % n for n in range(12)})
    failures: list[BaseException] = []

    def hand(work: Callable[[], object]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001  # told below
                failures.append(error)

        return threading.Thread(target=run)

    def people() -> None:
        for turn in range(20):
            with pg_bench.archive.ledger.begin("alice") as tx:
                tx.event(dataset.id, "test", {"turn": turn})
                tx.look(dataset.id)

    hands = [hand(Worker(pg_bench.archive).settle), hand(Worker(pg_bench.archive).settle), hand(people)]
    for one in hands:
        one.start()
    for one in hands:
        one.join()
    pg_bench.settle()
    assert failures == []
    assert check(pg_bench.archive) == []
    assert pg_bench.tiers(dataset, "f0") == {"hot"}  # small: bundled elsewhere


def test_a_worker_goes_on_when_the_database_is_back(pg_bench: Bench, postgres: Postgres, caplog: pytest.LogCaptureFixture):
    stop = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            Worker(pg_bench.archive).run(stop)
        except BaseException as error:  # noqa: BLE001  # told below
            failures.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        first = pg_bench.ingest("run1", {"big": bytes(2 * 2**20)})
        wait_until(lambda: pg_bench.tiers(first) == {"hot", "archive", "deep"}, 30, "the worker works")
        postgres.stop()
        try:
            says = r"The ledger at postgresql\+psycopg://neve@127.0.0.1.* does not answer"
            with pytest.raises(LedgerUnavailable, match=says), pg_bench.archive.ledger.read():
                pass
            with pytest.raises(LedgerUnavailable):
                pg_bench.archive.ledger.check_revision()
            wait_until(lambda: "does not answer" in caplog.text, 30, "the worker has met it")
            assert worker.is_alive()
        finally:
            postgres.start()
        second = pg_bench.ingest("run2", {"big": bytes(2 * 2**20)})
        wait_until(lambda: pg_bench.tiers(second) == {"hot", "archive", "deep"}, 30, "the worker goes on")
    finally:
        stop.set()
        worker.join()
        for chore in (one for one in threading.enumerate() if one.name == "chores"):
            chore.join(60)  # the worker does not wait for it: its process ends. Here it would outlive its database
    assert failures == []
    assert check(pg_bench.archive) == []


def test_a_wrong_revision_refuses_to_start_and_names_the_command(pg_bench: Bench):
    with pg_bench.archive.ledger.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    for command in (["worker", "--once"], ["serve"], ["status"], ["ledger", "check"]):
        answer = CliRunner().invoke(cli, ["--config", str(pg_bench.settings_file), *command])
        assert isinstance(answer.exception, LedgerUnavailable)
        assert "is of revision 0001, this program needs 0011. Run `archiver ledger upgrade`." in str(answer.exception)
    with pg_bench.archive.ledger.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0011'")
    answer = CliRunner().invoke(cli, ["--config", str(pg_bench.settings_file), "ledger", "check"])
    assert (answer.exit_code, answer.output) == (0, "Every invariant holds.\n")

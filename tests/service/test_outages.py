"""What the archive stands on goes away in the middle of work: its store freezes, ends, has no room; its ledger is locked.

Worker and reaper run all the while. They say so, prove nothing that is not so, give nothing up, and go on by themselves.
"""

from __future__ import annotations

import logging
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from fixtures.archive import Bench, settings_toml
from fixtures.own_store import OwnStore
from fixtures.ports import STORE
from fixtures.processes import wait_until
from fixtures.requirements import missing
from fixtures.soundness import under_way, wrong
from fixtures.store import S3Store

from archiver import app, restore
from archiver.config import load
from archiver.errors import LedgerUnavailable
from archiver.model import Transfer
from archiver.reaper import Reaper
from archiver.worker import Worker

MB = 10**6
ALL = {"hot", "archive", "deep"}


def open_bench(tmp_path: Path, store: S3Store) -> Bench:
    """An archive that gives up after two tries what it gives up at all; ice-cores leave archive early."""
    (tmp_path / "home").mkdir()
    text = settings_toml(tmp_path / "home", store, store.buckets("hot", "archive", "deep"))
    text += '[[rules]]\nproject = "ice-cores"\nkeep = { archive = "P121DT4H" }\ncopies_min_first = 1\n'
    (tmp_path / "neve.toml").write_text(text.replace("[worker]\n", "[worker]\ntries = 2\n"), "utf-8")
    return Bench(tmp_path, tmp_path / "neve.toml")


@contextmanager
def at_work(bench: Bench) -> Iterator[list[threading.Thread]]:
    """Worker and reaper run meanwhile, on a clock that goes on from the bench's; so does the bench's own."""
    began, monotonic = bench.now, time.monotonic()
    archive = app.open_archive(load(bench.settings_file), lambda: began + timedelta(seconds=time.monotonic() - monotonic))
    ending = threading.Event()
    there = bench.archive
    bench.archive = replace(bench.archive, ledger=archive.ledger)
    hands = [Worker(archive), Reaper(replace(archive, tiers=bench.reaping.tiers))]
    threads = [threading.Thread(target=hand.run, args=(ending,), name=type(hand).__name__) for hand in hands]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        ending.set()
        for thread in threads:
            thread.join()
        bench.archive, bench.now = there, archive.clock()
        archive.ledger.dispose()


def busy(bench: Bench) -> dict[str, dict[str, bytes]]:
    """One dataset that leaves archive and was asked for back, one that leaves hot, one that has just come: nothing is done about them yet."""
    contents = {f"run-{number}": {f"{i:02}.bin": bytes([number, i]) * 100_000 for i in range(5)} for number in range(3)}
    for name, project, hours in (("run-0", "ice-cores", (61 * 24, 2)), ("run-1", "snow", (60 * 24 + 1, 0))):
        bench.ingest(name, contents[name], project)
        bench.settle()
        for later in hours:
            bench.turn(hours=later)
            bench.settle()
    bench.turn(hours=2)
    restore.request(bench.archive, "alice", "run-0", None, 3, None)
    bench.ingest("run-2", contents["run-2"])
    return contents


def goes_on(bench: Bench, threads: list[threading.Thread], contents: dict[str, dict[str, bytes]], within_s: float = 60) -> None:
    """By themselves: nobody is called, nothing is given up."""
    wait_until(lambda: not under_way(bench), within_s, "all that was under way")
    assert all(thread.is_alive() for thread in threads)
    found = wrong(bench, contents, {"run-0": {"hot", "deep"}, "run-1": {"archive", "deep"}, "run-2": ALL})
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("how", "seconds"),
    [
        ("frozen", 3),
        ("ended", 6),  # longer than a client's own four attempts
        pytest.param("frozen", 30, marks=pytest.mark.long),
        pytest.param("frozen", 70, marks=pytest.mark.long),  # longer than a client waits for an answer
        pytest.param("ended", 30, marks=pytest.mark.long),
    ],
)
def test_a_store_that_is_away_for_a_while(tmp_path: Path, own_store: OwnStore, how: str, seconds: float):
    bench = open_bench(tmp_path, own_store.s3)
    contents = busy(bench)
    with at_work(bench) as threads:
        proven = threading.Event()
        bench.archive.ledger.after_commit = lambda states: proven.set() if "transfer.proven" in states else None
        assert proven.wait(30)
        if how == "frozen":
            own_store.signal(signal.SIGSTOP)
        else:
            own_store.end()
        try:
            time.sleep(seconds)
        finally:
            if how == "frozen":
                own_store.signal(signal.SIGCONT)
            else:
                own_store.start()
        goes_on(bench, threads, contents)
    bench.archive.ledger.dispose()


# no room


def small_disk(size: str, at: Path) -> tuple[str, ...]:
    """A command's prefix: it runs with a file system of its own at a folder, which nobody else sees and which ends with it.

    The store's index of names lies beside it: once that has met a full disk, SeaweedFS 4.48 refuses to change it long after there is room.
    """
    index = at / "filerldb2"
    mounting = f'mount -t tmpfs -o size={size} tmpfs {at} && mkdir {index} && mount --bind {at.parent / "index"} {index} && exec "$@"'
    spaces = (("--user", "--map-root-user", "--mount"), ("--mount",))
    prefixes = [("unshare", *space, "sh", "-c", mounting, "sh") for space in spaces if shutil.which("unshare")]
    allowed = next((p for p in prefixes if subprocess.run([*p, "true"], capture_output=True).returncode == 0), None)
    if allowed is None:
        missing("A disk that is full", "neither user namespaces nor mounts are allowed here")
    return allowed


@pytest.fixture
def small_store(tmp_path: Path, port_base: Callable[..., int]) -> Iterator[tuple[OwnStore, Path]]:
    """A store whose data lie on a disk of 160 MB, and where that is seen from here."""
    folder = tmp_path / "small"
    for name in ("data", "index"):
        (folder / name).mkdir(parents=True)
    made = OwnStore(folder, port_base(STORE), small_disk("160m", folder / "data"))
    made.start()
    assert made.process is not None
    yield made, Path(f"/proc/{made.process.pid}/root{folder}/data")
    made.end()


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(65_536))
    return ballast


def test_a_store_without_room_is_waited_for(tmp_path: Path, small_store: tuple[OwnStore, Path], caplog: pytest.LogCaptureFixture):
    """What waits says why; no copy is proven that is not there, none is dropped for it; once there is room, all goes on."""
    store, disk = small_store
    bench = open_bench(tmp_path, store.s3)
    contents = busy(bench)
    ballast = fill(disk)
    with at_work(bench) as threads, caplog.at_level(logging.WARNING):
        wait_until(lambda: any("internal error" in (one.error or "") for one in waiting_transfers(bench)), 90, "transfers into the full store")
        for name, files in contents.items():
            assert all(content == files[path] for path, content in lying(bench, name)), name
        assert "cannot be used" in caplog.text
        ballast.unlink()
        goes_on(bench, threads, contents)
    bench.archive.ledger.dispose()


def waiting_transfers(bench: Bench) -> list[Transfer]:
    with bench.archive.ledger.read() as tx:
        assert "quarantined" not in tx.states()["transfer"]
        return [one for name in ("run-0", "run-2") for one in tx.transfers(tx.find_dataset(name).id)]


def lying(bench: Bench, name: str) -> Iterator[tuple[str, bytes]]:
    """(path, bytes) of each copy of a dataset's files, as the store gives them."""
    with bench.archive.ledger.read() as tx:
        held = [(file.path, copy) for file in tx.files(tx.find_dataset(name).id) for copy in tx.copies_of(file.object_id)]
    for path, copy in held:
        yield path, b"".join(bench.archive.tiers[copy.tier].read(copy.key, copy.version_id))


# the ledger


@contextmanager
def locked(bench: Bench) -> Iterator[None]:
    """Another program writes, and does not end."""
    with closing(sqlite3.connect(str(bench.archive.ledger.url.database), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def impatient(bench: Bench) -> None:
    """A ledger that is waited for a fifth of a second, not half a minute."""

    def hurry(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA busy_timeout = 200").close()

    sa.event.listen(bench.archive.ledger.engine, "connect", hurry)
    bench.archive.ledger.dispose()


@pytest.mark.long
def test_a_ledger_that_is_locked_is_waited_for(tmp_path: Path, store: S3Store, caplog: pytest.LogCaptureFixture):
    bench = open_bench(tmp_path, store)
    contents = busy(bench)
    with at_work(bench) as threads, ExitStack() as lock, caplog.at_level(logging.WARNING):
        impatient(bench)
        proven = threading.Event()
        bench.archive.ledger.after_commit = lambda states: proven.set() if "transfer.proven" in states else None
        assert proven.wait(30)
        lock.enter_context(locked(bench))
        with pytest.raises(LedgerUnavailable, match="not locked"):
            bench.ingest("run-3", {"a.bin": b"late"})
        wait_until(lambda: "archiver.worker" in held_up(caplog), 30, "the worker to say that it waits")
        lock.close()
        goes_on(bench, threads, contents)
        late = bench.ingest("run-3", {"a.bin": b"late"})
    bench.settle()
    assert bench.tiers(late) == ALL
    bench.give_back()


def held_up(caplog: pytest.LogCaptureFixture) -> set[str]:
    return {record.name for record in caplog.records if "does not answer: database is locked" in record.getMessage()}

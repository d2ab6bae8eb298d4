"""`send()` against the archiver itself: the real API, a real store, a worker that proves."""

from __future__ import annotations

import os
import secrets
import threading
from contextlib import contextmanager

import pytest
from fixtures.door import Door

from neve.send.journal import Journal
from neve.send.patience import Patience
from neve.send.reception import Reception
from neve.send.sender import send
from neve.send.source import scan

MIB = 1 << 20


@contextmanager
def working(door: Door):
    """A worker that does what is due, until the end."""
    over = threading.Event()
    errors = []

    def work():
        try:
            while not over.wait(0.05):
                door.settle()
        except Exception as error:  # told in the test's own thread
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(60)
    assert errors == []


@pytest.fixture
def reception(door):
    connected = Reception(door.url, door.key, Patience(longest_s=1))
    yield connected
    connected.close()


def sources(folder):
    return scan([folder], lambda _skipped: None)


def received(door, name="run42") -> dict[bytes, bytes]:
    """What the ledger says is received, with the bytes that the store gives."""
    with door.bench.archive.ledger.read() as tx:
        dataset = tx.dataset_named("saxs", name)
        files = {file.path_raw: file.path for file in tx.files(dataset.id) if file.state == "received"}
    return {raw: door.bench.read(dataset, path) for raw, path in files.items()}


def test_files_of_every_size_and_name_arrive_once(door, reception, tmp_path):
    folder = tmp_path / "run42"
    folder.mkdir()
    files = {
        b"empty": b"",
        b"small.txt": b"abc",
        b"one part less one": secrets.token_bytes(16 * MIB - 1),
        b"large.h5": secrets.token_bytes(40 * MIB + 17),
        "Größe + % & # 'q\" 🧊.dat".encode(): b"emoji",
        b"new\nline": b"n",
        b"bytes \xff\xfe.bin": b"no text",
        b"A": b"upper",
        b"a": b"lower",
        "é".encode(): b"composed",
        "é".encode(): b"decomposed",
        b"x" * 255: b"long",
    }
    for name, data in files.items():
        (folder / os.fsdecode(name)).write_bytes(data)
    with Journal(tmp_path / "sent.sqlite3", reception.url) as journal, working(door):
        outcome = send(reception, journal, "snow", "run42", sources(folder), close=False)
        assert (outcome.sent, outcome.failed, outcome.failures) == (len(files), 0, [])
        again = send(reception, journal, "snow", "run42", sources(folder), close=False)
        assert (again.sent, again.already, again.bytes_sent) == (0, len(files), 0)
        blind = send(reception, None, None, "run42", sources(folder))
        assert (blind.sent, blind.already, blind.state) == (0, len(files), "closed")
        assert {entry.state for entry in journal.entries()} == {"received"}
    assert received(door) == files
    assert list(door.bench.archive.tiers["hot"].uploads()) == []

"""`send()` when the network, the store, the archiver, the disk or the files themselves misbehave: each file once, whole, or named."""

from __future__ import annotations

import os
import random
import ssl
import subprocess
import threading
import time
from contextlib import closing

import pytest
from fixtures.sending import Kinds, fill, sources
from neve.errors import NotSignedIn, OverQuota, ServiceUnavailable
from neve.send.journal import Journal
from neve.send.patience import Patience, Stopped
from neve.send.reception import Reception
from neve.send.sender import send
from neve.send.source import Source


def test_parts_that_are_there_are_not_sent_again(archiver, reception, journal, folder):
    data = fill(folder, large=os.urandom(950_000))[b"large"]
    gate, held = threading.Event(), threading.Event()
    puts = []

    def hold(method, path, handler):
        if path.startswith("/store/"):
            puts.append(path)
            if len(puts) > 5:
                held.set()
                gate.wait(30)
        return False

    archiver.faults.append(hold)
    stopped = []

    def first():
        with pytest.raises(Stopped):
            send(reception, None, "p1", "run42", sources(folder))
        stopped.append(True)

    thread = threading.Thread(target=first)
    thread.start()
    assert held.wait(30)
    reception.patience.stop.set()
    gate.set()
    thread.join(30)
    assert stopped == [True]
    archiver.faults.clear()
    there = -1
    while there != archiver.bytes_in:  # what had arrived when it was stopped is still being kept
        there = archiver.bytes_in
        time.sleep(0.5)
    assert 0 < there < 950_000
    second = Reception(archiver.url, archiver.key)
    outcome = send(second, journal, "p1", "run42", sources(folder))
    second.close()
    assert archiver.content() == {b"large": data}
    assert outcome.bytes_sent == archiver.bytes_in - there
    assert all(count == 1 for count in archiver.times.values())


def test_cut_connections_busy_stores_and_lost_answers(archiver, reception, journal, folder, faults):
    files = fill(folder, **{f"f{number}": os.urandom(1000 * number) for number in range(40)}, large=os.urandom(1_500_000))
    archiver.faults += [
        faults.Times(12, faults.to_store, faults.cut),
        faults.Times(8, faults.to_store, faults.status(503, Retry_After="0")),
        faults.Times(6, faults.to_store, faults.lose(archiver)),  # it was kept, and the answer was lost
        faults.Times(3, faults.to_archiver, faults.cut),
        faults.Times(2, faults.to_archiver, faults.status(503, archiver.problem(503, "store-unavailable")[1], Retry_After="0")),
    ]
    random.Random(1).shuffle(archiver.faults)
    outcome = send(reception, journal, "p1", "run42", sources(folder))
    assert archiver.content() == files
    assert (outcome.sent, outcome.failed, outcome.state) == (41, 0, "closed")
    assert not any(fault.left for fault in archiver.faults)


def test_an_outage_is_said_once_and_goes_on_by_itself(archiver, reception, journal, folder, faults):
    files = fill(folder, **{f"f{number}": b"x" * number for number in range(50)})
    away = faults.Times(60, faults.to_store, faults.cut)
    archiver.faults.append(away)
    events = Kinds()
    outcome = send(reception, journal, "p1", "run42", sources(folder), report=events.append)
    assert archiver.content() == files
    assert away.left == 0
    assert outcome.state == "closed"
    assert 1 <= events.kinds().count("waiting") <= 3
    assert events.kinds().count("again") == events.kinds().count("waiting")
    assert "X-Amz" not in str(events)


def test_reception_is_full_and_says_so(archiver, reception, journal, folder, faults):
    fill(folder, a=b"a")
    problem = archiver.problem(507, "reception-full", "Fast storage holds 9 of 10 bytes.")[1]
    archiver.faults.append(faults.Times(4, lambda method, path: path.endswith("/uploads") and method == "POST", faults.status(507, problem)))
    events = Kinds()
    assert send(reception, journal, "p1", "run42", sources(folder), report=events.append).state == "closed"
    assert [about["reason"] for about in events.of("waiting")] == ["Fast storage holds 9 of 10 bytes"]


@pytest.mark.parametrize("size", [10, 500_000])
def test_addresses_that_ended_are_asked_for_anew(archiver, reception, journal, folder, size):
    files = fill(folder, a=os.urandom(size))
    count = []

    def end_the_first(method, path, _handler):
        if path.startswith("/store/") and len(count) < 3:
            count.append(1)
            archiver.old |= set(archiver.secrets)
        return False

    archiver.faults.append(end_the_first)
    assert send(reception, journal, "p1", "run42", sources(folder)).state == "closed"
    assert archiver.content() == files
    assert len(count) == 3


def test_an_upload_that_ended_begins_anew(archiver, reception, journal, folder):
    files = fill(folder, a=os.urandom(500_000))
    once = []

    def forget(method, path, _handler):
        if path.startswith("/store/") and "partNumber=3" in path and not once:
            once.append(1)
            with archiver.lock:
                archiver.files.clear()
        return False

    archiver.faults.append(forget)
    assert send(reception, journal, "p1", "run42", sources(folder)).state == "closed"
    assert archiver.content() == files


@pytest.mark.parametrize("size", [10, 50_000, 500_000])
def test_a_file_that_changes_while_it_is_sent_starts_again(archiver, reception, journal, folder, size):
    fill(folder, a=b"1" * size, other=b"o")
    changes = []

    def change(method, path, _handler):
        if method == "POST" and path.endswith("/uploads") and len(changes) < 2:
            changes.append(1)
            (folder / "a").write_bytes(b"2" * (size + len(changes)))
        return False

    archiver.faults.append(change)
    events = Kinds()
    outcome = send(reception, journal, "p1", "run42", sources(folder), report=events.append)
    assert (outcome.sent, outcome.failed) == (2, 0)
    assert archiver.content() == {b"a": b"2" * (size + 2), b"other": b"o"}
    assert {about["path"] for about in events.of("changed")} == {"a"}


def test_a_file_that_changes_in_the_middle_of_its_parts(archiver, reception, journal, folder):
    fill(folder, a=b"1" * 900_000)
    once = []

    def change(method, path, _handler):
        if "partNumber=2" in path and not once:
            once.append(1)
            (folder / "a").write_bytes(b"2" * 700_000)
        return False

    archiver.faults.append(change)
    assert send(reception, journal, "p1", "run42", sources(folder)).failed == 0
    assert archiver.content() == {b"a": b"2" * 700_000}


def test_a_file_that_never_comes_to_rest_is_named_and_the_rest_goes_on(archiver, reception, journal, folder, monkeypatch):
    monkeypatch.setattr("neve.send.run._CHANGES", 2)
    fill(folder, a=b"1", b=b"b")
    lengths = iter(range(2, 100))

    def change(method, path, _handler):
        if method == "POST" and path.endswith("/uploads"):
            (folder / "a").write_bytes(b"1" * next(lengths))
        return False

    archiver.faults.append(change)
    outcome = send(reception, journal, "p1", "run42", sources(folder))
    assert (outcome.sent, outcome.failed, outcome.state) == (1, 1, "open")
    assert outcome.failures[0].sentence == "a changed while it was sent, 3 times; send it when it is complete"


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(archiver, reception, journal, folder):
    fill(folder, a=b"a", gone=b"gone", link=b"l", b=b"b")
    found = list(sources(folder))
    (folder / "gone").unlink()
    (folder / "link").unlink()
    (folder / "link").symlink_to(folder / "a")
    outcome = send(reception, journal, "p1", "run42", found)
    assert archiver.content() == {b"a": b"a", b"b": b"b"}
    assert outcome.state == "open", "a dataset in which something is missing is not closed"
    assert sorted(failure.sentence for failure in outcome.failures) == ["gone was removed before it was sent", "link has become a link"]


def test_a_proof_that_fails_has_the_file_sent_once_more(archiver, reception, journal, folder):
    archiver.spoil = {b"a"}
    files = fill(folder, a=b"a" * 10, b=b"b")
    outcome = send(reception, journal, "p1", "run42", sources(folder))
    assert archiver.content() == files
    assert (outcome.sent, outcome.failed, outcome.state) == (2, 0, "closed")


def test_a_proof_that_fails_twice_is_said(archiver, reception, journal, folder):
    class Always(set):
        def discard(self, _name):
            pass

    archiver.spoil = Always({b"a"})
    fill(folder, a=b"a" * 10, b=b"b")
    outcome = send(reception, journal, "p1", "run42", sources(folder))
    assert (outcome.sent, outcome.failed, outcome.state) == (1, 1, "open")
    assert outcome.failures[0].sentence == "a could not be proven: its bytes differ"
    assert {entry.source.name: entry.state for entry in journal.entries()} == {b"a": "failed", b"b": "received"}


def test_a_key_that_is_revoked_stops_at_once(archiver, reception, journal, folder, faults):
    fill(folder, **{f"f{number}": b"x" for number in range(30)})

    def revoke(method, path, _handler):
        if path.startswith("/store/"):
            archiver.key = "another"
        return False

    archiver.faults.append(revoke)
    before = threading.active_count()
    with pytest.raises(NotSignedIn, match="revoked"):
        send(reception, journal, "p1", "run42", sources(folder))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("neve-")], before


def test_over_quota_stops_with_its_sentence(archiver, reception, journal, folder, faults):
    fill(folder, a=b"a")
    problem = archiver.problem(409, "over-quota", "p1 may hold 10 bytes and would hold 11.")[1]
    archiver.faults.append(faults.Times(1, lambda method, path: path.endswith("/uploads"), faults.status(409, problem)))
    with pytest.raises(OverQuota, match="would hold 11"):
        send(reception, journal, "p1", "run42", sources(folder))


def test_what_answers_must_be_an_archiver_at_first_and_is_waited_for_later(archiver, reception, journal, folder, faults):
    files = fill(folder, a=b"a")
    archiver.faults.append(faults.Times(1, faults.to_archiver, faults.status(404, {"x": 1}, kind="text/html")))
    with pytest.raises(ServiceUnavailable, match="is not the archiver"):
        send(reception, journal, "p1", "run42", sources(folder))
    page = faults.status(404, {"x": 1}, kind="text/html")
    moved = faults.status(302, None, kind="text/html", Location="https://elsewhere.example/")
    archiver.faults.append(faults.Times(2, lambda method, path: path.endswith("/uploads"), page))
    archiver.faults.append(faults.Times(1, lambda method, path: path.endswith("/done"), moved))
    assert send(reception, journal, "p1", "run42", sources(folder)).state == "closed"
    assert archiver.content() == files


def test_an_archiver_with_a_bug_is_not_asked_for_ever(archiver, reception, journal, folder, faults):
    fill(folder, a=b"a")
    archiver.faults.append(
        faults.Times(100, lambda method, path: path.endswith("/uploads"), faults.status(500, archiver.problem(500, "internal")[1]))
    )
    with pytest.raises(ServiceUnavailable):
        send(reception, journal, "p1", "run42", sources(folder))
    assert archiver.faults[0].left > 80


def test_a_store_that_redirects_or_refuses_fails_the_file(archiver, reception, journal, folder, faults):
    fill(folder, a=b"a", large=b"l" * 300_000)
    archiver.faults.append(faults.Times(100, faults.to_store, faults.status(307, Location="http://127.0.0.1:1/x?X-Amz-Signature=secret")))
    outcome = send(reception, journal, "p1", "run42", sources(folder))
    assert (outcome.sent, outcome.failed) == (0, 2)
    assert all("answers 307" in failure.sentence and "secret" not in failure.sentence for failure in outcome.failures)


def test_a_journal_on_a_full_disk_stops_nothing(archiver, reception, folder, tmp_path):
    files = fill(folder, **{f"f{number}": b"x" for number in range(300)})
    journal = Journal(tmp_path / "sent.sqlite3", archiver.url)
    journal._db.execute("PRAGMA query_only = ON")
    outcome = send(reception, journal, "p1", "run42", sources(folder))
    assert (outcome.sent, outcome.state) == (300, "closed")
    assert archiver.content() == files
    assert "readonly" in journal.trouble
    journal.close()


def test_a_source_that_is_no_file_any_more(archiver, reception, journal, folder):
    os.mkfifo(folder / "pipe")
    source = Source(folder / "pipe", b"pipe", 3, 0)
    outcome = send(reception, journal, "p1", "run42", [source])
    assert outcome.failures[0].sentence == "pipe is no file any more"


def test_waiting_ends_when_asked_to_stop(archiver, journal, folder, faults):
    fill(folder, a=b"a")
    archiver.faults.append(faults.Times(10**6, faults.to_store, faults.cut))
    reception = Reception(archiver.url, archiver.key, Patience(longest_s=60))
    waiting = threading.Event()
    events = Kinds()

    def seen(event):
        events.append(event)
        if event.kind == "waiting":
            waiting.set()
            threading.Thread(target=reception.patience.stop.set).start()

    with pytest.raises(Stopped):
        send(reception, journal, "p1", "run42", sources(folder), report=seen)
    assert waiting.is_set()
    reception.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("neve-")]


def test_an_error_in_what_is_told_ends_it_and_leaves_no_thread(archiver, reception, journal, folder):
    fill(folder, **{f"f{number}": b"x" for number in range(50)})

    def fails(event):
        if event.kind == "sent":
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        send(reception, journal, "p1", "run42", sources(folder), report=fails)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("neve-")]


def test_what_another_sending_left_unproven_keeps_the_dataset_open(archiver, reception, journal, folder):
    fill(folder, a=b"a", b=b"b")
    archiver.spoil = {b"a"}
    send(reception, None, "p1", "run42", sources(folder), close=False, wait=False)
    found = [source for source in sources(folder) if source.name == b"b"]
    outcome = send(reception, journal, "p1", "run42", found, close=False)
    assert (outcome.already, outcome.failed) == (1, 0), "a file that is no business of this sending"
    outcome = send(reception, journal, "p1", "run42", found)
    assert (outcome.failed, outcome.state) == (1, "open")
    assert outcome.failures[0].sentence == "a could not be proven: its bytes differ"
    assert send(reception, journal, "p1", "run42", sources(folder)).state == "closed"


def test_a_certificate_that_is_not_trusted_and_one_that_is(archiver, journal, folder, tmp_path, monkeypatch):
    fill(folder, a=b"a")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, *subject], check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    archiver.server.socket = context.wrap_socket(archiver.server.socket, server_side=True)
    archiver.scheme = "https"
    url = archiver.url.replace("http:", "https:")
    monkeypatch.setattr("neve.send.store._tls", [])
    with closing(Reception(url, archiver.key)) as reception, pytest.raises(ServiceUnavailable, match=r"cannot be trusted.*SSL_CERT_FILE"):
        send(reception, journal, "p1", "run42", sources(folder))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setattr("neve.send.store._tls", [])
    with closing(Reception(url, archiver.key)) as reception:
        assert send(reception, journal, "p1", "run42", sources(folder)).state == "closed"

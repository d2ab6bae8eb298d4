"""PUTs to the store: what goes over the wire, and that no address is ever told."""

from __future__ import annotations

import threading

import pytest
from neve.send.answers import Put
from neve.send.events import Event
from neve.send.patience import Patience, Stop, Stopped
from neve.send.store import Away, Expired, Gone, Refused, Store

SECRET = "/bucket/key%20with%2Bsigns?X-Amz-Signature=secret"


@pytest.fixture
def store():
    made = Store(timeout_s=5)
    yield made
    made.close()


@pytest.fixture
def heard(archiver):
    """Requests as they came: target, headers, body. `answer` decides what is answered."""
    requests = []

    def take(_method, path, handler):
        headers = {name.lower(): value for name, value in handler.headers.items()}
        requests.append((path, headers, handler.body(), handler.connection.getpeername()))
        archiver.reply(handler)
        return True

    archiver.reply = lambda handler: handler.reply(200, x_amz_version_id="v7")
    archiver.faults.append(take)
    return requests


def to(archiver, **headers):
    return Put(f"http://127.0.0.1:{archiver.server.server_port}{SECRET}", headers)


def test_exactly_the_signed_headers_over_one_connection(archiver, heard, store):
    put = to(archiver, **{"x-amz-acl": "private", "If-None-Match": "*", "Content-Type": "application/x-hdf5"})
    assert store.put(put, 5, [b"ab", memoryview(b"cde")]) == "v7"
    assert store.put(put, 0, []) == "v7"
    (path, headers, body, peer), (_, _, empty, again) = heard
    assert path == SECRET, "the address is used as it was given"
    host = f"127.0.0.1:{archiver.server.server_port}"
    assert headers == {"host": host, "x-amz-acl": "private", "if-none-match": "*", "content-type": "application/x-hdf5", "content-length": "5"}
    assert (body, empty) == (b"abcde", b"")
    assert peer == again


def test_a_signed_host_is_sent_as_signed(archiver, heard, store):
    store.put(to(archiver, Host="store.example:9000"), 1, [b"x"])
    assert heard[0][1]["host"] == "store.example:9000"


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (403, b"<Error><Code>AccessDenied</Code></Error>", Expired),
        (404, b"<Error><Code>NoSuchUpload</Code></Error>", Gone),
        (404, b"<Error><Code>NoSuchBucket</Code></Error>", Refused),
        (400, b"<Error><Code>RequestTimeout</Code></Error>", Away),
        (400, b"<Error><Code>BadDigest</Code></Error>", Refused),
        (307, b"", Refused),
        (409, b"<Error><Code>ConditionalRequestConflict</Code></Error>", Away),
        (500, b"", Away),
        (503, b"<Error><Code>SlowDown</Code></Error>", Away),
    ],
)
def test_what_an_answer_means_and_no_secret_in_it(archiver, heard, store, status, body, error):
    archiver.reply = lambda handler: handler.reply(status, body + SECRET.encode(), "application/xml", Location=f"http://127.0.0.1:1{SECRET}")
    with pytest.raises(error) as caught:
        store.put(to(archiver), 1, [b"x"])
    assert "secret" not in str(caught.value)
    assert str(status) in str(caught.value)
    assert len(heard) == 1, "no redirect is followed"


def test_what_stands_there_is_no_error(archiver, heard, store):
    archiver.reply = lambda handler: handler.reply(412, b"<Error><Code>PreconditionFailed</Code></Error>")
    assert store.put(to(archiver), 1, [b"x"]) is None


def test_a_store_that_answers_before_the_body_has_come(archiver, store):
    def early(_method, _path, handler):
        handler.reply(403, b"<Error><Code>ExpiredToken</Code></Error>")
        handler.close_connection = True
        handler.connection.shutdown(1)
        return True

    archiver.faults.append(early)
    with pytest.raises((Expired, Away)) as caught:
        store.put(to(archiver), 100 << 20, [b"x" * (1 << 20)] * 100)
    assert "secret" not in str(caught.value)


def test_nobody_there(store):
    with pytest.raises(Away, match=r"The store at 127\.0\.0\.1 cannot be reached") as caught:
        store.put(Put(f"http://127.0.0.1:1{SECRET}", {}), 1, [b"x"])
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(Put(SECRET, {}))


def test_a_body_that_ends_early_leaves_no_connection_behind(archiver, heard, store):
    def ends():
        yield b"ab"
        raise ValueError("the file changed")

    with pytest.raises(ValueError, match="changed"):
        store.put(to(archiver), 5, ends())
    assert store.put(to(archiver), 1, [b"x"]) == "v7"
    assert b"x" in [body for _, _, body, *_ in heard]  # what was broken off may be heard of later


def test_through_a_proxy(archiver, heard, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{archiver.server.server_port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    store = Store()
    assert store.put(Put(f"http://store.example:9000{SECRET}", {}), 1, [b"x"]) == "v7"
    store.close()
    path, headers, _, _ = heard[0]
    assert path == f"http://store.example:9000{SECRET}"
    assert headers["host"] == "store.example:9000"


def test_patience_says_an_outage_once_and_wakes_all():
    told = []
    patience = Patience(told.append, longest_s=60)
    threads = [threading.Thread(target=patience.wait, args=("store", "It is away", 10)) for _ in range(5)]
    for thread in threads:
        thread.start()
    while not told:
        pass
    patience.good("store")
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert [event.kind for event in told] in (["waiting", "again"], ["waiting", "again", "waiting"])
    assert isinstance(told[0], Event)


def test_pauses_grow_and_have_an_end_and_jitter(monkeypatch):
    patience, pauses = Patience(longest_s=8), []
    monkeypatch.setattr(patience, "pause", pauses.append)
    monkeypatch.setattr("neve.send.patience._LOOK_S", 1e9)
    monkeypatch.setattr("neve.send.patience.time", type("Clock", (), {"monotonic": staticmethod(lambda: sum(pauses))}))
    for attempt in range(10):
        patience.wait("archiver", "away", attempt)
    assert all(0.25 <= pause <= 8 for pause in pauses)
    assert pauses[0] <= 0.5
    assert len(set(pauses)) == 10
    patience.wait("archiver", "away", 0, asked_s=30)
    assert 30 <= pauses[-1] <= 37.5


def test_stop_ends_what_is_below_it():
    above = Stop()
    below, other = Stop(above), Stop()
    patience = Patience(stop=below)
    above.set()
    assert below.is_set()
    assert not other.is_set()
    assert Stop(above).is_set()
    with pytest.raises(Stopped):
        patience.wait("store", "away", 0)
    with pytest.raises(Stopped):
        patience.check()

"""Sending: over a real mail server and a real webhook receiver, waited for, tried again, given up; names that try to become headers."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import neve
import pytest
from fixtures.place import Place, restored
from fixtures.smtp import SmtpSink, certificate

from archiver import addresses, outbox
from archiver.model import NoticeState, RestoreState

# mail


def test_a_mail_server_that_is_away_is_waited_for(place: Place, smtp_sink):
    place.address("alice", "alice@lab.example")
    place.dataset("run1", 14)
    smtp_sink.down()
    for _ in range(30):  # more often than notices.tries: it is no fault of the message
        place.tell()
        place.turn(minutes=6)
    assert place.states("mail")[0][0] is NoticeState.WAITING
    assert "cannot be used" in place.states("mail")[0][1]
    smtp_sink.up()
    place.tell()
    assert len(smtp_sink.mails) == 1
    assert place.states("mail") == [(NoticeState.SENT, None)]


def test_a_mail_server_that_stays_away_for_days_ends_the_waiting(place: Place, smtp_sink):
    place.address("alice", "alice@lab.example")
    dataset = place.dataset("run1", 50)
    restored(place, dataset, RestoreState.FAILED, error="x")
    smtp_sink.down()
    place.tell()
    place.turn(days=8)
    place.tell()
    assert place.states("mail")[0][0] is NoticeState.GIVEN_UP


def test_what_is_refused_for_good_is_given_up_and_the_others_go_on(place: Place, smtp_sink):
    place.who.projects["snow"] = {"alice", "bob", "carol"}
    for name in ("alice", "bob", "carol"):
        place.address(name, f"{name}@lab.example")
    smtp_sink.refuse = {"alice@lab.example": (550, "no such user"), "bob@lab.example": (451, "try later")}
    place.dataset("run1", 14)
    place.tell()
    assert [m.to for m in smtp_sink.mails] == [["carol@lab.example"]]
    assert [state for state, _ in place.states("mail")] == [NoticeState.GIVEN_UP, NoticeState.WAITING, NoticeState.SENT]
    place.turn(minutes=4)
    place.tell()
    assert len(smtp_sink.mails) == 1, "not before its time"
    smtp_sink.refuse = {}
    place.turn(minutes=2)
    place.tell()
    assert smtp_sink.mails[1].to == ["bob@lab.example"]


def test_a_message_is_given_up_after_its_tries_or_when_what_it_says_is_over(place: Place, smtp_sink):
    place.address("alice", "alice@lab.example")
    smtp_sink.refuse = {"alice@lab.example": (451, "try later")}
    place.dataset("soon", 1)
    dataset = place.dataset("run1", 50)
    restored(place, dataset, RestoreState.FAILED, error="x")
    tries = 0
    while NoticeState.WAITING in {state for state, _ in place.states("mail")} or not tries:
        place.tell()
        place.turn(hours=12)
        tries += 1
        assert tries < 30
    said = dict(zip(("restore", "leaving"), place.states("mail"), strict=True))
    assert said["leaving"] == (NoticeState.GIVEN_UP, "what it says is over")
    assert said["restore"] == (NoticeState.GIVEN_UP, "451 try later")
    assert tries == place.archive.settings.notices.tries


def test_sent_again_after_a_crash_it_has_the_same_message_id(place: Place, smtp_sink):
    place.address("alice", "alice@lab.example")
    place.dataset("run1", 14)
    smtp_sink.hang_up = True
    place.tell()
    assert place.states("mail")[0][0] is NoticeState.WAITING
    smtp_sink.hang_up = False
    place.turn(minutes=6)
    place.tell()
    first, second = (m.message["message-id"] for m in smtp_sink.mails)
    assert first == second
    assert first.endswith("@lab.example>")


def test_names_from_outside_cannot_become_headers(place: Place, smtp_sink):
    place.address("alice", "alice@lab.example")
    dataset = place.dataset("run1", 14)
    evil = "x\r\nBcc: eve@evil.example\r\n\r\nHello \ud800 ☃"
    with place.archive.ledger.begin() as tx:
        for channel in ("notebook", "mail"):
            tx.add_notice("alice", "test", "2026-03-01", channel, evil.replace("\ud800", ""), {"text": f"{dataset.full_name}\n.\nQUIT\n☃"})
    place.tell()
    mail = next(m for m in smtp_sink.mails if "Hello" in m.message["subject"])
    assert mail.to == ["alice@lab.example"]
    assert mail.message["bcc"] is None
    assert mail.message["subject"] == "x Bcc: eve@evil.example Hello ☃"
    assert mail.text.splitlines() == [dataset.full_name, ".", "QUIT", "☃"]


@pytest.mark.parametrize("known", [True, False])
def test_encrypted_with_a_certificate_that_is_known(tmp_path, monkeypatch, known):
    cert, key = certificate(tmp_path)
    if known:
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    sink = SmtpSink(tls=context)
    sink.up()
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "home").mkdir()
    more = {"smtp_security": "starttls", "smtp_user": "neve", "smtp_password_file": str(tmp_path / "password")}
    place = Place(tmp_path / "home", sink.port, **more)
    place.address("alice", "alice@lab.example")
    place.dataset("run1", 14)
    place.tell()
    sink.down()
    place.archive.ledger.dispose()
    assert (len(sink.mails), len(sink.logins), sink.secured) == ((1, 1, 1) if known else (0, 0, 0))


# webhooks


@dataclass
class Receiver:
    """An HTTP server that checks what it is sent, as the guide says."""

    url: str = ""
    secret: str = ""
    status: int = 204
    location: str = ""
    got: list[dict] = field(default_factory=list)
    requests: list[tuple[dict, bytes]] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    repeated: int = 0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    state = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.requests.append((dict(self.headers), body))
            try:
                state.got.append(neve.verify_webhook(state.secret, dict(self.headers), body, seen=state.seen))
            except neve.AlreadySeen:
                state.repeated += 1
            self.send_response(state.status)
            if state.location:
                self.send_header("Location", state.location)
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/hook?x=1"
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def hooked(tmp_path, receiver: Receiver) -> Iterator[Place]:
    made = Place(tmp_path, 1, smtp_host="", webhook_hosts=["127.0.0.1"])
    made.archive = replace(made.archive, settings=made.archive.settings)
    _, receiver.secret = made.address("alice", None, receiver.url)
    yield made
    made.archive.ledger.dispose()


def test_a_webhook_is_signed_and_verifies(hooked: Place, receiver: Receiver):
    hooked.dataset("forêt", 14)
    hooked.tell()
    (said,) = receiver.got
    assert (said["kind"], said["day"], said["user"]) == ("leaving-hot", "2026-03-01", "alice")
    assert said["datasets"][0]["dataset"] == "saxs/forêt"
    assert said["datasets"][0]["leaves_at"] == "2026-03-15T12:00:00Z"
    assert "told" not in said
    headers, body = receiver.requests[0]
    assert neve.verify_webhook(receiver.secret, headers, body) == said
    with pytest.raises(neve.AlreadySeen):
        neve.verify_webhook(receiver.secret, headers, body, seen=receiver.seen)
    sent_at = int(headers["X-Neve-Timestamp"])
    assert abs(sent_at - datetime.now(UTC).timestamp()) < 60, "signed at the time of sending, whatever time is acted at"


def test_a_receiver_that_fails_gets_it_again_with_the_same_number(hooked: Place, receiver: Receiver):
    receiver.status = 500
    hooked.dataset("run1", 14)
    hooked.tell()
    hooked.turn(minutes=6)
    receiver.status = 200
    hooked.tell()
    assert (len(receiver.got), receiver.repeated) == (1, 1)
    assert hooked.states("webhook") == [(NoticeState.SENT, None)]


def test_a_redirect_is_not_followed(hooked: Place, receiver: Receiver):
    receiver.status, receiver.location = 302, receiver.url
    hooked.dataset("run1", 14)
    hooked.tell()
    assert len(receiver.requests) == 1
    assert hooked.states("webhook") == [(NoticeState.WAITING, "the webhook answered 302")]


def test_the_secret_is_new_with_each_address_and_as_asked(hooked: Place, receiver: Receiver):
    old = receiver.secret
    assert hooked.address("alice", "a@lab.example", receiver.url)[1] is None
    assert addresses.of(hooked.archive, "alice").webhook_secret == old
    _, other = hooked.address("alice", None, f"{receiver.url}&y=2")
    assert other not in {None, old}
    _, renewed = addresses.put(hooked.archive, "alice", None, f"{receiver.url}&y=2", wants=True, renew_secret=True)
    assert renewed not in {None, other}
    assert hooked.address("alice")[1] is None
    assert addresses.of(hooked.archive, "alice").webhook_secret is None


def test_who_wants_no_more_is_not_told_what_waits(hooked: Place, receiver: Receiver):
    receiver.status = 503
    hooked.dataset("run1", 14)
    hooked.tell()
    hooked.address("alice", wants=False)
    hooked.turn(minutes=6)
    hooked.tell()
    assert len(receiver.requests) == 1
    assert hooked.states("webhook") == [(NoticeState.GIVEN_UP, "its user wants it no more")]


def test_a_delivery_number_is_its_own(place: Place):
    place.who.projects["snow"] = {"alice", "bob"}
    place.dataset("run1", 14)
    place.tell()
    with place.archive.ledger.read() as tx:
        numbers = {outbox.delivery_of(tx.messages(user, 1)[0]) for user in ("alice", "bob")}
    assert len(numbers) == 2

"""Messages: each told once, none lost, over a real mail server, a real webhook receiver and the notebook; and addresses that cannot be abused."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import neve
import pytest
from fixtures.archive import START, Bench
from fixtures.smtp import SmtpSink, certificate

from archiver import addresses, app, guards, hold, notices, outbox
from archiver.addresses import UnsafeAddress
from archiver.config import load
from archiver.errors import HubUnavailable, WrongUse
from archiver.model import DatasetState, NoticeState, RestoreState, TransferState


@dataclass
class Who:
    """Who is who, as the hub would say."""

    projects: dict[str, set[str]] = field(default_factory=lambda: {"snow": {"alice"}, "ice-cores": {"bob"}, "glaciers": set()})
    bosses: set[str] = field(default_factory=lambda: {"boss"})
    away: bool = False
    asked: int = 0

    def members(self, project: str) -> set[str]:
        self.asked += 1
        if self.away:
            raise HubUnavailable("The hub is away.", "Try later.")
        return self.projects.get(project, set())

    def admins(self) -> set[str]:
        self.asked += 1
        if self.away:
            raise HubUnavailable("The hub is away.", "Try later.")
        return self.bosses


class Place:
    """A ledger with datasets that have no bytes: what is told depends on none."""

    def __init__(self, folder, port: int, **more: object) -> None:
        settings = {"smtp_host": "127.0.0.1", "smtp_port": port, "smtp_security": "none", "sender": "neve@lab.example", **more}
        lines = [f'home = "{folder}"', "[notices]", *(f"{name} = {json.dumps(value)}" for name, value in settings.items())]
        lines += [
            f'[tiers.{t}]\nbucket = "{t}-b"\nplace = "{t}"{k}' for t, k in (("hot", '\nkeep = "P60D"'), ("archive", '\nkeep = "P730D"'), ("deep", ""))
        ]
        (folder / "neve.toml").write_text("\n".join(lines), "utf-8")
        self.now, self.who = START, Who()
        self.archive = app.open_archive(load(folder / "neve.toml"), lambda: self.now, check=False)
        self.archive.ledger.upgrade()
        with self.archive.ledger.begin() as tx:
            tx.add_instrument("saxs", "saxs")
            for project in self.who.projects:
                tx.add_project(project, project)

    def dataset(self, name: str, leaves_in: float, project: str = "snow", size_bytes: int = 25_000_000_000):
        """A closed dataset whose age lets go of hot in so many days."""
        now = self.now
        self.now = now - timedelta(days=60 - leaves_in)
        with self.archive.ledger.begin() as tx:
            made = tx.open_dataset(project, "saxs", name, f"{project}/saxs/2026/03/{name}", None)
            obj = tx.add_object(made.id, "file", f"{project}/saxs/2026/03/{name}/a", size_bytes)
            tx.add_file(made.id, "a", b"a", size_bytes, obj, None)
            end = self.now + timedelta(days=60)
            tx.update_dataset(made.id, state=DatasetState.CLOSED, closed_at=tx.at, look_at=end, size_bytes=size_bytes, file_count=1)
        self.now = now
        return made

    def address(self, user: str, email: str | None = None, webhook_url: str | None = None, *, wants: bool = True):
        return addresses.put(self.archive, user, email, webhook_url, wants=wants, renew_secret=False)

    def tell(self) -> None:
        notices.tell(self.archive, self.who)

    def turn(self, **later: float) -> None:
        self.now += timedelta(**later)

    def told(self, user: str = "alice") -> list[str]:
        with self.archive.ledger.read() as tx:
            return [one.subject for one in reversed(tx.messages(user, 200))]

    def states(self, channel: str) -> list[tuple[str, str | None]]:
        import sqlalchemy as sa

        from archiver.ledger import tables as t

        with self.archive.ledger.read() as tx:
            found = tx.connection.execute(sa.select(t.notice.c.state, t.notice.c.error).where(t.notice.c.channel == channel).order_by(t.notice.c.id))
            return [(row[0], row[1]) for row in found]


@pytest.fixture
def place(tmp_path, smtp_sink: SmtpSink) -> Iterator[Place]:
    made = Place(tmp_path, smtp_sink.port, public_url="https://data.lab.example/services/archiver/")
    yield made
    made.archive.ledger.dispose()


# leaving hot soon


def test_each_dataset_is_told_at_14_7_and_1_days_however_often_it_runs(place: Place, smtp_sink):
    place.address("alice", "alice@lab.example")
    place.dataset("run1", 20)
    days = []
    for day in range(24):
        before = len(smtp_sink.mails)
        for _ in range(10 if day in (6, 13) else 2):
            place.tell()
            place.turn(minutes=30)
        days += [20 - day] * (len(smtp_sink.mails) - before)
        place.now = START + timedelta(days=day + 1)
    assert days == [14, 7, 1]
    assert {tuple(m.to) for m in smtp_sink.mails} == {("alice@lab.example",)}
    assert len(place.told()) == 3


def test_a_day_on_which_nothing_ran_is_told_late(place: Place):
    place.dataset("run1", 14)
    place.tell()
    place.turn(days=9)  # day 7 was missed
    place.tell()
    assert len(place.told()) == 2
    place.turn(days=1)
    place.tell()
    assert len(place.told()) == 2
    place.turn(days=4, hours=-1)  # the day on which it leaves: told for the last time, an hour before
    place.tell()
    assert len(place.told()) == 3


def test_what_has_left_is_not_told(place: Place):
    place.dataset("run1", 14)
    place.turn(days=15)
    place.tell()
    assert place.told() == []


def test_one_message_a_day_for_all_projects_with_names_sizes_days_and_the_line_that_holds(place: Place, smtp_sink):
    place.who.projects = {name: {"alice"} for name in ("snow", "ice-cores", "glaciers")}
    place.address("alice", "alice@lab.example")
    for number, project in enumerate(place.who.projects):
        place.dataset(f"run{number}", 7 + number * 0.1, project)
    place.dataset("forêt-é", 1)
    place.tell()
    assert len(smtp_sink.mails) == 1
    mail = smtp_sink.mails[0]
    for text in ("saxs/run0", "saxs/run1", "saxs/run2", "saxs/forêt-é", "25.0 GB", "2026-03-02", "2026-03-08", "project glaciers"):
        assert text in mail.text, text
    assert 'neve.hold("saxs/forêt-é", until="2026-05-01", reason="…")' in mail.text
    assert "https://data.lab.example/services/archiver/" in mail.text
    assert "forêt-é" not in mail.raw.decode("ascii"), "what is not ASCII is encoded"
    assert mail.message["subject"] == "4 datasets leave the fast storage soon, first on 2026-03-02"
    assert mail.message["auto-submitted"] == "auto-generated"
    place.dataset("late", 3)
    place.turn(hours=3)
    place.tell()
    assert len(smtp_sink.mails) == 1, "one per person and day"
    place.turn(days=1)
    place.tell()
    assert "saxs/late" in smtp_sink.mails[1].text, "told the next day"
    assert "saxs/run0" not in smtp_sink.mails[1].text


def test_only_members_who_want_it_are_told(place: Place, smtp_sink):
    place.who.projects["snow"] = {"alice", "carol", "dave"}
    for name in ("alice", "bob", "carol"):
        place.address(name, f"{name}@lab.example", wants=name != "carol")
    place.dataset("run1", 14)
    place.tell()
    assert [m.to for m in smtp_sink.mails] == [["alice@lab.example"]]
    assert place.told("dave") == ["saxs/run1 leaves the fast storage soon, first on 2026-03-15"], "without an address: in the notebook"
    assert place.told("carol") == place.told("bob") == []
    place.who.projects["snow"] = {"dave"}
    place.turn(days=7)
    place.tell()
    assert len(smtp_sink.mails) == 1, "alice is no member any more"
    assert len(place.told("dave")) == 2


def test_what_is_held_beyond_the_day_is_not_listed(place: Place):
    whole, part, short = place.dataset("whole", 7), place.dataset("part", 7), place.dataset("short", 7)
    for dataset, days, glob in ((whole, 60, None), (part, 60, "nothing/*"), (short, 3, None)):
        with place.archive.ledger.begin() as tx:
            tx.add_hold(dataset.id, "alice", "why", tx.at + timedelta(days=days), glob)
    place.tell()
    with place.archive.ledger.read() as tx:
        assert [d["dataset"] for d in tx.messages("alice", 9)[0].body["datasets"]] == ["saxs/part", "saxs/short"]
    place.turn(days=50)  # ten days before the hold on `whole` ends: it is what keeps it
    with place.archive.ledger.begin() as tx:
        tx.update_dataset(whole.id, look_at=START + timedelta(days=60))
    place.tell()
    with place.archive.ledger.read() as tx:
        assert "saxs/whole" in [d["dataset"] for d in tx.messages("alice", 9)[0].body["datasets"]]


def test_a_restore_under_way_has_no_end_yet(place: Place):
    dataset = place.dataset("run1", 7)
    with place.archive.ledger.begin() as tx:
        tx.add_restore(tx.dataset(dataset.id), "alice", None, 3, timedelta(0))
        tx.update_dataset(dataset.id, look_at=tx.at)
    place.tell()
    assert place.told() == []


def test_a_hub_that_is_away_is_asked_later_and_nobody_is_told_twice(place: Place, smtp_sink):
    place.who.projects["snow"] = {"alice", "bob"}
    for name in ("alice", "bob"):
        place.address(name, f"{name}@lab.example")
    place.dataset("run1", 14)
    place.dataset("core", 14, "ice-cores")
    place.who.away = True
    for _ in range(3):
        with pytest.raises(HubUnavailable):
            place.tell()
        place.turn(hours=1)
    assert smtp_sink.mails == []
    place.who.away = False
    place.tell()
    place.tell()
    assert sorted(m.to[0] for m in smtp_sink.mails) == ["alice@lab.example", "bob@lab.example"]
    asked = place.who.asked
    place.tell()
    assert place.who.asked == asked, "what is done for today asks nobody"


def test_the_worker_says_when_a_dataset_leaves(bench: Bench):
    """Over real copies: what the worker notes is what the notices are made of."""
    bench.ingest("run1", {"a": b"a"})
    bench.settle()
    who = Who()
    for day, count in ((40, 0), (46, 1), (53, 2), (58, 2), (59, 3)):
        bench.now = START + timedelta(days=day)
        notices.tell(bench.archive, who)
        with bench.archive.ledger.read() as tx:
            assert len(tx.messages("alice", 9)) == count, day
    hold.request(bench.archive, "alice", "run1", bench.now + timedelta(days=30), "why", None, None)
    bench.settle()
    for day, count in ((60, 3), (74, 3), (75, 4)):
        bench.now = START + timedelta(days=day)
        bench.settle()
        notices.tell(bench.archive, who)
        with bench.archive.ledger.read() as tx:
            assert len(tx.messages("alice", 9)) == count, day


# what became of restores, and what needs an admin


def _restore(place: Place, dataset, *states: RestoreState, user: str = "alice", **values: object):
    with place.archive.ledger.begin() as tx:
        asked = tx.add_restore(tx.dataset(dataset.id), user, None, 3, timedelta(0))
        for state in states:
            tx.change("restore", tx.restore(asked.id), state, **(values if state is states[-1] else {}))
    return asked


def test_who_asked_is_told_what_became_of_it(place: Place, smtp_sink):
    place.address("alice", "alice@lab.example")
    dataset = place.dataset("run1", 50)
    place.tell()
    s = RestoreState
    _restore(place, dataset, s.QUEUED, s.READY, ready_at=place.now, expires_at=place.now + timedelta(days=3))
    _restore(place, dataset, s.QUEUED, s.PARTLY_READY, ready_at=place.now, expires_at=place.now + timedelta(days=3))
    _restore(place, dataset, s.QUEUED, s.FAILED, error="a: the tape is torn")
    _restore(place, dataset, s.AWAITING_APPROVAL, s.DENIED, error="ask for less")
    _restore(place, dataset, s.CANCELLED)
    place.tell()
    place.tell()
    said = {m.message["subject"]: m.text for m in smtp_sink.mails}
    assert sorted(said) == sorted(
        ["saxs/run1 is restored", "saxs/run1 is partly restored", "The restore of saxs/run1 failed", "The restore of saxs/run1 was denied"]
    )
    assert len(smtp_sink.mails) == 4
    assert "until 2026-03-04 12:00 UTC" in said["saxs/run1 is restored"]
    assert "/data/snow/saxs/2026/03/run1" in said["saxs/run1 is restored"]
    assert "the tape is torn" in said["The restore of saxs/run1 failed"]
    assert "ask for less" in said["The restore of saxs/run1 was denied"]


def test_admins_are_told_of_approvals_trouble_and_held_drops(place: Place):
    dataset = place.dataset("run1", 50)
    place.tell()
    assert place.who.asked == 0, "nothing to tell: nobody is asked"
    _restore(place, dataset, RestoreState.AWAITING_APPROVAL, user="carol")
    with place.archive.ledger.begin() as tx:
        for number in range(30):
            tx.event(dataset.id, "copy.lost", {"tier": "archive", "why": f"flipped bit {number}"})
        tx.set_note(guards.HOLD, "the ledger was rebuilt")
    place.who.away = True
    with pytest.raises(HubUnavailable):
        place.tell()
    place.who.away = False
    for _ in range(3):
        place.tell()
    assert place.told("boss") == [
        "A restore of saxs/run1 waits for approval",
        "Drops are held",
        "30 event(s) in the archive need a look",
    ]
    assert place.told() == []
    with place.archive.ledger.read() as tx:
        text = tx.messages("boss", 1)[0].body["text"]
    assert "flipped bit 0" in text
    assert "and 10 more" in text
    with place.archive.ledger.begin() as tx:
        obj = tx.objects(dataset.id)[0]
        sick = tx.transfer(tx.plan_transfer(obj, "deep"))
        tx.change("transfer", sick, TransferState.FAILED)
        tx.change("transfer", tx.transfer(sick.id), TransferState.QUARANTINED, error="gave up")
    place.tell()
    assert len(place.told("boss")) == 3, "trouble is told once an hour"
    place.turn(hours=1)
    place.tell()
    place.tell()
    assert place.told("boss")[3:] == ["1 event(s) in the archive need a look"]
    place.turn(days=1)
    place.tell()
    assert place.told("boss")[4:] == ["Drops are held"], "each day, as long as it is so"


def test_admins_can_be_named_by_setting(tmp_path, smtp_sink):
    place = Place(tmp_path, smtp_sink.port, admins=["keeper"])
    with place.archive.ledger.begin() as tx:
        tx.set_note(guards.HOLD, "the ledger was rebuilt")
    place.tell()
    assert (place.told("keeper"), place.told("boss")) == (["Drops are held"], [])
    place.archive.ledger.dispose()


def test_what_happened_before_the_first_run_is_not_told_later(place: Place):
    dataset = place.dataset("run1", 50)
    _restore(place, dataset, RestoreState.FAILED, error="long ago")
    place.turn(days=3)
    place.tell()
    _restore(place, dataset, RestoreState.FAILED, error="now")
    place.tell()
    place.tell()
    with place.archive.ledger.read() as tx:
        assert [m.body["text"].count("now") for m in tx.messages("alice", 9)] == [1]


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
    _restore(place, dataset, RestoreState.FAILED, error="x")
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
    _restore(place, dataset, RestoreState.FAILED, error="x")
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


@pytest.mark.parametrize(
    "email",
    [
        "", "alice", "@lab.example", "alice@", "alice@lab", "a b@lab.example", "alice@lab.example\n", "alice@lab.example\r\nBcc: eve@evil.example",
        "alice@lab.example,eve@evil.example", "alice@lab.example;eve@evil.example", "Alice <alice@lab.example>",
        '"a b"@lab.example', "alice@[127.0.0.1]",
        "alice@lab..example", ".alice@lab.example", "alice@-lab.example", "é@lab.example", "alice@lab.example\x00", "a" * 65 + "@lab.example",
        "alice@" + "a" * 300 + ".example", "alice@lab.example\u2028x",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_and_changes_nothing(place: Place, email):
    place.address("alice", "good@lab.example")
    with pytest.raises(WrongUse, match="email"):
        place.address("alice", email)
    assert addresses.of(place.archive, "alice").email == "good@lab.example"


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


ALLOWED = ["hooks.lab.example", "127.0.0.1", "::1"]


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/", "http://hooks.lab.example/", "ftp://hooks.lab.example/", "hooks.lab.example", "https://", "https:///x",
        "https://a:b@hooks.lab.example/", "https://hooks.lab.example@evil.example/", "https://evil.example#@hooks.lab.example/",
        "https://hooks.lab.example/#x", "https://hooks.lab.example:0/", "https://hooks.lab.example:99999/", "https://hooks.lab.example\\@evil.example/",
        "https://hooks.lab.example/\r\nX: y", "https://hooks.lab.example /", "https://hooks.lab.example.evil.example/", "https://2130706433/",
        "https://127.1/", "https://169.254.169.254/", "https://[::ffff:127.0.0.1]/",
        "https://hóoks.lab.example/", "https://hooks.lab.example/" + "x" * 1000,
        "javascript:1", "file:///etc/passwd", "https://localhost/",
    ],
)  # fmt: skip
def test_a_webhook_goes_to_named_hosts_only(url):
    with pytest.raises(WrongUse, match="webhook_url"):
        addresses.target(url, ALLOWED)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "::",
        "fe80::1", "fd00:ec2::254", "fc00::1", "ff02::1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a00:1", "2002:a00:1::", "198.18.0.1",
    ],
)  # fmt: skip
def test_a_named_host_at_a_private_address_is_refused(monkeypatch, address):
    known = ["93.184.216.34", address]
    monkeypatch.setattr("archiver.addresses.socket.getaddrinfo", lambda *_a, **_k: [(2, 1, 6, "", (known[n], 443)) for n in (0, 1)])
    with pytest.raises(UnsafeAddress, match=r"hooks\.lab\.example"):
        addresses.target("https://hooks.lab.example/x", ["hooks.lab.example"])
    assert addresses.target("https://hooks.lab.example/x", ["hooks.lab.example", address]).host == "hooks.lab.example"


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(monkeypatch):
    answers = iter([[(2, 1, 6, "", ("93.184.216.34", 8443))], [(2, 1, 6, "", ("127.0.0.1", 8443))]])
    monkeypatch.setattr("archiver.addresses.socket.getaddrinfo", lambda *_a, **_k: next(answers))
    target = addresses.target("https://hooks.lab.example:8443/x?y=1", ["hooks.lab.example"])
    assert (target.url, target.host) == ("https://93.184.216.34:8443/x?y=1", "hooks.lab.example:8443")


def test_a_literal_loopback_may_be_plain():
    assert addresses.target("http://127.0.0.1:8080/x", ALLOWED).url == "http://127.0.0.1:8080/x"
    assert addresses.target("http://[::1]:8080/x", ALLOWED).url == "http://[::1]:8080/x"


def test_a_delivery_number_is_its_own(place: Place):
    place.who.projects["snow"] = {"alice", "bob"}
    place.dataset("run1", 14)
    place.tell()
    with place.archive.ledger.read() as tx:
        numbers = {outbox.delivery_of(tx.messages(user, 1)[0]) for user in ("alice", "bob")}
    assert len(numbers) == 2

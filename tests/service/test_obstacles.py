"""New data that wait: admins are told once when it begins and once when it is over, the page says it while it lasts, and it goes on by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pytest
from fixtures.door import Door
from fixtures.place import Who
from fixtures.smtp import SmtpSink

from archiver import addresses, notices, obstacles
from archiver.errors import StoreUnavailable
from archiver.storage import Tier

FULL, AGAIN = "New data wait: fast storage is full", "New data are received again"


@pytest.fixture
def full(doors: Callable[..., Door], smtp_sink: SmtpSink) -> Door:
    """A door whose fast storage holds 2,500 of 3,000 bytes, and whose admin `boss` reads mail."""
    mail = {"smtp_host": "127.0.0.1", "smtp_port": smtp_sink.port, "smtp_security": "none", "sender": "neve@lab.example"}
    door = doors(policy="hot_capacity_bytes = 3000", more="[notices]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in mail.items()))
    door.bench.ingest("old", {"x": bytes(2400)})
    door.bench.settle()
    addresses.put(door.bench.archive, "boss", "boss@lab.example", None, wants=True, renew_secret=False)
    return door


def minute(door: Door, who: Who) -> None:
    """What the chores do once a minute."""
    door.bench.turn(minutes=1)
    obstacles.run(door.bench.archive)
    notices.tell(door.bench.archive, who)


def told(door: Door, user: str = "boss") -> list[str]:
    with door.bench.archive.ledger.read() as tx:
        return [one.subject for one in reversed(tx.messages(user, 200))]


def ask(door: Door, client, dataset: int, size_bytes: int = 1000) -> int:
    return client.post(f"datasets/{dataset}/uploads", json={"files": [{"path": "g", "size_bytes": size_bytes, "mark": "m"}]}).status_code


def opened(client) -> int:
    return client.post("datasets", json={"name": "run1", "project": "snow"}).json()["id"]


def test_no_room_is_told_once_and_its_end_once_however_many_are_put_off(full: Door, smtp_sink: SmtpSink):
    who, client = Who(), full.client()
    dataset = opened(client)
    minute(full, who)
    assert (told(full), who.asked) == ([], 0)
    began = full.bench.now
    for _ in range(15):
        assert [ask(full, client, dataset) for _ in range(3)] == [507] * 3
        minute(full, who)
    assert told(full) == [FULL]
    assert [mail.message["Subject"] for mail in smtp_sink.mails] == [FULL]
    text = smtp_sink.mails[0].text
    assert f"Since {began:%Y-%m-%d %H:%M} UTC new data wait, because fast storage is full: Fast storage holds" in text
    assert "go on by themselves" in text
    assert told(full, "alice") == []
    # 61 days later it has left hot
    full.bench.turn(days=61)
    full.bench.settle()
    full.bench.turn(hours=2)
    full.bench.settle()
    assert ask(full, client, dataset) == 200, "it goes on by itself"
    for _ in range(3):
        minute(full, who)
    assert told(full) == [FULL, AGAIN]
    assert [mail.message["Subject"] for mail in smtp_sink.mails] == [FULL, AGAIN]
    assert f"since {began:%Y-%m-%d %H:%M} UTC" in smtp_sink.mails[1].text
    with full.bench.archive.ledger.read() as tx:
        assert obstacles.standing(tx) is None


def test_it_does_not_flicker_and_one_who_asked_for_too_much_and_went_is_not_waited_for(full: Door):
    who, client = Who(), full.client()
    dataset = opened(client)
    assert ask(full, client, dataset, 10**9) == 507
    for _ in range(9):
        minute(full, who)
    assert told(full) == [FULL], "there is room for less, but nobody knows whether it is asked for"
    for _ in range(2):
        minute(full, who)
    assert told(full) == [FULL, AGAIN]


def test_requests_that_are_put_off_write_once_a_minute(full: Door):
    client = full.client()
    dataset = opened(client)
    ask(full, client, dataset)
    with full.bench.archive.ledger.read() as tx:
        first = obstacles.standing(tx)
    full.bench.turn(seconds=30)
    ask(full, client, dataset)
    with full.bench.archive.ledger.read() as tx:
        assert obstacles.standing(tx) == first
    full.bench.turn(seconds=31)
    ask(full, client, dataset)
    with full.bench.archive.ledger.read() as tx:
        later = obstacles.standing(tx)
    assert first is not None
    assert later is not None
    assert (later.since, later.seen_at) == (first.since, full.bench.now.isoformat())


@pytest.mark.usefixtures("quick_clients")
def test_a_store_that_is_away_is_told_when_it_is_so_at_two_looks(full: Door):
    who, there = Who(), full.bench.archive
    nowhere = there.settings.model_copy(update={"store": there.settings.store.model_copy(update={"endpoint_url": "http://127.0.0.1:9"})})
    full.bench.archive = replace(there, tiers={**there.tiers, "hot": Tier("hot", nowhere)})
    minute(full, who)
    full.bench.archive, away = there, full.bench.archive
    minute(full, who)
    assert told(full) == [], "a moment's trouble"
    full.bench.archive = away
    for _ in range(4):
        minute(full, who)
    assert told(full) == ["New data wait: the store of fast storage does not answer"]
    full.bench.archive = there
    for _ in range(3):
        minute(full, who)
    assert told(full)[1:] == [AGAIN]


def test_a_store_that_takes_nothing_is_told_while_somebody_sends(full: Door, monkeypatch: pytest.MonkeyPatch):
    who, client = Who(), full.client()
    hot = full.bench.archive.tiers["hot"]

    def no_room(*_: object) -> str:
        raise StoreUnavailable("The store of tier hot cannot be used: put_object: no writable volumes.", "Wait.")

    with monkeypatch.context() as full_disk:
        full_disk.setattr(Tier, "put_text", no_room)
        for _ in range(3):
            minute(full, who)
        assert told(full) == [], "nobody sends"
        assert ask(full, client, opened(client), 100) == 200
        full.bench.turn(minutes=5)
        for _ in range(3):
            minute(full, who)
        assert told(full) == ["New data wait: the store of fast storage takes no data"]
        with full.bench.archive.ledger.read() as tx:
            assert "no writable volumes" in tx.messages("boss", 1)[0].body["text"]
    for _ in range(2):
        minute(full, who)
    assert told(full)[1:] == [AGAIN]
    assert hot.standing(obstacles.PROBE) == []


def test_a_hub_that_is_away_is_asked_again_and_nothing_is_told_twice(full: Door):
    who, client = Who(away=True), full.client()
    ask(full, client, opened(client))
    with pytest.raises(notices.PublicError):
        minute(full, who)
    who.away = False
    for _ in range(2):
        minute(full, who)
    assert told(full) == [FULL]


def first_page(door: Door, name: str) -> str:
    """The catalog page, as this person's browser gets it."""
    door.hub.add(name, "snow")
    with httpx.Client(base_url=f"{door.url}/", timeout=60) as browser:
        state = parse_qs(urlsplit(browser.get("").headers["Location"]).query)["state"][0]
        back = browser.get("oauth_callback", params={"code": f"code-of-{name}", "state": state})
        page = browser.get(urljoin(door.url, back.headers["Location"]))
    assert page.status_code == 200
    return page.text


def test_the_page_tells_everybody_while_it_lasts(full: Door):
    client = full.client()
    assert "New data wait" not in first_page(full, "alice")
    since = full.bench.now
    ask(full, client, opened(client))
    assert f"New data wait: fast storage is full since {since:%Y-%m-%d %H:%M} UTC." in first_page(full, "alice")
    full.bench.turn(minutes=11)
    obstacles.run(full.bench.archive)
    assert "New data wait" not in first_page(full, "alice")


def test_a_project_that_holds_all_it_may_waits_and_the_others_do_not(doors: Callable[..., Door]):
    who = Who()
    door = doors(more='[reception.project_max_bytes]\n"sn*" = 3000\n')
    door.bench.ingest("old", {"x": bytes(2400)})
    client, dataset = door.client(), opened(door.client())
    assert ask(door, client, dataset, 600) == 200, "what just fits"
    answer = client.post(f"datasets/{dataset}/uploads", json={"files": [{"path": "more", "size_bytes": 601, "mark": "m"}]})
    assert (answer.status_code, answer.json()["code"]) == (507, "reception-full")
    assert answer.json()["detail"] == "Project snow holds 2400 of the 3000 bytes that it may: 601 more are not received."
    assert "Retry-After" in answer.headers
    snapshot = {"files": [{"path": "grows", "size_bytes": 601, "mark": "m", "taken_at": "2026-03-01T12:00:00Z"}]}
    assert client.post(f"datasets/{dataset}/snapshots", json=snapshot).status_code == 507
    with door.bench.archive.ledger.read() as tx:
        assert [file.path for file in tx.files(dataset)] == ["g"], "nothing of it was written down"
    minute(door, who)
    assert told(door) == ["New data wait: a project holds all that it may"]
    other = door.client(door.key_of("weather", "ice-cores"))
    storm = other.post("datasets", json={"name": "storm"}).json()["id"]
    assert ask(door, other, storm, 10_000) == 200
    with door.bench.archive.ledger.begin() as tx:
        tx.put_project("snow", {"quota_bytes": 2500})  # its own number wins
    assert ask(door, client, dataset, 600) == 507
    with door.bench.archive.ledger.begin() as tx:
        tx.put_project("snow", {"quota_bytes": 10_000})
    assert ask(door, client, dataset, 601) == 200
    for _ in range(11):
        minute(door, who)
    assert told(door)[-1] == AGAIN

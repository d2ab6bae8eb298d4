"""Messages: each told once, none lost: what leaves hot, what became of restores, what needs an admin."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from fixtures.archive import START, Bench
from fixtures.place import Place, Who, restored

from archiver import guards, hold, notices
from archiver.errors import HubUnavailable
from archiver.model import RestoreState, TransferState

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


def test_who_asked_is_told_what_became_of_it(place: Place, smtp_sink):
    place.address("alice", "alice@lab.example")
    dataset = place.dataset("run1", 50)
    place.tell()
    s = RestoreState
    restored(place, dataset, s.QUEUED, s.READY, ready_at=place.now, expires_at=place.now + timedelta(days=3))
    restored(place, dataset, s.QUEUED, s.PARTLY_READY, ready_at=place.now, expires_at=place.now + timedelta(days=3))
    restored(place, dataset, s.QUEUED, s.FAILED, error="a: the tape is torn")
    restored(place, dataset, s.AWAITING_APPROVAL, s.DENIED, error="ask for less")
    restored(place, dataset, s.CANCELLED)
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
    restored(place, dataset, RestoreState.AWAITING_APPROVAL, user="carol")
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


def test_admins_are_told_of_a_silent_instrument_once_a_day(place: Place):
    reception = place.archive.settings.reception.model_copy(update={"silent_after": {"*": timedelta(hours=12), "sa*": timedelta(hours=6)}})
    place.archive = replace(place.archive, settings=place.archive.settings.model_copy(update={"reception": reception}))
    with place.archive.ledger.begin() as tx:
        tx.see_instrument("saxs")
    place.turn(hours=5)
    place.tell()
    assert place.told("boss") == []
    place.turn(hours=2)
    for _ in range(3):
        place.tell()
        place.turn(hours=1)
    assert place.told("boss") == ["Nothing is heard of saxs"]
    with place.archive.ledger.begin() as tx:
        assert "7.0 hours" in tx.messages("boss", 1)[0].body["text"]
        tx.see_instrument("saxs")
    place.turn(days=1)
    place.tell()
    assert place.told("boss")[1:] == ["Nothing is heard of saxs"]


def test_admins_can_be_named_by_setting(tmp_path, smtp_sink):
    place = Place(tmp_path, smtp_sink.port, admins=["keeper"])
    with place.archive.ledger.begin() as tx:
        tx.set_note(guards.HOLD, "the ledger was rebuilt")
    place.tell()
    assert (place.told("keeper"), place.told("boss")) == (["Drops are held"], [])
    place.archive.ledger.dispose()


def test_what_happened_before_the_first_run_is_not_told_later(place: Place):
    dataset = place.dataset("run1", 50)
    restored(place, dataset, RestoreState.FAILED, error="long ago")
    place.turn(days=3)
    place.tell()
    restored(place, dataset, RestoreState.FAILED, error="now")
    place.tell()
    place.tell()
    with place.archive.ledger.read() as tx:
        assert [m.body["text"].count("now") for m in tx.messages("alice", 9)] == [1]

"""Holds on the real store: what is hot stays, what is cold is brought back first, and each hold has an end that is kept to."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from fixtures.archive import START, Bench, settings_toml
from fixtures.store import S3Store
from typer.testing import CliRunner

from archiver import drop, hold, restore
from archiver.check import check
from archiver.errors import Conflict, NotFound, OverQuota, PublicError, WrongUse
from archiver.guards import Guard
from archiver.model import DropState, RestoreState

FILES = {"a.bin": b"a" * 1000, "sub/b.bin": bytes(range(256)) * 40}
WHY = "for the thesis of É. Martin"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, store: S3Store) -> Iterator[Bench]:
    """One archive for all of this module: each test has a dataset of its own."""
    folder = tmp_path_factory.mktemp("holds")
    (folder / "home").mkdir()
    (folder / "neve.toml").write_text(settings_toml(folder / "home", store, store.buckets("hot", "archive", "deep")), "utf-8")
    made = Bench(folder, folder / "neve.toml")
    yield made
    made.give_back()


_numbers = itertools.count(1)


@pytest.fixture
def aged(bench: Bench):
    """A dataset with copies everywhere, a day before its age lets go of hot."""
    dataset = bench.ingest(f"run-{next(_numbers)}", FILES)
    bench.settle()
    bench.turn(days=59)
    bench.settle()
    return dataset


def _hold(bench: Bench, dataset, days: float, user: str = "alice", glob: str | None = None):
    return hold.request(bench.archive, user, dataset.full_name, bench.now + timedelta(days=days), WHY, glob, ["snow"])


def _with_policy(bench: Bench, monkeypatch, **rules) -> None:
    settings = bench.archive.settings
    settings = settings.model_copy(update={"policy": settings.policy.model_copy(update=rules)})
    monkeypatch.setattr(bench, "archive", replace(bench.archive, settings=settings))


def _now(bench: Bench, made):
    with bench.archive.ledger.read() as tx:
        return tx.hold(made.id)


def _lapse(bench: Bench, **later: float) -> None:
    """Turn the clock and work, past the grace."""
    bench.turn(**later)
    bench.settle()
    bench.turn(hours=2)
    bench.settle()


def _kinds(bench: Bench, dataset) -> list[str]:
    with bench.archive.ledger.read() as tx:
        return [e.kind for e in tx.events(dataset.id)]


def test_what_is_held_stays_until_the_end_and_then_leaves_by_itself(bench: Bench, aged):
    made = _hold(bench, aged, 30)
    _lapse(bench, days=29)
    assert bench.tiers(aged) == {"hot", "archive", "deep"}
    assert check(bench.archive) == []
    with bench.archive.ledger.read() as tx:
        assert tx.dataset(aged.id).look_at == made.until, "the worker looks again exactly when it ends"
    _lapse(bench, days=2)
    assert bench.tiers(aged) == {"archive", "deep"}
    assert _now(bench, made).ended_at is not None
    assert [k for k in _kinds(bench, aged) if k.startswith("hold.")] == ["hold.placed", "hold.ended"]
    with bench.archive.ledger.read() as tx:
        assert tx.holds(None, aged.id, None, 10) == []
        assert [h.id for h in tx.holds(None, aged.id, None, 10, ended=True)] == [made.id], "what was held is not forgotten"
    assert check(bench.archive) == []


def test_only_the_files_that_match_are_held(bench: Bench, aged):
    _hold(bench, aged, 30, glob="sub/*")
    _lapse(bench, days=2)
    assert bench.tiers(aged, "sub/b.bin") == {"hot", "archive", "deep"}
    assert bench.tiers(aged, "a.bin") == {"archive", "deep"}


def test_a_hold_revokes_a_drop_that_is_planned(bench: Bench, aged):
    with bench.archive.ledger.begin() as tx:
        for copy in [c for c in tx.copies(aged.id) if c.tier == "hot"]:
            tx.plan_drop(copy, aged.id, "nobody claims it")
    bench.turn(days=2)
    made = _hold(bench, aged, 30)
    assert made.restore_id is None, "it counts at once"
    bench.settle()
    assert bench.tiers(aged) == {"hot", "archive", "deep"}
    assert "drop.revoked" in _kinds(bench, aged)
    assert _kinds(bench, aged).count("drop.dropped") == 1, "only the manifest, which hot never keeps"


def test_a_hold_on_what_is_just_being_dropped_waits_and_copies_again(bench: Bench, aged):
    bench.turn(days=2)
    with bench.archive.ledger.begin() as tx:
        tx.update_dataset(aged.id, look_at=None)
        for copy in [c for c in tx.copies(aged.id) if c.tier == "hot"]:
            tx.change("drop", tx.drop(tx.plan_drop(copy, aged.id, "nobody claims it")), DropState.CHECKED)
    assert _hold(bench, aged, 30).restore_id is None
    bench.settle()
    assert _kinds(bench, aged).count("drop.dropped") == 1 + 2, "a checked drop cannot be stopped"
    assert bench.tiers(aged) == {"hot", "archive", "deep"}
    assert bench.read(aged, "a.bin") == FILES["a.bin"]
    assert check(bench.archive) == []


def test_what_is_cold_is_restored_first_and_the_hold_counts_from_then(bench: Bench, aged):
    _lapse(bench, days=2)
    assert bench.tiers(aged) == {"archive", "deep"}
    made = _hold(bench, aged, 40)
    assert made.restore_id is not None
    with bench.archive.ledger.read() as tx:
        asked = tx.restore(made.restore_id)
    assert (asked.user, asked.files_glob, asked.keep_days) == ("alice", None, 7)
    bench.settle()
    assert _now(bench, made).restore_id is None
    assert _now(bench, made).until == made.until, "the restore's own end is another"
    _lapse(bench, days=20)  # the restore has expired
    with bench.archive.ledger.read() as tx:
        assert tx.restore(asked.id).state is RestoreState.EXPIRED
    assert bench.tiers(aged) == {"hot", "archive", "deep"}
    _lapse(bench, days=21)
    assert bench.tiers(aged) == {"archive", "deep"}
    assert check(bench.archive) == []


def test_a_hold_joins_the_restore_that_its_user_asked_for(bench: Bench, aged):
    _lapse(bench, days=2)
    asked = restore.request(bench.archive, "alice", aged.full_name, None, 3, ["snow"])
    assert _hold(bench, aged, 40).restore_id == asked.id
    assert _hold(bench, aged, 40, user="bob").restore_id not in {None, asked.id}


@pytest.mark.parametrize("how", ["denied", "cancelled", "failed"])
def test_a_hold_ends_with_the_restore_that_does_not_bring_it_back(bench: Bench, aged, how, monkeypatch):
    _lapse(bench, days=2)
    if how == "denied":
        _with_policy(bench, monkeypatch, approval_above_bytes=0)
    made = _hold(bench, aged, 40)
    with bench.archive.ledger.read() as tx:
        waiting = tx.restore(made.restore_id)
    assert (waiting.state is RestoreState.AWAITING_APPROVAL) == (how == "denied"), "a hold passes the restore's approval"
    if how == "denied":
        bench.settle()
        assert bench.tiers(aged) == {"archive", "deep"}, "nothing is claimed before the approval"
        restore.deny(bench.archive, "root", waiting.id, "too much")
    elif how == "cancelled":
        restore.cancel(bench.archive, "alice", waiting.id, None, admin=False)
    else:
        with bench.archive.ledger.begin() as tx:
            tx.change("restore", waiting, RestoreState.FAILED, ended_at=tx.at)
            tx.end_claim(waiting)
            tx.end_holds(waiting.id)
    bench.settle()
    assert _now(bench, made).ended_at is not None
    assert bench.tiers(aged) == {"archive", "deep"}
    assert check(bench.archive) == []


def test_holds_count_in_quotas_each_byte_once(bench: Bench, aged, monkeypatch):
    size = sum(map(len, FILES.values()))

    def held(**whose):
        with bench.archive.ledger.read() as tx:
            return tx.held_bytes(**whose)

    others = held(project="snow")
    _hold(bench, aged, 30, user="carol", glob="sub/*")
    assert held(user="carol") == len(FILES["sub/b.bin"])
    _hold(bench, aged, 30, user="carol")
    assert (held(user="carol"), held(user="dave"), held(project="snow") - others, held(project="ice-cores")) == (size, 0, size, 0)
    restore.request(bench.archive, "carol", aged.full_name, "a.bin", 3, None)
    assert held(user="carol") == len(FILES["sub/b.bin"]), "what her restore covers is counted there"
    _with_policy(bench, monkeypatch, quota_user_bytes=size - 1)
    with pytest.raises(OverQuota):
        _hold(bench, aged, 30, user="dave")
    assert held(user="dave") == 0
    _hold(bench, aged, 30, user="dave", glob="a.bin")
    assert held(user="dave") == 1000


def test_asked_again_a_hold_has_a_new_end(bench: Bench, aged):
    first = _hold(bench, aged, 10)
    again = hold.request(bench.archive, "alice", aged.name, bench.now + timedelta(days=90), "longer", None, None)
    assert (again.id, again.reason) == (first.id, "longer")
    other = _hold(bench, aged, 5, user="bob")
    assert other.id != first.id
    changed = hold.change(bench.archive, "alice", first.id, bench.now + timedelta(days=20), None, ["snow"], admin=False)
    assert (changed.until, changed.reason) == (bench.now + timedelta(days=20), "longer")
    _lapse(bench, days=15)
    assert bench.tiers(aged) == {"hot", "archive", "deep"}
    _lapse(bench, days=6)
    assert bench.tiers(aged) == {"archive", "deep"}


def test_who_may_end_a_hold(bench: Bench, aged):
    made = _hold(bench, aged, 30)
    with pytest.raises(NotFound):
        hold.end(bench.archive, "bob", made.id, ["ice-cores"], admin=False)
    with pytest.raises(Conflict, match="alice's"):
        hold.end(bench.archive, "bob", made.id, ["snow"], admin=False)
    with pytest.raises(NotFound):
        hold.end(bench.archive, "bob", 999, None, admin=True)
    hold.end(bench.archive, "root", made.id, None, admin=True)
    with pytest.raises(Conflict, match="ended already"):
        hold.end(bench.archive, "alice", made.id, None, admin=False)
    with pytest.raises(Conflict, match="ended already"):
        hold.change(bench.archive, "alice", made.id, bench.now + timedelta(days=9), None, None, admin=False)
    _lapse(bench, days=2)
    assert bench.tiers(aged) == {"archive", "deep"}


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"until": START}, WrongUse),
        ({"days": 0}, WrongUse),
        ({"days": -1}, WrongUse),
        ({"days": 731}, WrongUse),
        ({"reason": ""}, WrongUse),
        ({"reason": "  "}, WrongUse),
        ({"reason": "x" * 501}, WrongUse),
        ({"reason": "a\nb"}, WrongUse),
        ({"reason": "a\x00b"}, WrongUse),
        ({"reason": "\udcff"}, WrongUse),
        ({"files_glob": "*.none"}, WrongUse),
        ({"reference": "nothing"}, NotFound),
        ({"projects": ["ice-cores"]}, NotFound),
        ({"projects": []}, NotFound),
    ],
)
def test_what_cannot_be_held_changes_nothing(bench: Bench, still, changes, kind):
    days = changes.pop("days", 30)
    asked = {"reference": still.full_name, "until": bench.now + timedelta(days=days), "reason": WHY, "files_glob": None, "projects": ["snow"]}
    with pytest.raises(PublicError) as refused:
        hold.request(bench.archive, "alice", **{**asked, **changes})
    assert type(refused.value) is kind
    assert not [k for k in _kinds(bench, still) if k.startswith(("hold", "restore"))]


@pytest.fixture(scope="module")
def still(bench: Bench):
    """A dataset that no test here changes."""
    return bench.ingest("still", FILES)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("2026-09-01", "2026-09-01T23:59:59+00:00"),
        (" 2026-09-01 ", "2026-09-01T23:59:59+00:00"),
        ("2026-09-01T12:00:00Z", "2026-09-01T12:00:00+00:00"),
        ("2026-09-01T12:00:00+02:00", "2026-09-01T10:00:00+00:00"),
        ("2026-09-01T12:00", "2026-09-01T12:00:00+00:00"),
    ],
)
def test_a_day_means_until_it_is_over(text, end):
    assert hold.end_of(text).isoformat() == end


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-13-01", "2026-02-30", "1790000000", "0001-01-01T00:00:00+14:00", "2026-09-01\n2027"])
def test_what_is_no_day_is_refused(text):
    with pytest.raises(WrongUse, match="until"):
        hold.end_of(text)


def test_an_open_dataset_can_be_held(bench: Bench):
    with bench.archive.ledger.begin() as tx:
        dataset = tx.open_dataset("snow", "saxs", "live", "snow/saxs/2026/03/live", None)
        obj = tx.add_object(dataset.id, "file", "snow/saxs/2026/03/live/a", 3)
        tx.add_file(dataset.id, "a", b"a", 3, obj, None)
    made = hold.request(bench.archive, "alice", "live", bench.now + timedelta(days=9), WHY, None, None)
    assert made.restore_id is None


def test_the_commands(bench: Bench, aged, monkeypatch):
    from archiver.cli import cli

    monkeypatch.setenv("NEVE_CONFIG", str(bench.settings_file))
    monkeypatch.setattr("archiver.commands.context.utc_now", lambda: bench.now)
    runner = CliRunner()

    def run(*words: str):
        done = runner.invoke(cli, list(words), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    day = f"{bench.now + timedelta(days=99):%Y-%m-%d}"
    made = json.loads(run("hold", aged.name, "--until", day, "--reason", WHY, "--files", "sub/*", "--json"))
    assert (made["state"], made["until"], made["files_glob"], made["reason"]) == ("in_force", f"{day}T23:59:59Z", "sub/*", WHY)
    assert made in json.loads(run("holds", "--json"))
    assert WHY in run("holds")
    ended = json.loads(run("holds", "end", str(made["id"]), "--json"))
    assert ended["state"] == "ended"
    assert made["id"] not in [h["id"] for h in json.loads(run("holds", "--json"))]


def test_drop_checks_claims_once_more(bench: Bench, aged):
    """A hold between the plan and the check: the drop is revoked where it is carried out."""
    bench.turn(days=2)
    with bench.archive.ledger.begin() as tx:
        planned = tx.plan_drop(next(c for c in tx.copies(aged.id) if c.tier == "hot"), aged.id, "nobody claims it")
    _hold(bench, aged, 30)
    drop.run(bench.archive, aged.id, bench.archive.tiers["hot"], Guard(bench.archive))
    with bench.archive.ledger.read() as tx:
        assert tx.drop(planned).state is DropState.REVOKED

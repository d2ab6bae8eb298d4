"""Restores between the wish and its end: quota, approval, room, whose turn it is, who shares what, and what people do with them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from fixtures.archive import Bench, settings_toml
from fixtures.store import S3Store

from archiver import asking, describe, recall, restore
from archiver.archive import Archive
from archiver.check import check
from archiver.errors import Conflict, NoRoom, NotFound, OverQuota, PublicError, WrongUse
from archiver.model import Dataset, Restore, RestoreState, TransferState
from archiver.worker import Worker

FILES = {"a.bin": b"a" * 1000, "sub/b.bin": bytes(range(256)) * 40}
SIZE = sum(map(len, FILES.values()))
FRESH, LENT = 7, 5


@pytest.fixture(scope="module")
def _all(tmp_path_factory: pytest.TempPathFactory, store: S3Store) -> Iterator[tuple[Bench, list[Dataset]]]:
    """One archive whose data has all left hot; archive is read at once, two recalls of deep may run."""
    folder = tmp_path_factory.mktemp("restores")
    (folder / "home").mkdir()
    deep = {"recall": "always", "recall_wait": "PT12H", "recalls_max": 2}
    text = settings_toml(folder / "home", store, store.buckets("hot", "archive", "deep"), deep=deep)
    (folder / "neve.toml").write_text(text.replace("[worker]", "[worker]\ntries = 2"), "utf-8")
    bench = Bench(folder, folder / "neve.toml")
    made = [bench.ingest(f"run-{n}", FILES) for n in range(LENT + FRESH)]
    bench.settle()
    bench.turn(days=61)
    bench.settle()
    bench.turn(hours=2)
    bench.settle()
    yield bench, made
    bench.give_back()


@pytest.fixture
def bench(_all) -> Bench:
    return _all[0]


@pytest.fixture
def cold(_all) -> Callable[[], Dataset]:
    """`cold()`: a dataset that nobody has asked for, in archive and deep."""
    return _all[1].pop


@pytest.fixture
def lent(_all) -> Iterator[list[Dataset]]:
    """The same, for tests that bring nothing back; what they leave asked for is cancelled."""
    bench, made = _all
    yield made[:LENT]
    for dataset in made[:LENT]:
        with bench.archive.ledger.read() as tx:
            left = tx.restores_of(dataset.id)
        for one in left:
            restore.cancel(bench.archive, "root", one.id, None, admin=True)


_users = (f"user-{n}" for n in itertools.count())


@pytest.fixture
def user() -> str:
    """Somebody who has asked for nothing yet."""
    return next(_users)


@pytest.fixture
def rules(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`rules(quota_user_bytes=1)`: other policy for this test."""

    def set_(**values: Any) -> None:
        settings = bench.archive.settings
        settings = settings.model_copy(update={"policy": settings.policy.model_copy(update=values)})
        monkeypatch.setattr(bench, "archive", replace(bench.archive, settings=settings))

    return set_


def _ask(bench: Bench, user: str, dataset: Dataset, glob: str | None = None, days: int = 3, **how: Any) -> Restore:
    return restore.request(bench.archive, user, dataset.full_name, glob, days, ["snow"], **how)


def _now(bench: Bench, asked: Restore) -> Restore:
    with bench.archive.ledger.read() as tx:
        return tx.restore(asked.id)


def _claims(bench: Bench, asked: Restore) -> int:
    with bench.archive.ledger.read() as tx:
        return sum(c.restore_id == asked.id for c in tx.claims(asked.dataset_id))


def _written(bench: Bench) -> tuple[Any, ...]:
    """What is in the ledger, to see that nothing changed."""
    with bench.archive.ledger.read() as tx:
        return tx.states(), [(r.id, r.state, r.keep_days, r.priority, r.expires_at) for r in tx.restores(None, None, None, 200)], tx.newest_event_at()


def _hot_holds(bench: Bench, more: int, rules: Callable[..., None]) -> None:
    """From now on fast storage has room for `more` bytes."""
    with bench.archive.ledger.read() as tx:
        taken = tx.bytes_in("hot")
    rules(hot_capacity_bytes=taken + more)


# approval


def test_nothing_is_claimed_before_an_admin_says_yes(bench: Bench, cold, user, rules):
    dataset = cold()
    rules(approval_above_bytes=SIZE - 1)
    asked = _ask(bench, user, dataset)
    assert asked.state is RestoreState.AWAITING_APPROVAL
    bench.settle()
    assert (_now(bench, asked).state, _claims(bench, asked), bench.tiers(dataset)) == (asked.state, 0, {"archive", "deep"})
    assert check(bench.archive) == []
    bench.turn(hours=30)
    agreed = restore.approve(bench.archive, "root", asked.id)
    assert (agreed.approved_by, agreed.promised_by, agreed.error) == ("root", bench.now + timedelta(hours=4), None), "the promise counts from the yes"
    bench.settle()
    ready = _now(bench, asked)
    assert (ready.state, ready.expires_at) == (RestoreState.READY, bench.now + timedelta(days=3))
    assert bench.tiers(dataset) == {"hot", "archive", "deep"}
    with pytest.raises(Conflict, match="nobody's approval"):
        restore.approve(bench.archive, "root", asked.id)
    assert check(bench.archive) == []


def test_what_an_admin_denies_has_its_reason_and_ends(bench: Bench, lent, user, rules):
    dataset = lent[0]
    rules(approval_above_bytes=0)
    asked = _ask(bench, user, dataset)
    before = _written(bench)
    for reason in ("", " ", "x" * 501, "a\x00b"):
        with pytest.raises(WrongUse, match="reason"):
            restore.deny(bench.archive, "root", asked.id, reason)
    assert _written(bench) == before
    denied = restore.deny(bench.archive, "root", asked.id, "take\n the  small one")
    assert (denied.state, denied.error, denied.ended_at) == (RestoreState.DENIED, "take the small one", bench.now)
    with pytest.raises(Conflict):
        restore.deny(bench.archive, "root", asked.id, "again")
    bench.settle()
    assert bench.tiers(dataset) == {"archive", "deep"}
    assert check(bench.archive) == []


def test_many_small_ones_are_one_large_one_and_an_admins_needs_nobody(bench: Bench, lent, user, rules):
    rules(approval_above_bytes=SIZE)
    names = [d.full_name for d in lent[:2]]
    made = restore.request_all(bench.archive, user, names, None, 3, ["snow"])
    assert [r.state for r in made] == [RestoreState.AWAITING_APPROVAL] * 2
    own = restore.request_all(bench.archive, "root", names, None, 3, None, admin=True)
    assert [r.state for r in own] == [RestoreState.REQUESTED] * 2


# quotas


def test_over_quota_names_use_limit_and_what_to_end_and_changes_nothing(bench: Bench, lent, user, rules):
    first, second = lent[:2]
    has = _ask(bench, user, first)
    rules(quota_user_bytes=SIZE + 999)
    before = _written(bench)
    with pytest.raises(OverQuota) as caught:
        _ask(bench, user, second)
    assert f"{2 * SIZE:,} bytes" in caught.value.detail
    assert f"{SIZE + 999:,}" in caught.value.detail
    assert f"restore {has.id} of {first.full_name}" in caught.value.next_step
    assert caught.value.extra["quota"] == {
        "kind": "user",
        "name": user,
        "used_bytes": SIZE,
        "limit_bytes": SIZE + 999,
        "asked_bytes": SIZE,
    }
    assert caught.value.extra["end"] == [{"restore_id": has.id, "dataset": first.full_name, "size_bytes": SIZE, "state": "requested"}]
    with pytest.raises(OverQuota):
        restore.request_all(bench.archive, user, [first.full_name, second.full_name], None, 5, ["snow"])
    assert _written(bench) == before, "all or nothing"
    assert _ask(bench, user, first, "a.bin", days=9).id != has.id, "a byte counts once, however often it is asked for"
    restore.cancel(bench.archive, user, has.id, ["snow"], admin=False)
    asked = _ask(bench, user, second, "sub/*")
    assert asked.size_bytes == len(FILES["sub/b.bin"])


def test_an_admins_own_limit_goes_before_the_settings(bench: Bench, lent, user):
    dataset = lent[0]
    with bench.archive.ledger.begin("root") as tx:
        tx.set_quota("user", user, 5)
    with pytest.raises(OverQuota, match="the limit is 5"):
        _ask(bench, user, dataset)
    with bench.archive.ledger.begin("root") as tx:
        tx.set_quota("user", user, None)
    _ask(bench, user, dataset)
    with bench.archive.ledger.begin("root") as tx:
        tx.set_quota("user", user, SIZE - 1)
    assert _ask(bench, user, dataset).user == user, "asking for the same again adds nothing"
    with bench.archive.ledger.read() as tx:
        assert asking.usage(tx, bench.archive.settings, "user", user).left_bytes == 0


# room, and whose turn it is


def test_what_finds_no_room_waits_and_goes_on_by_itself(bench: Bench, cold, user, rules):
    first, second, third = cold(), cold(), cold()
    bench.settle()
    _hot_holds(bench, SIZE + 500, rules)
    one, two = _ask(bench, user, first), _ask(bench, user, second)
    small = _ask(bench, user, third, "a.bin")
    assert (one.state, two.state, two.error) == (RestoreState.REQUESTED, RestoreState.QUEUED, asking.WAITS_FOR_ROOM)
    assert small.state is RestoreState.QUEUED, "nobody slips by, or the large ones would never have their turn"
    bench.settle()
    assert (_now(bench, one).state, _now(bench, two).state, _claims(bench, two)) == (RestoreState.READY, RestoreState.QUEUED, 0)
    assert bench.tiers(second) == {"archive", "deep"}
    assert check(bench.archive) == []
    restore.cancel(bench.archive, user, one.id, ["snow"], admin=False)
    bench.settle()
    bench.turn(hours=2)
    bench.settle()
    assert bench.tiers(first) == {"archive", "deep"}
    assert (_now(bench, two).state, _now(bench, two).error) == (RestoreState.READY, None)
    restore.cancel(bench.archive, user, two.id, ["snow"], admin=False)
    restore.cancel(bench.archive, user, small.id, ["snow"], admin=False)
    assert check(bench.archive) == []


def test_what_could_never_fit_is_refused(bench: Bench, lent, user, rules):
    dataset = lent[0]
    rules(hot_capacity_bytes=SIZE - 1)
    before = _written(bench)
    with pytest.raises(NoRoom, match=f"{SIZE:,}"):
        _ask(bench, user, dataset)
    assert _written(bench) == before


def test_the_order_is_priority_then_fair_share_then_age(bench: Bench, lent, rules):
    datasets = lent
    bench.settle()
    _hot_holds(bench, SIZE, rules)
    a, b, c = (next(_users) for _ in range(3))
    _ask(bench, a, datasets[0])
    asked = []
    for user, dataset, priority in ((a, datasets[1], 0), (a, datasets[2], 0), (b, datasets[3], 0), (c, datasets[4], 2)):
        bench.turn(minutes=1)
        asked.append(_ask(bench, user, dataset, priority=priority))
    assert {r.state for r in asked} == {RestoreState.QUEUED}
    order = []
    for _ in asked:
        _hot_holds(bench, (len(order) + 2) * SIZE, rules)
        assert restore.admit(bench.archive)
        order += [n for n, one in enumerate(asked) if _claims(bench, one) and n not in order]
    assert order == [3, 2, 0, 1]


def test_priority_has_its_limits_and_asking_again_urges(bench: Bench, lent, user):
    dataset = lent[0]
    for priority, admin in ((-1, True), (6, False), (10, True)):
        with pytest.raises(WrongUse, match="priority"):
            _ask(bench, user, dataset, priority=priority, admin=admin)
    asked = _ask(bench, user, dataset, priority=1)
    again = _ask(bench, user, dataset, priority=5)
    assert (again.id, again.priority) == (asked.id, 5)
    assert _ask(bench, user, dataset).priority == 5, "nobody becomes less urgent by asking again"
    Worker(bench.archive)._plan()
    with bench.archive.ledger.read() as tx:
        assert {(tr.user, tr.priority) for tr in tx.transfers(dataset.id) if tr.tier == "hot"} == {(user, 5)}


# who shares what


def test_those_who_ask_for_the_same_share_its_transfers_and_the_latest_end_counts(bench: Bench, cold, user):
    dataset, other = cold(), next(_users)
    short = _ask(bench, user, dataset, days=2)
    Worker(bench.archive)._plan()
    long = _ask(bench, other, dataset, "a.bin", days=9)
    bench.settle()
    with bench.archive.ledger.read() as tx:
        kinds = [(e.kind, e.detail.get("tier")) for e in tx.events(dataset.id)]
    assert kinds.count(("transfer.planned", "hot")) == (len(FILES) + 1) + len(FILES), "what arrived, and each file once for both"
    assert (_now(bench, short).state, _now(bench, long).state) == (RestoreState.READY,) * 2
    bench.turn(days=2, hours=1)
    bench.settle()
    bench.turn(hours=2)
    bench.settle()
    assert _now(bench, short).state is RestoreState.EXPIRED
    assert (bench.tiers(dataset, "a.bin"), bench.tiers(dataset, "sub/b.bin")) == ({"hot", "archive", "deep"}, {"archive", "deep"})
    restore.extend(bench.archive, other, long.id, 4, ["snow"], admin=False)
    bench.turn(days=8)
    bench.settle()
    assert _now(bench, long).state is RestoreState.READY
    bench.turn(days=4)
    bench.settle()
    bench.turn(hours=2)
    bench.settle()
    assert _now(bench, long).state is RestoreState.EXPIRED
    assert bench.tiers(dataset) == {"archive", "deep"}
    assert check(bench.archive) == []


def test_how_long_a_restore_may_be_extended(bench: Bench, lent, user):
    asked = _ask(bench, user, lent[0], days=80)
    before = _written(bench)
    for days in (0, -5, 91, 11):
        with pytest.raises(WrongUse):
            restore.extend(bench.archive, user, asked.id, days, ["snow"], admin=False)
    with pytest.raises(NotFound):
        restore.extend(bench.archive, user, asked.id, 1, ["ice-cores"], admin=False)
    with pytest.raises(Conflict, match=user):
        restore.extend(bench.archive, next(_users), asked.id, 1, ["snow"], admin=False)
    with pytest.raises(NotFound):
        restore.extend(bench.archive, user, 10**6, 1, None, admin=False)
    assert _written(bench) == before
    assert restore.extend(bench.archive, user, asked.id, 10, ["snow"], admin=False).keep_days == 90, "before it is ready too"
    restore.cancel(bench.archive, user, asked.id, ["snow"], admin=False)
    with pytest.raises(Conflict, match="cancelled already"):
        restore.extend(bench.archive, user, asked.id, 1, ["snow"], admin=False)


def test_cancelling_stops_what_nobody_else_waits_for(bench: Bench, cold, user):
    dataset, other = cold(), next(_users)
    whole, part = _ask(bench, user, dataset), _ask(bench, other, dataset, "a.bin")
    Worker(bench.archive)._plan()
    restore.cancel(bench.archive, user, whole.id, ["snow"], admin=False)
    with bench.archive.ledger.read() as tx:
        going = [tr for tr in tx.transfers(dataset.id) if tr.tier == "hot"]
    assert [tr.key.rsplit("/", 1)[1] for tr in going] == ["a.bin"]
    bench.settle()
    assert (_now(bench, part).state, bench.tiers(dataset, "sub/b.bin")) == (RestoreState.READY, {"archive", "deep"})
    assert check(bench.archive) == []


# files that do not come


def test_some_files_come_back_and_the_others_are_tried_again_one_by_one(bench: Bench, cold, user):
    dataset = cold()
    asked = _ask(bench, user, dataset)
    Worker(bench.archive)._plan()
    with bench.archive.ledger.begin() as tx:
        torn = next(tr for tr in tx.transfers(dataset.id) if tr.key.endswith("a.bin"))
        tx.change("transfer", torn, TransferState.FAILED, error="the disk is torn")
        tx.change("transfer", tx.transfer(torn.id), TransferState.QUARANTINED)
    bench.settle()
    partly = _now(bench, asked)
    assert (partly.state, partly.ready_at, partly.expires_at) == (RestoreState.PARTLY_READY, bench.now, bench.now + timedelta(days=3))
    with bench.archive.ledger.read() as tx:
        shown = describe.restores(tx, [partly])[0]
    assert shown["errors"] == [{"path": "a.bin", "reason": "the disk is torn"}]
    assert (shown["files_ready"], shown["bytes_ready"]) == (1, len(FILES["sub/b.bin"]))
    with pytest.raises(WrongUse, match="sub"):
        restore.retry(bench.archive, user, asked.id, "sub/*", ["snow"], admin=False)
    bench.turn(hours=5)
    assert restore.retry(bench.archive, user, asked.id, "a.*", ["snow"], admin=False) == 1
    bench.settle()
    whole = _now(bench, asked)
    assert (whole.state, whole.ready_at, whole.expires_at) == (RestoreState.READY, bench.now, partly.expires_at), "days count from the first file"
    assert bench.read(dataset, "a.bin") == FILES["a.bin"]
    with pytest.raises(Conflict, match="given up"):
        restore.retry(bench.archive, user, asked.id, None, ["snow"], admin=False)
    with bench.archive.ledger.read() as tx:
        done = next(e.detail["transfer_id"] for e in tx.events(dataset.id) if e.kind == "transfer.proven")
    with pytest.raises(Conflict, match="not given up"):
        restore.retry_transfer(bench.archive, "root", done)
    with pytest.raises(NotFound):
        restore.retry_transfer(bench.archive, "root", 10**6)
    assert check(bench.archive) == []


# bad input


@pytest.mark.parametrize(
    ("wish", "kind"),
    [
        ({"days": 0}, WrongUse),
        ({"days": -1}, WrongUse),
        ({"days": 10**9}, WrongUse),
        ({"glob": "*.none"}, WrongUse),
        ({"references": []}, WrongUse),
        ({"references": ["run-none"]}, NotFound),
        ({"references": ["run-0", "run-none"]}, NotFound),
        ({"projects": ["ice-cores"]}, NotFound),
        ({"projects": []}, NotFound),
        ({"priority": 6}, WrongUse),
    ],
)
def test_a_wish_that_makes_no_sense_changes_nothing(bench: Bench, user, wish, kind):
    wish = {"references": ["run-0"], "glob": None, "days": 3, "projects": ["snow"], "priority": 0} | wish
    before = _written(bench)
    with pytest.raises(kind) as caught:
        restore.request_all(bench.archive, user, wish["references"], wish["glob"], wish["days"], wish["projects"], priority=wish["priority"])
    assert isinstance(caught.value, PublicError)
    assert caught.value.next_step
    assert _written(bench) == before


# recalls (last: only deep is left then)


def _recalls(archive: Archive) -> set[int]:
    with archive.ledger.read() as tx:
        return {one.id for one in tx.recalls_under_way()}


def test_no_more_recalls_run_than_the_tier_allows_and_the_urgent_go_first(bench: Bench, lent, user, monkeypatch):
    datasets = lent[:3]
    with bench.archive.ledger.begin() as tx:
        for dataset in datasets:
            for copy in [c for c in tx.copies(dataset.id) if c.tier == "archive" and not c.key.startswith(".neve/")]:
                tx.lose_copy(copy, dataset.id, "a test took it")
    asked = [_ask(bench, user, dataset, "a.bin", priority=n) for n, dataset in enumerate(datasets)]
    assert {r.from_tier for r in asked} == {"deep"}
    other = _ask(bench, next(_users), datasets[0], "a.bin")
    with monkeypatch.context() as patched:  # all are written down before the store is asked for the first
        patched.setattr(recall, "held_back", _recalls)
        bench.settle()
    assert len(_recalls(bench.archive)) == len(datasets) * len(FILES), "one for all that wait for the same; the lost copies are made anew too"
    bench.settle()

    def states() -> list[RestoreState]:
        return [_now(bench, one).state for one in asked]

    with bench.archive.ledger.read() as tx:
        running = {r.copy_id for r in tx.recalls_under_way() if r.state == "running"}
        urgent = {c.id for d in datasets[1:] for c in tx.copies(d.id) if c.tier == "deep" and c.key.endswith("a.bin")}
    assert running == urgent, "as many as the tier allows, the most urgent first"
    assert len(recall.held_back(bench.archive)) == len(_recalls(bench.archive)) - len(running)
    for _ in range(3):
        bench.turn(hours=13)
        bench.settle()
    assert states() == [RestoreState.READY] * 3
    assert _now(bench, other).state is RestoreState.READY
    assert check(bench.archive) == []

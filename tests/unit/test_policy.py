"""Policy: what age asks for, and that no decision ever lets go of too much."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver import policy
from archiver.config import Settings
from archiver.model import (
    Claim,
    ClaimKind,
    Copy,
    Dataset,
    DatasetState,
    Drop,
    DropState,
    File,
    FileState,
    Member,
    MetadataState,
    Object,
    ObjectKind,
    Proof,
    Restore,
    RestoreState,
    Transfer,
    TransferState,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
TIERS = ("hot", "archive", "deep")
RULES = Settings()


def dataset(age: timedelta = DAY, acquired: timedelta | None = None, stub_at=None) -> Dataset:
    received = NOW - age
    return Dataset(
        id=1, project="snow", instrument="saxs", name="run1", state=DatasetState.CLOSED, prefix="snow/saxs/2026/06/run1", received_at=received,
        acquired_at=None if acquired is None else NOW - acquired, closed_at=received, follows_id=None, stub_at=stub_at, look_at=NOW, size_bytes=1,
        file_count=1, title=None, format=None, metadata={},
    )  # fmt: skip


def file(n: int = 1, path: str = "a.h5") -> File:
    return File(
        id=n, dataset_id=1, path=path, path_raw=path.encode(), state=FileState.RECEIVED, size_bytes=1, sha256="s", crc64nvme="c", object_id=n,
        offset_bytes=0, mtime=None, received_at=NOW, format=None, metadata_state=MetadataState.NONE, metadata_error=None, metadata={},
    )  # fmt: skip


def obj(n: int = 1, kind: ObjectKind = ObjectKind.FILE) -> Object:
    return Object(id=n, dataset_id=1, kind=kind, key=f"k{n}", size_bytes=1, sha256="s", crc64nvme="c")


def copy(tier: str, object_id: int = 1) -> Copy:
    number = object_id * 10 + TIERS.index(tier)
    return Copy(number, object_id, tier, f"k{object_id}", "v", "STANDARD", Proof.READ_BACK, NOW, None)


def drop(of: Copy, state: DropState = DropState.PLANNED) -> Drop:
    return Drop(of.id, of.id, 1, state, "", NOW, NOW)


def transfer(tier: str, state: TransferState = TransferState.PLANNED, object_id: int = 1) -> Transfer:
    return Transfer(1, object_id, 1, tier, "k", 1, None, None, state, 0, NOW, None, None, NOW, NOW)


def restore_claim(until=None) -> tuple[Claim, Restore]:
    asked = Restore(7, 1, "alice", None, 7, RestoreState.COPYING, NOW, NOW, None, until, None, None)
    return Claim(1, 1, "hot", ClaimKind.RESTORE, 7, "alice", "", NOW, until, None), asked


def decide(ds, tiers, transfers=(), drops=(), claims=(), restores=(), rules=RULES, objects=None, files=None, copies=None):
    seen = policy.View(
        ds, files or [file()], objects or [obj()], copies or [copy(t) for t in tiers], list(transfers), list(drops), list(claims), list(restores)
    )
    return policy.decide(seen, rules, NOW)


def steps(decision):
    return {(tier, origin.tier) for _, tier, origin in decision.transfers}, {c.tier for c in decision.drops}


def test_on_the_first_day_copies_go_to_archive_and_deep_from_hot():
    decision = decide(dataset(), ["hot"])
    assert steps(decision) == ({("archive", "hot"), ("deep", "hot")}, set())
    assert decision.look_at == dataset().received_at + 60 * DAY


def test_age_counts_from_acquired_only_if_set_and_never_before_it_could():
    by_acquired = RULES.model_copy(update={"policy": RULES.policy.model_copy(update={"age_from": "acquired"})})
    assert policy.born(dataset(DAY, acquired=100 * DAY), RULES) == NOW - DAY
    assert policy.born(dataset(DAY, acquired=100 * DAY), by_acquired) == NOW - 100 * DAY
    assert policy.born(dataset(DAY, acquired=-5 * DAY), by_acquired) == NOW - DAY  # a clock that ran ahead
    assert policy.born(dataset(DAY), by_acquired) == NOW - DAY


def test_old_data_stays_hot_for_its_settling_time_after_receipt():
    by_acquired = RULES.model_copy(update={"policy": RULES.policy.model_copy(update={"age_from": "acquired"})})
    claims = policy.age_claims(dataset(DAY, acquired=3000 * DAY), by_acquired, NOW)
    assert {c.tier: c.until for c in claims} == {"hot": NOW - DAY + 7 * DAY, "deep": None}


def test_hot_is_left_stub_first_then_grace_then_drop():
    old = 61 * DAY
    first = decide(dataset(old), TIERS)
    assert first.stub
    assert not first.drops
    waiting = decide(dataset(old, stub_at=NOW - timedelta(minutes=59)), TIERS)
    assert not waiting.drops
    assert waiting.look_at == NOW + timedelta(minutes=1)
    assert steps(decide(dataset(old, stub_at=NOW - timedelta(hours=1)), TIERS)) == (set(), {"hot"})


def test_a_copy_stays_while_what_is_wanted_is_missing_or_what_remains_is_too_little():
    assert steps(decide(dataset(61 * DAY, stub_at=NOW - DAY), ["hot", "archive"])) == ({("deep", "hot")}, set())
    assert steps(decide(dataset(61 * DAY, stub_at=NOW - DAY), ["hot", "deep"], transfers=[transfer("archive")])) == (set(), set())
    quarantined = transfer("archive", TransferState.QUARANTINED)
    assert steps(decide(dataset(61 * DAY, stub_at=NOW - DAY), ["hot", "deep"], transfers=[quarantined])) == (set(), set())


def test_a_planned_drop_is_revoked_by_a_new_claim_and_a_checked_one_is_waited_for():
    claim, asked = restore_claim()
    old = dataset(61 * DAY, stub_at=NOW - DAY)
    planned = decide(old, TIERS, drops=[drop(copy("hot"))], claims=[claim], restores=[asked])
    assert [d.copy_id for d in planned.revoke] == [copy("hot").id]
    checked = decide(old, TIERS, drops=[drop(copy("hot"), DropState.CHECKED)], claims=[claim], restores=[asked])
    assert (checked.revoke, steps(checked)) == ([], (set(), set()))


def test_drops_are_serial_one_tier_at_a_time():
    very_old = dataset(800 * DAY, stub_at=NOW - DAY)
    first = decide(very_old, TIERS)
    assert len({c.tier for c in first.drops}) == 1
    assert not decide(very_old, TIERS, drops=[drop(first.drops[0])]).drops


def test_a_restore_reads_from_the_nearest_tier_that_needs_no_recall():
    claim, asked = restore_claim()
    both = decide(dataset(100 * DAY), ["archive", "deep"], claims=[claim], restores=[asked])
    assert steps(both)[0] == {("hot", "archive")}
    only_deep = decide(dataset(900 * DAY), ["deep"], claims=[claim], restores=[asked])
    assert steps(only_deep)[0] == {("hot", "deep")}


def test_an_ended_claim_claims_nothing_and_a_needless_transfer_is_cancelled():
    claim, asked = restore_claim(until=NOW)
    decision = decide(dataset(900 * DAY), ["deep"], transfers=[transfer("hot")], claims=[claim], restores=[asked])
    assert [t.tier for t in decision.cancel] == ["hot"]
    assert decide(dataset(900 * DAY), ["deep"], transfers=[transfer("hot", TransferState.VERIFYING)]).cancel == []


def test_the_manifest_lives_in_every_tier_but_hot():
    manifest = obj(2, ObjectKind.MANIFEST)
    decision = decide(dataset(900 * DAY), [], objects=[manifest], files=[file()], copies=[copy("hot", 2)])
    assert {tier for _, tier, _ in decision.transfers} == {"archive", "deep"}


def open_with_pack(*, hot=(1, 2), pack=TIERS, under_way=(), drops=(), later=10 * MINUTE, rules=RULES):
    """An open dataset of two small files that came in a pack, proven at NOW; `hot`: the files that are laid out. Decided `later`."""
    bundling = rules.model_copy(update={"tiers": {n: tier.model_copy(update={"bundles": n != "hot"}) for n, tier in rules.tiers.items()}})
    copies = [copy(tier, 9) for tier in pack] + [copy("hot", number) for number in hot]
    members = [Member(9, 1, 512), Member(9, 2, 1536)]
    objects = [obj(1), obj(2), obj(9, ObjectKind.BUNDLE)]
    ds = replace(dataset(), state=DatasetState.OPEN)
    seen = policy.View(ds, [file(1), file(2, "b.h5")], objects, copies, list(under_way), list(drops), [], [], members)
    return policy.decide(seen, bundling, NOW + later)


def test_a_pack_of_an_open_dataset_is_copied_on_and_then_let_go_of_in_hot():
    assert steps(open_with_pack(pack=["hot"])) == ({("archive", "hot"), ("deep", "hot")}, set())
    early = open_with_pack(later=9 * MINUTE)
    assert (steps(early), early.look_at) == ((set(), set()), NOW + 10 * MINUTE)
    assert [c.id for c in open_with_pack().drops] == [copy("hot", 9).id]


def test_a_pack_stays_in_hot_while_something_is_missing():
    for waits in (
        open_with_pack(hot=[1]),  # one is not laid out
        open_with_pack(pack=["hot", "archive"], under_way=[transfer("deep", object_id=9)]),
        open_with_pack(under_way=[transfer("hot", TransferState.QUARANTINED, object_id=9)]),
        open_with_pack(drops=[drop(copy("hot", 8))]),
    ):
        assert waits.drops == []
    assert open_with_pack(hot=[1]).look_at is None  # the end of its file's transfer has it looked at
    three = RULES.model_copy(update={"policy": RULES.policy.model_copy(update={"copies_min_first": 4})})
    assert open_with_pack(rules=three).drops == [], "what remains lies in three places"


def test_each_failed_attempt_takes_the_next_source():
    copies = [copy("archive"), copy("deep")]
    assert [policy.source(copies, RULES, attempt).tier for attempt in range(3)] == ["archive", "deep", "archive"]
    assert policy.source([], RULES) is None


@pytest.mark.parametrize(
    ("glob", "path", "fits"), [(None, "x/y", True), ("*.h5", "a.h5", True), ("sub/*", "sub/b/c", True), ("*.h5", "a.txt", False)]
)
def test_globs(glob, path, fits):
    assert policy.matches(path, glob) is fits


@given(
    age_days=st.integers(0, 1500),
    held=st.sets(st.sampled_from(TIERS), min_size=1),
    going=st.sets(st.sampled_from(TIERS)),
    under_way=st.dictionaries(st.sampled_from(TIERS), st.sampled_from(list(TransferState)), max_size=3),
    claimed=st.booleans(),
    stub=st.booleans(),
)
def test_whatever_the_state_what_remains_after_the_drops_reaches_copies_min(age_days, held, going, under_way, claimed, stub):
    ds = dataset(age_days * DAY, stub_at=NOW - DAY if stub else None)
    claim, asked = restore_claim()
    drops = [drop(copy(t)) for t in going & held]
    transfers = [
        transfer(t, state) for t, state in under_way.items() if t not in held and state not in {TransferState.PROVEN, TransferState.CANCELLED}
    ]
    decision = decide(ds, held, transfers, drops, [claim] if claimed else [], [asked] if claimed else [])
    leaving = {c.tier for c in decision.drops}
    if leaving:
        assert not drops
        assert len(held - leaving) >= policy.copies_min(ds, RULES, NOW)
        assert not (claimed and "hot" in leaving)
        assert stub or "hot" not in leaving
    for _, tier, origin in decision.transfers:
        assert tier not in held
        assert origin.tier in held - going

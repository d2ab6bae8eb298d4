"""What age asks for, which copies are wanted, and what has to be done so that they are true. Pure: no I/O, no clock.

Law 1 is enforced here first (what is planned) and in drop.py again (what is found in the store): a copy goes only when
nobody claims it, everything claimed is there, and what remains reaches `copies_min` in distinct places.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from archiver.config import Settings
from archiver.model import Claim, Copy, Dataset, Drop, DropState, File, Object, ObjectKind, Restore, Transfer, TransferState

HOT = "hot"


@dataclass(frozen=True)
class AgeClaim:
    """A claim that age makes: wanted in `tier` until `until` (None: for ever). Derived, never stored."""

    tier: str
    until: datetime | None


@dataclass(frozen=True)
class View:
    """All that a decision about one dataset needs to know."""

    dataset: Dataset
    files: list[File]
    objects: list[Object]
    copies: list[Copy]  # not dropped
    transfers: list[Transfer]  # not ended
    drops: list[Drop]  # not ended
    claims: list[Claim]  # not ended
    restores: list[Restore]  # not ended


@dataclass
class Decision:
    """The steps that make a dataset's copies true to its claims."""

    transfers: list[tuple[Object, str, Copy]] = field(default_factory=list)  # make a copy in this tier from that copy
    cancel: list[Transfer] = field(default_factory=list)  # not begun, and nobody wants it any more
    revoke: list[Drop] = field(default_factory=list)  # claimed again before it was checked
    stub: bool = False  # the stub must stand in hot before anything leaves
    drops: list[Copy] = field(default_factory=list)  # all in one tier: drops are serial per dataset
    unstub: bool = False  # everything is back: the stub goes
    look_at: datetime | None = None  # when this could come out differently by time alone


def born(dataset: Dataset, settings: Settings) -> datetime:
    """When a dataset's age counts from: never later than received (Law 5)."""
    if settings.policy.age_from == "acquired" and dataset.acquired_at is not None:
        return min(dataset.acquired_at, dataset.received_at)
    return dataset.received_at


def age_claims(dataset: Dataset, settings: Settings, now: datetime) -> list[AgeClaim]:
    """The tiers in which age wants a dataset now, nearest first, each with its end."""
    start = born(dataset, settings)
    claims = []
    for name, tier in settings.tiers.items():
        until = None if tier.keep is None else start + tier.keep
        if until is not None and name == HOT:
            until = max(until, dataset.received_at + settings.policy.settle)
        if until is None or now < until:
            claims.append(AgeClaim(name, until))
    return claims


def copies_min(dataset: Dataset, settings: Settings, now: datetime) -> int:
    """Proven copies in distinct places that must remain at this age."""
    policy = settings.policy
    return policy.copies_min_first if now - born(dataset, settings) < policy.copies_min_until else policy.copies_min_after


def matches(path: str, glob: str | None) -> bool:
    """Whether a restore's glob means this path (None: all); `*` crosses folders, as in a shell's `**`."""
    return glob is None or fnmatch.fnmatchcase(path, glob)


def source(copies: Iterable[Copy], settings: Settings, attempt: int = 0) -> Copy | None:
    """The copy to read from: a tier that is read at once before one that needs a recall, then the nearest.

    `attempt`: how many have failed; each takes the next candidate, so that one bad copy does not block the others.
    """
    order = list(settings.tiers)
    known = [c for c in copies if c.tier in settings.tiers]
    ranked = sorted(known, key=lambda c: (settings.tiers[c.tier].recall != "never", order.index(c.tier)))
    return ranked[attempt % len(ranked)] if ranked else None


def wanted(view: View, settings: Settings, now: datetime) -> tuple[dict[int, set[str]], datetime | None]:
    """For each object the tiers in which it shall have a copy now, and the next time at which that changes by itself."""
    ends: list[datetime] = []
    by_age = set()
    for claim in age_claims(view.dataset, settings, now):
        by_age.add(claim.tier)
        if claim.until is not None:
            ends.append(claim.until)
    globs = {r.id: r.files_glob for r in view.restores}
    paths = {f.object_id: f.path for f in view.files}
    want = {}
    for obj in view.objects:
        tiers = set(by_age) if obj.kind is ObjectKind.FILE else {name for name in settings.tiers if name != HOT}
        for stored in view.claims:
            if stored.until is not None and now >= stored.until:
                continue
            glob = globs.get(stored.restore_id) if stored.restore_id is not None else None
            if obj.kind is ObjectKind.FILE and matches(paths[obj.id], glob):
                tiers.add(stored.tier)
        want[obj.id] = tiers
    ends += [c.until for c in view.claims if c.until is not None and now < c.until]
    return want, min(ends, default=None)


def decide(view: View, settings: Settings, now: datetime) -> Decision:
    """Compare what is with what shall be, and say what to do. Nothing is decided for a dataset that is open."""
    decision = Decision()
    want, decision.look_at = wanted(view, settings, now)
    going = {d.copy_id: d for d in view.drops}
    held: dict[int, list[Copy]] = {obj.id: [] for obj in view.objects}
    for copy in view.copies:
        held[copy.object_id].append(copy)
    under_way = {(tr.object_id, tr.tier): tr for tr in view.transfers}
    can_go: dict[str, list[Copy]] = {}
    for obj in view.objects:
        counted = [c for c in held[obj.id] if c.id not in going]
        have = {c.tier for c in counted}
        for tier in sorted(want[obj.id] - have):
            dropping = next((going[c.id] for c in held[obj.id] if c.id in going and c.tier == tier), None)
            if dropping is not None:
                if dropping.state is DropState.PLANNED:
                    decision.revoke.append(dropping)
                continue  # checked: it cannot be stopped; copied again when it has ended
            if (obj.id, tier) not in under_way and (origin := source(counted, settings)) is not None:
                decision.transfers.append((obj, tier, origin))
        busy = False
        for tier in {tr.tier for tr in view.transfers if tr.object_id == obj.id}:
            transfer = under_way[obj.id, tier]
            if tier in want[obj.id]:
                busy = busy or transfer.state is not TransferState.QUARANTINED
            elif transfer.state in {TransferState.PLANNED, TransferState.RECALLING, TransferState.FAILED, TransferState.QUARANTINED}:
                decision.cancel.append(transfer)
            else:
                busy = True
        if not busy and want[obj.id] <= have:
            for copy in counted:
                if copy.tier not in want[obj.id] and _enough([c for c in counted if c.id != copy.id], view.dataset, settings, now):
                    can_go.setdefault(copy.tier, []).append(copy)
    _let_go(decision, view, settings, now, can_go)
    return decision


def _enough(remaining: list[Copy], dataset: Dataset, settings: Settings, now: datetime) -> bool:
    places = {settings.tiers[c.tier].place for c in remaining if c.tier in settings.tiers}
    return len(places) >= copies_min(dataset, settings, now)


def _let_go(decision: Decision, view: View, settings: Settings, now: datetime, can_go: Mapping[str, list[Copy]]) -> None:
    """Choose one tier to leave (serial drops), the stub before hot; take the stub away when all files are back."""
    hot_files = {c.object_id for c in view.copies if c.tier == HOT}
    file_objects = {obj.id for obj in view.objects if obj.kind is ObjectKind.FILE}
    if view.dataset.stub_at is not None and file_objects <= hot_files and not can_go.get(HOT) and not view.drops:
        decision.unstub = True
    if view.drops:
        return
    for tier, copies in can_go.items():
        visible = tier == HOT and any(c.object_id in file_objects for c in copies)
        if visible and view.dataset.stub_at is None:
            decision.stub = True
            decision.look_at = _earlier(decision.look_at, now + settings.policy.grace)
            continue
        if visible and view.dataset.stub_at is not None and now < view.dataset.stub_at + settings.policy.grace:
            decision.look_at = _earlier(decision.look_at, view.dataset.stub_at + settings.policy.grace)
            continue
        decision.drops = copies
        return


def _earlier(a: datetime | None, b: datetime) -> datetime:
    return b if a is None else min(a, b)


def hot_until(dataset: Dataset, claims: Iterable[Claim], settings: Settings, now: datetime) -> datetime | None:
    """Until when a dataset is claimed in hot, as far as known; None when it is not, or a claim has no end yet."""
    ends = [c.until for c in age_claims(dataset, settings, now) if c.tier == HOT]
    stored = [c.until for c in claims if c.tier == HOT and (c.until is None or c.until > now)]
    if None in stored or None in ends:
        return None
    return max((end for end in (*ends, *stored) if end is not None), default=None)


def promise(tier: str | None, settings: Settings) -> timedelta:
    """Within what time a restore from this tier is promised; zero when it is hot."""
    return settings.tiers[tier].back_within if tier in settings.tiers else timedelta(0)

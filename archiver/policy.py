"""What age asks for, which copies are wanted, and what has to be done so that they are true. Pure: no I/O, no clock.

Law 1 is enforced here first (what is planned) and in drop.py again (what is found in the store): a copy goes only when
nobody claims it, everything claimed is there, and what remains reaches `copies_min` in distinct places.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from glob import escape
from typing import Protocol

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
    Object,
    ObjectKind,
    Restore,
    Transfer,
    TransferState,
)

HOT = "hot"
_PACKS_STAND = timedelta(minutes=10)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

_ESCAPED = re.compile(r"\[([*?\[])\]")


class Aged(Protocol):
    """What age is counted of: a dataset, or all that are as old."""

    @property
    def project(self) -> str: ...
    @property
    def instrument(self) -> str: ...
    @property
    def received_at(self) -> datetime: ...
    @property
    def acquired_at(self) -> datetime | None: ...


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
    members: list[Member] = field(default_factory=list)  # which objects also stand in which bundles
    erased: frozenset[int] = frozenset()  # objects of erased files, which are not in `files`

    @cached_property
    def bundles_of(self) -> Mapping[int, list[int]]:
        """For each bundled object the bundles it stands in."""
        found: dict[int, list[int]] = {}
        for member in self.members:
            found.setdefault(member.object_id, []).append(member.bundle_id)
        return found

    @cached_property
    def members_of(self) -> Mapping[int, list[int]]:
        """For each bundle the objects that stand in it."""
        found: dict[int, list[int]] = {}
        for member in self.members:
            found.setdefault(member.bundle_id, []).append(member.object_id)
        return found

    @cached_property
    def condemned(self) -> frozenset[int]:
        """Objects that shall have no copy at all: erased files, bundles with one of them inside (or taken apart), manifests that tell of them."""
        if not self.erased:
            return frozenset(o.id for o in self.objects if o.kind is ObjectKind.BUNDLE and not self.members_of.get(o.id))
        bundles = {o.id for o in self.objects if o.kind is ObjectKind.BUNDLE and not self.erased.isdisjoint(self.members_of.get(o.id, self.erased))}
        manifests = {o.id for o in self.objects if o.kind is ObjectKind.MANIFEST and o is not self.manifest}
        return self.erased | bundles | manifests

    @cached_property
    def manifest(self) -> Object | None:
        """The newest: only an erasure makes another."""
        return max((o for o in self.objects if o.kind is ObjectKind.MANIFEST), key=lambda o: o.id, default=None)

    @cached_property
    def copies_by_object(self) -> Mapping[int, list[Copy]]:
        found: dict[int, list[Copy]] = {}
        for copy in self.copies:
            found.setdefault(copy.object_id, []).append(copy)
        return found

    def copies_with(self, object_id: int) -> list[Copy]:
        """The copies in which the bytes of an object stand: its own, and those of its bundles."""
        return [c for i in (object_id, *self.bundles_of.get(object_id, ())) for c in self.copies_by_object.get(i, ())]


@dataclass
class Decision:
    """The steps that make a dataset's copies true to its claims."""

    transfers: list[tuple[Object, str, Copy | None]] = field(default_factory=list)  # make a copy in this tier from that copy; None: build the bundle
    cancel: list[Transfer] = field(default_factory=list)  # not begun, and nobody wants it any more
    revoke: list[Drop] = field(default_factory=list)  # claimed again before it was checked
    stub: bool = False  # the stub must stand in hot before anything leaves
    drops: list[Copy] = field(default_factory=list)  # all in one tier: drops are serial per dataset
    unstub: bool = False  # everything is back: the stub goes
    look_at: datetime | None = None  # when this could come out differently by time alone


def nearest(view: View, settings: Settings, going: Collection[int] = ()) -> str | None:
    """The nearest tier with a full set of copies; those `going`, by number, do not count."""
    counted = [c for c in view.copies if c.id not in going]
    held = {name: {c.object_id for c in counted if c.tier == name} for name in settings.tiers}
    for name, objects in held.items():
        if view.files and all(f.object_id in objects or not objects.isdisjoint(view.bundles_of.get(f.object_id, ())) for f in view.files):
            return name
    return None


def born(dataset: Aged, settings: Settings) -> datetime:
    """When a dataset's age counts from: never later than received (Law 5)."""
    if settings.policy.age_from == "acquired" and dataset.acquired_at is not None:
        return min(dataset.acquired_at, dataset.received_at)
    return dataset.received_at


def age_ends(dataset: Aged, keep: Mapping[str, timedelta | None], settings: Settings) -> dict[str, datetime | None]:
    """Until when age wants a dataset in each tier that keeps so long (None: for ever), passed or not."""
    start = born(dataset, settings)
    found = {name: None if time is None else start + time for name, time in keep.items()}
    hot = found.get(HOT)
    if hot is not None:
        found[HOT] = max(hot, dataset.received_at + settings.policy.settle)
    return found


def age_claims(dataset: Aged, settings: Settings, now: datetime) -> list[AgeClaim]:
    """The tiers in which age wants a dataset now, nearest first, each with its end."""
    keep = settings.rules_for(dataset.project, dataset.instrument).keep
    return [AgeClaim(name, until) for name, until in age_ends(dataset, keep, settings).items() if until is None or now < until]


def copies_min(dataset: Dataset, settings: Settings, now: datetime) -> int:
    """Proven copies in distinct places that must remain at this age."""
    rules = settings.rules_for(dataset.project, dataset.instrument)
    return rules.copies_min_first if now - born(dataset, settings) < settings.policy.copies_min_until else rules.copies_min_after


def matches(path: str, glob: str | None) -> bool:
    """Whether a restore's glob means this path (None: all); `*` crosses folders, as in a shell's `**`. Several globs stand on lines of their own."""
    if glob is None:
        return True
    paths, patterns = _parts(glob)
    return path in paths or any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def one_of(paths: Iterable[str]) -> str:
    """The glob that means these paths and no others (a line break in one stands for any character)."""
    return "\n".join(escape(path).replace("\n", "?") for path in paths)


@lru_cache(maxsize=128)
def _parts(glob: str) -> tuple[frozenset[str], tuple[str, ...]]:
    """A glob's lines: those that are plain paths, looked up at once, and those that are patterns."""
    plain = {line: _ESCAPED.sub(r"\1", line) for line in glob.split("\n")}
    return frozenset(p for line, p in plain.items() if escape(p) == line), tuple(line for line, p in plain.items() if escape(p) != line)


def source(copies: Iterable[Copy], settings: Settings, attempt: int = 0) -> Copy | None:
    """The copy to read from: a tier that is read at once before one that needs a recall, then the nearest.

    `attempt`: how many have failed; each takes the next candidate, so that one bad copy does not block the others.
    """
    order = list(settings.tiers)
    known = [c for c in copies if c.tier in settings.tiers]
    ranked = sorted(known, key=lambda c: (settings.tiers[c.tier].recall != "never", order.index(c.tier)))
    return ranked[attempt % len(ranked)] if ranked else None


def wanted(view: View, settings: Settings, now: datetime) -> tuple[dict[int, set[str]], datetime | None]:
    """For each object the tiers in which it shall have a copy now, and the next time at which that changes by itself.

    In a tier that takes bundles, a bundled file is wanted as a member of its bundle only.
    """
    by_age = age_claims(view.dataset, settings, now)
    ends = [claim.until for claim in by_age if claim.until is not None]
    bundling = {name for name, tier in settings.tiers.items() if tier.bundles}
    aged = {claim.tier for claim in by_age}
    globs = {r.id: r.files_glob for r in view.restores}
    stored = [c for c in view.claims if counts(c) and (c.until is None or now < c.until)]
    ends += [c.until for c in stored if c.until is not None]
    paths = {f.object_id: f.path for f in view.files}
    want: dict[int, set[str]] = {}
    for obj in view.objects:
        if obj.id in view.condemned:
            want[obj.id] = set()
            continue
        match obj.kind:
            case ObjectKind.MANIFEST:
                tiers = {name for name in settings.tiers if name != HOT}
            case ObjectKind.BUNDLE:
                tiers = aged & bundling
            case ObjectKind.FILE:
                tiers = aged - bundling if obj.id in view.bundles_of else set(aged)
                for claim in stored:
                    glob = globs.get(claim.restore_id) if claim.restore_id is not None else claim.files_glob
                    if obj.id in paths and matches(paths[obj.id], glob):
                        tiers.add(claim.tier)
        want[obj.id] = tiers
    for bundle_id, members in view.members_of.items() if view.erased else ():
        if want[bundle_id] and not view.copies_by_object.get(bundle_id):  # it takes the place of a condemned one, and is built from what lies in hot
            for object_id in members:
                want[object_id].add(HOT)
    return want, min(ends, default=None)


def counts(claim: Claim) -> bool:
    """Whether a stored claim asks for copies by now: a hold on what was cold waits for its restore."""
    return claim.kind is not ClaimKind.HOLD or claim.restore_id is None


def decide(view: View, settings: Settings, now: datetime) -> Decision:
    """Compare what is with what shall be, and say what to do.

    Of a dataset that is open, only what is received and too large for a bundle, or came in a pack, is copied on; nothing in it is let go but packs.
    """
    if view.dataset.state is DatasetState.OPEN:
        return _copy_on(view, settings, now)
    decision = Decision()
    want, decision.look_at = wanted(view, settings, now)
    going = {d.copy_id: d for d in view.drops}
    counted = [c for c in view.copies if c.id not in going]
    have: dict[int, set[str]] = {obj.id: set() for obj in view.objects}
    for copy in counted:
        have[copy.object_id].add(copy.tier)
    under_way: dict[int, dict[str, Transfer]] = {}
    for transfer in view.transfers:
        under_way.setdefault(transfer.object_id, {})[transfer.tier] = transfer
    settled = set()  # objects whose every claim is true
    for obj in view.objects:
        _supply(decision, view, settings, obj, want[obj.id] - have[obj.id], going, under_way.get(obj.id, {}))
        busy = False
        for tier, transfer in under_way.get(obj.id, {}).items():
            if tier in want[obj.id]:
                busy = busy or transfer.state is not TransferState.QUARANTINED
            elif transfer.state in {TransferState.PLANNED, TransferState.RECALLING, TransferState.FAILED, TransferState.QUARANTINED}:
                decision.cancel.append(transfer)
            else:
                busy = True
        if not busy and want[obj.id] <= have[obj.id]:
            settled.add(obj.id)
    least = copies_min(view.dataset, settings, now)
    can_go: dict[str, list[Copy]] = {}
    for copy in counted:
        if copy.tier not in want[copy.object_id] and settled >= {copy.object_id, *_instead(view, copy.object_id)}:
            can_go.setdefault(copy.tier, []).append(copy)
    for tier, copies in can_go.items():
        leaving = {c.id for c in copies}
        stand = standing((c for c in counted if c.id not in leaving), settings)
        # Every file whose bytes stand in the copy keeps enough of them (Law 1, rule 2).
        can_go[tier] = [c for c in copies if all(len(places(view, o, stand)) >= least for o in covered(view, c.object_id))]
    _let_go(decision, view, settings, now, {tier: copies for tier, copies in can_go.items() if copies})
    lives = [o.id for o in view.objects if o.kind is ObjectKind.FILE and o.id not in view.condemned]
    if view.dataset.stub_at is None and any(HOT not in want[object_id] and not _in_hot(view, object_id) for object_id in lives):
        decision.stub = True  # it has left already: somebody took the stub away, or it was never known
    return decision


def _instead(view: View, object_id: int) -> set[int]:
    """The objects in which what a copy holds stands as well, or takes its place: their claims must be true before it goes."""
    if object_id not in view.condemned:
        return {*view.bundles_of.get(object_id, ()), *view.members_of.get(object_id, ())}
    heirs = {b for o in view.members_of.get(object_id, ()) if o not in view.erased for b in view.bundles_of[o]}
    return heirs - view.condemned | ({view.manifest.id} if view.manifest else set())


def _in_hot(view: View, object_id: int) -> bool:
    return any(c.tier == HOT for c in view.copies_by_object.get(object_id, ()))


def _copy_on(view: View, settings: Settings, now: datetime) -> Decision:
    decision = Decision()
    rules = settings.rules_for(view.dataset.project, view.dataset.instrument)
    received = {f.object_id: f.size_bytes for f in view.files if f.state is FileState.RECEIVED}
    aged = {claim.tier for claim in age_claims(view.dataset, settings, now)}
    bundling = {name for name, tier in settings.tiers.items() if tier.bundles}
    under_way: dict[int, dict[str, Transfer]] = {}
    for transfer in view.transfers:
        under_way.setdefault(transfer.object_id, {})[transfer.tier] = transfer
    settled = []
    for obj in view.objects:
        have = {c.tier for c in view.copies_by_object.get(obj.id, ())}
        if obj.kind is ObjectKind.BUNDLE and have:  # a pack that has come: a bundle already
            missing = (aged & bundling) - have
            if not missing and obj.id not in under_way:
                settled.append(obj.id)
        elif obj.id in received:
            missing = aged - have - (bundling if received[obj.id] < rules.bundle_below_bytes else set())
        else:
            continue
        _supply(decision, view, settings, obj, missing, {}, under_way.get(obj.id, {}))
    _let_packs_go(decision, view, settings, now, settled)
    return decision


def _let_packs_go(decision: Decision, view: View, settings: Settings, now: datetime, packs: Collection[int]) -> None:
    """Of an open dataset, packs whose claims are true and whose files all lie at their own keys need not stand in hot any more."""
    standing_in_hot = [c for pack in packs for c in view.copies_by_object[pack] if c.tier == HOT]
    leaving = {c.id for c in standing_in_hot if stands_until(c) <= now and _laid_out(view, c.object_id)}
    stand = standing((c for c in view.copies if c.id not in leaving), settings)
    least = copies_min(view.dataset, settings, now)
    for copy in standing_in_hot:
        if stands_until(copy) > now:
            decision.look_at = _earlier(decision.look_at, stands_until(copy))
        elif copy.id in leaving and not view.drops and all(len(places(view, o, stand)) >= least for o in covered(view, copy.object_id)):
            decision.drops.append(copy)


def _laid_out(view: View, pack_id: int) -> bool:
    members = view.members_of.get(pack_id, ())
    return bool(members) and all(_in_hot(view, object_id) for object_id in members)


def stands_until(pack: Copy) -> datetime:
    """When a pack's copy in hot may go, all else being right: at the end of the step in which it was proven. So many go together, as each time
    what remains is looked at anew."""
    return _EPOCH + ((pack.proven_at - _EPOCH) // _PACKS_STAND + 1) * _PACKS_STAND


def copies_on(dataset: Dataset, largest_bytes: int, settings: Settings, now: datetime) -> bool:
    """Whether a file of this size, and so any of an open dataset whose largest it is, is copied on before the dataset closes."""
    below = settings.rules_for(dataset.project, dataset.instrument).bundle_below_bytes
    tiers = {claim.tier for claim in age_claims(dataset, settings, now)} - {HOT}
    return any(not settings.tiers[name].bundles or largest_bytes >= below for name in tiers)


def _supply(
    decision: Decision,
    view: View,
    settings: Settings,
    obj: Object,
    missing: Collection[str],
    going: Mapping[int, Drop],
    under_way: Mapping[str, Transfer],
) -> None:
    """Plan what an object lacks: a drop that can still be revoked, a copy of a copy, or a bundle built from its members."""
    sources = [c for c in view.copies_with(obj.id) if c.id not in going]
    for tier in sorted(missing, key=list(settings.tiers).index):
        dropping = next((going[c.id] for c in view.copies_by_object.get(obj.id, ()) if c.id in going and c.tier == tier), None)
        if dropping is not None:
            if dropping.state is DropState.PLANNED:
                decision.revoke.append(dropping)
            continue  # checked: it cannot be stopped; copied again when it has ended
        if tier in under_way:
            continue
        origin = source(sources, settings)
        if obj.kind is ObjectKind.BUNDLE and (origin is None or settings.tiers[origin.tier].recall != "never") and _can_build(view, obj, going):
            if not under_way:  # one build at a time; the next copy is made from the first
                decision.transfers.append((obj, tier, None))
            return
        if origin is not None:
            decision.transfers.append((obj, tier, origin))


def _can_build(view: View, bundle: Object, going: Mapping[int, Drop]) -> bool:
    """Whether every member of a bundle has a counted copy in hot."""
    return all(
        any(c.tier == HOT and c.id not in going for c in view.copies_by_object.get(object_id, ())) for object_id in view.members_of.get(bundle.id, ())
    )


def covered(view: View, object_id: int) -> list[int]:
    """The objects whose bytes stand in an object and must stand somewhere: itself, or a bundle's members.

    Of what is erased nothing has to remain: the only exception to Law 1 (rule 13).
    """
    return [o for o in view.members_of.get(object_id, [object_id]) if o not in view.condemned]


def standing(copies: Iterable[Copy], settings: Settings) -> dict[int, set[str]]:
    """For each object the distinct places of its own copies."""
    found: dict[int, set[str]] = {}
    for copy in copies:
        if copy.tier in settings.tiers:
            found.setdefault(copy.object_id, set()).add(settings.tiers[copy.tier].place)
    return found


def places(view: View, object_id: int, stand: Mapping[int, set[str]]) -> set[str]:
    """The distinct places in which an object's bytes stand, in copies of its own or of its bundles. `stand`: of `standing`."""
    return set().union(*(stand.get(holder, ()) for holder in (object_id, *view.bundles_of.get(object_id, ()))))


def _let_go(decision: Decision, view: View, settings: Settings, now: datetime, can_go: Mapping[str, list[Copy]]) -> None:
    """Choose one tier to leave (serial drops), the stub before hot; take the stub away when all files are back."""
    hot_files = {c.object_id for c in view.copies if c.tier == HOT}
    file_objects = {f.object_id for f in view.files}
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


def sponsors(view: View) -> dict[int, Restore]:
    """For each object the most urgent restore that waits for it: its priority and user go with the transfer."""
    claiming = {c.restore_id for c in view.claims if c.kind is ClaimKind.RESTORE}
    waiting = [r for r in view.restores if r.ready_at is None and r.id in claiming]
    found = {}
    for restore in sorted(waiting, key=lambda r: (r.priority, -r.requested_at.timestamp())):
        found.update({f.object_id: restore for f in view.files if matches(f.path, restore.files_glob)})
    return found


def urgent(view: View, waiting: Mapping[int, Restore]) -> list[tuple[Transfer, int, str | None]]:
    """Transfers into hot for which another waits by now, or more urgently: with the priority and user that go with them from now on."""
    found = []
    for transfer in view.transfers:
        if transfer.tier == HOT and transfer.source_uri is None:
            restore = waiting.get(transfer.object_id)
            now = (restore.priority, restore.user) if restore else (0, None)
            if now != (transfer.priority, transfer.user):
                found.append((transfer, *now))
    return found


def lock_until(dataset: Dataset, tier: str, settings: Settings, now: datetime) -> datetime | None:
    """Until when a new copy in a tier is locked: never beyond the end of its claim (rule 6); None where the tier locks nothing."""
    lock = settings.tiers[tier].lock
    if lock is None:
        return None
    ends = [claim.until for claim in age_claims(dataset, settings, now) if claim.tier == tier]
    end = ends[0] if ends else now
    return now + lock if end is None else min(now + lock, end) if end > now else None


def hot_until(by_age: Iterable[AgeClaim], claims: Iterable[Claim], now: datetime) -> datetime | None:
    """Until when a dataset is claimed in hot, as far as known; None when it is not, or a claim has no end yet."""
    ends = [c.until for c in by_age if c.tier == HOT]
    stored = [c.until for c in claims if c.tier == HOT and counts(c) and (c.until is None or c.until > now)]
    if None in stored or None in ends:
        return None
    return max((end for end in (*ends, *stored) if end is not None), default=None)


def promise(tier: str | None, settings: Settings) -> timedelta:
    """Within what time a restore from this tier is promised; zero when it is hot."""
    return settings.tiers[tier].back_within if tier in settings.tiers else timedelta(0)

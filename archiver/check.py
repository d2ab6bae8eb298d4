"""`archiver ledger check`: what must be true of the ledger at any quiet moment, and what is not.

Each line names the dataset, the file or step, and what is wrong; none at all means that every invariant holds:
- each chain is whole, and each anchored head still stands in it; the anchors themselves stand in the store as they were written;
- each file of a closed dataset has the proven copies that its claims and `copies_min` want, or the transfer that says why not;
- no row is in a state that no start leaves: nobody would ever look at it again.

It changes nothing, and holds one dataset or one page at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from archiver import anchors, chain, guards, policy
from archiver.archive import Archive, view
from archiver.config import Settings
from archiver.model import (
    Anchor,
    Claim,
    ClaimKind,
    DatasetState,
    Drop,
    FileState,
    Object,
    ObjectKind,
    Restore,
    RestoreState,
    Snapshot,
    SnapshotState,
    Transfer,
    TransferState,
)
from archiver.policy import View
from archiver.storage import Vanished

_PAGE = 200
_LINES = 500
_LONGEST_WAIT = timedelta(days=1)  # far longer than any backoff: a clock that was wrong wrote it


def check(archive: Archive) -> list[str]:
    """All that is wrong. Raises `StoreUnavailable` when the anchors can't be read."""
    return list(broken(archive))


def broken(archive: Archive) -> Iterator[str]:
    """The same, as it is found."""
    yield from _datasets(archive)
    yield from _anchors(archive)


def _datasets(archive: Archive) -> Iterator[str]:
    after = 0
    while True:
        with archive.ledger.read() as tx:
            page = tx.datasets_by_number(after, _PAGE)
        for dataset in page:
            with archive.ledger.read() as tx:
                found = list(chain.verify(dataset.full_name, tx.chain_of(dataset.id)))
                held = tx.note(guards.HOLD) is not None
                erasing = bool(tx.erasures(ended=False, dataset_id=dataset.id))
                seen = view(tx, dataset.id)
                growing = tx.snapshots([dataset.id])
                gone = {one.copy_id for one in seen.drops if tx.copy(one.copy_id).dropped_at is not None}
                now = tx.at
            found += _one(seen, archive.settings, now, gone, growing, held=held, erasing=erasing)
            yield from (f"{dataset.full_name}: {line}" for line in found)
        if len(page) < _PAGE:
            return
        after = page[-1].id


# one dataset


def _one(seen: View, settings: Settings, now: datetime, gone: set[int], growing: Sequence[Snapshot], *, held: bool, erasing: bool) -> Iterator[str]:
    """`gone`: copies of drops that are dropped already; `growing`: snapshots; `held`: nothing is let go before an admin says so; `erasing`: files
    end just now."""
    names = {o.id: o.key for o in seen.objects}
    for step in seen.transfers:
        yield from _transfer(step, seen, settings, now, names)
    for drop in seen.drops:
        yield from _drop(drop, seen, settings, gone)
    for one in growing:
        yield from _snapshot(one, now)
    yield from _claims(seen, now)
    for copy in seen.copies:
        if copy.tier not in settings.tiers:
            yield f"{copy.key} has a copy in {copy.tier}, which is no tier of the settings"
    if seen.dataset.state is not DatasetState.OPEN:
        yield from (f"a snapshot stands at {one.key}, though the dataset is {seen.dataset.state}" for one in growing)
        yield from _copies(seen, settings, now)
        yield from _left_alone(seen, settings, now, held=held)
    for copy in seen.copies if not erasing else ():
        if copy.object_id in seen.condemned:
            yield f"{copy.key} was erased, and has a copy in {copy.tier}"


def _copies(seen: View, settings: Settings, now: datetime) -> Iterator[str]:
    """Each file's and the manifest's copies, counted in places and through bundles."""
    for file in seen.files:
        if file.state is FileState.ARRIVING:
            yield f"{file.path} is not received, though the dataset is closed"
    going = {d.copy_id for d in seen.drops}
    stand = policy.standing((c for c in seen.copies if c.id not in going), settings)
    least = policy.copies_min(seen.dataset, settings, now)
    coming: dict[int, list[Transfer]] = {}
    for step in seen.transfers:
        coming.setdefault(step.object_id, []).append(step)
    for obj in seen.objects:
        if obj.kind is ObjectKind.BUNDLE or obj.id in seen.condemned:
            continue
        if obj.sha256 is None:
            yield f"nothing is recorded of {obj.key}"
        found = policy.places(seen, obj.id, stand)
        if len(found) >= least:
            continue
        steps = [s for i in (obj.id, *seen.bundles_of.get(obj.id, ())) for s in coming.get(i, ())]
        given_up = [s.error or "unknown" for s in steps if s.state is TransferState.QUARANTINED]
        if given_up:
            yield f"{obj.key} lies in {len(found)} place(s), {least} are needed; a transfer gave up: {given_up[0]}"
        elif not steps and not _due(seen, now):
            yield f"{obj.key} lies in {len(found)} place(s), {least} are needed, and nothing is under way"


def _left_alone(seen: View, settings: Settings, now: datetime, *, held: bool) -> Iterator[str]:
    """What would be decided now, in a dataset that nobody will look at now."""
    if _due(seen, now):
        return
    decision = policy.decide(seen, settings, now)
    for obj, tier, _ in decision.transfers:
        yield f"{obj.key} has no copy in {tier} and nothing is under way"
    want, _ = policy.wanted(seen, settings, now)
    for step in seen.transfers:
        if step.state is TransferState.QUARANTINED and step.tier in want.get(step.object_id, ()):
            yield f"{step.key} has no copy in {step.tier}: {step.error}"
    for step in decision.cancel:
        yield f"transfer {step.id} of {step.key} into {step.tier} goes on, though nobody claims it"
    for drop in decision.revoke:
        yield f"drop {drop.id} goes on, though its copy is claimed"
    if decision.drops and not held:
        yield f"{len(decision.drops)} copies in {decision.drops[0].tier} are claimed by nobody, and nothing lets them go"
    if decision.look_at is not None and (seen.dataset.look_at is None or seen.dataset.look_at > decision.look_at):
        yield f"it is not looked at when its claims change ({decision.look_at:%Y-%m-%d %H:%M} UTC)"
    have = {(c.object_id, c.tier) for c in seen.copies} | {(s.object_id, s.tier) for s in seen.transfers}
    planned = {(obj.id, tier) for obj, tier, _ in decision.transfers}
    for obj in seen.objects:
        for tier in sorted(want[obj.id] - {tier for o, tier in have | planned if o == obj.id}):
            if not _waits_for_another(obj, seen):
                yield f"{obj.key} has no copy in {tier}, and there is none to make it from"


def _waits_for_another(obj: Object, seen: View) -> bool:
    """A bundle's second copy is made from its first; any copy waits while a drop in its place ends."""
    return any(s.object_id == obj.id for s in seen.transfers) or bool(seen.drops) or any(c.object_id == obj.id for c in seen.copies)


def _due(seen: View, now: datetime) -> bool:
    return seen.dataset.look_at is not None and seen.dataset.look_at <= now


def _transfer(step: Transfer, seen: View, settings: Settings, now: datetime, names: dict[int, str]) -> Iterator[str]:
    what = f"transfer {step.id} of {step.key} into {step.tier}"
    if step.object_id not in names:
        yield f"{what} is of another dataset's object"
    if step.tier not in settings.tiers:
        yield f"{what}: this is no tier of the settings"
    if step.state is TransferState.RECALLING and step.recall_id is None:
        yield f"{what} waits for a recall that nobody has asked for"
    if step.state is TransferState.VERIFYING and step.version_id is None:
        yield f"{what} has nothing to verify"
    if step.state is TransferState.COPYING and step.source_copy_id is None and step.source_uri is None:
        kind = next((o.kind for o in seen.objects if o.id == step.object_id), None)
        if kind is not ObjectKind.BUNDLE:
            yield f"{what} copies from nowhere"
    if step.source_uri is not None and seen.dataset.state is not DatasetState.OPEN and step.state is not TransferState.QUARANTINED:
        yield f"{what} is an arrival in a dataset that is {seen.dataset.state}: nobody will send it"
    if step.source_uri is not None and step.state in {TransferState.COPYING, TransferState.VERIFYING} and not step.attempts:
        yield f"{what} has begun, and counts no attempt: what it has sent would be taken for somebody else's"
    if step.state is not TransferState.QUARANTINED and step.next_try_at > now + _LONGEST_WAIT:
        yield f"{what} is not tried before {step.next_try_at:%Y-%m-%d}"
    if any(c.object_id == step.object_id and c.tier == step.tier for c in seen.copies) and not any(
        d.copy_id == c.id for d in seen.drops for c in seen.copies if c.object_id == step.object_id and c.tier == step.tier
    ):
        yield f"{what} makes a copy that is there already"


def _drop(drop: Drop, seen: View, settings: Settings, gone: set[int]) -> Iterator[str]:
    copy = next((c for c in seen.copies if c.id == drop.copy_id), None)
    if drop.copy_id in gone:
        yield f"drop {drop.id} is {drop.state}, though its copy is dropped already"
    elif copy is None:
        yield f"drop {drop.id} is of another dataset's copy"
    elif copy.tier not in settings.tiers:
        yield f"drop {drop.id} is in {copy.tier}, which is no tier of the settings"


def _snapshot(one: Snapshot, now: datetime) -> Iterator[str]:
    what = f"the snapshot at {one.key} is {one.state}"
    if one.state in {SnapshotState.SHOWN, SnapshotState.CLEARING} and one.version_id is None:
        yield f"{what}, and nothing stands there"
    if one.state in {SnapshotState.PROVING, SnapshotState.SHOWING} and None in {one.coming_key, one.coming_version_id, one.coming_sha256}:
        yield f"{what}, and nothing was sent"
    if one.next_try_at > now + _LONGEST_WAIT:
        yield f"{what}, and is not tried before {one.next_try_at:%Y-%m-%d}"


def _claims(seen: View, now: datetime) -> Iterator[str]:
    restores: dict[int | None, Restore] = {r.id: r for r in seen.restores}
    claimed = {c.restore_id for c in seen.claims if c.kind is ClaimKind.RESTORE}
    for claim in seen.claims:
        yield from _claim(claim, seen, restores, now)
    for one in seen.restores:
        ready = one.state in {RestoreState.READY, RestoreState.PARTLY_READY}
        if ready and one.expires_at is None:
            yield f"restore {one.id} is {one.state} and has no end"
        if (ready or one.state in {RestoreState.RECALLING, RestoreState.COPYING}) and one.id not in claimed:
            yield f"restore {one.id} is {one.state} and claims nothing"


def _claim(claim: Claim, seen: View, restores: dict[int | None, Restore], now: datetime) -> Iterator[str]:
    what = f"{claim.kind} {claim.id} of {claim.user} in {claim.tier}"
    if claim.restore_id is not None and claim.restore_id not in restores:
        yield f"{what} goes on, though restore {claim.restore_id} has ended"
    elif claim.kind is ClaimKind.RESTORE and claim.restore_id is None:
        yield f"{what} belongs to no restore"
    elif claim.kind is ClaimKind.RESTORE and claim.until is None and restores[claim.restore_id].ready_at is not None:
        yield f"{what} has no end, though its restore is ready"
    elif claim.kind is ClaimKind.HOLD and claim.until is None:
        yield f"{what} has no end"
    elif claim.kind is ClaimKind.HOLD and claim.until is not None and claim.until <= now and not _due(seen, now):
        yield f"{what} is over and was not ended"


# the anchors


def _anchors(archive: Archive) -> Iterator[str]:
    with archive.ledger.read() as tx:
        known = tx.anchors()
    cited: Anchor | None = None
    for anchor in known:
        try:
            yield from (f"the anchor of {anchor.day}: {line}" for line in _anchor(archive, anchor, cited))
        except (anchors.Unreadable, Vanished) as error:
            yield f"the anchor of {anchor.day} ({anchor.tier}/{anchor.key}): {error}"
        cited = anchor
    days = {anchor.day for anchor in known}
    for name in sorted({anchor.tier for anchor in known} & set(archive.tiers)):
        for day in anchors.days(archive.tiers[name]):
            if day not in days and (cited is None or day < cited.day):
                yield f"the anchor of {day} stands in {name}, and the ledger does not know it"


def _anchor(archive: Archive, anchor: Anchor, cited: Anchor | None) -> Iterator[str]:
    if anchor.tier not in archive.tiers:
        yield f"its tier {anchor.tier} is none of the settings"
        return
    found = anchors.read(archive.tiers[anchor.tier], anchor.key, anchor.version_id)
    previous = found.header.get("previous")
    if cited is not None and previous != {"day": cited.day, "sha256": cited.sha256}:
        yield f"it does not cite the anchor of {cited.day} as the ledger knows it"
    if cited is None and previous is not None:
        yield f"it cites an anchor of {previous.get('day')} that the ledger does not know"
    count = 0
    page: list[dict[str, Any]] = []
    for line in found.lines:
        count += 1
        page.append(line)
        if len(page) == _LINES:
            yield from _heads(archive, page)
            page.clear()
    yield from _heads(archive, page)
    if found.sha256() != anchor.sha256:
        yield "it is not what was written"
    elif count != anchor.datasets:
        yield f"it has {count} heads, the ledger says {anchor.datasets}"


def _heads(archive: Archive, lines: list[dict[str, Any]]) -> Iterator[str]:
    """Whether what was anchored still stands in the chains."""
    places = {(str(line.get("dataset")), int(line.get("seq") or 0)): line.get("hash") for line in lines}
    with archive.ledger.read() as tx:
        now = tx.hashes_at(list(places))
    for (dataset, seq), was in places.items():
        if (dataset, seq) not in now:
            yield f"{dataset}: event {seq} is missing from its history"
        elif now[dataset, seq] not in {was, None}:
            yield f"{dataset}: its history up to event {seq} was rewritten"

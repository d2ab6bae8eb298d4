"""What is done with a copy that is not what it should be: it no longer counts, and its bytes are kept until others have been proven.

Law: first it is written down (struck out, so that the worker makes it anew, and its version kept: no transfer and no reaper clears
it). Then another copy of the same bytes is read anew; only when that is proven may the bad version go: in hot at once, elsewhere by
the reaper. When none can be proven it is quarantined, for it may be all that is left; from then on each run proves both again, so
that a store that only read wrongly, or bytes brought back from elsewhere, end the quarantine. Each step can be repeated.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from archiver import guards, policy
from archiver.archive import Archive, view
from archiver.errors import ProofFailed, StoreUnavailable
from archiver.ledger import Transaction
from archiver.model import Copy, DropState, Finding, FindingKind, Object, ObjectKind
from archiver.proof import prove
from archiver.storage import Digester, NotReadable, Tier, Vanished

log = logging.getLogger(__name__)

_BATCH = 100


def strike_out(archive: Archive, copy: Copy, why: str, *, gone: bool) -> FindingKind | None:
    """A live copy has other bytes, or is `gone` from the store. Returns what became of it; None when somebody is ending it anyway.

    Never raises for a store that does not answer: then its version is kept, and looked at again by `settle`.
    """
    with archive.ledger.begin() as tx:
        obj = tx.object(copy.object_id)
        tx.hold_still(obj.dataset_id)
        now = tx.copy(copy.id)
        if now.dropped_at is not None or any(d.copy_id == copy.id and d.state is DropState.CHECKED for d in tx.drops(obj.dataset_id)):
            return None
        log.error("the copy of %s in %s is %s: %s", copy.key, copy.tier, "lost" if gone else "damaged", why)
        tx.lose_copy(now, obj.dataset_id, why)
        if gone:
            kind = FindingKind.LOST if _elsewhere(tx, obj.id) else FindingKind.GONE
            tx.found(copy.tier, kind, copy.key, copy.version_id, why)
            return kind
        tx.found(copy.tier, FindingKind.DAMAGED, copy.key, copy.version_id, why)
        finding = tx.finding_of(copy.tier, FindingKind.DAMAGED, copy.key, copy.version_id)
    assert finding is not None
    return _settle(archive, finding)


def _elsewhere(tx: Transaction, object_id: int) -> bool:
    """Whether an object's bytes stand in any live copy; a bundle's, when each of its members does."""
    members = tx.members_of(object_id)
    return bool(tx.copies_with(object_id)) or (bool(members) and all(tx.copies_with(m.object_id) for m in members))


def settle(archive: Archive) -> None:
    """Look again at what is kept because it may be the last of its bytes, and at what was lost: is it right again?"""
    after = 0
    while True:
        with archive.ledger.read() as tx:
            kept = tx.findings(kinds=[FindingKind.DAMAGED, FindingKind.QUARANTINED, FindingKind.LOST, FindingKind.GONE], after_id=after, limit=_BATCH)
        for finding in kept:
            after = finding.id
            if finding.kind in {FindingKind.LOST, FindingKind.GONE}:
                _lost(archive, finding)
            elif finding.tier in archive.tiers:
                _settle(archive, finding)
        if len(kept) < _BATCH:
            return


def _lost(archive: Archive, finding: Finding) -> None:
    """What was lost is right again when the tier has it, or has it elsewhere and nobody wants it there any more."""
    with archive.ledger.begin() as tx:
        obj = tx.object_with_key(finding.key)
        if obj is None:
            tx.resolve(finding)
            return
        seen = view(tx, obj.dataset_id)
        want, _ = policy.wanted(seen, archive.settings, tx.at)
        there = any(c.tier == finding.tier for c in seen.copies_with(obj.id))
        if there or (_elsewhere(tx, obj.id) and (finding.kind == FindingKind.GONE or finding.tier not in want[obj.id])):
            tx.resolve(finding)


def _settle(archive: Archive, finding: Finding) -> FindingKind:
    """Bring one kept version as far as it can go now; returns what it is then."""
    assert finding.version_id is not None
    kind = FindingKind(finding.kind)
    tier = archive.tiers[finding.tier]
    with archive.ledger.read() as tx:
        obj = tx.object_with_key(finding.key)
        copy = tx.copy_at(finding.tier, finding.key, finding.version_id)
    assert obj is not None
    assert copy is not None
    try:
        head = tier.head(finding.key, finding.version_id)
        if head is None:
            with archive.ledger.begin() as tx:
                tx.resolve(finding)
                if kind is FindingKind.QUARANTINED:
                    tx.found(finding.tier, FindingKind.GONE, finding.key, finding.version_id, "it was quarantined, and is not in the store any more")
            return kind
        another = another_is_proven(archive, obj, {copy.id})
        if not another and kind is FindingKind.QUARANTINED and _good_again(archive, finding, obj, copy):
            return kind
    except StoreUnavailable as error:
        log.warning("the damaged copy of %s in %s is kept: %s", finding.key, finding.tier, error)
        return kind
    if another:
        _clear(archive, finding, obj)
        return FindingKind.DAMAGED
    if kind is FindingKind.DAMAGED:
        log.critical("%s in %s is damaged, and no other copy of it could be proven: it is quarantined", finding.key, finding.tier)
        with archive.ledger.begin() as tx:
            if tx.resolve(finding):
                tx.found(finding.tier, FindingKind.QUARANTINED, finding.key, finding.version_id, finding.detail)
                said = {"copy_id": copy.id, "tier": copy.tier, "key": copy.key, "version_id": copy.version_id, "why": finding.detail}
                tx.event(obj.dataset_id, "copy.quarantined", said)
    return FindingKind.QUARANTINED


def _good_again(archive: Archive, finding: Finding, obj: Object, copy: Copy) -> bool:
    """Whether a quarantined version now reads back as it should: then it is a copy again."""
    try:
        proof = prove(archive.tiers[finding.tier], obj, copy.version_id)
    except (ProofFailed, Vanished):
        return False
    with archive.ledger.begin() as tx:
        tx.hold_still(obj.dataset_id)
        if tx.resolve(finding) and not any(c.tier == copy.tier for c in tx.copies_of(obj.id)):
            tx.adopt_copy(obj, copy.tier, copy.version_id, copy.storage_class, proof)
    return True


def _clear(archive: Archive, finding: Finding, obj: Object) -> None:
    """Other bytes were proven: the bad version goes, so that its place is free. Not while drops are held."""
    assert finding.version_id is not None
    with archive.ledger.begin() as tx:
        if tx.note(guards.HOLD) is not None or not tx.resolve(finding):
            return
        said = {"tier": finding.tier, "key": finding.key, "version_id": finding.version_id, "why": finding.detail}
        tx.event(obj.dataset_id, "copy.cleared", said)
        if finding.tier != policy.HOT:
            tx.leave(finding.tier, finding.key, finding.version_id, f"A damaged copy, of which another was proven: {finding.detail}")
    if finding.tier == policy.HOT:  # cut short here, the transfer that makes it anew finds what stands there, cannot prove it and clears it
        archive.tiers[finding.tier].delete_version(finding.key, finding.version_id)


def end_versions(archive: Archive, tier: Tier, obj: Object, versions: Sequence[str], why: str) -> None:
    """End versions at a key of ours that are no copies: in hot at once, elsewhere by the reaper."""
    with archive.ledger.begin() as tx:
        ending = [v for v in versions if not tx.is_a_copy(tier.name, obj.key, v)]
        for version_id in ending if tier.name != policy.HOT else ():
            tx.leave(tier.name, obj.key, version_id, why)
        tx.event(obj.dataset_id, "key.cleared", {"tier": tier.name, "key": obj.key, "versions": ending, "why": why})
    for version_id in ending if tier.name == policy.HOT else ():
        tier.delete_version(obj.key, version_id)


def another_is_proven(archive: Archive, obj: Object, without: Collection[int]) -> bool:
    """Whether the bytes of `obj` are proven, just now, in some live copy that is none of `without` and that nobody is ending.

    A member is read out of its bundle; a bundle counts as proven when each of its members is. Raises `StoreUnavailable` when a
    copy that might do cannot be seen.
    """
    with archive.ledger.read() as tx:
        going = {d.copy_id for d in tx.drops(obj.dataset_id)}
        others = [c for c in tx.copies_with(obj.id) if c.id not in without and c.id not in going and c.tier in archive.tiers]
        members = [tx.object(m.object_id) for m in tx.members_of(obj.id)] if obj.kind is ObjectKind.BUNDLE else []
    order = list(archive.settings.tiers)
    unseen: StoreUnavailable | None = None
    for copy in sorted(others, key=lambda c: order.index(c.tier)):
        try:
            if _proven(archive, obj, copy):
                return True
        except StoreUnavailable as error:
            unseen = error
    if members:
        return all(another_is_proven(archive, member, without) for member in members)
    if unseen is not None:
        raise unseen
    return False


def _proven(archive: Archive, obj: Object, copy: Copy) -> bool:
    """Prove one copy that holds the bytes of `obj`, its own or its bundle's."""
    tier = archive.tiers[copy.tier]
    try:
        if copy.object_id != obj.id:
            with archive.ledger.read() as tx:
                offset, bundle = tx.offset_in(copy.object_id, obj.id), tx.object(copy.object_id)
            try:
                return offset is not None and _member(archive, obj, copy, offset)
            except NotReadable:
                obj = bundle
        proof = prove(tier, obj, copy.version_id)
    except (ProofFailed, Vanished) as error:
        log.warning("the copy of %s in %s cannot stand in: %s", copy.key, copy.tier, error)
        return False
    with archive.ledger.begin() as tx:
        tx.prove_copy(copy.id, proof)
    return True


def _member(archive: Archive, obj: Object, copy: Copy, offset: int) -> bool:
    tier = archive.tiers[copy.tier]
    digester = Digester()
    for part in tier.parts(copy.key, copy.version_id, obj.size_bytes, tier.part_bytes(obj.size_bytes), offset):
        digester.update(part)
    return digester.digest().sha256 == obj.sha256

"""Fixity: every day a sample of copies is read anew, so that all of a tier is proven within `proof.fixity_every`.

Law: the oldest proof comes first. A copy costs its part of the tier, half by number and half by bytes, so that all copies together
cost one period, and neither many small ones nor a few large ones make a day too long. How far the pace is paid stands in the note
`fixity.<tier>`, written with each proof; at least one copy is looked at in a day. Bytes are read back; where a copy is cold, the
store's own checksum over the full object is asked for, and its proof says so. What differs twice in a row, or cannot be read for a
day from a store that answers, is struck out (losses.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from archiver import losses
from archiver.archive import Archive
from archiver.errors import ProofFailed, StoreUnavailable
from archiver.model import Copy, FindingKind, Object, Proof
from archiver.proof import prove
from archiver.storage import Vanished

EVERY = timedelta(hours=1)
"""How often `run` shall come."""
_RUN_S = 300.0  # what is left of a run's share then waits for the next
_DAY = timedelta(days=1)
_BATCH = 100


@dataclass
class Report:
    """What a look at a tier's copies found. `bad`: (key, what became of it, why)."""

    tier: str
    read_back: int = 0
    by_the_store: int = 0
    size_bytes: int = 0
    bad: list[tuple[str, str, str]] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """JSON-ready."""
        bad = [{"key": key, "became": became, "why": why} for key, became, why in self.bad]
        return {"tier": self.tier, "read_back": self.read_back, "by_the_store": self.by_the_store, "size_bytes": self.size_bytes, "bad": bad}


def run(archive: Archive) -> None:
    """The chore: see whether what was bad is right again, then prove each tier's share. Raises `StoreUnavailable`; repeated, it goes on."""
    losses.settle(archive)
    until = time.monotonic() + _RUN_S
    away: StoreUnavailable | None = None
    for tier in archive.tiers:
        try:
            pay(archive, tier, until)
        except StoreUnavailable as error:  # the others have their turn
            away = error
    if away is not None:
        raise away


def pay(archive: Archive, tier: str, until: float = float("inf")) -> Report:
    """Prove copies of a tier until the pace is paid up to now, or `until` (monotonic) has come."""
    report = Report(tier)
    every = archive.settings.proof.fixity_every
    with archive.ledger.read() as tx:
        copies, size = tx.share(tier)
    while time.monotonic() < until:
        with archive.ledger.read() as tx:
            now = tx.at
            note = tx.note(_note(tier))
            paid = datetime.fromisoformat(note) if note else now
            due = tx.oldest_proofs(tier, _BATCH, now - _DAY) if paid <= now else []
        for copy, obj in due:
            if paid > now or time.monotonic() >= until:
                return report
            cost = every * (1 / max(copies, 1) + obj.size_bytes / max(size, 1)) / 2
            paid += min(cost, _DAY)
            look(archive, copy, obj, report, paid)
        if not due:
            return report
    return report


def _note(tier: str) -> str:
    return f"fixity.{tier}"


def verify(archive: Archive, tier: str, sample: int | None, progress: Callable[[int], None] = lambda _bytes: None) -> Report:
    """By hand: prove the `sample` copies of a tier whose proofs are oldest; None: all."""
    report = Report(tier)
    begun = archive.clock()
    left = sample
    seen: set[int] = set()  # those that could not be proven: they stay where they were, or are gone
    while left is None or left > 0:
        with archive.ledger.read() as tx:
            due = tx.oldest_proofs(tier, _BATCH + len(seen), begun, before=begun)
        due = [(copy, obj) for copy, obj in due if copy.id not in seen][: _BATCH if left is None else left]
        if not due:
            break
        for copy, obj in due:
            if not look(archive, copy, obj, report):
                seen.add(copy.id)
            progress(obj.size_bytes)
        left = None if left is None else left - len(due)
    return report


def look(archive: Archive, copy: Copy, obj: Object, report: Report, paid: datetime | None = None) -> bool:
    """Prove one copy anew, or strike it out; `paid`: how far the tier's pace is paid then. Returns whether it is proven."""
    became: FindingKind | None
    try:
        proof = _twice(archive, copy, obj)
    except StoreUnavailable as error:
        why = str(error)
        became = _unreadable(archive, copy, why)
        if became is None:
            raise
    except (ProofFailed, Vanished) as error:
        why = error.detail if isinstance(error, ProofFailed) else "it is not in the store"
        became = losses.strike_out(archive, copy, why, gone=isinstance(error, Vanished))
    else:
        _proven(archive, copy, proof, report, paid)
        report.size_bytes += obj.size_bytes
        return True
    if became is not None:
        report.bad.append((copy.key, _SAYS[became], why))
    if paid is not None:
        with archive.ledger.begin() as tx:
            tx.set_note(_note(copy.tier), paid.isoformat())
    return False


def _proven(archive: Archive, copy: Copy, proof: Proof, report: Report, paid: datetime | None) -> None:
    with archive.ledger.begin() as tx:
        tx.prove_copy(copy.id, proof)
        finding = tx.finding_of(copy.tier, FindingKind.UNREADABLE, copy.key, copy.version_id)
        if finding is not None:
            tx.resolve(finding)
        if paid is not None:
            tx.set_note(_note(copy.tier), paid.isoformat())
    report.read_back += proof is Proof.READ_BACK
    report.by_the_store += proof is not Proof.READ_BACK


def _unreadable(archive: Archive, copy: Copy, why: str) -> FindingKind | None:
    """The store does not give a copy's bytes. None when it does not answer at all: then it is away, and waited for.

    A rotten block looks like that (SeaweedFS 4.48 answers InternalError), and so does a store of which a part is away: a day later it
    is tried again, and if it still cannot be read, it is damaged.
    """
    tier = archive.tiers[copy.tier]
    try:
        tier.ping()
        if tier.head(copy.key, copy.version_id) is None:
            return None
    except StoreUnavailable:
        return None
    with archive.ledger.begin() as tx:
        tx.found(copy.tier, FindingKind.UNREADABLE, copy.key, copy.version_id, why)
        finding = tx.finding_of(copy.tier, FindingKind.UNREADABLE, copy.key, copy.version_id)
        assert finding is not None
        if tx.at - finding.found_at < _DAY:
            return FindingKind.UNREADABLE
        tx.resolve(finding)
    return losses.strike_out(archive, copy, f"it cannot be read since {finding.found_at:%Y-%m-%d %H:%M} UTC: {why}", gone=False)


_SAYS = {
    FindingKind.LOST: "lost; it is made anew from another copy",
    FindingKind.GONE: "lost, and no other copy is known: bring it back from elsewhere",
    FindingKind.UNREADABLE: "the store cannot give its bytes; if it still cannot in a day, it is made anew",
    FindingKind.DAMAGED: "damaged; it is made anew from another copy",
    FindingKind.QUARANTINED: "quarantined: no other copy could be proven, it is kept as it is",
}


def _twice(archive: Archive, copy: Copy, obj: Object) -> Proof:
    """A fault on the way is no fault of the copy: what differs is read once more."""
    tier = archive.tiers[copy.tier]
    try:
        return prove(tier, obj, copy.version_id)
    except ProofFailed:
        return prove(tier, obj, copy.version_id)

"""How each part of the archive is: the probes of `/health` with the sentences that only admins may read, and what waits beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from archiver import describe, guards, nights
from archiver.api.health import Health
from archiver.archive import Archive
from archiver.guards import Guard
from archiver.ledger import Transaction
from archiver.model import TransferState

_LATE = timedelta(hours=1)  # for a drop that nothing holds back


@dataclass(frozen=True)
class Part:
    """`name`: its text is `part_NAME`, followed by `of`; `why`: what is wrong, a sentence; `at`: of what `fine_NAME` tells (JSON)."""

    name: str
    ok: bool
    of: str = ""
    why: str = ""
    at: str | None = None


def look(archive: Archive, health: Health) -> list[Part]:
    """Every part, those that are ill first."""
    probed = []
    for seen in health.look_closely():
        name, _, tier = seen.name.partition(" of tier ")
        probed.append(Part(name, seen.ok, tier, seen.sentence))
    ill = {part.name for part in probed if not part.ok}
    if "ledger" not in ill:
        with archive.ledger.read() as tx:
            probed += _in_the_ledger(archive, tx)
    night = nights.last(archive.settings, archive.wall())
    if night is not None:
        probed.append(Part("homes", not night.why, why=night.why, at=night.done_at))
    probed.append(Part("hub", ok=True))  # it has just said who looks at the page
    return sorted(probed, key=lambda part: part.ok)


def _in_the_ledger(archive: Archive, tx: Transaction) -> Iterator[Part]:
    guard = Guard(archive)
    clock = guard.clock(tx) or guard.outrun(tx)
    yield Part("clock", clock is None, why=clock or "")
    waits = {tier: why for tier, why in guards.waits(tx, archive.settings).items() if why != clock}
    late = {tier: since for tier, since in tx.oldest_drops().items() if tx.at - since > _LATE and tier not in waits and "*" not in waits}
    why = [*waits.values(), *(f"Drops in {tier} wait since {since:%Y-%m-%d %H:%M} UTC: see that the reaper runs." for tier, since in late.items())]
    yield Part("reaper", not why, why=" ".join(why))
    states = tx.states()["transfer"]
    failing, given_up = states.get(TransferState.FAILED, 0), states.get(TransferState.QUARANTINED, 0)
    yield Part("transfers", not given_up, why=f"{given_up} gave up and wait for a person, {failing} are tried again." if given_up else "")
    failed = [f"{name}: {error}" for name, _ended, _due, error in tx.chores() if error]
    yield Part("chores", not failed, why=" ".join(failed))
    anchor = tx.last_anchor()
    stale = anchor is not None and tx.at - anchor.at > timedelta(days=2)
    why_stale = "The history was not anchored in the store for two days: see that the worker runs." if stale else ""
    yield Part("anchor", not stale, why=why_stale, at=describe.time(anchor.at) if anchor else None)

"""What keeps new data from coming in: fast storage is full, its store does not answer or takes nothing more, a project has had its share.

Senders wait by themselves.

Law: it is one state with a beginning and an end, in the ledger (note `reception-waits`), however many requests are put off meanwhile. A
request that was put off says so; otherwise it is looked at once a minute. A store counts as away once it was so at two looks.
Fast storage counts as having room again when what was refused fits and nobody was refused for ten minutes, so that it does not flicker.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType

from archiver import policy
from archiver.archive import Archive
from archiver.errors import StoreUnavailable
from archiver.ledger import Transaction

FULL, AWAY, REFUSES, QUOTA = "full", "away", "refuses", "quota"
SAYS: Mapping[str, str] = MappingProxyType(
    {
        FULL: "fast storage is full",
        AWAY: "the store of fast storage does not answer",
        REFUSES: "the store of fast storage takes no data",
        QUOTA: "a project holds all that it may",
    }
)
PROBE = ".neve/probe"
"""Key of what is written, and ended again, to see whether the store takes data."""
_NOTE = "reception-waits"
EVERY = timedelta(minutes=1)
_RESTS = timedelta(minutes=10)
_SOME = 50  # so much of fast storage, or less, was asked for: a sender that wanted more in vain may have gone
_PATIENCE = timedelta(minutes=5)  # an upload that is under way for longer may be waiting


@dataclass(frozen=True)
class Obstacle:
    """Why new data wait, and since when (ISO 8601). `seen_at`: when it was last met; `asked_bytes`: what there was no room for."""

    kind: str
    since: str
    seen_at: str
    why: str
    asked_bytes: int = 0

    @property
    def sure(self) -> bool:
        """Whether it is more than a moment's: people may be told."""
        return self.kind in {FULL, QUOTA} or self.seen_at != self.since


def standing(tx: Transaction) -> Obstacle | None:
    """What keeps new data from coming in just now."""
    said = json.loads(tx.note(_NOTE) or "null")
    return None if said is None else Obstacle(**said)


def refused(archive: Archive, kind: str, asked_bytes: int, why: str) -> None:
    """A sender was put off (`FULL` or `QUOTA`): there was no room for so much. One project's quota does not hide what all wait for."""
    with archive.ledger.read() as tx:
        before, now = standing(tx), tx.at
    if before is not None and kind == QUOTA and before.kind != QUOTA:
        return
    if before is not None and before.kind == kind and now - datetime.fromisoformat(before.seen_at) < EVERY:
        return
    with archive.ledger.begin() as tx:
        _stands(tx, kind, why, asked_bytes)


def run(archive: Archive) -> None:
    """The chore: see whether something has begun or ended, and note it."""
    with archive.ledger.read() as tx:
        under_way = tx.oldest_upload()
        waits = under_way is not None and tx.at - under_way > _PATIENCE
    kind, why = _store(archive, write=waits)
    with archive.ledger.begin() as tx:
        before = standing(tx)
        if kind is not None:
            _stands(tx, kind, why, 0)
        elif before is not None and (before.kind in {AWAY, REFUSES} or _has_room(archive, tx, before)):
            tx.set_note(_NOTE, "null")


def _stands(tx: Transaction, kind: str, why: str, asked_bytes: int) -> None:
    before, now = standing(tx), tx.at.isoformat()
    new = Obstacle(kind, now, now, why, asked_bytes)
    tx.set_note(_NOTE, json.dumps(asdict(new if before is None or before.kind != kind else replace(new, since=before.since))))


def _has_room(archive: Archive, tx: Transaction, met: Obstacle) -> bool:
    most = archive.settings.policy.hot_capacity_bytes
    quiet = tx.at - datetime.fromisoformat(met.seen_at)
    if met.kind == QUOTA:
        return quiet >= _RESTS
    return most is None or (quiet >= _RESTS and tx.bytes_in(policy.HOT) + min(met.asked_bytes, most // _SOME) <= most)


def _store(archive: Archive, *, write: bool) -> tuple[str | None, str]:
    tier = archive.tiers[policy.HOT]
    try:
        tier.ping()
    except StoreUnavailable as error:
        return AWAY, str(error)
    if write:
        try:
            tier.delete_version(PROBE, tier.put_text(PROBE, archive.wall().isoformat()))
        except StoreUnavailable as error:
            return REFUSES, str(error)
    return None, ""

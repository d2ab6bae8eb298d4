"""What came into each tier and what left it, by days: so the ledger tells what it held on any of them, though it keeps sums of no day.

A proven transfer is a copy that came, a copy's `dropped_at` its end. In a rebuilt ledger the transfers of before are not known: what the stores
held then counts as if it had always been there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import sqlalchemy as sa

from archiver import model
from archiver.ledger import tables as t
from archiver.ledger.base import Base


@dataclass(frozen=True)
class Flow:
    """Copies that came into a tier on a day (UTC) less those that left it; both below zero where more left."""

    day: date
    tier: str
    objects: int
    size_bytes: int


class Flows(Base):
    """Sums over copies."""

    def flows(self, since: datetime) -> list[Flow]:
        """By day and tier, of the time since then."""
        c, w, size = t.copy.c, t.transfer.c, t.object_.c.size_bytes
        found: dict[tuple[str, str], tuple[int, int]] = {}
        came_on, left_on = (sa.func.substr(sa.cast(column, sa.Text), 1, 10) for column in (w.updated_at, c.dropped_at))
        came = sa.select(came_on, w.tier, sa.func.count(), sa.func.sum(size)).join_from(t.transfer, t.object_, t.object_.c.id == w.object_id)
        came = came.where(w.state == model.TransferState.PROVEN, w.updated_at >= since).group_by(came_on, w.tier)
        left = sa.select(left_on, c.tier, -sa.func.count(), -sa.func.sum(size)).join_from(t.copy, t.object_).where(c.dropped_at >= since)
        for select in (came, left.group_by(left_on, c.tier)):
            for day, tier, objects, size_bytes in self.connection.execute(select):
                known = found.get((day, tier), (0, 0))
                found[day, tier] = known[0] + objects, known[1] + int(size_bytes or 0)
        return [Flow(date.fromisoformat(day), tier, *sums) for (day, tier), sums in sorted(found.items())]

    def datasets_by_tier(self) -> dict[str, int]:
        """How many datasets have each tier as their nearest."""
        c = t.tally.c  # its rows of years
        select = sa.select(c.tier, sa.func.sum(c.n)).where(c.period < 10_000, c.tier != "").group_by(c.tier)
        return {row[0]: int(row[1]) for row in self.connection.execute(select)}

    def oldest_drops(self) -> dict[str, datetime]:
        """For each tier in which drops are under way, since when the oldest of them."""
        c, d = t.copy.c, t.drop.c
        select = sa.select(c.tier, sa.func.min(d.created_at, type_=t.UtcDateTime)).join_from(t.drop, t.copy, c.id == d.copy_id)
        under_way = select.where(d.state.in_(model.active(model.DROP_CHANGES)))
        return {row[0]: row[1] for row in self.connection.execute(under_way.group_by(c.tier))}

"""What each tier holds, and held on the days before.

Law: today's sums are counted; those of a day before are today's, less what has come since and with what has left since. So the course always
ends in what is true now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from archiver.config import Settings
from archiver.ledger import Transaction

DAYS = 400
"""So far back."""


@dataclass(frozen=True)
class Held:
    """What a tier held at the end of a day, or now. `datasets`: those whose nearest tier it is (of now only)."""

    objects: int
    size_bytes: int
    datasets: int = 0


@dataclass(frozen=True)
class Course:
    """`now`: by tier; `days`: the same at the end of each day before today, from the first on which something happened."""

    now: dict[str, Held]
    days: Sequence[tuple[date, dict[str, Held]]]


@dataclass
class Capacity:
    """Remembers the days that are over, which change no more; the first look of a day goes through all copies of `DAYS` days."""

    _today: date | None = field(default=None, repr=False)
    _days: Sequence[tuple[date, dict[str, Held]]] = field(default=(), repr=False)

    def look(self, tx: Transaction, settings: Settings) -> Course:
        """What is held now, and was before."""
        nearest = tx.datasets_by_tier()
        now = {name: Held(0, 0, nearest.get(name, 0)) for name in settings.tiers}
        now |= {tier: Held(objects, size, nearest.get(tier, 0)) for tier, objects, size in tx.totals()}
        today = tx.at.astimezone(UTC).date()
        if self._today != today:
            self._days, self._today = _before(tx, now, today), today
        return Course(now, self._days)


def _before(tx: Transaction, now: dict[str, Held], today: date) -> Sequence[tuple[date, dict[str, Held]]]:
    flows = tx.flows(datetime.combine(today - timedelta(days=DAYS), time(0), UTC))
    if not flows:
        return ()
    by_day: dict[date, list[tuple[str, int, int]]] = {}
    for flow in flows:
        by_day.setdefault(flow.day, []).append((flow.tier, flow.objects, flow.size_bytes))
    held, found, day = dict(now), [], today
    while day >= flows[0].day:
        for tier, objects, size in by_day.get(day, ()):
            known = held.get(tier, Held(0, 0))
            held[tier] = Held(known.objects - objects, known.size_bytes - size)
        day -= timedelta(days=1)
        found.append((day, {tier: Held(one.objects, one.size_bytes) for tier, one in held.items()}))
    return found[::-1]

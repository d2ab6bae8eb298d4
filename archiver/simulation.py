"""What would happen under another policy, compared with the present one. Nothing is written.

Law: both sides are planned from the same moment of the ledger, by the decisions that the worker would take, with drops as if nobody held
them. A change that would wait for an admin (rule 7) says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from archiver import changeover, markers, plan, policy
from archiver.archive import Archive
from archiver.config import Settings, changed
from archiver.model import Claim, Dataset, DatasetState
from archiver.plan import Amount, Plan
from archiver.prices import MONTHS_A_YEAR

_SHOWN = 100


@dataclass
class Sooner:
    """Datasets that would leave hot sooner, by day, and the first of them by name."""

    datasets: int = 0
    size_bytes: int = 0
    days: dict[str, Amount] = field(default_factory=dict)
    first: list[tuple[datetime, int, dict[str, Any]]] = field(default_factory=list)

    def add(self, dataset: Dataset, leaves: datetime, instead_of: datetime | None) -> None:
        self.datasets += 1
        self.size_bytes += dataset.size_bytes
        self.days.setdefault(f"{leaves:%Y-%m-%d}", Amount()).add(1, dataset.size_bytes)
        item = {
            "id": dataset.id,
            "dataset": dataset.full_name,
            "project": dataset.project,
            "size_bytes": dataset.size_bytes,
            "leaves_hot_at": plan.time(leaves),
            "instead_of": plan.time(instead_of) if instead_of else None,
        }
        self.first.append((leaves, dataset.id, item))
        if len(self.first) > 10 * _SHOWN:
            self.first = sorted(self.first, key=lambda one: one[:2])[:_SHOWN]

    def as_json(self) -> dict[str, Any]:
        """`items`: the first 100 to leave."""
        return {
            "datasets": self.datasets,
            "size_bytes": self.size_bytes,
            "by_day": [{"day": day, "datasets": a.objects, "size_bytes": a.size_bytes} for day, a in sorted(self.days.items())],
            "items": [item for _, _, item in sorted(self.first, key=lambda one: one[:2])[:_SHOWN]],
        }


def simulate(archive: Archive, change: Mapping[str, Any], where: str = "the policy", days: int = 0) -> dict[str, Any]:
    """What this change of [policy], [tiers.*] and [[rules]] would do within `days` (and the grace of what leaves hot at once).

    Raises `WrongSetting` for a policy with errors; `where` names it.
    """
    present, other = archive.settings, changed(archive.settings, change, where)
    markers.check_tiers(archive)
    with archive.ledger.read() as tx:
        now = tx.at
        until = now + timedelta(days=days) + max(present.policy.grace, other.policy.grace)
        plans = [plan.begin(tx, one, now, until) for one in (present, other)]
        for one in plans:
            one.held = None
        sooner, later = Sooner(), Amount()
        for seen, weights in plan.views(tx, [present, other], now, None):
            for one in plans:
                one.take(seen, plan.foresee(seen, one.settings, now, until), weights)
            if seen.dataset.state is DatasetState.CLOSED and any(c.tier == policy.HOT for c in seen.copies):
                _compare(seen.dataset, seen.claims, present, other, now, sooner, later)
        percent = changeover.ended_sooner_percent(tx, present, other, now)
    return {
        "at": plan.time(now),
        "until": plan.time(until),
        "present": plans[0].as_json(),
        "simulated": plans[1].as_json(),
        "difference": _difference(*plans),
        "leave_hot_sooner": sooner.as_json(),
        "leave_hot_later": {"datasets": later.objects, "size_bytes": later.size_bytes},
        "ends_sooner_percent": round(percent, 3),
        "waits_for_release": percent > other.policy.early_end_percent,
    }


def _compare(dataset: Dataset, claims: Iterable[Claim], present: Settings, other: Settings, now: datetime, sooner: Sooner, later: Amount) -> None:
    old, new = _leaves(dataset, claims, present, now), _leaves(dataset, claims, other, now)
    if new is not None and (old is None or new < old):
        sooner.add(dataset, new, old)
    elif old is not None and (new is None or old < new):
        later.add(1, dataset.size_bytes)


def _leaves(dataset: Dataset, claims: Iterable[Claim], settings: Settings, now: datetime) -> datetime | None:
    """When nobody claims it in hot any more: now, if nobody does; None when that is not foreseen."""
    ends = [c.until for c in policy.age_claims(dataset, settings, now) if c.tier == policy.HOT]
    ends += [c.until for c in claims if c.tier == policy.HOT and policy.counts(c) and (c.until is None or c.until > now)]
    latest = now
    for end in ends:
        if end is None:
            return None
        latest = max(latest, end)
    return latest


def _difference(present: Plan, other: Plan) -> dict[str, Any]:
    """The other's less the present's: below zero is saved."""
    was, would = present.after(), other.after()
    month = other.month(would) - present.month(was)
    tiers = []
    for tier in dict.fromkeys((*was, *would)):
        a, b = would.get(tier, Amount()), was.get(tier, Amount())
        tiers.append({"tier": tier, "objects": a.objects - b.objects, "size_bytes": a.size_bytes - b.size_bytes})
    return {
        "tiers": tiers,
        "month": month.as_json(),
        "year": (month * MONTHS_A_YEAR).as_json(),
        "cost_now": (other.cost_now() - present.cost_now()).as_json(),
    }

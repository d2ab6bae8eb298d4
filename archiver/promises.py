"""How long restores take, learned from those that ended, and whether what was promised was kept. Pure.

Law: a range is only called learned when enough restores from the same tier and of the same order of size stand behind it; before that
the promise (`tiers.*.back_within`) stands for it, and says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

LEAST = 5
"""Observations below which nothing is learned."""
LOW, HIGH = 0.2, 0.8
"""Quantiles between which a restore is expected to be."""
SIZE_CLASSES = (10**9, 10**11)
"""Upper bounds, in bytes, of the orders of size that are kept apart; above the last is one more."""


@dataclass(frozen=True)
class Outcome:
    """A restore that came back, or that is late. `took`: from when it could begin to ready; None: it did not come back in full."""

    tier: str
    size_bytes: int
    took: timedelta | None
    kept: bool


@dataclass(frozen=True)
class Expected:
    """Between `low` and `high` in three of five cases; `observations` of that size, `learned` when they were enough."""

    low: timedelta
    high: timedelta
    observations: int
    learned: bool


@dataclass(frozen=True)
class Record:
    """How the promise of a tier was kept. `median`, `p90` are None when nothing has come back yet."""

    tier: str
    kept: int
    missed: int
    median: timedelta | None
    p90: timedelta | None


def size_class(size_bytes: int) -> int:
    """The order of size."""
    return sum(size_bytes > bound for bound in SIZE_CLASSES)


def quantile(values: Sequence[timedelta], share: float) -> timedelta:
    """The value below which `share` of the sorted `values` lie, between two of them in proportion."""
    at = (len(values) - 1) * share
    below = int(at)
    above = min(below + 1, len(values) - 1)
    return values[below] + (values[above] - values[below]) * (at - below)


def expected(outcomes: Iterable[Outcome], tier: str, size_bytes: int, promise: timedelta) -> Expected:
    """When a restore of this size from this tier will be ready."""
    took = sorted(o.took for o in outcomes if o.took is not None and o.tier == tier and size_class(o.size_bytes) == size_class(size_bytes))
    if len(took) < LEAST:
        return Expected(timedelta(0), promise, len(took), learned=False)
    return Expected(quantile(took, LOW), quantile(took, HIGH), len(took), learned=True)


def record(outcomes: Iterable[Outcome], tier: str) -> Record:
    """What became of the promises of a tier."""
    of_tier = [o for o in outcomes if o.tier == tier]
    took = sorted(o.took for o in of_tier if o.took is not None)
    kept = sum(o.kept for o in of_tier)
    return Record(tier, kept, len(of_tier) - kept, quantile(took, 0.5) if took else None, quantile(took, 0.9) if took else None)

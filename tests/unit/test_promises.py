"""How long restores take is learned from those that ended; before that the promise stands for it, and says so."""

from __future__ import annotations

from datetime import timedelta

import pytest

from archiver.promises import LEAST, SIZE_CLASSES, Expected, Outcome, Record, expected, quantile, record, size_class

HOUR = timedelta(hours=1)
PROMISE = timedelta(days=3)


def _took(*hours: float, tier: str = "deep", size_bytes: int = 10) -> list[Outcome]:
    return [Outcome(tier, size_bytes, HOUR * h, kept=True) for h in hours]


def test_without_enough_behind_it_the_promise_stands():
    assert expected(_took(1, 2, 3, 4), "deep", 10, PROMISE) == Expected(timedelta(0), PROMISE, 4, learned=False)
    assert expected([], "deep", 10, PROMISE).observations == 0


def test_a_range_is_learned_between_the_quantiles():
    seen = expected(_took(50, 10, 30, 20, 40, 60), "deep", 10, PROMISE)
    assert (seen.low, seen.high, seen.observations, seen.learned) == (20 * HOUR, 50 * HOUR, 6, True)


def test_other_tiers_and_other_orders_of_size_teach_nothing():
    others = _took(*range(LEAST), tier="archive") + _took(*range(LEAST), size_bytes=SIZE_CLASSES[0] + 1)
    assert not expected(others, "deep", 10, PROMISE).learned
    assert expected(others, "deep", SIZE_CLASSES[0] + 2, PROMISE).learned
    assert [size_class(size) for size in (0, 10**9, 10**9 + 1, 10**11, 10**11 + 1)] == [0, 0, 1, 1, 2]


def test_what_did_not_come_back_in_full_takes_no_time():
    assert not expected([*_took(1, 2, 3, 4), Outcome("deep", 10, None, kept=False)], "deep", 10, PROMISE).learned


@pytest.mark.parametrize(("share", "is_"), [(0, 1), (0.5, 2.5), (1, 4), (0.25, 1.75)])
def test_quantiles(share, is_):
    assert quantile([HOUR * n for n in (1, 2, 3, 4)], share) == is_ * HOUR


def test_the_record_of_a_tier():
    outcomes = [*_took(1, 3), Outcome("deep", 10, 80 * HOUR, kept=False), Outcome("deep", 10, None, kept=False), *_took(9, tier="archive")]
    seen = record(outcomes, "deep")
    assert (seen.kept, seen.missed, seen.median) == (2, 2, 3 * HOUR)
    assert record([], "deep") == Record("deep", 0, 0, None, None)

"""Whose turn it is: priority, then fair share, then age."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from archiver.turns import Waiting, in_turn

T0 = datetime(2026, 3, 1, tzinfo=UTC)


def _order(*waiting: tuple[str, int, int], running: dict[str | None, int] | None = None) -> list[int]:
    """`waiting`: (user, priority, minutes after T0); the answer is their places in this list."""
    made = [Waiting(n, user, priority, T0 + timedelta(minutes=at)) for n, (user, priority, at) in enumerate(waiting)]
    return [one.id for one in in_turn(made, running or {})]


def test_priority_goes_before_share_and_age():
    assert _order(("a", 0, 0), ("a", 5, 9), ("b", 3, 1), running={"a": 7}) == [1, 2, 0]


def test_many_wishes_of_one_push_nobody_aside():
    assert _order(("a", 0, 0), ("a", 0, 1), ("a", 0, 2), ("b", 0, 3), ("c", 0, 4)) == [0, 3, 4, 1, 2]


def test_what_runs_already_counts():
    assert _order(("a", 0, 0), ("b", 0, 1), ("b", 0, 2), running={"a": 2}) == [1, 2, 0]


def test_of_equal_share_the_older_goes_first_and_of_equal_age_the_smaller_number():
    assert _order(("a", 0, 5), ("b", 0, 1), ("c", 0, 1)) == [1, 2, 0]


def test_each_goes_once_and_nothing_waits_for_nobody():
    assert sorted(_order(*[("ab"[n % 2], n % 3, n) for n in range(20)])) == list(range(20))
    assert _order() == []

"""A course of days as the paths of an SVG. Pure; the template draws them, in the colours of the style sheet.

Law: the axis begins at zero, so that areas can be compared; its top is 1, 2 or 5 times a power of ten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from math import floor, log10

WIDTH, HEIGHT = 320, 90
"""Of the drawing, in its own units."""


@dataclass(frozen=True)
class Chart:
    """`line` and `area`: path data within WIDTH x HEIGHT; `top`: the value at the upper edge; `first`, `last`: the days at the sides."""

    line: str
    area: str
    top: float
    first: date
    last: date


def top_of(most: float) -> float:
    """The least of 1, 2, 5 times a power of ten that is not below `most`; 1 for nothing."""
    if most <= 0:
        return 1.0
    power = 10.0 ** floor(log10(most))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= most * (1 - 1e-9))


def chart(days: Sequence[tuple[date, float]]) -> Chart | None:
    """The course of a value from day to day, in order. None: fewer than two days are no course."""
    if len(days) < 2:
        return None
    first, last = days[0][0], days[-1][0]
    span = max((last - first).days, 1)
    top = top_of(max(value for _, value in days))
    points = [f"{(day - first).days / span * WIDTH:.1f} {HEIGHT - max(value, 0) / top * HEIGHT:.1f}" for day, value in days]
    line = "M" + "L".join(points)
    return Chart(line, f"{line}L{WIDTH} {HEIGHT}L0 {HEIGHT}Z", top, first, last)

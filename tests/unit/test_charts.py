"""Charts of the console: the axis begins at zero and ends at a round number, the line lies where its values say."""

from __future__ import annotations

from datetime import date

import pytest

from archiver.pages.console.charts import chart, top_of


@pytest.mark.parametrize(("most", "top"), [(0, 1), (-3, 1), (1, 1), (1.1, 2), (2, 2), (4.9, 5), (5.1, 10), (31e12, 50e12), (0.3, 0.5), (1000, 1000)])
def test_the_top_is_round_and_not_below_the_most(most, top):
    assert top_of(most) == pytest.approx(top)


def test_a_line_lies_where_its_values_say():
    drawn = chart([(date(2026, 1, 1), 0.0), (date(2026, 1, 2), 5.0), (date(2026, 1, 5), 10.0)])
    assert drawn is not None
    assert drawn.line == "M0.0 90.0L80.0 45.0L320.0 0.0"
    assert drawn.area == f"{drawn.line}L320 90L0 90Z"
    assert (drawn.top, drawn.first, drawn.last) == (10.0, date(2026, 1, 1), date(2026, 1, 5))


def test_one_day_is_no_course():
    assert chart([(date(2026, 1, 1), 3.0)]) is None
    assert chart([]) is None

"""`neve.hold`, `neve.holds`, `neve.end_hold`, `neve.notices`: what is sent, and what comes back."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import neve
import pytest
from neve import records


@pytest.fixture
def data(as_notebook):
    as_notebook.add("saxs/run1", {"f.h5": (b"x", "nexus")}, ["hot"])
    as_notebook.add("saxs/run2", {"f.h5": (b"x", "nexus")}, ["hot"])
    return as_notebook


@pytest.mark.parametrize(
    ("until", "end"),
    [
        ("2026-12-24", datetime(2026, 12, 24, 23, 59, 59, tzinfo=UTC)),
        (date(2026, 12, 24), datetime(2026, 12, 24, 23, 59, 59, tzinfo=UTC)),
        (datetime(2026, 12, 24, 12, tzinfo=timezone(timedelta(hours=2))), datetime(2026, 12, 24, 10, tzinfo=UTC)),
        (datetime(2026, 12, 24, 12), datetime(2026, 12, 24, 12, tzinfo=UTC)),  # noqa: DTZ001 - read as UTC
    ],
)
def test_a_day_or_a_time(data, until, end):
    held = neve.hold("run1", until=until, reason="for the thesis")
    assert isinstance(held, records.Hold)
    assert (held.dataset, held.until, held.reason, held.state, held.files_glob) == ("saxs/run1", end, "for the thesis", "in_force", None)


def test_what_is_no_day_is_not_sent(data):
    with pytest.raises(neve.WrongUse, match="until"):
        neve.hold("run1", until=20261224, reason="x")
    with pytest.raises(neve.NotFound):
        neve.hold("nothing", until="2026-12-24", reason="x")
    assert data.holds == []


def test_a_hold_is_asked_for_once_and_never_again_by_itself(data):
    data.fail += [(200, "application/json", b"x")]
    with pytest.raises(neve.ServiceUnavailable):
        neve.hold("run1", until="2026-12-24", reason="x")
    assert data.asked("POST", "/holds") == []


def test_list_and_end(data):
    mine = neve.hold("run1", until="2026-12-24", reason="x", files="*.h5")
    other = neve.hold("run2", until="2026-12-24", reason="y")
    assert neve.holds() == [mine, other]
    assert "mine=true" in data.asked("GET", "/holds")[0]
    assert neve.holds("run2") == [other]
    assert "mine" not in data.asked("GET", "/holds")[1]
    assert neve.end_hold(mine).state == "ended"
    assert neve.end_hold(other.id).state == "ended"


def test_notices_are_seen_once_they_are_read(data):
    assert neve.notices() == []
    at = "2026-11-01T08:00:00Z"
    data.notices = [{"id": n, "kind": "leaving-hot", "created_at": at, "subject": "s", "text": "t", "seen": n == 1} for n in (2, 1)]
    assert [(one.id, one.seen) for one in neve.notices()] == [(2, False), (1, True)]
    assert [(one.id, one.seen) for one in neve.notices()] == [(2, True), (1, True)]
    assert len(data.asked("POST", "/seen")) == 1

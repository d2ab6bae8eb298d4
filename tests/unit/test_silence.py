"""Measuring time: what counts as silence, and what does not."""

from __future__ import annotations

from datetime import datetime, time

import pytest

from archiver.sections import ReceptionSettings
from archiver.silence import measuring_since

WEEK = ReceptionSettings(measuring_days=["mon", "tue", "wed", "thu", "fri"], measuring_from=time(8), measuring_until=time(20), zone="Europe/Paris")
ROUND = ReceptionSettings(measuring_days=["mon", "tue", "wed"])


@pytest.mark.parametrize(
    ("settings", "now", "since"),
    [
        (WEEK, "2026-03-02T08:00+00:00", "2026-03-02T07:00+00:00"),  # Monday, nine in Paris: since eight
        (WEEK, "2026-03-02T06:59+00:00", None),  # before eight
        (WEEK, "2026-03-02T19:01+00:00", None),  # after twenty
        (WEEK, "2026-03-01T10:00+00:00", None),  # Sunday
        (WEEK, "2026-07-01T10:00+00:00", "2026-07-01T06:00+00:00"),  # summer time
        (ROUND, "2026-03-04T10:00+00:00", "2026-03-02T00:00+00:00"),  # through the nights
        (ROUND, "2026-03-05T10:00+00:00", None),
        (ReceptionSettings(), "2026-03-04T10:00+00:00", "2026-02-25T00:00+00:00"),  # always: a week is looked back at
    ],
)
def test_since_when_it_measures(settings: ReceptionSettings, now: str, since: str | None):
    found = measuring_since(settings, datetime.fromisoformat(now))
    assert found == (None if since is None else datetime.fromisoformat(since))


def test_a_zone_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="no time zone"):
        ReceptionSettings(zone="Europe/Grenoble")

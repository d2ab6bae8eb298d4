"""Times as files spell them. Aware UTC comes out; a time without a zone is read as UTC and said to be so."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import cftime

# Beside ISO 8601 in all its spellings: C's ctime (SPEC, EPICS), VMS and ISIS, and day.month.year as European software writes it.
# Day/month/year with slashes is left out: nobody can tell it from the American order.
_SPELLINGS = ("%a %b %d %H:%M:%S %Y", "%d-%b-%Y %H:%M:%S", "%d-%b-%Y", "%d.%m.%Y %H:%M:%S", "%Y/%m/%d %H:%M:%S", "%a %b %d %H:%M:%S %Z %Y")
_EPOCH_S = (5e8, 4e9)  # 1985 to 2096: a bare number in here is seconds since 1970, any other is no time
_REAL_CALENDARS = ("standard", "gregorian", "proleptic_gregorian")  # the others have days that never were


@dataclass(frozen=True)
class Moment:
    """A point in time (aware UTC) and whether its zone had to be assumed."""

    at: datetime
    zone_assumed: bool


def iso(at: datetime) -> str:
    """ISO 8601 with Z, as everywhere in JSON."""
    return at.isoformat().replace("+00:00", "Z")


def parse(value: Any) -> Moment | None:
    """The time that `value` (text, or seconds since 1970) names; None if it names none."""
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Moment(datetime.fromtimestamp(float(value), UTC), zone_assumed=False) if _EPOCH_S[0] < value < _EPOCH_S[1] else None
    if not isinstance(value, str):
        return None
    # Zone names that stand for an offset of zero, and a space before the offset, are what fromisoformat does not take.
    spelled = re.sub(r"\s*(UTC|GMT)$", "Z", value.strip())
    spelled = re.sub(r"\s+([+-]\d\d:?\d\d)$", r"\1", spelled)
    return _iso(spelled) or _other(value.strip())


def _iso(spelled: str) -> Moment | None:
    if re.fullmatch(r"\d{1,6}", spelled):  # a year or a number, not a time
        return None
    try:
        return _utc(datetime.fromisoformat(spelled))
    except (ValueError, OverflowError):
        return None


def _other(spelled: str) -> Moment | None:
    for form in _SPELLINGS:
        try:
            return _utc(datetime.strptime(spelled, form))  # noqa: DTZ007  _utc gives the zone and says so
        except (ValueError, OverflowError):
            continue
    return None


def _utc(at: datetime) -> Moment:
    return Moment(at.replace(tzinfo=UTC), zone_assumed=True) if at.tzinfo is None else Moment(at.astimezone(UTC), zone_assumed=False)


def from_count(value: float, units: str, calendar: str) -> tuple[datetime | None, str] | None:
    """A CF time (`days since …`; UTC where the units name no zone, CF 4.4) as (aware UTC, text); None if it cannot be decoded.

    A date of a calendar that is not ours (noleap, 360_day …) has no datetime, only its text.
    """
    try:
        at = cftime.num2date(value, units, calendar, only_use_cftime_datetimes=True)
        spelled = at.isoformat()
        if calendar not in _REAL_CALENDARS or at.year < 1583:
            return None, spelled
        real = datetime(at.year, at.month, at.day, at.hour, at.minute, at.second, at.microsecond, tzinfo=UTC)
    except (ValueError, OverflowError, TypeError, AttributeError):
        return None
    return real, iso(real)

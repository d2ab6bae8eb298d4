"""Times as files spell them. Aware UTC comes out; a time without a zone is read in the zone of the instrument, and said to be so."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

_MONTHS = {name: number for number, name in enumerate(("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1)}
# Zone names of RFC 5322, and those of Europe, whose facilities write them; other abbreviations mean different zones in different places.
_OFFSETS_H = {"z": 0, "ut": 0, "utc": 0, "gmt": 0, "wet": 0, "cet": 1, "west": 1, "mez": 1, "cest": 2, "mesz": 2, "eet": 2, "eest": 3} | {
    f"{where}{kind}t": hours + (kind == "d") for where, hours in (("e", -5), ("c", -6), ("m", -7), ("p", -8)) for kind in "sd"
}
_CLOCK = r"(?P<hour>\d{1,2})[:hH.-]?(?P<minute>\d{2})(?:[:.m-]?(?P<second>\d{2})(?:[.,:](?P<fraction>\d{1,9}))?)?(?:\s*(?P<half>[ap])\.?m\.?)?"
_ZONE = r"(?:\s*\(?(?P<zone>[a-z]{1,4}|(?:utc|gmt)?\s*[+-]\d\d?:?(?:\d\d)?)\)?)?"
_MONTH = r"(?P<month>\d{1,2}|[a-z]{3,9})"
# Day/month/year with slashes is left out: nobody can tell it from the American order.
_SPELLINGS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?P<year>\d{{4}})(?P<sep>[-/:._ ]?){_MONTH}(?P=sep)(?P<day>\d{{1,2}})(?:(?:[T_-]|\s+){_CLOCK}{_ZONE})?",  # 2024-02-03, 2009/Mar/10, EXIF
        rf"(?:[a-z]{{3,9}},?\s+)?(?P<month>[a-z]{{3,9}})\s+(?P<day>\d{{1,2}}),?\s+{_CLOCK}{_ZONE}\s+(?P<year>\d{{4}})",  # C's ctime: SPEC, EPICS
        rf"(?:[a-z]{{3,9}},?\s+)?(?P<month>[a-z]{{3,9}})\s+(?P<day>\d{{1,2}}),?\s+(?P<year>\d{{4}}),?(?:\s+{_CLOCK}{_ZONE})?",  # Feb 3, 2024
        rf"(?:[a-z]{{3,9}},?\s+)?(?P<day>\d{{1,2}})[-\s](?P<month>[a-z]{{3,9}})[-\s](?P<year>\d{{4}})(?:[\sT]+{_CLOCK}{_ZONE})?",  # VMS, ISIS, mail
        rf"(?P<day>\d{{1,2}})\.(?P<month>\d{{1,2}})\.(?P<year>\d{{4}})(?:,?\s+{_CLOCK}{_ZONE})?",  # as European software writes it
    )
)
_EPOCHS_S = ((5e8, 4e9, 1.0), (5e11, 4e12, 1e-3), (5e14, 4e15, 1e-6), (5e17, 4e18, 1e-9))  # 1985 to 2096; any other bare number is no time
_SPELLED_MAX = 80  # characters
_REAL_CALENDARS = ("standard", "gregorian", "proleptic_gregorian")  # the others have days that never were


@dataclass(frozen=True)
class Moment:
    """A point in time (aware UTC) and whether its zone had to be assumed."""

    at: datetime
    zone_assumed: bool


def iso(at: datetime) -> str:
    """ISO 8601 with Z, as everywhere in JSON."""
    return at.isoformat().replace("+00:00", "Z")


def parse(value: Any, zone: tzinfo = UTC) -> Moment | None:
    """The time that `value` (text, or a count since 1970 in s, ms, µs or ns) names; None if it names none."""
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _epoch(float(value))
    if not isinstance(value, str) or len(value) > _SPELLED_MAX:
        return None
    spelled = value.strip()
    if re.fullmatch(r"\d{9,10}\.\d+", spelled):  # EDF writes its time of day so
        return _epoch(float(spelled))
    if re.fullmatch(r"\d{1,7}", spelled):  # a year or a number, not a time
        return None
    for spelling in _SPELLINGS:
        if found := spelling.fullmatch(spelled):
            try:
                return _moment(found.groupdict(), zone)
            except (ValueError, OverflowError):
                return None
    try:
        return _utc(datetime.fromisoformat(spelled), zone)  # week dates, basic forms
    except (ValueError, OverflowError):
        return None


def _epoch(count: float) -> Moment | None:
    for least, most, unit_s in _EPOCHS_S:
        if least < count < most:
            return Moment(datetime.fromtimestamp(count * unit_s, UTC), zone_assumed=False)
    return None


def _moment(found: dict[str, str | None], zone: tzinfo) -> Moment | None:
    month = found["month"] or ""
    number = int(month) if month.isdigit() else _MONTHS.get(month[:3].lower(), 0)
    hour = int(found["hour"] or 0)
    if half := found["half"]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + 12 * (half.lower() == "p")
    fraction = int((found["fraction"] or "").ljust(9, "0")[:6] or 0)
    second = int(found["second"] or 0)
    at = datetime(int(found["year"] or 0), number, int(found["day"] or 0), hour, int(found["minute"] or 0), min(second, 59), fraction)  # noqa: DTZ001
    at += timedelta(seconds=1) if second == 60 else timedelta(0)  # a leap second is the next minute's first
    if second > 60:
        return None
    if named := found["zone"]:
        offset = _offset(named)
        if offset is None:
            return None
        return Moment((at - offset).replace(tzinfo=UTC), zone_assumed=False)
    return _utc(at, zone)


def _offset(named: str) -> timedelta | None:
    hours = _OFFSETS_H.get(named.strip().lower())
    if hours is not None:
        return timedelta(hours=hours)
    found = re.search(r"([+-])(\d\d?):?(\d\d)?$", named)
    if not found:
        return None
    size = timedelta(hours=int(found[2]), minutes=int(found[3] or 0))
    return (-size if found[1] == "-" else size) if size < timedelta(hours=15) else None


def _utc(at: datetime, zone: tzinfo) -> Moment:
    return Moment(at.replace(tzinfo=zone).astimezone(UTC), zone_assumed=True) if at.tzinfo is None else Moment(at.astimezone(UTC), zone_assumed=False)


def zone_said(assumed: bool, zone: tzinfo) -> dict[str, Any]:
    """What metadata says of times whose zone had to be assumed: that it was, and which."""
    return {"time_zone_assumed": True, "time_zone": str(zone)} if assumed else {}


def from_count(value: float, units: str, calendar: str) -> tuple[datetime | None, str] | None:
    """A CF time (`days since …`; UTC where the units name no zone, CF 4.4) as (aware UTC, text); None if it cannot be decoded.

    A date of a calendar that is not ours (noleap, 360_day …) has no datetime, only its text.
    """
    import cftime  # noqa: PLC0415  netCDF alone needs it

    try:
        at = cftime.num2date(value, units, calendar, only_use_cftime_datetimes=True)
        spelled = at.isoformat()
        if calendar not in _REAL_CALENDARS or at.year < 1583:
            return None, spelled
        real = datetime(at.year, at.month, at.day, at.hour, at.minute, at.second, at.microsecond, tzinfo=UTC)
    except (ValueError, OverflowError, TypeError, AttributeError):
        return None
    return real, iso(real)

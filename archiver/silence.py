"""Instruments that should measure and of which nothing is heard.

Law: only time in which it should have measured counts; an instrument that nobody expects anything of is never silent.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time, timedelta
from fnmatch import fnmatchcase
from zoneinfo import ZoneInfo

from archiver.ledger import Transaction
from archiver.model import Instrument
from archiver.sections import ReceptionSettings

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MIDNIGHT = time(23, 59, 59)


def silent(tx: Transaction, settings: ReceptionSettings) -> list[tuple[Instrument, timedelta]]:
    """Instruments of which nothing was heard for longer than `silent_after` says while they should measure; and for how long."""
    since = measuring_since(settings, tx.at)
    if since is None or not settings.silent_after:
        return []
    found = []
    for instrument in tx.instruments():
        after = _after(settings, instrument.name)
        heard = max(instrument.seen_at or instrument.created_at, since)
        if after is not None and tx.at - heard >= after:
            found.append((instrument, tx.at - (instrument.seen_at or instrument.created_at)))
    return found


def _after(settings: ReceptionSettings, instrument: str) -> timedelta | None:
    """Of several globs that fit, the last."""
    fitting = [after for glob, after in settings.silent_after.items() if fnmatchcase(instrument, glob)]
    return fitting[-1] if fitting else None


def measuring_since(settings: ReceptionSettings, now: datetime) -> datetime | None:
    """Since when it has been measuring time without a break (a week ago at most); None: it is not."""
    here = now.astimezone(ZoneInfo(settings.zone))
    if not (_measures(settings.measuring_days, here) and settings.measuring_from <= here.time() <= settings.measuring_until):
        return None
    start = here.replace(
        hour=settings.measuring_from.hour, minute=settings.measuring_from.minute, second=settings.measuring_from.second, microsecond=0
    )
    through_the_night = settings.measuring_from == time(0) and settings.measuring_until >= _MIDNIGHT
    for _ in range(7):
        before = start - timedelta(days=1)
        if not (through_the_night and _measures(settings.measuring_days, before)):
            break
        start = before
    return start


def _measures(days: Sequence[str], at: datetime) -> bool:
    return _DAYS[at.weekday()] in days

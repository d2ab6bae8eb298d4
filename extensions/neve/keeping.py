"""Keeping data in fast storage until a day, and reading what Névé has to tell.

    neve.hold("saxs/run1", until="2026-09-01", reason="for the paper")
    neve.notices()

Law: the state lives on the server. What is not in fast storage is brought back first, and the hold waits for it (`state` "waiting").
This module has none of its functions' names: importing it would put it in their place.
"""

from __future__ import annotations

from datetime import date, datetime

from neve import records
from neve.client import connect
from neve.errors import WrongUse
from neve.wording import utc_json


def hold(
    name: str, until: str | date | datetime, reason: str, files: str | None = None, *, url: str | None = None, token: str | None = None
) -> records.Hold:
    """Keep a dataset in fast storage until a day (until it is over, UTC) or a time, for a reason. Done again, it has the new end.

    `files`: only those that match this pattern. Raises NotFound (with the nearest names), Ambiguous, NotAllowed, WrongUse, Conflict.
    """
    if isinstance(until, datetime):
        end = utc_json(until)
    elif isinstance(until, str | date):
        end = str(until)
    else:
        raise WrongUse(f"`until` cannot be {until!r}.", 'Give a day, as "2026-09-01", a date or a datetime.')
    client = connect(url, token)
    return client.hold(client.find(name).full_name, end, reason, files)


def holds(name: str | None = None, *, url: str | None = None, token: str | None = None) -> list[records.Hold]:
    """Your holds; with a name, everybody's on that dataset."""
    client = connect(url, token)
    return client.holds(None if name is None else client.find(name).id)


def end_hold(hold: records.Hold | int, *, url: str | None = None, token: str | None = None) -> records.Hold:
    """End a hold of yours before its time: what nothing else claims may leave fast storage."""
    return connect(url, token).end_hold(hold if isinstance(hold, int) else hold.id)


def notices(*, url: str | None = None, token: str | None = None) -> list[records.Notice]:
    """What Névé has to tell you, newest first; from then on these messages count as seen."""
    client = connect(url, token)
    found = client.notices()
    if any(not one.seen for one in found):
        client.notices_seen(max(one.id for one in found))
    return found

"""What admins tell everybody who opens a page: one announcement at a time.

Law: it is plain text and always has an end. Who made it, and who took it back, is written down.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from archiver.archive import Archive
from archiver.errors import Conflict, WrongUse
from archiver.ledger import Transaction

_NOTE = "announcement"
_MOST = 500
_DAYS = 366


@dataclass(frozen=True)
class Announcement:
    """What is told; `until` and `made_at` are ISO 8601, in UTC."""

    text: str
    until: str
    user: str
    made_at: str


def current(tx: Transaction) -> Announcement | None:
    """What is told now; None when there is nothing, or its time is over."""
    said = json.loads(tx.note(_NOTE) or "null")
    return None if said is None or datetime.fromisoformat(said["until"]) <= tx.at else Announcement(**said)


def make(archive: Archive, admin: str, text: str, until: datetime) -> Announcement:
    """Tell everybody from now on; what was told before ends. Raises `WrongUse`."""
    text = " ".join(text.split())
    if not 1 <= len(text) <= _MOST or not text.isprintable():
        raise WrongUse(f"An announcement has 1 to {_MOST} printable characters.", "Say in a sentence or two what happens and when.")
    with archive.ledger.begin(admin) as tx:
        if not tx.at < until <= tx.at + timedelta(days=_DAYS):
            raise WrongUse("An announcement ends in the future, within a year.", "Name a day to come.")
        made = Announcement(text, _iso(until), tx.actor, _iso(tx.at))
        tx.set_note(_NOTE, json.dumps(asdict(made)))
        tx.deed("announcement.made", "", {"text": text, "until": made.until})
        return made


def end(archive: Archive, admin: str) -> None:
    """Take it back before its time. Raises `Conflict`."""
    with archive.ledger.begin(admin) as tx:
        told = current(tx)
        if told is None:
            raise Conflict("Nothing is announced.", "Nothing has to be done.")
        tx.set_note(_NOTE, "null")
        tx.deed("announcement.ended", "", {"text": told.text})


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")

"""Lists by pages, for the API and the pages alike: a cursor instead of an offset, so that no item is missed or shown twice while others arrive."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from archiver import describe
from archiver.config import Settings
from archiver.errors import WrongUse
from archiver.ledger import Transaction
from archiver.ledger.browse import Query
from archiver.model import Dataset


@dataclass(frozen=True)
class Page:
    """JSON-ready items, and the cursor of what follows them (None: nothing does)."""

    items: list[dict[str, Any]]
    next_cursor: str | None


def datasets(tx: Transaction, settings: Settings, query: Query, limit: int, cursor: str | None) -> Page:
    """A page of datasets, newest data first. Raises `WrongUse`."""
    if query.tier is not None and query.tier not in settings.tiers:
        raise WrongUse(f"There is no tier {query.tier!r}.", f"The tiers are {', '.join(settings.tiers)}.")
    if query.since is not None and query.until is not None and query.since > query.until:
        raise WrongUse("`from` is later than `to`.", "Exchange them.")
    found = tx.search(query, limit + 1, None if cursor is None else _read(cursor))
    page = found[:limit]
    return Page(describe.datasets(tx, settings, page), _cursor(page[-1]) if len(found) > limit else None)


def files(tx: Transaction, settings: Settings, dataset_id: int, limit: int, cursor: str | None) -> Page:
    """A page of a dataset's files, in the order in which they arrived. Raises `WrongUse`."""
    found = tx.files(dataset_id, after(cursor), limit + 1)
    page = found[:limit]
    return Page(describe.files(tx, settings, page), following(page[-1].id) if len(found) > limit else None)


def events(tx: Transaction, dataset_id: int, limit: int, cursor: str | None) -> Page:
    """A page of a dataset's history, oldest first. Raises `WrongUse`."""
    found = tx.history(dataset_id, limit + 1, after_seq=after(cursor))
    page = found[:limit]
    return Page(describe.events(page), following(page[-1].seq) if len(found) > limit else None)


def after(cursor: str | None) -> int:
    """The number that a page of numbered things comes after. Raises `WrongUse`."""
    return 0 if cursor is None else _read_number(cursor)


def following(number: int) -> str:
    """The cursor of what follows a number."""
    return _encode(str(number))


def _cursor(last: Dataset) -> str:
    return _encode(f"{(last.acquired_at or last.received_at).isoformat()} {last.id}")


def _encode(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(cursor: str) -> str:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        raise _wrong() from None


def _read(cursor: str) -> tuple[datetime, int]:
    at, _, number = _decode(cursor).partition(" ")
    try:
        when = datetime.fromisoformat(at)
    except ValueError:
        raise _wrong() from None
    if when.utcoffset() is None or when.utcoffset():
        raise _wrong()
    return when, _number(number)


def _read_number(cursor: str) -> int:
    return _number(_decode(cursor))


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 17):
        raise _wrong()
    return int(text)


def _wrong() -> WrongUse:
    return WrongUse("`cursor` is wrong: it is none that a list here has given.", "Leave it out to begin at the first page.")

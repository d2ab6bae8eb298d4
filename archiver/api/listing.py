"""Lists by pages, for the API and the pages alike: a cursor instead of an offset, so that no item is missed or shown twice while others arrive."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from archiver import describe
from archiver.config import Settings
from archiver.errors import WrongUse
from archiver.ledger import Transaction
from archiver.ledger.narrowing import Query
from archiver.ledger.searching import Cursor, Sort
from archiver.model import Dataset

_SORTED_BY = {Sort.NEWEST: "place", Sort.OLDEST: "place", Sort.NAME: "name", Sort.LARGEST: "size_bytes", Sort.SMALLEST: "size_bytes"}
_MOST = 2**62


@dataclass(frozen=True)
class Page:
    """JSON-ready items, and the cursor of what follows them (None: nothing does)."""

    items: list[dict[str, Any]]
    next_cursor: str | None


def datasets(
    tx: Transaction,
    settings: Settings,
    query: Query,
    limit: int,
    cursor: str | None,
    sort: Sort = Sort.NEWEST,
    *,
    own: Sequence[str] | None = None,
) -> Page:
    """A page of datasets in order. `own`: the asker's own projects. Raises `WrongUse`."""
    see_sense(settings, query)
    found = tx.search(query, limit + 1, None if cursor is None else _read(cursor, sort), sort)
    page = found[:limit]
    return Page(describe.datasets(tx, settings, page, own=own), _cursor(page[-1], sort) if len(found) > limit else None)


def see_sense(settings: Settings, query: Query) -> None:
    """Raise `WrongUse` for what can fit nothing."""
    if query.tier is not None and query.tier not in settings.tiers:
        raise WrongUse(f"There is no tier {query.tier!r}.", f"The tiers are {', '.join(settings.tiers)}.")
    if query.since is not None and query.until is not None and query.since > query.until:
        raise WrongUse("`from` is later than `to`.", "Exchange them.")


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


def _cursor(last: Dataset, sort: Sort) -> str:
    return _encode(json.dumps([sort, getattr(last, _SORTED_BY[sort]), last.id]))


def _encode(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(cursor: str) -> str:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        raise _wrong() from None


def _read(cursor: str, sort: Sort) -> Cursor:
    try:
        said = json.loads(_decode(cursor))
    except (ValueError, RecursionError):
        raise _wrong() from None
    if not isinstance(said, list) or len(said) != 3 or said[0] != sort:
        raise _wrong()
    at, last = said[1:]
    named = isinstance(at, str) and at.isprintable()
    placed = type(at) is int and 0 <= at < _MOST
    if not (named if sort is Sort.NAME else placed) or type(last) is not int or not 0 < last < _MOST:
        raise _wrong()
    return at, last


def _read_number(cursor: str) -> int:
    return _number(_decode(cursor))


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 17):
        raise _wrong()
    return int(text)


def _wrong() -> WrongUse:
    return WrongUse("`cursor` is wrong: it is none that a list here has given.", "Leave it out to begin at the first page.")

"""What datasets are found by: their place in time, the words and the numbers that are told of them.

Law: it is written in the transaction that changes what it is made of, so a search never lags behind the ledger. Text is folded here, not by
the database, and compared byte by byte: both databases find the same.

A dataset's *place* is one number for its time, to the minute, and its id: newest first is the order of places, whatever index gives it.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from archiver.ledger import tables as t
from archiver.ledger.base import Base

_IDS = 2**26
_EPOCH = datetime(1, 1, 1, tzinfo=UTC)  # every time has a positive place
_DEEP, _MANY, _LONG, _LIST = 6, 200, 200, 16  # of metadata: levels, values, characters of each, items of a list
_COMMENTS_LONG = 20_000
_PRIVATE, _PRIVATES = 0xE000, 6400  # Unicode's private use: nobody types it


@dataclass(frozen=True)
class Told:
    """What a dataset is found by: folded `words`, a line for each thing; numbers by field; names of its fields."""

    words: str
    measures: Sequence[tuple[str, float]]
    fields: Sequence[str]


def place_of(when: datetime, dataset_id: int) -> int:
    """A dataset's place among all."""
    return first_place(when) + dataset_id % _IDS


def first_place(when: datetime) -> int:
    """The first place of a minute."""
    return int((when - _EPOCH).total_seconds() // 60) * _IDS


def place_after(when: datetime) -> int:
    """The first place of the first minute that does not begin before `when`."""
    return -(int((_EPOCH - when).total_seconds() // 60) * _IDS)


def fold(text: str) -> str:
    """Text as it is compared: without case, without differences of Unicode forms, one line."""
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join("".join(c if c.isprintable() else " " for c in plain).split())


def line_of(field: str, value: str | None = None) -> str:
    """The line of a metadata field (all of it, with a value) among the words: its name is a mark of three characters that nobody types."""
    number = int.from_bytes(hashlib.sha256(field.encode("utf-8", "replace")).digest()[:8])
    mark = "".join(chr(_PRIVATE + number // _PRIVATES**i % _PRIVATES) for i in range(3))
    return f"\n{mark}" if value is None else f"\n{mark}{value}\n"


def told(full_name: str, project: str, title: str | None, metadata: Mapping[str, Any], tags: Collection[str], comments: Collection[str]) -> Told:
    """Fold what is told of a dataset."""
    lines = [fold(full_name), fold(project), fold(title or ""), *(fold(tag) for tag in tags), fold(" ".join(comments))[:_COMMENTS_LONG]]
    words = ["\n" + "\n".join(line for line in lines if line) + "\n"]
    measures, fields = set[tuple[str, float]](), set[str]()
    for count, (field, value) in enumerate(_values(metadata, "", 0)):
        if count == _MANY:
            break
        fields.add(field)
        # Neither infinite nor NaN, nor an integer that no float can be.
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e308:
            measures.add((field, float(value)))
        words.append(line_of(field, fold(str(value)[:_LONG])))
    return Told("".join(words), sorted(measures), sorted(fields))


def _values(found: Mapping[str, Any], before: str, depth: int) -> Iterator[tuple[str, str | int | float | bool]]:
    """Fields with their values; those of a field within another are `outer.inner`."""
    for name, value in found.items():
        field = fold(before + name)[:_LONG]
        if isinstance(value, Mapping):
            if depth < _DEEP:
                yield from _values(value, f"{before}{name}.", depth + 1)
        else:
            for one in value[:_LIST] if isinstance(value, list) else [value]:
                if isinstance(one, str | int | float):
                    yield field, one


class Indexing(Base):
    """Keeping the catalog's indexes as the ledger is."""

    def index(self, dataset_id: int) -> None:
        """Write anew what a dataset is found by."""
        self.hold_still(dataset_id)
        d = t.dataset.c
        row = self.connection.execute(sa.select(t.dataset).where(d.id == dataset_id)).one()
        when = row.acquired_at or row.received_at
        place = place_of(when, dataset_id)
        tags = list(self.connection.execute(sa.select(t.tag.c.tag).where(t.tag.c.dataset_id == dataset_id)).scalars())
        comments = self.connection.execute(sa.select(t.comment.c.text).where(t.comment.c.dataset_id == dataset_id).order_by(t.comment.c.id))
        entry = told(f"{row.instrument}/{row.name}", row.project, row.title, row.metadata, tags, list(comments.scalars()))
        for table in (t.search, t.measure):
            self.connection.execute(sa.delete(table).where(table.c.place.in_({row.place, place})))
        self.connection.execute(sa.insert(t.search).values(place=place, words=entry.words))
        if entry.measures:
            self.connection.execute(sa.insert(t.measure), [{"place": place, "field": field, "value": value} for field, value in entry.measures])
        if entry.fields:
            insert = sqlite.insert if self.connection.dialect.name == "sqlite" else postgresql.insert
            new = [{"project": row.project, "name": field} for field in entry.fields]
            self.connection.execute(insert(t.field).on_conflict_do_nothing(), new)
        self.connection.execute(sa.update(t.tag).where(t.tag.c.dataset_id == dataset_id).values(place=place))
        self.connection.execute(sa.update(t.dataset).where(d.id == dataset_id).values(place=place, month=when.year * 100 + when.month))

"""Searching the catalog: pages and completion over any number of datasets.

Law: who may see what is part of each query (`projects`), so neither a page nor a completion can tell of what is not theirs; and no query goes on
for longer than its answer needs: what many datasets fit is gone through newest first.

How a query is answered. What a dataset's own columns say (project, instrument, tier, state, format, time) is checked in one index that holds
all of them. Words, tags and numbers stand in indexes of their own. Where the columns alone leave few datasets, those are looked at one by
one; else the index of the words (tags, numbers) leads. SQLite is told which way to go: it does not count before it goes.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from archiver import model
from archiver.ledger import tables as t
from archiver.ledger.indexing import fold, line_of
from archiver.ledger.narrowing import Condition, Measured, Narrowing, Query

_FEW = 20_000  # looked at one by one, or fetched and sorted
_FETCHED = 1_000  # of the newest by columns alone: more are met soon by going through all
_MANY = 10_000  # of one number's range: found sooner by going through all
_LOOKED_THROUGH = 500  # names, for those that look like one
_NEWEST = 2_000  # looked at before an index that gives no order
_INDEXED = 3  # characters of a word that the indexes know

Cursor = tuple[Any, int]
"""Where a page ended: what it is sorted by, and the id."""


class Sort(StrEnum):
    """Orders of a list of datasets; each ends with the id, so no two are equal."""

    NEWEST = "newest"  # by when they were acquired (received, where that is unknown), to the minute
    OLDEST = "oldest"
    NAME = "name"  # byte by byte
    LARGEST = "largest"
    SMALLEST = "smallest"


@dataclass(frozen=True)
class Completions:
    """What begins with a prefix."""

    names: Sequence[str]
    tags: Sequence[str]
    fields: Sequence[str]


_D = t.dataset.c
_FTS = sa.table("search_fts", sa.column("rowid"), sa.column("search_fts"))
_ORDERS: dict[Sort, tuple[Any, bool]] = {
    Sort.NEWEST: (_D.place, True),
    Sort.OLDEST: (_D.place, False),
    Sort.NAME: (_D.name, False),
    Sort.LARGEST: (_D.size_bytes, True),
    Sort.SMALLEST: (_D.size_bytes, False),
}


class Searching(Narrowing):
    """Reading the catalog."""

    def search(self, query: Query, limit: int, cursor: Cursor | None = None, sort: Sort = Sort.NEWEST) -> list[model.Dataset]:
        """Datasets that fit, in order, after the cursor."""
        query = self._seen(query)
        ids = self._page(query, limit, cursor, sort)
        found = {d.id: d for d in self._all(model.Dataset, sa.select(t.dataset).where(_D.id.in_(ids)))}
        return [found[i] for i in ids]

    def complete(self, prefix: str, projects: Sequence[str] | None, limit: int) -> Completions:
        """Names of datasets (full ones, where there is a slash in the prefix), tags and fields of metadata that begin with `prefix`, in order."""
        projects = self._seen(Query(projects=projects)).projects
        instrument, slash, name = prefix.rpartition("/")
        named = [*self._called(name, projects), *([_D.instrument == instrument] if slash else [])]
        names = sa.select(_D.name).where(*named).distinct().order_by(_D.name).limit(limit)
        tags = sa.select(t.tag.c.tag).where(*_begins(t.tag.c.tag, prefix)).distinct().order_by(t.tag.c.tag).limit(limit)
        fields = sa.select(t.field.c.name).where(*_begins(t.field.c.name, fold(prefix))).distinct().order_by(t.field.c.name).limit(limit)
        if projects is not None:
            tags = tags.where(self._among(t.tag.c.project, projects))
            fields = fields.where(self._among(t.field.c.project, projects))
        found = [list(self.connection.execute(select).scalars()) for select in (names, tags, fields)]
        return Completions([f"{instrument}{slash}{name}" for name in found[0]], found[1], found[2])

    def near(self, name: str, projects: Sequence[str] | None) -> list[str]:
        """Up to three full names of datasets that look like `name` (bare or full), the likest first."""
        projects = self._seen(Query(projects=projects)).projects
        bare = name.rpartition("/")[2]
        for begins in dict.fromkeys((bare.rstrip("0123456789"), bare[:3], bare[:1], "")):
            select = sa.select(_D.instrument, _D.name).where(*self._called(begins, projects)).order_by(_D.name, _D.instrument).limit(_LOOKED_THROUGH)
            known: dict[str, str] = {}
            for instrument, found in self.connection.execute(select):
                known[f"{instrument}/{found}"] = known[found] = f"{instrument}/{found}"
            close = difflib.get_close_matches(name, known, n=6, cutoff=0.6)
            if close:
                return list(dict.fromkeys(known[one] for one in close))[:3]
        return []

    # how

    def _called(self, begins: str, projects: Sequence[str] | None) -> list[Condition]:
        """That a dataset's name begins so, and that it is of one of these projects (None: any)."""
        fits: list[Condition] = [*_begins(_D.name, begins)]
        if projects is not None:
            few = self._few(Query(projects))
            fits.append(self._among(_D.project if few else self._unled(_D.project), projects))
        return fits

    def _few(self, query: Query) -> bool:
        """Whether the columns alone leave few datasets."""
        return self._total(query) < _FEW

    def _one_by_one(self, query: Query) -> bool:
        """Whether these few are looked at for words, tags and numbers. PostgreSQL knows by itself whether they or their words are fewer."""
        return self._few(query) and (self._sqlite or not _indexed(query))

    def _page(self, query: Query, limit: int, cursor: Cursor | None, sort: Sort) -> list[int]:
        """Ids of the datasets of a page."""
        column, down = _ORDERS[sort]
        after = _after(column, cursor, down=down)
        if not late(query):
            fetched = self._total(query) < (_FETCHED if sort is Sort.NEWEST else _FEW)
            asked = query if fetched or sort is not Sort.NEWEST else self._until_newest(query)
            select = sa.select(_D.id).where(*self._columns(asked, led=fetched), *after)
            return self._ids(select, column, limit, down=down, fetched=fetched)
        if self._one_by_one(query):
            select = self._checked(sa.select(_D.id).where(*self._columns(query), *after), query)
            return self._ids(select, column, limit, down=down, fetched=True)
        if self._sqlite and _indexed(query) and sort is Sort.NEWEST:
            select, order = self._fitting(query, _D.id)
            return self._ids(select.where(*after, *_after(order, cursor, down=down)[:1]), order, limit, down=down)
        if not self._few(query):
            # The first of them, in order, before an index that gives no order.
            first = sa.select(_D.id, column.label("sorted"), _D.place).where(*self._columns(query, led=False), *after)
            window = first.order_by(column.desc() if down else column, _D.id.desc() if down else _D.id).limit(_NEWEST).subquery()
            checked = self._checked(sa.select(window.c.id), query, window.c.place, window.c.id)
            found = self._ids(checked, window.c.sorted, limit, down=down, number=window.c.id)
            if len(found) == limit:
                return found
        return self._ids(self._fitting(query, _D.id)[0].where(*after), column, limit, down=down, fetched=True)

    def _ids(self, select: sa.Select[Any], column: Any, limit: int, *, down: bool, fetched: bool = False, number: Any = _D.id) -> list[int]:
        """`fetched`: all that fit are few: they are fetched and sorted, instead of gone through in order until enough fit."""
        first = column + 0 if fetched and self._sqlite and column is not _D.name else column
        order = [first] if column is _FTS.c.rowid else [first, number]  # a place is one dataset's
        return list(self.connection.execute(select.order_by(*(c.desc() if down else c for c in order)).limit(limit)).scalars())

    def _newest(self, query: Query, limit: int, *columns: Any) -> sa.Select[Any]:
        """Of the newest that fit, so many at most."""
        select, order = self._fitting(query, *columns)
        return select.order_by(order.desc()).limit(limit)

    def _fitting(self, query: Query, *columns: Any) -> tuple[sa.Select[Any], Any]:
        """All datasets that fit, by whichever index leads to the fewest, and their place as this index gives it in order."""
        if self._one_by_one(query):
            return self._checked(sa.select(*columns).where(*self._columns(query)), query), _D.place + 0
        if _indexed(query):
            return self._by_words(query, *columns)
        rest = self._columns(query, led=False)
        if query.tags:
            first, *others = query.tags
            leading = sa.select(*columns).join_from(t.tag, t.dataset, _D.id == t.tag.c.dataset_id).where(t.tag.c.tag == first, *rest)
            return self._checked(leading, replace(query, tags=others)), t.tag.c.place
        m = t.measure.c
        for one in query.measured:
            if self._count(sa.select(m.place).where(*_measures(one)), _MANY) == _MANY:
                continue  # so many have it that most are found soon by going through all
            # A field that holds several numbers leads by the least of those that fit.
            m2 = t.measure.alias()
            less = sa.exists().where(m2.c.place == m.place, m2.c.value < m.value, *_measures(one, m2.c))
            leading = sa.select(*columns).join_from(t.measure, t.dataset, _D.place == m.place).where(*_measures(one), ~less, *rest)
            return self._checked(leading, replace(query, measured=[other for other in query.measured if other is not one])), m.place + 0
        return self._checked(sa.select(*columns).where(*rest), query), _D.place

    def _by_words(self, query: Query, *columns: Any) -> tuple[sa.Select[Any], Any]:
        """The same, led by the index of words."""
        words = _indexed(query)
        if self._sqlite:
            grams = dict.fromkeys(word[at : at + _INDEXED] for word in words for at in range(len(word) - _INDEXED + 1))
            asked = " AND ".join('"' + gram.replace('"', '""') + '"' for gram in grams)
            # Columns are checked before words: they stand in one small index, whose part is read once for many.
            select = sa.select(*columns).join_from(_FTS, t.dataset, _D.place == _FTS.c.rowid).join(t.search, t.search.c.place == _D.place + 0)
            select = select.where(_FTS.c.search_fts.op("MATCH")(asked), *self._columns(query, led=False))
        else:
            select = sa.select(*columns).join_from(t.search, t.dataset, t.search.c.place == _D.place).where(*self._columns(query))
            select = select.where(*(t.search.c.words.like("%" + _literal(word) + "%", escape="\\") for word in words))
        return self._checked(select, query, joined=True), _FTS.c.rowid if self._sqlite else _D.place

    def _checked(self, select: sa.Select[Any], query: Query, place: Any = _D.place, number: Any = _D.id, *, joined: bool = False) -> sa.Select[Any]:
        """What words, tags and numbers ask, of one dataset after the other."""
        held: Callable[[Any, str], Any] = sa.func.instr if self._sqlite else sa.func.strpos
        words = _words(query)
        if words and not joined:
            select = select.join(t.search, t.search.c.place == place)
        select = select.where(*(held(t.search.c.words, word) > 0 for word in words))
        for tag in query.tags:
            g = t.tag.alias()
            select = select.where(sa.exists().where(g.c.dataset_id == number, g.c.tag == tag))
        for one in query.measured:
            m = t.measure.alias()
            select = select.where(sa.exists().where(m.c.place == place, *_measures(one, m.c)))
        return select


def _after(column: Any, cursor: Cursor | None, *, down: bool) -> list[Condition]:
    if cursor is None:
        return []
    at, last = cursor
    if down:
        return [column <= at, sa.or_(column < at, _D.id < last)]
    return [column >= at, sa.or_(column > at, _D.id > last)]


def late(query: Query) -> bool:
    return bool(_words(query) or query.tags or query.measured)


def _words(query: Query) -> list[str]:
    """What must stand among the words: those that were typed, and lines of metadata."""
    lines = [line_of(field, None if value is None else fold(value)) for field, value in query.said]
    return list(dict.fromkeys([*fold(query.text or "").split(), *lines]))


def _indexed(query: Query) -> list[str]:
    return [word for word in _words(query) if len(word) >= _INDEXED]


def _measures(one: Measured, m: Any = t.measure.c) -> list[Condition]:
    fits: list[Condition] = [m.field == one.field]
    if one.least is not None:
        fits.append(m.value > one.least if one.least_open else m.value >= one.least)
    if one.most is not None:
        fits.append(m.value < one.most if one.most_open else m.value <= one.most)
    return fits


def _literal(word: str) -> str:
    """A word in a LIKE pattern."""
    return word.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")


def _begins(column: Any, prefix: str) -> list[Condition]:
    """By bytes: from the prefix to the first text that no longer begins with it."""
    if not prefix:
        return []
    fits = [column >= prefix]
    for at in range(len(prefix) - 1, -1, -1):
        if prefix[at] < "\U0010ffff":
            following = ord(prefix[at]) + 1
            return [*fits, column < prefix[:at] + chr(0xE000 if 0xD800 <= following < 0xE000 else following)]
    return fits

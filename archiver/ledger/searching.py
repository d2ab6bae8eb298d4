"""Searching the catalog: pages and completion over any number of datasets.

Law: who may see what is part of each query (`projects`), so neither a page nor a completion can tell of what is not theirs; and no query goes on
for longer than its answer needs: what many datasets fit is gone through newest first.

How a query is answered. What a dataset's own columns say (project, instrument, tier, state, format, time) is checked in one index that holds
all of them. Words, tags and numbers stand in indexes of their own. Where the columns alone leave few datasets, those are looked at one by
one; else the index of the words (tags, numbers) leads. SQLite is told which way to go: it does not count before it goes.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from math import isqrt
from typing import Any

import sqlalchemy as sa

from archiver import model
from archiver.ledger import tables as t
from archiver.ledger.indexing import fold, line_of
from archiver.ledger.narrowing import Condition, Form, Narrowing, Query, form_of_columns, given, kept

_FEW = 20_000  # looked at one by one, or fetched and sorted
_FETCHED = 1_000  # of the newest by columns alone: more are met soon by going through all
_MANY = 10_000  # that fit: when so many are found, no more are gone through
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


Fitting = Callable[[Form], tuple[sa.Select[Any], Any]]
"""Puts a statement together for a form: the datasets that fit, and their place as its index gives it in order."""

_D = t.dataset.c
_NUMBERED = sa.select(t.dataset).where(_D.id.in_(sa.bindparam("ids", expanding=True)))
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

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._said_often: dict[tuple[Any, ...], bool] = {}

    def search(self, query: Query, limit: int, cursor: Cursor | None = None, sort: Sort = Sort.NEWEST) -> list[model.Dataset]:
        """Datasets that fit, in order, after the cursor."""
        query = self._seen(query)
        ids = self._page(query, limit, cursor, sort)
        found = {d.id: d for d in self._all(model.Dataset, _NUMBERED, {"ids": ids})}
        return [found[i] for i in ids]

    def complete(self, prefix: str, projects: Sequence[str] | None, limit: int) -> Completions:
        """Names of datasets (full ones, where there is a slash in the prefix), tags and fields of metadata that begin with `prefix`, in order."""
        asked = self._seen(Query(projects=projects))
        form, values = form_of_columns(asked), self._column_values(asked)
        instrument, slash, name = prefix.rpartition("/")
        named = [*self._called(name, asked), *([_D.instrument == instrument] if slash else [])]
        names = sa.select(_D.name).where(*named).distinct().order_by(_D.name).limit(limit)
        tags = sa.select(t.tag.c.tag).where(*_begins(t.tag.c.tag, prefix)).distinct().order_by(t.tag.c.tag).limit(limit)
        fields = sa.select(t.field.c.name).where(*_begins(t.field.c.name, fold(prefix))).distinct().order_by(t.field.c.name).limit(limit)
        tags = tags.where(*self._of_projects(t.tag.c.project, form))
        fields = fields.where(*self._of_projects(t.field.c.project, form))
        found = [list(self.connection.execute(select, values).scalars()) for select in (names, tags, fields)]
        return Completions([f"{instrument}{slash}{name}" for name in found[0]], found[1], found[2])

    def near(self, name: str, projects: Sequence[str] | None) -> list[str]:
        """Up to three full names of datasets that look like `name` (bare or full), the likest first."""
        asked = self._seen(Query(projects=projects))
        bare = name.rpartition("/")[2]
        for begins in dict.fromkeys((bare.rstrip("0123456789"), bare[:3], bare[:1], "")):
            select = sa.select(_D.instrument, _D.name).where(*self._called(begins, asked)).order_by(_D.name, _D.instrument).limit(_LOOKED_THROUGH)
            known: dict[str, str] = {}
            for instrument, found in self.connection.execute(select, self._column_values(asked)):
                known[f"{instrument}/{found}"] = known[found] = f"{instrument}/{found}"
            close = difflib.get_close_matches(name, known, n=6, cutoff=0.6)
            if close:
                return list(dict.fromkeys(known[one] for one in close))[:3]
        return []

    # how

    def _called(self, begins: str, asked: Query) -> list[Condition]:
        """That a dataset's name begins so, and that it is of one of the asker's projects."""
        few = asked.projects is None or self._few(asked)
        return [*_begins(_D.name, begins), *self._of_projects(_D.project if few else self._unled(_D.project), form_of_columns(asked))]

    def _few(self, query: Query) -> bool:
        """Whether the columns alone leave few datasets."""
        return self._total(query) < _FEW

    def _one_by_one(self, query: Query) -> bool:
        """Whether these few are looked at for words, tags and numbers. PostgreSQL knows by itself whether they or their words are fewer."""
        return self._few(query) and (not _indexed(query) or (self._sqlite and self._often(query)))

    def _often(self, query: Query) -> bool:
        """Whether more have its words than fit the columns."""
        values, form = {**self._values(query), "most": self._total(query)}, form_of(query)
        key = tuple(values[name] for name in ("match", "since", "until", "most"))
        if self.writing or key not in self._said_often:

            def counting() -> sa.Select[Any]:
                some = sa.select(_FTS.c.rowid).where(*self._said(form)).limit(given("most", sa.Integer))
                return sa.select(sa.func.count()).select_from(some.subquery())

            self._said_often[key] = self.connection.execute(kept(("often", form), counting), values).scalar_one() == values["most"]
        return self._said_often[key]

    def _said(self, form: Form) -> list[Condition]:
        """What the index of words is asked on SQLite."""
        return [_FTS.c.search_fts.op("MATCH")(given("match", sa.Text)), *self._during(_FTS.c.rowid, form)]

    def _page(self, query: Query, limit: int, cursor: Cursor | None, sort: Sort) -> list[int]:
        """Ids of the datasets of a page."""
        column, down = _ORDERS[sort]
        after = _after(column, down=down) if cursor else []

        def ids(way: str, query: Query, make: Callable[[Form], sa.Select[Any]]) -> list[int]:
            form = form_of(query)
            select = kept(("page", way, self._sqlite, form, sort, cursor is None), lambda: make(form).limit(given("limit", sa.Integer)))
            at, last = cursor or (None, None)
            return list(self.connection.execute(select, {**self._values(query), "at": at, "last": last, "limit": limit}).scalars())

        if not late(query):
            fetched = self._total(query) < (_FETCHED if sort is Sort.NEWEST else _FEW)
            asked = query if fetched or sort is not Sort.NEWEST else self._until_newest(query)

            by = self._lead(query) if fetched else ""

            def by_columns(form: Form) -> sa.Select[Any]:
                return self._ordered(sa.select(_D.id).where(*self._columns(form, led=fetched, by=by), *after), column, down=down, fetched=fetched)

            return ids(f"columns {fetched} {by}", asked, by_columns)
        if not self._one_by_one(query):
            if self._sqlite and _indexed(query) and sort is Sort.NEWEST:

                def by_words(form: Form) -> sa.Select[Any]:
                    select, order = self._by_words(form, _D.id)
                    return self._ordered(select.where(*after, *(_after(order, down=down)[:1] if cursor else [])), order, down=down)

                return ids("words in order", query, by_words)
            if query.tags and not _indexed(query) and sort in {Sort.NEWEST, Sort.OLDEST}:

                def by_tag(form: Form) -> sa.Select[Any]:
                    select, order = self._by_tag(form, _D.id)
                    return self._ordered(select.where(*after, *(_after(order, down=down)[:1] if cursor else [])), order, down=down)

                return ids("tag in order", query, by_tag)
            if not self._few(query):
                found = ids("first", query, lambda form: self._of_first(form, column, after, down=down))
                if len(found) == limit:
                    return found
        way, make = self._fitting(query, _D.id)
        return ids(f"fitting {way}", query, lambda form: self._ordered(make(form)[0].where(*after), column, down=down, fetched=True))

    def _of_first(self, form: Form, column: Any, after: Sequence[Condition], *, down: bool) -> sa.Select[Any]:
        """Those that fit of the first in order, before an index that gives no order."""
        first = sa.select(_D.id, column.label("sorted"), _D.place).where(*self._columns(form, led=False), *after)
        window = first.order_by(column.desc() if down else column, _D.id.desc() if down else _D.id).limit(given("window", sa.Integer)).subquery()
        return self._ordered(self._checked(sa.select(window.c.id), form, window.c.place, window.c.id), window.c.sorted, down=down, number=window.c.id)

    def _ordered(self, select: sa.Select[Any], column: Any, *, down: bool, fetched: bool = False, number: Any = _D.id) -> sa.Select[Any]:
        """`fetched`: all that fit are few: they are fetched and sorted, instead of gone through in order until enough fit."""
        first = column + 0 if fetched and self._sqlite and column is not _D.name else column
        order = [first] if column is _FTS.c.rowid or column is t.tag.c.place else [first, number]  # a place is one dataset's
        return select.order_by(*(c.desc() if down else c for c in order))

    def _fitting(self, query: Query, *columns: Any, ordered: bool = True) -> tuple[str, Fitting]:
        """All datasets that fit, by whichever index leads to the fewest: which it is, and what puts their statement together. Not `ordered`: any of
        them will do."""
        if self._one_by_one(query):
            by = self._lead(query)
            return f"one by one {by}", lambda form: (self._checked(sa.select(*columns).where(*self._columns(form, by=by)), form), _D.place + 0)
        if _indexed(query):
            return "words", lambda form: self._by_words(form, *columns)
        if query.tags:
            return "tag", lambda form: self._by_tag(form, *columns)
        for number, many in enumerate(self._many_have(query)):
            if not many:  # else most are found soon by going through all
                return f"number {number}", partial(self._by_number, number, columns)
        by = "" if ordered else self._lead(query)
        columns_of = partial(self._columns, led=by != "", by=by)
        return f"columns {by}", lambda form: (self._checked(sa.select(*columns).where(*columns_of(form)), form), _D.place)

    def _many_have(self, query: Query) -> Iterator[bool]:
        """Of each number that is asked for, whether so many have it that going through all, until enough fit, meets fewer."""
        every = self._total(Query(since=query.since, until=query.until))
        values = {**self._values(query), "many": min(self._total(query), isqrt(_MANY * every))}
        for one in form_of(query).measured:
            some = sa.select(t.measure.c.place).where(*_measures(one)).limit(given("many", sa.Integer))
            counting = kept(("many", self._sqlite, one), lambda some=some: sa.select(sa.func.count()).select_from(some.subquery()))  # type: ignore[misc]
            yield self.connection.execute(counting, values).scalar_one() == values["many"]

    def _by_words(self, form: Form, *columns: Any) -> tuple[sa.Select[Any], Any]:
        """Led by the index of words."""
        if self._sqlite:
            # Columns are checked before words: they stand in one small index, whose part is read once for many.
            select = sa.select(*columns).join_from(_FTS, t.dataset, _D.place == _FTS.c.rowid).join(t.search, t.search.c.place == _D.place + 0)
            select = select.where(*self._said(form), *self._columns(form, led=False))
        else:
            select = sa.select(*columns).join_from(t.search, t.dataset, t.search.c.place == _D.place).where(*self._columns(form))
            indexed = [number for number, is_indexed in enumerate(form.words) if is_indexed]
            select = select.where(*(t.search.c.words.like(given(f"like_{number}", t.Text), escape="\\") for number in indexed))
        return self._checked(select, form, joined=True), _FTS.c.rowid if self._sqlite else _D.place

    def _by_tag(self, form: Form, *columns: Any) -> tuple[sa.Select[Any], Any]:
        """Led by the index of tags, which holds projects and places, too."""
        g = t.tag.c
        first, *others = form.tags
        rest = replace(form, projects="all", given=form.given - {"project", "since", "until"})
        leading = sa.select(*columns).join_from(t.tag, t.dataset, _D.place == g.place)
        leading = leading.where(g.tag == given(f"tag_{first}"), *self._within(g.project, g.place, form), *self._columns(rest, led=False))
        return self._checked(leading, replace(form, tags=tuple(others))), g.place

    def _by_number(self, number: int, columns: Sequence[Any], form: Form) -> tuple[sa.Select[Any], Any]:
        """Led by the index of numbers."""
        m, one = t.measure.c, form.measured[number]
        # A field that holds several numbers leads by the least of those that fit.
        m2 = t.measure.alias()
        less = sa.exists().where(m2.c.place == _D.place, m2.c.value < m.value, *_measures(one, m2.c))
        leading = sa.select(*columns).join_from(t.measure, t.dataset, _D.place == m.place)
        leading = leading.where(*_measures(one), ~less, *self._columns(form, led=False))
        return self._checked(leading, replace(form, measured=tuple(other for other in form.measured if other is not one))), m.place + 0

    def _checked(self, select: sa.Select[Any], form: Form, place: Any = _D.place, number: Any = _D.id, *, joined: bool = False) -> sa.Select[Any]:
        """What words, tags and numbers ask, of one dataset after the other."""
        held: Callable[[Any, Any], Any] = sa.func.instr if self._sqlite else sa.func.strpos
        if form.words and not joined:
            select = select.join(t.search, t.search.c.place == place)
        select = select.where(*(held(t.search.c.words, given(f"word_{n}", t.Text)) > 0 for n in range(len(form.words))))
        for tag in form.tags:
            g = t.tag.alias()
            select = select.where(sa.exists().where(g.c.dataset_id == number, g.c.tag == given(f"tag_{tag}")))
        for one in form.measured:
            m = t.measure.alias()
            select = select.where(sa.exists().where(m.c.place == place, *_measures(one, m.c)))
        return select

    def _values(self, query: Query) -> dict[str, Any]:
        """The values of a query, by the names that `given` has for them, and limits."""
        values = self._column_values(query) | {"window": _NEWEST}
        for n, word in enumerate(_words(query)):
            values |= {f"word_{n}": word, f"like_{n}": f"%{_literal(word)}%"}
        if self._sqlite:
            grams = dict.fromkeys(word[at : at + _INDEXED] for word in _indexed(query) for at in range(_mark(word), len(word) - _INDEXED + 1))
            values["match"] = " AND ".join('"' + gram.replace('"', '""') + '"' for gram in grams)
        for n, tag in enumerate(query.tags):
            values[f"tag_{n}"] = tag
        for n, one in enumerate(query.measured):
            values |= {f"field_{n}": one.field, f"least_value_{n}": one.least, f"most_value_{n}": one.most}
        return values


def _after(column: Any, *, down: bool) -> list[Condition]:
    """After a cursor."""
    at, last = given("at", column.type), given("last", sa.BigInteger)
    if down:
        return [column <= at, sa.or_(column < at, _D.id < last)]
    return [column >= at, sa.or_(column > at, _D.id > last)]


def form_of(query: Query) -> Form:
    """What a query asks, without its values."""
    ends = (
        (n, "" if one.least is None else ">" if one.least_open else ">=", "" if one.most is None else "<" if one.most_open else "<=")
        for n, one in enumerate(query.measured)
    )
    known = tuple(len(word) >= _INDEXED for word in _words(query))
    return replace(form_of_columns(query), words=known, tags=tuple(range(len(query.tags))), measured=tuple(ends))


def late(query: Query) -> bool:
    return bool(_words(query) or query.tags or query.measured)


def _words(query: Query) -> list[str]:
    """What must stand among the words: those that were typed, and lines of metadata."""
    lines = [line_of(field, None if value is None else fold(value)) for field, value in query.said]
    return list(dict.fromkeys([*fold(query.text or "").split(), *lines]))


def _indexed(query: Query) -> list[str]:
    return [word for word in _words(query) if len(word) >= _INDEXED]


def _mark(word: str) -> int:
    """Where a word begins to tell datasets apart: all that have a field have the mark of its line."""
    return _INDEXED - 1 if word.startswith("\n") and len(word) > _INDEXED + 1 else 0


def _measures(one: tuple[int, str, str], m: Any = t.measure.c) -> list[Condition]:
    number, least, most = one
    fits: list[Condition] = [m.field == given(f"field_{number}")]
    if least:
        end = given(f"least_value_{number}", sa.Float)
        fits.append(m.value > end if least == ">" else m.value >= end)
    if most:
        end = given(f"most_value_{number}", sa.Float)
        fits.append(m.value < end if most == "<" else m.value <= end)
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

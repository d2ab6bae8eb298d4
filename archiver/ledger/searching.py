"""Searching the catalog: pages, counts, facets and completion over any number of datasets.

Law: who may see what is part of each query (`projects`), so neither a count nor a facet nor a completion can tell of what is not theirs; and
no query goes on for longer than its answer needs: counts end at `COUNTED`, what many datasets fit is gone through newest first.

How a query is answered. What a dataset's own columns say (project, instrument, tier, state, format, time) is checked in one index that holds
all of them. Words, tags and numbers stand in indexes of their own. Where the columns alone leave few datasets, those are looked at one by
one; else the index of the words (tags, numbers) leads. SQLite is told which way to go: it does not count before it goes.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from archiver import model
from archiver.ledger import tables as t
from archiver.ledger.base import Base
from archiver.ledger.indexing import first_place, fold, line_of, place_after

COUNTED = 10_000
"""Datasets are counted up to here; beyond, there are more than that."""
_FACETED = 50_000
"""So many datasets that fit words, tags or numbers are sorted into facets; of more, the newest."""
_FEW = 20_000  # looked at one by one, or fetched and sorted
_NEWEST = 4_000  # looked at before an index that gives no order
_VALUES = 200  # of one facet
_LOOKED_THROUGH = 500  # names, for those that look like one
_INDEXED = 3  # characters of a word that the indexes know

Cursor = tuple[Any, int]
"""Where a page ended: what it is sorted by, and the id."""
_Condition = sa.ColumnElement[bool]


class Sort(StrEnum):
    """Orders of a list of datasets; each ends with the id, so no two are equal."""

    NEWEST = "newest"  # by when they were acquired (received, where that is unknown), to the minute
    OLDEST = "oldest"
    NAME = "name"  # byte by byte
    LARGEST = "largest"
    SMALLEST = "smallest"


@dataclass(frozen=True)
class Measured:
    """A condition on a number of the metadata: both ends belong to it unless they are `open`."""

    field: str
    least: float | None = None
    most: float | None = None
    least_open: bool = False
    most_open: bool = False


@dataclass(frozen=True)
class Query:
    """What a list of datasets is narrowed to; all of it must fit.

    `projects`: those the asker may see (None: all). `text`: words that each stand somewhere in what is told of a dataset. `tier`: the nearest with
    a full set of copies, as the worker saw it last. `since`, `until`: to the minute. `said`: fields of the metadata with their text (None: any).
    """

    projects: Sequence[str] | None = None
    text: str | None = None
    name: str | None = None
    project: str | None = None
    instrument: str | None = None
    tier: str | None = None
    format: str | None = None
    state: model.DatasetState | None = None
    since: datetime | None = None
    until: datetime | None = None
    tags: Sequence[str] = ()
    said: Sequence[tuple[str, str | None]] = ()
    measured: Sequence[Measured] = ()


@dataclass(frozen=True)
class Value:
    """One value of a facet and how many datasets have it; `more`: at least so many."""

    value: str
    count: int
    more: bool


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


class Searching(Base):
    """Reading the catalog."""

    def search(self, query: Query, limit: int, cursor: Cursor | None = None, sort: Sort = Sort.NEWEST) -> list[model.Dataset]:
        """Datasets that fit, in order, after the cursor."""
        query = self._seen(query)
        ids = self._page(query, limit, cursor, sort)
        found = {d.id: d for d in self._all(model.Dataset, sa.select(t.dataset).where(_D.id.in_(ids)))}
        return [found[i] for i in ids]

    def count(self, query: Query) -> int:
        """How many datasets fit, counted up to `COUNTED` + 1."""
        return self._count(self._fitting(self._seen(query)), COUNTED + 1)

    def facets(self, query: Query) -> dict[str, list[Value]]:
        """How many of the datasets that fit have each project, instrument, tier, format, year, month and tag; the most frequent first, times latest
        first."""
        query = self._seen(query)
        columns = [_D.project, _D.instrument, _D.tier, _D.format, _D.month]
        late = _late(query)
        if late:
            fitting = self._fitting(query, _D.id).limit(_FACETED + 1).cte("fitting").prefix_with("MATERIALIZED", dialect="postgresql")
            cells = sa.select(*columns, sa.func.count().label("n")).join(fitting, fitting.c.id == _D.id)
            tags = sa.select(t.tag.c.tag, sa.func.count()).join(fitting, fitting.c.id == t.tag.c.dataset_id)
        else:
            few = self._few(query)
            cells = sa.select(*columns, sa.func.count().label("n")).where(*self._columns(query, led=few))
            tags = sa.select(t.tag.c.tag, sa.func.count())
            if self._columns(replace(query, projects=None)):
                tags = tags.join(t.dataset, _D.place == t.tag.c.place).where(*self._columns(query, led=few))
            elif query.projects is not None:
                tags = tags.where(self._among(t.tag.c.project, query.projects))
        # All that are alike in every column are counted once, then put together for each column.
        cell = cells.group_by(*columns).cte("cell").prefix_with("MATERIALIZED", dialect="postgresql")
        each = [
            sa.select(sa.literal(column.name), sa.cast(cell.c[column.name], sa.Text), sa.func.sum(cell.c.n)).group_by(cell.c[column.name])
            for column in columns
        ]
        counts: dict[str, dict[str, int]] = {name: {} for name in ("project", "instrument", "tier", "format", "year", "month", "tag")}
        for name, value, n in self.connection.execute(sa.union_all(*each)):
            if name == "month":
                counts["month"][f"{value[:-2]:0>4}-{value[-2:]}"] = n
                counts["year"][f"{value[:-2]:0>4}"] = counts["year"].get(f"{value[:-2]:0>4}", 0) + n
            elif value is not None:
                counts[name][value] = n
        total = sum(counts["year"].values())
        counts["tag"] = {row[0]: row[1] for row in self.connection.execute(tags.group_by(t.tag.c.tag))}
        return {name: _values(name, found, more=late and total > _FACETED) for name, found in counts.items()}

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

    def _called(self, begins: str, projects: Sequence[str] | None) -> list[_Condition]:
        """That a dataset's name begins so, and that it is of one of these projects (None: any)."""
        fits: list[_Condition] = [*_begins(_D.name, begins)]
        if projects is not None:
            few = self._few(Query(projects))
            fits.append(self._among(_D.project if few else self._unled(_D.project), projects))
        return fits

    def _seen(self, query: Query) -> Query:
        """The same query; projects that are all there are mean no condition, and one that is not theirs leaves nothing."""
        if query.projects is None:
            return query
        known = set(self.connection.execute(sa.select(t.project.c.name)).scalars())
        seen = sorted(known.intersection(query.projects))
        if query.project is not None:
            return replace(query, projects=None) if query.project in seen else replace(query, projects=[])
        return replace(query, projects=None if len(seen) == len(known) else seen)

    def _columns(self, query: Query, *, led: bool = True) -> list[_Condition]:
        """What is asked of a dataset's own columns. Not `led`: SQLite shall not choose its way by them."""
        plain: Callable[[Any], Any] = (lambda column: column) if led else self._unled
        fits: list[_Condition] = []
        if query.projects is not None:
            fits.append(self._among(plain(_D.project), query.projects))
        if query.name:
            instrument, slash, name = query.name.partition("/")
            fits += [_D.instrument == instrument, _D.name == name] if slash else [_D.name == query.name]
        for column, value in (
            (_D.project, query.project),
            (_D.instrument, query.instrument),
            (_D.tier, query.tier),
            (_D.format, query.format),
            (_D.state, query.state),
        ):
            if value:
                fits.append(plain(column) == value)
        if query.since:
            fits.append(_D.place >= first_place(query.since))
        if query.until:
            fits.append(_D.place < place_after(query.until))
        return fits

    def _among(self, column: Any, names: Sequence[str]) -> _Condition:
        """One parameter, however many names there are."""
        if len(names) == 1:
            return sa.and_(column == names[0])
        if self._sqlite:
            return sa.and_(column.in_(sa.select(sa.func.json_each(json.dumps(list(names))).table_valued("value").c.value)))
        return sa.and_(column == sa.any_(sa.literal(list(names), postgresql.ARRAY(sa.Text))))

    def _unled(self, column: Any) -> Any:
        """The column in a form for which SQLite uses no index; the other database knows how many rows fit, and is let alone."""
        return column.op("||")("") if self._sqlite else column

    @property
    def _sqlite(self) -> bool:
        return self.connection.dialect.name == "sqlite"

    def _count(self, select: sa.Select[Any], most: int) -> int:
        counted = sa.select(sa.func.count()).select_from(select.limit(most).subquery())
        return int(self.connection.execute(counted).scalar_one())

    def _few(self, query: Query) -> bool:
        """Whether the columns alone leave few datasets."""
        columns = self._columns(query)
        return bool(columns) and self._count(sa.select(_D.id).where(*columns), _FEW) < _FEW

    def _page(self, query: Query, limit: int, cursor: Cursor | None, sort: Sort) -> list[int]:
        """Ids of the datasets of a page."""
        column, down = _ORDERS[sort]
        after = _after(column, cursor, down=down)
        late = _late(query)
        if not late:
            few = self._few(query)
            select = sa.select(_D.id).where(*self._columns(query, led=few), *after)
            return self._ids(select, column, limit, down=down, fetched=few)
        if self._few(query):
            select = self._checked(sa.select(_D.id).where(*self._columns(query), *after), query)
            return self._ids(select, column, limit, down=down, fetched=True)
        words = _indexed(query)
        if words and self._sqlite and column is _D.place:
            select = self._by_words(query, _D.id).where(*after, *_after(_FTS.c.rowid, cursor, down=down)[:1])
            return self._ids(select, _FTS.c.rowid, limit, down=down)
        # The first of them, in order, before an index that gives no order.
        first = sa.select(_D.id, column.label("sorted"), _D.place).where(*self._columns(query, led=False), *after)
        first = first.order_by(column.desc() if down else column, _D.id.desc() if down else _D.id).limit(_NEWEST)
        window = first.cte("window").prefix_with("MATERIALIZED", dialect="postgresql")
        checked = self._checked(sa.select(window.c.id), query, window.c.place, window.c.id)
        found = self._ids(checked, window.c.sorted, limit, down=down, number=window.c.id)
        if len(found) == limit:
            return found
        return self._ids(self._fitting(query, _D.id).where(*after), column, limit, down=down, fetched=True)

    def _ids(self, select: sa.Select[Any], column: Any, limit: int, *, down: bool, fetched: bool = False, number: Any = _D.id) -> list[int]:
        """`fetched`: all that fit are few: they are fetched and sorted, instead of gone through in order until enough fit."""
        first = column + 0 if fetched and self._sqlite and column is not _D.name else column
        order = [first] if column is _FTS.c.rowid else [first, number]  # a place is one dataset's
        return list(self.connection.execute(select.order_by(*(c.desc() if down else c for c in order)).limit(limit)).scalars())

    def _fitting(self, query: Query, *columns: Any) -> sa.Select[Any]:
        """All datasets that fit, by whichever index leads to the fewest."""
        columns = columns or (_D.id,)
        late = _late(query)
        if not late:
            return sa.select(*columns).where(*self._columns(query))
        if self._few(query):
            return self._checked(sa.select(*columns).where(*self._columns(query)), query)
        if _indexed(query):
            return self._by_words(query, *columns)
        rest = self._columns(query, led=False)
        if query.tags:
            first, *others = query.tags
            leading = sa.select(*columns).join_from(t.tag, t.dataset, _D.id == t.tag.c.dataset_id).where(t.tag.c.tag == first, *rest)
            return self._checked(leading, replace(query, tags=others))
        m = t.measure.c
        for one in query.measured:
            if self._count(sa.select(m.place).where(*_measures(one)), _FACETED) == _FACETED:
                continue  # so many have it that most are found soon by going through all
            # A field that holds several numbers leads by the least of those that fit.
            m2 = t.measure.alias()
            less = sa.exists().where(m2.c.place == m.place, m2.c.value < m.value, *_measures(one, m2.c))
            leading = sa.select(*columns).join_from(t.measure, t.dataset, _D.place == m.place).where(*_measures(one), ~less, *rest)
            return self._checked(leading, replace(query, measured=[other for other in query.measured if other is not one]))
        return self._checked(sa.select(*columns).where(*rest), query)

    def _by_words(self, query: Query, *columns: Any) -> sa.Select[Any]:
        """Led by the index of words."""
        words = _indexed(query)
        here = t.search.c.place == _D.place
        if self._sqlite:
            grams = dict.fromkeys(word[at : at + _INDEXED] for word in words for at in range(len(word) - _INDEXED + 1))
            asked = " AND ".join('"' + gram.replace('"', '""') + '"' for gram in grams)
            select = sa.select(*columns).join_from(_FTS, t.dataset, _D.place == _FTS.c.rowid).join(t.search, here)
            select = select.where(_FTS.c.search_fts.op("MATCH")(asked), *self._columns(query, led=False))
        else:
            select = sa.select(*columns).join_from(t.search, t.dataset, here).where(*self._columns(query))
            select = select.where(*(t.search.c.words.like("%" + _literal(word) + "%", escape="\\") for word in words))
        return self._checked(select, query, joined=True)

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


def _after(column: Any, cursor: Cursor | None, *, down: bool) -> list[_Condition]:
    if cursor is None:
        return []
    at, last = cursor
    if down:
        return [column <= at, sa.or_(column < at, _D.id < last)]
    return [column >= at, sa.or_(column > at, _D.id > last)]


def _late(query: Query) -> bool:
    return bool(_words(query) or query.tags or query.measured)


def _words(query: Query) -> list[str]:
    """What must stand among the words: those that were typed, and lines of metadata."""
    lines = [line_of(field, None if value is None else fold(value)) for field, value in query.said]
    return list(dict.fromkeys([*fold(query.text or "").split(), *lines]))


def _indexed(query: Query) -> list[str]:
    return [word for word in _words(query) if len(word) >= _INDEXED]


def _measures(one: Measured, m: Any = t.measure.c) -> list[_Condition]:
    fits: list[_Condition] = [m.field == one.field]
    if one.least is not None:
        fits.append(m.value > one.least if one.least_open else m.value >= one.least)
    if one.most is not None:
        fits.append(m.value < one.most if one.most_open else m.value <= one.most)
    return fits


def _literal(word: str) -> str:
    """A word in a LIKE pattern."""
    return word.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")


def _begins(column: Any, prefix: str) -> list[_Condition]:
    """By bytes: from the prefix to the first text that no longer begins with it."""
    if not prefix:
        return []
    fits = [column >= prefix]
    for at in range(len(prefix) - 1, -1, -1):
        if prefix[at] < "\U0010ffff":
            following = ord(prefix[at]) + 1
            return [*fits, column < prefix[:at] + chr(0xE000 if 0xD800 <= following < 0xE000 else following)]
    return fits


def _values(name: str, counts: dict[str, int], *, more: bool) -> list[Value]:
    by_time = name in {"year", "month"}
    ordered = sorted(counts, reverse=True) if by_time else sorted(counts, key=lambda value: (-counts[value], value))
    return [Value(value, min(counts[value], COUNTED), more or counts[value] > COUNTED) for value in ordered[:_VALUES]]

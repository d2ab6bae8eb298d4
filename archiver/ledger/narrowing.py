"""Narrowing datasets by what their own columns say: whose they are, instrument, tier, format, state, name and time; and how many that leaves.

Law: who may see what is part of each condition (`projects`), in rows and in the tally alike. The tally is how many datasets there are of each
kind in each year and month (triggers keep it as the datasets are): what a range of time leaves is a sum of whole years, whole months and, at its
two ends, the datasets of a month that it cuts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from archiver import model
from archiver.ledger import tables as t
from archiver.ledger.indexing import first_place, place_after
from archiver.ledger.projects import Projects

Condition = sa.ColumnElement[bool]
_D, _N = t.dataset.c, t.tally.c
_NEVER = 10_000  # a year after all


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


class Narrowing(Projects):
    """Conditions on columns, and how many datasets fit them."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        # One that only reads sees one moment.
        self._totals: dict[Query, int] = {}

    def _seen(self, query: Query) -> Query:
        """The same query; projects that are all there are mean no condition, and one that is not theirs leaves nothing."""
        if query.projects is None:
            return query
        known, asked = self.known_projects(), frozenset(query.projects)
        if query.project is not None:
            return replace(query, projects=None if query.project in known and query.project in asked else ())
        seen = tuple(name for name in known if name in asked)
        return replace(query, projects=None if len(seen) == len(known) else seen)

    def _columns(self, query: Query, *, led: bool = True) -> list[Condition]:
        """What is asked of a dataset's own columns. Not `led`: SQLite shall not choose its way by them."""
        plain: Callable[[Any], Any] = (lambda column: column) if led else self._unled
        fits = self._within(plain(_D.project), _D.place, query)
        if query.name:
            instrument, slash, name = query.name.partition("/")
            fits += [_D.instrument == instrument, _D.name == name] if slash else [_D.name == query.name]
        for column, value in (
            (_D.instrument, query.instrument),
            (_D.tier, query.tier),
            (_D.format, query.format),
            (_D.state, query.state),
        ):
            if value:
                fits.append(plain(column) == value)
        return fits

    def _within(self, project: Any, place: Any, query: Query) -> list[Condition]:
        """Whose they are, and when."""
        fits = [] if query.projects is None else [self._among(project, query.projects)]
        if query.project:
            fits.append(project == query.project)
        if query.since:
            fits.append(place >= first_place(query.since))
        if query.until:
            fits.append(place < place_after(query.until))
        return fits

    def _among(self, column: Any, names: Sequence[str]) -> Condition:
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

    def _total(self, query: Query) -> int:
        """How many datasets fit the columns, whatever else is asked."""
        alone = replace(query, text=None, tags=(), said=(), measured=())
        if self.writing or alone not in self._totals:
            if query.name:
                counting = sa.select(sa.func.count()).select_from(t.dataset).where(*self._columns(query))  # a few instruments have it
            else:
                counting = sa.select(sa.func.coalesce(sa.func.sum(self._tallied(query).c.n), 0))
            self._totals[alone] = int(self.connection.execute(counting).scalar_one())
        return self._totals[alone]

    def _until_newest(self, query: Query) -> Query:
        """The same, with an end at the last month that has any: what is newer is not gone through."""
        period = self._tallied(query, months=True).c.period
        newest = self.connection.execute(sa.select(period).order_by(period.desc()).limit(1)).scalar()
        if newest is None or newest // 100 >= _NEVER - 1:
            return query
        after = datetime(newest // 100 + newest % 100 // 12, newest % 100 % 12 + 1, 1, tzinfo=UTC)
        return query if query.until is not None and query.until < after else replace(query, until=after)

    def _tallied(self, query: Query, *, months: bool = False) -> sa.Subquery:
        """Datasets that fit the columns, name aside, as counts by kind and year (`months`: and month)."""
        fits = [] if query.projects is None else [self._among(_N.project, query.projects)]
        for column, value in (
            (_N.project, query.project),
            (_N.instrument, query.instrument),
            (_N.tier, query.tier),
            (_N.format, query.format),
            (_N.state, query.state),
        ):
            if value:
                fits.append(column == value)
        spans, ends = _spans(query.since, query.until, months=months)
        year = _N.period if months else sa.case((_N.period < _NEVER, _N.period), else_=_N.period // 100)
        kinds = (year.label("period"), _N.instrument, _N.tier, _N.format, _N.project, _N.n)
        parts = [sa.select(*kinds).where(*fits, _N.period >= least, _N.period < beyond) for least, beyond in spans]
        for least, beyond in ends:
            columns = [_D.instrument, sa.func.coalesce(_D.tier, "").label("tier"), sa.func.coalesce(_D.format, "").label("format"), _D.project]
            period = (_D.month if months else _D.month // 100).label("period")
            rows = sa.select(period, *columns, sa.literal(1).label("n")).where(*self._columns(replace(query, since=None, until=None), led=False))
            parts.append(rows.where(_D.place >= least, _D.place < beyond))
        return sa.union_all(*parts).subquery() if len(parts) > 1 else parts[0].subquery()


def _spans(since: datetime | None, until: datetime | None, *, months: bool) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """A range of time as periods, from … to (whole years, unless `months`, and whole months), and as places of what it cuts off at its ends."""
    least = 0 if since is None else first_place(since)
    beyond = 2**62 if until is None else place_after(until)
    first = (0, 1) if since is None else _month(since, 0)
    if since is not None and _place(first) < least:
        first = _month(since, 1)
    end = (_NEVER, 1) if until is None else _month(until, 0)
    if first >= end:
        return [], [(least, beyond)]
    ends = [(least, _place(first))] if since is not None else []
    if until is not None:
        ends.append((_place(end), beyond))
    begun, ended = (max(_NEVER, year * 100 + month) for year, month in (first, end))
    years = first[0] + (first[1] > 1), end[0]
    if months or years[0] >= years[1]:
        spans = [(begun, ended)]
    else:
        spans = [years, (begun, max(_NEVER, years[0] * 100)), (max(_NEVER, years[1] * 100), ended)]
    return [span for span in spans if span[0] < span[1]], [places for places in ends if places[0] < places[1]]


def _month(at: datetime, later: int) -> tuple[int, int]:
    at = at.astimezone(UTC)
    return (at.year, at.month + later) if at.month + later < 13 else (at.year + 1, 1)


def _place(month: tuple[int, int]) -> int:
    """The first place of a month."""
    return first_place(datetime(*month, 1, tzinfo=UTC))

"""Narrowing datasets by what their own columns say: whose they are, instrument, tier, format, state, name and time; and how many that leaves.

Law: who may see what is part of each condition (`projects`), in rows and in the tally alike. The tally is how many datasets there are of each
kind in each year and month (triggers keep it as the datasets are): what a range of time leaves is a sum of whole years, whole months and, at its
two ends, the datasets of a month that it cuts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.expression import UnaryExpression
from sqlalchemy.sql.operators import custom_op

from archiver import model
from archiver.ledger import tables as t
from archiver.ledger.indexing import first_place, place_after
from archiver.ledger.projects import Projects

Condition = sa.ColumnElement[bool]
_D, _N = t.dataset.c, t.tally.c
_NEVER = 10_000  # a year after all
Statement = TypeVar("Statement")


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
class Form:
    """What a question asks, without its values: a statement is put together once for each form, and its values are parameters of it."""

    projects: Literal["all", "one", "some"] = "all"
    given: frozenset[str] = frozenset()  # which of project, instrument, tier, format, state, since, until
    named: Literal["", "bare", "full"] = ""
    words: tuple[bool, ...] = ()  # of each, whether the indexes know it
    tags: tuple[int, ...] = ()  # their numbers
    measured: tuple[tuple[int, str, str], ...] = ()  # number, and how its ends are compared

    def at_any_time(self) -> Form:
        return replace(self, given=self.given - {"since", "until"})


@dataclass(frozen=True)
class Tallied:
    """Counts by kind and period: the form of their statement, its values, and the statement itself."""

    key: tuple[Hashable, ...]
    values: dict[str, Any]
    rows: Callable[[], sa.Subquery]


Lead = Literal["", "project", "place"]
_FEW_READ = 200_000  # entries of an index that are read for the few of them that fit
_COLUMNS = ("project", "instrument", "tier", "format", "state")
_KEPT: dict[Hashable, Any] = {}
_MOST_KEPT = 2_000  # some kilobytes each; people ask in far fewer forms


def kept(key: Hashable, make: Callable[[], Statement]) -> Statement:
    """What `make` makes, made once for each key: to put a statement together takes longer than to have a small one answered."""
    found = _KEPT.get(key)
    if found is None:
        if len(_KEPT) >= _MOST_KEPT:
            _KEPT.clear()
        found = _KEPT[key] = make()
    statement: Statement = found
    return statement


def given(name: str, kind: Any = None) -> sa.BindParameter[Any]:
    """A value of a question, in its place in a statement."""
    return sa.bindparam(name, type_=kind)


def form_of_columns(query: Query) -> Form:
    """What a query asks of columns."""
    asked = [name for name in (*_COLUMNS, "since", "until") if getattr(query, name)]
    whose: Literal["all", "one", "some"] = "all" if query.projects is None else "one" if len(query.projects) == 1 else "some"
    return Form(whose, frozenset(asked), "" if not query.name else "full" if "/" in query.name else "bare")


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

    def _column_values(self, query: Query) -> dict[str, Any]:
        """The values of a query's columns, by the names that `given` has for them."""
        values: dict[str, Any] = {name: getattr(query, name) for name in _COLUMNS}
        if query.projects is not None:
            names = list(query.projects)
            values["projects"] = names[0] if len(names) == 1 else json.dumps(names) if self._sqlite else names
        instrument, slash, name = (query.name or "").partition("/")
        values["named"], values["named_instrument"] = (name, instrument) if slash else (query.name, None)
        values["since"] = None if query.since is None else first_place(query.since)
        values["until"] = None if query.until is None else place_after(query.until)
        return values

    def _columns(self, form: Form, *, led: bool = True, by: Lead = "") -> list[Condition]:
        """What is asked of a dataset's own columns. Not `led`: SQLite shall not choose its way by them. `by`: by these alone, if any are said."""

        def plain(column: Any) -> Any:
            return column if led and by in {"", column.name} else self._unled(column)

        fits = [plain(_D[name]) == given(name, _D[name].type) for name in _COLUMNS[1:] if name in form.given]
        if form.named:
            fits += [_D.instrument == given("named_instrument")] if form.named == "full" else []
            fits.append(_D.name == given("named"))
        return [*fits, *self._within(plain(_D.project), plain(_D.place) if by else _D.place, form)]

    def _lead(self, query: Query) -> Lead:
        """What SQLite, which does not count before it goes, looks few datasets up by: the asker's projects or the time, whichever leaves fewer."""
        if not self._sqlite or query.name or (query.projects is None and query.project is None):
            return ""
        of_projects = self._total(Query(query.projects, project=query.project))
        timed = query.since is not None or query.until is not None
        if timed and self._total(Query(since=query.since, until=query.until)) < of_projects:
            return "place"
        return "project" if of_projects < _FEW_READ else ""

    def _within(self, project: Any, place: Any, form: Form) -> list[Condition]:
        """Whose they are, and when."""
        fits = self._of_projects(project, form)
        if "project" in form.given:
            fits.append(project == given("project", t.Text))
        return [*fits, *self._during(place, form)]

    def _during(self, place: Any, form: Form) -> list[Condition]:
        fits: list[Condition] = []
        if "since" in form.given:
            fits.append(place >= given("since", sa.BigInteger))
        if "until" in form.given:
            fits.append(place < given("until", sa.BigInteger))
        return fits

    def _of_projects(self, column: Any, form: Form) -> list[Condition]:
        """One parameter, however many projects there are."""
        if form.projects == "all":
            return []
        if form.projects == "one":
            return [column == given("projects", t.Text)]
        if self._sqlite:
            return [column.in_(sa.select(sa.func.json_each(given("projects", sa.Text)).table_valued("value").c.value))]
        return [column == sa.any_(given("projects", postgresql.ARRAY(sa.Text)))]

    def _unled(self, column: Any) -> Any:
        """The column in a form for which SQLite uses no index; the other database knows how many rows fit, and is let alone."""
        return UnaryExpression(column, operator=custom_op("+"), type_=column.type) if self._sqlite else column

    @property
    def _sqlite(self) -> bool:
        return self.connection.dialect.name == "sqlite"

    def _total(self, query: Query) -> int:
        """How many datasets fit the columns, whatever else is asked."""
        alone = replace(query, text=None, tags=(), said=(), measured=())
        if self.writing or alone not in self._totals:
            form, values = form_of_columns(alone), self._column_values(alone)
            if query.name:  # a few instruments have it
                every = sa.select(sa.func.count()).select_from(t.dataset)
                counting = kept(("named", self._sqlite, form), lambda: every.where(*self._columns(form)))
            else:
                tallied = self._tallied(alone)
                values |= tallied.values
                counting = kept(("total", *tallied.key), lambda: sa.select(sa.func.coalesce(sa.func.sum(tallied.rows().c.n), 0)))
            self._totals[alone] = int(self.connection.execute(counting, values).scalar_one())
        return self._totals[alone]

    def _until_newest(self, query: Query) -> Query:
        """The same, with an end at the last month that has any: what is newer is not gone through."""
        since, until = (_whole(at, later) for at, later in ((query.since, 0), (query.until, 1)))
        tallied = self._tallied(replace(query, since=since, until=until), months=True)  # of the tally alone: only its newest is read

        def latest() -> sa.Select[Any]:
            period = tallied.rows().c.period
            return sa.select(period).order_by(period.desc()).limit(1)

        newest = self.connection.execute(kept(("latest", *tallied.key), latest), tallied.values).scalar()
        if newest is None or newest // 100 >= _NEVER - 1:
            return query
        after = datetime(newest // 100 + newest % 100 // 12, newest % 100 % 12 + 1, 1, tzinfo=UTC)
        return query if query.until is not None and query.until < after else replace(query, until=after)

    def _tallied(self, query: Query, *, months: bool = False) -> Tallied:
        """Datasets that fit the columns, name aside, as counts by kind and year (`months`: and month)."""
        form = form_of_columns(replace(query, name=None))
        spans, ends = _spans(query.since, query.until, months=months)
        values = self._column_values(query)
        for number, (least, beyond) in enumerate((*spans, *ends)):
            values |= {f"least_{number}": least, f"beyond_{number}": beyond}
        rows = partial(self._tallied_rows, form.at_any_time(), len(spans), len(ends), months=months)
        return Tallied((self._sqlite, form, len(spans), len(ends), months), values, rows)

    def _tallied_rows(self, form: Form, spans: int, ends: int, *, months: bool) -> sa.Subquery:
        fits = self._of_projects(_N.project, form)
        fits += [_N[name] == given(name) for name in _COLUMNS if name in form.given]
        year = _N.period if months else sa.case((_N.period < _NEVER, _N.period), else_=_N.period // 100)
        kinds = (year.label("period"), _N.instrument, _N.tier, _N.format, _N.project, _N.n)
        parts = []
        for number in range(spans + ends):
            least, beyond = given(f"least_{number}", sa.BigInteger), given(f"beyond_{number}", sa.BigInteger)
            if number < spans:
                parts.append(sa.select(*kinds).where(*fits, _N.period >= least, _N.period < beyond))
                continue
            columns = [_D.instrument, sa.func.coalesce(_D.tier, "").label("tier"), sa.func.coalesce(_D.format, "").label("format"), _D.project]
            period = (_D.month if months else _D.month // 100).label("period")
            rows = sa.select(period, *columns, sa.literal(1).label("n")).where(*self._columns(form, led=False))
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


def _whole(at: datetime | None, later: int) -> datetime | None:
    """The first moment of its month, or of the next."""
    year, month = (_NEVER, 1) if at is None else _month(at, later)
    return None if year == _NEVER else datetime(year, month, 1, tzinfo=UTC)


def _place(month: tuple[int, int]) -> int:
    """The first place of a month."""
    return first_place(datetime(*month, 1, tzinfo=UTC))

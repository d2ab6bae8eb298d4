"""Counting the catalog: how many datasets fit, and how many of them have each value of a facet.

Law: who may see what is part of each count (`projects`), so none can tell of what is not theirs. What columns and times leave is summed up from
tallies, whatever the range; what words, tags and numbers leave is counted up to `COUNTED`, the newest of it. More than that is said to be more.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from archiver.ledger import tables as t
from archiver.ledger.narrowing import Form, Lead, Query, Tallied, form_of_columns, given, kept
from archiver.ledger.searching import Searching, form_of, late

COUNTED = 10_000
"""Datasets are counted up to here; beyond, there are more than that."""
_VALUES = 200  # of one facet
_MONTHS = 24  # the latest
_TAGGED = 2_000  # of many datasets: the newest tags
FACETS = ("project", "instrument", "tier", "format", "year", "month", "tag")

_D = t.dataset.c
_FACETED = (_D.project, _D.instrument, _D.tier, _D.format, _D.month)


@dataclass(frozen=True)
class Value:
    """One value of a facet and how many datasets have it; `more`: at least so many."""

    value: str
    count: int
    more: bool


class Counting(Searching):
    """Counts and facets."""

    def count(self, query: Query) -> int:
        """How many datasets fit, counted up to `COUNTED` + 1."""
        query = self._seen(query)
        total = self._total(query)
        if not late(query) or not total:
            return min(total, COUNTED + 1)
        way, make = self._fitting(query, _D.id, ordered=False)
        form = form_of(query)

        def counting() -> sa.Select[Any]:
            return sa.select(sa.func.count()).select_from(make(form)[0].limit(given("most", sa.Integer)).subquery())

        values = {**self._values(query), "most": COUNTED + 1}
        return int(self.connection.execute(kept(("count", way, self._sqlite, form), counting), values).scalar_one())

    def facets(self, query: Query) -> dict[str, list[Value]]:
        """How many of the datasets that fit have each project, instrument, tier, format, year, month and tag; the most frequent first, times latest
        first."""
        query = self._seen(query)
        if late(query) or query.name:
            return self._of_newest(query)
        return self._of_all(query) if self._total(query) else _told({})

    def _of_newest(self, query: Query) -> dict[str, list[Value]]:
        """Of what fits words, tags, numbers or a name."""
        way, make = self._fitting(query, _D.id, *_FACETED)
        form = form_of(query)
        counting = kept(("facets", way, self._sqlite, form), lambda: _counted(*make(form)))
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for name, value, n in self.connection.execute(counting, {**self._values(query), "most": COUNTED + 1}).all():
            if name == "month":
                counts["month"][_month(int(value))] = n
                counts["year"][_month(int(value))[:4]] += n
            elif value is not None:
                counts[name][value] = n
        return _told(counts, more=counts["project"].total() > COUNTED)

    def _of_all(self, query: Query) -> dict[str, list[Value]]:
        """Of what fits the columns."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        years = self._tallied(query)
        for year, instrument, tier, kind, n in self._summed(years, "period", "instrument", "tier", "format"):
            for name, value in (("year", f"{year:04}"), ("instrument", instrument), ("tier", tier), ("format", kind)):
                if value:
                    counts[name][value] += n
        for value, n in self._summed(years, "project"):
            counts["project"][value] = n
        for value, n in self._latest_months(query, [int(year) for year in counts["year"]]):
            counts["month"][_month(value)] = n
        looked_at = 0
        few, form = self._total(query) <= COUNTED, form_of_columns(query)
        by = self._lead(query) if few else ""
        tags = kept(("tags", few, by, self._sqlite, form), lambda: self._tags(form, few=few, by=by))
        for value, n, of in self.connection.execute(tags, {**self._column_values(query), "most": _TAGGED + 1}).all():
            looked_at += of
            if n:
                counts["tag"][value] = n
        return _told(counts, more_tags=looked_at > _TAGGED)

    def _latest_months(self, query: Query, years: Collection[int]) -> Sequence[Any]:
        """Counts by month, of the latest that have any: mostly of the last three years. `years`: those that have any."""
        first = max(years) - 2
        if min(years) >= first:
            return self._summed(self._tallied(query, months=True), "period", latest=_MONTHS)
        since = datetime(first, 1, 1, tzinfo=UTC)
        found = self._summed(self._tallied(replace(query, since=since), months=True), "period", latest=_MONTHS)
        if len(found) == _MONTHS:
            return found
        return [*found, *self._summed(self._tallied(replace(query, until=since), months=True), "period", latest=_MONTHS - len(found))]

    def _summed(self, tallied: Tallied, *names: str, latest: int | None = None) -> Sequence[Any]:
        """Counts by what is named; `latest`: of so many of the last periods."""

        def sums() -> sa.Select[Any]:
            cell = tallied.rows().c
            by = [cell[name] for name in names]
            summed = sa.select(*by, sa.func.sum(cell.n)).group_by(*by)
            return summed if latest is None else summed.order_by(cell.period.desc()).limit(given("latest", sa.Integer))

        form = kept(("sums", names, latest is None, *tallied.key), sums)
        return self.connection.execute(form, {**tallied.values, "latest": latest}).all()

    def _tags(self, form: Form, *, few: bool, by: Lead) -> sa.Select[Any]:
        """(tag, how many fit, how many were looked at): of many datasets, the newest tags."""
        g, fits = t.tag.c, self._columns(replace(form, projects="all", given=form.given - {"project", "since", "until"}))
        if few:
            found = sa.select(g.tag, sa.func.count(), sa.literal(0)).join_from(t.dataset, t.tag, _D.id == g.dataset_id)
            return found.where(*self._columns(form, by=by)).group_by(g.tag)
        newest = sa.select(g.tag, g.place).where(*self._within(g.project, g.place, form)).order_by(g.place.desc())
        some = newest.limit(given("most", sa.Integer)).subquery()
        joined = some.outerjoin(t.dataset, sa.and_(_D.place == some.c.place, *fits)) if fits else some
        counted = sa.func.count(_D.id) if fits else sa.func.count()
        return sa.select(some.c.tag, counted, sa.func.count()).select_from(joined).group_by(some.c.tag)


def _counted(fitting: sa.Select[Any], order: Any) -> sa.CompoundSelect[Any]:
    """(facet, value, count) of the newest of what fits."""
    newest = fitting.order_by(order.desc()).limit(given("most", sa.Integer)).cte("fitting").prefix_with("MATERIALIZED", dialect="postgresql")
    # All that are alike in every column are counted once, then put together for each column.
    alike = [newest.c[column.name] for column in _FACETED]
    cell = sa.select(*alike, sa.func.count().label("n")).group_by(*alike).cte("cell").prefix_with("MATERIALIZED", dialect="postgresql")
    each = [
        sa.select(sa.literal(column.name), sa.cast(cell.c[column.name], sa.Text), sa.func.sum(cell.c.n)).group_by(cell.c[column.name])
        for column in _FACETED
    ]
    tags = sa.select(sa.literal("tag"), t.tag.c.tag, sa.func.count()).join_from(
        newest, t.tag, t.tag.c.dataset_id == newest.c.id + 0
    )  # led by what fits
    return sa.union_all(*each, tags.group_by(t.tag.c.tag))


def _month(period: int) -> str:
    return f"{period // 100:04}-{period % 100:02}"


def _told(counts: Mapping[str, Counter[str]], *, more: bool = False, more_tags: bool = False) -> dict[str, list[Value]]:
    return {name: _values(name, counts.get(name, {}), more=more or (more_tags and name == "tag")) for name in FACETS}


def _values(name: str, counts: Mapping[str, int], *, more: bool) -> list[Value]:
    by_time = name in {"year", "month"}
    ordered = sorted(counts, reverse=True) if by_time else sorted(counts, key=lambda value: (-counts[value], value))
    return [Value(value, min(counts[value], COUNTED), more or counts[value] > COUNTED) for value in ordered[:_VALUES]]

"""Who did what, over all that is written down: events of datasets, changes of projects, and deeds that belong to neither.

Law: without a dataset only what people did is looked through, by an index that holds nothing else; with one, all of its history.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any

import sqlalchemy as sa

from archiver import model
from archiver.ledger import tables as t
from archiver.ledger.base import Base

_EVENTS, _PROJECTS, _DEEDS = range(3)
_PROJECT_CHANGED = "project.changed"

Place = tuple[datetime, int, int]
"""Time, source and number of a deed: all are in order by them."""


@dataclass(frozen=True)
class Sought:
    """What deeds are looked for. `kind`: its beginning."""

    actor: str = ""
    kind: str = ""
    since: datetime | None = None
    until: datetime | None = None
    dataset_id: int | None = None


class Audit(Base):
    """Finding who did what."""

    def deeds(self, sought: Sought, limit: int, before: Place | None = None) -> list[model.Deed]:
        """Deeds that fit, newest first, `before` a place. Of each source no more than `limit` are read."""
        if sought.dataset_id is not None:
            return self._events(sought, limit, before)
        found = [*self._events(sought, limit, before), *self._projects(sought, limit, before), *self._others(sought, limit, before)]
        return sorted(found, key=lambda one: (one.at, *one.place), reverse=True)[:limit]

    def _events(self, sought: Sought, limit: int, before: Place | None) -> list[model.Deed]:
        c = t.event.c
        if sought.dataset_id is None:
            select = _fitting(t.event, _EVENTS, sought, before, c.kind).where(sa.text(t.BY_PEOPLE))
            select = select.order_by(c.at.desc(), c.id.desc())
        else:  # its history is in the order of its numbers
            select = _fitting(t.event, _EVENTS, sought, None, c.kind).where(c.dataset_id == sought.dataset_id)
            select = (select if before is None else select.where(c.seq < before[2])).order_by(c.seq.desc())
        page = self._all(model.Event, select.limit(limit))
        d = t.dataset.c
        named = sa.select(d.id, d.instrument, d.name).where(d.id.in_({event.dataset_id for event in page}))
        names = {row[0]: f"{row[1]}/{row[2]}" for row in self.connection.execute(named)}
        number = attrgetter("id" if sought.dataset_id is None else "seq")
        return [model.Deed(e.at, e.actor, e.kind, names[e.dataset_id], e.detail, (_EVENTS, number(e)), e.dataset_id) for e in page]

    def _projects(self, sought: Sought, limit: int, before: Place | None) -> list[model.Deed]:
        if not _PROJECT_CHANGED.startswith(sought.kind):
            return []
        select = _fitting(t.project_change, _PROJECTS, sought, before)
        page = self._all(model.ProjectChange, _newest_of(t.project_change, select, limit))
        return [model.Deed(c.at, c.actor, _PROJECT_CHANGED, c.project, c.detail, (_PROJECTS, c.id)) for c in page]

    def _others(self, sought: Sought, limit: int, before: Place | None) -> list[model.Deed]:
        select = _fitting(t.deed, _DEEDS, sought, before, t.deed.c.kind)
        rows: Iterable[Any] = self.connection.execute(_newest_of(t.deed, select, limit))
        return [model.Deed(row.at, row.actor, row.kind, row.about, row.detail, (_DEEDS, row.id)) for row in rows]


def _newest_of(table: sa.Table, select: sa.Select[Any], limit: int) -> sa.Select[Any]:
    return select.order_by(table.c.at.desc(), table.c.id.desc()).limit(limit)


def _fitting(table: sa.Table, source: int, sought: Sought, before: Place | None, kind: sa.Column[Any] | None = None) -> sa.Select[Any]:
    c, select = table.c, sa.select(table)
    if sought.actor:
        select = select.where(c.actor == sought.actor)
    if sought.kind and kind is not None:
        select = select.where(kind.startswith(sought.kind, autoescape=True))
    if sought.since is not None:
        select = select.where(c.at >= sought.since)
    if sought.until is not None:
        select = select.where(c.at <= sought.until)
    if before is not None:
        at, its_source, number = before
        same = sa.true() if source < its_source else sa.and_(sa.true() if source == its_source else sa.false(), c.id < number)
        select = select.where(c.at <= at, sa.or_(c.at < at, same))
    return select

"""Leases: who has a piece of work in hand, and until when. So several workers on one ledger share what is due.

Law: a lease spares work, it never guards truth: that is the compare-and-set of each change of state. Work is free when nobody has it,
when its lease is over, or when its lease ends later than any that is given (a clock that was wrong gave it). On PostgreSQL rows that
another has just locked are passed over (SKIP LOCKED); on SQLite a writer is alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from archiver import model
from archiver.ledger import tables as t
from archiver.ledger.endings import Endings
from archiver.ledger.work import Work

_LEASED = (t.transfer, t.dataset, t.chore, t.snapshot)


@dataclass(frozen=True)
class Lease:
    """A worker's name, and for how long what it takes is its own."""

    by: str
    span: timedelta


class Leases(Work, Endings):
    """Taking work, renewing it, giving it back."""

    def take_transfers(
        self, lease: Lease, limit: int, without: set[int], caps: Mapping[str, int] = MappingProxyType({}), *, sent: bool = False
    ) -> list[model.Transfer]:
        """Transfers that are due and that nobody has, in turn: this worker's from now on. `sent`: what was sent from outside, else what is copied."""
        found = self.transfers_due(limit, without, caps, free=self._free(t.transfer, lease), sent=sent)
        until = self._take(t.transfer, [one.id for one in found], lease)
        return [replace(one, lease_by=lease.by, lease_until=until) for one in found]

    def take_alike(self, lease: Lease, one: model.Transfer, without: Collection[int], below_bytes: int, limit: int) -> list[model.Transfer]:
        """Transfers of small objects that are as `one` (dataset, tier, priority, user; planned, or sent from outside) and that nobody has: this
        worker's from now on."""
        c = t.transfer.c
        same = ("dataset_id", "tier", "priority")
        alike = sa.and_(*(c[name] == getattr(one, name) for name in same), c.user.is_not_distinct_from(one.user))
        kind = c.source_uri.is_(None) if one.source_uri is None else c.source_uri.startswith(model.UPLOAD_URI, autoescape=True)
        ready = sa.and_(c.state == one.state, kind, c.next_try_at <= self.at, c.id.not_in(without))
        small = sa.and_(t.object_.c.size_bytes < below_bytes, t.object_.c.kind == model.ObjectKind.FILE)
        select = sa.select(t.transfer).join(t.object_).where(alike, ready, small, self._free(t.transfer, lease)).order_by(c.id).limit(limit)
        found = self._all(model.Transfer, select.with_for_update(skip_locked=True, of=t.transfer, key_share=True))
        until = self._take(t.transfer, [found_.id for found_ in found], lease)
        return [replace(found_, lease_by=lease.by, lease_until=until) for found_ in found]

    def take_datasets_with_drops(self, lease: Lease, tiers: Collection[str], without: Collection[int], limit: int) -> list[tuple[int, str]]:
        """(dataset id, tier) that have drops to carry out in these tiers and that nobody has: this worker's or reaper's from now on."""
        c = t.dataset.c
        due = dict(self.datasets_to_drop(tiers, without, limit, free=self._free(t.dataset, lease)))
        select = sa.select(c.id).where(c.id.in_(due), self._free(t.dataset, lease)).order_by(c.id)
        ids = list(self.connection.execute(select.with_for_update(skip_locked=True, key_share=True)).scalars())
        self._take(t.dataset, ids, lease)
        return [(dataset_id, due[dataset_id]) for dataset_id in ids]

    def take_datasets_closing(self, lease: Lease, limit: int) -> list[int]:
        """Datasets that shall close, of which nothing is still to arrive or be looked into, and that nobody has: this worker's from now on."""
        c, f = t.dataset.c, t.file.c
        pending = sa.exists().where(
            f.dataset_id == c.id, sa.or_(f.state == model.FileState.ARRIVING, f.metadata_state == model.MetadataState.WAITING)
        )
        ready = sa.and_(c.closing_at.is_not(None), c.state == model.DatasetState.OPEN, ~pending, self._free(t.dataset, lease))
        select = sa.select(c.id).where(ready).order_by(c.closing_at, c.id).limit(limit)
        ids = list(self.connection.execute(select.with_for_update(skip_locked=True, key_share=True)).scalars())
        self._take(t.dataset, ids, lease)
        return ids

    def take_look(self, dataset_id: int) -> bool:
        """Whether this dataset is to be looked at by this transaction: it is still due, and no other looks at it just now."""
        c = t.dataset.c
        select = sa.select(c.id).where(c.id == dataset_id, c.look_at <= self.at)
        return self.connection.execute(select.with_for_update(skip_locked=True, key_share=True)).first() is not None

    def take_chore(self, name: str, lease: Lease) -> bool:
        """Whether a chore is due and nobody's: then it is this worker's from now on. One that is new is due at once."""
        c = t.chore.c
        if self.connection.execute(sa.select(c.name).where(c.name == name)).first() is None:
            insert = sqlite.insert if self.connection.dialect.name == "sqlite" else postgresql.insert
            self.connection.execute(insert(t.chore).values(name=name, due_at=self.at).on_conflict_do_nothing())
        select = sa.select(c.name).where(c.name == name, c.due_at <= self.at, self._free(t.chore, lease))
        if self.connection.execute(select.with_for_update(skip_locked=True)).first() is None:
            return False
        self.connection.execute(sa.update(t.chore).where(c.name == name).values(lease_by=lease.by, lease_until=self.at + lease.span))
        return True

    def chores_due(self, names: Collection[str]) -> list[str]:
        """Those that are due, or new."""
        c = t.chore.c
        later = set(self.connection.execute(sa.select(c.name).where(c.due_at > self.at)).scalars())
        return [name for name in names if name not in later]

    def chores(self) -> list[tuple[str, datetime | None, datetime, str | None]]:
        """(name, when it ended last, when it is due, what went wrong last) of each."""
        c = t.chore.c
        rows = self.connection.execute(sa.select(c.name, c.ended_at, c.due_at, c.error).order_by(c.name))
        return [(row[0], row[1], row[2], row[3]) for row in rows]

    def end_chore(self, name: str, due_at: datetime, error: str | None) -> None:
        """A chore has ended, well or with an error; it comes back at `due_at`."""
        values = {"due_at": due_at, "ended_at": self.at, "error": error, "lease_by": None, "lease_until": None}
        self.connection.execute(sa.update(t.chore).where(t.chore.c.name == name).values(**values))

    def renew(self, lease: Lease) -> int:
        """Have all that this worker has in hand for another span; returns how much it is. What is locked just now has its turn next time."""
        renewed = 0
        for table in _LEASED:
            key = _key(table)
            select = sa.select(key).where(table.c.lease_by == lease.by).with_for_update(skip_locked=True, key_share=True)
            mine = list(self.connection.execute(select).scalars())
            renewed += len(mine)
            self._take(table, mine, lease)
        return renewed

    def give_back(self, lease: Lease, *, transfers: Collection[int] = (), datasets: Collection[int] = ()) -> None:
        """This worker has these in hand no more. Ended transfers need not be given back."""
        for table, ids in ((t.transfer, transfers), (t.dataset, datasets)):
            if ids:
                self._release(table, table.c.lease_by == lease.by, table.c.id.in_(ids))

    def give_all_back(self, by: str) -> None:
        """A worker has ended."""
        for table in _LEASED:
            self._release(table, table.c.lease_by == by)

    def lessees(self) -> set[str]:
        """The names of those that have work in hand."""
        selects = (sa.select(table.c.lease_by).where(table.c.lease_by.is_not(None)) for table in _LEASED)
        return set(self.connection.execute(sa.union(*selects)).scalars())

    def _free(self, table: sa.Table, lease: Lease) -> sa.ColumnElement[bool]:
        c = table.c
        never_given = self.at + 2 * lease.span
        return sa.or_(c.lease_by.is_(None), c.lease_by == lease.by, c.lease_until <= self.at, c.lease_until > never_given)

    def _take(self, table: sa.Table, keys: Collection[Any], lease: Lease) -> datetime:
        until = self.at + lease.span
        if keys:
            self.connection.execute(sa.update(table).where(_key(table).in_(keys)).values(lease_by=lease.by, lease_until=until))
        return until

    def _release(self, table: sa.Table, *which: sa.ColumnElement[bool]) -> None:
        self.connection.execute(sa.update(table).where(*which).values(lease_by=None, lease_until=None))


def _key(table: sa.Table) -> sa.Column[Any]:
    return next(iter(table.primary_key.columns))

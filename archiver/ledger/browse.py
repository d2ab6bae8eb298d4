"""Reading the ledger for people: lists with filters and cursors, one query for a page, never one for a row.

Law: who may see what is part of the query itself (`projects`), so a count or a page can't tell of what is not theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from archiver import model
from archiver.ledger import tables as t
from archiver.ledger.base import Base

_LIVES = t.file.c.state != model.FileState.ERASED


@dataclass(frozen=True)
class Coverage:
    """How many of a dataset's files have a live copy in a tier, their own or in a bundle, and their bytes."""

    dataset_id: int
    tier: str
    files: int
    size_bytes: int


class Browse(Base):
    """Lists and counts."""

    def coverage(self, dataset_ids: Iterable[int]) -> list[Coverage]:
        """Live copies per dataset and tier, for a page of datasets at once; a copy with a drop under way does not count."""
        return [Coverage(*row) for row in self.connection.execute(_COVERAGE, {"ids": list(dataset_ids)})]

    def rarely(self, dataset_ids: Iterable[int]) -> dict[str, list[int]]:
        """Which of these datasets may have what most have not: claims, restores, problems, comments and tags need be looked up for them only."""
        found: dict[str, list[int]] = {what: [] for what in _RARE}
        for what, dataset_id in self.connection.execute(_RARELY, {"ids": list(dataset_ids)}):
            found[what].append(dataset_id)
        return found

    def stored_claims(self, dataset_ids: Iterable[int]) -> list[model.Claim]:
        """Claims of these datasets that are not over."""
        c, ids = t.claim.c, list(dataset_ids)
        if not ids:
            return []
        lasting = sa.and_(c.ended_at.is_(None), sa.or_(c.until.is_(None), c.until > self.at))
        return self._all(model.Claim, sa.select(t.claim).where(c.dataset_id.in_(ids), lasting).order_by(c.id))

    def open_restores(self, dataset_ids: Iterable[int]) -> list[model.Restore]:
        """Restores of these datasets that have not ended, oldest first."""
        c, ids = t.restore.c, list(dataset_ids)
        if not ids:
            return []
        select = sa.select(t.restore).where(c.dataset_id.in_(ids), c.state.in_(model.active(model.RESTORE_CHANGES)))
        return self._all(model.Restore, select.order_by(c.id))

    def problems(self, dataset_ids: Iterable[int]) -> dict[int, str]:
        """Why a dataset is not as it should be: its transfers that wait for a person."""
        c, ids = t.transfer.c, list(dataset_ids)
        if not ids:
            return {}
        select = sa.select(c.dataset_id, sa.func.count(), sa.func.max(c.error)).where(
            c.dataset_id.in_(ids), c.state == model.TransferState.QUARANTINED
        )
        return {row[0]: f"{row[1]} transfer(s) gave up: {row[2]}" for row in self.connection.execute(select.group_by(c.dataset_id))}

    def restores(
        self,
        projects: Sequence[str] | None,
        dataset_id: int | None,
        user: str | None,
        limit: int,
        *,
        own: Sequence[str] | None = None,
        viewer: str = "",
    ) -> list[model.Restore]:
        """Restores in these projects (None: all), newest first; outside of the `viewer`'s `own` ones (None: all are) only theirs."""
        select = sa.select(t.restore).join(t.dataset).order_by(t.restore.c.id.desc()).limit(limit)
        if projects is not None:
            select = select.where(t.dataset.c.project.in_(projects))
        if own is not None:
            select = select.where(sa.or_(t.dataset.c.project.in_(own), t.restore.c.user == viewer))
        if dataset_id is not None:
            select = select.where(t.restore.c.dataset_id == dataset_id)
        if user is not None:
            select = select.where(t.restore.c.user == user)
        return self._all(model.Restore, select)

    def restores_going(self, limit: int, before_id: int | None = None) -> list[model.Restore]:
        """Restores that are under way or there, newest first; those that wait for an admin are `undecided`."""
        c = t.restore.c
        states = set(model.active(model.RESTORE_CHANGES)) - {model.RestoreState.AWAITING_APPROVAL}
        return self._latest(sa.select(t.restore).where(c.state.in_(sorted(states))), limit, before_id)

    def restores_ended(self, limit: int, before_id: int | None = None) -> list[model.Restore]:
        """Restores that have ended, newest first. (By their end, not by state: nearly all have one, so the first that are met are the answer.)"""
        return self._latest(sa.select(t.restore).where(t.restore.c.ended_at.is_not(None)), limit, before_id)

    def _latest(self, select: sa.Select[Any], limit: int, before_id: int | None) -> list[model.Restore]:
        c = t.restore.c
        return self._all(model.Restore, (select if before_id is None else select.where(c.id < before_id)).order_by(c.id.desc()).limit(limit))

    def list_transfers(self, state: model.TransferState | None, dataset_id: int | None, limit: int) -> list[model.Transfer]:
        """Transfers, newest first: in one state, or all that have not ended."""
        c = t.transfer.c
        select = sa.select(t.transfer).where(c.state.in_(model.active(model.TRANSFER_CHANGES)) if state is None else c.state == state)
        if dataset_id is not None:
            select = select.where(c.dataset_id == dataset_id)
        return self._all(model.Transfer, select.order_by(c.id.desc()).limit(limit))

    def transfers_in(self, state: model.TransferState, limit: int, after: tuple[datetime, int] | None = None) -> list[model.Transfer]:
        """Transfers in one state in the order in which they are, or were, to be tried: after a (time, number)."""
        c = t.transfer.c
        select = sa.select(t.transfer).where(c.state == state)
        if after is not None:
            at, number = after
            select = select.where(c.next_try_at >= at, sa.or_(c.next_try_at > at, c.id > number))
        return self._all(model.Transfer, select.order_by(c.next_try_at, c.id).limit(limit))

    def count_transfers(self, state: model.TransferState) -> int:
        """How many transfers are in a state."""
        return int(self.connection.execute(sa.select(sa.func.count()).select_from(t.transfer).where(t.transfer.c.state == state)).scalar_one())

    def file_copies(self, file_ids: Iterable[int]) -> list[tuple[int, int | None, model.Copy]]:
        """Live copies in which the bytes of files stand, as (file id, offset in a bundle or None, copy)."""
        ids = list(file_ids)
        own = (
            sa.select(t.file.c.id.label("file_id"), sa.null().label("offset_bytes"), t.copy)
            .join_from(t.file, t.copy, t.copy.c.object_id == t.file.c.object_id)
            .where(t.file.c.id.in_(ids), t.copy.c.dropped_at.is_(None))
            .order_by(t.copy.c.id)
        )
        bundled = (
            sa.select(t.file.c.id.label("file_id"), t.member.c.offset_bytes, t.copy)
            .join_from(t.file, t.member, t.member.c.object_id == t.file.c.object_id)
            .join(t.copy, t.copy.c.object_id == t.member.c.bundle_id)
            .where(t.file.c.id.in_(ids), t.copy.c.dropped_at.is_(None))
            .order_by(t.copy.c.id)
        )
        found = []
        for row in (*self.connection.execute(own), *self.connection.execute(bundled)):
            values: dict[str, Any] = dict(row._mapping)  # noqa: SLF001
            found.append((values.pop("file_id"), values.pop("offset_bytes"), model.Copy(**values)))
        return found

    def datasets_numbered(self, dataset_ids: Iterable[int]) -> dict[int, model.Dataset]:
        """Datasets by their numbers, for a page at once."""
        found = self._all(model.Dataset, sa.select(t.dataset).where(t.dataset.c.id.in_(list(dataset_ids))))
        return {dataset.id: dataset for dataset in found}

    def given_up(self, dataset_ids: Iterable[int], tier: str) -> list[tuple[int, str, str]]:
        """Files whose transfer into a tier waits for a person, as (dataset id, path, reason)."""
        c = t.transfer.c
        select = (
            sa.select(t.file.c.dataset_id, t.file.c.path, sa.func.coalesce(c.error, "unknown"))
            .join_from(t.transfer, t.file, t.file.c.object_id == c.object_id)
            .where(c.dataset_id.in_(list(dataset_ids)), c.tier == tier, c.state == model.TransferState.QUARANTINED)
            .order_by(t.file.c.id)
        )
        return [(row[0], row[1], row[2]) for row in self.connection.execute(select)]

    def instruments_of(self, projects: Sequence[str] | None) -> list[str]:
        """The instruments that have datasets in these projects (None: all)."""
        c = t.tally.c  # its rows of years: a few for each project
        select = sa.select(c.instrument).where(c.period < 10_000).distinct().order_by(c.instrument)
        return list(self.connection.execute(select if projects is None else select.where(c.project.in_(projects))).scalars())

    def history(self, dataset_id: int, limit: int, *, after_seq: int = 0) -> list[model.Event]:
        """A dataset's events after `after_seq`, oldest first."""
        c = t.event.c
        return self._all(model.Event, sa.select(t.event).where(c.dataset_id == dataset_id, c.seq > after_seq).order_by(c.seq).limit(limit))

    def latest_events(self, dataset_id: int, limit: int) -> list[model.Event]:
        """A dataset's last events, newest first."""
        c = t.event.c
        return self._all(model.Event, sa.select(t.event).where(c.dataset_id == dataset_id).order_by(c.seq.desc()).limit(limit))

    def waiting_since(self) -> datetime | None:
        """Since when the dataset that has waited longest is to be looked at by a worker; None when none is due."""
        c = t.dataset.c
        select = sa.select(sa.func.min(c.look_at, type_=t.UtcDateTime)).where(c.look_at <= self.at, c.state == model.DatasetState.CLOSED)
        return self.connection.execute(select).scalar()

    def totals(self) -> list[tuple[str, int, int]]:
        """(tier, live copies, bytes) over everything."""
        select = sa.select(t.copy.c.tier, sa.func.count(), sa.func.sum(t.object_.c.size_bytes)).join(t.object_).where(t.copy.c.dropped_at.is_(None))
        return [(row[0], row[1], row[2] or 0) for row in self.connection.execute(select.group_by(t.copy.c.tier))]

    def states(self) -> dict[str, dict[str, int]]:
        """How many datasets, transfers, drops, recalls and restores are in each state."""
        counts = {}
        for table in (t.dataset, t.transfer, t.drop, t.recall, t.restore):
            rows = self.connection.execute(sa.select(table.c.state, sa.func.count()).group_by(table.c.state))
            counts[table.name] = {str(row[0]): row[1] for row in rows}
        return counts


def _counts() -> sa.ColumnElement[bool]:
    """A copy that is there, and that no drop under way is about to end."""
    going = sa.select(t.drop.c.copy_id).where(t.drop.c.state.in_(model.active(model.DROP_CHANGES)))
    return sa.and_(t.copy.c.dropped_at.is_(None), t.copy.c.id.not_in(going))


# A page of datasets is described many times a day: what is the same each time is put together once.
_IDS: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)


def _covered() -> sa.Select[Any]:
    columns = (t.file.c.id, t.file.c.dataset_id, t.file.c.size_bytes, t.copy.c.tier)
    own = (
        sa.select(*columns)
        .join_from(t.file, t.copy, t.copy.c.object_id == t.file.c.object_id)
        .where(t.file.c.dataset_id.in_(_IDS), _LIVES, _counts())
    )
    bundled = (
        sa.select(*columns)
        .join_from(t.file, t.member, t.member.c.object_id == t.file.c.object_id)
        .join(t.copy, t.copy.c.object_id == t.member.c.bundle_id)
        .where(t.file.c.dataset_id.in_(_IDS), _LIVES, _counts())
    )
    held = own.union(bundled).subquery()  # each file once per tier
    return sa.select(held.c.dataset_id, held.c.tier, sa.func.count(), sa.func.sum(held.c.size_bytes)).group_by(held.c.dataset_id, held.c.tier)


_COVERAGE = _covered()
_RARE = {
    "claim": sa.select(t.claim.c.dataset_id).where(t.claim.c.dataset_id.in_(_IDS), t.claim.c.ended_at.is_(None)),
    "restore": sa.select(t.restore.c.dataset_id).where(t.restore.c.dataset_id.in_(_IDS), t.restore.c.state.in_(model.active(model.RESTORE_CHANGES))),
    "problem": sa.select(t.transfer.c.dataset_id).where(t.transfer.c.dataset_id.in_(_IDS), t.transfer.c.state == model.TransferState.QUARANTINED),
    "harm": sa.union_all(
        sa.select(t.drill.c.dataset_id).where(t.drill.c.dataset_id.in_(_IDS)),
        sa.select(t.object_.c.dataset_id)
        .join(t.finding, t.object_.c.key == t.finding.c.key)
        .where(t.object_.c.dataset_id.in_(_IDS), t.finding.c.resolved_at.is_(None)),
    ),
    "comment": sa.select(t.comment.c.dataset_id).where(t.comment.c.dataset_id.in_(_IDS)),
    "tag": sa.select(t.tag.c.dataset_id).where(t.tag.c.dataset_id.in_(_IDS)),
}
_RARELY = sa.union(*(sa.select(sa.literal(what), of.subquery().c.dataset_id) for what, of in _RARE.items()))

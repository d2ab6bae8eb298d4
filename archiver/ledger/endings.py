"""Ending copies in the ledger: drops, many at a time, what was dropped lately, and unproven versions for the reaper."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from archiver import model
from archiver.ledger import tables as t
from archiver.ledger.base import Base
from archiver.model import DropState, LeftoverState


class Endings(Base):
    """What drop.py and the reaper read and write down."""

    # drops

    def drops_in(self, dataset_id: int, tier: str) -> list[tuple[model.Drop, model.Copy, int]]:
        """A dataset's drops in a tier that have not ended, each with its copy and that copy's bytes."""
        d, c = t.drop.c, t.copy.c
        select = (
            sa.select(t.drop, *(column.label(f"copy_{column.name}") for column in c), t.object_.c.size_bytes)
            .join_from(t.drop, t.copy, c.id == d.copy_id)
            .join(t.object_)
            .where(d.dataset_id == dataset_id, d.state.in_(model.active(model.DROP_CHANGES)), c.tier == tier)
            .order_by(d.id)
        )
        found = []
        drops, copies = [column.name for column in d], [column.name for column in c]
        for row in self.connection.execute(select):
            values = list(row)
            drop = model.Drop(**dict(zip(drops, values, strict=False)))
            copy = model.Copy(**dict(zip(copies, values[len(drops) :], strict=False)))
            found.append((drop, copy, int(values[-1])))
        return found

    def datasets_to_drop(
        self, tiers: Collection[str], without: Collection[int], limit: int, free: sa.ColumnElement[bool] | None = None
    ) -> list[tuple[int, str]]:
        """(dataset id, tier) that have drops to carry out in these tiers; serial per dataset, so each is one piece of work.

        `free`: only datasets that are so.
        """
        d, c = t.drop.c, t.copy.c
        select = sa.select(d.dataset_id, sa.func.min(c.tier)).join_from(t.drop, t.copy, c.id == d.copy_id)
        if free is not None:
            select = select.join(t.dataset, t.dataset.c.id == d.dataset_id).where(free)
        select = select.where(d.state.in_(model.active(model.DROP_CHANGES)), c.tier.in_(tiers))
        if without:
            select = select.where(d.dataset_id.not_in(without))
        return [(row[0], row[1]) for row in self.connection.execute(select.group_by(d.dataset_id).order_by(d.dataset_id).limit(limit))]

    def finish_drops(self, drops: Sequence[model.Drop]) -> None:
        """The bytes of these drops of one dataset are gone: so are the copies."""
        self.change_all("drop", drops, DropState.DROPPED)
        gone = [drop.copy_id for drop in drops]
        self.connection.execute(sa.update(t.copy).where(t.copy.c.id.in_(gone)).values(dropped_at=self.at))
        self.look(drops[0].dataset_id)

    def dropped_since(self, since: datetime) -> tuple[int, int]:
        """How many copies were dropped after `since`, or are about to be, and their bytes."""
        d = t.drop.c
        select = (
            sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(t.object_.c.size_bytes), 0))
            .join_from(t.drop, t.copy, t.copy.c.id == d.copy_id)
            .join(t.object_)
            .where(d.state.in_([DropState.CHECKED, DropState.DROPPED]), d.updated_at > since, d.updated_at <= self.at)
        )
        row = self.connection.execute(select).one()
        return int(row[0]), int(row[1])

    def drops_waiting(self) -> dict[str, int]:
        """How many drops have not ended, by tier."""
        d, c = t.drop.c, t.copy.c
        select = sa.select(c.tier, sa.func.count()).join_from(t.drop, t.copy, c.id == d.copy_id)
        select = select.where(d.state.in_(model.active(model.DROP_CHANGES))).group_by(c.tier)
        return {row[0]: row[1] for row in self.connection.execute(select)}

    def newest_event_at(self) -> datetime | None:
        """When the last event of all was written."""
        select: sa.Select[Any] = sa.select(t.event.c.at).order_by(t.event.c.id.desc()).limit(1)
        found: datetime | None = self.connection.execute(select).scalar()
        return found

    def forget_note(self, name: str) -> None:
        self.connection.execute(sa.delete(t.note).where(t.note.c.name == name))

    # leftovers

    def leave(self, tier: str, key: str, version_id: str, why: str) -> None:
        """Write down an unproven version of ours that the reaper shall end. Written twice, it is the same."""
        if self.leftover(tier, key, version_id) is None:
            self._insert(
                t.leftover, tier=tier, key=key, version_id=version_id, why=why, state=LeftoverState.FOUND, created_at=self.at, updated_at=self.at
            )
            self.committed_states.append("leftover.found")

    def forget_leftover(self, leftover: model.Leftover) -> None:
        """It is none: the ledger counts on it. Should that change, it can be left anew."""
        c = t.leftover.c
        self.connection.execute(sa.delete(t.leftover).where(c.id == leftover.id, c.state == LeftoverState.FOUND))

    def leftover(self, tier: str, key: str, version_id: str | None = None) -> model.Leftover | None:
        """What the reaper shall end, or has ended, in this version; without a version, what it has not ended yet at this key."""
        c = t.leftover.c
        which = c.state == LeftoverState.FOUND if version_id is None else c.version_id == version_id
        return self._one(model.Leftover, sa.select(t.leftover).where(c.tier == tier, c.key == key, which).limit(1))

    def leftovers(self, tiers: Collection[str], limit: int, after_id: int = 0) -> list[model.Leftover]:
        """What the reaper has to end in these tiers, in the order in which it was found."""
        c = t.leftover.c
        select = sa.select(t.leftover).where(c.state == LeftoverState.FOUND, c.tier.in_(tiers), c.id > after_id)
        return self._all(model.Leftover, select.order_by(c.id).limit(limit))

    def leftovers_waiting(self) -> int:
        """How many unproven versions wait for the reaper."""
        select = sa.select(sa.func.count()).select_from(t.leftover).where(t.leftover.c.state == LeftoverState.FOUND)
        return int(self.connection.execute(select).scalar_one())

"""What waits for its turn: restores for room in hot, recalls and transfers under their caps.

Law: the order is the same everywhere (turns.py): priority, then fair share between users, then age.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from archiver import model
from archiver.ledger import tables as t
from archiver.ledger.base import Base
from archiver.model import ClaimKind, RecallState, RestoreState, TransferState
from archiver.turns import Waiting

Wish = tuple[int, str | None]
"""(dataset id, glob): some files of a dataset, or all."""


def in_turn(select: sa.Select[Any], due: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Transfers in the order in which they shall begin: what a person waits for first (into hot), by priority, fair share and age.

    Each user's transfers are numbered; the number, and how many run already, is the share. Joins tables: lock rows with `of=transfer`.
    """
    c = t.transfer.c
    number = sa.func.row_number().over(partition_by=c.user, order_by=(c.priority.desc(), c.next_try_at, c.id))
    place = sa.select(c.id, number.label("number")).where(due, c.user.is_not(None)).subquery("place")
    running = sa.select(c.user, sa.func.count().label("number")).where(c.user.is_not(None), sa.text(t.BEGUN)).group_by(c.user).subquery("running")
    share = sa.func.coalesce(place.c.number, 0) + sa.func.coalesce(running.c.number, 0)
    joined = select.outerjoin(place, place.c.id == c.id).outerjoin(running, running.c.user == c.user)
    return joined.order_by(sa.case((c.tier == "hot", 0), else_=1), c.priority.desc(), share, c.next_try_at, c.id)


class Queues(Base):
    """Reading who waits, and who is being served."""

    # room in hot

    def bytes_in(self, tier: str) -> int:
        """Bytes of all live copies in a tier."""
        select = sa.select(sa.func.sum(t.object_.c.size_bytes)).join(t.copy).where(t.copy.c.tier == tier, t.copy.c.dropped_at.is_(None))
        return int(self.connection.execute(select).scalar() or 0)

    def received_since(self, since: datetime) -> int:
        """Bytes of the datasets that began to arrive after `since`."""
        select = sa.select(sa.func.sum(t.dataset.c.size_bytes)).where(t.dataset.c.received_at > since)
        return int(self.connection.execute(select).scalar() or 0)

    def coming_back(self) -> list[Wish]:
        """What restores claim that are not ready yet."""
        r, c = t.restore.c, t.claim.c
        select = sa.select(r.dataset_id, r.files_glob).where(
            r.ready_at.is_(None), r.ended_at.is_(None), r.id.in_(sa.select(c.restore_id).where(c.kind == ClaimKind.RESTORE, c.ended_at.is_(None)))
        )
        return [(row[0], row[1]) for row in self.connection.execute(select)]

    def absent_from(self, tier: str, dataset_id: int) -> list[tuple[str, int]]:
        """(path, bytes) of a dataset's files that have no live copy in a tier."""
        there = sa.select(t.copy.c.object_id).where(t.copy.c.tier == tier, t.copy.c.dropped_at.is_(None))
        select = sa.select(t.file.c.path, t.file.c.size_bytes).where(
            t.file.c.dataset_id == dataset_id, t.file.c.state != model.FileState.ERASED, t.file.c.object_id.not_in(there)
        )
        return [(row[0], row[1]) for row in self.connection.execute(select)]

    def waiting_for_room(self) -> list[model.Restore]:
        """Restores that are agreed to and claim nothing yet."""
        r = t.restore.c
        claimed = sa.select(t.claim.c.restore_id).where(t.claim.c.kind == ClaimKind.RESTORE, t.claim.c.restore_id.is_not(None))
        return self._all(model.Restore, sa.select(t.restore).where(r.state == RestoreState.QUEUED, r.id.not_in(claimed)).order_by(r.id))

    def restores_running(self) -> dict[str | None, int]:
        """How many claimed restores that are not ready each user has."""
        r = t.restore.c
        select = sa.select(r.user, sa.func.count()).where(
            r.ready_at.is_(None), r.ended_at.is_(None), r.id.in_(sa.select(t.claim.c.restore_id).where(t.claim.c.kind == ClaimKind.RESTORE))
        )
        return {row[0]: row[1] for row in self.connection.execute(select.group_by(r.user))}

    # recalls in turn

    def recalls_asked(self, tier: str) -> list[Waiting]:
        """Recalls of a tier that the store has not been asked for, each with the most urgent that waits for it."""
        c, w = t.recall.c, t.transfer.c
        select = (
            sa.select(c.id, c.asked_at, w.priority, w.user)
            .join_from(t.recall, t.copy, t.copy.c.id == c.copy_id)
            .outerjoin(t.transfer, sa.and_(w.recall_id == c.id, w.state == TransferState.RECALLING))
            .where(t.copy.c.tier == tier, c.state == RecallState.ASKED)
        )
        found: dict[int, Waiting] = {}
        for recall_id, since, priority, user in self.connection.execute(select):
            known = found.get(recall_id)
            if known is None or (priority or 0) > known.priority:
                found[recall_id] = Waiting(recall_id, user, priority or 0, since)
        return list(found.values())

    def recalls_running(self, tier: str) -> dict[str | None, int]:
        """How many recalls of a tier the store works on, by the user who waits."""
        c, w = t.recall.c, t.transfer.c
        user = sa.select(sa.func.min(w.user)).where(w.recall_id == c.id).scalar_subquery()
        each = sa.select(user.label("user")).join_from(t.recall, t.copy, t.copy.c.id == c.copy_id)
        each = each.where(t.copy.c.tier == tier, c.state == RecallState.RUNNING)
        sub = each.subquery()
        return {row[0]: row[1] for row in self.connection.execute(sa.select(sub.c.user, sa.func.count()).group_by(sub.c.user))}

    # transfers in turn

    def in_hand(self, tiers: Mapping[str, int], taken: set[int]) -> dict[str, int]:
        """How many transfers into each of these tiers are being made; `taken`: those that a worker has begun, whatever the ledger says yet.

        What another worker has in hand counts too.
        """
        c = t.transfer.c
        # Each by an index of its own: together, a database may read all that wait.
        ids = sa.union(
            sa.select(c.id).where(sa.text(t.BEGUN)),
            sa.select(c.id).where(c.id.in_(taken)),
            sa.select(c.id).where(c.lease_by.is_not(None), c.lease_until > self.at),
        )
        select = sa.select(c.tier, sa.func.count()).where(c.id.in_(ids), c.tier.in_(tiers), c.state.in_(model.active(model.TRANSFER_CHANGES)))
        return {row[0]: row[1] for row in self.connection.execute(select.group_by(c.tier))}

    def urge(self, transfer: model.Transfer, priority: int, user: str | None) -> None:
        """Who waits for a transfer has changed, or how urgently."""
        self.connection.execute(sa.update(t.transfer).where(t.transfer.c.id == transfer.id).values(priority=priority, user=user))

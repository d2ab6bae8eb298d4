"""Claims, transfers, drops, recalls and restores in the ledger: what shall be, and what is being done about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from archiver import model
from archiver.errors import NotFound
from archiver.ledger import tables as t
from archiver.ledger.base import Moved
from archiver.ledger.queues import Queues, in_turn
from archiver.model import DropState, RecallState, RestoreState, TransferState

_BEGUN = (TransferState.COPYING, TransferState.VERIFYING)


class Work(Queues):
    """Writing down each step before it is done."""

    # transfers

    def plan_transfer(self, obj: model.Object, tier: str, *, source_copy_id: int | None = None, source_uri: str | None = None) -> int:
        """Write down that `obj` shall get a copy in `tier`. At most one is under way per object and tier (an index sees to it)."""
        return self._planned([(obj, tier, {"source_copy_id": source_copy_id, "source_uri": source_uri})])[0]

    def plan_transfers(self, wanted: Sequence[tuple[model.Object, str, int | None, model.Restore | None]]) -> list[int]:
        """The same for many objects of one dataset: (object, tier, source copy, the most urgent restore that waits for it).

        A few queries, however many they are.
        """
        rows = []
        for obj, tier, source_copy_id, waiting in wanted:
            urgency = {"priority": waiting.priority if waiting else 0, "user": waiting.user if waiting else None}
            rows.append((obj, tier, {"source_copy_id": source_copy_id, **urgency}))
        return self._planned(rows)

    def plan_arrivals(self, wanted: Sequence[tuple[model.Object, str]]) -> list[int]:
        """Write down that objects of one dataset come into hot from outside: (object, source). A few queries, however many they are."""
        return self._planned([(obj, "hot", {"source_uri": source_uri}) for obj, source_uri in wanted])

    def _planned(self, wanted: Sequence[tuple[model.Object, str, Mapping[str, Any]]]) -> list[int]:
        """(object, tier, values of its own)."""
        if not wanted:
            return []
        rows = [
            {
                "object_id": obj.id,
                "dataset_id": obj.dataset_id,
                "tier": tier,
                "key": obj.key,
                "state": TransferState.PLANNED,
                "attempts": 0,
                "next_try_at": self.at,
                "created_at": self.at,
                "updated_at": self.at,
                **values,
            }
            for obj, tier, values in wanted
        ]
        ids = list(self.connection.execute(sa.insert(t.transfer).returning(t.transfer.c.id, sort_by_parameter_order=True), rows).scalars())
        details = [{"transfer_id": i, "object_id": obj.id, "tier": tier} for i, (obj, tier, _) in zip(ids, wanted, strict=True)]
        self.events_of(wanted[0][0].dataset_id, "transfer.planned", details)
        self.committed_states += ["transfer.planned"] * len(ids)
        return ids

    def transfer(self, transfer_id: int) -> model.Transfer:
        found = self._one(model.Transfer, sa.select(t.transfer).where(t.transfer.c.id == transfer_id))
        if found is None:
            raise NotFound(f"There is no transfer number {transfer_id}.", "`archiver status DATASET` lists a dataset's transfers.")
        return found

    def transfers(self, dataset_id: int) -> list[model.Transfer]:
        """A dataset's transfers that have not ended (quarantined ones have not: they wait for a person)."""
        c = t.transfer.c
        select = sa.select(t.transfer).where(c.dataset_id == dataset_id, c.state.in_(model.active(model.TRANSFER_CHANGES)))
        return self._all(model.Transfer, select.order_by(c.id))

    def transfer_into(self, object_id: int, tier: str) -> model.Transfer | None:
        """The transfer of an object into a tier that has not ended."""
        c = t.transfer.c
        return self._one(
            model.Transfer, sa.select(t.transfer).where(c.object_id == object_id, c.tier == tier, c.state.in_(model.active(model.TRANSFER_CHANGES)))
        )

    def cancel_transfer(self, transfer: model.Transfer) -> None:
        """Nobody claims it any more. A recall that only it waited for is not followed any longer (the store cannot be told)."""
        self.change("transfer", transfer, TransferState.CANCELLED, error="Nobody claims it any more.")
        if transfer.recall_id is None:
            return
        c = t.transfer.c
        others = sa.select(c.id).where(c.recall_id == transfer.recall_id, c.state == TransferState.RECALLING)
        recall = self.recall(transfer.recall_id)
        if recall.state in {RecallState.ASKED, RecallState.RUNNING} and self.connection.execute(others).first() is None:
            self.change("recall", recall, RecallState.LAPSED)

    def try_again(self, transfer: model.Transfer) -> None:
        """A transfer that was given up begins anew: a person wants it so."""
        anew = {"attempts": 0} if transfer.source_uri is None else {}  # what an arrival has sent stays its own
        self.change("transfer", transfer, TransferState.PLANNED, faults=0, next_try_at=self.at, error=None, recall_id=None, version_id=None, **anew)
        self.look(transfer.dataset_id)

    def begin_arrivals(self, transfers: Sequence[model.Transfer]) -> None:
        """From now on something of these arrivals of one dataset may stand at their keys: attempts tell so. Before, what stands there is not ours."""
        self.change_all("transfer", transfers, TransferState.COPYING, attempts=t.transfer.c.attempts + 1)

    def restart_arrival(self, transfer: model.Transfer, source_uri: str) -> None:
        """An arrival that was cut short begins anew: its file may be another by now, so what was sent does not count."""
        if transfer.state is TransferState.VERIFYING:
            self.change("transfer", transfer, TransferState.FAILED, error="The sender began anew.")
            transfer = self.transfer(transfer.id)
        if transfer.state in {TransferState.FAILED, TransferState.QUARANTINED}:
            self.change("transfer", transfer, TransferState.PLANNED, next_try_at=self.at, faults=0)
        self.connection.execute(sa.update(t.transfer).where(t.transfer.c.id == transfer.id).values(source_uri=source_uri, version_id=None))

    def transfers_due(
        self,
        limit: int,
        without: set[int],
        caps: Mapping[str, int] = MappingProxyType({}),
        free: sa.ColumnElement[bool] | None = None,
        *,
        sent: bool = False,
    ) -> list[model.Transfer]:
        """Transfers that can be advanced now, in turn: between tiers, or (`sent`) what was sent from outside and is to be proven.

        Arrivals from local files belong to the process that sees those files.

        `without`: those that have been begun. `caps`: how many may be made at once, by tier. `free`: only those, and their rows are locked.
        """
        c = t.transfer.c
        more = [*([c.id.not_in(without)] if without else []), *([free] if free is not None else [])]
        room: dict[str, int] = {}
        if caps:
            taken = self.in_hand(caps, without)
            room = {tier: cap - taken.get(tier, 0) for tier, cap in caps.items()}
            # What was cut short counts as being made already: it goes on.
            full = [tier for tier, left in room.items() if left <= 0]
            more.append(sa.or_(c.tier.not_in(full), c.state.in_(_BEGUN)))
        if sent:
            uploads = c.source_uri.startswith(model.UPLOAD_URI, autoescape=True)
            ready = sa.and_(uploads, c.state == TransferState.VERIFYING, c.next_try_at <= self.at, *more)
        else:  # told again of those that were found: on PostgreSQL another may have moved one before its row was locked
            ready = sa.and_(c.id.in_(self._next(limit, more, lock=free is not None)), self._between(), *more)
        found = []
        select = in_turn(sa.select(t.transfer).where(ready), ready).limit(limit)
        if free is not None:
            select = select.with_for_update(skip_locked=True, of=t.transfer, key_share=True)
        for one in self._all(model.Transfer, select):
            if one.tier in room and one.state not in _BEGUN:
                room[one.tier] -= 1
                if room[one.tier] < 0:
                    continue
            found.append(one)
        return found

    def _between(self) -> sa.ColumnElement[bool]:
        """Whether a transfer between tiers can be advanced now."""
        c = t.transfer.c
        due = sa.and_(c.state.in_([TransferState.PLANNED, *_BEGUN, TransferState.FAILED]), c.next_try_at <= self.at)
        return sa.and_(c.source_uri.is_(None), sa.or_(due, self._recalled()))

    def _recalled(self) -> sa.ColumnElement[bool]:
        readable = sa.select(t.recall.c.id).where(t.recall.c.state.in_([RecallState.READABLE, RecallState.LAPSED]))
        return sa.and_(t.transfer.c.state == TransferState.RECALLING, t.transfer.c.recall_id.in_(readable))

    def _next(self, limit: int, more: Sequence[sa.ColumnElement[bool]], *, lock: bool) -> set[int]:
        """The numbers of transfers between tiers that can be next: of those that wait `limit` for each tier and user, found along an index.

        However many wait, so few are read. What a user waits for comes into one tier, hot: so each one's place in their queue is told right.
        """
        c = t.transfer.c
        place = sa.func.row_number().over(partition_by=(c.tier, c.user), order_by=(c.priority.desc(), c.next_try_at, c.id)).label("place")
        found: set[int] = set()
        for others in (sa.and_(sa.text(t.BEGUN), c.next_try_at <= self.at), self._recalled()):
            numbered = sa.select(c.id, place).where(c.source_uri.is_(None), others, *more).subquery()
            found.update(self.connection.execute(sa.select(numbered.c.id).where(numbered.c.place <= limit)).scalars())
        for here in self._waiting():
            room = limit
            for priority in self._steps(c.priority, here, down=True):
                first = sa.select(c.id).where(here, c.priority == priority, c.next_try_at <= self.at, *more)
                first = first.order_by(c.user, c.next_try_at, c.id).limit(room)
                ids = list(self.connection.execute(first.with_for_update(skip_locked=True, key_share=True) if lock else first).scalars())
                found.update(ids)
                room -= len(ids)
                if not room:
                    break
        return found

    def _waiting(self) -> Iterator[sa.ColumnElement[bool]]:
        """What tells the transfers that wait for each tier and user apart; found by steps along an index, whatever their number."""
        c, waits = t.transfer.c, sa.text(t.WAITING)
        for tier in self._steps(c.tier, waits):
            here = sa.and_(waits, c.tier == tier)
            if self.connection.execute(sa.select(c.id).where(here, c.user.is_(None)).limit(1)).first() is not None:
                yield sa.and_(here, c.user.is_(None))
            for user in self._steps(c.user, here):
                yield sa.and_(here, c.user == user)

    def _steps(self, column: sa.Column[Any], where: sa.ColumnElement[bool] | sa.TextClause, *, down: bool = False) -> Iterator[Any]:
        """The values of a column in order (`down`: the greatest first), each found by one step along an index."""
        step = sa.select(sa.func.max(column) if down else sa.func.min(column)).where(where)
        found = self.connection.execute(step).scalar()
        while found is not None:
            yield found
            found = self.connection.execute(step.where(column < found if down else column > found)).scalar()

    def finish_transfer(self, transfer: model.Transfer, storage_class: str, version_id: str, proof: model.Proof) -> None:
        """The copy is proven: it becomes true, and a file that was arriving becomes received, in one step."""
        self.finish_transfers([(transfer, storage_class, version_id, proof)])

    def finish_transfers(self, proven: Sequence[tuple[model.Transfer, str, str, model.Proof]]) -> None:
        """The same for many transfers of one dataset into one tier: (transfer, storage class, version, how it was proven)."""
        if not proven:
            return
        dataset_id, tier = proven[0][0].dataset_id, proven[0][0].tier
        versions = [{"version_id": version_id} for _, _, version_id, _ in proven]
        self.change_all("transfer", [transfer for transfer, *_ in proven], TransferState.PROVEN, versions, error=None)
        copies = [
            {
                "object_id": transfer.object_id,
                "tier": tier,
                "key": transfer.key,
                "version_id": version_id,
                "storage_class": storage_class,
                "proof": proof,
                "proven_at": self.at,
            }
            for transfer, storage_class, version_id, proof in proven
        ]
        self.connection.execute(sa.insert(t.copy).inline(), copies)
        self.relocate(dataset_id, tier)
        f, o = t.file.c, t.object_.c
        arriving = sa.select(t.object_).join(t.file).where(o.id.in_([c["object_id"] for c in copies]), f.state == model.FileState.ARRIVING)
        now = {"state": model.FileState.RECEIVED, "received_at": self.at}
        said = [
            {"of": obj.id, **now, "size_bytes": obj.size_bytes, "sha256": obj.sha256, "crc64nvme": obj.crc64nvme}
            for obj in self._all(model.Object, arriving)
        ]
        self._update_each(t.file, f.object_id, said)

    # drops

    def plan_drop(self, copy: model.Copy, dataset_id: int, reason: str) -> int:
        """Write down that a copy shall go. From now on it does not count."""
        drop_id = self._insert(
            t.drop, copy_id=copy.id, dataset_id=dataset_id, state=DropState.PLANNED, reason=reason, created_at=self.at, updated_at=self.at
        )
        self.event(dataset_id, "drop.planned", {"drop_id": drop_id, "copy_id": copy.id, "tier": copy.tier, "reason": reason})
        self.committed_states.append("drop.planned")
        return drop_id

    def drop(self, drop_id: int) -> model.Drop:
        found = self._one(model.Drop, sa.select(t.drop).where(t.drop.c.id == drop_id))
        assert found is not None
        return found

    def drops(self, dataset_id: int) -> list[model.Drop]:
        """A dataset's drops that have not ended."""
        c = t.drop.c
        return self._all(
            model.Drop, sa.select(t.drop).where(c.dataset_id == dataset_id, c.state.in_(model.active(model.DROP_CHANGES))).order_by(c.id)
        )

    # recalls

    def recall_for(self, copy: model.Copy, dataset_id: int) -> model.Recall:
        """The recall of this copy that is under way or readable, or a new one: all that wait share it."""
        c = t.recall.c
        found = self._one(model.Recall, sa.select(t.recall).where(c.copy_id == copy.id, c.state != RecallState.LAPSED))
        if found is not None:
            return found
        recall_id = self._insert(t.recall, copy_id=copy.id, dataset_id=dataset_id, state=RecallState.ASKED, asked_at=self.at, updated_at=self.at)
        self.event(dataset_id, "recall.asked", {"recall_id": recall_id, "copy_id": copy.id, "tier": copy.tier})
        self.committed_states.append("recall.asked")
        return self.recall(recall_id)

    def recall(self, recall_id: int) -> model.Recall:
        found = self._one(model.Recall, sa.select(t.recall).where(t.recall.c.id == recall_id))
        assert found is not None
        return found

    def recalls_under_way(self) -> list[model.Recall]:
        """Recalls that something still follows."""
        return self._all(model.Recall, sa.select(t.recall).where(t.recall.c.state != RecallState.LAPSED).order_by(t.recall.c.id))

    # restores and their claims

    def add_restore(
        self,
        dataset: model.Dataset,
        user: str,
        files_glob: str | None,
        keep_days: int,
        promise: timedelta,
        *,
        priority: int = 0,
        size_bytes: int = 0,
        from_tier: str | None = None,
        quote_id: str | None = None,
        claim: bool = True,
    ) -> model.Restore:
        """A person asks for a dataset; the claim on hot is written in the same step, without end until the restore is ready.

        `claim` false: it waits for an admin's word, or for room, and claims nothing yet.
        """
        restore_id = self._insert(
            t.restore,
            dataset_id=dataset.id,
            user=user,
            files_glob=files_glob,
            keep_days=keep_days,
            state=RestoreState.REQUESTED,
            requested_at=self.at,
            promised_by=self.at + promise,
            priority=priority,
            size_bytes=size_bytes,
            from_tier=from_tier,
            quote_id=quote_id,
        )
        self.event(dataset.id, "restore.requested", {"restore_id": restore_id, "user": user, "keep_days": keep_days, "files_glob": files_glob})
        self.committed_states.append("restore.requested")
        made = self.restore(restore_id)
        if claim:
            self.claim_for(made)
        return made

    def claim_for(self, restore: model.Restore) -> None:
        """From now on a restore claims its files in hot."""
        self._insert(
            t.claim,
            dataset_id=restore.dataset_id,
            tier="hot",
            kind=model.ClaimKind.RESTORE,
            restore_id=restore.id,
            user=restore.user,
            reason=f"restore for {restore.keep_days} days",
            created_at=self.at,
        )
        self.look(restore.dataset_id)

    def alter_restore(self, restore: model.Restore, what: str, **values: Any) -> model.Restore:
        """Change something of a restore that is no state, with an event `restore.WHAT`. Raises `Moved` when its state is another by now."""
        c = t.restore.c
        moved = self.connection.execute(sa.update(t.restore).where(c.id == restore.id, c.state == restore.state).values(**values))
        if moved.rowcount != 1:
            raise Moved(f"restore {restore.id} is no longer {restore.state}")
        self.event(restore.dataset_id, f"restore.{what}", {"restore_id": restore.id, **{k: v for k, v in values.items() if isinstance(v, str | int)}})
        return self.restore(restore.id)

    def restore(self, restore_id: int) -> model.Restore:
        """Raises `NotFound`."""
        found = self._one(model.Restore, sa.select(t.restore).where(t.restore.c.id == restore_id))
        if found is None:
            raise NotFound(f"There is no restore number {restore_id}.", "Your restores are listed on the catalog page.")
        return found

    def restores_under_way(self) -> list[model.Restore]:
        """Restores that have not ended."""
        c = t.restore.c
        return self._all(model.Restore, sa.select(t.restore).where(c.state.in_(model.active(model.RESTORE_CHANGES))).order_by(c.id))

    def restores_of(self, dataset_id: int) -> list[model.Restore]:
        """A dataset's restores that have not ended, newest first."""
        c = t.restore.c
        select = sa.select(t.restore).where(c.dataset_id == dataset_id, c.state.in_(model.active(model.RESTORE_CHANGES)))
        return self._all(model.Restore, select.order_by(c.id.desc()))

    def claims(self, dataset_id: int) -> list[model.Claim]:
        """A dataset's stored claims that have not ended."""
        c = t.claim.c
        return self._all(model.Claim, sa.select(t.claim).where(c.dataset_id == dataset_id, c.ended_at.is_(None)).order_by(c.id))

    def claim_until(self, restore_id: int, until: datetime) -> None:
        """A restore is ready: its claim now has an end."""
        own = sa.and_(t.claim.c.restore_id == restore_id, t.claim.c.kind == model.ClaimKind.RESTORE)  # a hold that waits for it has its own end
        self.connection.execute(sa.update(t.claim).where(own).values(until=until))

    def end_claim(self, restore: model.Restore) -> None:
        """A restore has ended, and its claim with it."""
        own = sa.and_(t.claim.c.restore_id == restore.id, t.claim.c.kind == model.ClaimKind.RESTORE, t.claim.c.ended_at.is_(None))
        self.connection.execute(sa.update(t.claim).where(own).values(ended_at=self.at))
        self.look(restore.dataset_id)

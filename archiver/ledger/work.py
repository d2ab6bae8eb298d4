"""Claims, transfers, drops, recalls and restores in the ledger: what shall be, and what is being done about it."""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa

from archiver import model
from archiver.errors import NotFound
from archiver.ledger import tables as t
from archiver.ledger.base import Base
from archiver.model import DropState, RecallState, RestoreState, TransferState


class Work(Base):
    """Writing down each step before it is done."""

    # transfers

    def plan_transfer(self, obj: model.Object, tier: str, *, source_copy_id: int | None = None, source_uri: str | None = None) -> int:
        """Write down that `obj` shall get a copy in `tier`. At most one is under way per object and tier (an index sees to it)."""
        transfer_id = self._insert(
            t.transfer,
            object_id=obj.id,
            dataset_id=obj.dataset_id,
            tier=tier,
            key=obj.key,
            source_copy_id=source_copy_id,
            source_uri=source_uri,
            state=TransferState.PLANNED,
            attempts=0,
            next_try_at=self.at,
            created_at=self.at,
            updated_at=self.at,
        )
        self.event(obj.dataset_id, "transfer.planned", {"transfer_id": transfer_id, "object_id": obj.id, "tier": tier})
        self.committed_states.append("transfer.planned")
        return transfer_id

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

    def restart_arrival(self, transfer: model.Transfer, source_uri: str) -> None:
        """An arrival that was cut short begins anew: its file may be another by now, so what was sent does not count."""
        if transfer.state is TransferState.VERIFYING:
            self.change("transfer", transfer, TransferState.FAILED, error="The sender began anew.")
            transfer = self.transfer(transfer.id)
        if transfer.state in {TransferState.FAILED, TransferState.QUARANTINED}:
            # What was left at the key is ours, unless it was given up: then nothing of ours stands there.
            attempts = 0 if transfer.state is TransferState.QUARANTINED else max(transfer.attempts, 1)
            self.change("transfer", transfer, TransferState.PLANNED, next_try_at=self.at, attempts=attempts)
        self.connection.execute(sa.update(t.transfer).where(t.transfer.c.id == transfer.id).values(source_uri=source_uri, version_id=None))

    def transfers_due(self, limit: int, without: set[int]) -> list[model.Transfer]:
        """Transfers between tiers that can be advanced now. Arrivals from local files belong to the process that sees those files."""
        c = t.transfer.c
        due = sa.and_(
            c.state.in_([TransferState.PLANNED, TransferState.COPYING, TransferState.VERIFYING, TransferState.FAILED]), c.next_try_at <= self.at
        )
        recalled = sa.and_(
            c.state == TransferState.RECALLING,
            c.recall_id.in_(sa.select(t.recall.c.id).where(t.recall.c.state.in_([RecallState.READABLE, RecallState.LAPSED]))),
        )
        select = sa.select(t.transfer).where(c.source_uri.is_(None), sa.or_(due, recalled))
        if without:
            select = select.where(c.id.not_in(without))
        # What a person waits for goes first: into hot, then the rest by age.
        return self._all(model.Transfer, select.order_by(sa.case((c.tier == "hot", 0), else_=1), c.next_try_at, c.id).limit(limit))

    def finish_transfer(self, transfer: model.Transfer, storage_class: str, version_id: str, proof: model.Proof) -> None:
        """The copy is proven: it becomes true, and a file that was arriving becomes received, in one step."""
        self.change("transfer", transfer, TransferState.PROVEN, version_id=version_id, error=None)
        self._insert(
            t.copy,
            object_id=transfer.object_id,
            tier=transfer.tier,
            key=transfer.key,
            version_id=version_id,
            storage_class=storage_class,
            proof=proof,
            proven_at=self.at,
        )
        obj = self._one(model.Object, sa.select(t.object_).where(t.object_.c.id == transfer.object_id))
        assert obj is not None
        self.connection.execute(
            sa.update(t.file)
            .where(t.file.c.object_id == obj.id, t.file.c.state == model.FileState.ARRIVING)
            .values(state=model.FileState.RECEIVED, received_at=self.at, size_bytes=obj.size_bytes, sha256=obj.sha256, crc64nvme=obj.crc64nvme)
        )
        self.look(transfer.dataset_id)

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

    def datasets_with_drops(self, without: set[int]) -> list[int]:
        """Datasets that have drops to carry out; serial per dataset, so each is one piece of work."""
        c = t.drop.c
        select = sa.select(c.dataset_id).where(c.state.in_(model.active(model.DROP_CHANGES))).distinct().order_by(c.dataset_id)
        return list(self.connection.execute(select.where(c.dataset_id.not_in(without)) if without else select).scalars())

    def finish_drop(self, drop: model.Drop) -> None:
        """The bytes are gone: so is the copy."""
        self.change("drop", drop, DropState.DROPPED)
        self.connection.execute(sa.update(t.copy).where(t.copy.c.id == drop.copy_id).values(dropped_at=self.at))
        self.look(drop.dataset_id)

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

    def add_restore(self, dataset: model.Dataset, user: str, files_glob: str | None, keep_days: int, promise: timedelta) -> model.Restore:
        """A person asks for a dataset; the claim on hot is written in the same step, without end until the restore is ready."""
        restore_id = self._insert(
            t.restore,
            dataset_id=dataset.id,
            user=user,
            files_glob=files_glob,
            keep_days=keep_days,
            state=RestoreState.REQUESTED,
            requested_at=self.at,
            promised_by=self.at + promise,
        )
        self._insert(
            t.claim,
            dataset_id=dataset.id,
            tier="hot",
            kind=model.ClaimKind.RESTORE,
            restore_id=restore_id,
            user=user,
            reason=f"restore for {keep_days} days",
            created_at=self.at,
        )
        self.event(dataset.id, "restore.requested", {"restore_id": restore_id, "user": user, "keep_days": keep_days, "files_glob": files_glob})
        self.committed_states.append("restore.requested")
        self.look(dataset.id)
        return self.restore(restore_id)

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
        self.connection.execute(sa.update(t.claim).where(t.claim.c.restore_id == restore_id).values(until=until))

    def end_claim(self, restore: model.Restore) -> None:
        """A restore has ended, and its claim with it."""
        self.connection.execute(sa.update(t.claim).where(t.claim.c.restore_id == restore.id, t.claim.c.ended_at.is_(None)).values(ended_at=self.at))
        self.look(restore.dataset_id)

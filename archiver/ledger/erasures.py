"""Erasures in the ledger: who asked, who agreed, and what is condemned by them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from archiver import model
from archiver.errors import NotFound
from archiver.ledger import tables as t
from archiver.ledger.base import Base, batches
from archiver.model import ErasureState, FileState, LeftoverState


class Erasures(Base):
    """Writing down each step of an erasure before it is done."""

    def add_erasure(self, dataset: model.Dataset, files_glob: str | None, reason: str, files: int, size_bytes: int) -> model.Erasure:
        """The first admin, who is this transaction's actor, asks for files to be ended for ever."""
        erasure_id = self._insert(
            t.erasure,
            dataset_id=dataset.id,
            files_glob=files_glob,
            reason=reason,
            state=ErasureState.REQUESTED,
            asked_by=self.actor,
            asked_at=self.at,
        )
        said = {"erasure_id": erasure_id, "files_glob": files_glob, "reason": reason, "files": files, "size_bytes": size_bytes}
        self.event(dataset.id, "erasure.requested", said)
        self.committed_states.append("erasure.requested")
        return self.erasure(erasure_id)

    def again_erasure(
        self, dataset_id: int, files_glob: str | None, reason: str, asked: tuple[str, datetime], approved: tuple[str, datetime]
    ) -> None:
        """One that only its tombstone tells of is carried out again, unless it is known. `asked`, `approved`: by whom, when."""
        c = t.erasure.c
        if self._one(model.Erasure, sa.select(t.erasure).where(c.dataset_id == dataset_id, c.approved_at == approved[1])) is not None:
            return
        erasure_id = self._insert(
            t.erasure,
            dataset_id=dataset_id,
            files_glob=files_glob,
            reason=reason,
            state=ErasureState.APPROVED,
            asked_by=asked[0],
            asked_at=asked[1],
            approved_by=approved[0],
            approved_at=approved[1],
        )
        self.event(dataset_id, "erasure.replayed", {"erasure_id": erasure_id, "reason": reason, "approved_by": approved[0]})

    def erasure(self, erasure_id: int) -> model.Erasure:
        """Raises `NotFound`."""
        found = self._one(model.Erasure, sa.select(t.erasure).where(t.erasure.c.id == erasure_id))
        if found is None:
            raise NotFound(f"There is no erasure number {erasure_id}.", "`archiver erasures --ended` lists them.")
        return found

    def erasures(self, *, ended: bool = True, dataset_id: int | None = None, limit: int = 200) -> list[model.Erasure]:
        """Newest first; `ended` false: only those that something still follows."""
        c = t.erasure.c
        select = sa.select(t.erasure).order_by(c.id.desc()).limit(limit)
        if not ended:
            select = select.where(c.state.in_(model.active(model.ERASURE_CHANGES)))
        if dataset_id is not None:
            select = select.where(c.dataset_id == dataset_id)
        return self._all(model.Erasure, select)

    def erasures_due(self) -> list[model.Erasure]:
        """Those that two admins agreed to and that have not ended, oldest first."""
        c = t.erasure.c
        return self._all(model.Erasure, sa.select(t.erasure).where(c.state.in_([ErasureState.APPROVED, ErasureState.ERASING])).order_by(c.id))

    def erase_files(self, files: Sequence[model.File]) -> None:
        """From now on these files are gone: what is left of each is its name, its size and its sums."""
        gone: dict[str, Any] = {"state": FileState.ERASED, "metadata": {}, "metadata_error": None, "metadata_state": model.MetadataState.NONE}
        for part in batches([file.id for file in files]):
            self.connection.execute(sa.update(t.file).where(t.file.c.id.in_(part)).values(**gone))

    def take_apart(self, bundle_ids: Iterable[int]) -> None:
        """Bundles that are no more hold nothing."""
        self.connection.execute(sa.delete(t.member).where(t.member.c.bundle_id.in_(list(bundle_ids))))

    def forget_findings(self, keys: Sequence[str]) -> None:
        """What stands at these keys shall go: that it is damaged, or lost, says nothing any more."""
        c = t.finding.c
        for part in batches(keys):
            self.connection.execute(sa.update(t.finding).where(c.key.in_(part), c.resolved_at.is_(None)).values(resolved_at=self.at))

    def copies_ended(self, object_ids: Sequence[int], since: datetime) -> dict[str, int]:
        """How many copies of these objects have ended since then, by tier."""
        c = t.copy.c
        found: dict[str, int] = {}
        for part in batches(object_ids):
            select = sa.select(c.tier, sa.func.count()).where(c.object_id.in_(part), c.dropped_at >= since)
            for tier, count in self.connection.execute(select.group_by(c.tier)):
                found[tier] = found.get(tier, 0) + count
        return found

    def erase_dataset(self, dataset_id: int) -> None:
        """Not a file is left of it; its name is never used again."""
        self.connection.execute(sa.update(t.dataset).where(t.dataset.c.id == dataset_id).values(state=model.DatasetState.ERASED))
        self.event(dataset_id, "dataset.erased", {})
        self.committed_states.append("dataset.erased")

    def left_at(self, keys: Sequence[str]) -> int:
        """How many versions at these keys wait for the reaper."""
        c = t.leftover.c
        waiting = (sa.select(sa.func.count()).where(c.key.in_(part), c.state == LeftoverState.FOUND) for part in batches(keys))
        return sum(int(self.connection.execute(select).scalar_one()) for select in waiting)

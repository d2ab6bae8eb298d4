"""Location records in the ledger: which (dataset, tier) have changed since theirs was written."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

import sqlalchemy as sa

from archiver import model
from archiver.ledger import tables as t
from archiver.ledger.base import Base

_PATIENCE = timedelta(minutes=5)  # while transfers go on, a record is written this often


class Locations(Base):
    """Where the bytes of datasets lie, as it is written to the store."""

    def locations_due(self, limit: int) -> list[model.Location]:
        """Records of closed datasets that lack something: once nothing is on its way there, or after some minutes all the same."""
        c, w = t.location.c, t.transfer.c
        coming = sa.exists().where(
            w.dataset_id == c.dataset_id,
            w.tier == c.tier,
            w.state.in_(set(model.active(model.TRANSFER_CHANGES)) - {model.TransferState.QUARANTINED}),
        )
        closed = sa.exists().where(t.dataset.c.id == c.dataset_id, t.dataset.c.state != model.DatasetState.OPEN)
        ready = sa.or_(sa.not_(coming), c.dirty_at <= self.at - _PATIENCE)
        select = sa.select(t.location).where(c.dirty_at.is_not(None), c.dirty_at <= self.at, closed, ready)
        return self._all(model.Location, select.order_by(c.dirty_at, c.dataset_id).limit(limit))

    def locations_of(self, dataset_id: int) -> list[model.Location]:
        return self._all(model.Location, sa.select(t.location).where(t.location.c.dataset_id == dataset_id).order_by(t.location.c.tier))

    def located(self, dataset_id: int, tier: str, version_id: str, copy_ids: Collection[int], *, whole: bool = True) -> None:
        """A record that says these copies is in the store. If there are others by now, or it is not the `whole`, it is still due."""
        c = t.copy.c
        select = sa.select(c.id).join(t.object_).where(t.object_.c.dataset_id == dataset_id, c.tier == tier, c.dropped_at.is_(None))
        checked = sa.select(t.drop.c.copy_id).where(t.drop.c.dataset_id == dataset_id, t.drop.c.state == model.DropState.CHECKED)
        whole = whole and set(self.connection.execute(select.where(c.id.not_in(checked))).scalars()) == set(copy_ids)
        values = {"written_at": self.at, "version_id": version_id, **({"dirty_at": None} if whole else {})}
        self.connection.execute(sa.update(t.location).where(t.location.c.dataset_id == dataset_id, t.location.c.tier == tier).values(**values))

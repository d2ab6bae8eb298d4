"""Files that were looked into with an older version of the readers, and datasets whose own metadata are older than their files'."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from archiver import model
from archiver.ledger import tables as t
from archiver.ledger.base import Base
from archiver.model import FileState, MetadataState

_LOOKED_INTO = sa.and_(t.file.c.state == FileState.RECEIVED, t.file.c.metadata_state != MetadataState.WAITING)


class Readings(Base):
    """Reading and writing for rereading.py."""

    def copies_after(self, copy_id: int, tiers: Collection[str], limit: int) -> list[model.Copy]:
        """Live copies in these tiers by number, after this one."""
        c = t.copy.c
        select = sa.select(t.copy).where(c.id > copy_id, c.tier.in_(tiers), c.dropped_at.is_(None))
        return self._all(model.Copy, select.order_by(c.id).limit(limit))

    def older_in(self, object_ids: Collection[int], version: int) -> list[model.File]:
        """Files that were looked into with an older version and that these objects are, or hold as bundles; by number."""
        c, m = t.file.c, t.member.c
        older = sa.and_(_LOOKED_INTO, c.reader_version < version)
        own = self._all(model.File, sa.select(t.file).where(c.object_id.in_(object_ids), older))
        bundled = self._all(model.File, sa.select(t.file).join(t.member, m.object_id == c.object_id).where(m.bundle_id.in_(object_ids), older))
        return sorted({file.id: file for file in [*own, *bundled]}.values(), key=lambda file: file.id)

    def looked_into(self, dataset_id: int | None, below: int | None, after_id: int, limit: int) -> list[model.File]:
        """Files (of one dataset) that were looked into (with a version below this one), by number, after this one."""
        c = t.file.c
        select = sa.select(t.file).where(_LOOKED_INTO, c.id > after_id)
        if dataset_id is not None:
            select = select.where(c.dataset_id == dataset_id)
        if below is not None:
            select = select.where(c.reader_version < below)
        return self._all(model.File, select.order_by(c.id).limit(limit))

    def reread(self, dataset_id: int, rows: Sequence[Mapping[str, Any]]) -> set[int]:
        """Write down what files of a dataset say now, but not of those that were erased meanwhile. Each row: `of` (a file's id), new values.

        Returns the files that were written; the dataset's own metadata are to be derived from them.
        """
        self.hold_still(dataset_id)
        c = t.file.c
        alive = set(self.connection.execute(sa.select(c.id).where(c.id.in_([row["of"] for row in rows]), _LOOKED_INTO)).scalars())
        self._update_each(t.file, c.id, [row for row in rows if row["of"] in alive])
        if alive:
            self.connection.execute(sa.update(t.dataset).where(t.dataset.c.id == dataset_id).values(stale_at=self.at))
        return alive

    def stale(self, limit: int) -> list[int]:
        """Datasets of which files were read again since their own metadata were derived."""
        c = t.dataset.c
        return list(self.connection.execute(sa.select(c.id).where(c.stale_at.is_not(None)).order_by(c.stale_at, c.id).limit(limit)).scalars())

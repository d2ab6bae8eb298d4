"""Writing into an empty ledger what manifests and location records say."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from archiver import model
from archiver.ledger import tables as t
from archiver.ledger.indexing import Indexing


class Rebuilding(Indexing):
    """For `archiver ledger rebuild` only: rows as they were, without the steps that led to them."""

    def is_empty(self) -> bool:
        """Whether no dataset is known."""
        return self.connection.execute(sa.select(t.dataset.c.id).limit(1)).first() is None

    def again_dataset(self, **values: Any) -> int:
        """A closed dataset that a manifest describes; it is looked at once drops are released or time comes to it."""
        dataset_id = self._insert(t.dataset, state=model.DatasetState.CLOSED, look_at=self.at, **values)
        self.index(dataset_id)
        return dataset_id

    def again_object(self, dataset_id: int, kind: model.ObjectKind, described: Mapping[str, Any]) -> int:
        known = {name: described.get(name) for name in ("key", "size_bytes", "sha256", "crc64nvme")}
        return self._insert(t.object_, dataset_id=dataset_id, kind=kind, **known)

    def again_file(self, **values: Any) -> int:
        return self._insert(t.file, **{"state": model.FileState.RECEIVED, **values})

    def again_copy(self, obj: model.Object, tier: str, version_id: str, storage_class: str, proof: model.Proof, proven_at: datetime) -> int:
        """A copy that was found in the store, and how it is proven."""
        self.relocate(obj.dataset_id, tier)
        return self._insert(
            t.copy,
            object_id=obj.id,
            tier=tier,
            key=obj.key,
            version_id=version_id,
            storage_class=storage_class,
            proof=proof,
            proven_at=proven_at,
        )

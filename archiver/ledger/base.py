"""What every part of a transaction shares: reading rows as model objects, changing states, writing events."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

import sqlalchemy as sa

from archiver import model
from archiver.ledger import tables as t

Record = TypeVar("Record")

_CHANGES: Mapping[str, Mapping[Any, frozenset[Any]]] = {
    "transfer": model.TRANSFER_CHANGES,
    "drop": model.DROP_CHANGES,
    "recall": model.RECALL_CHANGES,
    "restore": model.RESTORE_CHANGES,
}


class Moved(Exception):
    """The row was not in the state the caller saw: somebody else moved it first. Nothing was written."""


class Base:
    """A transaction's connection, time and actor."""

    def __init__(self, connection: sa.Connection, at: datetime, actor: str) -> None:
        self.connection = connection
        self.at = at
        self.actor = actor
        self.committed_states: list[str] = []

    def _all(self, record: type[Record], select: sa.Select[Any]) -> list[Record]:
        return [record(**row._mapping) for row in self.connection.execute(select)]  # noqa: SLF001

    def _one(self, record: type[Record], select: sa.Select[Any]) -> Record | None:
        row = self.connection.execute(select).first()
        return None if row is None else record(**row._mapping)  # noqa: SLF001

    def _insert(self, table: sa.Table, **values: Any) -> int:
        key = self.connection.execute(sa.insert(table).values(**values)).inserted_primary_key
        assert key is not None
        return int(key[0])

    def change(self, noun: str, row: Any, to: StrEnum, **values: Any) -> None:
        """Move `row` (a Transfer, Drop, Recall or Restore) to state `to`, with `values`, and write the event.

        Raises `ValueError` for a change that model.py does not allow, `Moved` when the row is in another state by now.
        """
        if to not in _CHANGES[noun][row.state]:
            raise ValueError(f"{noun} {row.id}: {row.state} -> {to} is not a legal change")
        table = t.metadata.tables[noun]
        if "updated_at" in table.c:
            values["updated_at"] = self.at
        moved = self.connection.execute(sa.update(table).where(table.c.id == row.id, table.c.state == row.state).values(state=to, **values))
        if moved.rowcount != 1:
            raise Moved(f"{noun} {row.id} is no longer {row.state}")
        detail = {f"{noun}_id": row.id, **{k: v for k, v in values.items() if isinstance(v, str | int)}}
        for link in ("tier", "object_id", "copy_id"):
            if hasattr(row, link):
                detail[link] = getattr(row, link)
        self.event(row.dataset_id, f"{noun}.{to}", detail)
        self.committed_states.append(f"{noun}.{to}")

    def event(self, dataset_id: int, kind: str, detail: Mapping[str, Any]) -> None:
        """Append one line to a dataset's history."""
        seq = sa.select(sa.func.coalesce(sa.func.max(t.event.c.seq), 0) + 1).where(t.event.c.dataset_id == dataset_id).scalar_subquery()
        self._insert(t.event, dataset_id=dataset_id, seq=seq, at=self.at, actor=self.actor, kind=kind, detail=dict(detail))

    def look(self, dataset_id: int) -> None:
        """Have the worker compare this dataset's copies with its claims at its next turn."""
        self.connection.execute(sa.update(t.dataset).where(t.dataset.c.id == dataset_id).values(look_at=self.at))

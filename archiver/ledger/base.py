"""What every part of a transaction shares: reading rows as model objects, changing states, writing events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from enum import StrEnum
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from archiver import chain, model
from archiver.errors import Conflict
from archiver.ledger import tables as t

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record", bound="DataclassInstance")
Name = TypeVar("Name", int, str, bytes)

_CHANGES: Mapping[str, Mapping[Any, frozenset[Any]]] = {
    "transfer": model.TRANSFER_CHANGES,
    "drop": model.DROP_CHANGES,
    "recall": model.RECALL_CHANGES,
    "restore": model.RESTORE_CHANGES,
    "leftover": model.LEFTOVER_CHANGES,
    "drill": model.DRILL_CHANGES,
    "erasure": model.ERASURE_CHANGES,
}


_IN_HAND = frozenset({model.TransferState.PLANNED, model.TransferState.COPYING, model.TransferState.VERIFYING})
"""States of a transfer in which its worker goes on; with every other it gives its lease back."""

_NOW_AND_THEN = timedelta(minutes=1)
"""A dataset is looked at this often while its transfers go on: each look reads all of it."""


class Moved(Exception):
    """The row was not in the state the caller saw: somebody else moved it first. Nothing was written."""

    @staticmethod
    def shown() -> Conflict:
        """The same for a person, who did not know that somebody else was there."""
        return Conflict("Somebody else changed this at the same moment.", "Look at it again, then try again.")


@dataclass(frozen=True)
class _Head:
    """The last link of a dataset's chain."""

    dataset: str  # instrument/name
    seq: int
    hash: str


class Base:
    """A transaction's connection, time and actor. One that is not `writing` sees one moment of the ledger."""

    def __init__(self, connection: sa.Connection, at: datetime, actor: str, *, writing: bool = True) -> None:
        self.connection = connection
        self.writing = writing
        self.at = at
        self.actor = t.speakable(actor)
        self.committed_states: list[str] = []
        self._heads: dict[int, _Head] = {}  # of the datasets that this transaction holds still

    def _all(self, record: type[Record], select: sa.Select[Any], values: Mapping[str, Any] | None = None) -> list[Record]:
        rows = self.connection.execute(select, values)
        found = list(rows.keys())
        in_order = itemgetter(*(found.index(field.name) for field in fields(record)))
        return [record(*in_order(row)) for row in rows.all()]

    def _one(self, record: type[Record], select: sa.Select[Any]) -> Record | None:
        return next(iter(self._all(record, select)), None)

    def _insert(self, table: sa.Table, **values: Any) -> int:
        key = self.connection.execute(sa.insert(table).values(**values)).inserted_primary_key
        assert key is not None
        return int(key[0])

    def _update_each(self, table: sa.Table, key: sa.Column[Any], rows: Sequence[Mapping[str, Any]]) -> None:
        """Each row: `of`, which is the value of `key`, and new values, of the same columns in all. One statement, however many they are."""
        if not rows:
            return
        names = [name for name in rows[0] if name != "of"]
        values: dict[str, Any] = {name: sa.bindparam(f"new_{name}") for name in names}
        named = [{"of_key": row["of"], **{f"new_{name}": row[name] for name in names}} for row in rows]
        self.connection.execute(sa.update(table).where(key == sa.bindparam("of_key")).values(**values), named)

    def change(self, noun: str, row: Any, to: StrEnum, **values: Any) -> None:
        """Move `row` (a Transfer, Drop, Recall or Restore) to state `to`, with `values`, and write the event.

        Raises `ValueError` for a change that model.py does not allow, `Moved` when the row is in another state by now.
        """
        self.change_all(noun, [row], to, **values)

    def change_all(self, noun: str, rows: Sequence[Any], to: StrEnum, each: Sequence[Mapping[str, Any]] = (), **values: Any) -> None:
        """The same for many rows of one dataset that are in the same state: all are moved, or none. A few queries, however many they are.

        `each`: for each row, in the same order, values of its own (of the same columns).
        """
        if not rows:
            return
        first = rows[0]
        if to not in _CHANGES[noun][first.state]:
            raise ValueError(f"{noun} {first.id}: {first.state} -> {to} is not a legal change")
        # The dataset before its rows, always: two that change it wait in one line, never for each other.
        dataset_id = getattr(first, "dataset_id", None)
        if dataset_id is not None:
            self.hold_still(dataset_id)
        table = t.metadata.tables[noun]
        if "updated_at" in table.c:
            values["updated_at"] = self.at
        said = _said(values)
        if noun == "transfer" and to not in _IN_HAND:
            values |= {"lease_by": None, "lease_until": None}
        for part in batches([row.id for row in rows]):
            moving = sa.update(table).where(table.c.id.in_(part), table.c.state == first.state).values(state=to, **values)
            if self.connection.execute(moving).rowcount != len(part):
                raise Moved(f"{noun} {', '.join(map(str, part[:3]))} is no longer {first.state}")
        if each:
            own = [{"row_id": row.id, **its} for row, its in zip(rows, each, strict=True)]
            self.connection.execute(sa.update(table).where(table.c.id == sa.bindparam("row_id")), own)
        details = []
        for row, its in zip(rows, each or [{}] * len(rows), strict=True):
            links = {link: getattr(row, link) for link in ("tier", "object_id", "copy_id") if hasattr(row, link)}
            details.append({f"{noun}_id": row.id, **said, **_said(its), **links})
        if dataset_id is not None:  # what belongs to no dataset has no history
            self.events_of(dataset_id, f"{noun}.{to}", details)
            if noun == "transfer" and to not in _IN_HAND:
                self._look_between(dataset_id)
        self.committed_states += [f"{noun}.{to}"] * len(rows)

    def event(self, dataset_id: int, kind: str, detail: Mapping[str, Any]) -> None:
        """Append one line to a dataset's history, chained to the one before it."""
        self.events_of(dataset_id, kind, [detail])

    def events_of(self, dataset_id: int, kind: str, details: Sequence[Mapping[str, Any]]) -> None:
        """Append lines of one kind. The first of a transaction costs one query more than each that follows."""
        head = self.hold_still(dataset_id)
        lines = []
        for line in details:
            detail = chain.plain(line)
            digest = chain.link(head.hash, chain.said(head.dataset, head.seq + 1, self.at, self.actor, kind, detail))
            head = _Head(head.dataset, head.seq + 1, digest)
            lines.append(
                {"dataset_id": dataset_id, "seq": head.seq, "at": self.at, "actor": self.actor, "kind": kind, "detail": detail, "hash": digest}
            )
        self._heads[dataset_id] = head
        self.connection.execute(sa.insert(t.event).inline(), lines)

    def deed(self, kind: str, about: str, detail: Mapping[str, Any]) -> None:
        """Write down that this transaction's actor did something that belongs to no dataset."""
        self.connection.execute(sa.insert(t.deed).values(at=self.at, actor=self.actor, kind=kind, about=about, detail=chain.plain(detail)))

    def continue_chain(self, dataset_id: int, seq: int, head: str, anchor_day: str, anchor_sha256: str) -> None:
        """In a rebuilt ledger: begin a dataset's chain where the last anchor saw it end. Only as its first event."""
        now = self.hold_still(dataset_id)
        if now.seq:
            raise ValueError(f"{now.dataset} has a history already")
        self._heads[dataset_id] = _Head(now.dataset, seq, head)
        self.event(dataset_id, chain.CONTINUED, {"anchor": anchor_day, "anchor_sha256": anchor_sha256, "seq": seq, "head": head})

    def hold_still(self, dataset_id: int) -> _Head:
        """Until this transaction ends, no other writes into this dataset's history, and so none changes a state in it.

        What is read of the dataset from then on is one picture, and true when it is acted upon.
        """
        held = self._heads.get(dataset_id)
        if held is None:
            d, e = t.dataset.c, t.event.c
            if self.connection.dialect.name != "sqlite":  # there a writer is alone
                # A statement of its own: the next one sees what the one we waited for has written.
                self.connection.execute(sa.select(d.id).where(d.id == dataset_id).with_for_update(key_share=True))
            newest = sa.select(d.instrument, d.name, sa.func.coalesce(e.seq, 0), sa.func.coalesce(e.hash, chain.GENESIS))
            newest = newest.select_from(t.dataset.outerjoin(t.event)).where(d.id == dataset_id).order_by(e.seq.desc()).limit(1)
            instrument, name, seq, digest = self.connection.execute(newest).one()
            held = self._heads[dataset_id] = _Head(f"{instrument}/{name}", seq, digest)
        return held

    def relocate(self, dataset_id: int, tier: str) -> None:
        """A dataset's copies in a tier have changed: its location record there is due."""
        insert = sqlite.insert if self.connection.dialect.name == "sqlite" else postgresql.insert
        row = insert(t.location).values(dataset_id=dataset_id, tier=tier, dirty_at=self.at)
        self.connection.execute(row.on_conflict_do_update(index_elements=["dataset_id", "tier"], set_={"dirty_at": self.at}))

    def look(self, dataset_id: int) -> None:
        """Have the worker compare this dataset's copies with its claims at its next turn."""
        self.connection.execute(sa.update(t.dataset).where(t.dataset.c.id == dataset_id).values(look_at=self.at))

    def _look_between(self, dataset_id: int) -> None:
        """A transfer came to its end, or waits: its dataset is looked at once no other goes on, and now and then while some do."""
        c, d = t.transfer.c, t.dataset.c
        going = sa.select(c.id).where(c.dataset_id == dataset_id, c.state.in_(_IN_HAND), c.source_uri.is_(None)).limit(1)
        if self.connection.execute(going).first() is None:
            self.look(dataset_id)
            return
        soon = self.at + _NOW_AND_THEN
        self.connection.execute(sa.update(t.dataset).where(d.id == dataset_id, sa.or_(d.look_at.is_(None), d.look_at > soon)).values(look_at=soon))


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    """What of a row's new values stands in its event."""
    return {k: v for k, v in values.items() if isinstance(v, str | int)}


def batches(named: Sequence[Name], size: int = 500) -> list[Sequence[Name]]:
    """In parts that a query can name one by one: numbers, or keys."""
    return [named[at : at + size] for at in range(0, len(named), size)]

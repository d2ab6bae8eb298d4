"""Chains and anchors in the ledger: their heads by pages, and what each anchor saw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from archiver import chain, model
from archiver.ledger import tables as t
from archiver.ledger.base import Base

_PAGE = 1000


@dataclass(frozen=True)
class Head:
    """The last event of a chain: its number and hash. `dataset` is `instrument/name`."""

    dataset_id: int
    dataset: str
    seq: int
    hash: str


class History(Base):
    """Reading chains; writing anchors."""

    # chains

    def newest_event_id(self) -> int:
        return int(self.connection.execute(sa.select(sa.func.coalesce(sa.func.max(t.event.c.id), 0))).scalar_one())

    def heads(self, after_dataset_id: int, limit: int, *, after_event_id: int = 0) -> list[Head]:
        """Heads of the chains that have an event after `after_event_id`, by the datasets' numbers."""
        d, e, newest = t.dataset.c, t.event.c, t.event.alias().c
        last = sa.select(newest.id).where(newest.dataset_id == d.id).order_by(newest.seq.desc()).limit(1).scalar_subquery()
        select = (
            sa.select(d.id, d.instrument, d.name, e.seq, e.hash)
            .join_from(t.dataset, t.event, e.id == last)
            .where(d.id > after_dataset_id, e.id > after_event_id)
            .order_by(d.id)
            .limit(limit)
        )
        return [Head(row[0], f"{row[1]}/{row[2]}", row[3], row[4]) for row in self.connection.execute(select)]

    def chain_of(self, dataset_id: int, *, after_seq: int = 0) -> Iterator[model.Event]:
        """A dataset's events in order, read by pages."""
        c = t.event.c
        while True:
            page = self._all(model.Event, sa.select(t.event).where(c.dataset_id == dataset_id, c.seq > after_seq).order_by(c.seq).limit(_PAGE))
            yield from page
            if len(page) < _PAGE:
                return
            after_seq = page[-1].seq

    def hashes_at(self, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], str | None]:
        """For (`instrument/name`, seq) the hash that the ledger has there; None where the chain was begun anew after it.

        What is left out is not in the ledger: the dataset, or its event of that number.
        """
        d, e = t.dataset.c, t.event.c
        names = {tuple(dataset.split("/", 1)) for dataset, _ in places}
        select = sa.select(d.id, d.instrument, d.name).where(sa.tuple_(d.instrument, d.name).in_(names))
        numbers = {f"{row[1]}/{row[2]}": row[0] for row in self.connection.execute(select)}
        wanted = {(numbers[dataset], seq): (dataset, seq) for dataset, seq in places if dataset in numbers}
        select_events = sa.select(e.dataset_id, e.seq, e.hash).where(sa.tuple_(e.dataset_id, e.seq).in_(list(wanted)))
        found: dict[tuple[str, int], str | None] = {wanted[row[0], row[1]]: row[2] for row in self.connection.execute(select_events)}
        first = sa.select(t.event).where(e.kind == chain.CONTINUED, e.dataset_id.in_({key[0] for key in wanted if wanted[key] not in found}))
        begun = {event.dataset_id: chain.start(event) for event in self._all(model.Event, first)}
        for (dataset_id, seq), place in wanted.items():
            if place not in found and dataset_id in begun and seq <= begun[dataset_id][0]:
                found[place] = begun[dataset_id][1] if seq == begun[dataset_id][0] else None
        return found

    def datasets_by_number(self, after_id: int, limit: int) -> list[model.Dataset]:
        """All datasets, by pages."""
        return self._all(model.Dataset, sa.select(t.dataset).where(t.dataset.c.id > after_id).order_by(t.dataset.c.id).limit(limit))

    # anchors

    def anchor(self, day: str) -> model.Anchor | None:
        return self._one(model.Anchor, sa.select(t.anchor).where(t.anchor.c.day == day))

    def last_anchor(self) -> model.Anchor | None:
        return self._one(model.Anchor, sa.select(t.anchor).order_by(t.anchor.c.day.desc()).limit(1))

    def anchors(self, *, since: str = "", limit: int | None = None) -> list[model.Anchor]:
        """Anchors of `since` (YYYY-MM-DD) and later, oldest first."""
        select = sa.select(t.anchor).where(t.anchor.c.day >= since).order_by(t.anchor.c.day)
        return self._all(model.Anchor, select.limit(limit) if limit else select)

    def add_anchor(self, anchor: model.Anchor) -> None:
        """Write down that the heads of a day stand in the store."""
        self.connection.execute(sa.insert(t.anchor).values(**anchor.__dict__))

    # one file

    def file(self, file_id: int) -> model.File | None:
        return self._one(model.File, sa.select(t.file).where(t.file.c.id == file_id))

    def all_copies_with(self, object_id: int) -> list[model.Copy]:
        """The copies in which an object's bytes stand or stood: its own and those of its bundles, dropped ones too."""
        bundles = sa.select(t.member.c.bundle_id).where(t.member.c.object_id == object_id)
        select = sa.select(t.copy).where(sa.or_(t.copy.c.object_id == object_id, t.copy.c.object_id.in_(bundles)))
        return self._all(model.Copy, select.order_by(t.copy.c.id))

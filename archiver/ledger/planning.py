"""Reading the ledger for plans: many datasets at once, objects that are alike counted together, so that memory stays bounded.

Objects of a dataset are alike when they are of one kind, stand in the same bundle and have copies in the same tiers: policy decides the
same for each of them, as long as nothing is under way and no stored claim means some of them only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from archiver import model
from archiver.ledger import tables as t
from archiver.ledger.base import Base


@dataclass(frozen=True)
class Alike:
    """`objects` of a dataset that are alike, together `size_bytes`; `object_id` is one of them. A bundle is alike to none but itself."""

    dataset_id: int
    kind: model.ObjectKind
    bundle_id: int | None
    tiers: tuple[str, ...]
    object_id: int
    objects: int
    size_bytes: int


@dataclass(frozen=True)
class SameAge:
    """Closed datasets of one project and instrument, received on one day and acquired on one day, together; times are the day's end."""

    project: str
    instrument: str
    received_at: datetime
    acquired_at: datetime | None
    datasets: int
    size_bytes: int


class Planning(Base):
    """Pages of datasets, and sums over all."""

    def datasets_after(self, dataset_id: int, limit: int, due_until: datetime | None) -> list[model.Dataset]:
        """Datasets that are not erased, by number, after `dataset_id`; with `due_until` those only that come out differently by then, or have work
        under way.

        Their metadata are left out (empty).
        """
        c = t.dataset.c
        select = sa.select(*(column for column in c if column.name not in {"metadata", "month", "tier"})).where(
            c.id > dataset_id, c.state != model.DatasetState.ERASED
        )
        if due_until is not None:
            under_way = (
                sa.select(table.c.dataset_id).where(table.c.state.in_(model.active(changes)))
                for table, changes in ((t.transfer, model.TRANSFER_CHANGES), (t.drop, model.DROP_CHANGES), (t.restore, model.RESTORE_CHANGES))
            )
            select = select.where(sa.or_(c.look_at <= due_until, *(c.id.in_(some) for some in under_way)))
        rows = self.connection.execute(select.order_by(c.id).limit(limit))
        return [model.Dataset(**row._mapping, metadata={}) for row in rows]  # noqa: SLF001

    def busy(self, dataset_ids: Iterable[int]) -> set[int]:
        """Those of these datasets that have transfers, drops, restores or stored claims that have not ended, or erased files."""
        ids = list(dataset_ids)
        selects = [
            sa.select(table.c.dataset_id).where(table.c.dataset_id.in_(ids), table.c.state.in_(model.active(changes)))
            for table, changes in ((t.transfer, model.TRANSFER_CHANGES), (t.drop, model.DROP_CHANGES), (t.restore, model.RESTORE_CHANGES))
        ]
        selects.append(sa.select(t.claim.c.dataset_id).where(t.claim.c.dataset_id.in_(ids), t.claim.c.ended_at.is_(None)))
        e = t.erasure.c
        selects.append(sa.select(e.dataset_id).where(e.dataset_id.in_(ids), e.state.in_([model.ErasureState.ERASING, model.ErasureState.ERASED])))
        return set(self.connection.execute(sa.union(*selects)).scalars())

    def largest_received(self, dataset_id: int) -> int:
        """Bytes of the largest file of a dataset that is received."""
        c = t.file.c
        select = sa.select(sa.func.max(c.size_bytes)).where(c.dataset_id == dataset_id, c.state == model.FileState.RECEIVED)
        return int(self.connection.execute(select).scalar() or 0)

    def alike(self, dataset_ids: Iterable[int], tiers: Sequence[str]) -> dict[int, list[Alike]]:
        """The objects of these datasets, those alike together. A dataset with an object in more than one bundle is left out."""
        ids = list(dataset_ids)
        o, m = t.object_.c, t.member.c
        bit = sa.case(*((t.copy.c.tier == name, 1 << n) for n, name in enumerate(tiers)), else_=0)
        held = sa.select(sa.func.coalesce(sa.func.sum(bit), 0)).where(t.copy.c.object_id == o.id, t.copy.c.dropped_at.is_(None))
        each = (
            sa.select(
                o.dataset_id,
                o.kind,
                sa.case((o.kind == model.ObjectKind.BUNDLE, o.id), else_=m.bundle_id).label("bundle_id"),
                held.scalar_subquery().label("held"),
                o.id,
                o.size_bytes,
            )
            .join_from(t.object_, t.member, m.object_id == o.id, isouter=True)
            .where(o.dataset_id.in_(ids))
            .subquery()
        )
        e = each.c
        grouped = sa.select(e.dataset_id, e.kind, e.bundle_id, e.held, sa.func.min(e.id), sa.func.count(), sa.func.sum(e.size_bytes)).group_by(
            e.dataset_id, e.kind, e.bundle_id, e.held
        )
        found: dict[int, list[Alike]] = {i: [] for i in ids}
        rows: dict[int, int] = dict.fromkeys(ids, 0)
        for dataset_id, kind, bundle_id, mask, object_id, objects, size in self.connection.execute(grouped):
            where = tuple(name for n, name in enumerate(tiers) if int(mask) >> n & 1)
            found[dataset_id].append(Alike(dataset_id, kind, bundle_id, where, object_id, objects, int(size)))
            rows[dataset_id] += objects
        counts = sa.select(o.dataset_id, sa.func.count()).where(o.dataset_id.in_(ids)).group_by(o.dataset_id)
        objects_of: dict[int, int] = {row[0]: row[1] for row in self.connection.execute(counts)}
        return {i: groups for i, groups in found.items() if rows[i] == objects_of.get(i, 0)}

    def same_age(self) -> Iterator[SameAge]:
        """All closed datasets, those of the same age together; one at a time, whatever their number."""
        c = t.dataset.c
        # One text to sort by is twice as fast as four columns; no name has a line break.
        day_received, day_acquired = (sa.func.substr(sa.cast(column, sa.Text), 1, 10) for column in (c.received_at, c.acquired_at))
        alike = c.project + "\n" + c.instrument + "\n" + day_received + "\n" + sa.func.coalesce(day_acquired, "")
        grouped = sa.select(alike.label("alike"), sa.func.count(), sa.func.sum(c.size_bytes)).where(c.state == model.DatasetState.CLOSED)
        for key, datasets, size in self.connection.execute(grouped.group_by("alike"), execution_options={"yield_per": 1000}):
            project, instrument, received, acquired = key.split("\n")
            yield SameAge(project, instrument, _end_of(received), _end_of(acquired) if acquired else None, datasets, int(size))

    def tiers_in_use(self) -> list[str]:
        """The tiers that hold live copies, by name; found by steps over an index, whatever the number of copies."""
        c = t.copy.c
        found: list[str] = []
        while True:
            select = sa.select(sa.func.min(c.tier)).where(c.dropped_at.is_(None))
            after: Any = self.connection.execute(select.where(c.tier > found[-1]) if found else select).scalar()
            if after is None:
                return found
            found.append(str(after))

    def awaiting_approval(self) -> tuple[int, int]:
        """How many restores wait for an admin's word, and their bytes."""
        c = t.restore.c
        select = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(c.size_bytes), 0)).where(c.state == model.RestoreState.AWAITING_APPROVAL)
        row = self.connection.execute(select).one()
        return int(row[0]), int(row[1])


@lru_cache(maxsize=4096)
def _end_of(day: str) -> datetime:
    return datetime.combine(date.fromisoformat(day), time.max, UTC)

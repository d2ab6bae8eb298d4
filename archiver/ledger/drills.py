"""Drills in the ledger: which were held, which is under way, and what could be drilled next."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from archiver import model
from archiver.ledger import tables as t
from archiver.ledger.base import Base
from archiver.model import DatasetState, DrillState


class Drills(Base):
    """Rehearsals of restores."""

    def plan_drill(self, dataset: model.Dataset, tier: str, seed: str) -> model.Drill:
        """Write down that a dataset shall be brought back from a tier and compared."""
        drill_id = self._insert(
            t.drill, dataset_id=dataset.id, tier=tier, state=DrillState.PLANNED, created_at=self.at, size_bytes=dataset.size_bytes
        )
        self.event(dataset.id, "drill.planned", {"drill_id": drill_id, "tier": tier, "seed": seed})
        self.committed_states.append("drill.planned")
        return self.drill(drill_id)

    def drill(self, drill_id: int) -> model.Drill:
        found = self._one(model.Drill, sa.select(t.drill).where(t.drill.c.id == drill_id))
        assert found is not None
        return found

    def drill_under_way(self) -> model.Drill | None:
        c = t.drill.c
        return self._one(model.Drill, sa.select(t.drill).where(c.state.in_(model.active(model.DRILL_CHANGES))).order_by(c.id).limit(1))

    def drills(self, limit: int) -> list[model.Drill]:
        """Newest first."""
        return self._all(model.Drill, sa.select(t.drill).order_by(t.drill.c.id.desc()).limit(limit))

    def last_drilled(self) -> dict[str, datetime]:
        """When each tier was drilled last."""
        c = t.drill.c
        return {row[0]: row[1] for row in self.connection.execute(sa.select(c.tier, sa.func.max(c.created_at, type_=t.UtcDateTime)).group_by(c.tier))}

    def failed_drills(self) -> list[model.Drill]:
        """Tiers whose last ended drill failed, with that drill."""
        c = t.drill.c
        newest = sa.select(sa.func.max(c.id)).where(c.ended_at.is_not(None)).group_by(c.tier)
        return self._all(model.Drill, sa.select(t.drill).where(c.id.in_(newest), c.state == DrillState.FAILED).order_by(c.id))

    def drillable(self, tier: str, max_bytes: int, *, cold: bool) -> int:
        """How many closed datasets up to this size have copies in a tier; `cold`: none in hot."""
        return int(
            self.connection.execute(sa.select(sa.func.count()).select_from(t.dataset).where(*self._fit(tier, max_bytes, cold=cold))).scalar_one()
        )

    def nth_drillable(self, tier: str, max_bytes: int, number: int, *, cold: bool) -> model.Dataset | None:
        """One of them, counted from 0 in the order of their numbers."""
        select = sa.select(t.dataset).where(*self._fit(tier, max_bytes, cold=cold)).order_by(t.dataset.c.id).offset(number).limit(1)
        return self._one(model.Dataset, select)

    def _fit(self, tier: str, max_bytes: int, *, cold: bool) -> Sequence[sa.ColumnElement[bool]]:
        d = t.dataset.c
        fit = [d.state == DatasetState.CLOSED, d.size_bytes <= max_bytes, self._holds(tier)]
        return [*fit, d.stub_at.is_not(None)] if cold else fit

    @staticmethod
    def _holds(tier: str) -> sa.ColumnElement[bool]:
        o, c = t.object_.c, t.copy.c
        lies = sa.select(o.id).join_from(t.object_, t.copy, c.object_id == o.id)
        return lies.where(o.dataset_id == t.dataset.c.id, o.kind != model.ObjectKind.MANIFEST, c.tier == tier, c.dropped_at.is_(None)).exists()

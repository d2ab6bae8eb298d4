"""What is found when copies are proven anew and stores are compared with the ledger; and what has to be looked at next.

Law: one open finding per tier, kind, key and version; it is resolved, never removed. A version with an open finding that says it may be
the last of its bytes is kept by everybody (`is_a_copy`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

import sqlalchemy as sa

from archiver import model
from archiver.ledger import tables as t
from archiver.ledger.base import Base
from archiver.model import FindingKind

SHOUTED = (FindingKind.GONE, FindingKind.QUARANTINED, FindingKind.COVERED)
"""What makes the archive ill until it is resolved."""


class Findings(Base):
    """Writing findings down, and reading what fixity.py and inventory.py need."""

    # findings

    def found(self, tier: str, kind: FindingKind, key: str, version_id: str | None, detail: str) -> bool:
        """Write a finding down; returns whether it is new."""
        changed = self.connection.execute(sa.update(t.finding).where(*self._same(tier, kind, key, version_id)).values(detail=detail))
        if changed.rowcount:
            return False
        self._insert(t.finding, tier=tier, kind=kind, key=key, version_id=version_id, detail=detail, found_at=self.at)
        return True

    @staticmethod
    def _same(tier: str, kind: FindingKind, key: str, version_id: str | None) -> list[sa.ColumnElement[bool]]:
        c = t.finding.c
        version = c.version_id.is_(None) if version_id is None else c.version_id == version_id
        return [c.tier == tier, c.kind == kind, c.key == key, version, c.resolved_at.is_(None)]

    def finding_of(self, tier: str, kind: FindingKind, key: str, version_id: str | None) -> model.Finding | None:
        """The open finding of this kind about this version."""
        return self._one(model.Finding, sa.select(t.finding).where(*self._same(tier, kind, key, version_id)))

    def resolve(self, finding: model.Finding) -> bool:
        """It is right again, or has become another finding; returns whether it was open."""
        c = t.finding.c
        return bool(
            self.connection.execute(sa.update(t.finding).where(c.id == finding.id, c.resolved_at.is_(None)).values(resolved_at=self.at)).rowcount
        )

    def findings(
        self, *, tier: str | None = None, kinds: Collection[FindingKind] | None = None, after_id: int = 0, limit: int = 200
    ) -> list[model.Finding]:
        """Open findings, oldest first."""
        c = t.finding.c
        select = sa.select(t.finding).where(c.resolved_at.is_(None), c.id > after_id)
        if tier is not None:
            select = select.where(c.tier == tier)
        if kinds is not None:
            select = select.where(c.kind.in_(kinds))
        return self._all(model.Finding, select.order_by(c.id).limit(limit))

    def finding_counts(self) -> dict[str, dict[str, int]]:
        """How many findings are open, by tier and kind."""
        c = t.finding.c
        counts: dict[str, dict[str, int]] = {}
        for tier, kind, number in self.connection.execute(
            sa.select(c.tier, c.kind, sa.func.count()).where(c.resolved_at.is_(None)).group_by(c.tier, c.kind).order_by(c.tier, c.kind)
        ):
            counts.setdefault(tier, {})[kind] = number
        return counts

    def harmed(self, dataset_ids: Iterable[int]) -> dict[int, str]:
        """Datasets with copies that nothing replaces, or that others cover, or whose last drill failed, each with a sentence."""
        ids = list(dataset_ids)
        if not ids:
            return {}
        c, o, d = t.finding.c, t.object_.c, t.drill.c
        newest = sa.select(sa.func.max(d.id)).where(d.dataset_id.in_(ids), d.ended_at.is_not(None)).group_by(d.dataset_id)
        failed = sa.select(d.dataset_id, d.tier, d.error).where(d.id.in_(newest), d.state == model.DrillState.FAILED)
        said = {row[0]: f"its drill from {row[1]} failed: {row[2]}" for row in self.connection.execute(failed)}
        select = (
            sa.select(o.dataset_id, sa.func.count(), sa.func.max(c.detail))
            .join_from(t.finding, t.object_, o.key == c.key)
            .where(o.dataset_id.in_(ids), c.kind.in_(SHOUTED), c.resolved_at.is_(None))
            .group_by(o.dataset_id)
        )
        return said | {row[0]: f"{row[1]} copies are not as they should be: {row[2]}" for row in self.connection.execute(select)}

    # a copy that is not what it should be

    def copy_at(self, tier: str, key: str, version_id: str) -> model.Copy | None:
        """The newest record of this version as a copy, dropped or not."""
        c = t.copy.c
        select = sa.select(t.copy).where(c.tier == tier, c.key == key, c.version_id == version_id).order_by(c.id.desc()).limit(1)
        return self._one(model.Copy, select)

    def adopt_copy(self, obj: model.Object, tier: str, version_id: str, storage_class: str, proof: model.Proof) -> None:
        """Bytes that did not count any more, or never did, are proven and needed: they are a copy."""
        copy_id = self._insert(
            t.copy, object_id=obj.id, tier=tier, key=obj.key, version_id=version_id, storage_class=storage_class, proof=proof, proven_at=self.at
        )
        self.relocate(obj.dataset_id, tier)
        self.event(obj.dataset_id, "copy.adopted", {"copy_id": copy_id, "tier": tier, "key": obj.key, "version_id": version_id, "proof": proof.value})
        self.look(obj.dataset_id)

    # what is proven next

    def share(self, tier: str) -> tuple[int, int]:
        """(live copies, their bytes) in a tier."""
        select = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(t.object_.c.size_bytes), 0)).join_from(t.copy, t.object_)
        row = self.connection.execute(select.where(t.copy.c.tier == tier, t.copy.c.dropped_at.is_(None))).one()
        return int(row[0]), int(row[1])

    def oldest_proofs(self, tier: str, limit: int, tried_since: datetime, before: datetime | None = None) -> list[tuple[model.Copy, model.Object]]:
        """Live copies of a tier that nobody is ending, oldest proof first, each with what it is a copy of.

        Left out are those that the store could not read after `tried_since`.
        """
        c = t.copy.c
        going = sa.select(t.drop.c.copy_id).where(t.drop.c.state.in_(model.active(model.DROP_CHANGES)))
        f = t.finding.c
        tried = sa.exists().where(
            f.tier == tier,
            f.key == c.key,
            f.version_id == c.version_id,
            f.kind == FindingKind.UNREADABLE,
            f.resolved_at.is_(None),
            f.found_at > tried_since,
        )
        select = self._with_object().where(c.tier == tier, c.dropped_at.is_(None), c.id.not_in(going), sa.not_(tried))
        if before is not None:
            select = select.where(c.proven_at < before)
        return self._pairs(select.order_by(c.proven_at, c.id).limit(limit))

    # what a listing is compared with

    def live_copies(self, tier: str, after_id: int, limit: int) -> list[tuple[model.Copy, model.Object]]:
        """Live copies of a tier in the order of their numbers, each with what it is a copy of."""
        c = t.copy.c
        return self._pairs(self._with_object().where(c.id > after_id, c.tier == tier, c.dropped_at.is_(None)).order_by(c.id).limit(limit))

    def _with_object(self) -> sa.Select[tuple[int]]:
        return sa.select(
            *(column.label(f"c_{column.name}") for column in t.copy.c), *(column.label(f"o_{column.name}") for column in t.object_.c)
        ).join_from(t.copy, t.object_)

    def _pairs(self, select: sa.Select[tuple[int]]) -> list[tuple[model.Copy, model.Object]]:
        found = []
        for row in self.connection.execute(select):
            values = row._mapping  # noqa: SLF001
            copy = model.Copy(**{column.name: values[f"c_{column.name}"] for column in t.copy.c})
            found.append((copy, model.Object(**{column.name: values[f"o_{column.name}"] for column in t.object_.c})))
        return found

    def live_keys(self, tier: str, keys: Collection[str]) -> set[str]:
        """Those of `keys` at which a tier has a live copy."""
        c = t.copy.c
        return set(self.connection.execute(sa.select(c.key).where(c.tier == tier, c.key.in_(keys), c.dropped_at.is_(None))).scalars())

    def objects_at(self, keys: Collection[str]) -> dict[str, model.Object]:
        """The objects that have these keys."""
        return {obj.key: obj for obj in self._all(model.Object, sa.select(t.object_).where(t.object_.c.key.in_(keys)))}

    def was_ours(self, tier: str, key: str, version_id: str) -> bool:
        """Whether a transfer of ours made this version, or it was a copy."""
        c = t.transfer.c
        made = sa.select(c.id).where(c.tier == tier, c.key == key, c.version_id == version_id)
        return self.copy_at(tier, key, version_id) is not None or self.connection.execute(made).first() is not None

    def dataset_with_prefix(self, prefix: str) -> model.Dataset | None:
        return self._one(model.Dataset, sa.select(t.dataset).where(t.dataset.c.prefix == prefix))

    def stubbed(self, after_id: int, limit: int) -> list[model.Dataset]:
        """Datasets whose stub stands in hot, as far as the ledger knows."""
        c = t.dataset.c
        return self._all(model.Dataset, sa.select(t.dataset).where(c.id > after_id, c.stub_at.is_not(None)).order_by(c.id).limit(limit))

"""What many small transfers need to know at once: a few queries, however many they are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa

from archiver import model
from archiver.ledger import tables as t
from archiver.ledger.base import Base


@dataclass(frozen=True)
class Lies:
    """A copy in which an object's bytes stand: its own (`offset_bytes` None), or a bundle's, where they begin at that offset."""

    copy: model.Copy
    offset_bytes: int | None


class Many(Base):
    """Reading for batch.py."""

    def transfers_numbered(self, ids: Collection[int]) -> list[model.Transfer]:
        """In order of their numbers."""
        return self._all(model.Transfer, sa.select(t.transfer).where(t.transfer.c.id.in_(ids)).order_by(t.transfer.c.id))

    def objects_numbered(self, ids: Collection[int]) -> dict[int, model.Object]:
        return {obj.id: obj for obj in self._all(model.Object, sa.select(t.object_).where(t.object_.c.id.in_(ids)))}

    def lie(self, object_ids: Collection[int]) -> dict[int, list[Lies]]:
        """For each object the copies in which its bytes stand, by number of the copy."""
        c, m = t.copy.c, t.member.c
        own = sa.select(c.object_id.label("of"), sa.null().label("offset_bytes"), *c).where(c.object_id.in_(object_ids), c.dropped_at.is_(None))
        bundled = sa.select(m.object_id.label("of"), m.offset_bytes, *c).join_from(t.member, t.copy, c.object_id == m.bundle_id)
        found: dict[int, list[Lies]] = {i: [] for i in object_ids}
        for select in (own, bundled.where(m.object_id.in_(object_ids), c.dropped_at.is_(None))):
            rows = self.connection.execute(select.order_by(c.id))
            _, _, *names = rows.keys()
            for of, offset_bytes, *values in rows:
                found[of].append(Lies(model.Copy(**dict(zip(names, values, strict=True))), offset_bytes))
        return found

    def keys_left(self, tier: str, keys: Collection[str]) -> set[str]:
        """Those of these keys at which something of ours was left unproven, whether the reaper has ended it or not."""
        c = t.leftover.c
        return set(self.connection.execute(sa.select(c.key).where(c.tier == tier, c.key.in_(keys))).scalars())

    def all_lie_in(self, tier: str, bundle_id: int) -> bool:
        """Whether a bundle has members, and each has a copy of its own in a tier."""
        c, m = t.copy.c, t.member.c
        there = sa.exists().where(c.object_id == m.object_id, c.tier == tier, c.dropped_at.is_(None))
        members = sa.select(m.object_id).where(m.bundle_id == bundle_id).limit(1)
        first, absent = (self.connection.execute(select).first() for select in (members, members.where(~there)))
        return first is not None and absent is None

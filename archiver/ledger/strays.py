"""Keys in hot that were given up while their senders might send to them still."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa

from archiver.ledger import tables as t
from archiver.ledger.base import Base, batches


class Strays(Base):
    """Writing them down, in the step that gives them up, and what is to be looked at."""

    def give_up(self, keys: Collection[str]) -> None:
        """From now on what stands at these keys is nobody's, until they are used again."""
        named = sorted(set(keys))
        for part in batches(named):
            self.connection.execute(sa.delete(t.stray).where(t.stray.c.key.in_(part)))
        if named:
            self.connection.execute(sa.insert(t.stray), [{"key": key, "since": self.at, "due_at": self.at} for key in named])

    def strays(self, limit: int) -> list[tuple[str, datetime]]:
        """(key, since when) of those that are to be looked at now."""
        c = t.stray.c
        rows = self.connection.execute(sa.select(c.key, c.since).where(c.due_at <= self.at).order_by(c.due_at, c.key).limit(limit))
        return [(row[0], row[1]) for row in rows]

    def are_strays(self, keys: Collection[str]) -> set[str]:
        """Those of these keys that were given up: what stands there is ours."""
        c = t.stray.c
        return {key for part in batches(sorted(keys)) for key in self.connection.execute(sa.select(c.key).where(c.key.in_(part))).scalars()}

    def look_at_stray_again(self, key: str, due_at: datetime) -> None:
        self.connection.execute(sa.update(t.stray).where(t.stray.c.key == key).values(due_at=due_at))

    def end_stray(self, key: str) -> None:
        """Nothing can come to it any more."""
        self.connection.execute(sa.delete(t.stray).where(t.stray.c.key == key))

"""Whose turn it is where only so many may go at once: priority, then fair share, then age. Pure.

Law: nobody's many wishes push another's one aside. Of equal priority, whose user has the fewest under way goes first, and each
that is let through counts at once.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

PRIORITY_MAX_USER = 5
PRIORITY_MAX_ADMIN = 9


@dataclass(frozen=True)
class Waiting:
    """Something that waits: `id` is its row's, `since` when it began to wait."""

    id: int
    user: str | None
    priority: int
    since: datetime


def in_turn(waiting: Iterable[Waiting], running: Mapping[str | None, int]) -> Iterator[Waiting]:
    """Those that wait, in the order in which they are let through. `running`: how many each user has under way already."""
    queues: dict[str | None, deque[Waiting]] = defaultdict(deque)
    for one in sorted(waiting, key=lambda w: (-w.priority, w.since, w.id)):
        queues[one.user].append(one)
    under_way = dict(running)
    while queues:
        user = min(queues, key=lambda u: (-queues[u][0].priority, under_way.get(u, 0), queues[u][0].since, queues[u][0].id))
        yield queues[user].popleft()
        under_way[user] = under_way.get(user, 0) + 1
        if not queues[user]:
            del queues[user]

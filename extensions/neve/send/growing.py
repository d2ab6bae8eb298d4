"""Snapshots of the files that an agent waits for because they are being written: every so many minutes, when they have changed.

Law: a snapshot is worth nothing later. It is taken and sent in a thread of its own, waits for nobody, and holds no file up: network, archiver,
store or disk that are not there drop it, with the reason, and the next turn takes another. What is known here is lost with the process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from neve.errors import NeveError
from neve.send.agent import Agent
from neve.send.answers import SnapshotItem
from neve.send.cutting import Cut, NotNow, clear, cut
from neve.send.events import Event, of_file
from neve.send.inbox import Inbox
from neve.send.parts import part_sizes
from neve.send.patience import GivenUp, Haste, Stop, Stopped
from neve.send.ready import Names
from neve.send.reception import Reception
from neve.send.sightings import Row, Sightings
from neve.send.store import CHUNK_BYTES, Away, Expired, Gone, Refused, Store
from neve.wording import utc_json

_LOOK_S = (1.0, 30.0)  # at least and at most between two looks for files that are due
_MOST = 500  # files that grow at once


@dataclass(frozen=True, slots=True)
class Taken:
    """A snapshot that was sent. `path`: where it is shown in the dataset; `at`: as of when, seconds since 1970."""

    path: str
    at: float
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Turn:
    """What became of a turn: the file as it was (empty: nothing was sent), the snapshot, or why there is none."""

    row: Row
    mark: str = ""
    taken: Taken | None = None
    reason: str = ""


class Growing:
    """The snapshots of one inbox. `run`: takes and sends them, one at a time. `spool`: the folder in which copies are made.

    `taken`: the last snapshot of each file that waits, by its name below the inbox.
    """

    def __init__(
        self, agent: Agent, inbox: Inbox, sightings: Sightings, reception: Reception, *, run: Executor, spool: Path,
        tell: Callable[[Event], None], wake: Callable[[], None], clock: Callable[[], float], wall: Callable[[], float],
    ) -> None:  # fmt: skip
        self._every_s = agent.snapshot_minutes * 60
        self._match = Names(agent.snapshot_match) if agent.snapshot_match else None
        self._agent, self._inbox, self._sightings = agent, inbox, sightings
        self._reception = reception.using(Haste(stop=Stop(reception.patience.stop)))
        self._run, self._spool, self._tell, self._wake, self._clock, self._wall = run, spool, tell, wake, clock, wall
        self._store = Store()
        self._under_way: Future[_Turn] | None = None
        self._next_look = clock()
        self._tried: dict[bytes, float] = {}
        self._marks: dict[bytes, str] = {}
        self._said: dict[bytes, str] = {}
        self.taken: dict[bytes, Taken] = {}
        clear(spool)

    def turn(self) -> float:
        """Take in what ended, and begin with a file that is due. Returns when to come back (monotonic), unless `wake` calls before."""
        if self._under_way is not None:
            if not self._under_way.done():
                return self._next_look
            turn, self._under_way = self._under_way.result(), None
            self._settle(turn)
            self._next_look = self._clock()
        if self._clock() >= self._next_look and not self._reception.patience.stop.is_set():
            due = self._due()
            least, most = _LOOK_S
            self._next_look = self._clock() + min(max(self._every_s / 4, least), most)
            if due is not None:
                self._tried[due.name] = self._clock()
                self._under_way = self._run.submit(self._take, due)
                self._under_way.add_done_callback(lambda _future: self._wake())
        return self._next_look

    def close(self) -> None:
        """End what is under way."""
        self._reception.patience.stop.set()
        self._store.close()
        self._run.shutdown(wait=True)

    def _due(self) -> Row | None:
        """The file that has waited longest for its snapshot. What no longer waits is forgotten."""
        now = self._clock()
        rows = {row.name: row for row in self._sightings.waiting_since(self._wall() - self._every_s, _MOST)}
        gone = {*self._tried, *self._marks, *self._said, *self.taken} - rows.keys()
        for known in (self._tried, self._marks, self._said, self.taken):
            for name in gone:
                known.pop(name, None)
        last = {name: self._tried.get(name, -math.inf) for name in rows}
        due = [row for row in rows.values() if now - last[row.name] >= self._every_s and self._grows(row)]
        return min(due, key=lambda row: last[row.name], default=None)

    def _grows(self, row: Row) -> bool:
        wanted = self._match is None or self._match.match(row.name.rpartition(b"/")[2])
        return wanted and row.seen.size_bytes > 0 and not self._inbox.is_temporary(row.name) and not self._inbox.is_signal(row.name)

    def _settle(self, turn: _Turn) -> None:
        name = turn.row.name
        if turn.taken is not None:
            self._marks[name], self.taken[name] = turn.mark, turn.taken
            self._said.pop(name, None)
            at = utc_json(datetime.fromtimestamp(turn.taken.at, UTC))
            self._tell(of_file("snapshot", name, shown_at=turn.taken.path, size_bytes=turn.taken.size_bytes, taken_at=at))
        elif turn.reason and turn.reason != self._said.get(name):  # said once, not at every turn
            self._said[name] = turn.reason
            self._tell(of_file("no_snapshot", name, reason=turn.reason))

    # In the other thread

    def _take(self, row: Row) -> _Turn:
        try:
            original = self._inbox.path(row.name)
            info = original.lstat()
            if self._marks.get(row.name) == f"{info.st_size}:{info.st_mtime_ns}":
                return _Turn(row)
            at = self._wall()
            with cut(original, self._spool, known_only=self._match is None, pause=self._reception.patience.pause) as made:
                path = self._send(row, made, at)
        except Stopped:
            return _Turn(row)
        except (NotNow, GivenUp, NeveError, Away, Expired, Gone, Refused) as error:
            return _Turn(row, reason=str(error).rstrip("."))
        except FileNotFoundError:
            return _Turn(row)  # renamed, or gone: the inbox will see
        except OSError as error:
            return _Turn(row, reason=f"cannot be read ({error.strerror or error})")
        except Exception as error:  # noqa: BLE001 - a fault of ours costs a snapshot, never the agent
            return _Turn(row, reason=f"a fault of the agent, which its maker should know of ({type(error).__name__}: {error})")
        return _Turn(row, made.mark, Taken(path, at, made.size_bytes))

    def _send(self, row: Row, made: Cut, at: float) -> str:
        """Send a copy; gives the path that it is shown at."""
        place = self._inbox.place_of(row, made.path)
        if place is None:
            raise NotNow("no rule says which dataset it belongs to")
        reception = self._reception
        dataset = reception.open(place.dataset, place.project or None, self._agent.instrument or None)
        taken_at = utc_json(datetime.fromtimestamp(at, UTC))
        item = reception.announce(dataset.id, place.name, made.size_bytes, made.mark, taken_at, made.mtime_ns)
        if item.state == "busy":
            raise NotNow("the archiver has the one before in hand")
        if item.state != "shown":
            self._store = Store()  # its connections would be too old at the next turn
            try:
                version = self._put(item, made)
            finally:
                self._store.close()
            if reception.snapshot_done(item, made.sha256, version) == "missing":
                raise NotNow("the store does not have all of it")
        return item.path

    def _put(self, item: SnapshotItem, made: Cut) -> str | None:
        if item.put is not None:
            return self._store.put(item.put, made.size_bytes, self._pieces(made, 0, made.size_bytes))
        for number, size_bytes in part_sizes(made.size_bytes, item.part_bytes):
            if item.done.get(number) != size_bytes:
                put = self._reception.snapshot_parts(item, [number])[number]
                self._store.put(put, size_bytes, self._pieces(made, (number - 1) * item.part_bytes, size_bytes))
        return None

    def _pieces(self, made: Cut, start: int, size_bytes: int) -> Iterator[bytes]:
        with made.path.open("rb", buffering=0) as file:
            file.seek(start)
            left = size_bytes
            while left:
                self._reception.patience.check()
                piece = file.read(min(left, CHUNK_BYTES))
                left -= len(piece)
                yield piece

"""What was seen in an inbox and is not received yet.

Law: it is a notebook of looks, never a proof. Times in it are monotonic and begin anew with each start; losing it costs a waiting time and a question
per dataset, no data. Names are raw bytes below the inbox, joined by "/".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from neve.send.grouping import Place
from neve.send.ready import Seen, Signal
from neve.send.rows import NEVER, PAGE, Datasets, Rows

State = Literal["waiting", "ready", "sending", "refused"]
STATES: dict[State, str] = {
    "waiting": "not complete yet; the reason says why",
    "ready": "complete, and next to be sent",
    "sending": "being sent, or sent and being proven",
    "refused": "the archiver would not have it; tried again later, at once when it changes",
}
_UNSEEN = -1  # a size that no file has: not looked at since the start


@dataclass(frozen=True, slots=True)
class Row:
    """A file that is not received yet. `first_at`: seconds since 1970, for showing its age; `changed_at`, `due_at`: monotonic seconds."""

    name: bytes
    seen: Seen
    first_at: float
    changed_at: float
    changed_scan: int
    place: Place | None
    state: State
    reason: str
    due_at: float
    tries: int


@dataclass(frozen=True, slots=True)
class Until:
    """When a file is to be judged (monotonic seconds), and what it waits for until then."""

    due_at: float
    reason: str


@dataclass(frozen=True, slots=True)
class Count:
    """How much waits here. `oldest_at`: when the oldest was first seen, seconds since 1970."""

    waiting: int
    ready: int
    sending: int
    refused: int
    bytes_left: int
    oldest_at: float | None

    @property
    def left(self) -> int:
        """Files that are not received yet."""
        return self.waiting + self.ready + self.sending + self.refused


@dataclass(frozen=True, slots=True)
class SignalFound:
    """A marker (`manifest` false) or a checksum manifest. `target`: a folder or the start of names, which it speaks for; `closes`: a dataset."""

    name: bytes
    target: bytes
    closes: Place | None
    manifest: bool
    seen: Seen


class Sightings:
    """The files and signals of one inbox, over `rows`. Thread-safe. `datasets`: what is known of their datasets."""

    def __init__(self, rows: Rows) -> None:
        self._run, self.together, self._many = rows.run, rows.together, rows.many
        self.datasets = Datasets(rows)
        self.has_signals = False  # any marker or manifest
        self._touched = ("", "", 0, 0.0)

    def begin(self, now: float) -> None:
        """A new start: of each file only its age stays, each open dataset is quiet from now on, and nothing is being sent."""
        self._run(
            "UPDATE files SET size_bytes = ?, scan = 0, project = '', dataset = '', path = NULL, state = 'waiting', reason = '',"
            " changed_at = ?, due_at = ?",
            _UNSEEN, now, NEVER,
        )  # fmt: skip
        self.datasets.begin(now)
        self._run("DELETE FROM signals")
        self._run("DELETE FROM sums")
        self.has_signals = False

    # Looks

    def see(self, name: bytes, seen: Seen, scan: int, times: tuple[float, float], look: Until, place: Callable[[], Place | None]) -> bool:
        """Note a look at a file that is not received; `place` is asked when it is new. Says whether the file is new or changed.

        `times`: monotonic seconds, and seconds since 1970.
        """
        now, wall = times
        known = self._run("SELECT size_bytes, mtime_ns, first_at FROM files WHERE name = ?", name)
        if known and known[0][:2] == (seen.size_bytes, seen.mtime_ns):
            self._run("UPDATE files SET scan = ? WHERE name = ?", scan, name)
            return False
        if known and known[0][0] != _UNSEEN:
            self._run(
                "UPDATE files SET size_bytes = ?, mtime_ns = ?, changed_at = ?, changed_scan = ?, scan = ?, due_at = ?, tries = 0,"
                " state = CASE state WHEN 'sending' THEN state ELSE 'waiting' END, reason = ? WHERE name = ?",
                seen.size_bytes, seen.mtime_ns, now, scan, scan, look.due_at, look.reason, name,
            )  # fmt: skip
            where = self._run("SELECT project, dataset FROM files WHERE name = ?", name)[0]
        else:
            at = place()
            where = (at.project or "", at.dataset) if at else ("", "")
            first_at = known[0][2] if known else wall
            self._run(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'waiting', ?, ?, 0)",
                name, seen.size_bytes, seen.mtime_ns, first_at, now, scan, scan, *where, at.name if at else None, look.reason, look.due_at,
            )  # fmt: skip
        if where[1] and (self._touched[:3] != (*where, scan) or now - self._touched[3] >= 1):  # a dataset of a million is touched once a second
            self.datasets.touch(where[0], where[1], now, scan)
            self._touched = (where[0], where[1], scan, now)
        return True

    def signal(self, found: SignalFound, scan: int) -> bool:
        """Note a look at a marker or manifest. Says whether it is new or changed; what it speaks for is then looked at again."""
        known = self._run("SELECT size_bytes, mtime_ns FROM signals WHERE name = ?", found.name)
        if known and known[0] == (found.seen.size_bytes, found.seen.mtime_ns):
            self._run("UPDATE signals SET scan = ? WHERE name = ?", scan, found.name)
            return False
        closes = (found.closes.project or "", found.closes.dataset) if found.closes else ("", "")
        self._run(
            "INSERT OR REPLACE INTO signals VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            found.name, found.target, *closes, found.manifest, found.seen.size_bytes, found.seen.mtime_ns, scan, scan,
        )  # fmt: skip
        self.has_signals = True
        folder = found.name.rpartition(b"/")[0]
        below = (folder + b"/", folder + b"0") if folder else (b"", b"\xff" * 8)  # "0" follows "/"
        self._run("UPDATE files SET due_at = 0 WHERE state IN ('waiting', 'refused') AND name >= ? AND name < ?", *below)
        return True

    def fulfilled(self, name: bytes, scan: int) -> None:
        """If it is a manifest: all that it names is received, so it has come now."""
        if self.has_signals:
            self._run("UPDATE signals SET first_scan = ? WHERE name = ? AND manifest", scan, name)

    def set_sums(self, manifest: bytes, sums: Iterable[tuple[bytes, str]]) -> None:
        """What a manifest says, instead of what it said before."""
        self._run("DELETE FROM sums WHERE manifest = ?", manifest)
        self._many("INSERT OR REPLACE INTO sums VALUES (?, ?, ?)", ((name, manifest, sha256) for name, sha256 in sums))

    def vanished(self, scan: int) -> int:
        """Forget what a full scan (`scan`) has not met any more. Returns how many files that were."""
        gone = self._run("SELECT count(*) FROM files WHERE scan < ? AND state != 'sending'", scan)[0][0]
        self._run("DELETE FROM files WHERE scan < ? AND state != 'sending'", scan)
        self._run("DELETE FROM sums WHERE manifest IN (SELECT name FROM signals WHERE scan < ?)", scan)
        self._run("DELETE FROM signals WHERE scan < ?", scan)
        return int(gone)

    # Judging

    def due(self, now: float) -> list[Row]:
        """Up to a page of files that are to be judged by now."""
        return self._rows("state IN ('waiting', 'refused') AND due_at <= ? ORDER BY due_at LIMIT ?", now, PAGE)

    def next_due(self) -> float:
        """When the next file is to be judged, or sent."""
        first = [self._run("SELECT min(due_at) FROM files WHERE state = ?", state)[0][0] for state in ("waiting", "ready", "refused")]
        return min((float(due_at) for due_at in first if due_at is not None), default=NEVER)

    def get(self, name: bytes) -> Row | None:
        """The row of a file."""
        found = self._rows("name = ?", name)
        return found[0] if found else None

    def judge(self, name: bytes, state: State, reason: str, due_at: float, *, tries: int | None = None) -> None:
        """Set what became of a look."""
        self._run("UPDATE files SET state = ?, reason = ?, due_at = ?, tries = coalesce(?, tries) WHERE name = ?", state, reason, due_at, tries, name)

    def settle_place(self, name: bytes, place: Place, now: float, scan: int) -> None:
        """A place that is known only now, from the file itself."""
        self._run("UPDATE files SET project = ?, dataset = ?, path = ? WHERE name = ?", place.project or "", place.dataset, place.name, name)
        self.datasets.touch(place.project or "", place.dataset, now, scan)

    def drop(self, name: bytes) -> None:
        """The file is received, or gone."""
        self._run("DELETE FROM files WHERE name = ?", name)

    def markers(self, targets: Iterable[bytes]) -> list[Signal]:
        """The markers that speak for one of `targets`."""
        asked = list(targets)
        marks = ", ".join("?" * len(asked))
        found = self._run(f"SELECT mtime_ns, first_scan FROM signals WHERE NOT manifest AND target IN ({marks})", *asked)  # noqa: S608 - marks only
        return [Signal(*row) for row in found]

    def manifests(self, name: bytes) -> list[Signal]:
        """The manifests that name a file."""
        found = self._run(
            "SELECT signals.mtime_ns, signals.first_scan FROM sums JOIN signals ON signals.name = sums.manifest WHERE sums.name = ?", name
        )
        return [Signal(*row) for row in found]

    def named_by(self, manifest: bytes) -> Iterator[tuple[bytes, str]]:
        """The files, below the inbox, that a manifest names, with their sums."""
        last = b""
        while page := self._run("SELECT name, sha256 FROM sums WHERE manifest = ? AND name > ? ORDER BY name LIMIT ?", manifest, last, PAGE):
            yield from page
            last = page[-1][0]

    # Sending

    def next_group(self, now: float) -> tuple[str, str] | None:
        """The dataset (project, name) whose oldest complete file is next."""
        found = self._run("SELECT project, dataset FROM files WHERE state = 'ready' AND due_at <= ? ORDER BY due_at LIMIT 1", now)
        return (str(found[0][0]), str(found[0][1])) if found else None

    def take(self, project: str, dataset: str, limit: int) -> int:
        """Put up to `limit` complete files of a dataset, no two of one path, into `sending`. Returns how many."""
        self._run(
            "UPDATE files SET state = 'sending' WHERE name IN (SELECT min(name) FROM files"
            " WHERE project = ? AND dataset = ? AND state = 'ready' GROUP BY path LIMIT ?)",
            project, dataset, limit,
        )  # fmt: skip
        return int(self._run("SELECT count(*) FROM files WHERE state = 'sending'")[0][0])

    def sending(self) -> Iterator[Row]:
        """The files that were taken, page by page."""
        last = None
        while rows := self._rows("state = 'sending' AND (? IS NULL OR name > ?) ORDER BY name LIMIT ?", last, last, PAGE):
            yield from rows
            last = rows[-1].name

    def sums_of(self, project: str, dataset: str) -> Mapping[bytes, str]:
        """Name in the dataset → SHA-256 that a manifest says, looked up when asked."""
        return _Sums(self, project, dataset)

    def sum_of(self, project: str, dataset: str, path: bytes) -> str | None:
        """What a manifest says of the file with this path in the dataset."""
        found = self._run(
            "SELECT sums.sha256 FROM files JOIN sums ON sums.name = files.name WHERE project = ? AND dataset = ? AND state = 'sending' AND path = ?",
            project, dataset, path,
        )  # fmt: skip
        return str(found[0][0]) if found else None

    # For people

    def count(self) -> Count:
        """How much waits."""
        by = {row[0]: row[1:] for row in self._run("SELECT state, count(*), sum(size_bytes), min(first_at) FROM files GROUP BY state")}
        numbers = {state: int(by[state][0]) if state in by else 0 for state in STATES}
        oldest = [row[2] for row in by.values() if row[2] is not None]
        return Count(**numbers, bytes_left=sum(int(row[1] or 0) for row in by.values()), oldest_at=min(oldest) if oldest else None)

    def waiting_since(self, at: float, limit: int) -> list[Row]:
        """Files that wait and were first seen by then (seconds since 1970), those that changed last first."""
        return self._rows("state = 'waiting' AND first_at <= ? ORDER BY changed_at DESC LIMIT ?", at, limit)

    def changed_since(self, at: float) -> bool:
        """Whether a file waits that changed after `at`."""
        return bool(self._run("SELECT 1 FROM files WHERE state = 'waiting' AND changed_at > ? LIMIT 1", at))

    def oldest(self, limit: int) -> list[Row]:
        """The files that have waited longest."""
        return self._rows("state IN ('waiting', 'refused') ORDER BY first_at LIMIT ?", limit)

    def _rows(self, where: str, *values: Any) -> list[Row]:
        found = self._run(
            "SELECT name, size_bytes, mtime_ns, first_at, changed_at, changed_scan, project, dataset, path, state, reason, due_at, tries"  # noqa: S608
            f" FROM files WHERE {where}",  # our own words; values are bound
            *values,
        )
        return [
            Row(name, Seen(size, mtime), first, changed, scan, Place(dataset, path, project or None) if dataset else None, state, reason, due, tries)
            for name, size, mtime, first, changed, scan, project, dataset, path, state, reason, due, tries in found
        ]


class _Sums(Mapping[bytes, str]):
    def __init__(self, sightings: Sightings, project: str, dataset: str) -> None:
        self._sightings, self._where = sightings, (project, dataset)

    def __getitem__(self, path: bytes) -> str:
        found = self._sightings.sum_of(*self._where, path)
        if found is None:
            raise KeyError(path)
        return found

    def __iter__(self) -> Iterator[bytes]:
        return (row.place.name for row in self._sightings.sending() if row.place and row.place.name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

"""Looking into an inbox: what is there, what of it is complete, and what the rest waits for.

Law: a file that the journal knows as received, as it stands, is passed by; every other one has a row in the sightings until it is received or gone.
A judgement says when to look again, so that a waiting file costs one look then, not one per round.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from neve.errors import WrongUse
from neve.send.agent import Agent
from neve.send.grouping import ByField, Grouping, Place, dataset_name
from neve.send.journal import Entry, Journal
from neve.send.ready import Names, Seen, unfinished, vouched
from neve.send.rows import NEVER
from neve.send.sightings import Row, Sightings, SignalFound, Until
from neve.send.source import Skipped, Source, local_path, name_of, scan, shown
from neve.send.sums import read_sums, sums_below
from neve.wording import duration_text

_TOGETHER = 500  # looks in one transaction
_AGAIN_S = (5.0, 60.0)  # at least and at most between two looks at a file that its format holds back


@dataclass(frozen=True, slots=True)
class Look:
    """What a full scan met: files, of them those received before, new or changed ones, and rows whose file is gone."""

    files: int
    received: int
    changed: int
    gone: int


class Inbox:
    """One inbox. `clock`: monotonic seconds; `wall`: seconds since 1970; `on_skip`: told once of each thing that is no file or cannot be read."""

    def __init__(
        self, agent: Agent, journal: Journal, sightings: Sightings, clock: Callable[[], float], wall: Callable[[], float],
        on_skip: Callable[[Skipped], None],
    ) -> None:  # fmt: skip
        self.root = local_path(agent.inbox)
        self.number = 0  # of the last look; every full scan and every round of events is one
        self._agent, self._journal, self._sightings, self._clock, self._wall = agent, journal, sightings, clock, wall
        self._grouping: Grouping = agent.grouping()
        self._markers, self._manifests, self._temporary = Names(agent.markers), Names(agent.manifests), Names(agent.temporary)
        self._on_skip = on_skip
        self._changing = f"changed less than {duration_text(agent.still_s)} ago"
        self._last_known: tuple[int, str, str] | None = None

    def path(self, name: bytes) -> Path:
        """Where a name below the inbox lies on this machine."""
        text = name.decode("utf-8", "surrogatepass") if os.name == "nt" else os.fsdecode(name)
        return self.root.joinpath(*text.split("/"))

    def is_temporary(self, name: bytes) -> bool:
        """Whether the file, or a folder that it lies in, has a name that waits to be renamed."""
        return any(self._temporary.match(part) and not self._markers.match(part) for part in name.split(b"/"))

    def is_signal(self, name: bytes) -> bool:
        """Whether the file is a marker or a checksum manifest."""
        base = name.rpartition(b"/")[2]
        return self._markers.match(base) or self._manifests.match(base)

    def place_of(self, row: Row, copy: Path) -> Place | None:
        """Where a file belongs that is not complete: by its name, or by what a consistent copy of it says."""
        return row.place or (self._placed(row.name, copy) if self._grouping.needs_file else None)

    def scan(self) -> Look:
        """Look at everything. Raises OSError where the inbox itself is not there: an unmounted inbox is not an empty one."""
        with os.scandir(self.root):
            pass
        self.number += 1
        look = self._look(scan([self.root], self._on_skip))
        return Look(*look, gone=self._sightings.vanished(self.number))

    def touched(self, paths: Iterable[Path]) -> None:
        """Look at what events named. What is gone by now, the next full scan notices."""
        self.number += 1
        for path in paths:
            try:
                relative = name_of(local_path(path).relative_to(self.root))
                info = path.lstat()
            except (OSError, ValueError):
                continue
            if stat.S_ISDIR(info.st_mode):
                prefix = relative + b"/" if relative else b""
                self._look(Source(found.path, prefix + found.name, found.size_bytes, found.mtime_ns) for found in scan([path], self._on_skip))
            else:
                self._look(Source(found.path, relative, found.size_bytes, found.mtime_ns) for found in scan([path], self._on_skip))

    def _look(self, sources: Iterator[Source]) -> tuple[int, int, int]:
        files = received = changed = 0
        while batch := list(islice(sources, _TOGETHER)):
            with self._sightings.together():
                for source in batch:
                    files += 1
                    if self.is_signal(source.name):
                        self._signal(source, source.name.rpartition(b"/")[2])
                    entry = self._journal.find(source)
                    if entry is not None and entry.state == "received":
                        received += 1
                        self._known(source, entry)
                    else:
                        changed += self._see(source)
        return files, received, changed

    def _see(self, source: Source) -> bool:
        now = self._clock()
        seen = Seen(source.size_bytes, source.mtime_ns)

        def place() -> Place | None:
            return None if self._grouping.needs_file else self._placed(source.name, source.path)

        # Not looked at before it can have been still, unless a marker or manifest is there that may speak for it.
        look = self._still(now, 0.0 if self._sightings.has_signals else self._agent.still_s)
        return self._sightings.see(source.name, seen, self.number, (now, self._wall()), look, place)

    def _still(self, changed_at: float, wait_s: float) -> Until:
        return Until(changed_at + wait_s, self._changing)

    def _placed(self, name: bytes, path: Path) -> Place | None:
        place = self._grouping.place(name, path)
        if place is None or place.project or not self._agent.project:
            return place
        return Place(place.dataset, place.name, self._agent.project)

    def _known(self, source: Source, entry: Entry) -> None:
        """A received file: its dataset may still have to be closed, and its receipt to be asked for."""
        if self._grouping.needs_file:
            self._sightings.datasets.known_target(entry.dataset_id, entry.dataset)
            return
        place = self._placed(source.name, source.path)
        if place is None:
            return
        known = (entry.dataset_id, place.project or "", place.dataset)
        if known == self._last_known:
            return
        self._last_known = known
        name = entry.dataset.rpartition("/")[2]
        if name == place.dataset or name.startswith(f"{place.dataset}+"):  # else it was sent by hand, under another name
            self._sightings.datasets.know(known[1], known[2], self._clock(), self.number)
            self._sightings.datasets.known_target(entry.dataset_id, entry.dataset)

    def _signal(self, source: Source, base: bytes) -> None:
        folder = source.name.rpartition(b"/")[0]
        manifest = not self._markers.match(base)
        of = (self._manifests if manifest else self._markers).stem(base)
        place = None if isinstance(self._grouping, ByField) else self._placed(source.name, source.path)
        named = folder + b"/" + of if folder else of
        if not of or of == folder.rpartition(b"/")[2]:  # `.complete`, `manifest-sha256.txt`, `run42/run42.done`: the folder
            target = folder + b"/"
            closes = place is not None and b"/" not in place.name
        else:
            target = named
            closes = place is not None and (dataset_name(of) == place.dataset or self._same_dataset(named, place))
        found = SignalFound(source.name, target, place if closes else None, manifest, Seen(source.size_bytes, source.mtime_ns))
        if self._sightings.signal(found, self.number) and manifest:
            self._read_manifest(source)

    def _same_dataset(self, folder: bytes, place: Place) -> bool:
        """Whether `folder` is one, and all of the dataset."""
        within = self._placed(folder + b"/x", self.path(folder) / "x") if self.path(folder).is_dir() else None
        return within is not None and within.dataset == place.dataset

    def _read_manifest(self, source: Source) -> None:
        sums: dict[bytes, str] = {}
        with suppress(OSError, WrongUse):  # half written: read again when it changes; what stays so is said when it is judged
            sums = sums_below(source.path, read_sums(source.path), self.root)
        self._sightings.set_sums(source.name, sums.items())

    # Judging

    def judge(self) -> None:
        """Judge every file whose time has come."""
        while rows := self._sightings.due(self._clock()):
            with self._sightings.together():
                for row in rows:
                    self._judge(row)

    def _judge(self, row: Row) -> None:
        path = self.path(row.name)
        try:
            info = path.lstat()
        except FileNotFoundError:
            self._sightings.drop(row.name)
            return
        except OSError as error:
            self._hold(row, f"cannot be read ({error.strerror or error})")
            return
        now, seen = self._clock(), Seen(info.st_size, info.st_mtime_ns)
        if not stat.S_ISREG(info.st_mode):
            self._sightings.drop(row.name)
        elif seen != row.seen:
            self.number += 1
            self._sightings.see(row.name, seen, self.number, (now, self._wall()), self._still(now, self._agent.still_s), lambda: row.place)
        elif (entry := self._journal.find(Source(path, row.name, *_pair(seen)))) is not None and entry.state == "received":
            self._sightings.drop(row.name)
        else:
            self._complete(row, path, now)

    def _complete(self, row: Row, path: Path, now: float) -> None:
        if self.is_temporary(row.name):
            self._sightings.judge(row.name, "waiting", "its name is a temporary one", NEVER)
            return
        vouched_for = self._vouched(row)
        still = self._still(row.changed_at, self._agent.still_s)
        if not vouched_for and now < still.due_at:
            self._sightings.judge(row.name, "waiting", still.reason, still.due_at)
            return
        try:
            reason = "" if vouched_for else unfinished(path)
            if not reason and self._manifests.match(row.name.rpartition(b"/")[2]):
                reason = self._unfulfilled(row.name, path, vouched_for=vouched_for)
        except OSError as error:
            reason = f"cannot be read ({error.strerror or error})"
        if reason:
            self._hold(row, reason)
            return
        if row.place is None:
            place = self._placed(row.name, path)
            if place is None:
                self._sightings.judge(row.name, "waiting", "no rule says which dataset it belongs to", NEVER)
                return
            self._sightings.settle_place(row.name, place, now, self.number)
        self._sightings.judge(row.name, "ready", "", now)

    def _unfulfilled(self, name: bytes, path: Path, *, vouched_for: bool) -> str:
        """A manifest is complete when all that it names is received, with the sums that it says: its dataset does not close before."""
        try:
            read_sums(path)
        except WrongUse as error:
            return "" if vouched_for else error.detail
        for named, sha256 in self._sightings.named_by(name):
            entry = self._journal.at(self.path(named))
            if entry is None or entry.state != "received":
                return f"names {shown(named)}, which is not received yet"
            if entry.sha256 != sha256:
                return f"says the SHA-256 of {shown(named)} is {sha256}; what was received has {entry.sha256}"
        return ""

    def _hold(self, row: Row, reason: str) -> None:
        least, most = _AGAIN_S
        self._sightings.judge(row.name, "waiting", reason, self._clock() + min(max(self._agent.still_s, least), most))

    def _vouched(self, row: Row) -> bool:
        if not self._sightings.has_signals:
            return False
        signals = [*self._sightings.markers(_targets(row.name)), *self._sightings.manifests(row.name)]
        return any(vouched(row.seen, row.changed_scan, signal) for signal in signals)


def _pair(seen: Seen) -> tuple[int, int]:
    return seen.size_bytes, seen.mtime_ns


def _targets(name: bytes) -> Iterator[bytes]:
    """What a marker may have named to speak for this file: itself, itself without endings, each folder above it, the inbox."""
    folder, slash, base = name.rpartition(b"/")
    yield name
    for at in range(1, len(base)):
        if base[at : at + 1] == b".":
            yield folder + slash + base[:at]
    parts = folder.split(b"/") if folder else []
    for depth in range(len(parts)):
        above = b"/".join(parts[: depth + 1])
        yield above
        yield above + b"/"
    yield b"/"

"""One sending under way: what is known of each of its files, and where it stands. The threads of a sending share this and nothing else.

Law: a file is in one place only: in the scan, due to be asked about, with the threads that send it, with the one that tells that it is sent, or
settled (sent, already there, failed). The number of files and bytes between the scan and the end is bounded, so memory does not grow with the count.
"""

from __future__ import annotations

import heapq
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from neve.send.answers import Dataset, Item
from neve.send.events import Event, of_file
from neve.send.journal import Entry, Journal, State
from neve.send.patience import Patience
from neve.send.reception import GROUP, Reception
from neve.send.source import Skipped, Source, Unreadable, look_again, shown
from neve.send.store import Store

_OPEN_FILES = 5 * GROUP
_OPEN_BYTES = 4 << 30  # registered and not sent: what a slow link needs longer for would only age
_MISSING = 3  # times that a file may turn out not to stand there
_CHANGES = 6  # times that a file may change while it is sent, with pauses between
_FAILURES_KEPT = 1000
_PROGRESS_S = 0.25
_CLOCK_S = 3.0  # what is written so soon after it was sent may bear the same time: file systems count in up to 2 s


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that was not received. `name`: its path in the dataset; `sentence`: why; `source`: where it lies, if it was offered in this sending."""

    name: bytes
    sentence: str
    source: Source | None = None


@dataclass(slots=True)
class Outcome:
    """What came of a sending. `failures`: the first 1,000; `failed` counts all. `state`: of the dataset at the end (open, closing, closed)."""

    dataset: Dataset
    state: str
    sent: int = 0  # files whose bytes were sent now, in full or the rest of them
    already: int = 0  # files that the archiver had
    failed: int = 0
    bytes_sent: int = 0  # without what stood there from an earlier try
    failures: list[Failure] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Task:
    """A file on its way. `sha256`: what is known before it is read; `expected`: that this is from a manifest; `item`: the archiver's answer;
    `packs`: how many packs with it came to nothing; `singly`: it is in none any more."""

    source: Source
    sha256: str | None = None
    expected: bool = False
    item: Item | None = None
    changes: int = 0
    away: int = 0
    missing: int = 0
    packs: int = 0
    singly: bool = False

    @property
    def answer(self) -> Item:
        assert self.item is not None
        return self.item


class Run:
    """Thread-safe. `sums`: SHA-256 that files must have; `limit`: bytes of the largest file that is taken; `report`: takes one event at a time."""

    def __init__(
        self,
        reception: Reception,
        store: Store,
        journal: Journal,
        dataset: Dataset,
        sums: Mapping[bytes, str],
        report: Callable[[Event], None],
        limit: int | None,
    ) -> None:
        self.reception = reception
        self.store = store
        self.journal = journal
        self.sums = sums
        self.limit = limit
        self.tell = report
        self.outcome = Outcome(dataset, dataset.state)
        self.crash: BaseException | None = None
        self.dataset_ids = {dataset.id}
        self._state = threading.Condition(threading.RLock())
        self._again: list[tuple[float, int, list[Task]]] = []
        self._count = itertools.count()
        self._open_files = 0
        self._open_bytes = 0
        self._bytes_done = 0
        self._told = 0.0

    @property
    def patience(self) -> Patience:
        return self.reception.patience

    # Coming in

    def take(self, sources: Iterator[Source | Skipped]) -> list[Task]:
        """The next files to ask about: those that are due again, else new ones, a whole group at once, so that few small ones are left for
        themselves and who is started again asks about the same groups. Empty when all are settled."""
        while True:
            self.check()
            with self._state:
                tasks = self._due()
                room = self._open_files <= _OPEN_FILES - GROUP and self._open_bytes < _OPEN_BYTES
            if tasks:
                return tasks
            if room and (tasks := self._new(sources)):
                return tasks
            with self._state:
                if not self._open_files:
                    return []
                next_s = self._again[0][0] - time.monotonic() if self._again else 1.0
                self._state.wait(min(1.0, max(0.0, next_s)))

    def _due(self) -> list[Task]:
        tasks: list[Task] = []
        while self._again and self._again[0][0] <= time.monotonic() and len(tasks) + len(self._again[0][2]) <= GROUP:
            tasks += heapq.heappop(self._again)[2]
        return tasks

    def _new(self, sources: Iterator[Source | Skipped]) -> list[Task]:
        tasks: list[Task] = []
        size_bytes = 0
        for source in sources:
            if isinstance(source, Skipped):
                self._skipped(source)
                continue
            tasks.append(self._task(source))
            size_bytes += source.size_bytes
            if size_bytes >= _OPEN_BYTES or len(tasks) == GROUP:
                break
        with self._state:
            self._open_files += len(tasks)
            self._open_bytes += size_bytes
        return tasks

    def _skipped(self, skipped: Skipped) -> None:
        where = shown(skipped.path)
        self.tell(Event("skipped", {"source": where, "reason": skipped.reason, "failed": skipped.failed}))
        if skipped.failed:
            with self._state:
                self._fail(Failure(os.fsencode(skipped.path.name), f"{where} {skipped.reason}"))

    def _task(self, source: Source) -> Task:
        expected = self.sums.get(source.name)
        if expected is not None:
            return Task(source, expected, expected=True)
        entry = self.journal.find(source)
        known = entry is not None and entry.state != "failed" and entry.at - source.mtime_ns / 1e9 > _CLOCK_S
        return Task(source, entry.sha256 if entry is not None and known else None)

    # Going out

    def again(self, task: Task, in_s: float = 0) -> None:
        """Ask about it again, in a while."""
        self.again_together([task], in_s)

    def again_together(self, tasks: list[Task], in_s: float = 0) -> None:
        """Ask about these, of one group, again in one question: a pack is answered again where all its files are asked about."""
        for task in tasks:
            task.item = None
        if tasks:
            with self._state:
                heapq.heappush(self._again, (time.monotonic() + in_s, next(self._count), tasks))
                self._state.notify_all()

    def missing(self, tasks: list[Task], why: str) -> None:
        """It was said that they were sent, and they do not stand there."""
        left: list[Task] = []
        for task in tasks:
            task.missing += 1
            if task.missing > _MISSING:
                self.failed(task, f"did not arrive whole: {why}")
            else:
                left.append(task)
        self.again_together(left, float(max((task.missing - 1 for task in left), default=0)))

    def changed(self, task: Task, reason: str) -> None:
        """The file changed while it was read: as it is now it starts again, after a while; one that does not come to rest is a failure."""
        task.changes += 1
        if task.changes > _CHANGES:
            self.failed(task, f"{reason}, {_CHANGES + 1} times; send it when it is complete")
            return
        self.tell(of_file("changed", task.source.name, reason=reason))
        try:
            now = look_again(task.source)
        except Unreadable as error:
            self.failed(task, str(error))
            return
        with self._state:
            self._open_bytes += now.size_bytes - task.source.size_bytes
        if now != task.source and not task.expected:
            task.sha256 = None
        task.source, task.away = now, 0
        self.again(task, min(10.0, 0.25 * 2**task.changes))

    def failed(self, task: Task, reason: str) -> None:
        """It will not be received in this sending."""
        self.fail_name(task.source.name, reason, task.source)
        self._settled(task)

    def fail_name(self, name: bytes, reason: str, source: Source | None = None) -> None:
        with self._state:
            self._fail(Failure(name, f"{shown(name)} {reason}", source))
        self.tell(of_file("failed", name, reason=reason))

    def _fail(self, failure: Failure) -> None:
        self.outcome.failed += 1
        if len(self.outcome.failures) < _FAILURES_KEPT:
            self.outcome.failures.append(failure)

    def already(self, task: Task) -> None:
        """The archiver has it."""
        with self._state:
            self.outcome.already += 1
            self._bytes_done += task.source.size_bytes
        item = task.answer
        self.tell(of_file("already", task.source.name, size_bytes=task.source.size_bytes, dataset_id=item.dataset_id, file_id=item.file_id))
        self._settled(task)

    def sent(self, task: Task, sha256: str) -> None:
        """All bytes are with the archiver."""
        with self._state:
            self.outcome.sent += 1
        item, size_bytes = task.answer, task.source.size_bytes
        self.tell(of_file("sent", task.source.name, size_bytes=size_bytes, sha256=sha256, dataset_id=item.dataset_id, file_id=item.file_id))
        self._settled(task)

    def record(self, files: list[tuple[Task, str, State]]) -> None:
        """Note files in the journal, with their SHA-256."""
        full_name = self.outcome.dataset.full_name
        self.journal.record(
            Entry(task.source, sha256, task.answer.dataset_id, full_name, task.answer.file_id, state) for task, sha256, state in files
        )

    def unproven(self) -> None:
        """A file that was sent turned out not to have arrived."""
        with self._state:
            self.outcome.sent = max(0, self.outcome.sent - 1)

    def _settled(self, task: Task) -> None:
        with self._state:
            self._open_files -= 1
            self._open_bytes -= task.source.size_bytes
            self._state.notify_all()
        self.moved(0)

    # Meanwhile

    def moved(self, count: int) -> None:
        """So many bytes have left; less than none when they have to leave again."""
        with self._state:
            self.outcome.bytes_sent += count
            self._bytes_done += count
        self._progress()

    def had(self, count: int) -> None:
        """So many bytes of a file stood there from an earlier try."""
        with self._state:
            self._bytes_done += count
        self._progress()

    def _progress(self, *, last: bool = False) -> None:
        now = time.monotonic()
        if now - self._told < _PROGRESS_S and not last:
            return
        with self._state:
            self._told = now
            outcome = self.outcome
            done = outcome.sent + outcome.already + outcome.failed
            about = {"bytes_sent": outcome.bytes_sent, "bytes_done": self._bytes_done, "files_done": done}
        self.tell(Event("progress", about))

    def finish(self) -> None:
        """The last progress."""
        self._progress(last=True)

    def check(self) -> None:
        """Raises what ended the sending, or Stopped."""
        if self.crash is not None:
            raise self.crash
        self.patience.check()

    def crashed(self, error: BaseException) -> None:
        """A thread met what the whole cannot go on with."""
        with self._state:
            if self.crash is None:
                self.crash = error
            self._state.notify_all()
        self.patience.stop.set()

"""`neve watch`: the loop over one inbox. Look, judge, send, close, delete if so set, and tell.

Law: what this process knows can be lost at any moment. The inbox is the spool, the journal says what is received, the archiver knows the rest; every
step can be repeated. One thread looks and decides; a second does what needs the archiver, one thing at a time; a third tells the archiver what
waits; a fourth, where it is so set, takes snapshots (growing.py). An archiver that is away stops these only.

| event      | members, beside those of `neve send` (events.py)                                                                             |
|------------|------------------------------------------------------------------------------------------------------------------------------|
| `watching` | `inbox`, `events` ("on", or why there are none): the beginning                                                                 |
| `scanned`  | `files`, `received`, `changed`, `gone`, `took_s`: a full look                                                                |
| `state`    | `waiting`, `ready`, `sending`, `refused`, `bytes_left`, `oldest_waiting_s`, `received`, `deleted`, `oldest` (up to five of     |
|            | `path`, `reason`, `age_s`): once a minute                                                                                    |
| `refused`  | `dataset`, `reason`: nothing of a dataset is taken; tried again later                                                        |
| `deleted`  | `dataset_id`, `files`, `bytes`: sources that two proven copies made superfluous                                              |
| `kept`     | `path`, `reason`: a source that should be deleted and could not                                                              |
| `snapshot` | `path`, `shown_at`, `size_bytes`, `taken_at`: a file that is still being written can be seen as it was then                       |
| `no_snapshot` | `path`, `reason`: it cannot just now; said once per reason                                                                 |
| `away`     | `reason`: the inbox itself cannot be read; looked at again until it can                                                      |
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from neve.errors import NeveError, NotAllowed, NotSignedIn
from neve.send.agent import Agent
from neve.send.events import Event
from neve.send.growing import Growing, Taken
from neve.send.inbox import Inbox
from neve.send.journal import Journal
from neve.send.noticing import Noticing
from neve.send.patience import Stopped
from neve.send.reception import Reception
from neve.send.rows import Group
from neve.send.sender import Outcome, send
from neve.send.sightings import Count, Row, Sightings
from neve.send.source import Skipped, Source, shown
from neve.send.sweeping import Swept, sweep

REPORT_S = 60.0
BATCH = 5_000  # files of one dataset in one sending: others get their turn, and what was received is said
_RETRY_S = (600.0, 6 * 3600.0)  # a refusal is tried again after ten minutes, and each time later, up to six hours
_CLOSING_S = 15.0
_SWEEP_S = (600.0, 6 * 3600.0)
_SKIPS = 10_000  # things that are no files, told once each


@dataclass(frozen=True, slots=True)
class Status:
    """What a person sees. `sending`: the dataset; `received`, `deleted`: files since the start; `oldest`: those that have waited longest;
    `taken`: the last snapshots of those that are being written, by their names below the inbox."""

    count: Count
    sending: str
    received: int
    received_bytes: int
    deleted: int
    oldest: list[Row]
    oldest_s: int | None
    taken: Mapping[bytes, Taken] = field(default_factory=dict)


@dataclass(slots=True)
class _Job:
    """Something for the second thread, and what the first does with its result."""

    future: Future[Any]
    settle: Callable[[Future[Any]], None]


class Refused(Exception):
    """The archiver would not do something; the sentence was told."""


class Watch:
    """The agent of one inbox.

    `jobs` and `reports` run what talks to the archiver, one thing at a time each; `snapshots` takes snapshots, whose copies are made in the folder
    `spool`, where they are wanted. `tell` is called with every event, from several threads.
    `clock`: monotonic seconds; `wall`: seconds since 1970, for showing ages and for `delete_after_days` only.
    """

    def __init__(
        self, agent: Agent, reception: Reception, journal: Journal, sightings: Sightings, *, jobs: Executor, reports: Executor,
        snapshots: Executor, spool: Path,
        tell: Callable[[Event], None], clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self.stop = reception.patience.stop
        self._wake = threading.Event()
        self._agent, self._reception, self._journal, self._sightings = agent, reception, journal, sightings
        self._jobs, self._reports, self._tell, self._clock, self._wall = jobs, reports, tell, clock, wall
        self.inbox = Inbox(agent, journal, sightings, clock, wall, self._skipped)
        self._skips: set[str] = set()
        self._next_scan = self._next_report = clock()
        self._job: _Job | None = None
        self._kinds = [self._start_closing, self._start_sending, self._start_sweeping]
        self._report: Future[None] | None = None
        self._sending = self._report_error = ""
        self._received = self._received_bytes = self._deleted = 0
        sightings.begin(clock())
        self._growing: Growing | None = None
        if agent.snapshot_minutes:
            self._growing = Growing(
                agent, self.inbox, sightings, reception, run=snapshots, spool=spool, tell=tell, wake=self._wake.set, clock=clock, wall=wall
            )
        self._noticing = Noticing(agent.inbox, self._wake.set, wanted=agent.events == "auto")
        tell(Event("watching", {"inbox": shown(agent.inbox), "events": self._noticing.why_not or "on"}))

    def run(self, *, once: bool = False) -> None:
        """Until stopped; with `once` until all that can become complete is received. Raises NeveError where nothing can go on (a wrong key)."""
        try:
            with suppress(Stopped):
                while not self.stop.is_set():
                    pause_s = self.turn()
                    if once and self.settled():
                        break
                    self._wake.wait(pause_s)
                    self._wake.clear()
        finally:
            self.end()

    def wake(self) -> None:
        """Something happened: look now. After `stop.set()`, this ends `run` at once."""
        self._wake.set()

    def end(self) -> None:
        """Let go of everything; what was being sent goes on at the next start."""
        self.stop.set()
        self._noticing.close()
        if self._growing is not None:
            self._growing.close()
        self._jobs.shutdown(wait=True)
        self._reports.shutdown(wait=True)
        self._tell(self._state_event())

    def turn(self) -> float:
        """One round. Returns after how many seconds the next is due, if nothing wakes it before."""
        self._look()
        self.inbox.judge()
        self._collect()
        if self._job is None and not self.stop.is_set():
            for kind in list(self._kinds):
                if kind():
                    self._kinds.remove(kind)
                    self._kinds.append(kind)  # the others first, next time
                    break
        self._tell_archiver()
        due = [self._next_scan, self._next_report, self._sightings.next_due()]
        if self._growing is not None:
            due.append(self._growing.turn())
        if self._job is None:
            due += [
                self._sightings.datasets.next_group_due(),
                self._sightings.datasets.next_target_due() if self._agent.delete_after != "never" else self._next_scan,
            ]
        return max(0.05, min(due) - self._clock())

    def settled(self) -> bool:
        """Whether all is received that is not held back by more than time."""
        now, count = self._clock(), self._sightings.count()
        return self._job is None and not (count.ready or count.sending or self._sightings.changed_since(now - self._agent.still_s))

    def status(self) -> Status:
        """What a person sees."""
        count = self._sightings.count()
        oldest_s = None if count.oldest_at is None else max(0, int(self._wall() - count.oldest_at))
        oldest, taken = self._sightings.oldest(20), {} if self._growing is None else dict(self._growing.taken)
        return Status(count, self._sending, self._received, self._received_bytes, self._deleted, oldest, oldest_s, taken)

    # Looking

    def _look(self) -> None:
        why_not = self._noticing.why_not
        touched = self._noticing.taken()
        begun = self._clock()
        if begun < self._next_scan and touched is not None:
            if touched:
                self.inbox.touched(touched)
            return
        period_s = self._agent.poll_s if why_not else self._agent.scan_minutes * 60
        try:
            look = self.inbox.scan()
        except OSError as error:
            self._tell(Event("away", {"reason": f"{shown(self.inbox.root)} cannot be read ({error.strerror or error})"}))
            self._next_scan = self._clock() + self._agent.poll_s
            return
        took_s = self._clock() - begun
        self._next_scan = self._clock() + max(period_s, 2 * took_s)  # a slow mount is not read all the time
        self._tell(Event("scanned", {**asdict(look), "took_s": round(took_s, 3)}))

    def _skipped(self, skipped: Skipped) -> None:
        path = shown(skipped.path)
        if path not in self._skips and len(self._skips) < _SKIPS:
            self._skips.add(path)
            self._tell(Event("skipped", {"source": path, "reason": skipped.reason, "failed": skipped.failed}))

    # Sending

    def _start_sending(self) -> bool:
        group = self._sightings.next_group(self._clock())
        if group is None:
            return False
        project, dataset = group
        self._sightings.take(project, dataset, BATCH)
        self._sending = dataset
        sums = self._sightings.sums_of(project, dataset)
        self._start(
            lambda: send(
                self._reception, self._journal, project or None, dataset, self._sources(),
                instrument=self._agent.instrument or None, sums=sums, close=False, report=self._tell,
            ),
            lambda future: self._sent(project, dataset, future),
        )  # fmt: skip
        return True

    def _sources(self) -> Iterator[Source]:
        return (self._source(row) for row in self._sightings.sending())

    def _source(self, row: Row) -> Source:
        assert row.place is not None, "a file without a dataset is never taken"
        return Source(self.inbox.path(row.name), row.place.name, row.seen.size_bytes, row.seen.mtime_ns)

    def _sent(self, project: str, dataset: str, future: Future[Any]) -> None:
        self._sending = ""
        reasons: dict[bytes, str] = {}
        sentence = ""
        try:
            outcome: Outcome | None = self._result(future, dataset)
            reasons = {failure.name: failure.sentence for failure in outcome.failures} if outcome else {}
        except Refused as error:
            sentence = str(error)
        now = self._clock()
        with self._sightings.together():
            targets = {}
            for row in self._sightings.sending():
                source = self._source(row)
                entry = self._journal.find(source)
                if entry is not None and entry.state == "received":
                    self._sightings.drop(row.name)
                    self._sightings.fulfilled(row.name, self.inbox.number)
                    targets[entry.dataset_id] = entry.dataset
                    self._received += 1
                    self._received_bytes += row.seen.size_bytes
                elif reason := reasons.get(source.name) or sentence:
                    self._sightings.judge(row.name, "refused", reason, now + _later(_RETRY_S, row.tries), tries=row.tries + 1)
                else:  # changed or stopped meanwhile
                    self._sightings.judge(row.name, "waiting", "", now + self._agent.still_s)
            for dataset_id, full_name in targets.items():
                self._sightings.datasets.target(dataset_id, full_name)
            if targets:
                self._sightings.datasets.was_sent(project, dataset)

    def _result(self, future: Future[Any], dataset: str) -> Any:
        """What the archiver's side of a job gave; None when it was stopped. Raises Refused, and what ends all: a key that is refused."""
        try:
            return future.result()
        except Stopped:
            return None
        except NotSignedIn:
            raise
        except NeveError as error:
            if isinstance(error, NotAllowed):
                self._reception.instrument()  # refused as well where it is the key's end; else it is about this project
            self._tell(Event("refused", {"dataset": dataset, "reason": str(error)}))
            raise Refused(str(error)) from error

    # Closing

    def _start_closing(self) -> bool:
        now = self._clock()
        quiet_s = self._agent.close_after_minutes * 60
        for group in self._sightings.datasets.open_groups(now):
            signal = self._sightings.datasets.closing_signal(group)
            if signal and not self._held_back(group):
                return self._close(group)
            holding = bool(self._sightings.datasets.holding(group))
            if not signal and not holding and now - group.changed_at >= quiet_s:
                return self._close(group)
            # With a signal, or something that waits: what it waits for has no time. Else when it will have been quiet.
            self._sightings.datasets.put_off(group, now + _CLOSING_S if signal or holding else group.changed_at + quiet_s)
        return False

    def _held_back(self, group: Group) -> bool:
        """Whether a file of the dataset waits under its final name: then no marker closes it."""
        return any(not self.inbox.is_temporary(name) for name in self._sightings.datasets.holding(group))

    def _close(self, group: Group) -> bool:
        def ask() -> dict[int, tuple[str, str]]:
            dataset = self._reception.open(group.dataset, group.project or None, self._agent.instrument or None)
            states = self._reception.close_dataset(dataset.id)
            return {number: (f"{dataset.instrument}/{name}", state) for number, (name, state) in states.items()}

        self._start(ask, lambda future: self._closed(group, future))
        return True

    def _closed(self, group: Group, future: Future[Any]) -> None:
        try:
            states: dict[int, tuple[str, str]] | None = self._result(future, group.dataset)
        except Refused:
            self._sightings.datasets.put_off(group, self._clock() + _later(_RETRY_S, group.tries), group.tries + 1)
            return
        if states is None or {state for _, state in states.values()} != {"closed"}:  # still proving
            self._sightings.datasets.put_off(group, self._clock() + _CLOSING_S)
            return
        self._sightings.datasets.closed(group)
        for number, (name, state) in states.items():
            self._sightings.datasets.target(number, name, closed=True)
            self._tell(Event("closed", {"dataset": name, "state": state}))

    # Deleting

    def _start_sweeping(self) -> bool:
        target = None if self._agent.delete_after == "never" else self._sightings.datasets.next_target(self._clock())
        if target is None:
            return False
        dataset_id, closed, tries = target
        days = self._agent.delete_after_days
        before = self._wall() - days * 86400 if days else math.inf  # without an age no clock has a say
        self._start(
            lambda: sweep(self._reception, self._journal, self.inbox.root, dataset_id, before=before, prune=closed, tell=self._tell),
            lambda future: self._swept(dataset_id, tries, future),
        )
        return True

    def _swept(self, dataset_id: int, tries: int, future: Future[Any]) -> None:
        self._sightings.datasets.put_off_target(dataset_id, self._clock() + _later(_SWEEP_S, tries))
        try:
            swept: Swept | None = self._result(future, str(dataset_id))
        except Refused:
            return
        if swept is None:
            return
        self._deleted += swept.files
        if swept.files:
            self._tell(Event("deleted", {"dataset_id": dataset_id, "files": swept.files, "bytes": swept.size_bytes}))
        if not swept.left:
            self._sightings.datasets.forget_target(dataset_id)

    # The second thread, and the third

    def _start(self, work: Callable[[], Any], settle: Callable[[Future[Any]], None]) -> None:
        future = self._jobs.submit(work)
        self._job = _Job(future, settle)
        future.add_done_callback(lambda _future: self._wake.set())

    def _collect(self) -> None:
        if self._job is not None and self._job.future.done():
            job, self._job = self._job, None
            job.settle(job.future)

    def _tell_archiver(self) -> None:
        if self._report is not None and self._report.done():
            done, self._report = self._report, None
            try:
                done.result()
            except Stopped:
                return
            except NotSignedIn:
                raise
            except NeveError as error:
                if str(error) != self._report_error:  # said once, not every minute
                    self._tell(Event("error", {"code": error.code, "detail": error.detail, "next_step": error.next_step}))
                self._report_error = str(error)
        if self._clock() < self._next_report or self._report is not None or self.stop.is_set():
            return
        self._next_report = self._clock() + REPORT_S
        state = self._state_event()
        self._tell(state)
        message = "; ".join(f"{item['path']}: {item['reason']}" for item in state.about["oldest"][:1])
        left = self._sightings.count().left
        self._report = self._reports.submit(self._reception.report, left, state.about["oldest_waiting_s"], message[:500])
        self._report.add_done_callback(lambda _future: self._wake.set())

    def _state_event(self) -> Event:
        status = self.status()
        now = self._wall()
        oldest = [{"path": shown(row.name), "reason": row.reason, "age_s": max(0, int(now - row.first_at))} for row in status.oldest[:5]]
        numbers = {name: getattr(status.count, name) for name in ("waiting", "ready", "sending", "refused", "bytes_left")}
        return Event(
            "state", {**numbers, "oldest_waiting_s": status.oldest_s, "received": status.received, "deleted": status.deleted, "oldest": oldest}
        )


def _later(between_s: tuple[float, float], tries: int) -> float:
    least, most = between_s
    return min(most, least * 2.0 ** min(tries, 16))

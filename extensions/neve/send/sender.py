"""`send()`: a dataset's files into the archiver, each once, hashed while they are sent, proven before it returns.

One thread scans and asks about files in groups; threads send whole files (`whole`), parts (`parts`) and small files together (`packed`), of which
they tell the archiver; one tells it, in groups, what else stands in the store. Nobody waits for a proof until all is sent. Law: what stands there is
not sent again, whoever was killed meanwhile: the archiver is asked, and says. What concerns one file costs that file only; a dataset in which
something failed stays open.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from queue import Empty
from typing import Any

from neve.errors import Conflict, NotAllowed, NotFound, OverQuota, TooLarge, WrongUse
from neve.send.answers import Arrivals, Done, Pending
from neve.send.events import Event
from neve.send.journal import Entry, Journal
from neve.send.packed import Load, Packs
from neve.send.parts import Parts
from neve.send.patience import Patience, Stop, Stopped
from neve.send.reception import GROUP, Reception
from neve.send.run import Failure, Outcome, Run, Task
from neve.send.source import Skipped, Source
from neve.send.store import Store
from neve.send.whole import Finished, Whole
from neve.wording import size_text

__all__ = ["Failure", "Outcome", "Stopped", "send"]

_LARGE_BYTES = 8_000_000  # hashed by the one reader of large files, so that disks are not read at sixteen places
_TOGETHER_S = 0.1  # how long the teller waits for more of a group
_SPOILS = (TooLarge, WrongUse, Conflict)  # one file's fault, for which a whole group is refused
_POLL_S = (0.2, 5.0)  # at least and at most
_CLOSE_S = 60.0  # how long a dataset that others send to is asked to close


def send(
    reception: Reception,
    journal: Journal | None,
    project: str | None,
    name: str,
    sources: Iterable[Source | Skipped],
    *,
    instrument: str | None = None,
    about: Mapping[str, Any] | None = None,
    store: Store | None = None,
    sums: Mapping[bytes, str] | None = None,
    close: bool = True,
    wait: bool = True,
    report: Callable[[Event], None] = lambda _event: None,
) -> Outcome:
    """Send `sources` into the dataset `name` of `project` (None: the one that the key's rule names) and wait until they are proven.

    Every source is asked about, whatever `journal` says (it spares the hashing); who wants to spare the asking leaves out what `Journal.find` knows.
    `about`: what else is said when the dataset is opened (title, derived_from). `store`: how it is reached from here, closed at the end.
    A `Skipped` among `sources` is told, and where it failed it counts as a failure. `sums`: name in the dataset → SHA-256 in hex that its bytes
    must have; looked at when a source comes. `close`: close the dataset when all is proven and nothing failed.
    `wait=False`: return when all bytes are sent; the journal says "sent" instead of "received". `report`: called with each event (`waiting` and
    `again` too), from several threads, one at a time. `reception.patience.stop.set()`, from anywhere, and `send` raises Stopped soon, losing nothing.
    What one file meets (unreadable, wrong checksum, too large) is a Failure in the outcome and the rest goes on. Raises NeveError where nothing can
    go on: a wrong key (NotSignedIn, NotAllowed), over quota (OverQuota), a name that cannot be. Network, store or archiver away: waits without end.
    """
    telling = threading.RLock()

    def told(event: Event) -> None:
        with telling:
            report(event)

    ours = reception.using(Patience(told, Stop(reception.patience.stop), longest_s=reception.patience.longest_s))
    limit = _limit(ours)
    dataset = ours.open(name, project, instrument, about)
    told(Event("opened", {"dataset": dataset.full_name, "dataset_id": dataset.id, "project": dataset.project}))
    remembered = journal or Journal(None, ours.url)
    store = store or Store()
    run = Run(ours, store, remembered, dataset, {} if sums is None else sums, told, limit)
    try:
        _send_all(run, iter(sources))
        if wait or close:
            _prove(run, close=close)
        if close:
            _close(run)
    except BaseException as error:
        run.crashed(error)
        raise
    finally:
        ours.patience.stop.set()
        store.close()
        if journal is None:
            remembered.close()
    return run.outcome


@dataclass(frozen=True, slots=True)
class _Ways:
    """How files go: each is handed to one of these."""

    whole: Whole
    parts: Parts
    packs: Packs


def _send_all(run: Run, sources: Iterator[Source | Skipped]) -> None:
    """Ask about all files, send what is to be sent, tell what was: until each is settled."""
    finished = Finished()
    ways = _Ways(Whole(run, finished), Parts(run, finished), Packs(run))
    teller = threading.Thread(target=_tell, args=(run, finished), name="neve-teller", daemon=True)
    threads = [teller, *ways.whole.threads, *ways.parts.threads, *ways.packs.threads]
    for thread in threads:
        thread.start()
    try:
        while tasks := run.take(sources):
            tasks = [task for task in tasks if not _too_large(run, task)]
            _ask(run, ways, [task for task in tasks if not task.singly], packs=True)
            _ask(run, ways, [task for task in tasks if task.singly], packs=False)
        run.check()
    except BaseException as error:
        run.crashed(error)
        run.store.close()
        raise
    finally:
        ways.whole.end()
        ways.parts.end()
        ways.packs.end()
        finished.put(None)
        for thread in threads:
            thread.join(timeout=5)
    run.finish()


def _limit(reception: Reception) -> int | None:
    """The largest file that is taken; None where it is not told, as to people's tokens."""
    try:
        return reception.instrument().file_max_bytes
    except (NotAllowed, NotFound, WrongUse):
        return None


def _too_large(run: Run, task: Task) -> bool:
    size_bytes, limit = task.source.size_bytes, run.limit
    if limit is None or size_bytes <= limit:
        return False
    run.failed(task, f"has {size_text(size_bytes)} ({size_bytes} bytes); the archiver takes files up to {size_text(limit)} ({limit} bytes)")
    return True


def _ask(run: Run, ways: _Ways, tasks: list[Task], *, packs: bool) -> None:
    """Ask about a group and hand each file to who sends it. Where one file spoils the group, its halves are asked about, down to that file."""
    if not tasks:
        return
    try:
        items, together = run.reception.ask(run.outcome.dataset.id, [(task.source, task.sha256) for task in tasks], packs=packs)
    except _SPOILS as error:
        if isinstance(error, OverQuota):
            raise
        if len(tasks) == 1:
            run.failed(tasks[0], f"is not received: {error}")
            return
        half = len(tasks) // 2
        _ask(run, ways, tasks[:half], packs=packs)
        _ask(run, ways, tasks[half:], packs=packs)
        return
    members = {item.file_id: task for task, item in zip(tasks, items, strict=True) if item.state == "pack"}
    for task, item in zip(tasks, items, strict=True):
        task.item = item
        run.dataset_ids.add(item.dataset_id)
        large = task.source.size_bytes > _LARGE_BYTES
        match item.state:
            case "received" | "verifying":
                if task.sha256 is not None:
                    run.record([(task, task.sha256, "received" if item.state == "received" else "sent")])
                run.already(task)
            case "known" if task.sha256 is not None:
                run.failed(task, "is not received: the archiver has its SHA-256 and asks for it again; tell whoever runs your Névé")
            case "known":
                (ways.parts if large else ways.whole).tasks.put(task)
            case "put":
                ways.whole.tasks.put(task)
            case "parts":
                ways.parts.tasks.put(task)
    for pack in together:
        ways.packs.loads.put(Load(pack, [members[member.file_id] for member in pack.members]))


# Telling what is sent


def _tell(run: Run, finished: Finished) -> None:
    try:
        while group := _gather(finished):
            by_dataset: dict[int, list[tuple[Task, Done]]] = {}
            for task, sha256, version in group:
                by_dataset.setdefault(task.answer.dataset_id, []).append((task, Done(task.answer.file_id, sha256, version)))
            for dataset_id, files in by_dataset.items():
                _done(run, dataset_id, files)
    except BaseException as error:  # noqa: BLE001 - it ends the sending, in the thread that waits for it
        run.crashed(error)


def _gather(finished: Finished) -> list[tuple[Task, str, str | None]]:
    """The next group; empty at the end."""
    group: list[tuple[Task, str, str | None]] = []
    end = time.monotonic() + _TOGETHER_S
    while len(group) < GROUP:
        try:
            one = finished.get(timeout=max(0.0, end - time.monotonic()) if group else None)
        except Empty:
            break
        if one is None:
            finished.put(None)
            break
        if not group:
            end = time.monotonic() + _TOGETHER_S
        group.append(one)
    return group


def _done(run: Run, dataset_id: int, files: list[tuple[Task, Done]]) -> None:
    try:
        answers = run.reception.done(dataset_id, [done for _, done in files])
    except (*_SPOILS, NotFound) as error:
        if len(files) == 1:
            task, _ = files[0]
            if isinstance(error, NotFound):
                run.missing([task], str(error))
            else:
                run.failed(task, f"is not received: {error}")
            return
        half = len(files) // 2
        _done(run, dataset_id, files[:half])
        _done(run, dataset_id, files[half:])
        return
    told = [(task, done, answers[done.file_id]) for task, done in files]
    run.record([(task, done.sha256, "received" if item.state == "received" else "sent") for task, done, item in told if item.state != "missing"])
    for task, done, item in told:
        if item.state != "missing":
            run.sent(task, done.sha256)
            continue
        run.missing([task], item.error or "the store does not have it")


# Waiting for the proofs


def _prove(run: Run, *, close: bool) -> None:
    """Wait until each file is proven. One whose proof failed is sent once more; with `close` one that others left so is a failure too."""
    for last in (False, True):
        ours: list[tuple[Pending, Entry]] = []
        others: list[Pending] = []
        for item in _wait(run):
            entry = run.journal.of_file(item.file_id)
            if entry is not None and entry.state == "sent":
                ours.append((item, entry))
                run.unproven()
            else:
                others.append(item)
        run.journal.settle([item.file_id for item, _ in ours], "failed")
        for dataset_id in run.dataset_ids:
            run.journal.settle_dataset(dataset_id, "received")
        if last or not ours:
            for item, entry in ours:
                run.fail_name(item.name, f"could not be proven: {item.error or item.state}", entry.source)
            for item in others if close else ():
                run.fail_name(item.name, f"could not be proven: {item.error}")
            return
        _send_all(run, iter([entry.source for _, entry in ours]))


def _pauses() -> Iterator[float]:
    """Between two questions a tenth of what was waited so far: who waits long asks rarely, and nobody is told much later than it is so."""
    shortest_s, longest_s = _POLL_S
    began = time.monotonic()
    while True:
        yield min(max(shortest_s, (time.monotonic() - began) / 10), longest_s)


def _wait(run: Run) -> list[Pending]:
    """Wait until none of our files is being proven; gives those that failed."""
    pauses = _pauses()
    told = None
    while True:
        first, waiting, broken = _look(run)
        counts = {"received": first.received, "verifying": first.verifying, "sending": first.sending}
        if counts != told:
            run.tell(Event("proving", counts))
            pauses, told = _pauses(), counts
        if not waiting:
            return broken
        run.patience.pause(next(pauses))


def _look(run: Run) -> tuple[Arrivals, bool, list[Pending]]:
    """The first page of what is not received, whether one of ours is being proven, and, if none is, those that failed."""
    broken: list[Pending] = []
    page = first = run.reception.arrivals(run.outcome.dataset.id)
    while True:
        for item in page.items:
            entry = run.journal.of_file(item.file_id)
            ours = entry is not None and entry.state == "sent"
            if item.state == "verifying" and ours:
                return first, True, []
            if item.state == "failed" or (item.state == "sending" and ours):
                broken.append(item)
        if page.next_cursor is None:
            return first, False, broken
        page = run.reception.arrivals(run.outcome.dataset.id, page.next_cursor)


def _close(run: Run) -> None:
    """Close the dataset, and those that continue it, unless something failed; ask until they are."""
    if run.outcome.failed:
        return
    end = time.monotonic() + _CLOSE_S
    for pause_s in _pauses():
        try:
            states = {state for _, state in run.reception.close_dataset(run.outcome.dataset.id).values()}
        except Conflict:
            if time.monotonic() > end:
                raise
            states = {"open"}
        if states == {"closed"}:
            run.outcome.state = "closed"
            run.tell(Event("closed", {"dataset": run.outcome.dataset.full_name, "state": "closed"}))
            return
        run.patience.pause(pause_s)

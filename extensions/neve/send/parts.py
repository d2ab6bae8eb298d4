"""Large files, in parts: one reader takes the parts in order and hashes them, a few threads send them, of several files if need be.

Law: the SHA-256 is over the bytes that are sent, computed once, while they are sent. At most four parts, and about 100 MB, are in memory. A part that
stands there from an earlier try is read for the sum and not sent.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue

from neve.errors import Conflict, NotFound, WrongUse
from neve.send.answers import Item, Put
from neve.send.run import Run, Task
from neve.send.source import Changed, Unreadable, check_still, check_unchanged, open_source, read_into, sha256_of
from neve.send.store import CHUNK_BYTES, Away, Expired, Gone, Refused
from neve.send.whole import Finished, WrongSum, check_sum

PARTS = 4
_MEMORY_BYTES = 100_000_000
_ADDRESSES = 16  # asked for at once
_ADDRESS_S = 50 * 60  # used no longer: they are valid for an hour, and a part takes its time
_REFUSALS = 3


@dataclass(slots=True, eq=False)
class Upload:
    """A large file on its way. `open`: the reader, and the parts that are with the threads; the last to end settles it."""

    task: Task
    item: Item
    numbers: list[int]  # those to be sent
    open: int = 1
    sha256: str = ""
    failure: Exception | None = None
    addresses: dict[int, tuple[Put, float]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Memory:
    """Room for parts: so many, and so many bytes, at once; one part always."""

    def __init__(self) -> None:
        self._room = threading.Condition()
        self._parts = 0
        self._bytes = 0
        self._free: list[bytearray] = []

    def take(self, size_bytes: int, run: Run) -> bytearray:
        with self._room:
            while self._parts and (self._parts >= PARTS or self._bytes + size_bytes > _MEMORY_BYTES):
                run.check()
                self._room.wait(0.5)
            self._parts += 1
            self._bytes += size_bytes
            for index, buffer in enumerate(self._free):
                if len(buffer) == size_bytes:
                    return self._free.pop(index)
            self._free.clear()
        return bytearray(size_bytes)

    def give(self, buffer: bytearray) -> None:
        with self._room:
            self._parts -= 1
            self._bytes -= len(buffer)
            self._free.append(buffer)
            self._room.notify_all()


class Parts:
    """The reader and the threads that send parts."""

    def __init__(self, run: Run, finished: Finished) -> None:
        self._run = run
        self._finished = finished
        self._memory = Memory()
        self.tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._ready: SimpleQueue[tuple[Upload, int, bytearray] | None] = SimpleQueue()
        self.threads = [threading.Thread(target=self._read_all, name="neve-reader", daemon=True)]
        self.threads += [threading.Thread(target=self._send_all, name=f"neve-part-{number}", daemon=True) for number in range(PARTS)]

    def end(self) -> None:
        """No more will come."""
        self.tasks.put(None)
        for _ in range(PARTS):
            self._ready.put(None)

    # The reader

    def _read_all(self) -> None:
        try:
            while (task := self.tasks.get()) is not None:
                self._run.check()
                self._read(task)
        except BaseException as error:  # noqa: BLE001 - it ends the sending, in the thread that waits for it
            self._run.crashed(error)

    def _read(self, task: Task) -> None:
        run, item, source = self._run, task.answer, task.source
        if item.state == "known":
            try:
                task.sha256 = sha256_of(source, run.check)
            except Changed as error:
                run.changed(task, str(error))
            except Unreadable as error:
                run.failed(task, str(error))
            else:
                run.again(task)
            return
        sizes = list(part_sizes(source.size_bytes, item.part_bytes))
        upload = Upload(task, item, [number for number, size_bytes in sizes if item.done.get(number) != size_bytes])
        try:
            self._read_parts(upload, sizes)
        except (Changed, Unreadable, WrongSum) as error:
            upload.failure = upload.failure or error
        self._ended(upload)

    def _read_parts(self, upload: Upload, sizes: list[tuple[int, int]]) -> None:
        run, source = self._run, upload.task.source
        digest = hashlib.sha256()
        to_send = set(upload.numbers)
        with open_source(source) as file:
            for number, size_bytes in sizes:
                if upload.failure is not None:
                    return
                buffer = self._memory.take(size_bytes, run)
                try:
                    read_into(file, memoryview(buffer))
                except BaseException:
                    self._memory.give(buffer)
                    raise
                digest.update(buffer)
                if number in to_send:
                    with upload.lock:
                        upload.open += 1
                    self._ready.put((upload, number, buffer))
                else:
                    self._memory.give(buffer)
                    run.had(size_bytes)
            check_unchanged(source, file)
        upload.sha256 = digest.hexdigest()
        check_sum(upload.task, upload.sha256)

    # The senders

    def _send_all(self) -> None:
        try:
            while (ready := self._ready.get()) is not None:
                upload, number, buffer = ready
                try:
                    self._send(upload, number, memoryview(buffer))
                finally:
                    self._memory.give(buffer)
                self._ended(upload)
        except BaseException as error:  # noqa: BLE001 - as above
            self._run.crashed(error)

    def _send(self, upload: Upload, number: int, data: memoryview) -> None:
        run = self._run
        attempt = refusals = 0
        while upload.failure is None:
            run.check()
            moved: list[int] = []

            def count(size_bytes: int, moved: list[int] = moved) -> None:
                moved.append(size_bytes)
                run.moved(size_bytes)
                run.check()

            asked_s: float | None = None
            try:
                run.store.put(self._address(upload, number), len(data), _pieces(data), count)
            except (Conflict, NotFound, WrongUse, Gone) as error:
                upload.failure = Gone(str(error))
            except Refused as error:
                refusals += 1
                if refusals >= _REFUSALS:
                    upload.failure = error
                reason = str(error)
            except (Away, Expired) as error:
                reason = str(error)
                asked_s = error.asked_s if isinstance(error, Away) else None
                if isinstance(error, Expired):
                    with upload.lock:
                        upload.addresses.clear()
            else:
                run.patience.good("store")
                return
            run.moved(-sum(moved))
            if attempt and upload.failure is None:  # once: a kept connection that ended just now, an address that was too old
                run.patience.wait("store", reason, attempt - 1, asked_s)
            attempt += 1

    def _address(self, upload: Upload, number: int) -> Put:
        with upload.lock:
            known = upload.addresses.get(number)
            if known is None or time.monotonic() - known[1] > _ADDRESS_S:
                at = upload.numbers.index(number)
                asked = upload.numbers[at : at + _ADDRESSES]
                now = time.monotonic()
                given = self._run.reception.parts(upload.item.dataset_id, upload.item.file_id, asked)
                upload.addresses |= {one: (put, now) for one, put in given.items()}
            put, _ = upload.addresses[number]
            return put

    # The end

    def _ended(self, upload: Upload) -> None:
        with upload.lock:
            upload.open -= 1
            if upload.open:
                return
        run, task, failure = self._run, upload.task, upload.failure
        if failure is None:
            try:
                check_still(task.source)
            except Changed as error:
                failure = error
        if failure is None:
            self._finished.put((task, upload.sha256, None))
        elif isinstance(failure, Changed):
            run.changed(task, str(failure))
        elif isinstance(failure, Gone):
            task.missing += 1
            if task.missing >= _REFUSALS:
                run.failed(task, f"is not taken: {failure}")
            else:
                run.again(task, float(task.missing))
        else:
            run.failed(task, f"is refused: {failure}" if isinstance(failure, Refused) else str(failure))


def part_sizes(size_bytes: int, part_bytes: int) -> Iterator[tuple[int, int]]:
    """Parts 1…N of a file: number and size, the last one shorter."""
    for number, start in enumerate(range(0, size_bytes, part_bytes), start=1):
        yield number, min(part_bytes, size_bytes - start)


def _pieces(data: memoryview) -> Iterator[memoryview]:
    for start in range(0, len(data), CHUNK_BYTES):
        yield data[start : start + CHUNK_BYTES]

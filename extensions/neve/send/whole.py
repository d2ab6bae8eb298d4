"""Files that go to the store whole, each by one PUT, many at once over kept connections. Files that the archiver knows are hashed here too.

Law: what is hashed is what is sent. A small file is read once into memory; a larger one is hashed while its pieces leave. One with a sum from a
manifest is not sent before its sum is right.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from queue import SimpleQueue

from neve.send.run import Run, Task
from neve.send.source import Changed, Unreadable, check_still, check_unchanged, open_source, read_into, sha256_of
from neve.send.store import CHUNK_BYTES, Away, Expired, Gone, Refused

THREADS = 16
_REFUSALS = 3


class Finished(SimpleQueue["tuple[Task, str, str | None] | None"]):
    """Files whose bytes all stand in the store, with SHA-256 and the store's version: to be told to the archiver. None: no more."""


class Whole:
    """The threads that send whole files."""

    def __init__(self, run: Run, finished: Finished) -> None:
        self._run = run
        self._finished = finished
        self.tasks: SimpleQueue[Task | None] = SimpleQueue()
        self.threads = [threading.Thread(target=self._work, name=f"neve-whole-{number}", daemon=True) for number in range(THREADS)]

    def end(self) -> None:
        """No more will come."""
        for _ in self.threads:
            self.tasks.put(None)

    def _work(self) -> None:
        try:
            while (task := self.tasks.get()) is not None:
                self._run.check()
                self._one(task)
        except BaseException as error:  # noqa: BLE001 - it ends the sending, in the thread that waits for it
            self._run.crashed(error)

    def _one(self, task: Task) -> None:
        run = self._run
        try:
            if task.answer.state == "known":
                task.sha256 = sha256_of(task.source, run.check)
                run.again(task)
                return
            sha256, version = self._send(task)
        except Changed as error:
            run.changed(task, str(error))
        except (Unreadable, WrongSum) as error:
            run.failed(task, str(error))
        except Refused as error:
            task.missing += 1
            if task.missing >= _REFUSALS:
                run.failed(task, f"is refused: {error}")
            else:
                run.again(task)
        except (Away, Expired, Gone) as error:
            task.away += 1
            if task.away > 1:  # once: a kept connection that ended just now, an address that was too old
                run.patience.wait("store", str(error), task.away - 2, error.asked_s if isinstance(error, Away) else None)
            run.again(task)
        else:
            run.patience.good("store")
            self._finished.put((task, sha256, version))

    def _send(self, task: Task) -> tuple[str, str | None]:
        source, run = task.source, self._run
        put = task.answer.put
        assert put is not None
        if source.size_bytes <= CHUNK_BYTES:
            data = memoryview(bytearray(source.size_bytes))
            with open_source(source) as file:
                read_into(file, data)
                check_unchanged(source, file)
            sha256 = hashlib.sha256(data).hexdigest()
            check_sum(task, sha256)
            version = run.store.put(put, len(data), [data] if data else [])
            run.moved(len(data))
            check_still(source)
            return sha256, version
        if task.expected:
            check_sum(task, sha256_of(source, run.check))
        digest = hashlib.sha256()
        moved = 0

        def pieces() -> Iterator[memoryview]:
            buffer = memoryview(bytearray(CHUNK_BYTES))
            left = source.size_bytes
            while left:
                run.check()
                piece = buffer[: min(left, CHUNK_BYTES)]
                read_into(file, piece)
                digest.update(piece)
                left -= len(piece)
                yield piece

        def count(size_bytes: int) -> None:
            nonlocal moved
            moved += size_bytes
            run.moved(size_bytes)

        try:
            with open_source(source) as file:
                version = run.store.put(put, source.size_bytes, pieces(), count)
                check_unchanged(source, file)
            if moved != source.size_bytes:  # something stood there before the last piece: 412, whose bytes are proven by their sum
                return sha256_of(source, run.check), version
            check_sum(task, digest.hexdigest())
        except BaseException:
            run.moved(-moved)
            raise
        return digest.hexdigest(), version


class WrongSum(Exception):
    """The bytes are not what the manifest, or an earlier reading, says."""


def check_sum(task: Task, sha256: str) -> None:
    """Raises WrongSum where a manifest says otherwise, Changed where an earlier reading of what looks like the same file did."""
    if task.sha256 is None or task.sha256 == sha256:
        return
    if task.expected:
        raise WrongSum(f"has the SHA-256 {sha256}, but its manifest says {task.sha256}; it is not received")
    task.sha256 = sha256
    raise Changed("has other bytes than before, at the same size and time")

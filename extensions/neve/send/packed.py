"""Small files that go to the store together: a pack is one tar, sent by one PUT and made while it leaves.

Law: what is hashed is what is sent, and of a pack one piece is in memory. A file that cannot be read, has changed or has a wrong sum ends the PUT, so
that nothing of it is stored, and goes its own way; the others are asked about again in one question. After a few packs that came to nothing a file is
sent singly: no pack goes round for ever.
"""

from __future__ import annotations

import hashlib
import tarfile
import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from queue import SimpleQueue

from neve.errors import ChecksumMismatch, Conflict, NotFound, TooLarge, WrongUse
from neve.send.answers import Pack, PackMember
from neve.send.run import Run, Task
from neve.send.source import Changed, Unreadable, check_still, check_unchanged, open_source, read_into, sha256_of
from neve.send.store import CHUNK_BYTES, Away, Expired, Gone, Refused
from neve.send.whole import WrongSum, check_sum

THREADS = 4
_TRIES = 3  # packs of a file that may come to nothing
_END = bytes(2 * tarfile.BLOCKSIZE)


class Missing(Exception):
    """The archiver does not find the pack where it was sent to."""


class Otherwise(Exception):
    """The tar that is asked for is not the one that these files make."""


@dataclass(frozen=True, slots=True)
class Load:
    """A pack to be sent, and the files that are its members, in their order."""

    pack: Pack
    tasks: list[Task]


class Packs:
    """The threads that send packs, and tell the archiver of each."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.loads: SimpleQueue[Load | None] = SimpleQueue()
        self.threads = [threading.Thread(target=self._work, name=f"neve-pack-{number}", daemon=True) for number in range(THREADS)]

    def end(self) -> None:
        """No more will come."""
        for _ in self.threads:
            self.loads.put(None)

    def _work(self) -> None:
        try:
            while (load := self.loads.get()) is not None:
                self._run.check()
                self._one(load)
        except BaseException as error:  # noqa: BLE001 - it ends the sending, in the thread that waits for it
            self._run.crashed(error)

    def _one(self, load: Load) -> None:
        run, tar = self._run, Tar(load, self._run)
        try:
            state = self._send(load, tar)
        except BaseException as error:  # noqa: BLE001 - raised again where it is nothing that a pack may meet
            run.moved(-tar.moved)
            self._came_to_nothing(load, tar, error)
            return
        run.had(sum(task.source.size_bytes for task in load.tasks) - tar.moved)
        sent = list(zip(load.tasks, tar.sums, strict=True))
        run.record([(task, sha256, "received" if state == "received" else "sent") for task, sha256 in sent])
        for task, sha256 in sent:
            run.sent(task, sha256)

    def _send(self, load: Load, tar: Tar) -> str:
        run, pack = self._run, load.pack
        tar.check()
        with closing(tar.pieces()) as pieces:
            version = run.store.put(pack.put, pack.size_bytes, pieces, tar.left)
        run.patience.good("store")
        tar.check_all()
        sums = {member.file_id: sha256 for member, sha256 in zip(pack.members, tar.sums, strict=True)}
        state = run.reception.pack_done(pack, sums, version)
        if state == "missing":
            raise Missing("the store does not have it")
        return state

    def _came_to_nothing(self, load: Load, tar: Tar, error: BaseException) -> None:
        """Each file of the pack goes its way. Raises what ends the sending."""
        run, tasks = self._run, load.tasks
        match error:
            case Changed() | Unreadable() | WrongSum():
                self._again(tasks, but=tar.task)
                if isinstance(error, Changed):
                    run.changed(tar.task, str(error))
                else:
                    run.failed(tar.task, str(error))
            case Away() | Expired() | Gone():
                if tar.moved:  # a link or proxy through which no pack gets
                    _count(tasks)
                away = max(task.away for task in tasks) + 1
                for task in tasks:
                    task.away = away
                if away > 1:  # once: a kept connection that ended just now, an address that was too old
                    run.patience.wait("store", str(error), away - 2, error.asked_s if isinstance(error, Away) else None)
                run.again_together(tasks)
            case Missing():
                _count(tasks)
                run.missing(tasks, str(error))
            case Otherwise():
                _count(tasks, _TRIES)
                run.again_together(tasks)
            case ChecksumMismatch():
                wrong = next((task for task in tasks if task.answer.file_id == error.extra.get("file_id")), None)
                self._again(tasks, but=wrong)
                if wrong is not None:
                    run.failed(wrong, f"is not received: {error}")
            case Refused() | NotFound() | Conflict() | WrongUse() | TooLarge():
                self._again(tasks)
            case _:
                raise error

    def _again(self, tasks: list[Task], but: Task | None = None) -> None:
        others = [task for task in tasks if task is not but]
        _count(others)
        self._run.again_together(others)


def _count(tasks: list[Task], packs: int = 1) -> None:
    """A pack of these came to nothing."""
    for task in tasks:
        task.packs += packs
        task.singly = task.packs >= _TRIES


class Tar:
    """The bytes of a pack, made while they are asked for, once.

    `task`: the file in hand; `sums`: SHA-256 of each member that was read whole; `moved`: bytes of the files, without what the tar adds, that have
    left.
    """

    def __init__(self, load: Load, run: Run) -> None:
        self._load = load
        self._run = run
        self._in_piece = 0  # bytes of files in the piece that was given last
        self.task = load.tasks[0]
        self.sums: list[str] = []
        self.moved = 0

    def check(self) -> None:
        """Raises Otherwise where offsets and sizes are not those that the archiver has reckoned."""
        pack, at = self._load.pack, 0
        for member, task in zip(pack.members, self._load.tasks, strict=True):
            if member.size_bytes != task.source.size_bytes:
                raise Otherwise
            at += len(_header(member))
            if at != member.offset_bytes:
                raise Otherwise
            at += member.size_bytes + len(_padding(member))
        if at + len(_END) != pack.size_bytes:
            raise Otherwise

    def pieces(self) -> Generator[memoryview, None, None]:
        """The tar. Each piece holds until the next is asked for. Raises Changed, Unreadable or WrongSum for `task`, before the end in any case."""
        buffer, at = memoryview(bytearray(CHUNK_BYTES)), 0
        for part, of_file in self._parts():
            left = part
            while left:
                count = min(len(left), CHUNK_BYTES - at)
                buffer[at : at + count] = left[:count]
                left, at = left[count:], at + count
                self._in_piece += count if of_file else 0
                if at == CHUNK_BYTES:
                    yield buffer
                    at = self._in_piece = 0
        if at:
            yield buffer[:at]

    def left(self, _size_bytes: int) -> None:
        """The piece that was given last has left."""
        self.moved += self._in_piece
        self._run.moved(self._in_piece)
        self._run.check()

    def check_all(self) -> None:
        """Have the sum of each member, and find each as it was. What was not read because something stood there before the end (412) is read now."""
        for task in self._load.tasks[len(self.sums) :]:
            self.task = task
            sha256 = sha256_of(task.source, self._run.check)
            check_sum(task, sha256)
            self.sums.append(sha256)
        for task in self._load.tasks:
            self.task = task
            check_still(task.source)

    def _parts(self) -> Iterator[tuple[memoryview, bool]]:
        """Headers, files, padding: each with whether it is of a file."""
        buffer = memoryview(bytearray(CHUNK_BYTES))
        for member, task in zip(self._load.pack.members, self._load.tasks, strict=True):
            self.task, source = task, task.source
            digest, left = hashlib.sha256(), source.size_bytes
            yield memoryview(_header(member)), False
            with open_source(source) as file:
                while left:
                    piece = buffer[: min(left, CHUNK_BYTES)]
                    read_into(file, piece)
                    digest.update(piece)
                    left -= len(piece)
                    yield piece, True
                check_unchanged(source, file)
            sha256 = digest.hexdigest()
            check_sum(task, sha256)
            self.sums.append(sha256)
            yield memoryview(_padding(member)), False
        yield memoryview(_END), False


def _header(member: PackMember) -> bytes:
    info = tarfile.TarInfo(member.name.decode("utf-8", "surrogateescape"))
    info.size, info.mode, info.mtime = member.size_bytes, 0o444, member.mtime_s
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _padding(member: PackMember) -> bytes:
    return bytes(-member.size_bytes % tarfile.BLOCKSIZE)

"""A file that is being written, as it is at this moment: a consistent copy in a folder of our own.

Law: what is given is whole in its own format, or nothing is given and the reason said. The original is read and nothing else. Which bytes those
are: of text all up to the last end of a line; of miniSEED whole records; of HDF5 and netCDF-4 a copy that opens as any other file; of anything
else a copy of a file that did not move meanwhile. The copy is one file, never more than the disk holds well, and goes when it was sent.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from neve.send import readable, superblock
from neve.send.ready import located
from neve.send.source import Changed, Unreadable, open_path, read_into
from neve.wording import size_text

TRIES = 3
_PAUSE_S = 0.3
_PIECE_BYTES = 1 << 20
_EDGE_BYTES = 1 << 16  # at both ends: looked at for the format, and once more after the copy
_LINE_BYTES = 1 << 24  # a line that is longer is none
_ROOM_BYTES = 1_000_000_000  # left free on the disk of the copies
_PRINTED = bytes((*b"\t\n\r\f\x1b", *range(32, 256)))
_QUALITIES = b"DRQM"
_BLOCKETTE_1000 = 1000
_EXPONENTS = range(7, 21)  # of the record lengths that miniSEED has: 128 bytes to 1 MiB


class NotNow(Exception):
    """No consistent copy can be had now; the text says why."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A copy. `mark`, `mtime_ns`: of the original when the copying began."""

    path: Path
    size_bytes: int
    sha256: str
    mark: str
    mtime_ns: int


@contextmanager
def cut(original: Path, folder: Path, *, known_only: bool, pause: Callable[[float], None]) -> Iterator[Cut]:
    """A consistent copy of `original` below `folder`, which is gone at the end. Raises NotNow.

    `known_only`: files of which the format does not say what is consistent are refused. `pause`: waits so many seconds, and ends all by raising.
    """
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / f"snapshot-{os.getpid()}"
    try:
        yield _cut(original, copy, known_only=known_only, pause=pause)
    except (Unreadable, Changed) as error:
        raise NotNow(str(error)) from error
    except OSError as error:
        raise NotNow(f"cannot be copied ({error.strerror or error})") from error
    finally:
        copy.unlink(missing_ok=True)


def clear(folder: Path) -> None:
    """Remove copies that a process left which was killed."""
    for left in folder.glob("snapshot-*"):
        with suppress(OSError):
            left.unlink()


def _cut(original: Path, copy: Path, *, known_only: bool, pause: Callable[[float], None]) -> Cut:
    with open_path(original) as file:
        info = os.fstat(file.fileno())
        if not stat.S_ISREG(info.st_mode):
            raise NotNow("is no file any more")
        if located(file, info.st_size) is not None:
            _copy_hdf5(original, copy, pause)
        elif (whole := _whole(file, info.st_size)) is not None:
            _copy_start(file, copy, whole, pause)
        elif known_only:
            raise NotNow("its format does not say where it may be cut; name it in `snapshot_match` to have it copied while it is still")
        else:
            _copy_still(original, copy, pause)
    with copy.open("rb") as made:
        sha256 = hashlib.file_digest(made, "sha256").hexdigest()
    return Cut(copy, copy.stat().st_size, sha256, f"{info.st_size}:{info.st_mtime_ns}", info.st_mtime_ns)


# what grows at its end only


def _whole(file: FileIO, size_bytes: int) -> int | None:
    """How many bytes from the beginning are whole lines, or records; None where it is neither text nor miniSEED. Raises NotNow."""
    head = _read(file, 0, min(_EDGE_BYTES, size_bytes))
    if _is_record(head):
        return _records(file, head, size_bytes)
    if not _is_text(head) or (b"\n" not in head and len(head) == _EDGE_BYTES):
        return None
    end = size_bytes
    while end > max(0, size_bytes - _LINE_BYTES):
        start = max(0, end - _EDGE_BYTES)
        piece = _read(file, start, end - start)
        if not _is_text(piece):
            return None
        at = piece.rfind(b"\n")
        if at >= 0:
            return start + at + 1
        end = start
    raise NotNow("no line of it has ended yet")


def _is_text(piece: bytes) -> bool:
    return not piece.startswith((b"\xff\xfe", b"\xfe\xff")) and not piece.translate(None, _PRINTED)


def _is_record(head: bytes) -> bool:
    """Whether these are the first bytes of a miniSEED 2 record (SEED Reference Manual 2.4, fixed section of data header)."""
    return len(head) >= 64 and all(byte in b"0123456789 \0" for byte in head[:6]) and head[6] in _QUALITIES and head[7] in b" \0"


def _records(file: FileIO, head: bytes, size_bytes: int) -> int:
    length = _record_bytes(head)
    if length is None:
        raise NotNow("its miniSEED records do not say how long they are (no blockette 1000)")
    whole = size_bytes // length * length
    if not whole:
        raise NotNow("no record of it is whole yet")
    last = _read(file, whole - length, min(length, _EDGE_BYTES))
    if not _is_record(last) or _record_bytes(last) != length:
        raise NotNow(f"its miniSEED records are not all of {length} bytes")
    return whole


def _record_bytes(head: bytes) -> int | None:
    """The length of a record, by its blockette 1000."""
    order = "big" if 1900 <= int.from_bytes(head[20:22], "big") <= 2200 else "little"

    def number(at: int) -> int:
        return int.from_bytes(head[at : at + 2], order)  # type: ignore[arg-type]

    at = number(46)
    while 48 <= at <= len(head) - 8:
        if number(at) == _BLOCKETTE_1000:
            return 1 << head[at + 6] if head[at + 6] in _EXPONENTS else None
        if number(at + 2) <= at:
            return None
        at = number(at + 2)
    return None


def _copy_start(file: FileIO, copy: Path, size_bytes: int, pause: Callable[[float], None]) -> None:
    """The first bytes of a file that grows at its end; that it is no other file by now, its ends are asked."""
    edge = min(_EDGE_BYTES, size_bytes)
    ends = [(at, _read(file, at, edge)) for at in (0, size_bytes - edge)]
    _copy(file, copy, size_bytes, pause)
    with copy.open("rb", buffering=0) as made:
        if any(_read(one, at, edge) != before for one in (file, made) for at, before in ends):
            raise NotNow("is written anew from its beginning")


# what is written everywhere


def _copy_hdf5(original: Path, copy: Path, pause: Callable[[float], None]) -> None:
    """A copy that opens as any other HDF5 file. What a SWMR writer does meanwhile is no hindrance where the copy can be tried (h5py)."""
    reason = ""
    for number in range(TRIES):
        if number:
            pause(_PAUSE_S)
        still = _copied(original, copy, pause)
        if not superblock.close(copy):
            reason = "its superblock is being written"
        elif readable.can_be_asked():
            reason = readable.why_not(copy)
            if not reason:
                return
            reason = f"as it stands on the disk it cannot be read ({reason})"
        elif still:
            return
        else:
            reason = "changed while it was copied, and without h5py it cannot be seen whether the copy is whole"
    raise NotNow(reason)


def _copy_still(original: Path, copy: Path, pause: Callable[[float], None]) -> None:
    for number in range(TRIES):
        if number:
            pause(_PAUSE_S)
        if _copied(original, copy, pause):
            return
    raise NotNow("changed while it was copied")


def _copied(original: Path, copy: Path, pause: Callable[[float], None]) -> bool:
    """Copy all of it, from its beginning to its end; says whether size and time stood still meanwhile."""
    with open_path(original) as file:
        before = os.fstat(file.fileno())
        _copy(file, copy, before.st_size, pause)
        # What came while it was copied belongs to it: a SWMR file refers to what lies behind. A second round has little left to do.
        with copy.open("ab", buffering=0) as more:
            while (more.tell() < 2 * before.st_size + _PIECE_BYTES) and (piece := file.read(_PIECE_BYTES)):
                more.write(piece)
        after = os.fstat(file.fileno())
    return (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


def _copy(file: FileIO, copy: Path, size_bytes: int, pause: Callable[[float], None]) -> None:
    free = shutil.disk_usage(copy.parent).free
    if free - size_bytes < _ROOM_BYTES:
        raise NotNow(f"a copy of {size_text(size_bytes)} would fill the disk of {copy.parent} ({size_text(free)} free)")
    file.seek(0)
    left = size_bytes
    buffer = memoryview(bytearray(min(_PIECE_BYTES, max(size_bytes, 1))))
    with copy.open("wb", buffering=0) as made:
        while left:
            piece = buffer[: min(left, len(buffer))]
            read_into(file, piece)
            made.write(piece)
            left -= len(piece)
            pause(0)


def _read(file: FileIO, at: int, count: int) -> bytes:
    file.seek(at)
    piece = memoryview(bytearray(count))
    read_into(file, piece)
    return bytes(piece)

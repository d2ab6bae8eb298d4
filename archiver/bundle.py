"""Bundles: small files of one dataset in one uncompressed tar, so that archive and deep hold few objects instead of many.

Law: a bundle is a function of its members (paths, sizes, times, bytes) and nothing else, so that it can be built again, byte for byte,
from them. Where each member's bytes begin is known before the first byte is read; the manifest says it, and any `tar` opens the whole.
Each member is checked against its arrival hash while it goes by. Format: POSIX pax, POSIX.1-2001. A bundle that somebody else built
(a pack, from outside) is read the same way: every byte that is no member's must be what it would be here.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from archiver.errors import ProofFailed
from archiver.model import File
from archiver.storage import Digest, Digester

_BLOCK = 512
_END = bytes(2 * _BLOCK)


@dataclass(frozen=True)
class Place:
    """A member and where its bytes begin."""

    file: File
    offset_bytes: int


@dataclass(frozen=True)
class Layout:
    """A bundle before it is built: its members in order, and its size."""

    places: tuple[Place, ...]
    size_bytes: int


def layouts(files: Iterable[File], below_bytes: int, max_bytes: int) -> list[Layout]:
    """Lay files smaller than `below_bytes` out in bundles of at most `max_bytes`, by path; a bundle of one file would be no gain."""
    small = sorted((f for f in files if f.size_bytes < below_bytes), key=lambda f: f.path_raw)
    groups: list[list[tuple[File, int]]] = [[]]
    filled = len(_END)
    for file, header_bytes in _with_headers(small):
        room = header_bytes + _padded(file.size_bytes)
        if groups[-1] and filled + room > max_bytes:
            groups.append([])
            filled = len(_END)
        groups[-1].append((file, header_bytes))
        filled += room
    return [_laid(group) for group in groups if len(group) > 1]


def layout(files: Sequence[File]) -> Layout:
    """Where the members of one bundle stand, in the order given."""
    return _laid(_with_headers(files))


def _with_headers(files: Iterable[File]) -> Iterator[tuple[File, int]]:
    return ((file, len(_header(file))) for file in files)


def _laid(files: Iterable[tuple[File, int]]) -> Layout:
    places = []
    at = 0
    for file, header_bytes in files:
        at += header_bytes
        places.append(Place(file, at))
        at += _padded(file.size_bytes)
    return Layout(tuple(places), at + len(_END))


def stream(files: Sequence[File], contents: Iterable[Iterable[bytes]]) -> Iterator[bytes]:
    """The bytes of a bundle; `contents` gives each member's bytes in pieces, in the same order. Raises `ProofFailed`."""
    for file, pieces in zip(files, contents, strict=True):
        yield _header(file)
        digest, size = hashlib.sha256(), 0
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
            yield piece
        if (size, digest.hexdigest()) != (file.size_bytes, file.sha256):
            raise ProofFailed(
                f"{file.path} in hot reads as {size} bytes with SHA-256 {digest.hexdigest()}, recorded were {file.size_bytes} and {file.sha256}.",
                "Find a good copy of it and send it again as a new dataset; `archiver verify` tells which copies are sound.",
            )
        yield bytes(_padded(size) - size)
    yield _END


def read(files: Sequence[File], pieces: Iterable[bytes], whole: Digester) -> Iterator[tuple[File, Digest]]:
    """The members of a bundle that was built elsewhere, each with what its bytes are; `whole` takes in all that is read.

    Memory holds one piece and one member. Raises `ProofFailed` where it is not laid out as it would be here.
    """
    source = _Source(pieces, whole)
    for file in files:
        header = _header(file)
        if source.take(len(header)) != header:
            raise _not_as_laid_out(file.path)
        digester = Digester()
        digester.update(source.take(file.size_bytes))
        padding = _padded(file.size_bytes) - file.size_bytes
        if source.take(padding) != bytes(padding):
            raise _not_as_laid_out(file.path)
        yield file, digester.digest()
    if source.take(len(_END)) != _END or not source.is_over():
        raise _not_as_laid_out("its end")


def _not_as_laid_out(where: str) -> ProofFailed:
    return ProofFailed(f"What arrived together is not laid out as it was told of, at {where}.", "Nothing of it is received: send the files again.")


class _Source:
    """Pieces of any size, taken by so many bytes."""

    def __init__(self, pieces: Iterable[bytes], whole: Digester) -> None:
        self._pieces, self._whole = iter(pieces), whole
        self._rest = bytearray()

    def take(self, count: int) -> bytes:
        """So many bytes, fewer where they end."""
        while len(self._rest) < count and self._more():
            pass
        taken = bytes(self._rest[:count])
        del self._rest[:count]
        return taken

    def is_over(self) -> bool:
        return not self._rest and not self._more()

    def _more(self) -> bool:
        piece = next((piece for piece in self._pieces if piece), None)
        if piece is None:
            return False
        self._whole.update(piece)
        self._rest += piece
        return True


def in_parts(pieces: Iterable[bytes], part_bytes: int) -> Iterator[bytes]:
    """The same bytes in parts of exactly `part_bytes`, but the last."""
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        while len(buffer) >= part_bytes:
            yield bytes(buffer[:part_bytes])
            del buffer[:part_bytes]
    if buffer:
        yield bytes(buffer)


def mtime_s(file: File) -> int:
    """A member's time, in seconds since 1970; 0 where it has none, or an earlier one."""
    return 0 if file.mtime is None else max(int(file.mtime.timestamp()), 0)


def _padded(size_bytes: int) -> int:
    return -(-size_bytes // _BLOCK) * _BLOCK


def _header(file: File) -> bytes:
    info = tarfile.TarInfo(file.path_raw.decode("utf-8", "surrogateescape"))
    info.size = file.size_bytes
    info.mode = 0o444
    info.mtime = mtime_s(file)
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")

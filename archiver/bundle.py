"""Bundles: small files of one dataset in one uncompressed tar, so that archive and deep hold few objects instead of many.

Law: a bundle is a function of its members (paths, sizes, times, bytes) and nothing else, so that it can be built again, byte for byte,
from them. Where each member's bytes begin is known before the first byte is read; the manifest says it, and any `tar` opens the whole.
Each member is checked against its arrival hash while it goes by. Format: POSIX pax, POSIX.1-2001.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from archiver.errors import ProofFailed
from archiver.model import File

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
    groups: list[list[File]] = [[]]
    filled = len(_END)
    for file in small:
        room = len(_header(file)) + _padded(file.size_bytes)
        if groups[-1] and filled + room > max_bytes:
            groups.append([])
            filled = len(_END)
        groups[-1].append(file)
        filled += room
    return [layout(group) for group in groups if len(group) > 1]


def layout(files: Sequence[File]) -> Layout:
    """Where the members of one bundle stand, in the order given."""
    places = []
    at = 0
    for file in files:
        at += len(_header(file))
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


def _padded(size_bytes: int) -> int:
    return -(-size_bytes // _BLOCK) * _BLOCK


def _header(file: File) -> bytes:
    info = tarfile.TarInfo(file.path_raw.decode("utf-8", "surrogateescape"))
    info.size = file.size_bytes
    info.mode = 0o444
    seconds = 0 if file.mtime is None else int(file.mtime.timestamp())
    info.mtime = max(seconds, 0)
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")

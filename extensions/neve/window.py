"""A file over bytes of a store: what is asked for is fetched by range, and what a steady reader will want next is fetched meanwhile.

Law: no more than KEPT_BYTES are held, what is under way included; a request that fails is told by the read that needs its bytes, and remembered.

Chosen by measurement (tests/bench/reading.py: 512 frames of 2 MiB, one to a chunk, from SeaweedFS on loopback; processor seconds of reader and
store together, as others used the two cores too). Frame by frame, s3fs's default (readahead, 50 MB) takes 11.5 s, fsspec's readahead, blockcache
and background with 8 MB 10 to 11 s, its adaptive one 22 s (HDF5's look-ups end its runs, and it fetches twice), this 8.4 s, the FUSE mount 14 s.
With 8 MiB a request the store works more, with 32 MiB no less; requests that end where the store's parts end save it a quarter. h5py's own chunk
cache stays as it is (HDF5 2: 8 MiB). HDF5's ros3 is left out: its keys do not renew themselves, it knows no versions, and it cannot begin within
an object.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, BinaryIO

LEAST_BYTES = 2**20
"""Around a small read this much is fetched: HDF5 reads its metadata in hundreds of small pieces that lie near each other."""
PIECE_BYTES = 16 * 2**20
"""No request asks for more."""
STORE_BYTES = 8 * 2**20
"""Stores keep an object in parts of a multiple of this: a request that ends with one makes none be read twice."""
UNDER_WAY = 2
"""Requests ahead of a steady reader."""
KEPT_BYTES = (2 + UNDER_WAY) * PIECE_BYTES
METADATA_BYTES = 16 * 2**10
"""Reads below this, elsewhere than the last, are HDF5 looking something up: they say nothing about what will be read next."""

NOWHERE = -(2**60)

Fetch = Callable[[int, int], "Future[bytes]"]
"""Asks for the bytes from the first number to before the second."""


@dataclass(frozen=True, eq=False)
class Piece:
    """Bytes that were asked for, there or still to come."""

    start: int
    end: int
    body: Future[bytes]


class Window(io.RawIOBase, BinaryIO):
    """A binary file of `size_bytes`, which begin at `origin` of their object.

    `failure`: the error of a read; HDF5 swallows it and tells of a damaged file instead. EOFError: the store gave less than was asked for.
    """

    def __init__(self, fetch: Fetch, size_bytes: int, origin: int = 0) -> None:
        self._fetch, self.size_bytes, self._origin = fetch, size_bytes, origin
        self.failure: Exception | None = None
        self._at = 0
        self._pieces: list[Piece] = []  # the latest used last
        self._last = self._aside = NOWHERE, NOWHERE
        self._run: int | None = None  # where reading on and on began
        self._step, self._steps = 0, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size_bytes}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        begun, end = self._at, min(self._at + len(view), self.size_bytes)
        if end <= begun:
            return 0
        self._notice(begun, end)
        try:
            while self._at < end:
                part = self._part(self._at, end)
                view[self._at - begun : self._at - begun + len(part)] = part
                self._at += len(part)
        except Exception as error:
            self.failure = error
            raise
        return end - begun

    def readall(self) -> bytes:
        body = bytearray(max(0, self.size_bytes - self._at))
        self.readinto(body)
        return bytes(body)

    def close(self) -> None:
        while self._pieces:
            self._pieces.pop().body.cancel()
        super().close()

    def _notice(self, start: int, end: int) -> None:
        """See whether the reader is steady: on and on, or by equal steps. Small ones elsewhere are metadata, unless they go on for long."""
        step = start - self._last[0]
        if 0 <= start - self._last[1] <= LEAST_BYTES:
            self._run, self._steps = (self._last[0] if self._run is None else self._run), 0
        elif end - start < METADATA_BYTES:
            self._aside = (self._aside[0] if 0 <= start - self._aside[1] < METADATA_BYTES else start), end
            if end - self._aside[0] < LEAST_BYTES:
                return
            self._run, self._steps = self._aside[0], 0
        else:
            self._run, self._steps = None, self._steps + 1 if step == self._step else 0
        self._last, self._step = (start, end), step

    def _part(self, start: int, end: int) -> memoryview:
        """Bytes from `start` on, as far as one piece has them; what will be wanted afterwards is asked for before they are waited for."""
        steady = self._last[1] == end
        more = min(end - self._run, PIECE_BYTES) if steady and self._run is not None else 0
        walked: list[Piece] = []
        front = start
        while front < self.size_bytes and len(walked) <= UNDER_WAY:
            piece = self._piece(front)
            if piece is None and front < end:
                piece = self._ask(*self._around(front, end))
            elif piece is None and more >= LEAST_BYTES:
                piece = self._ask(front, self._whole(front, front + more))
            if piece is None:
                break
            walked.append(piece)
            front = piece.end
        if steady and self._steps:
            for number in range(1, UNDER_WAY + 1):
                there = self._last[0] + number * self._step
                if 0 <= there < self.size_bytes and self._piece(there) is None:
                    walked.append(self._ask(there, there + min(self._last[1] - self._last[0], PIECE_BYTES)))
        self._pieces = [piece for piece in self._pieces if piece not in walked] + walked
        while sum(piece.end - piece.start for piece in self._pieces) > KEPT_BYTES:
            self._pieces.pop(0).body.cancel()
        return self._bytes_of(walked[0])[start - walked[0].start : end - walked[0].start]

    def _bytes_of(self, piece: Piece) -> memoryview:
        try:
            body = piece.body.result()
        except Exception:
            self._pieces.remove(piece)  # to be asked for anew
            raise
        if len(body) != piece.end - piece.start:
            self._pieces.remove(piece)
            raise EOFError(f"{len(body)} bytes instead of {piece.end - piece.start} from {piece.start} on")
        return memoryview(body)

    def _piece(self, at: int) -> Piece | None:
        return next((piece for piece in reversed(self._pieces) if piece.start <= at < piece.end), None)

    def _around(self, start: int, end: int) -> tuple[int, int]:
        if end - start >= LEAST_BYTES:
            return start, min(end, start + PIECE_BYTES)
        return start - start % LEAST_BYTES, end - end % -LEAST_BYTES

    def _whole(self, start: int, end: int) -> int:
        """The end moved back to where the store's own pieces end, if there is such a place."""
        even = end - (self._origin + end) % STORE_BYTES
        return even if even > start else end

    def _ask(self, start: int, end: int) -> Piece:
        """A request that ends where what is there already begins."""
        end = min([end, self.size_bytes, *(piece.start for piece in self._pieces if start < piece.start)])
        piece = Piece(start, end, self._fetch(start, end))
        self._pieces.append(piece)
        return piece

"""Pace: at most so many bytes a second, shared by all threads of a process that stream to one place."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator


class Pace:
    """`bytes_per_s` None: as fast as it goes. `clock` and `sleep` are a test's."""

    def __init__(self, bytes_per_s: int | None, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep) -> None:
        self._rate = bytes_per_s
        self._clock, self._sleep = clock, sleep
        self._free_at = 0.0
        self._lock = threading.Lock()

    def paced(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The same pieces, each handed on when those before it have had their time."""
        for piece in pieces:
            if self._rate is not None:
                with self._lock:
                    now = self._clock()
                    wait = max(0.0, self._free_at - now)
                    self._free_at = max(now, self._free_at) + len(piece) / self._rate
                if wait:
                    self._sleep(wait)
            yield piece

"""Patience: the network, the archiver or the store are away, or reception is full. That ends some day; nothing is lost by waiting.

Law: no end to the waiting, growing pauses with jitter (a building's instruments must not come back in one instant), and one sentence for a whole
outage, not one per try, whichever thread meets it.
"""

from __future__ import annotations

import random
import threading
import time
import weakref
from collections.abc import Callable

from neve.send.events import Event

FIRST_S = 0.5
LONGEST_S = 60.0
_LOOK_S = 0.25


class Stopped(Exception):
    """The sending was asked to stop (Ctrl-C, a service's end). What was sent stays."""


class Stop:
    """Asks those who wait to end. Setting one sets those that were made below it, not the one above."""

    def __init__(self, above: Stop | None = None) -> None:
        self._event = threading.Event()
        self._below: weakref.WeakSet[Stop] = weakref.WeakSet()
        self._lock = threading.Lock()
        if above is not None:
            above.join(self)

    def set(self) -> None:
        with self._lock:
            self._event.set()
            below = list(self._below)
        for one in below:
            one.set()

    def is_set(self) -> bool:
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait that long or until it is set; true when it is."""
        return self._event.wait(seconds)

    def join(self, below: Stop) -> None:
        """Have `below` set with this one."""
        with self._lock:
            self._below.add(below)
            now = self._event.is_set()
        if now:
            below.set()


class GivenUp(Exception):
    """Somebody is away, and this is not worth the waiting. The text says who."""


class Patience:
    """The waiting of one sending, shared by its threads. `report` is called with `waiting` and `again`, from whichever thread meets it."""

    def __init__(self, report: Callable[[Event], None] = lambda _event: None, stop: Stop | None = None, *, longest_s: float = LONGEST_S) -> None:
        self.stop = stop or Stop()
        self._report = report
        self.longest_s = longest_s
        self._lock = threading.Lock()
        self._since: dict[str, float] = {}
        self._random = random.Random()  # noqa: S311 - jitter is no secret

    def wait(self, what: str, reason: str, attempt: int, asked_s: float | None = None) -> None:
        """Wait before try `attempt` + 1 (the first was 0). `what`: who is away, `archiver` or `store`; `asked_s`: what a Retry-After said.

        Raises Stopped when asked to stop meanwhile.
        """
        with self._lock:
            first = what not in self._since
            self._since.setdefault(what, time.monotonic())
        if first:
            self._report(Event("waiting", {"reason": reason}))
        pause_s = min(self.longest_s, FIRST_S * 2 ** min(attempt, 16)) * self._random.uniform(0.5, 1)
        if asked_s is not None:
            pause_s = min(max(asked_s, 0.0), 10 * self.longest_s) * self._random.uniform(1, 1.25)
        end = time.monotonic() + pause_s
        while what in self._since and (left_s := end - time.monotonic()) > 0:  # whoever gets through first ends the pause of all
            self.pause(min(left_s, _LOOK_S))

    def pause(self, seconds: float) -> None:
        """A pause that ends at once, with Stopped, when asked to stop."""
        if self.stop.wait(seconds):
            raise Stopped

    def check(self) -> None:
        """Raises Stopped when asked to stop."""
        if self.stop.is_set():
            raise Stopped

    def good(self, what: str) -> None:
        """`what` answered: if it was away, say that it is back."""
        if what not in self._since:
            return
        with self._lock:
            since = self._since.pop(what, None)
        if since is not None:
            self._report(Event("again", {"after_s": round(time.monotonic() - since, 1)}))


class Haste(Patience):
    """Waits for nobody: for what is worth nothing later."""

    def wait(self, what: str, reason: str, attempt: int, asked_s: float | None = None) -> None:  # noqa: ARG002 - as its kin
        """Raises GivenUp."""
        raise GivenUp(reason)

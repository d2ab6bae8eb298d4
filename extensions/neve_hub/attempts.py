"""Wrong passwords, counted: whoever guesses waits longer and longer, and nobody is locked out by another's guessing.

Law: a name is guarded against everybody, but where its owner has logged in from before, only what came from there counts. While somebody waits
nothing they send is looked at. What is remembered is bounded, and ends an hour after the last wrong password.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_FREE = {"pair": 5, "address": 30, "name": 50}
"""Wrong passwords without waiting: for one name from one address, for any from one address, for one name from anywhere."""
_LONGEST_S = 900.0
_FORGOTTEN_S = 3600.0
_MOST = 20_000

_Key = tuple[str, ...]
"""What is counted: its kind in `_FREE`, and whose."""


@dataclass
class _Wrong:
    count: int
    last: float


class Attempts:
    """What has been tried. `clock`: monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: OrderedDict[_Key, _Wrong] = OrderedDict()
        self._home: OrderedDict[tuple[str, str], None] = OrderedDict()

    def wait_s(self, name: str, address: str) -> float:
        """Seconds until this name may be tried from this address; 0: now."""
        return max(self._left(key) for key in self._keys(name, address))

    def wrong(self, name: str, address: str) -> None:
        """One more that does not fit, or is not known to."""
        for key in self._keys(name, address):
            known = self._wrong.pop(key, None)
            if known is None or self._clock() - known.last > _FORGOTTEN_S:
                known = _Wrong(0, 0)
            self._wrong[key] = _Wrong(known.count + 1, self._clock())
        while len(self._wrong) > _MOST:
            self._wrong.popitem(last=False)

    def right(self, name: str, address: str) -> None:
        """The last one fitted after all: this is where the name's owner works."""
        for key in self._keys(name, address):
            known = self._wrong.pop(key, None)
            if key[0] != "pair" and known is not None and known.count > 1:
                self._wrong[key] = _Wrong(known.count - 1, known.last)
        self._home.pop((name, address), None)
        self._home[name, address] = None
        if len(self._home) > _MOST:
            self._home.popitem(last=False)

    def _keys(self, name: str, address: str) -> list[_Key]:
        keys: list[_Key] = [("pair", name, address)]
        if (name, address) not in self._home:
            keys += [("address", address), ("name", name)]
        return keys

    def _left(self, key: _Key) -> float:
        known, free = self._wrong.get(key), _FREE[key[0]]
        if known is None or known.count < free:
            return 0
        wait = min(2.0 ** min(known.count - free, 20), _LONGEST_S)
        return max(known.last + wait - self._clock(), 0)

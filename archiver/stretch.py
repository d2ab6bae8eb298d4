"""Members of bundles that stand near each other are read together: by one request, not by one for each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from archiver.model import Copy
from archiver.storage import Tier

_MOST_BYTES = 8 * 2**20
"""What is held in memory, unless one member is larger."""
_GAP_BYTES = 2**16
"""So much between two members costs less than another request."""


@dataclass(frozen=True)
class Part:
    """`size_bytes` of a copy, from `offset_bytes` on."""

    copy: Copy
    offset_bytes: int
    size_bytes: int


class Stretches:
    """Reads parts that are known beforehand; told for in the order of `in_order`, each byte is asked for once."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self._from: dict[tuple[int, int], tuple[int, int]] = {}
        self._held: tuple[int, int, bytes] = (0, 0, b"")
        run: list[Part] = []
        for part in sorted(parts, key=in_order):
            if run and not _goes_on(run, part):
                self._lay(run)
                run = []
            run.append(part)
        self._lay(run)

    def read(self, tier: Tier, part: Part) -> bytes:
        """The part's bytes, out of the tier that its copy lies in. Raises `NotReadable`, `Vanished`, `StoreUnavailable`."""
        start, length = self._from[part.copy.id, part.offset_bytes]
        if self._held[:2] != (part.copy.id, start):
            pieces = tier.parts(part.copy.key, part.copy.version_id, length, max(length, 1), start)
            self._held = (part.copy.id, start, b"".join(pieces))
        at = part.offset_bytes - start
        return self._held[2][at : at + part.size_bytes]

    def _lay(self, run: list[Part]) -> None:
        for part in run:
            start = run[0].offset_bytes
            self._from[part.copy.id, part.offset_bytes] = (start, max(one.offset_bytes + one.size_bytes for one in run) - start)


def in_order(part: Part | None) -> tuple[int, int, int]:
    """What parts are sorted by, to be read one after the other; what is no part comes first."""
    return (0, 0, 0) if part is None else (part.copy.id, part.offset_bytes, part.size_bytes)


def _goes_on(run: list[Part], part: Part) -> bool:
    first, last = run[0], run[-1]
    near = part.offset_bytes - (last.offset_bytes + last.size_bytes) <= _GAP_BYTES
    return part.copy.id == first.copy.id and near and part.offset_bytes + part.size_bytes - first.offset_bytes <= _MOST_BYTES

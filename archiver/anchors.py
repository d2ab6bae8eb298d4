"""Anchors: once a day the heads of all chains that went on are written into an object of the archive tier.

Law: a chain whose hashes were all computed anew is still found out, because its old head stands in a store where the everyday identity
can end nothing. Each anchor cites the one before by its SHA-256, so none can be exchanged or left out unseen either.

The object `.neve/anchors/YYYY-MM-DD.json` (class STANDARD) has one JSON object a line: first `{"anchor", "at", "previous": {"day",
"sha256"} or null, "before", "through"}`, then a `{"dataset", "seq", "hash"}` for each chain. What changed since the anchor before the
last is in it: a transaction that was not yet to be seen when the last one was taken is so not passed over.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from archiver import policy
from archiver.archive import Archive
from archiver.errors import ForeignObject
from archiver.model import Anchor
from archiver.storage import AlreadyThere, Tier

log = logging.getLogger(__name__)

PREFIX = ".neve/anchors/"
_HEADS = 5000
_MARKS = "anchors"  # the note: newest event's number at the anchor before the last, and at the last
_LINE_BYTES = 16384  # no line of ours is longer; a foreign object shall not fill the memory


def run(archive: Archive) -> None:
    """The chore: write today's anchor, unless it is written. Raises `StoreUnavailable`, `ForeignObject`; repeated, it is the same anchor."""
    now = archive.clock()
    day = now.date().isoformat()
    with archive.ledger.read() as tx:
        last = tx.last_anchor()
        before, through = (int(mark) for mark in (tx.note(_MARKS) or "0 0").split())
        newest = tx.newest_event_id()
    if last is not None and last.day >= day:
        if last.day > day:
            log.warning("no anchor for %s: the last one is of %s; see this machine's clock", day, last.day)
        return
    tier = archive.tiers[tier_of(archive)]
    key = f"{PREFIX}{day}.json"
    header = {
        "anchor": day,
        "at": now.isoformat(),
        "previous": None if last is None else {"day": last.day, "sha256": last.sha256},
        "before": through,
        "through": newest,
    }
    archive.spool.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=archive.spool) as file:
        digest, count = _write(archive, file, header, before)
        size = file.tell()
        file.seek(0)
        try:
            version_id = tier.put(key, size, _pieces(file, tier.part_bytes(size)), "STANDARD")
        except AlreadyThere:  # by a run that was cut short before it could say so here
            found = read(tier, key, None)
            if found.header.get("previous") != header["previous"] or found.header.get("anchor") != day:
                raise ForeignObject(
                    f"{tier.bucket}/{key} is not this ledger's anchor of {day}.",
                    "See who wrote it; after a recovery, run `archiver ledger check`.",
                ) from None
            count = sum(1 for _ in found.lines)
            digest, version_id, through, newest = found.sha256(), found.version_id, int(found.header["before"]), int(found.header["through"])
    with archive.ledger.begin() as tx:
        if tx.anchor(day) is None:
            tx.add_anchor(Anchor(day, now, count, tier.name, key, version_id, digest))
            tx.set_note(_MARKS, f"{through} {newest}")


def tier_of(archive: Archive) -> str:
    """The tier that anchors lie in."""
    return "archive" if "archive" in archive.tiers else next((name for name in archive.tiers if name != policy.HOT), policy.HOT)


def _write(archive: Archive, file: IO[bytes], header: dict[str, Any], after_event_id: int) -> tuple[str, int]:
    """Write the lines, a page at a time; returns their SHA-256 and how many heads there are."""
    sha = hashlib.sha256()

    def line(said: dict[str, Any]) -> None:
        data = json.dumps(said, separators=(",", ":")).encode("ascii") + b"\n"
        sha.update(data)
        file.write(data)

    line(header)
    count, after = 0, 0
    while True:
        with archive.ledger.read() as tx:
            page = tx.heads(after, _HEADS, after_event_id=after_event_id)
        for head in page:
            line({"dataset": head.dataset, "seq": head.seq, "hash": head.hash})
        count += len(page)
        if len(page) < _HEADS:
            return sha.hexdigest(), count
        after = page[-1].dataset_id


def _pieces(file: IO[bytes], size: int) -> Iterator[bytes]:
    while chunk := file.read(size):
        yield chunk


@dataclass
class Found:
    """An anchor as it stands in the store. `lines` are the heads, read once, as they come; after that, `sha256()` is the object's."""

    version_id: str
    header: dict[str, Any]
    lines: Iterator[dict[str, Any]]
    sha: Any = field(repr=False)

    def sha256(self) -> str:
        return str(self.sha.hexdigest())


class Unreadable(Exception):
    """What stands there is no anchor, or nothing does."""


def read(tier: Tier, key: str, version_id: str | None) -> Found:
    """Open an anchor in the store, the version that stands when none is named. Raises `Unreadable`, `StoreUnavailable`, `Vanished`."""
    head = tier.head(key, version_id)
    if head is None:
        raise Unreadable("it is not in the store")
    sha = hashlib.sha256()
    lines = _lines(tier.read(key, head.version_id), sha)
    header = next(lines, {})
    return Found(head.version_id, header, lines, sha)


def _lines(chunks: Iterator[bytes], sha: Any) -> Iterator[dict[str, Any]]:
    rest = b""
    for chunk in chunks:
        sha.update(chunk)
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield _parsed(line)
        if len(rest) > _LINE_BYTES:
            raise Unreadable("it is no anchor of ours")
    if rest:
        yield _parsed(rest)


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except ValueError:
        raise Unreadable("it is no anchor of ours") from None
    if not isinstance(said, dict):
        raise Unreadable("it is no anchor of ours")
    return said


def days(tier: Tier) -> list[str]:
    """The days (YYYY-MM-DD) of which an anchor stands in the store, oldest first."""
    return sorted(entry.key.removeprefix(PREFIX).removesuffix(".json") for entry in tier.listed(PREFIX))

"""Chains of events: what makes a dataset's history impossible to change unseen. Pure.

Law: each event's hash covers the hash of the event before it and everything the event says, so no event can be changed, left out, put
in or moved without breaking a link. A chain begins with `GENESIS`; in a rebuilt ledger with one event of kind `CONTINUED`, which cites
the last head that was anchored (its number, its hash, the anchor's day) and follows it.

Whoever wants to verify a chain needs only this, in hexadecimal SHA-256 over the UTF-8 bytes of JSON arrays without spaces, keys sorted,
non-ASCII escaped, `at` in UTC as `2026-03-01T12:00:00.000000Z`:

    said = SHA-256(["instrument/name", seq, at, actor, kind, detail])
    hash = SHA-256([hash of the event before, said])

So a link can be followed without being told what was said in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from archiver.model import Event

GENESIS = "0" * 64
CONTINUED = "chain.continued"
_LOOKED_INTO = 50  # broken links of one chain that are told apart; what is behind them is broken by the same hand
_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
_PLAIN = frozenset({str, int, bool, type(None)})


def plain(detail: Mapping[str, Any]) -> dict[str, Any]:
    """A detail as it will be read back: JSON only. Raises `ValueError`, `TypeError` for what JSON cannot say."""
    if all(type(value) in _PLAIN for value in detail.values()):
        return dict(detail)
    read_back: dict[str, Any] = json.loads(json.dumps(detail, allow_nan=False))
    return read_back


def said(dataset: str, seq: int, at: datetime, actor: str, kind: str, detail: Mapping[str, Any]) -> str:
    """The digest (hex) of what an event says; `dataset` is `instrument/name`."""
    return _digest([dataset, seq, written(at), actor, kind, detail])


def written(at: datetime) -> str:
    """A time as it is hashed."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def link(before: str, what: str) -> str:
    """The hash (hex) of an event that says `what` (a digest) after the event whose hash is `before`."""
    return _digest([before, what])


def _digest(array: list[Any]) -> str:
    return hashlib.sha256(_JSON.encode(array).encode("ascii")).hexdigest()


def start(first: Event) -> tuple[int, str]:
    """Number and hash that a chain's first event follows."""
    if first.kind == CONTINUED:
        return int(first.detail.get("seq", 0)), str(first.detail.get("head", GENESIS))
    return 0, GENESIS


def verify(dataset: str, events: Iterable[Event]) -> Iterator[str]:
    """What is wrong with a chain, event by event in order of their numbers; nothing when it is whole. Holds a few events at a time."""
    broken: list[tuple[str, Event]] = []  # (the hash it should follow, the event)
    more = 0
    seq, before = 0, GENESIS
    first = True
    for event in events:
        if first:
            seq, before = start(event)
            first = False
        if event.seq != seq + 1:
            yield f"event {seq + 1} is missing" if event.seq == seq + 2 else f"events {seq + 1} to {event.seq - 1} are missing"
        elif _linked(before, dataset, event.seq, event) != event.hash:
            if len(broken) < _LOOKED_INTO:
                broken.append((before, event))
            else:
                more += 1
        seq, before = event.seq, event.hash
    if first:
        yield "its history is missing"
    yield from _named(dataset, broken)
    if more:
        yield f"{more} more events are not what was written"


def _linked(before: str, dataset: str, seq: int, event: Event) -> str:
    return link(before, said(dataset, seq, event.at, event.actor, event.kind, event.detail))


def _named(dataset: str, broken: list[tuple[str, Event]]) -> Iterator[str]:
    """For each broken link, whether its event was moved (it fits at another place) or is not what was written."""
    hashes = {h for before, event in broken for h in (before, event.hash)}
    for _, event in broken:
        was = next((e.seq for _, e in broken for h in hashes if _linked(h, dataset, e.seq, event) == event.hash), None)
        if was is not None and was != event.seq:
            yield f"event {event.seq} ({event.kind}) was moved: it was written as number {was}"
        elif was is not None:
            yield f"event {event.seq} ({event.kind}) does not follow the event before it: one was put in, left out or changed there"
        else:
            yield f"event {event.seq} ({event.kind}) is not what was written: it was changed or put in"

"""How sizes, times, tiers and states are written for people on the pages. Times are UTC, and say so."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

TIERS = {
    "hot": "Fast storage: read now, at its path",
    "archive": "Archive: read in place, slower",
    "deep": "Deep archive: has to be restored first",
}

READABLE = {
    "now": "Can be read now, at its path.",
    "in_place": "Can be read in place, slower. Restore it to have it back at its path.",
    "after_restore": "Has to be restored before it can be read.",
    "not_yet": "Files are still arriving.",
    "never": "It was erased: nothing of it is left.",
}

RESTORES = {
    "requested": "asked for",
    "awaiting_approval": "waiting for an admin's approval",
    "queued": "waiting for its turn",
    "recalling": "being fetched from the deep archive",
    "copying": "being copied",
    "ready": "restored",
    "partly_ready": "partly restored",
    "expired": "over",
    "denied": "denied",
    "cancelled": "cancelled",
    "failed": "failed",
}

RUNNING = frozenset({"requested", "awaiting_approval", "queued", "recalling", "copying"})

REFUSED = frozenset({"denied", "failed"})

PROOFS = {
    "read-back": "SHA-256 of the bytes read back",
    "store-sha256": "the store's own SHA-256",
    "store-crc64nvme": "the store's own CRC64NVME",
}


def size(size_bytes: int) -> str:
    """Bytes in the unit that keeps the number short, powers of 1,000."""
    number = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 999.5 or unit == "TB":
            return f"{number:.0f} {unit}" if unit == "B" or number >= 99.5 else f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError(size_bytes)


def day(at: str | None) -> str:
    """The date of a time in JSON."""
    return "" if at is None else f"{datetime.fromisoformat(at):%Y-%m-%d}"


def minute(at: str | None) -> str:
    """A time in JSON, to the minute."""
    return "" if at is None else f"{datetime.fromisoformat(at):%Y-%m-%d %H:%M} UTC"


def duration(seconds: float) -> str:
    """A length of time, rounded up to its largest unit: a promise is never told shorter than it is."""
    for unit, length_s in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds > 1.5 * length_s or seconds == length_s:
            return count(-int(-seconds // length_s), unit)
    return count(max(1, -int(-seconds // 1)), "second")


def count(number: int, noun: str) -> str:
    """`1 file`, `2 files`, `1,204 files`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def event(detail: Mapping[str, Any]) -> str:
    """An event's detail in one line."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in detail.items() if value not in (None, ""))

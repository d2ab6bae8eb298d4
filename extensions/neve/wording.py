"""How sizes, durations, times and tiers are written for people, the same in texts, tables and the widget."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape

TIER_TEXTS = {
    "hot": "fast storage",
    "archive": "archive",
    "deep": "deep archive",
}


def tier_text(tier: str | None) -> str:
    """A tier's name in prose."""
    return "place where it arrives" if tier is None else TIER_TEXTS.get(tier, tier)


def size_text(size_bytes: int) -> str:
    """Bytes in the unit that keeps the number short, powers of 1,000."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 999.5 or unit == "TB":
            return f"{size:.0f} {unit}" if unit == "B" or size >= 99.5 else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError(size_bytes)


def duration_text(seconds: float) -> str:
    """A length of time, rounded up to its largest unit: a promise is never told shorter than it is."""
    for unit, length_s in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds > 1.5 * length_s or seconds == length_s:
            count = -int(-seconds // length_s)
            return f"{count} {unit}{'s' if count > 1 else ''}"
    count = max(1, -int(-seconds // 1))
    return f"{count} second{'s' if count > 1 else ''}"


def time_text(moment: datetime | None) -> str:
    """A moment in the reader's own time zone, to the minute."""
    return "" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M")


def utc_json(moment: datetime) -> str:
    """ISO 8601 in UTC with Z, as in all JSON of Névé; a time without a zone is read as UTC."""
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return aware.isoformat().replace("+00:00", "Z")


def table_html(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table for a notebook's cell; every text is escaped."""
    left = 'style="text-align:left"'
    head = "".join(f'<th scope="col" {left}>{escape(text)}</th>' for text in heads)
    body = "".join(f"<tr>{''.join(f'<td {left}>{escape(text)}</td>' for text in row)}</tr>" for row in rows)
    return f"<table><caption {left}>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

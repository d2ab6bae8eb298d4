"""How sizes, times and numbers are written for people on the pages, in their language. Times are UTC, and say so."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from archiver.pages.texts import Texts

RUNNING = frozenset({"requested", "awaiting_approval", "queued", "recalling", "copying"})

REFUSED = frozenset({"denied", "failed"})

TIERS = frozenset({"hot", "archive", "deep"})
"""Those that have a colour and a sentence; others, which settings may name, go by their name alone."""

_DAYS = {"en": "%Y-%m-%d", "fr": "%d/%m/%Y"}


def size(t: Texts, size_bytes: int) -> str:
    """Bytes in the unit that keeps the number short, powers of 1,000."""
    number, units = float(size_bytes), t.units.split()
    for unit in units:
        if number < 999.5 or unit == units[-1]:
            said = f"{number:.0f}" if unit == units[0] or number >= 99.5 else t.number(number, 1)
            return f"{said} {unit}"
        number /= 1000
    raise AssertionError(size_bytes)


def day(t: Texts, at: str | None) -> str:
    """The date of a time in JSON."""
    return "" if at is None else datetime.fromisoformat(at).strftime(_DAYS[t.lang])


def minute(t: Texts, at: str | None) -> str:
    """A time in JSON, to the minute."""
    return "" if at is None else datetime.fromisoformat(at).strftime(f"{_DAYS[t.lang]} %H:%M UTC")


def duration(t: Texts, seconds: float) -> str:
    """A length of time, rounded up to its largest unit: a promise is never told shorter than it is."""
    for unit, length_s in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds > 1.5 * length_s or seconds == length_s:
            return t(unit, n=-int(-seconds // length_s))
    return t("seconds", n=max(1, -int(-seconds // 1)))


def money(t: Texts, money: Mapping[str, Any]) -> str:
    """A sum of `Money.as_json`: what is unknown is said to be, and names the settings that lack."""
    if money["unknown"]:
        lacks = ", ".join(name.removeprefix("tiers.").replace(".prices.", " ") for name in money["unknown"])
        if money["at_least"]:
            return t("money_at_least", sum=_sum(t, money["at_least"], money["currency"]), lacks=lacks)
        return t("money_unknown", lacks=lacks)
    return _sum(t, money["amount"], money["currency"])


def _sum(t: Texts, amount: float, currency: str) -> str:
    if 0 < abs(amount) < 0.01:  # never shown as nothing
        return t("money_under", sum=_sum(t, 0.01, currency))
    return f"{t.number(amount, 2)} {currency}"


def event(detail: Mapping[str, Any]) -> str:
    """An event's detail in one line."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in detail.items() if value not in (None, ""))

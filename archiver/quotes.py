"""Quotes: what bringing data back would mean, said before it is asked for: bytes, time, cost, room, quota, approval.

Law: a quote promises nothing it cannot see: a price that is not set is unknown, a time that too few restores stand behind is the tier's
promise and says so. It can be taken up for `policy.quote_valid`, by whom it was given to, and only if it would not mean more by then.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from archiver import asking, policy, prices, promises
from archiver.archive import Archive
from archiver.asking import Chosen
from archiver.config import Settings
from archiver.errors import NotFound, QuoteChanged, QuoteExpired
from archiver.ledger import Transaction
from archiver.model import Copy, Quote, Restore

_GROWS = ("size_bytes", "absent_bytes", "recall_bytes")
"""What may not be more when a quote is taken up."""


def quote(
    archive: Archive,
    user: str,
    references: Sequence[str],
    files_glob: str | None,
    keep_days: int | None,
    projects: Sequence[str] | None,
    *,
    admin: bool = False,
) -> Quote:
    """Say what a restore of this selection would mean, and keep what was said. Raises what asking for it would, but for its limits."""
    settings = archive.settings
    days = asking.days_asked(settings, keep_days)
    selection = {"datasets": list(references), "files": files_glob, "days": days}
    with archive.ledger.begin(user) as tx:
        chosen = asking.choose_all(tx, settings, references, files_glob, projects)
        answer = _answer(tx, settings, user, chosen, days, admin=admin)
        return tx.add_quote(secrets.token_urlsafe(12), user, settings.policy.quote_valid, selection, answer)


def take_up(archive: Archive, user: str, quote_id: str, projects: Sequence[str] | None, *, priority: int = 0, admin: bool = False) -> list[Restore]:
    """Ask for what was quoted; again, it is the same restores. Raises `NotFound`, `QuoteExpired`, `QuoteChanged`, and what asking raises."""
    settings = archive.settings
    with archive.ledger.begin(user) as tx:
        said = tx.quote(quote_id, user)
        if said is None:
            raise NotFound(f"There is no quote {quote_id!r} of yours.", "POST quotes gives one.")
        chosen = asking.choose_all(tx, settings, said.selection["datasets"], said.selection["files"], projects)  # still theirs to see
        known = tx.restores_from(quote_id)
        if known:
            return known
        if tx.at >= said.expires_at:
            raise QuoteExpired(f"The quote was good until {said.expires_at:%Y-%m-%d %H:%M} UTC.", "Ask for a new one.")
        now = _answer(tx, settings, user, chosen, said.selection["days"], admin=admin)
        grown = [name for name in _GROWS if now[name] > said.answer[name]]
        if grown:
            raise QuoteChanged(
                "By now it would mean more: " + ", ".join(f"{name} {now[name]:,} instead of {said.answer[name]:,}" for name in grown) + ".",
                "Ask for a new quote.",
                now=now,
            )
        return asking.write_down(tx, settings, user, chosen, said.selection["days"], priority=priority, admin=admin, quote_id=quote_id)


@dataclass
class _Source:
    """What has to be brought from one tier."""

    objects: int = 0
    size_bytes: int = 0
    recalled: int = 0
    recalled_bytes: int = 0


def _answer(tx: Transaction, settings: Settings, user: str, chosen: Sequence[Chosen], days: int, *, admin: bool) -> dict[str, Any]:
    sources = _sources(tx, settings, chosen)
    absent = sum(c.absent_bytes for c in chosen)
    left = asking.room(tx, settings)
    return {
        "datasets": [c.seen.dataset.full_name for c in chosen],
        "files": sum(len(c.files) for c in chosen),
        "size_bytes": sum(c.size_bytes for c in chosen),
        "hot_bytes": sum(c.size_bytes for c in chosen) - absent,
        "absent_bytes": absent,
        "recall_objects": sum(s.recalled for s in sources.values()),
        "recall_bytes": sum(s.recalled_bytes for s in sources.values()),
        "from_tiers": {name: s.size_bytes for name, s in sources.items()},
        "days": days,
        "cost": _cost(settings, sources, absent, days),
        "ready": _ready(tx, settings, chosen),
        "room": {"left_bytes": left, "fits": left is None or absent == 0 or absent <= left},
        "quotas": [_quota(usage, sum(c.size_bytes for c in chosen if usage.kind == "user" or c.seen.dataset.project == usage.name))
                   for usage in asking.usages(tx, settings, user, chosen)],
        "needs_approval": asking.needs_approval(settings, chosen, admin=admin),
    }  # fmt: skip


def _sources(tx: Transaction, settings: Settings, chosen: Sequence[Chosen]) -> dict[str, _Source]:
    """By tier what is read and what is recalled in fact: whole bundles, each once, and not what is being recalled already."""
    found: dict[str, _Source] = {}
    recalls: dict[int, tuple[Copy, int]] = {}
    for one in chosen:
        going = {d.copy_id for d in one.seen.drops}
        sizes = {o.id: o.size_bytes for o in one.seen.objects}
        for file in one.absent:
            origin = policy.source([c for c in one.seen.copies_with(file.object_id) if c.id not in going], settings)
            if origin is None:
                continue
            source = found.setdefault(origin.tier, _Source())
            source.objects += 1
            source.size_bytes += file.size_bytes
            if settings.tiers[origin.tier].recall != "never":
                recalls[origin.id] = origin, sizes[origin.object_id]
    joined = tx.recalls_known(recalls)
    for copy_id, (copy, size_bytes) in recalls.items():
        if copy_id not in joined:
            found[copy.tier].recalled += 1
            found[copy.tier].recalled_bytes += size_bytes
    return found


def _cost(settings: Settings, sources: Mapping[str, _Source], absent_bytes: int, days: int) -> dict[str, Any]:
    bring = (prices.restore(settings, name, s.recalled, s.recalled_bytes, s.objects, s.size_bytes) for name, s in sources.items())
    cost = prices.total(settings, bring) + prices.storage(settings, policy.HOT, absent_bytes, days)
    return {**cost.as_json(), "text": str(cost)}


def _ready(tx: Transaction, settings: Settings, chosen: Sequence[Chosen]) -> dict[str, Any]:
    """The time from asking to the last file: of several datasets, the slowest counts."""
    outcomes = tx.outcomes()
    expected = [
        promises.expected(outcomes, c.from_tier, c.size_bytes, policy.promise(c.from_tier, settings))
        for c in chosen
        if c.from_tier not in {None, policy.HOT} and c.from_tier is not None
    ]
    low = max((e.low for e in expected), default=timedelta(0))
    high = max((e.high for e in expected), default=timedelta(0))
    return {
        "at_least_s": low.total_seconds(),
        "at_most_s": high.total_seconds(),
        "learned": bool(expected) and all(e.learned for e in expected),
        "observations": min((e.observations for e in expected), default=0),
        "promised_within_s": max((policy.promise(c.from_tier, settings) for c in chosen), default=timedelta(0)).total_seconds(),
    }


def _quota(usage: asking.Usage, asked_bytes: int) -> dict[str, Any]:
    left = usage.left_bytes
    return {
        "kind": usage.kind,
        "name": usage.name,
        "used_bytes": usage.used_bytes,
        "limit_bytes": usage.limit_bytes,
        "left_bytes": left,
        "fits": left is None or asked_bytes <= left,
    }

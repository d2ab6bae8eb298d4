"""`/admin/plan`: what happens by itself within a week, and what another policy would do. Nothing is changed here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import Response

from archiver import plan
from archiver.api.access import Here
from archiver.api.plan_routes import read_policy, simulated
from archiver.archive import Archive
from archiver.config import Settings
from archiver.errors import PublicError, WrongUse
from archiver.pages.console.shared import LIMIT, Acting, Looking, act, show
from archiver.pages.views import Visitor

router = APIRouter()

_WEEK = timedelta(days=7)
_DAY_S = 86_400
_MOST_DAYS = 100_000
_FIRST = 20
"""Datasets that would leave sooner, by name."""


@dataclass(frozen=True)
class Edited:
    """The form: days for each tier (empty: for ever), more as TOML, and how far to look."""

    tiers: Sequence[tuple[str, str]]
    more: str = ""
    ahead: str = "30"

    def change(self, settings: Settings) -> dict[str, Any]:
        """What it changes. Raises `WrongPolicy`, `WrongUse`."""
        change: dict[str, Any] = dict(read_policy(self.more))
        for name, days in self.tiers:
            if name in settings.tiers and days.strip() != _days(settings, name):
                keep, tiers = _length(name, days.strip()), change.setdefault("tiers", {})
                if isinstance(tiers, dict) and isinstance(tiers.setdefault(name, {}), dict):  # else it is said to be no table
                    tiers[name]["keep"] = keep
        return change

    def days_ahead(self) -> int:
        """Raises `WrongUse`."""
        if not self.ahead.isascii() or not self.ahead.isdecimal() or int(self.ahead[:6]) > 3650 or len(self.ahead) > 4:
            raise WrongUse(f"{self.ahead[:40]!r} is no number of days.", "Look 0 to 3650 days ahead.")
        return int(self.ahead)


def _present(settings: Settings) -> Edited:
    return Edited([(name, _days(settings, name)) for name in settings.tiers])


def _days(settings: Settings, tier: str) -> str:
    keep = settings.tiers[tier].keep
    return "" if keep is None else f"{keep.total_seconds() / _DAY_S:g}"


def _length(tier: str, days: str) -> timedelta | None:
    try:
        number = float(days) if days else None
    except ValueError:
        number = -1.0
    if number is not None and not 0 <= number <= _MOST_DAYS:
        raise WrongUse(f"{days[:40]!r} is no number of days for {tier}.", f"Write 0 to {_MOST_DAYS:,}, or nothing: for ever.")
    return None if number is None else timedelta(days=number)


def _edited(
    tier: Annotated[list[str], Form(max_length=50)] = [],  # noqa: B006  # FastAPI copies it
    days: Annotated[list[str], Form(max_length=50)] = [],  # noqa: B006
    more: Annotated[str, Form(max_length=10_000)] = "",
    ahead: Annotated[str, Form(max_length=50)] = "30",
) -> Edited:
    return Edited(list(zip(tier, days, strict=False)), more, ahead.strip())


@router.get("/admin/plan")
def next_week(request: Request, archive: Here, visitor: Looking) -> Response:
    """The week to come, and the form that tries another policy."""
    return _page(request, archive, visitor, None, _present(archive.settings))


def _page(
    request: Request, archive: Archive, visitor: Visitor, failed: PublicError | None, edited: Edited, found: dict[str, Any] | None = None
) -> Response:
    with archive.ledger.read() as tx:
        now = tx.at
    week = plan.plan(archive, now, now + _WEEK).as_json()
    week["copies"].sort(key=lambda made: -made["size_bytes"])
    return show(request, visitor, "plan", failed, week=week, edited=edited, found=found, limit=LIMIT, first=_FIRST)


@router.post("/admin/plan")
def what_if(request: Request, archive: Here, visitor: Acting, edited: Annotated[Edited, Depends(_edited)]) -> Response:
    """What the edited policy would do, beside the present one."""

    def look(failed: PublicError) -> Response:
        return _page(request, archive, visitor, failed, edited)

    def do() -> Response:
        found = simulated(archive, edited.change(archive.settings), edited.days_ahead())
        return _page(request, archive, visitor, None, edited, found)

    return act(request, visitor, "/plan", look, do)

"""`/admin`: what each tier holds and costs, now and over time; promises kept; how each part is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from archiver import describe, prices, promises
from archiver.api.access import Here
from archiver.capacity import Held
from archiver.config import Settings
from archiver.pages.console import parts
from archiver.pages.console.charts import chart
from archiver.pages.console.shared import Looking, show

router = APIRouter()


@router.get("/admin")
def overview(request: Request, archive: Here, visitor: Looking) -> Response:
    """Capacity, cost, promises, health."""
    state, settings = request.app.state, archive.settings
    with archive.ledger.read() as tx:
        course = state.capacity.look(tx, settings)
        today = tx.at.date()
        outcomes = tx.outcomes()
    kept = describe.promises(settings, [promises.record(outcomes, name) for name in list(settings.tiers)[1:]])
    months = {name: prices.storage(settings, name, held.size_bytes) for name, held in course.now.items()}
    return show(
        request,
        visitor,
        "overview",
        tiers=[_tier(settings, name, held, months[name], [*course.days, (today, course.now)]) for name, held in course.now.items()],
        month=prices.total(settings, months.values()).as_json(),
        prices_of=sorted({tier.prices.date for tier in settings.tiers.values() if tier.prices.date}),
        promises=kept,
        parts=parts.look(archive, state.health),
    )


def _tier(settings: Settings, name: str, held: Held, month: prices.Money, days: Sequence[tuple[date, Mapping[str, Held]]]) -> dict[str, Any]:
    """A tier with its course; the cost of each day is that of what it held then, at the prices of now."""
    course = [(day, of.get(name, Held(0, 0)).size_bytes) for day, of in days]
    gb_month = prices.storage(settings, name, prices.GB)
    costs = None
    if gb_month.amount is not None:
        costs = chart([(day, float(gb_month.amount * Decimal(size) / prices.GB)) for day, size in course])
    return {
        "name": name,
        "objects": held.objects,
        "size_bytes": held.size_bytes,
        "datasets": held.datasets,
        "month": month.as_json(),
        "bytes": chart(course),
        "costs": costs,
        "currency": month.currency,
    }

"""`/api/v1/plan` and `/api/v1/simulations`: what will happen by itself, what it costs, and what another policy would do. For admins."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field

from archiver import plan, simulation
from archiver.api.access import Admin, Here
from archiver.api.models import Asked, Time
from archiver.api.problems import declared
from archiver.api.routes import ALWAYS
from archiver.archive import Archive
from archiver.errors import WrongPolicy, WrongSetting

api = APIRouter(prefix="/api/v1", tags=["plan"], responses=declared(*ALWAYS))

_DAYS = "Look ahead this many days; 0: what is due now."


class PlanQuery(Asked):
    """How far to look."""

    days: int = Field(7, ge=0, le=3650, description=_DAYS)


class SimulationQuery(Asked):
    """How far to look."""

    days: int = Field(0, ge=0, le=3650, description=_DAYS)


class Money(BaseModel):
    """A sum. An unknown price makes it unknown, never zero."""

    amount: float | None = Field(description="Null when a part of it is unknown.")
    at_least: float | None = Field(description="What is known of it; null where that bounds nothing (differences).")
    currency: str
    unknown: list[str] = Field(description="Settings that are missing.")


class Holding(BaseModel):
    """Objects in a tier."""

    tier: str | None
    objects: int | None
    size_bytes: int


class Dropped(Holding):
    """Copies that end on one day."""

    day: str


class Made(Holding):
    """Copies to be made of one project's data in one tier."""

    project: str
    cost: Money


class Waits(Holding):
    """What is not done by itself now, and why."""

    why: Literal["grace", "approval", "held", "caps"]
    detail: str


class Storage(BaseModel):
    """What the tiers hold, and what that costs."""

    tiers: list[Holding]
    month: Money
    year: Money


class BeforeAfter(BaseModel):
    """Storage before and after."""

    before: Storage
    after: Storage


class PriceSource(BaseModel):
    """Where and when a tier's prices were read."""

    tier: str
    source: str | None
    date: str | None


class Plan(BaseModel):
    """What will be done from `at` to `until`, if every step goes well."""

    at: Time
    until: Time
    datasets: int = Field(description="Datasets that something is done with.")
    projects: list[str] = Field(description="Projects that something is done with.")
    copies: list[Made]
    drops: list[Holding]
    drops_by_day: list[Dropped]
    recalls: list[Holding]
    cost_now: Money = Field(description="Billed once: copies, recalls, copies that end before their least days.")
    storage: BeforeAfter
    waits: list[Waits]
    prices: list[PriceSource]


class Difference(BaseModel):
    """The simulated policy's sums less the present one's."""

    tiers: list[Holding]
    month: Money
    year: Money
    cost_now: Money


class Leaves(BaseModel):
    """A dataset that would leave hot sooner."""

    id: int
    dataset: str
    project: str
    size_bytes: int
    leaves_hot_at: Time
    instead_of: Time | None = Field(description="Null: nobody knows when.")


class LeavesDay(BaseModel):
    """What would leave hot on one day."""

    day: str
    datasets: int
    size_bytes: int


class Later(BaseModel):
    """Datasets that would stay in hot longer."""

    datasets: int
    size_bytes: int


class Sooner(Later):
    """Datasets that would leave hot sooner."""

    by_day: list[LeavesDay]
    items: list[Leaves] = Field(description="The first 100 to leave.")


class Simulation(BaseModel):
    """The same sums under the present policy and another."""

    at: Time
    until: Time
    present: Plan
    simulated: Plan
    difference: Difference
    leave_hot_sooner: Sooner
    leave_hot_later: Later
    ends_sooner_percent: float = Field(description="On how much of the data claims would end sooner.")
    waits_for_release: bool = Field(description="Whether that change would wait for `archiver release`.")


async def _policy(request: Request) -> Mapping[str, Any]:
    """The policy that was sent: JSON, or the text of a TOML file."""
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip()
    return read_policy(await request.body(), as_json=kind == "application/json")


def read_policy(said: bytes | str, *, as_json: bool = False) -> Mapping[str, Any]:
    """A policy as somebody wrote it. Raises `WrongPolicy`."""
    next_step = "Send [policy], [tiers.*] or [[rules]] as TOML, or the same as a JSON object."
    try:
        found = json.loads(said) if as_json else tomllib.loads(said if isinstance(said, str) else said.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise WrongPolicy(f"The policy cannot be read: {error}.", next_step) from None
    if not isinstance(found, dict):
        raise WrongPolicy("The policy is not an object.", next_step)
    return found


@api.get("/plan", response_model=Plan)
def what_will_happen(who: Admin, archive: Here, asked: Annotated[PlanQuery, Query()]) -> dict[str, Any]:  # noqa: ARG001
    """What will happen by itself within some days: copies made, claims that end, what it costs, what waits. Scope `custom:archiver:admin`."""
    with archive.ledger.read() as tx:
        now = tx.at
    return plan.plan(archive, now, now + timedelta(days=asked.days)).as_json()


_BODY = {
    "requestBody": {
        "required": False,
        "description": "What changes of [policy], [tiers.*] and [[rules]], replaced as a whole; all else is as it is. Empty: nothing changes.",
        "content": {"application/toml": {"schema": {"type": "string"}}, "application/json": {"schema": {"type": "object"}}},
    }
}


@api.post("/simulations", response_model=Simulation, responses=declared(*ALWAYS, WrongPolicy), openapi_extra=_BODY)
def what_would_happen(
    who: Admin,  # noqa: ARG001
    archive: Here,
    asked: Annotated[SimulationQuery, Query()],
    change: Annotated[Mapping[str, Any], Depends(_policy)],
) -> dict[str, Any]:
    """What another policy would do, compared with the present one. Nothing is changed. Scope `custom:archiver:admin`."""
    return simulated(archive, change, asked.days)


def simulated(archive: Archive, change: Mapping[str, Any], days: int) -> dict[str, Any]:
    """What this change would do within some days. Raises `WrongPolicy`."""
    try:
        return simulation.simulate(archive, change, days=days)
    except WrongSetting as error:
        raise WrongPolicy(error.detail, error.next_step) from None

"""`/api/v1/drills`: rehearsals of restores, and how long they took."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from archiver import describe
from archiver.api.access import Here, Reader
from archiver.api.models import Asked
from archiver.api.problems import declared
from archiver.api.routes import ALWAYS

api = APIRouter(prefix="/api/v1/drills", tags=["drills"], responses=declared(*ALWAYS))


class DrillQuery(Asked):
    """How many."""

    limit: Annotated[int, Field(ge=1, le=200)] = 50


class Drill(BaseModel):
    """One rehearsal: a random dataset brought back from a tier to a scratch prefix, and compared."""

    id: int
    dataset: str | None = Field(description="Full name; null where you may not see the dataset.")
    tier: str
    state: Literal["planned", "running", "passed", "failed"]
    created_at: str
    ended_at: str | None
    size_bytes: int
    seconds: float | None = Field(description="From asking to the last byte compared.")
    error: str | None = Field(description="Why it failed; said to admins.")


class Drills(BaseModel):
    """Newest first."""

    items: list[Drill]


@api.get("", response_model=Drills)
def drills(who: Reader, archive: Here, asked: Annotated[DrillQuery, Query()]) -> dict[str, Any]:
    """Rehearsals of restores, newest first, with the recovery time that was measured. Scope `custom:archiver:read`."""
    with archive.ledger.read() as tx:
        return {"items": describe.drills(tx, tx.drills(asked.limit), who.projects)}

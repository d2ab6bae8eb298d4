"""`/api/v1/erasures`: ending data for ever, by the word of two admins."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from archiver import describe, erasure
from archiver.api import models
from archiver.api.access import Admin, Here
from archiver.api.models import Asked, Text, Time
from archiver.api.problems import declared
from archiver.api.routes import ALWAYS
from archiver.errors import Ambiguous, Conflict, NotFound
from archiver.model import Erasure, ErasureState

api = APIRouter(prefix="/api/v1/erasures", tags=["erasures"], responses=declared(*ALWAYS))


class ErasureAsked(Asked):
    """End a dataset, or files of it, for ever."""

    dataset: Annotated[Text, Field(min_length=1, strict=True)] = Field(description="Name, `instrument/name`, or number as text.")
    files: Annotated[Text, Field(min_length=1, strict=True)] | None = Field(None, description="Glob that the files' paths match (null: all).")
    reason: Annotated[str, Field(strict=True, max_length=2000)] = Field(
        description="Which law, contract or rule asks for it, in 1 to 500 characters."
    )


class ErasureQuery(Asked):
    """What the list is narrowed to."""

    ended: bool = Field(False, description="Also those that have ended.")
    limit: int = Field(50, ge=1, le=200, description="Most items to answer.")


class Ends(BaseModel):
    """What an erasure would end as things are."""

    files: int
    size_bytes: int
    bundles: int = Field(description="Bundles that are built again without these files.")
    again_bytes: int = Field(description="Bytes of the other files in those bundles.")
    tiers: list[str] = Field(description="Where copies of the files lie.")


class Receipt(BaseModel):
    """What an erasure has ended."""

    files: int
    size_bytes: int
    copies_ended: dict[str, int] = Field(description="Copies of files, of bundles with them and of manifests that told of them, by tier.")
    looked_in: list[str] = Field(description="Tiers whose stores were asked at the end, and had no version and no upload left.")
    tombstone: str = Field(description="Key of the tombstone, in each tier.")
    manifest: str = Field(description="Key of the manifest that took the others' place.")


class ErasureSaid(BaseModel):
    """Ending files of a dataset for ever."""

    id: int
    dataset_id: int
    dataset: str = Field(description="Full name of the dataset.")
    project: str
    files_glob: str | None
    reason: str
    state: ErasureState
    asked_by: str
    asked_at: Time
    approved_by: str | None
    approved_at: Time | None
    ended_at: Time | None
    ends: Ends | None = Field(description="While it waits for a second admin.")
    receipt: Receipt | None = Field(description="When it has ended.")


class Erasures(BaseModel):
    """Erasures, newest first."""

    items: list[ErasureSaid]


@api.post("", status_code=201, response_model=ErasureSaid, responses=declared(NotFound, Ambiguous, Conflict))
def ask(request: Request, response: Response, who: Admin, archive: Here, asked: ErasureAsked) -> dict[str, Any]:
    """Ask for files to be ended for ever; nothing ends before another admin agrees. Scope `custom:archiver:admin`."""
    made = erasure.request(archive, who.name, asked.dataset, asked.files, asked.reason)
    response.headers["Location"] = f"{request.scope.get('root_path', '')}/api/v1/erasures/{made.id}"
    return _shown(archive, made)


@api.get("", response_model=Erasures)
def erasures(_who: Admin, archive: Here, asked: Annotated[ErasureQuery, Query()]) -> dict[str, Any]:
    """Erasures, newest first. Scope `custom:archiver:admin`."""
    with archive.ledger.read() as tx:
        return {"items": describe.erasures(tx, tx.erasures(ended=asked.ended, limit=asked.limit))}


@api.get("/{erasure_id}", response_model=ErasureSaid, responses=declared(NotFound))
def one(_who: Admin, archive: Here, erasure_id: models.Id) -> dict[str, Any]:
    """One erasure. Scope `custom:archiver:admin`."""
    with archive.ledger.read() as tx:
        return describe.erasures(tx, [tx.erasure(erasure_id)])[0]


@api.post("/{erasure_id}/approve", response_model=ErasureSaid, responses=declared(NotFound, Conflict))
def approve(who: Admin, archive: Here, erasure_id: models.Id) -> dict[str, Any]:
    """Agree to what another admin asked for: from here on it cannot be taken back. Scope `custom:archiver:admin`."""
    return _shown(archive, erasure.approve(archive, who.name, erasure_id))


@api.post("/{erasure_id}/withdraw", response_model=ErasureSaid, responses=declared(NotFound, Conflict))
def withdraw(who: Admin, archive: Here, erasure_id: models.Id) -> dict[str, Any]:
    """Refuse an erasure, or take it back, before another admin has agreed. Scope `custom:archiver:admin`."""
    return _shown(archive, erasure.withdraw(archive, who.name, erasure_id))


def _shown(archive: Here, made: Erasure) -> dict[str, Any]:
    with archive.ledger.read() as tx:
        return describe.erasures(tx, [made])[0]

"""`/api/v1/holds`: data that stays in hot until a day, for a reason."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from archiver import describe, hold
from archiver.api import access, models
from archiver.api.access import Here, Reader, Restorer
from archiver.api.models import Asked, Text, Time
from archiver.api.problems import declared
from archiver.api.routes import ALWAYS
from archiver.auth import Identity
from archiver.errors import Ambiguous, Conflict, NoRoom, NotFound, OverQuota
from archiver.model import Claim

api = APIRouter(prefix="/api/v1/holds", tags=["holds"], responses=declared(*ALWAYS))

_UNTIL = "A day (`2026-09-01`: until it is over, UTC) or a time."
_Until = Annotated[Text, Field(min_length=1, strict=True)]


class HoldAsked(Asked):
    """Keep a dataset, or files of it, in hot."""

    dataset: Annotated[Text, Field(min_length=1, strict=True)] = Field(description="Name, `instrument/name`, or number as text.")
    until: _Until = Field(description=_UNTIL)
    reason: Annotated[str, Field(strict=True, max_length=2000)] = Field(description="What it is needed for, in 1 to 500 characters.")
    files: Annotated[Text, Field(min_length=1, strict=True)] | None = Field(None, description="Glob that the files' paths match (null: all).")


class HoldChange(Asked):
    """Another end."""

    until: _Until = Field(description=_UNTIL)
    reason: Annotated[str, Field(strict=True, max_length=2000)] | None = Field(None, description="Another reason (null: the same).")


class HoldQuery(Asked):
    """What the list of holds is narrowed to."""

    dataset: int | None = Field(None, ge=1, le=2**53 - 1, description="Number of a dataset.")
    mine: bool = Field(False, description="Only your own.")
    ended: bool = Field(False, description="Also those that have ended.")
    limit: int = Field(50, ge=1, le=200, description="Most items to answer.")


class Hold(BaseModel):
    """A person's claim that data stays in hot until a day, for a reason."""

    id: int
    dataset_id: int
    dataset: str = Field(description="Full name of the dataset.")
    user: str
    reason: str
    files_glob: str | None
    state: Literal["waiting", "in_force", "ended"] = Field(description="`waiting`: for the restore that brings the data back.")
    restore_id: int | None = Field(description="The restore that it waits for.")
    created_at: Time
    until: Time
    ended_at: Time | None


class Holds(BaseModel):
    """Holds, newest first."""

    items: list[Hold]


@api.post("", status_code=201, response_model=Hold, responses=declared(NotFound, Ambiguous, Conflict, OverQuota, NoRoom))
def place_hold(request: Request, response: Response, who: Restorer, archive: Here, asked: HoldAsked) -> dict[str, Any]:
    """Keep data in hot until a day. Asked again, your hold on the same files gets the new end and reason.

    What is not in hot is brought back by a restore, with its quota and approval, and the hold waits for it. Scope `custom:archiver:restore`.
    """
    made = hold.request(archive, who.name, asked.dataset, hold.end_of(asked.until), asked.reason, asked.files, who.readable, admin=who.admin)
    response.headers["Location"] = f"{request.scope.get('root_path', '')}/api/v1/holds/{made.id}"
    return _shown(archive, made)


@api.get("", response_model=Holds, responses=declared(NotFound))
def holds(who: Reader, archive: Here, asked: Annotated[HoldQuery, Query()]) -> dict[str, Any]:
    """Holds on data that you may see, newest first. Scope `custom:archiver:read`."""
    with archive.ledger.read() as tx:
        if asked.dataset is not None:
            access.visible_dataset(tx, who, asked.dataset)
        user = who.name if asked.mine else None
        found = tx.holds(who.readable, asked.dataset, user, asked.limit, ended=asked.ended, own=who.projects, viewer=who.name)
        return {"items": describe.holds(tx, found)}


@api.get("/{hold_id}", response_model=Hold, responses=declared(NotFound))
def one_hold(who: Reader, archive: Here, hold_id: models.Id) -> dict[str, Any]:
    """One hold. Scope `custom:archiver:read`."""
    return _shown(archive, visible_hold(archive, who, hold_id))


@api.patch("/{hold_id}", response_model=Hold, responses=declared(NotFound, Conflict))
def change_hold(who: Restorer, archive: Here, hold_id: models.Id, asked: HoldChange) -> dict[str, Any]:
    """Give a hold of yours another end. Scope `custom:archiver:restore`."""
    visible_hold(archive, who, hold_id)
    return _shown(archive, hold.change(archive, who.name, hold_id, hold.end_of(asked.until), asked.reason, who.readable, admin=who.admin))


@api.delete("/{hold_id}", response_model=Hold, responses=declared(NotFound, Conflict))
def end_hold(who: Restorer, archive: Here, hold_id: models.Id) -> dict[str, Any]:
    """End a hold of yours: what nothing else claims may leave hot. Scope `custom:archiver:restore`."""
    visible_hold(archive, who, hold_id)
    return _shown(archive, hold.end(archive, who.name, hold_id, who.readable, admin=who.admin))


def visible_hold(archive: Here, who: Identity, hold_id: int) -> Claim:
    """The hold, if there is one and `who` may see its data. Raises `NotFound`."""
    with archive.ledger.read() as tx:
        try:
            found = tx.hold(hold_id)
        except NotFound:
            found = None
        if found is None or not access.is_theirs(tx, who, found):
            raise NotFound(f"There is no hold number {hold_id}.", "Look it up in the list of holds.")
        return found


def _shown(archive: Here, one: Claim) -> dict[str, Any]:
    with archive.ledger.read() as tx:
        return describe.holds(tx, [one])[0]

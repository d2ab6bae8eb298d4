"""`/api/v1/announcements`: what admins tell everybody."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from archiver import announce, hold
from archiver.api.access import Admin, Here, Reader
from archiver.api.models import Asked, Text, Time
from archiver.api.problems import declared
from archiver.api.routes import ALWAYS
from archiver.errors import Conflict

api = APIRouter(prefix="/api/v1/announcements", tags=["announcements"], responses=declared(*ALWAYS))


class AnnouncementAsked(Asked):
    """Tell everybody."""

    text: Annotated[str, Field(strict=True, max_length=2000)] = Field(description="Plain text, 1 to 500 characters.")
    until: Annotated[Text, Field(min_length=1, strict=True)] = Field(description="A day (until it is over, UTC) or a time, within a year.")


class Announcement(BaseModel):
    """What everybody is told."""

    text: str
    until: Time
    user: str = Field(description="The admin who made it.")
    made_at: Time


class Announcements(BaseModel):
    """What is told now: one, or none."""

    items: list[Announcement]


@api.get("", response_model=Announcements)
def announcements(who: Reader, archive: Here) -> dict[str, Any]:  # noqa: ARG001
    """What is told now. Scope `custom:archiver:read`."""
    with archive.ledger.read() as tx:
        told = announce.current(tx)
    return {"items": [asdict(told)] if told else []}


@api.post("", status_code=201, response_model=Announcement)
def make_announcement(who: Admin, archive: Here, asked: AnnouncementAsked) -> dict[str, Any]:
    """Tell everybody who opens a page; what was told before ends. Scope `custom:archiver:admin`."""
    return asdict(announce.make(archive, who.name, asked.text, hold.end_of(asked.until)))


@api.delete("", status_code=204, responses=declared(Conflict))
def end_announcement(who: Admin, archive: Here) -> None:
    """Take it back. Scope `custom:archiver:admin`."""
    announce.end(archive, who.name)

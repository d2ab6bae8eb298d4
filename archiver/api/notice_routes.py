"""`/api/v1/me/notices`: where you want messages, and those that are there for you. Nobody reads or sets another person's."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from archiver import addresses
from archiver.api.access import Here, Reader
from archiver.api.models import Asked, Time
from archiver.api.problems import declared
from archiver.api.routes import ALWAYS
from archiver.auth import Identity
from archiver.errors import NotAllowed, WrongUse
from archiver.model import Address, Notice, NoticeState

api = APIRouter(prefix="/api/v1/me/notices", tags=["me"], responses=declared(*ALWAYS))


class AddressesAsked(Asked):
    """Where you want messages; what is left out is none."""

    email: Annotated[str, Field(strict=True, max_length=300)] | None = Field(None, description="An e-mail address (null: no mail).")
    webhook_url: Annotated[str, Field(strict=True, max_length=1200)] | None = Field(
        None, description="An https address on a host that the archiver's settings allow (null: no webhook)."
    )
    wants: Annotated[bool, Field(strict=True)] = Field(True, description="False: no messages at all.")
    renew_secret: Annotated[bool, Field(strict=True)] = Field(False, description="Make a new secret for the webhook; the old one ends.")


class Addresses(BaseModel):
    """Where you want messages."""

    email: str | None
    webhook_url: str | None
    wants: bool
    webhook_secret: str | None = Field(description="Shown once, when it is made (a new webhook address, or as asked); else null.")
    has_webhook_secret: bool


class MessageQuery(Asked):
    """How many."""

    limit: int = Field(50, ge=1, le=200, description="Most items to answer.")


class Message(BaseModel):
    """A message to you."""

    id: int
    kind: str = Field(description="`leaving-hot`, or what happened and its number (`restore.ready#17`).")
    created_at: Time
    subject: str
    text: str
    seen: bool


class MessageList(BaseModel):
    """Messages, newest first."""

    items: list[Message]
    unseen: int = Field(description="How many you have not seen.")


class SeenAsked(Asked):
    """What you have seen."""

    up_to: Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)] = Field(description="Number of the newest message that you have seen.")


@api.get("")
def my_addresses(who: Reader, archive: Here) -> Addresses:
    """Where you want messages. Scope `custom:archiver:read`."""
    return _shown(addresses.of(archive, person(who)), None)


@api.put("", responses=declared(addresses.UnsafeAddress, WrongUse))
def set_my_addresses(who: Reader, archive: Here, asked: AddressesAsked) -> Addresses:
    """Say where you want messages. The secret that signs a webhook's messages is shown in this answer only. Scope `custom:archiver:read`."""
    put = addresses.put(archive, person(who), asked.email, asked.webhook_url, wants=asked.wants, renew_secret=asked.renew_secret)
    return _shown(*put)


@api.get("/messages")
def my_messages(who: Reader, archive: Here, asked: Annotated[MessageQuery, Query()]) -> MessageList:
    """Messages to you, newest first. Scope `custom:archiver:read`."""
    with archive.ledger.read() as tx:
        return MessageList(items=[message(one) for one in tx.messages(who.name, asked.limit)], unseen=tx.unseen(who.name))


@api.post("/seen")
def messages_seen(who: Reader, archive: Here, asked: SeenAsked) -> MessageList:
    """Say that you have seen your messages up to this number; the answer holds those that are left. Scope `custom:archiver:read`."""
    with archive.ledger.begin(who.name) as tx:
        tx.seen(who.name, asked.up_to)
        left = [one for one in tx.messages(who.name, 200) if one.state is NoticeState.WAITING]
        return MessageList(items=[message(one) for one in left], unseen=tx.unseen(who.name))


def person(who: Identity) -> str:
    """The name of who asks, if it is a person. Raises `NotAllowed`."""
    if who.kind != "user":
        raise NotAllowed("A service has no addresses.", "Set them as the person who shall get the messages.")
    return who.name


def message(one: Notice) -> Message:
    """A message as it is shown."""
    return Message(
        id=one.id,
        kind=one.kind,
        created_at=one.created_at,
        subject=one.subject,
        text=str(one.body["text"]),
        seen=one.state is not NoticeState.WAITING,
    )


def _shown(address: Address, secret: str | None) -> Addresses:
    return Addresses(
        email=address.email,
        webhook_url=address.webhook_url,
        wants=address.wants,
        webhook_secret=secret,
        has_webhook_secret=address.webhook_secret is not None,
    )

"""The page "Me": messages, where one wants them, one's restores and holds; and the forms that hold a dataset and end a hold."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from archiver import addresses, auth, describe, hold
from archiver.api import access, models
from archiver.api.access import Here
from archiver.api.hold_routes import visible_hold
from archiver.api.notice_routes import message, person
from archiver.pages.views import Reading, Sending, Visitor, back_to, render

router = APIRouter()

_MESSAGES = 50
_HOLDS = 200
_RESTORES = 20


@router.get("/me")
def me(request: Request, archive: Here, visitor: Reading) -> Response:
    """Messages, addresses, restores, holds."""
    return _page(request, archive, visitor, None)


def _page(request: Request, archive: Here, visitor: Visitor, secret: str | None) -> Response:
    name = visitor.identity.name
    with archive.ledger.read() as tx:
        found = [message(one) for one in tx.messages(name, _MESSAGES)]
        restores = describe.restores(tx, tx.restores(visitor.identity.readable, None, name, _RESTORES))
        holds = describe.holds(tx, tx.holds(visitor.identity.readable, None, name, _HOLDS))
    return render(
        request,
        "me.html",
        visitor=visitor,
        messages=found,
        restores=restores,
        holds=holds,
        address=addresses.of(archive, name),
        secret=secret,
        may_hold=auth.RESTORE in visitor.identity.scopes,
    )


@router.post("/me/notices")
def set_addresses(
    request: Request,
    archive: Here,
    visitor: Sending,
    email: Annotated[str, Form(max_length=300)] = "",
    webhook_url: Annotated[str, Form(max_length=1200)] = "",
    wants: Annotated[str, Form(max_length=5)] = "",
    renew_secret: Annotated[str, Form(max_length=5)] = "",
) -> Response:
    """Where messages go. A secret that was made is on the page that answers, and on no other."""
    visitor.identity.need(auth.READ)
    to = (email.strip() or None, webhook_url.strip() or None)
    _, secret = addresses.put(archive, person(visitor.identity), *to, wants=bool(wants), renew_secret=bool(renew_secret))
    return _page(request, archive, visitor, secret) if secret else RedirectResponse(f"{request.app.state.root}/me", 303)


@router.post("/me/seen")
def seen(request: Request, archive: Here, visitor: Sending, up_to: Annotated[int, Form(ge=1, le=2**31 - 1)]) -> Response:
    """Messages were read."""
    visitor.identity.need(auth.READ)
    with archive.ledger.begin(visitor.identity.name) as tx:
        tx.seen(visitor.identity.name, up_to)
    return RedirectResponse(f"{request.app.state.root}/me", 303)


@router.post("/datasets/{dataset_id}/hold")
def place_hold(
    request: Request,
    archive: Here,
    visitor: Sending,
    dataset_id: models.Id,
    until: Annotated[str, Form(max_length=40)],
    reason: Annotated[str, Form(max_length=2000)],
    back: Annotated[str, Form(max_length=4000)] = "",
) -> Response:
    """The Hold button."""
    who = visitor.identity
    who.need(auth.RESTORE)
    with archive.ledger.read() as tx:
        name = access.visible_dataset(tx, who, dataset_id).full_name
    hold.request(archive, who.name, name, hold.end_of(until), reason, None, who.readable, admin=who.admin)
    return back_to(request, back, dataset_id)


@router.post("/holds/{hold_id}/end")
def end_hold(request: Request, archive: Here, visitor: Sending, hold_id: models.Id, back: Annotated[str, Form(max_length=4000)] = "") -> Response:
    """The End button of a hold."""
    who = visitor.identity
    who.need(auth.RESTORE)
    visible_hold(archive, who, hold_id)
    return back_to(request, back, hold.end(archive, who.name, hold_id, who.readable, admin=who.admin).dataset_id)

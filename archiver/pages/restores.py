"""The way back, on the pages: first what it would mean, then the asking; taking it back, trying files again, an admin's yes or no.

Law: nobody asks unseen: the form that asks carries the quote that was on the page, and asks for just what it said.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import Response

from archiver import auth, describe, quotes, restore
from archiver.api import access, models
from archiver.api.access import Here
from archiver.auth import Identity
from archiver.errors import NotAllowed
from archiver.pages.views import Sending, back_to, render

router = APIRouter()

_Back = Annotated[str, Form(max_length=4000)]


def _asker(visitor: Sending) -> Identity:
    visitor.identity.need(auth.RESTORE)
    return visitor.identity


def _admin(visitor: Sending) -> Identity:
    if not visitor.identity.admin:
        raise NotAllowed("Only an admin says yes or no to a restore.", "An admin of the hub sees what waits on the first page.")
    return visitor.identity


Asker = Annotated[Identity, Depends(_asker)]
AnAdmin = Annotated[Identity, Depends(_admin)]


@router.post("/datasets/{dataset_id}/quote")
def quote(
    request: Request, archive: Here, visitor: Sending, who: Asker, dataset_id: models.Id, days: Annotated[int, Form()], back: _Back = ""
) -> Response:
    """The Restore button: what it would mean, and the button that asks for it."""
    with archive.ledger.read() as tx:
        found = access.visible_dataset(tx, who, dataset_id)
    said = quotes.quote(archive, who.name, [str(found.id)], None, days, who.readable, admin=who.admin)
    return render(request, "quote.html", visitor=visitor, dataset=found, said=said, until=describe.time(said.expires_at), back=back)


@router.post("/restores")
def ask(request: Request, archive: Here, who: Asker, quote: Annotated[str, Form(max_length=100)], back: _Back = "") -> Response:
    """What was quoted is asked for."""
    made = quotes.take_up(archive, who.name, quote, who.readable, admin=who.admin)
    return back_to(request, back, made[0].dataset_id)


@router.post("/restores/{restore_id}/cancel")
def cancel(request: Request, archive: Here, who: Asker, restore_id: models.Id, back: _Back = "") -> Response:
    """The Cancel button."""
    _visible(archive, who, restore_id)
    return back_to(request, back, restore.cancel(archive, who.name, restore_id, who.readable, admin=who.admin).dataset_id)


@router.post("/restores/{restore_id}/retry")
def retry(request: Request, archive: Here, who: Asker, restore_id: models.Id, back: _Back = "") -> Response:
    """Files that were given up are tried again."""
    dataset_id = _visible(archive, who, restore_id)
    restore.retry(archive, who.name, restore_id, None, who.readable, admin=who.admin)
    return back_to(request, back, dataset_id)


@router.post("/restores/{restore_id}/approve")
def approve(request: Request, archive: Here, who: AnAdmin, restore_id: models.Id) -> Response:
    """An admin's yes."""
    _visible(archive, who, restore_id)
    return back_to(request, "", restore.approve(archive, who.name, restore_id).dataset_id)


@router.post("/restores/{restore_id}/deny")
def deny(request: Request, archive: Here, who: AnAdmin, restore_id: models.Id, reason: Annotated[str, Form(max_length=2000)]) -> Response:
    """An admin's no."""
    _visible(archive, who, restore_id)
    return back_to(request, "", restore.deny(archive, who.name, restore_id, reason).dataset_id)


def _visible(archive: Here, who: Identity, restore_id: int) -> int:
    """The number of its dataset. Raises `NotFound`."""
    with archive.ledger.read() as tx:
        return access.visible_restore(tx, who, restore_id).dataset_id

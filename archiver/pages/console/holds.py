"""`/admin/holds`: what people keep in fast storage, why and until when."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from archiver import describe, hold
from archiver.api import models
from archiver.api.access import Here
from archiver.api.hold_routes import visible_hold
from archiver.archive import Archive
from archiver.errors import PublicError
from archiver.pages.console.shared import LIMIT, After, Ending, Looking, Question, act, ask, show
from archiver.pages.sessions import Told
from archiver.pages.views import Visitor

router = APIRouter()

_PATH = "/holds"


@router.get("/admin/holds")
def holds(request: Request, archive: Here, visitor: Looking, after: Annotated[After, Query()]) -> Response:
    """Holds that have not ended, those that end first before others."""
    return _page(request, archive, visitor, None, after)


def _page(request: Request, archive: Archive, visitor: Visitor, failed: PublicError | None, after: After) -> Response:
    with archive.ledger.read() as tx:
        found = tx.standing_holds(LIMIT + 1, after.place)
        page = found[:LIMIT]
        items, held = describe.holds(tx, page), tx.held_by(page)
    for item in items:
        item["files"], item["size_bytes"] = held[item["id"]]
    return show(request, visitor, "holds", failed, items=items, more=len(found) > LIMIT, after=after)


@router.get("/admin/holds/{hold_id}/end")
def ask_end(request: Request, archive: Here, visitor: Looking, hold_id: models.Id) -> Response:
    """What ending a hold would end."""
    held = visible_hold(archive, visitor.identity, hold_id)
    with archive.ledger.read() as tx:
        files, size_bytes = tx.held_by([held])[held.id]
        others = [claim for claim in tx.stored_claims([held.dataset_id]) if claim.id != held.id]
        name = tx.dataset(held.dataset_id).full_name
    also: list[Told] = [("confirm_for", {"user": held.user, "reason": held.reason})]
    also += [("confirm_others_keep", {"n": len(others)})] if others else []
    action = f"{request.app.state.root}/admin{_PATH}/{hold_id}/end"
    return ask(request, visitor, "holds", Question("confirm_end", name, action, size_bytes, files, [held.user], also))


@router.post("/admin/holds/{hold_id}/end")
def end(request: Request, archive: Here, visitor: Ending, hold_id: models.Id) -> Response:
    """It ends, and what only it claimed may leave hot."""
    who = visitor.identity

    def do() -> Told:
        visible_hold(archive, who, hold_id)
        ended = hold.end(archive, who.name, hold_id, who.readable, admin=who.admin)
        with archive.ledger.read() as tx:
            return "done_ended", {"name": tx.dataset(ended.dataset_id).full_name, "user": ended.user}

    return act(request, visitor, _PATH, lambda failed: _page(request, archive, visitor, failed, After()), do)

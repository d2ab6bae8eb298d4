"""`/admin/transfers`: copies that could not be made: those that were given up and wait for a person, and those that are tried again by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Query, Request
from pydantic import Field
from starlette.responses import Response

from archiver import describe, restore
from archiver.api.access import Here
from archiver.archive import Archive
from archiver.errors import Conflict, NotFound, PublicError
from archiver.ledger.store import Moved
from archiver.model import TransferState
from archiver.pages.console.shared import FIRST, LIMIT, Acting, After, Looking, act, show
from archiver.pages.sessions import Told
from archiver.pages.views import Visitor

router = APIRouter()

Group = Literal["quarantined", "failed"]
_GROUPS: Sequence[Group] = ("quarantined", "failed")
_Number = Annotated[int, Field(ge=1, le=2**53 - 1)]


class Which(After):
    """One group, or all; by the time of their next try."""

    group: Group | None = None


@router.get("/admin/transfers")
def transfers(request: Request, archive: Here, visitor: Looking, which: Annotated[Which, Query()]) -> Response:
    """Both groups, or one from a place on."""
    return _page(request, archive, visitor, None, which)


def _page(request: Request, archive: Archive, visitor: Visitor, failed: PublicError | None, which: Which) -> Response:
    limit = FIRST if which.group is None else LIMIT
    groups = []
    with archive.ledger.read() as tx:
        for name in _GROUPS if which.group is None else (which.group,):
            state = TransferState(name)
            found = tx.transfers_in(state, limit + 1, which.place)
            items = describe.transfers(tx, found[:limit])
            for item, one in zip(items, found, strict=False):
                item["since"] = describe.time(one.updated_at)
            more = len(found) > limit
            groups.append({"name": name, "items": items, "more": more, "count": tx.count_transfers(state)})
    return show(request, visitor, "transfers", failed, groups=groups, which=which)


@router.post("/admin/transfers/retry")
def retry(request: Request, archive: Here, visitor: Acting, transfer: Annotated[list[_Number], Form(min_length=1, max_length=LIMIT)]) -> Response:
    """Each begins anew; one that has moved on by itself meanwhile stays as it is."""

    def do() -> Told:
        chosen, refused = list(dict.fromkeys(transfer)), []
        for number in chosen:
            try:
                restore.retry_transfer(archive, visitor.identity.name, number)
            except (Conflict, NotFound, Moved) as raised:
                refused.append(raised)
        if len(refused) == len(chosen):
            raise refused[0]
        return ("done_retried_some" if refused else "done_retried"), {"n": len(chosen) - len(refused), "left": len(refused)}

    return act(request, visitor, "/transfers", lambda failed: _page(request, archive, visitor, failed, Which()), do)

"""`/admin/announce`: tell everybody who opens a page."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from archiver import announce, hold
from archiver.api.access import Here
from archiver.archive import Archive
from archiver.errors import PublicError
from archiver.pages.console.shared import Acting, Looking, act, show
from archiver.pages.sessions import Told
from archiver.pages.views import Visitor

router = APIRouter()

_PATH = "/announce"


@router.get("/admin/announce")
def announcing(request: Request, archive: Here, visitor: Looking) -> Response:
    """What is told now, and the form for another."""
    return _page(request, archive, visitor, None)


def _page(request: Request, archive: Archive, visitor: Visitor, failed: PublicError | None, text: str = "", until: str = "") -> Response:
    """`text`, `until`: what was refused, to be mended."""
    with archive.ledger.read() as tx:
        told_now = announce.current(tx)
    return show(request, visitor, "announce", failed, told_now=told_now, text=text, until=until)


@router.post("/admin/announce")
def make(
    request: Request,
    archive: Here,
    visitor: Acting,
    text: Annotated[str, Form(max_length=2000)] = "",
    until: Annotated[str, Form(max_length=40)] = "",
) -> Response:
    """From now on all are told."""

    def do() -> Told:
        announce.make(archive, visitor.identity.name, text, hold.end_of(until))
        return "done_announced", {}

    return act(request, visitor, _PATH, lambda failed: _page(request, archive, visitor, failed, text, until), do)


@router.post("/admin/announce/end")
def end(request: Request, archive: Here, visitor: Acting) -> Response:
    """Nobody is told any more."""

    def do() -> Told:
        announce.end(archive, visitor.identity.name)
        return "done_unannounced", {}

    return act(request, visitor, _PATH, lambda failed: _page(request, archive, visitor, failed), do)

"""What the pages of the console share: who may come in, the navigation, and how a page answers when something was done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from archiver.errors import NotAllowed
from archiver.pages.views import Reading, Sending, Visitor, render

PAGES: Sequence[tuple[str, str]] = (("overview", ""),)
"""Name (its text is `console_NAME`) and path below `/admin` of each page, in the order of the navigation."""


def _admin(visitor: Visitor) -> Visitor:
    if not visitor.identity.admin:
        raise NotAllowed("The console is for admins.", "Ask an admin of the hub to do it for you.")
    return visitor


def _looking(visitor: Reading) -> Visitor:
    return _admin(visitor)


def _acting(visitor: Sending) -> Visitor:
    return _admin(visitor)


Looking = Annotated[Visitor, Depends(_looking)]
Acting = Annotated[Visitor, Depends(_acting)]


def show(request: Request, visitor: Visitor, page: str, template: str | None = None, status: int = 200, **values: Any) -> HTMLResponse:
    """A page of the console; `page` is marked in the navigation. `?done=WHAT` of its address is said above it (`done_WHAT`)."""
    done = request.query_params.get("done", "")
    return render(request, template or f"console_{page}.html", status, visitor=visitor, pages=PAGES, page=page, done=f"done_{done}", **values)


def back(request: Request, page: str, done: str) -> Response:
    """To the page on which the form was, which says what was done."""
    path = dict(PAGES)[page]
    return RedirectResponse(f"{request.app.state.root}/admin{path}?done={done}", 303)

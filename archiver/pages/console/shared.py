"""What the pages of the console share: who may come in, and the navigation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.responses import HTMLResponse

from archiver.errors import NotAllowed
from archiver.pages.views import Reading, Visitor, render

PAGES: Sequence[tuple[str, str]] = (("overview", ""),)
"""Name (its text is `console_NAME`) and path below `/admin` of each page, in the order of the navigation."""


def _looking(visitor: Reading) -> Visitor:
    if not visitor.identity.admin:
        raise NotAllowed("The console is for admins.", "Ask an admin of the hub to do it for you.")
    return visitor


Looking = Annotated[Visitor, Depends(_looking)]


def show(request: Request, visitor: Visitor, page: str, **values: Any) -> HTMLResponse:
    """A page of the console; `page` is marked in the navigation."""
    return render(request, f"console_{page}.html", visitor=visitor, pages=PAGES, page=page, **values)

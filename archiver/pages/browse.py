"""The first page, "Datasets": the same component as `neve.browse()` in notebooks, asking the API with the session's cookie and XSRF token.

Law: the page itself knows nothing and changes nothing; a search or a dataset is an address that can be passed on. Addresses of the plain list, which
was the first page once, go on working.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import RedirectResponse, Response

from archiver.api import access, models
from archiver.api.access import Here
from archiver.pages.views import Filters, Reading, news, render

router = APIRouter()


class Search(Filters):
    """The search in the address: the plain list's, and what only this page narrows by."""

    tag: models.Text = ""
    format: models.Text = ""
    since: models.Text = Field("", alias="from")
    to: models.Text = ""


@router.get("/")
def first_page(request: Request, archive: Here, visitor: Reading, asked: Annotated[Search, Query()]) -> Response:
    """Search, facets, previews, tags, quotes and restores. The query is the search, the fragment a dataset's number."""
    if asked.cursor:  # a page of the plain list
        return RedirectResponse(f"{request.app.state.root}/list?{request.url.query}", 307)
    with archive.ledger.read() as tx:
        projects = access.known_projects(tx, visitor.identity)
        heard = news(tx, visitor)
    plain = Filters(q=asked.q, project=asked.project, instrument=asked.instrument, tier=asked.tier)
    return render(request, "browse.html", visitor=visitor, asked=plain, projects=projects, may_add=visitor.may_add and bool(projects), **heard)


@router.get("/browse")
def old_address(request: Request, _visitor: Reading) -> Response:
    """Where the page was before it was the first."""
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"{request.app.state.root}/{query}", 308)

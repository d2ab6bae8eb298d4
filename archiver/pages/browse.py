"""The page "Browse": the same component as `neve.browse()` in notebooks, asking the API with the session's cookie and XSRF token.

Law: the page itself knows nothing and changes nothing; a search or a dataset is an address that can be passed on.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from archiver.pages import texts
from archiver.pages.views import Reading, render

router = APIRouter()


@router.get("/browse")
def browse_page(request: Request, visitor: Reading) -> Response:
    """Search, facets, previews, tags, quotes and restores. The query is the search, the fragment a dataset's number."""
    spoken = texts.Texts(texts.language(request.headers.get("Accept-Language")))
    return render(request, "browse.html", headers={"Vary": "Accept-Language, Cookie"}, visitor=visitor, t=spoken)

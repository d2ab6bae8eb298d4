"""The page "Add data": people's files go from their browser to the store, by the requests that the API signs for instruments too.

Law: the page itself changes nothing. Its script asks the API's routes of reception, with the session's cookie and XSRF token; the hub's token
never reaches the browser. Beside our own, only the store's origin may be connected to.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from archiver import auth, policy
from archiver.api import access, models
from archiver.api.access import Here
from archiver.pages.views import CSP, AnyVisitor, Visitor, render

router = APIRouter()


def _adder(visitor: AnyVisitor) -> Visitor:
    visitor.identity.need(auth.INGEST)
    return visitor


@router.get("/upload")
def upload_page(
    request: Request,
    archive: Here,
    visitor: Annotated[Visitor, Depends(_adder)],
    project: models.Text = "",
    instrument: models.Text = "",
    dataset: models.Text = "",
) -> Response:
    """The form and the drop area; the query says what to begin with, so that a reload keeps it."""
    with archive.ledger.read() as tx:
        known = access.known_projects(tx, visitor.identity)
        projects = [(one.name, one.title) for one in known if visitor.identity.belongs(one.name)]
        instruments = [(one.name, one.title) for one in tx.instruments()]
    origin = archive.tiers[policy.HOT].outside_origin
    headers = {"Content-Security-Policy": f"{CSP}; connect-src 'self' {origin}"}
    return render(
        request,
        "upload.html",
        headers=headers,
        visitor=visitor,
        projects=projects,
        instruments=instruments,
        project=project or (projects[0][0] if len(projects) == 1 else ""),
        instrument=instrument or (instruments[0][0] if len(instruments) == 1 else ""),
        dataset=dataset,
        going_on=bool(project and instrument and dataset),
        origin=origin,
    )

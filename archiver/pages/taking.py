"""Taking data home, on the pages: what it would be, then the ZIP, or lists of links and checksums for a program; one file by itself.

Law: sizes are said first; nothing is given by halves: where something must be brought back first, there is the way to that, and no other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import astuple
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from archiver import auth, describe, download
from archiver.api import access, models
from archiver.api.access import Here
from archiver.api.download_routes import content, kept_as, streamed
from archiver.auth import Identity
from archiver.download import Account, Listed, Wanted
from archiver.errors import NotFound, WrongUse
from archiver.ledger import Transaction
from archiver.pages.views import Reading, render

router = APIRouter()

_Number = Annotated[int, Field(ge=1, le=2**53 - 1)]
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.(zip|curl|aria2|sha256)")


class Chosen(models.Asked):
    """What was chosen, by number: whole datasets, and files."""

    dataset: list[_Number] = Field(default_factory=list, max_length=100)
    file: list[_Number] = Field(default_factory=list, max_length=500)

    def address(self) -> str:
        """This as a query string."""
        return urlencode(self.model_dump(), doseq=True)


def _parts(tx: Transaction, who: Identity, chosen: Chosen) -> list[Wanted]:
    """What is wanted of each dataset. Raises `NotFound`, `Conflict`, `WrongUse`."""
    files: dict[int, list[int]] = {}
    for number in chosen.file:
        files.setdefault(access.visible_file(tx, who, number)[0].id, []).append(number)
    whole = dict.fromkeys(chosen.dataset)
    found = [Wanted(access.visible_dataset(tx, who, number)) for number in whole]
    found += [Wanted(access.visible_dataset(tx, who, number), file_ids=several) for number, several in files.items() if number not in whole]
    for part in found:
        download.be_there(part.dataset)
    if not found:
        raise WrongUse("Nothing was chosen.", "Go back and choose files, or the whole dataset.")
    return found


def _name(parts: list[Wanted]) -> str:
    """What the ZIP and the lists are called: plain enough to be typed anywhere."""
    return (re.sub(r"[^A-Za-z0-9._-]", "_", parts[0].dataset.name).strip(".-") or "dataset") if len(parts) == 1 else "datasets"


@router.get("/download")
def taking_page(request: Request, archive: Here, visitor: Reading, chosen: Annotated[Chosen, Query()]) -> Response:
    """How much it is, and the ways to take it; or what must be brought back first."""
    who = visitor.identity
    with archive.ledger.read() as tx:
        parts = _parts(tx, who, chosen)
        found = [download.account(tx, archive.settings, part) for part in parts]
        items = describe.datasets(tx, archive.settings, [part.dataset for part in parts], own=who.projects)
        until = tx.at + archive.settings.api.link_valid
    total = _sum(found)
    if not total.files:
        raise WrongUse("No file of these has been received.", "Look at the dataset again when its files have arrived.")
    return render(
        request,
        "download.html",
        visitor=visitor,
        items=items,
        cold=[item for item, one in zip(items, found, strict=True) if one.cold_files],
        account=total,
        name=_name(parts),
        chosen=chosen.address(),
        here=f"{request.app.state.root}/download?{chosen.address()}",
        whole=not chosen.file,
        until=describe.time(until),
        may_restore=auth.RESTORE in who.scopes,
    )


def _sum(found: list[Account]) -> Account:
    return Account(*(sum(several) for several in zip(*(astuple(one) for one in found), strict=True)))


@router.get("/download/{name}")
def take(request: Request, archive: Here, visitor: Reading, name: str, chosen: Annotated[Chosen, Query()]) -> Response:
    """The ZIP, or a list, by the ending of the name. Raises `ColdData` where something must be brought back first."""
    ending = _NAME.fullmatch(name)
    if ending is None:
        raise NotFound("There is no such download.", "Begin at the dataset's page.")
    with archive.ledger.read() as tx:
        parts = _parts(tx, visitor.identity, chosen)
        for part in parts:
            download.see(tx, archive.settings, part)
    body: Iterator[bytes]
    if ending[1] == "zip":
        body, media_type = download.zipped(archive, parts), "application/zip"
    else:
        empty_at = f"{request.url.scheme}://{request.url.netloc}{request.app.state.root}/static/{request.app.state.static_mark}/empty"
        body, media_type = download.listed(archive, parts, Listed(ending[1]), empty_at), "text/plain; charset=utf-8"
    return streamed(request, visitor.identity.name, body, media_type, kept_as(name))


@router.get("/files/{file_id}/data")
def take_one(request: Request, archive: Here, visitor: Reading, file_id: models.Id) -> Response:
    """One file."""
    return content(request, visitor.identity, archive, file_id)

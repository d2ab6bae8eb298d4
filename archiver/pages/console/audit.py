"""`/admin/audit`: who did what, and a file's receipt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from itertools import islice
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from archiver import chain, describe, receipt
from archiver.api import models
from archiver.api.access import Here
from archiver.errors import PublicError, WrongUse
from archiver.ledger import Transaction
from archiver.ledger.audit import Place, Sought
from archiver.model import Deed
from archiver.pages.console.shared import LIMIT, Looking, show

router = APIRouter()

KINDS = ("restore", "hold", "transfer", "dataset", "comment", "erasure", "project", "instrument", "announcement")
"""What deeds can be narrowed to; the text of each is `deeds_KIND`."""
_FAULTS = 3
_Path = Annotated[str, Query(min_length=1, max_length=4000)]


class Search(models.Asked):
    """The search form; empty fields mean nothing. The last three are a page's: where it begins."""

    who: models.Text = ""
    what: models.Text = ""
    dataset: models.Text = ""
    since: models.Text = ""
    until: models.Text = ""
    at: models.Time | None = None
    source: int = Field(0, ge=0, le=9)
    number: int = Field(0, ge=0, le=2**53 - 1)

    def sought(self, tx: Transaction) -> Sought:
        """Raises `WrongUse`, `NotFound`, `Ambiguous`."""
        if self.what and self.what not in KINDS:
            raise WrongUse(f"Nothing is called {self.what!r} here.", f"Choose one of {', '.join(KINDS)}.")
        since, until = _day(self.since), _day(self.until)
        if since and until and since > until:
            raise WrongUse("The first day is later than the last.", "Exchange them.")
        return Sought(
            self.who.strip(),
            f"{self.what}." if self.what else "",
            None if since is None else datetime.combine(since, time.min, UTC),
            None if until is None else datetime.combine(until, time.max, UTC),
            tx.find_dataset(self.dataset.strip(), None).id if self.dataset.strip() else None,
        )

    def place(self) -> Place | None:
        """What the page comes after; None: it is the first."""
        return None if self.at is None else (self.at, self.source, self.number)

    def address(self, **changes: Any) -> str:
        """This search as a query string."""
        said = {**self.model_dump(exclude={"at", "source", "number"}), **changes}
        return urlencode({name: value for name, value in said.items() if value != ""})


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise WrongUse(f"{text!r} is not a day.", "Write it as 2026-09-01.") from None


@router.get("/admin/audit")
def audit(request: Request, archive: Here, visitor: Looking, search: Annotated[Search, Query()]) -> Response:
    """What people did, newest first; of one dataset all that was done with it."""
    failed, found = None, []
    with archive.ledger.read() as tx:
        try:
            found = tx.deeds(search.sought(tx), LIMIT + 1, search.place())
        except PublicError as error:
            failed = error
    page = found[:LIMIT]
    items = [
        {**{name: getattr(one, name) for name in ("actor", "kind", "about", "dataset_id")}, "at": describe.time(one.at), "detail": _told(one)}
        for one in page
    ]
    older = None
    if len(found) > LIMIT:
        older = search.address(at=describe.time(page[-1].at), source=page[-1].place[0], number=page[-1].place[1])
    return show(request, visitor, "audit", failed, search=search, items=items, older=older, kinds=KINDS)


def _told(one: Deed) -> Mapping[str, Any]:
    """Its detail; of what was changed, each fact with what it was and what it is."""
    if one.kind not in {"project.changed", "instrument.changed"}:
        return one.detail
    return {fact: " → ".join(_plain(side) for side in sides) for fact, sides in one.detail.items()}


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) or "–" if isinstance(value, list) else "–" if value is None else str(value)


@router.get("/admin/audit/receipt")
def file_receipt(request: Request, archive: Here, visitor: Looking, dataset: models.Text, path: _Path) -> Response:
    """A file's copies and their proofs, its part of the history, and whether that is whole. Raises `NotFound`, `Ambiguous`."""
    with archive.ledger.read() as tx:
        found = tx.find_dataset(dataset.strip(), None)
        said = receipt.of_path(tx, archive.settings, found, path)
        faults = list(islice(chain.verify(found.full_name, tx.chain_of(found.id)), _FAULTS))
    address = urlencode({"dataset": dataset, "path": path})
    links = [link for link in said["chain"]["links"] if "kind" in link]
    return show(
        request, visitor, "audit", template="console_receipt.html", receipt=said, dataset_id=found.id, links=links, faults=faults, address=address
    )


@router.get("/admin/audit/receipt.json")
def receipt_to_keep(archive: Here, visitor: Looking, dataset: models.Text, path: _Path) -> Response:  # noqa: ARG001
    """The same, for anyone to verify."""
    with archive.ledger.read() as tx:
        said = receipt.of_path(tx, archive.settings, tx.find_dataset(dataset.strip(), None), path)
    body = json.dumps(said, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace")
    return Response(body, media_type="application/json", headers={"Content-Disposition": 'attachment; filename="receipt.json"'})

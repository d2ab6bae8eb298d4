"""`/admin/projects`: what each project is, may hold and holds; a new one. (One of them: project.py.)"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from archiver import describe, facts, incoming
from archiver.api import models
from archiver.api.access import Here
from archiver.archive import Archive
from archiver.errors import Conflict, PublicError
from archiver.pages.console.shared import LIMIT, Acting, Looking, act, show
from archiver.pages.sessions import Told
from archiver.pages.views import Visitor

router = APIRouter()

_PATH = "/projects"


@router.get("/admin/projects")
def projects(request: Request, archive: Here, visitor: Looking, after: models.Text = "") -> Response:
    """All projects, by name."""
    return _list(request, archive, visitor, None, after)


def _list(request: Request, archive: Archive, visitor: Visitor, failed: PublicError | None, after: str = "") -> Response:
    with archive.ledger.read() as tx:
        found = tx.projects_after(after, LIMIT + 1)
        held = tx.holdings([one.name for one in found[:LIMIT]])
        items = [
            {
                **{name: getattr(one, name) for name in ("name", "title", "pi")},
                "last_day": None if one.ends_at is None else describe.time(one.ends_at - timedelta.resolution),
                "over": one.ends_at is not None and one.ends_at <= tx.at,
                "public_from": describe.time(one.public_from),
                "public": one.public_from is not None and one.public_from <= tx.at,
                "datasets": held.get(one.name, (0, 0))[0],
                "held_bytes": held.get(one.name, (0, 0))[1],
                "most_bytes": incoming.most_of(archive, one),
            }
            for one in found[:LIMIT]
        ]
    return show(request, visitor, "projects", failed, items=items, more=len(found) > LIMIT, after=after)


@router.post("/admin/projects")
def add(
    request: Request, archive: Here, visitor: Acting, name: Annotated[models.Text, Form()] = "", title: Annotated[str, Form(max_length=1000)] = ""
) -> Response:
    """A new project; who is in it is said in the hub."""

    def do() -> Told:
        with archive.ledger.read() as tx:
            if name in {one.name for one in tx.projects()}:
                raise Conflict(f"There is a project {name} already.", "Change that one, or choose another name.")
        facts.carry_out(archive, visitor.identity.name, [facts.row(name, {"name": name, "title": title})], publish=False)
        return "done_project", {"name": name}

    return act(request, visitor, _PATH, lambda failed: _list(request, archive, visitor, failed), do)

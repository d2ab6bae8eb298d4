"""`/admin/projects/NAME`: one project with its members, what it may hold and holds, and a form for its facts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import Response

from archiver import asking, describe, facts, incoming
from archiver.api import models
from archiver.api.access import Here
from archiver.archive import Archive
from archiver.errors import Conflict, PublicError, WrongUse
from archiver.facts import CALLED, COLUMNS
from archiver.pages.console.shared import Acting, Looking, Question, act, ask, show
from archiver.pages.sessions import Told
from archiver.pages.views import Visitor
from archiver.people import HubPeople

router = APIRouter()

_PATH = "/projects"
_CHANGES = 10
_Written = Annotated[str, Form(max_length=1000)]


def _written(
    title: _Written = "", investigator: _Written = "", start: _Written = "", end: _Written = "", embargo: _Written = "",
    public_after: _Written = "", quota: _Written = "",
) -> dict[str, str]:  # fmt: skip
    return {
        "title": title, "investigator": investigator, "start": start, "end": end, "embargo": embargo, "public_after": public_after, "quota": quota,
    }  # fmt: skip


Written = Annotated[dict[str, str], Depends(_written)]


@router.get("/admin/projects/{name}")
def project(request: Request, archive: Here, visitor: Looking, name: models.Text) -> Response:
    """One project, with a form for its facts."""
    return _page(request, archive, visitor, name, None, None)


def _page(request: Request, archive: Archive, visitor: Visitor, name: str, failed: PublicError | None, written: Mapping[str, str] | None) -> Response:
    """`written`: what was refused, to be mended."""
    with archive.ledger.read() as tx:
        found = tx.project(name)
        changes = tx.project_changes(name, _CHANGES)
        held_bytes = tx.project_bytes(name)
        back = asking.usage(tx, archive.settings, "project", name)
    members, unknown = None, None
    try:
        with HubPeople(archive.settings.api) as people:
            members = sorted(people.members(name))
    except PublicError as error:  # the page is of use without them, and says so
        unknown = error
    return show(
        request,
        visitor,
        "projects",
        failed,
        template="console_project.html",
        project=found,
        written=written or {column: facts.written(fact, getattr(found, fact)) for column, fact in COLUMNS.items()},
        seen=changes[0].id if changes else 0,
        changes=[{"at": describe.time(one.at), "actor": one.actor, "what": _told(one.detail)} for one in changes],
        held_bytes=held_bytes,
        most_bytes=incoming.most_of(archive, found),
        back=back,
        members=members,
        unknown=unknown,
    )


def _told(detail: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What was changed, from what, to what, as it would be written."""
    return [(CALLED[fact], _plain(fact, was), _plain(fact, now)) for fact, (was, now) in detail.items()]


def _plain(fact: str, value: Any) -> str:
    is_time = isinstance(value, str) and fact not in {"title", "pi"}
    return facts.written(fact, datetime.fromisoformat(value) if is_time else value)


@router.post("/admin/projects/{name}")
def change(
    request: Request,
    archive: Here,
    visitor: Acting,
    name: models.Text,
    written: Written,
    seen: Annotated[int, Form(ge=0)] = 0,
    publish: Annotated[str, Form(max_length=5)] = "",
) -> Response:
    """Its facts are as they are written from now on. Where data would become public at once, that is asked first."""

    def do() -> Told | Response:
        with archive.ledger.read() as tx:
            newest = tx.project_changes(tx.project(name).name, 1)
        if newest and newest[0].id != seen:
            raise Conflict(f"{newest[0].actor} changed {name} meanwhile.", "Look at it again, then write what is still to be changed.")
        said = facts.row(name, {"name": name, **written})
        published = facts.carry_out(archive, visitor.identity.name, [said], publish=bool(publish)).published
        if published and not publish:
            datasets, size_bytes = published[name]
            action = f"{request.app.state.root}/admin{_PATH}/{name}"
            hidden = {**written, "seen": str(seen), "publish": "yes"}
            also: list[Told] = [("confirm_datasets", {"n": datasets})]
            return ask(request, visitor, "projects", Question("confirm_publish", name, action, size_bytes, None, None, also, hidden))
        return "done_changed", {"name": name}

    def look(failed: PublicError) -> Response:
        return _page(request, archive, visitor, name, failed, written if isinstance(failed, WrongUse) else None)

    return act(request, visitor, f"{_PATH}/{name}", look, do)

"""`/admin/reception`: where data comes from: what each instrument has waiting, which are silent, what they may send, and their keys."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from archiver import instruments, keys, silence
from archiver.api import models
from archiver.api.access import Here
from archiver.archive import Archive
from archiver.errors import PublicError
from archiver.model import Instrument
from archiver.pages.console.shared import Acting, Looking, Question, act, ask, show
from archiver.pages.sessions import Told
from archiver.pages.views import Visitor

router = APIRouter()

_PATH = "/reception"
_Projects = Annotated[str, Form(max_length=4000)]
_Title = Annotated[models.Text, Form()]


@router.get("/admin/reception")
def reception(request: Request, archive: Here, visitor: Looking) -> Response:
    """All instruments, those that need a person first."""
    return _page(request, archive, visitor, None)


def _page(request: Request, archive: Archive, visitor: Visitor, failed: PublicError | None, key: tuple[str, str] | None = None) -> Response:
    """`key`: an instrument's new key, which is on the page that answers and on no other."""
    with archive.ledger.read() as tx:
        silent = {one.name for one, _ in silence.silent(tx, archive.settings.reception)}
        counts = tx.key_counts()
        items = [_row(one, one.name in silent, counts.get(one.name, 0), tx.at) for one in tx.instruments()]
    items.sort(key=lambda item: (not item["silent"], -item["waiting"], item["name"]))
    return show(request, visitor, "reception", failed, items=items, key=key)


def _row(one: Instrument, silent: bool, count: int, now: Any) -> dict[str, Any]:
    report = one.report or {}
    return {
        "name": one.name,
        "title": one.title if one.title != one.name else "",
        "projects": list(one.projects),
        "silent": silent,
        "heard_s": None if one.seen_at is None else (now - one.seen_at).total_seconds(),
        "waiting": report.get("waiting", 0),
        "oldest_s": report.get("oldest_waiting_s"),
        "message": report.get("message", ""),
        "keys": count,
    }


@router.post("/admin/reception")
def add(
    request: Request, archive: Here, visitor: Acting, name: Annotated[models.Text, Form()] = "", title: _Title = "", projects: _Projects = ""
) -> Response:
    """A new instrument, with its first key if it may send anywhere."""
    return _put(request, archive, visitor, name, title, projects, new=True)


@router.post("/admin/reception/{name}")
def change(request: Request, archive: Here, visitor: Acting, name: models.Text, title: _Title = "", projects: _Projects = "") -> Response:
    """What it is called, and where it may send."""
    return _put(request, archive, visitor, name, title, projects, new=False)


def _put(request: Request, archive: Archive, visitor: Visitor, name: str, title: str, projects: str, *, new: bool) -> Response:
    def do() -> Told | Response:
        globs = [glob for glob in re.split(r"[\s,;]+", projects) if glob]
        if not new:
            with archive.ledger.read() as tx:
                same = globs == list(tx.instrument(name).projects)
        made = instruments.put(archive, visitor.identity.name, name, title.strip(), None if not new and same else globs, new=new)
        if made is not None:
            return _page(request, archive, visitor, None, (name, made))
        return "done_added" if new else "done_changed", {"name": name}

    return act(request, visitor, _PATH, lambda failed: _page(request, archive, visitor, failed), do)


@router.post("/admin/reception/{name}/key")
def key(request: Request, archive: Here, visitor: Acting, name: models.Text) -> Response:
    """One more key; those it has go on."""

    def do() -> Response:
        return _page(request, archive, visitor, None, (name, keys.make(archive, name, visitor.identity.name)))

    return act(request, visitor, _PATH, lambda failed: _page(request, archive, visitor, failed), do)


@router.get("/admin/reception/{name}/revoke")
def ask_revoke(request: Request, archive: Here, visitor: Looking, name: models.Text) -> Response:
    """What ending an instrument's keys would end."""
    with archive.ledger.read() as tx:
        found = tx.instrument(name)
        count = tx.key_counts().get(name, 0)
        files, size_bytes = tx.arriving_from(name)
    waiting = (found.report or {}).get("waiting", 0)
    also: list[Told] = [("confirm_keys", {"n": count})]
    also += [("confirm_waiting", {"n": waiting})] if waiting else []
    action = f"{request.app.state.root}/admin{_PATH}/{name}/revoke"
    return ask(request, visitor, "reception", Question("confirm_revoke", name, action, size_bytes, files, None, also))


@router.post("/admin/reception/{name}/revoke")
def revoke(request: Request, archive: Here, visitor: Acting, name: models.Text) -> Response:
    """All its keys end. What it has sent stays."""

    def do() -> Told:
        return "done_revoked", {"name": name, "n": instruments.revoke(archive, visitor.identity.name, name)}

    return act(request, visitor, _PATH, lambda failed: _page(request, archive, visitor, failed), do)

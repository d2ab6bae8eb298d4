"""The pages: Browse with its plain list, a page for each dataset, and their forms. All of it but Browse works without JavaScript.

Law: a page shows what the API would answer the same person; what a form changes, it changes by the same verbs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import jinja2
from fastapi import APIRouter, Depends, Form, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from archiver import announce, auth, contents, describe, download, obstacles
from archiver.api import access, listing, models
from archiver.api.access import Here, TheHub
from archiver.api.problems import headers_for, public
from archiver.auth import Identity
from archiver.config import Settings
from archiver.errors import NotFound, NotSignedIn
from archiver.ledger import Transaction
from archiver.ledger.counting import COUNTED
from archiver.ledger.narrowing import Query as DatasetsThat
from archiver.pages import texts, words
from archiver.pages.sessions import NeedsSignIn, Session, Sessions, hub_session

router = APIRouter()

CSP = "default-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; form-action 'self'"
_PAGE = 50
_EVENTS = 100

_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def _spoken(write: Callable[[texts.Texts, Any], str]) -> Callable[[jinja2.runtime.Context, Any], str]:
    """A filter that writes in the page's language."""
    return jinja2.pass_context(lambda context, value: write(context["t"], value))


_templates.filters |= {write.__name__: _spoken(write) for write in (words.size, words.day, words.minute, words.duration, words.money)}
_templates.filters["event"] = words.event
_templates.filters["by_tier"] = lambda copies, settings: sorted(copies, key=lambda copy: _place(copy["tier"], settings))
_templates.globals["words"] = words


def _place(tier: str, settings: Settings) -> int:
    """How far a tier is; one that the settings no longer name comes last."""
    order = list(settings.tiers)
    return order.index(tier) if tier in order else len(order)


@dataclass(frozen=True)
class Visitor:
    """Who looks at a page."""

    session: Session
    identity: Identity

    @property
    def may_add(self) -> bool:
        """Whether the page on which data is added is for them."""
        return auth.INGEST in self.identity.scopes


class Filters(models.Asked):
    """The search form. Empty fields mean nothing; `cursor` is a page's."""

    q: models.Text = ""
    project: models.Text = ""
    instrument: models.Text = ""
    tier: models.Text = ""
    cursor: models.Text = ""

    def address(self, **changes: str) -> str:
        """This search as a query string."""
        return urlencode({name: value for name, value in {**self.model_dump(), **changes}.items() if value})


def _sessions(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.sessions
    return sessions


TheSessions = Annotated[Sessions, Depends(_sessions)]


def _visitor(request: Request, archive: Here, hub: TheHub, sessions: TheSessions) -> Visitor:
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    session = sessions.get(request)
    if session is None:
        raise NeedsSignIn(back)
    try:
        identity = hub.who(session.token, session_id=hub_session(request), browser=True)
    except NotSignedIn:
        sessions.end(request)
        raise NeedsSignIn(back) from None
    return Visitor(session, access.sighted_now(archive, identity))


AnyVisitor = Annotated[Visitor, Depends(_visitor)]


def _reader(visitor: AnyVisitor) -> Visitor:
    visitor.identity.need(auth.READ)
    return visitor


Reading = Annotated[Visitor, Depends(_reader)]


def _sender(request: Request, visitor: AnyVisitor, sessions: TheSessions, xsrf: Annotated[str, Form(max_length=200)] = "") -> Visitor:
    sessions.check_form(request, visitor.session, xsrf)
    return visitor


Sending = Annotated[Visitor, Depends(_sender)]


def render(request: Request, template: str, status: int = 200, headers: dict[str, str] | None = None, **values: Any) -> HTMLResponse:
    """A page from its template, in the language that the browser asks for; `root` is the prefix without its last slash."""
    state = request.app.state
    visitor = values.get("visitor")
    if visitor is not None:
        with state.archive.ledger.read() as tx:
            values |= {"unseen": tx.unseen(visitor.identity.name), "announcement": announce.current(tx)}
    spoken = texts.Texts(texts.language(request.headers.get("Accept-Language")))
    html = _templates.get_template(template).render(
        t=spoken, root=state.root, mark=state.static_mark, hub_home=state.hub.home_url, settings=state.archive.settings, **values
    )
    headers = {"Content-Language": spoken.lang, "Vary": "Accept-Language, Cookie", **(headers or {})}
    return HTMLResponse(html.encode("utf-8", "replace"), status, headers)


def error_page(request: Request, raised: Exception) -> Response:
    """The exception handler of the pages."""
    if isinstance(raised, NeedsSignIn):
        # What was sent by a form is not kept: after the sign-in the person sees the page and sends it again.
        return _sessions(request).sign_in(request, raised.next_path if request.method in {"GET", "HEAD"} else f"{request.app.state.root}/")
    error = public(raised)
    if isinstance(raised, HTTPException) and error.status == 404:
        error = NotFound("There is no such page.", "Begin at the list of datasets.")
    session = _sessions(request).get(request)
    return render(request, "error.html", error.status, headers_for(error, raised), error=error, visitor=None, session=session)


@router.get("/list")
def plain_list(request: Request, archive: Here, visitor: Reading, asked: Annotated[Filters, Query()]) -> Response:
    """The table of datasets, for browsers without JavaScript."""
    who = visitor.identity
    query = DatasetsThat(
        projects=who.readable, text=asked.q, project=asked.project or None, instrument=asked.instrument or None, tier=asked.tier or None
    )
    with archive.ledger.read() as tx:
        page = listing.datasets(tx, archive.settings, query, _PAGE, asked.cursor or None, own=who.projects)
        total = tx.count(query)
        projects = [(project.name, project.title) for project in access.known_projects(tx, who)]
        instruments = tx.instruments_of(who.readable)
        heard = news(tx, visitor)
    return render(
        request,
        "datasets.html",
        **heard,
        visitor=visitor,
        asked=asked,
        page=page,
        total=min(total, COUNTED),
        more=total > COUNTED,
        projects=projects,
        instruments=instruments,
        may_restore=auth.RESTORE in who.scopes,
        may_add=visitor.may_add and bool(projects),
        live=any(_runs(item) for item in page.items),
    )


def news(tx: Transaction, visitor: Visitor) -> dict[str, Any]:
    """What is said above the datasets: why new data wait, and to admins what waits for them."""
    waits = obstacles.standing(tx)
    return {
        "waits": None if waits is None or not waits.sure else {"kind": waits.kind, "since": waits.since},
        "undecided": describe.restores(tx, tx.undecided()) if visitor.identity.admin else [],
    }


def _runs(item: dict[str, Any]) -> bool:
    return item["restore"] is not None and item["restore"]["state"] in words.RUNNING


@router.get("/datasets")
def dataset_called(request: Request, archive: Here, visitor: Reading, name: models.Text) -> Response:
    """The page of the dataset of this name. Raises `NotFound` with the names that look like it, `Ambiguous`."""
    with archive.ledger.read() as tx:
        try:
            found = tx.find_dataset(name, visitor.identity.readable)
        except NotFound as unknown:
            raise NotFound(unknown.detail, "Look its name up among the datasets.", candidates=tx.near(name, visitor.identity.readable)) from None
    return RedirectResponse(f"{request.app.state.root}/datasets/{found.id}", 303)


@router.get("/datasets/{dataset_id}")
def dataset_page(request: Request, archive: Here, visitor: Reading, dataset_id: models.Id, cursor: models.Text = "") -> Response:
    """One dataset: where it is, why, its files with their proofs, its history; what became of one's own last restore of it."""
    with archive.ledger.read() as tx:
        found = access.visible_dataset(tx, visitor.identity, dataset_id)
        item = describe.datasets(tx, archive.settings, [found], own=visitor.identity.projects)[0]
        files = listing.files(tx, archive.settings, found.id, _PAGE, cursor or None)
        events = describe.events(tx.latest_events(found.id, _EVENTS + 1))
        project = next(one.title for one in tx.projects() if one.name == found.project)
        holds = describe.holds(tx, tx.holds(None, found.id, None, _PAGE, own=visitor.identity.projects, viewer=visitor.identity.name))
        undecided = describe.restores(tx, tx.undecided(found.id)) if visitor.identity.admin else []
        mine = describe.restores(tx, tx.restores(None, found.id, visitor.identity.name, 1))
        erased = tx.erasures(dataset_id=found.id)
    return render(
        request,
        "dataset.html",
        visitor=visitor,
        item=item,
        holds=holds,
        refused=next((one for one in mine if one["state"] in words.REFUSED), None),
        undecided=undecided,
        erased=[{"files": one.receipt["files"], "at": describe.time(one.ended_at)} for one in erased if one.receipt],
        project_title=project,
        files=files,
        first=not cursor,
        events=events[:_EVENTS],
        more_events=len(events) > _EVENTS,
        may_restore=auth.RESTORE in visitor.identity.scopes,
        live=_runs(item),
        now=[tier for tier in archive.settings.tiers if download.reads(archive.settings, tier)],
    )


@router.get("/files/{file_id}/preview.png")
def preview_png(archive: Here, visitor: Reading, file_id: models.Id) -> Response:
    """A file's picture."""
    with archive.ledger.read() as tx:
        found, file = access.visible_file(tx, visitor.identity, file_id)
    seen = contents.preview(archive, found, file)
    if seen is None or seen.png is None:
        raise NotFound("There is no picture of this file.", "Read the file itself.")
    return Response(seen.png, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})


@router.get("/datasets/{dataset_id}/row")
def dataset_row(request: Request, archive: Here, visitor: Reading, dataset_id: models.Id, back: models.Text = "") -> Response:
    """A dataset's row of the table by itself: for one that left the list while somebody followed its restore."""
    with archive.ledger.read() as tx:
        item = describe.datasets(tx, archive.settings, [access.visible_dataset(tx, visitor.identity, dataset_id)], own=visitor.identity.projects)[0]
    return render(request, "row.html", visitor=visitor, item=item, back=back, may_restore=auth.RESTORE in visitor.identity.scopes)


def back_to(request: Request, back: str, dataset_id: int) -> Response:
    """To the page that the form was on (and a link to the row), never elsewhere."""
    path = _sessions(request).own_path(back) if back else f"{request.app.state.root}/datasets/{dataset_id}"
    return RedirectResponse(f"{path.partition('#')[0]}#dataset-{dataset_id}", 303)


@router.get("/oauth_callback")
def come_back(request: Request, sessions: TheSessions) -> Response:
    """The hub has sent the browser back."""
    return sessions.come_back(request)


@router.post("/sign-out")
def sign_out(request: Request, sessions: TheSessions, xsrf: Annotated[str, Form(max_length=200)] = "") -> Response:
    """The Sign out button; whoever has no session is signed out already."""
    session = sessions.get(request)
    if session is not None:
        sessions.check_form(request, session, xsrf)
    return sessions.sign_out(request)

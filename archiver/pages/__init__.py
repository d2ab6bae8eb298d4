"""The archiver's pages for people, and the whole site: pages and API side by side below one prefix."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from archiver.api import create_app, problems
from archiver.api.download_routes import Slots
from archiver.api.edge import Edge
from archiver.api.health import Health
from archiver.archive import Archive
from archiver.auth import Hub
from archiver.capacity import Capacity
from archiver.errors import PublicError
from archiver.ledger.store import Moved
from archiver.pages import browse, feed, me, restores, taking, upload, views
from archiver.pages.console import routes as console
from archiver.pages.sessions import NeedsSignIn, Sessions

__all__ = ["create_site"]

_STATIC = Path(__file__).parent / "static"
_SHARED = Path(str(resources.files("neve"))) / "static"  # the same modules as in notebooks
_FORM_BYTES = 16 * 2**10


def create_site(archive: Archive, hub: Hub) -> Starlette:
    """Everything the archiver serves, below `api.prefix`; `hub` is closed with it."""
    root = archive.settings.api.prefix.rstrip("/")
    sessions = Sessions(hub, archive.settings.api.prefix, archive.settings.api.session_hours * 3600)
    api = create_app(archive, hub, sessions)
    sides = _Sides(root, api, _pages(archive, hub, sessions, api.state.downloads, api.state.health))

    @asynccontextmanager
    async def lifespan(_site: Starlette) -> AsyncIterator[None]:
        async with api.router.lifespan_context(api):
            yield
        hub.close()

    # What is not below the prefix, or holds a line's end, which no route takes for a part of an address.
    return Starlette(routes=[Mount(root, app=sides)], lifespan=lifespan, exception_handlers={HTTPException: problems.respond})


class _Sides:
    """Programs ask the API, people the pages; each side has its own form of errors."""

    def __init__(self, root: str, api: ASGIApp, pages: ASGIApp) -> None:
        self._root = root  # the mount's own is one off where an address ends with a line's end
        self._api = api
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        first = scope.get("path", "").removeprefix(self._root).split("/")[1:2]
        await (self._api if first in (["api"], ["health"], ["openapi.json"]) else self._pages)(scope, receive, send)


def _pages(archive: Archive, hub: Hub, sessions: Sessions, downloads: Slots, health: Health) -> FastAPI:
    settings = archive.settings.api
    app = FastAPI(openapi_url=None)
    app.state.archive, app.state.hub = archive, hub
    app.state.root = settings.prefix.rstrip("/")
    app.state.sessions, app.state.downloads = sessions, downloads
    app.state.health, app.state.capacity = health, Capacity()
    # Part of the addresses of what is static: it may be kept for ever, and changes with its content.
    static = [path for folder in (_STATIC, _SHARED) for path in sorted(folder.rglob("*")) if path.is_file()]
    app.state.static_mark = hashlib.sha256(b"".join(path.read_bytes() for path in static)).hexdigest()[:12]
    app.include_router(views.router)
    app.include_router(restores.router)
    app.include_router(me.router)
    app.include_router(upload.router)
    app.include_router(browse.router)
    app.include_router(taking.router)
    app.include_router(feed.router)
    app.include_router(console.router)
    app.mount(f"/static/{app.state.static_mark}/neve", _Kept(directory=_SHARED))
    app.mount(f"/static/{app.state.static_mark}", _Kept(directory=_STATIC))
    for kind in (PublicError, RequestValidationError, HTTPException, Moved, NeedsSignIn):
        app.add_exception_handler(kind, views.error_page)
    headers = {"Cache-Control": "no-store", "Content-Security-Policy": views.CSP}
    app.add_middleware(Edge, respond=views.error_page, headers=headers, body_bytes=_FORM_BYTES)
    return app


class _Kept(StaticFiles):
    """Static files that a browser need not ask for again."""

    def file_response(self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response

"""The archiver's REST API: `/api/v1/…`, `/health` and `/openapi.json`, each answer in JSON, each error a problem document."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException

from archiver.api import (
    announcement_routes,
    catalog_routes,
    download_routes,
    drill_routes,
    erasure_routes,
    hold_routes,
    notice_routes,
    plan_routes,
    problems,
    receipt_routes,
    restore_routes,
    routes,
    snapshot_routes,
    upload_routes,
)
from archiver.api.access import SignedIn
from archiver.api.edge import Edge
from archiver.api.health import Health
from archiver.archive import Archive
from archiver.auth import Hub
from archiver.errors import PublicError
from archiver.ledger.store import Moved

__all__ = ["create_app"]

_BODY_BYTES = 2**20  # 200 files are told of at once


def create_app(archive: Archive, hub: Hub, signed_in: SignedIn | None = None) -> FastAPI:
    """The API over one archive, with identities from `hub`; `signed_in`: those of browsers, where pages stand beside it."""
    app = FastAPI(
        title="Névé archiver",
        summary="Datasets, where their copies are, and how they come back.",
        version=version("neve"),
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.downloads = download_routes.Slots(archive.settings.api.downloads_at_once)
    app.state.archive, app.state.hub, app.state.health = archive, hub, Health(archive)
    app.state.signed_in = signed_in
    app.include_router(catalog_routes.api)
    app.include_router(download_routes.api)
    app.include_router(routes.api)
    app.include_router(restore_routes.api)
    app.include_router(hold_routes.api)
    app.include_router(notice_routes.api)
    app.include_router(plan_routes.api)
    app.include_router(announcement_routes.api)
    app.include_router(drill_routes.api)
    app.include_router(erasure_routes.api)
    app.include_router(receipt_routes.api)
    app.include_router(upload_routes.api)
    app.include_router(snapshot_routes.api)
    app.include_router(routes.outside)
    for kind in (PublicError, RequestValidationError, HTTPException, Moved):
        app.add_exception_handler(kind, problems.respond)
    headers = {"Cache-Control": "no-store", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"}
    app.add_middleware(Edge, respond=problems.respond, headers=headers, body_bytes=_BODY_BYTES)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    app.state.health.close()


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
        app.openapi_schema = dict(problems.mend_openapi(document))
    return app.openapi_schema

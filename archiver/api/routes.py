"""The routes of `/api/v1`, and `/health`.

Law: who may see what is part of each query; another project's number has the same answer as one that does not exist.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from archiver import credentials, describe, restore
from archiver.api import access, listing, models
from archiver.api.access import Anybody, Here, Reader, Restorer
from archiver.api.health import Health
from archiver.api.problems import Internal, declared
from archiver.errors import Ambiguous, Conflict, HubUnavailable, LedgerUnavailable, NotAllowed, NotFound, NotSignedIn, StoreUnavailable, WrongUse
from archiver.ledger.browse import Query as DatasetsThat

ALWAYS = (NotSignedIn, NotAllowed, WrongUse, Internal, LedgerUnavailable, HubUnavailable)

api = APIRouter(prefix="/api/v1", responses=declared(*ALWAYS))
outside = APIRouter()

_NOT_FOUND = declared(NotFound)


@api.get("/me", tags=["me"])
def me(who: Anybody, archive: Here) -> models.Me:
    """Whom the token stands for. Needs no scope but access to the archiver."""
    with archive.ledger.read() as tx:
        known = [name for name, _ in access.known_projects(tx, who)]
    return models.Me(name=who.name, admin=who.admin, projects=known, scopes=sorted(who.scopes))


@api.get("/projects", tags=["me"])
def projects(who: Reader, archive: Here) -> models.Projects:
    """The projects whose data you may see. Scope `custom:archiver:read`."""
    with archive.ledger.read() as tx:
        return models.Projects(items=[models.Project(name=name, title=title) for name, title in access.known_projects(tx, who)])


@api.get("/datasets", tags=["datasets"], response_model=models.Datasets)
def datasets(who: Reader, archive: Here, asked: Annotated[models.DatasetQuery, Query()]) -> dict[str, Any]:
    """Datasets that you may see, newest data first. Scope `custom:archiver:read`."""
    query = DatasetsThat(
        projects=who.projects,
        text=asked.q,
        name=asked.name,
        project=asked.project,
        instrument=asked.instrument,
        tier=asked.tier,
        state=asked.state,
        since=asked.since,
        until=asked.until,
    )
    with archive.ledger.read() as tx:
        page = listing.datasets(tx, archive.settings, query, asked.limit, asked.cursor)
        return {"items": page.items, "next_cursor": page.next_cursor, "total": tx.count(query)}


@api.get("/datasets/{dataset_id}", tags=["datasets"], response_model=models.Dataset, responses=_NOT_FOUND)
def dataset(who: Reader, archive: Here, dataset_id: models.Id) -> dict[str, Any]:
    """One dataset. Scope `custom:archiver:read`."""
    with archive.ledger.read() as tx:
        return describe.datasets(tx, archive.settings, [access.visible_dataset(tx, who, dataset_id)])[0]


@api.get("/datasets/{dataset_id}/files", tags=["datasets"], response_model=models.Files, responses=_NOT_FOUND)
def files(who: Reader, archive: Here, dataset_id: models.Id, asked: Annotated[models.PageQuery, Query()]) -> dict[str, Any]:
    """A dataset's files with their copies and proofs. Scope `custom:archiver:read`."""
    with archive.ledger.read() as tx:
        page = listing.files(tx, archive.settings, access.visible_dataset(tx, who, dataset_id).id, asked.limit, asked.cursor)
        return {"items": page.items, "next_cursor": page.next_cursor}


@api.get("/datasets/{dataset_id}/events", tags=["datasets"], response_model=models.Events, responses=_NOT_FOUND)
def events(who: Reader, archive: Here, dataset_id: models.Id, asked: Annotated[models.PageQuery, Query()]) -> dict[str, Any]:
    """A dataset's history. Scope `custom:archiver:read`."""
    with archive.ledger.read() as tx:
        page = listing.events(tx, access.visible_dataset(tx, who, dataset_id).id, asked.limit, asked.cursor)
        return {"items": page.items, "next_cursor": page.next_cursor}


@api.post("/restores", tags=["restores"], status_code=201, response_model=models.Restore, responses=declared(NotFound, Ambiguous, Conflict))
def ask_restore(request: Request, response: Response, who: Restorer, archive: Here, asked: models.RestoreAsked) -> dict[str, Any]:
    """Bring a dataset, or files of it, back to hot. An equal restore of yours that is still under way is joined. Scope `custom:archiver:restore`."""
    made = restore.request(archive, who.name, asked.dataset, asked.files, asked.days, who.projects)
    response.headers["Location"] = f"{request.scope.get('root_path', '')}/api/v1/restores/{made.id}"
    with archive.ledger.read() as tx:
        return describe.restores(tx, [tx.restore(made.id)])[0]


@api.get("/restores", tags=["restores"], response_model=models.Restores, responses=_NOT_FOUND)
def restores(who: Reader, archive: Here, asked: Annotated[models.RestoreQuery, Query()]) -> dict[str, Any]:
    """Restores of datasets that you may see, newest first. Scope `custom:archiver:read`."""
    with archive.ledger.read() as tx:
        if asked.dataset is not None:
            access.visible_dataset(tx, who, asked.dataset)
        found = tx.restores(who.projects, asked.dataset, who.name if asked.mine else None, asked.limit)
        return {"items": describe.restores(tx, found)}


@api.get("/restores/{restore_id}", tags=["restores"], response_model=models.Restore, responses=_NOT_FOUND)
def one_restore(who: Reader, archive: Here, restore_id: models.Id) -> dict[str, Any]:
    """One restore and what it has reached. Scope `custom:archiver:read`."""
    with archive.ledger.read() as tx:
        return describe.restores(tx, [access.visible_restore(tx, who, restore_id)])[0]


@api.post("/restores/{restore_id}/cancel", tags=["restores"], response_model=models.Restore, responses=declared(NotFound, Conflict))
def cancel_restore(who: Restorer, archive: Here, restore_id: models.Id) -> dict[str, Any]:
    """Take a restore of yours back: what is not begun stops, and its claim on hot ends. Scope `custom:archiver:restore`."""
    with archive.ledger.read() as tx:
        access.visible_restore(tx, who, restore_id)
    ended = restore.cancel(archive, who.name, restore_id, who.projects, admin=who.admin)
    with archive.ledger.read() as tx:
        return describe.restores(tx, [tx.restore(ended.id)])[0]


@api.post(
    "/credentials", tags=["credentials"], responses=declared(NotFound, StoreUnavailable, LedgerUnavailable, HubUnavailable, credentials.NotConfigured)
)
def keys(who: Reader, archive: Here, asked: models.CredentialsAsked) -> models.Keys:
    """Short-lived S3 keys that read one project's data in hot and archive. Scope `custom:archiver:read`."""
    with archive.ledger.read() as tx:
        if asked.project not in {name for name, _ in access.known_projects(tx, who)}:
            raise NotFound("There is no such project among yours.", "GET projects lists them.")
    given = credentials.credentials(archive, asked.project, who.name)
    return models.Keys(**{name: getattr(given, name) for name in models.Keys.model_fields})


@outside.get("/health", tags=["health"], response_model=models.Health, responses={503: {"model": models.Health, "description": "Something is ill."}})
def health(request: Request) -> JSONResponse:
    """Whether ledger, stores and worker do their part. Needs no token."""
    probes: Health = request.app.state.health
    found = probes.look()
    return JSONResponse(found.model_dump(), 200 if found.status == "ok" else 503)

"""The routes of `/api/v1`, and `/health`.

Law: who may see what is part of each query; another project's number has the same answer as one that does not exist.
"""

from __future__ import annotations

import base64
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from archiver import auth, contents, credentials, describe
from archiver.api import access, listing, models
from archiver.api.access import Anybody, Here, Program, Reader
from archiver.api.health import Health
from archiver.api.problems import Internal, declared
from archiver.errors import HubUnavailable, LedgerUnavailable, NotAllowed, NotFound, NotSignedIn, StoreUnavailable, WrongUse
from archiver.model import Project

ALWAYS = (NotSignedIn, NotAllowed, WrongUse, Internal, LedgerUnavailable, HubUnavailable)

api = APIRouter(prefix="/api/v1", responses=declared(*ALWAYS))
outside = APIRouter()

_NOT_FOUND = declared(NotFound)


@api.get("/me", tags=["me"])
def me(who: Anybody, archive: Here) -> models.Me:
    """Whom the token stands for. Needs no scope but access to the archiver."""
    with archive.ledger.read() as tx:
        known = [project.name for project in access.known_projects(tx, who) if who.belongs(project.name)]
    return models.Me(
        name=who.name, admin=who.admin, projects=known, scopes=sorted(who.scopes), team_notebooks=archive.settings.team.bucket is not None
    )


@api.get("/projects", tags=["me"])
def projects(who: Reader, archive: Here) -> models.Projects:
    """The projects whose data you may see. Scope `custom:archiver:read`."""
    with archive.ledger.read() as tx:
        known = access.known_projects(tx, who)
    return models.Projects(items=[_project(project, member=who.belongs(project.name)) for project in known])


def _project(project: Project, *, member: bool) -> models.Project:
    told = set(models.Project.model_fields) - {"member", "quota_bytes"}
    return models.Project(member=member, quota_bytes=project.quota_bytes if member else None, **{name: getattr(project, name) for name in told})


@api.get("/datasets/{dataset_id}", tags=["datasets"], response_model=models.Dataset, responses=_NOT_FOUND)
def dataset(who: Reader, archive: Here, dataset_id: models.Id) -> dict[str, Any]:
    """One dataset. Scope `custom:archiver:read`."""
    with archive.ledger.read() as tx:
        return describe.datasets(tx, archive.settings, [access.visible_dataset(tx, who, dataset_id)], own=who.projects)[0]


@api.get("/datasets/{dataset_id}/files", tags=["datasets"], response_model=models.Files, responses=_NOT_FOUND)
def files(who: Reader, archive: Here, dataset_id: models.Id, asked: Annotated[models.PageQuery, Query()]) -> dict[str, Any]:
    """A dataset's files with their copies and proofs. Scope `custom:archiver:read`."""
    with archive.ledger.read() as tx:
        page = listing.files(tx, archive.settings, access.visible_dataset(tx, who, dataset_id).id, asked.limit, asked.cursor)
        return {"items": page.items, "next_cursor": page.next_cursor}


@api.get("/files/{file_id}/preview", tags=["datasets"], response_model=models.Preview, responses=declared(NotFound, StoreUnavailable))
def preview(who: Reader, archive: Here, file_id: models.Id) -> dict[str, Any]:
    """What there is to see of a file, in whatever tier it is. Scope `custom:archiver:read`."""
    with archive.ledger.read() as tx:
        found, file = access.visible_file(tx, who, file_id)
    seen = contents.preview(archive, found, file)
    if seen is None:
        raise NotFound(f"There is no preview of {file.path}.", "Read the file itself.")
    return {"png_base64": base64.b64encode(seen.png).decode() if seen.png else None, "plot": seen.plot}


@api.get("/datasets/{dataset_id}/events", tags=["datasets"], response_model=models.Events, responses=_NOT_FOUND)
def events(who: Reader, archive: Here, dataset_id: models.Id, asked: Annotated[models.PageQuery, Query()]) -> dict[str, Any]:
    """A dataset's history. Scope `custom:archiver:read`."""
    with archive.ledger.read() as tx:
        page = listing.events(tx, access.visible_dataset(tx, who, dataset_id).id, asked.limit, asked.cursor)
        return {"items": page.items, "next_cursor": page.next_cursor}


@api.post(
    "/credentials", tags=["credentials"], responses=declared(NotFound, StoreUnavailable, LedgerUnavailable, HubUnavailable, credentials.NotConfigured)
)
def keys(who: Program, archive: Here, asked: models.CredentialsAsked) -> models.Keys:
    """Short-lived S3 keys of one project. Scope `custom:archiver:read`: they read its data in hot and archive. `"for": "team"`, scope
    `custom:archiver:ingest` too: they read and write its team notebooks, which take a member even where the data are public."""
    team = asked.purpose == "team"
    if team:
        who.need(auth.INGEST)
    with archive.ledger.read() as tx:
        known = {project.name for project in access.known_projects(tx, who)}
    if asked.project not in known or (team and not who.belongs(asked.project)):
        raise NotFound("There is no such project among yours.", "GET projects lists them.")
    given = (credentials.team_credentials if team else credentials.credentials)(archive, asked.project, who.name)
    return models.Keys(**{name: getattr(given, name) for name in models.Keys.model_fields})


@outside.get("/health", tags=["health"], response_model=models.Health, responses={503: {"model": models.Health, "description": "Something is ill."}})
def health(request: Request) -> JSONResponse:
    """Whether ledger, stores and worker do their part. Needs no token."""
    probes: Health = request.app.state.health
    found = probes.look()
    return JSONResponse(found.model_dump(), 200 if found.status == "ok" else 503)

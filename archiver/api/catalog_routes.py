"""`/api/v1/datasets`, searched, and what people say of datasets; `/api/v1/catalog.yaml`.

Law: who may see what is part of each query: neither a count, nor a facet, nor a completion tells of another project's data.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from archiver import describe, remark
from archiver.api import access, listing, models
from archiver.api.access import Here, Reader, Restorer, Searcher
from archiver.api.models import Asked, Text, Time
from archiver.api.problems import declared
from archiver.api.routes import ALWAYS
from archiver.api.searches import META, PageOfSearch, SearchQuery
from archiver.errors import Conflict, NotFound, WrongUse
from archiver.ledger.counting import COUNTED

api = APIRouter(prefix="/api/v1", tags=["datasets"], responses=declared(*ALWAYS))

_NOT_FOUND = declared(NotFound)
_Tags = Annotated[list[Text], Field(max_length=remark.TAGS_MOST)]


class FacetValue(BaseModel):
    """A value, and how many of the datasets that fit have it."""

    value: str
    count: int = Field(description="Counted up to 10,000.")
    more: bool = Field(description='Whether there are more than that ("10,000+").')


class Facets(BaseModel):
    """The most frequent values of each facet, at most 200; months and years latest first. What words, tags and numbers leave is counted among its
    newest 10,000, tags of more datasets among the newest 2,000: then each value has `more`."""

    project: list[FacetValue]
    instrument: list[FacetValue]
    tier: list[FacetValue]
    format: list[FacetValue]
    year: list[FacetValue]
    month: list[FacetValue] = Field(description="As `2026-03`; without words, tags and numbers the latest 24.")
    tag: list[FacetValue]


class Completed(BaseModel):
    """What begins with the prefix, in order."""

    names: list[str] = Field(description="Of datasets; full ones where the prefix has a slash.")
    tags: list[str]
    fields: list[str] = Field(description="Of metadata, to be asked for by `meta.FIELD`.")
    near: list[str] = Field(description="Where no dataset is called so: up to three full names that look like it.")


class CompleteQuery(Asked):
    """What is typed so far."""

    prefix: Text = Field("", description="Names and tags begin with it, byte by byte; fields case aside.")
    limit: int = Field(10, ge=1, le=50, description="Most of each.")


class DatasetChange(Asked):
    """What is said of a dataset anew; what is left out stays."""

    tags: _Tags | None = Field(None, description="From now on these, and no others.")
    add_tags: _Tags = Field([], description="Also these.")
    remove_tags: _Tags = Field([], description="These no longer.")
    comment: Annotated[str, Field(strict=True, max_length=2 * remark.COMMENT_CHARACTERS)] | None = Field(
        None, description="One more comment: plain text of 1 to 4,000 characters."
    )


class CommentText(Asked):
    """A comment, or its new text."""

    text: Annotated[str, Field(strict=True, max_length=2 * remark.COMMENT_CHARACTERS)] = Field(description="Plain text of 1 to 4,000 characters.")


class Comment(BaseModel):
    """What a person says of a dataset."""

    id: int
    dataset_id: int
    user: str
    text: str = Field(description="Plain text, never markup.")
    created_at: Time
    changed_at: Time | None


class Comments(BaseModel):
    """A page of comments, oldest first."""

    items: list[Comment]
    next_cursor: str | None


class Relative(BaseModel):
    """A dataset of a family."""

    id: int
    full_name: str
    project: str
    title: str | None
    state: str


class Edge(BaseModel):
    """One dataset was made of another."""

    dataset_id: int
    derived_from_id: int


class Lineage(BaseModel):
    """Where a dataset comes from, and what was made of it, as far as you may see; what you may not is left out, with what lies behind it."""

    dataset: Relative
    ancestors: list[Relative] = Field(description="What it was made of, nearest first.")
    descendants: list[Relative] = Field(description="What was made of it, nearest first.")
    edges: list[Edge]
    cut: bool = Field(description="Whether there are more than 500, or 20 generations, on a side.")


@api.get("/datasets", response_model=models.Datasets, openapi_extra={"parameters": [META]})
def datasets(who: Searcher, archive: Here, asked: Annotated[PageOfSearch, Query()]) -> Response:
    """Datasets that you may see, newest data first unless another order is asked for. Beside the parameters that are named, any field of the metadata
    can be asked for by `meta.FIELD=CONDITION`. Scope `custom:archiver:read`."""
    with archive.ledger.read() as tx:
        query = asked.query(access.sighted(tx, who))
        page = listing.datasets(tx, archive.settings, query, asked.limit, asked.cursor, asked.sort, own=who.projects)
        total = tx.count(query)
    return models.answer({"items": page.items, "next_cursor": page.next_cursor, "total": min(total, COUNTED), "total_more": total > COUNTED})


@api.get("/datasets/facets", response_model=Facets, openapi_extra={"parameters": [META]})
def facets(who: Searcher, archive: Here, asked: Annotated[SearchQuery, Query()]) -> Response:
    """How many of the datasets that fit have which project, instrument, tier, format, time and tag. Scope `custom:archiver:read`."""
    with archive.ledger.read() as tx:
        query = asked.query(access.sighted(tx, who))
        listing.see_sense(archive.settings, query)
        found = tx.facets(query)
    return models.answer({name: [{"value": one.value, "count": one.count, "more": one.more} for one in values] for name, values in found.items()})


@api.get("/datasets/complete", response_model=Completed)
def complete(who: Searcher, archive: Here, asked: Annotated[CompleteQuery, Query()]) -> dict[str, Any]:
    """Names of datasets, tags and fields of metadata that begin with what is typed so far. Scope `custom:archiver:read`."""
    with archive.ledger.read() as tx:
        readable = access.sighted(tx, who).readable
        found = tx.complete(asked.prefix, readable, asked.limit)
        near = [] if found.names or not asked.prefix else tx.near(asked.prefix, readable)
    return {"names": found.names, "tags": found.tags, "fields": found.fields, "near": near}


@api.patch("/datasets/{dataset_id}", response_model=models.Dataset, responses=declared(NotFound, Conflict, WrongUse))
def change(who: Restorer, archive: Here, dataset_id: models.Id, asked: DatasetChange) -> dict[str, Any]:
    """Tag a dataset of your projects, or comment on it. Scope `custom:archiver:restore`."""
    with archive.ledger.read() as tx:
        access.own_dataset(tx, who, dataset_id)
    remark.say(archive, who.name, dataset_id, only=asked.tags, add=asked.add_tags, remove=asked.remove_tags, comment=asked.comment)
    with archive.ledger.read() as tx:
        return describe.datasets(tx, archive.settings, [tx.dataset(dataset_id)], own=who.projects)[0]


@api.get("/datasets/{dataset_id}/comments", response_model=Comments, responses=_NOT_FOUND)
def comments(who: Reader, archive: Here, dataset_id: models.Id, asked: Annotated[models.PageQuery, Query()]) -> dict[str, Any]:
    """A dataset's comments, oldest first. Scope `custom:archiver:read`."""
    with archive.ledger.read() as tx:
        access.visible_dataset(tx, who, dataset_id)
        found = tx.comments(dataset_id, listing.after(asked.cursor), asked.limit + 1)
    page = found[: asked.limit]
    return {"items": [vars(one) for one in page], "next_cursor": listing.following(page[-1].id) if len(found) > asked.limit else None}


@api.post("/datasets/{dataset_id}/comments", status_code=201, response_model=Comment, responses=declared(NotFound, Conflict))
def add_comment(who: Restorer, archive: Here, dataset_id: models.Id, asked: CommentText) -> dict[str, Any]:
    """Comment on a dataset of your projects. Scope `custom:archiver:restore`."""
    with archive.ledger.read() as tx:
        access.own_dataset(tx, who, dataset_id)
    return vars(remark.comment(archive, who.name, dataset_id, asked.text))


@api.patch("/datasets/{dataset_id}/comments/{comment_id}", response_model=Comment, responses=declared(NotFound, Conflict))
def change_comment(who: Restorer, archive: Here, dataset_id: models.Id, comment_id: models.Id, asked: CommentText) -> dict[str, Any]:
    """Give a comment of yours another text. Scope `custom:archiver:restore`."""
    with archive.ledger.read() as tx:
        access.own_dataset(tx, who, dataset_id)
        remark.comment_of(tx, comment_id, dataset_id)
    return vars(remark.change_comment(archive, who.name, comment_id, asked.text, admin=who.admin))


@api.delete("/datasets/{dataset_id}/comments/{comment_id}", status_code=204, responses=declared(NotFound, Conflict))
def remove_comment(who: Restorer, archive: Here, dataset_id: models.Id, comment_id: models.Id) -> None:
    """Remove a comment of yours; that there was one stays in the dataset's history. Scope `custom:archiver:restore`."""
    with archive.ledger.read() as tx:
        access.own_dataset(tx, who, dataset_id)
        remark.comment_of(tx, comment_id, dataset_id)
    remark.remove_comment(archive, who.name, comment_id, admin=who.admin)


@api.get("/datasets/{dataset_id}/lineage", response_model=Lineage, responses=_NOT_FOUND)
def lineage(who: Reader, archive: Here, dataset_id: models.Id) -> dict[str, Any]:
    """What a dataset was made of, and what was made of it. Scope `custom:archiver:read`."""
    with archive.ledger.read() as tx:
        found = access.visible_dataset(tx, who, dataset_id)
        family = remark.lineage(tx, found, who.readable)
    return {
        "dataset": found,
        "ancestors": family.ancestors,
        "descendants": family.descendants,
        "edges": [{"dataset_id": child, "derived_from_id": parent} for child, parent in family.edges],
        "cut": family.cut,
    }


@api.get("/catalog.yaml", response_class=Response, responses={200: {"content": {"application/yaml": {}}, "description": "An intake 2 catalog."}})
def catalog_yaml(who: Reader) -> Response:  # noqa: ARG001
    """The catalog as a file for intake 2: one entry, `neve`, that opens it. Address and token are those of whoever reads it: $NEVE_API_URL and
    $JUPYTERHUB_API_TOKEN, as every notebook has them. Scope `custom:archiver:read`."""
    return Response(json.dumps(_INTAKE, indent=1), media_type="application/yaml")  # JSON is YAML, too


_INTAKE = {
    "version": 2,
    "aliases": {"neve": "neve"},
    "data": {},
    "entries": {
        "neve": {
            "kwargs": {},
            "metadata": {"description": "All datasets that you may read."},
            "output_instance": "neve.intake_catalog:NeveCatalog",
            "reader": "neve.intake_catalog:CatalogReader",
            "user_parameters": {},
        }
    },
    "metadata": {},
    "user_parameters": {},
}

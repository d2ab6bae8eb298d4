"""`/api/v1/datasets/{id}/download`, `…/links` and `/api/v1/files/{id}/content`: taking data home.

Law: an answer that streams holds one of its user's few slots until it ends, however it ends; a client that goes away ends it.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, StreamingResponse

from archiver import download
from archiver.api import access, listing, models
from archiver.api.access import Here, Reader
from archiver.api.models import Asked, Text, Time
from archiver.api.problems import declared
from archiver.api.routes import ALWAYS
from archiver.archive import Archive
from archiver.download import Listed, Place, Wanted
from archiver.errors import ColdData, Conflict, NotFound, PublicError, StoreUnavailable, TooMany, WrongUse

api = APIRouter(prefix="/api/v1", tags=["download"], responses=declared(*ALWAYS))


class NoSuchRange(PublicError):
    """The file has no byte of that range."""

    code = "wrong-use"
    title = "The request is not right"
    status = 416


_Answers = dict[int | str, dict[str, Any]]
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
_Paths = Annotated[list[Text], Field(max_length=100, description="Path of a file, or a glob that paths match; may be repeated. None: all.")]


class Slots:
    """How many answers stream to each user."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, user: str) -> None:
        """Raises `TooMany`."""
        with self._lock:
            if self._held[user] >= self._most:
                raise TooMany(f"{self._most} downloads of yours are under way, and no more go on at once.", "Wait until one has ended, or end it.")
            self._held[user] += 1

    def give_back(self, user: str) -> None:
        with self._lock:
            self._held[user] -= 1
            if not self._held[user]:
                del self._held[user]

    def held(self, user: str) -> int:
        """How many stream to this user just now."""
        return self._held[user]


class DownloadQuery(Asked):
    """What of a dataset is meant."""

    path: _Paths = Field(default_factory=list)


class LinksQuery(DownloadQuery):
    """The same, as a list."""

    format: Literal["json", "aria2", "urls"] = Field("json", description="`aria2`: for `aria2c -i`, with names and checksums; `urls`: a link a line.")
    cursor: Text | None = Field(None, description="`next_cursor` of the page before (json).")
    limit: int = Field(200, ge=1, le=1000, description="Most items to answer (json).")


class FileLink(BaseModel):
    """A file, and a link that reads it until it expires. Whoever has the link can read: it is a secret."""

    file_id: int
    path: str
    size_bytes: int
    sha256: str = Field(description="Hexadecimal.")
    url: str
    range: str | None = Field(description="The Range header with which to ask, where the file stands in a bundle.")
    expires_at: Time


class Links(BaseModel):
    """A page of links."""

    items: list[FileLink]
    next_cursor: str | None


_ZIP: _Answers = {200: {"content": {"application/zip": {}}, "description": "A ZIP64 of stored files, in a folder of the dataset's name."}}
_LIST: _Answers = {200: {"content": {"application/json": {}, "text/plain": {}}, "description": "The links."}}
_BYTES: _Answers = {
    200: {"content": {"application/octet-stream": {}}, "description": "The bytes."},
    206: {"content": {"application/octet-stream": {}}, "description": "Those that Range asks for."},
    307: {"description": "Where the bytes are, for a short time; ask there with the same Range and without the token."},
}


@api.get(
    "/datasets/{dataset_id}/download",
    response_class=Response,
    responses={**_ZIP, **declared(NotFound, WrongUse, ColdData, Conflict, TooMany, StoreUnavailable)},
)
def download_dataset(
    request: Request, who: Reader, archive: Here, dataset_id: models.Id, asked: Annotated[DownloadQuery, Query()]
) -> StreamingResponse:
    """A dataset, or some of its files, as one ZIP, if all of it can be read now. Scope `custom:archiver:read`."""
    with archive.ledger.read() as tx:
        found = access.visible_dataset(tx, who, dataset_id)
        wanted = Wanted(found, asked.path)
        download.see(tx, archive.settings, wanted)
    headers = kept_as(f"{download.safe_name(found.name)}.zip")
    return streamed(request, who.name, download.zipped(archive, [wanted]), "application/zip", headers)


def kept_as(name: str) -> dict[str, str]:
    """The header by which a browser keeps what comes in a file of this name."""
    return {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}


@api.get(
    "/datasets/{dataset_id}/links",
    response_class=Response,
    response_model=Links,
    responses={**_LIST, **declared(NotFound, WrongUse, ColdData, Conflict, TooMany, StoreUnavailable)},
)
def links(request: Request, who: Reader, archive: Here, dataset_id: models.Id, asked: Annotated[LinksQuery, Query()]) -> Response:
    """Links by which any program reads a dataset's files straight from the store, for a while. Scope `custom:archiver:read`."""
    after = listing.after(asked.cursor)
    with archive.ledger.read() as tx:
        wanted = Wanted(access.visible_dataset(tx, who, dataset_id), asked.path)
        if asked.format != "json":
            bundled = download.see(tx, archive.settings, wanted)
            if bundled:
                raise Conflict(f"{bundled} of these files stand in bundles, which a plain list cannot name.", "Take the ZIP, or `format=json`.")
            return streamed(request, who.name, download.listed(archive, [wanted], Listed(asked.format)), "text/plain; charset=utf-8", {})
        if asked.cursor is None:
            download.see(tx, archive.settings, wanted)
        download.be_there(wanted.dataset)
        page = []
        for place in download.places(tx, archive.settings, wanted, after):
            page.append(place)
            if len(page) > asked.limit:
                break
        until = tx.at + archive.settings.api.link_valid
    items = [_link(archive, place, until) for place in page[: asked.limit]]
    following = listing.following(items[-1].file_id) if len(page) > asked.limit else None
    return Response(Links(items=items, next_cursor=following).model_dump_json(), media_type="application/json")


def _link(archive: Archive, place: Place, until: Any) -> FileLink:
    file, offset = place.file, place.offset_bytes
    return FileLink(
        file_id=file.id,
        path=file.path,
        size_bytes=file.size_bytes,
        sha256=file.sha256 or "",
        url=download.link(archive, place).url,
        range=None if offset is None or not file.size_bytes else f"bytes={offset}-{offset + file.size_bytes - 1}",
        expires_at=until,
    )


@api.get(
    "/files/{file_id}/content",
    response_class=Response,
    responses={**_BYTES, **declared(NotFound, ColdData, NoSuchRange, TooMany, StoreUnavailable)},
)
def content(request: Request, who: Reader, archive: Here, file_id: models.Id) -> Response:
    """A file's bytes: a redirect to the store, or, where it stands in a bundle, the bytes themselves. Range is respected.

    Scope `custom:archiver:read`.
    """
    with archive.ledger.read() as tx:
        found, file = access.visible_file(tx, who, file_id)
        place = download.one(tx, archive.settings, found, file)
    name = download.safe_name(file.path).rpartition("/")[2]
    if place.offset_bytes is None:
        return RedirectResponse(download.link(archive, place, name).url, 307)
    headers = {**kept_as(name), "Accept-Ranges": "bytes", "ETag": f'"{file.sha256}"'}
    start, end = _span(request.headers.get("Range"), file.size_bytes)
    headers["Content-Length"] = str(end - start)
    partly = (start, end) != (0, file.size_bytes)
    if partly:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size_bytes}"
    body = download.content(archive, place, start, end - start) if partly else download.checked(archive, place)
    return streamed(request, who.name, body, "application/octet-stream", headers, 206 if partly else 200)


def _span(asked: str | None, size: int) -> tuple[int, int]:
    """First byte, and the one after the last; what cannot be read as one range means all. Raises `NoSuchRange`."""
    found = _RANGE.fullmatch((asked or "").strip())
    if found is None or not any(found.groups()):
        return 0, size
    first, last = found.groups()
    start = max(size - int(last), 0) if not first else int(first)
    end = size if not first or not last else min(int(last) + 1, size)
    if start >= end:
        raise NoSuchRange(f"The file has {size} bytes: that range is none of it.", "Ask for bytes that are there.")
    return start, end


def streamed(request: Request, user: str, chunks: Iterator[bytes], media_type: str, headers: dict[str, str], status: int = 200) -> StreamingResponse:
    """An answer that is made while it goes out, in one of its user's slots. Raises `TooMany`."""
    slots: Slots = request.app.state.downloads
    slots.take(user)
    return _Streamed(_flowing(chunks), lambda: slots.give_back(user), status, headers, media_type)


class _Streamed(StreamingResponse):
    """A stream that gives its slot back whatever becomes of it, begun or not."""

    def __init__(self, chunks: AsyncIterator[bytes], ended: Any, status: int, headers: dict[str, str], media_type: str) -> None:
        super().__init__(chunks, status, headers, media_type)
        self._chunks, self._ended = chunks, ended

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ended()


async def _flowing(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Chunks that are made in a thread, one at a time: no more than one waits for a slow client."""
    try:
        while (chunk := await run_in_threadpool(next, chunks, None)) is not None:
            if chunk:
                yield chunk
    finally:
        if isinstance(chunks, Generator):
            chunks.close()

"""`/api/v1/datasets/{id}/uploads` and what belongs to it: how instruments, and people, send data.

Law: the bytes go straight to the store, by requests that are signed for one key, one size and a short time; here only what is to be sent,
and that it was, is told. Each request can be repeated: it says again how things stand.
"""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import AfterValidator, BaseModel, Field

from archiver import bundle, upload
from archiver.api import access, listing, models
from archiver.api.access import Here, Instrument, Sending
from archiver.api.models import Asked, Time
from archiver.api.problems import declared
from archiver.api.routes import ALWAYS
from archiver.errors import (
    Ambiguous,
    ChecksumMismatch,
    Conflict,
    ForeignObject,
    NotAllowed,
    NotFound,
    ReceptionFull,
    SnapshotInTheWay,
    StoreUnavailable,
    TooLarge,
    WrongUse,
)
from archiver.ledger.receiving import Under
from archiver.model import Dataset, DatasetState, Proof, TransferState
from archiver.storage import Signed
from archiver.upload import Item, Sent, Wanted

api = APIRouter(prefix="/api/v1", tags=["reception"], responses=declared(*ALWAYS))

_MOST = 200
_MAX_BYTES = 5 * 2**40


def _is_text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("it is no UTF-8; give the path's bytes as path_base64") from None
    return value


Name = Annotated[str, Field(min_length=1, max_length=200)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="Hexadecimal.")]
PathText = Annotated[Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_is_text)] | None, Field(description="`/`-separated.")]
PathBytes = Annotated[str | None, Field(max_length=8192, description="The path's bytes, where they are no UTF-8.")]
Size = Annotated[int, Field(strict=True, ge=0, le=_MAX_BYTES * 1000)]
Version = Annotated[str | None, Field(pattern=r"^[A-Za-z0-9._-]{1,1024}$", description="The version that the store answered a PUT of the whole.")]
FileId = Annotated[int, Field(strict=True, ge=1, le=2**53 - 1)]


class AskedDataset(Asked):
    """Which dataset is meant; it is opened when there is none of this name."""

    name: Name = Field(description="Unique per instrument, for ever.")
    project: Name | None = Field(None, description="May be left out where the key's rule names exactly one.")
    instrument: Name | None = Field(
        None, description="For tokens of the hub only; a key is its instrument's. Left out by a person: a result that they publish."
    )
    title: Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_is_text)] | None = Field(
        None, description="What a person calls a result; it stays. For tokens of the hub only."
    )
    derived_from: list[Name] = Field(
        [], max_length=100, description="Datasets that it is made of: names, full names or numbers; of what you may read. For tokens of the hub only."
    )


class OpenDataset(BaseModel):
    """A dataset that one may send to."""

    id: int
    name: str
    full_name: str = Field(description="`instrument/name`.")
    project: str
    instrument: str
    state: Literal["open", "closing", "closed", "erased"]


class WantedFile(Asked):
    """A file that shall be sent."""

    path: PathText = None
    path_base64: PathBytes = None
    size_bytes: Size
    mtime: Time | None = None
    mark: str = Field(min_length=1, max_length=200, description="The same as long as the source is the same file; such as `size:mtime_ns`.")
    sha256: Sha256 | None = None


class WantedFiles(Asked):
    """Files of one dataset."""

    files: list[WantedFile] = Field(min_length=1, max_length=_MOST)
    packs: bool = Field(False, description="Whether small files may be answered with `pack`: to be sent together.")


class SignedRequest(BaseModel):
    """An HTTP PUT that may be made until it ends, with exactly these headers and as many bytes as were told. It is a secret."""

    url: str
    headers: dict[str, str]


class PartRequest(SignedRequest):
    """The same for one part."""

    number: int


class PartDone(BaseModel):
    """A part that is there."""

    number: int
    size_bytes: int


class UploadItem(BaseModel):
    """What is to be done for a file."""

    file_id: int | None
    dataset_id: int = Field(description="The dataset it goes to: of those that continue this one, when it is closed.")
    path: str = Field(description="As it stands in the dataset: `path@v2` for other content under a known path.")
    state: Literal["known", "received", "verifying", "put", "parts", "pack"] = Field(
        description="`known`: one of this path and size is received, tell the SHA-256; `received`: this very content is; `verifying`: sent, "
        "being proven; `put`: send it by `put`; `parts`: send it in parts; `pack`: send it in the pack of this number."
    )
    put: SignedRequest | None = None
    part_bytes: int | None = Field(None, description="Size of each part but the last.")
    done: list[PartDone] = Field([], description="Parts that are there already.")
    pack_id: int | None = None


class PackMember(BaseModel):
    """A file in a pack."""

    file_id: int
    path: str = Field(description="The name in its header.")
    path_base64: str | None = Field(None, description="The path's bytes, where they are no UTF-8.")
    size_bytes: int
    mtime_s: int = Field(description="The time in its header, in seconds since 1970.")
    offset_bytes: int = Field(description="Where its bytes begin.")


class Pack(BaseModel):
    """Small files that are sent by one PUT, as an uncompressed tar.

    For each member, in this order: a header (POSIX.1-2001 pax, as Python's `tarfile` writes it: name, size and time as told, mode 0444, all else
    empty), its bytes, zeros up to a multiple of 512; then 1024 zeros.
    """

    pack_id: int
    dataset_id: int
    size_bytes: int
    put: SignedRequest
    members: list[PackMember]


class UploadItems(BaseModel):
    """In the order in which they were asked for, and the packs in which some of them are to be sent."""

    items: list[UploadItem]
    packs: list[Pack]


class AskedParts(Asked):
    """Which parts of a file."""

    numbers: list[Annotated[int, Field(strict=True, ge=1, le=10_000)]] = Field(min_length=1, max_length=100)


class PartRequests(BaseModel):
    """A request for each part."""

    items: list[PartRequest]


class SentFile(Asked):
    """That all of a file was sent."""

    file_id: FileId
    sha256: Sha256
    version_id: Version = None


class SentFiles(Asked):
    """Files of one dataset."""

    files: list[SentFile] = Field(min_length=1, max_length=_MOST)


class DoneItem(BaseModel):
    """How a file stands now."""

    file_id: int
    state: Literal["verifying", "received", "missing"] = Field(description="`missing`: not all of it is there; ask again how it is sent.")


class DoneItems(BaseModel):
    """In the order in which they were told of."""

    items: list[DoneItem]


class PackedFile(Asked):
    """A file that was sent in a pack."""

    file_id: FileId
    sha256: Sha256


class SentPack(Asked):
    """All of a pack's files."""

    files: list[PackedFile] = Field(min_length=1, max_length=_MOST)
    version_id: Version = None


class PackStands(BaseModel):
    """How a pack stands now."""

    pack_id: int
    state: Literal["verifying", "received", "missing"] = Field(description="`missing`: not all of it is there; ask again how its files are sent.")


class ComingFile(BaseModel):
    """A file that is not received."""

    file_id: int
    dataset_id: int
    path: str
    path_base64: str | None = Field(None, description="The path's bytes, where they are no UTF-8.")
    state: Literal["sending", "verifying", "failed"]
    error: str | None


class StandingAnswer(BaseModel):
    """How far a dataset has come, with those that continue it."""

    received: int
    verifying: int
    sending: int = Field(description="Not all of them is sent, or what was sent was refused.")
    items: list[ComingFile]
    next_cursor: str | None


class OpenDatasets(BaseModel):
    """A dataset and those that continue it."""

    items: list[OpenDataset]


class ProvenCopy(BaseModel):
    """Where a file's bytes lie, and how that was proven."""

    tier: str
    place: str = Field(description="Site or provider.")
    proof: Proof
    proven_at: Time


class ReceivedFile(BaseModel):
    """The receipt of one file, as its sender needs it."""

    file_id: int
    path: str
    path_base64: str | None = Field(None, description="The path's bytes, where they are no UTF-8.")
    size_bytes: int
    sha256: str
    copies: list[ProvenCopy]


class ReceivedFiles(BaseModel):
    """A page of them."""

    items: list[ReceivedFile]
    next_cursor: str | None


class InstrumentAnswer(BaseModel):
    """Whose key this is, and what holds for it."""

    name: str
    projects: list[str] = Field(description="Globs of the projects it may send to.")
    file_max_bytes: int
    part_bytes: int = Field(description="Files up to this size are sent whole.")


class Report(Asked):
    """What an agent has waiting."""

    waiting: int = Field(strict=True, ge=0, le=10**9)
    oldest_waiting_s: Annotated[int, Field(strict=True, ge=0, le=10**10)] | None = None
    message: models.Text = ""


@api.get("/instrument", response_model=InstrumentAnswer)
def instrument(who: Instrument, archive: Here) -> dict[str, Any]:
    """Whose key this is. For an instrument's key only."""
    reception = archive.settings.reception
    return {
        "name": who.instrument,
        "projects": list(who.projects),
        "file_max_bytes": reception.file_max_bytes,
        "part_bytes": reception.parts_above_bytes,
    }


@api.post("/instrument/report", status_code=204)
def report(who: Instrument, archive: Here, said: Report) -> None:
    """What the instrument's agent has waiting; admins see it. For an instrument's key only."""
    with archive.ledger.begin(who.name) as tx:
        tx.see_instrument(str(who.instrument), said.model_dump())


@api.post("/datasets", response_model=OpenDataset, responses=declared(NotFound, NotAllowed, WrongUse, Ambiguous))
def open_dataset(who: Sending, archive: Here, asked: AskedDataset) -> dict[str, Any]:
    """Open a dataset, or find the one of this name. An instrument's key, or scope `custom:archiver:ingest`."""
    readable = access.sendable(archive, who)
    return _dataset(upload.open_dataset(archive, who, asked.name, asked.project, asked.instrument, asked.derived_from, readable, asked.title))


@api.post(
    "/datasets/{dataset_id}/uploads",
    response_model=UploadItems,
    responses=declared(NotFound, WrongUse, TooLarge, ReceptionFull, Conflict, ForeignObject, SnapshotInTheWay, StoreUnavailable),
)
def begin_uploads(who: Sending, archive: Here, dataset_id: models.Id, asked: WantedFiles) -> dict[str, Any]:
    """Write files down and say how each is sent: all of them, or none. An instrument's key, or scope `custom:archiver:ingest`."""
    wanted = [Wanted(path_of(one.path, one.path_base64), one.size_bytes, one.mtime, one.mark, one.sha256) for one in asked.files]
    items = upload.begin(archive, who, dataset_id, wanted, packs=asked.packs)
    packs = {item.pack.number: item.pack for item in items if item.pack is not None}
    return {"items": [_item(item) for item in items], "packs": [_pack(pack) for pack in packs.values()]}


@api.post("/datasets/{dataset_id}/uploads/done", response_model=DoneItems, responses=declared(NotFound, ChecksumMismatch, StoreUnavailable))
def uploads_done(who: Sending, archive: Here, dataset_id: models.Id, said: SentFiles) -> dict[str, Any]:
    """Say that all of these files was sent: from now on they are proven. An instrument's key, or scope `custom:archiver:ingest`."""
    states = upload.done(archive, who, dataset_id, [Sent(one.file_id, one.sha256, one.version_id) for one in said.files])
    return {"items": [{"file_id": one.file_id, "state": states[one.file_id]} for one in said.files]}


@api.post(
    "/datasets/{dataset_id}/packs/{pack_id}/done",
    response_model=PackStands,
    responses=declared(NotFound, Conflict, WrongUse, ChecksumMismatch, StoreUnavailable),
)
def pack_done(who: Sending, archive: Here, dataset_id: models.Id, pack_id: models.Id, said: SentPack) -> dict[str, Any]:
    """Say that all of a pack was sent: from now on it is proven. An instrument's key, or scope `custom:archiver:ingest`."""
    sums = {one.file_id: one.sha256 for one in said.files}
    if len(sums) != len(said.files):
        raise WrongUse("A file is told of twice.", "Tell the SHA-256 of each of the pack's files, once.")
    return {"pack_id": pack_id, "state": upload.pack_done(archive, who, dataset_id, pack_id, sums, said.version_id)}


@api.post(
    "/datasets/{dataset_id}/uploads/{file_id}/parts", response_model=PartRequests, responses=declared(NotFound, Conflict, WrongUse, StoreUnavailable)
)
def upload_parts(who: Sending, archive: Here, dataset_id: models.Id, file_id: models.Id, asked: AskedParts) -> dict[str, Any]:
    """Requests by which parts of a file are sent. An instrument's key, or scope `custom:archiver:ingest`."""
    requests = upload.parts(archive, who, dataset_id, file_id, asked.numbers)
    return {"items": [{"number": number, **signed(request)} for number, request in requests.items()]}


@api.delete("/datasets/{dataset_id}/uploads/{file_id}", status_code=204, responses=declared(NotFound, Conflict, StoreUnavailable))
def give_up(who: Sending, archive: Here, dataset_id: models.Id, file_id: models.Id) -> None:
    """A file that is on its way is not sent after all; one that was sent stays. An instrument's key, or scope `custom:archiver:ingest`."""
    upload.give_up(archive, who, dataset_id, file_id)


@api.get("/datasets/{dataset_id}/uploads", response_model=StandingAnswer, responses=declared(NotFound))
def standing(
    who: Sending, archive: Here, dataset_id: models.Id, cursor: models.Text | None = None, limit: Annotated[int, Query(ge=1, le=500)] = 200
) -> dict[str, Any]:
    """What of a dataset is received and what is not. An instrument's key, or scope `custom:archiver:ingest`."""
    found = upload.standing(archive, who, dataset_id, listing.after(cursor), limit)
    counts = {"received": found.received, "verifying": found.verifying, "sending": found.sending}
    items = [_coming(under) for under in found.items]
    return {**counts, "items": items, "next_cursor": listing.following(found.items[-1].file.id) if len(items) == limit else None}


@api.post("/datasets/{dataset_id}/close", response_model=OpenDatasets, status_code=202, responses=declared(NotFound, Conflict))
def close(who: Sending, archive: Here, dataset_id: models.Id) -> dict[str, Any]:
    """Have a dataset closed once all of it is proven; ask again to see whether it is. An instrument's key, or scope `custom:archiver:ingest`."""
    return {"items": [_dataset(found) for found in upload.close(archive, who, dataset_id)]}


@api.get("/datasets/{dataset_id}/receipts", response_model=ReceivedFiles, responses=declared(NotFound))
def receipts(
    who: Sending, archive: Here, dataset_id: models.Id, cursor: models.Text | None = None, limit: Annotated[int, Query(ge=1, le=500)] = 200
) -> dict[str, Any]:
    """What is received of one's own dataset, and where its proven copies lie. An instrument's key, or scope `custom:archiver:ingest`."""
    found = upload.receipts(archive, who, dataset_id, listing.after(cursor), limit)
    items = [
        {"file_id": file.id, **_named(file.path_raw), "size_bytes": file.size_bytes, "sha256": file.sha256, "copies": copies}
        for file, copies in found
    ]
    return {"items": items, "next_cursor": listing.following(found[-1][0].id) if len(found) == limit else None}


def path_of(path: str | None, path_base64: str | None) -> bytes:
    """Raises `WrongUse` unless a path is given in exactly one of its two forms."""
    if (path is None) == (path_base64 is None):
        raise WrongUse("A file has `path` or `path_base64`, one of the two.", "Give the path as text, or its bytes where they are no UTF-8.")
    if path is not None:
        return path.encode()
    try:
        return base64.b64decode(path_base64 or "", validate=True)
    except ValueError:  # binascii.Error is one, and what is no ASCII ends in another
        raise WrongUse("`path_base64` is no base64.", "Give the path's bytes in the standard alphabet, with padding.") from None


def _named(path_raw: bytes) -> dict[str, str]:
    try:
        return {"path": path_raw.decode()}
    except UnicodeDecodeError:
        return {"path": path_raw.decode("utf-8", "backslashreplace"), "path_base64": base64.b64encode(path_raw).decode()}


def _dataset(found: Dataset) -> dict[str, Any]:
    closing = found.state is DatasetState.OPEN and found.closing_at is not None
    return {
        "id": found.id,
        "name": found.name,
        "full_name": found.full_name,
        "project": found.project,
        "instrument": found.instrument,
        "state": "closing" if closing else found.state,
    }


def signed(request: Signed) -> dict[str, Any]:
    return {"url": request.url, "headers": dict(request.headers)}


def _item(item: Item) -> dict[str, Any]:
    return {
        "file_id": item.file_id,
        "dataset_id": item.dataset_id,
        "path": _named(item.path_raw)["path"],
        "state": item.state,
        "put": None if item.put is None else signed(item.put),
        "part_bytes": item.part_bytes,
        "done": [{"number": number, "size_bytes": size} for number, size in sorted(item.done.items())],
        "pack_id": None if item.pack is None else item.pack.number,
    }


def _pack(pack: upload.Pack) -> dict[str, Any]:
    members = [
        {
            "file_id": place.file.id,
            **_named(place.file.path_raw),
            "size_bytes": place.file.size_bytes,
            "mtime_s": bundle.mtime_s(place.file),
            "offset_bytes": place.offset_bytes,
        }
        for place in pack.places
    ]
    return {"pack_id": pack.number, "dataset_id": pack.dataset_id, "size_bytes": pack.size_bytes, "put": signed(pack.put), "members": members}


def _coming(under: Under) -> dict[str, Any]:
    transfer = under.transfer
    state = "sending" if transfer is None else _COMING.get(transfer.state, "sending")
    error = transfer.error if transfer is not None and state == "failed" else None
    return {"file_id": under.file.id, "dataset_id": under.file.dataset_id, **_named(under.file.path_raw), "state": state, "error": error}


_COMING = {TransferState.VERIFYING: "verifying", TransferState.FAILED: "failed", TransferState.QUARANTINED: "failed"}

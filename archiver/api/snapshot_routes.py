"""`/api/v1/datasets/{id}/snapshots`: files that grow for hours, shown as they were a few minutes ago.

Law: as for uploads, the bytes go straight to the store, by requests that are signed for one key, one size and a short time. A snapshot is no
file: it is in no manifest and no receipt.
"""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from archiver import describe, names, snapshots
from archiver.api import access, models
from archiver.api.access import Here, ReaderOrSender, Sending
from archiver.api.models import Asked, Time
from archiver.api.problems import declared
from archiver.api.routes import ALWAYS
from archiver.api.upload_routes import (
    AskedParts,
    FileId,
    PartDone,
    PartRequests,
    PathBytes,
    PathText,
    Sha256,
    SignedRequest,
    Size,
    Version,
    path_of,
    signed,
)
from archiver.errors import Conflict, NotFound, ReceptionFull, StoreUnavailable, TooLarge, WrongUse
from archiver.keys import Sender
from archiver.snapshots import Cut, Item, Sent

api = APIRouter(prefix="/api/v1", tags=["reception"], responses=declared(*ALWAYS))

_MOST = 20


class TakenFile(Asked):
    """A growing file as it was when its snapshot was taken."""

    path: PathText = None
    path_base64: PathBytes = None
    size_bytes: Size = Field(description="Of the snapshot.")
    mark: str = Field(min_length=1, max_length=200, description="Another one when the file has changed; such as `size:mtime_ns`.")
    taken_at: Time = Field(description="As of when it shows the file.")
    mtime: Time | None = Field(None, description="The file's own time of change then; without it, `taken_at`.")


class TakenFiles(Asked):
    """Snapshots of files of one dataset."""

    files: list[TakenFile] = Field(min_length=1, max_length=_MOST)


class SnapshotItem(BaseModel):
    """What is to be done for a snapshot."""

    snapshot_id: int | None
    dataset_id: int = Field(description="The dataset it goes to: of those that continue this one, when it is closed.")
    path: str | None = Field(description="Where it will be shown: `scan.snapshot.h5` for `scan.h5`.")
    state: Literal["put", "parts", "shown", "busy"] = Field(
        description="`put`: send it by `put`; `parts`: send it in parts; `shown`: one with this mark is; `busy`: the one before is being proven "
        "or put in its place, or the file itself is received: nothing is to be sent now."
    )
    put: SignedRequest | None = None
    part_bytes: int | None = Field(None, description="Size of each part but the last.")
    done: list[PartDone] = Field([], description="Parts that are there already.")


class SnapshotItems(BaseModel):
    """In the order in which they were asked for."""

    items: list[SnapshotItem]


class SentSnapshot(Asked):
    """That all of a snapshot was sent."""

    snapshot_id: FileId
    sha256: Sha256
    version_id: Version = None


class SentSnapshots(Asked):
    """Snapshots of one dataset."""

    files: list[SentSnapshot] = Field(min_length=1, max_length=_MOST)


class DoneSnapshot(BaseModel):
    """How a snapshot stands now."""

    snapshot_id: int
    state: Literal["verifying", "shown", "missing"] = Field(description="`missing`: not all of it is there.")


class DoneSnapshots(BaseModel):
    """In the order in which they were told of."""

    items: list[DoneSnapshot]


class Snapshots(BaseModel):
    """Those that are shown."""

    items: list[models.Snapshot]


@api.get("/datasets/{dataset_id}/snapshots", response_model=Snapshots, responses=declared(NotFound))
def list_snapshots(who: ReaderOrSender, archive: Here, dataset_id: models.Id) -> dict[str, Any]:
    """Files that are still being written, as they were. Scope `custom:archiver:read`; or the key of the instrument whose dataset it is."""
    if isinstance(who, Sender):
        return {"items": describe.snapshots(snapshots.of_sender(archive, who, dataset_id))}
    with archive.ledger.read() as tx:
        return {"items": describe.snapshots(tx.snapshots([access.visible_dataset(tx, who, dataset_id).id]))}


@api.post(
    "/datasets/{dataset_id}/snapshots",
    response_model=SnapshotItems,
    responses=declared(NotFound, WrongUse, TooLarge, ReceptionFull, Conflict, StoreUnavailable),
)
def begin_snapshots(who: Sending, archive: Here, dataset_id: models.Id, asked: TakenFiles) -> dict[str, Any]:
    """Announce snapshots and say how each is sent. An instrument's key, or scope `custom:archiver:ingest`."""
    cuts = [
        Cut(path_of(one.path, one.path_base64), one.size_bytes, one.mark, one.taken_at, one.taken_at if one.mtime is None else one.mtime)
        for one in asked.files
    ]
    return {"items": [_item(item) for item in snapshots.begin(archive, who, dataset_id, cuts)]}


@api.post("/datasets/{dataset_id}/snapshots/done", response_model=DoneSnapshots, responses=declared(NotFound, Conflict, StoreUnavailable))
def snapshots_done(who: Sending, archive: Here, dataset_id: models.Id, said: SentSnapshots) -> dict[str, Any]:
    """Say that all of these was sent: they are proven, then shown. An instrument's key, or scope `custom:archiver:ingest`."""
    states = snapshots.done(archive, who, dataset_id, [Sent(one.snapshot_id, one.sha256, one.version_id) for one in said.files])
    return {"items": [{"snapshot_id": one.snapshot_id, "state": states[one.snapshot_id]} for one in said.files]}


@api.post(
    "/datasets/{dataset_id}/snapshots/{snapshot_id}/parts",
    response_model=PartRequests,
    responses=declared(NotFound, Conflict, WrongUse, StoreUnavailable),
)
def snapshot_parts(who: Sending, archive: Here, dataset_id: models.Id, snapshot_id: models.Id, asked: AskedParts) -> dict[str, Any]:
    """Requests by which parts of a snapshot are sent. An instrument's key, or scope `custom:archiver:ingest`."""
    requests = snapshots.parts(archive, who, dataset_id, snapshot_id, asked.numbers)
    return {"items": [{"number": number, **signed(request)} for number, request in requests.items()]}


def _item(item: Item) -> dict[str, Any]:
    return {
        "snapshot_id": item.snapshot_id,
        "dataset_id": item.dataset_id,
        "path": None if item.shown_raw is None else names.text(item.shown_raw),
        "state": item.state,
        "put": None if item.put is None else signed(item.put),
        "part_bytes": item.part_bytes,
        "done": [{"number": number, "size_bytes": size} for number, size in sorted(item.done.items())],
    }

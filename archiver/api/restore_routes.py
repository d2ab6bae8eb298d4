"""`/api/v1/quotes`, `/restores`, `/transfers` and `/promises`: bringing data back, and what is done about it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from archiver import asking, describe, promises, quotes, restore
from archiver.api import access, models
from archiver.api.access import Admin, Here, Reader, Restorer
from archiver.api.models import Asked, Text, Time
from archiver.api.plan_routes import Money
from archiver.api.problems import declared
from archiver.api.routes import ALWAYS
from archiver.errors import Ambiguous, Conflict, NoRoom, NotFound, OverQuota, QuoteChanged, QuoteExpired, WrongUse
from archiver.model import TransferState

api = APIRouter(prefix="/api/v1", responses=declared(*ALWAYS))

_Name = Annotated[Text, Field(min_length=1, strict=True)]
_MOST = 100


class Selection(Asked):
    """Datasets, or files of them."""

    dataset: _Name | None = Field(None, description="Name, `instrument/name`, or number as text.")
    datasets: list[_Name] | None = Field(None, min_length=1, max_length=_MOST, description="Several of them, instead of `dataset`.")
    files: _Name | list[_Name] | None = Field(None, description="Glob that the files' paths match, or a list of paths (null: all).")
    days: Annotated[int, Field(strict=True)] | None = Field(None, description="Days in hot, from ready (null: the default).")

    def references(self) -> list[str]:
        """Raises `WrongUse`."""
        if (self.dataset is None) == (self.datasets is None):
            raise WrongUse("Name either `dataset` or `datasets`.", "`dataset` is one name, `datasets` a list.")
        return [self.dataset] if self.dataset is not None else list(self.datasets or ())


class RestoreAsked(Selection):
    """Bring data back to hot: a selection, or what was quoted."""

    quote: _Name | None = Field(None, description="A quote of yours, instead of a selection.")
    priority: Annotated[int, Field(strict=True)] = Field(0, description="0 to 5 (admins: 9); higher goes first.")


class Extension(Asked):
    """How much longer."""

    days: Annotated[int, Field(strict=True)] = Field(description="Days more in hot.")


class Denial(Asked):
    """Why not."""

    reason: Annotated[str, Field(strict=True, max_length=2000)] = Field(description="For the person who asked, in 1 to 500 characters.")


class Again(Asked):
    """Which files are tried again."""

    files: _Name | None = Field(None, description="Glob that the files' paths match (null: all that were given up).")


class Cost(Money):
    """A sum, also in words."""

    text: str


class Ready(BaseModel):
    """When data will be ready, in seconds from the request."""

    at_least_s: float
    at_most_s: float
    learned: bool = Field(description="Whether enough restores of that size and tier stand behind it; else it is the promise.")
    observations: int
    promised_within_s: float


class Room(BaseModel):
    """Room in hot."""

    left_bytes: int | None = Field(description="Null: as much as needed.")
    fits: bool


class QuotaLeft(BaseModel):
    """What a user or project may still have restored or held."""

    kind: str
    name: str
    used_bytes: int
    limit_bytes: int | None
    left_bytes: int | None
    fits: bool


class Quote(BaseModel):
    """What bringing data back would mean."""

    id: str
    created_at: Time
    expires_at: Time
    datasets: list[str]
    files: int
    size_bytes: int
    hot_bytes: int = Field(description="Already in hot.")
    absent_bytes: int = Field(description="To be brought back.")
    recall_objects: int
    recall_bytes: int = Field(description="Recalled in fact: whole bundles.")
    from_tiers: dict[str, int]
    days: int
    cost: Cost
    ready: Ready
    room: Room
    quotas: list[QuotaLeft]
    needs_approval: bool


class Transfer(BaseModel):
    """The making of one copy."""

    id: int
    dataset_id: int
    dataset: str
    key: str
    tier: str
    state: TransferState
    attempts: int
    next_try_at: Time
    error: str | None


class Transfers(BaseModel):
    """Transfers, newest first."""

    items: list[Transfer]


class TransferQuery(Asked):
    """What the list of transfers is narrowed to."""

    state: TransferState | None = Field(None, description="Only those in this state (null: all that have not ended).")
    dataset: int | None = Field(None, ge=1, le=2**53 - 1, description="Number of a dataset.")
    limit: int = Field(50, ge=1, le=200, description="Most items to answer.")


class Promise(BaseModel):
    """How a tier's promise was kept."""

    tier: str
    back_within_s: float
    kept: int
    missed: int
    median_s: float | None
    p90_s: float | None


class Promises(BaseModel):
    """How promises were kept, by tier."""

    items: list[Promise]


@api.post("/quotes", tags=["restores"], status_code=201, response_model=Quote, responses=declared(NotFound, Ambiguous, Conflict))
def ask_quote(who: Restorer, archive: Here, asked: Selection) -> dict[str, Any]:
    """What bringing data back would mean: bytes, time, cost, room, quota, approval. Nothing is brought back. Scope `custom:archiver:restore`."""
    said = quotes.quote(archive, who.name, asked.references(), asking.glob_of(asked.files), asked.days, who.readable, admin=who.admin)
    return {"id": said.id, "created_at": said.created_at, "expires_at": said.expires_at, **said.answer}


@api.post(
    "/restores",
    tags=["restores"],
    status_code=201,
    response_model=models.Restore | models.Restores,
    responses=declared(NotFound, Ambiguous, Conflict, OverQuota, NoRoom, QuoteExpired, QuoteChanged),
)
def ask_restore(request: Request, response: Response, who: Restorer, archive: Here, asked: RestoreAsked) -> dict[str, Any]:
    """Bring data back to hot. An equal restore of yours that is still under way is joined. Several datasets: all or none, answered as `items`.

    Scope `custom:archiver:restore`.
    """
    if asked.quote is not None:
        if asked.dataset is not None or asked.datasets is not None or asked.files is not None or asked.days is not None:
            raise WrongUse("A quote says what is meant; a selection beside it would be another.", "Send `quote` alone, or a selection.")
        made = quotes.take_up(archive, who.name, asked.quote, who.readable, priority=asked.priority, admin=who.admin)
    else:
        glob = asking.glob_of(asked.files)
        made = restore.request_all(archive, who.name, asked.references(), glob, asked.days, who.readable, priority=asked.priority, admin=who.admin)
    with archive.ledger.read() as tx:
        shown = describe.restores(tx, [tx.restore(one.id) for one in made])
    if asked.dataset is None:
        return {"items": shown}
    response.headers["Location"] = f"{request.scope.get('root_path', '')}/api/v1/restores/{made[0].id}"
    return shown[0]


@api.get("/restores", tags=["restores"], response_model=models.Restores, responses=declared(NotFound))
def restores(who: Reader, archive: Here, asked: Annotated[models.RestoreQuery, Query()]) -> dict[str, Any]:
    """Restores of datasets that you may see, newest first. Scope `custom:archiver:read`."""
    with archive.ledger.read() as tx:
        if asked.dataset is not None:
            access.visible_dataset(tx, who, asked.dataset)
        found = tx.restores(who.readable, asked.dataset, who.name if asked.mine else None, asked.limit, own=who.projects, viewer=who.name)
        return {"items": describe.restores(tx, found)}


@api.get("/restores/{restore_id}", tags=["restores"], response_model=models.Restore, responses=declared(NotFound))
def one_restore(who: Reader, archive: Here, restore_id: models.Id) -> dict[str, Any]:
    """One restore and what it has reached. Scope `custom:archiver:read`."""
    with archive.ledger.read() as tx:
        return describe.restores(tx, [access.visible_restore(tx, who, restore_id)])[0]


@api.post("/restores/{restore_id}/cancel", tags=["restores"], response_model=models.Restore, responses=declared(NotFound, Conflict))
def cancel_restore(who: Restorer, archive: Here, restore_id: models.Id) -> dict[str, Any]:
    """Take a restore of yours back: what is not begun stops, and its claim on hot ends. Scope `custom:archiver:restore`."""
    _visible(archive, who, restore_id)
    restore.cancel(archive, who.name, restore_id, who.readable, admin=who.admin)
    return _shown(archive, restore_id)


@api.post("/restores/{restore_id}/extend", tags=["restores"], response_model=models.Restore, responses=declared(NotFound, Conflict, OverQuota))
def extend_restore(who: Restorer, archive: Here, restore_id: models.Id, asked: Extension) -> dict[str, Any]:
    """Keep a restore of yours longer. Scope `custom:archiver:restore`."""
    _visible(archive, who, restore_id)
    restore.extend(archive, who.name, restore_id, asked.days, who.readable, admin=who.admin)
    return _shown(archive, restore_id)


@api.post("/restores/{restore_id}/retry", tags=["restores"], response_model=models.Restore, responses=declared(NotFound, Conflict))
def retry_restore(who: Restorer, archive: Here, restore_id: models.Id, asked: Again) -> dict[str, Any]:
    """Have files of a restore of yours tried again that were given up. Scope `custom:archiver:restore`."""
    _visible(archive, who, restore_id)
    restore.retry(archive, who.name, restore_id, asked.files, who.readable, admin=who.admin)
    return _shown(archive, restore_id)


@api.post("/restores/{restore_id}/approve", tags=["restores"], response_model=models.Restore, responses=declared(NotFound, Conflict))
def approve_restore(who: Admin, archive: Here, restore_id: models.Id) -> dict[str, Any]:
    """Let a large restore go on. Scope `custom:archiver:admin`."""
    _visible(archive, who, restore_id)
    restore.approve(archive, who.name, restore_id)
    return _shown(archive, restore_id)


@api.post("/restores/{restore_id}/deny", tags=["restores"], response_model=models.Restore, responses=declared(NotFound, Conflict))
def deny_restore(who: Admin, archive: Here, restore_id: models.Id, asked: Denial) -> dict[str, Any]:
    """Refuse a large restore, with the reason. Scope `custom:archiver:admin`."""
    _visible(archive, who, restore_id)
    restore.deny(archive, who.name, restore_id, asked.reason)
    return _shown(archive, restore_id)


@api.get("/transfers", tags=["transfers"], response_model=Transfers)
def transfers(who: Admin, archive: Here, asked: Annotated[TransferQuery, Query()]) -> dict[str, Any]:  # noqa: ARG001
    """Transfers, newest first: those that have not ended, or those in one state. Scope `custom:archiver:admin`."""
    with archive.ledger.read() as tx:
        return {"items": describe.transfers(tx, tx.list_transfers(asked.state, asked.dataset, asked.limit))}


@api.post("/transfers/{transfer_id}/retry", tags=["transfers"], response_model=Transfer, responses=declared(NotFound, Conflict))
def retry_transfer(who: Admin, archive: Here, transfer_id: models.Id) -> dict[str, Any]:
    """Have a transfer tried again that was given up. Scope `custom:archiver:admin`."""
    again = restore.retry_transfer(archive, who.name, transfer_id)
    with archive.ledger.read() as tx:
        return describe.transfers(tx, [again])[0]


@api.get("/promises", tags=["restores"], response_model=Promises)
def kept_promises(who: Reader, archive: Here) -> dict[str, Any]:  # noqa: ARG001
    """How each tier's promise was kept, over the last 1,000 restores. Scope `custom:archiver:read`."""
    with archive.ledger.read() as tx:
        outcomes = tx.outcomes()
    return {"items": describe.promises(archive.settings, [promises.record(outcomes, name) for name in list(archive.settings.tiers)[1:]])}


def _visible(archive: Here, who: Any, restore_id: int) -> None:
    with archive.ledger.read() as tx:
        access.visible_restore(tx, who, restore_id)


def _shown(archive: Here, restore_id: int) -> dict[str, Any]:
    with archive.ledger.read() as tx:
        return describe.restores(tx, [tx.restore(restore_id)])[0]

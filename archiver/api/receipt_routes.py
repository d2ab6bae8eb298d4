"""`/api/v1/files/{id}/receipt`: the proof of one file."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from archiver import receipt
from archiver.api import access, models
from archiver.api.access import Here, Reader
from archiver.api.models import Time
from archiver.api.problems import declared
from archiver.api.routes import ALWAYS
from archiver.errors import NotFound
from archiver.model import FileState, Proof

api = APIRouter(prefix="/api/v1/files", tags=["receipts"], responses=declared(*ALWAYS))


class ReceiptFile(BaseModel):
    """What arrived."""

    id: int
    dataset: str = Field(description="`instrument/name`.")
    path: str
    state: FileState
    size_bytes: int
    sha256: str | None = Field(description="Hexadecimal; of what arrived.")
    crc64nvme: str | None = Field(description="Base64, as S3 writes it.")
    received_at: Time | None


class ReceiptCopy(BaseModel):
    """Where its bytes lie now, and how that was proven."""

    tier: str
    place: str | None = Field(description="Site or provider.")
    bucket: str | None
    key: str
    version_id: str
    offset_bytes: int = Field(description="Where in the object the file begins (0, unless it is bundled).")
    size_bytes: int
    bundled: bool
    storage_class: str
    proof: Proof
    proven_at: Time


class Link(BaseModel):
    """One event: told in full when it concerns this file, else only the digest of what it says."""

    seq: int
    said: str | None = None
    at: str | None = None
    actor: str | None = None
    kind: str | None = None
    detail: dict[str, Any] | None = None
    hash: str | None = None


class ReceiptHead(BaseModel):
    """Number and hash of a chain's last event."""

    seq: int
    hash: str


class Chain(BaseModel):
    """The dataset's history, linked by SHA-256."""

    dataset: str
    before: str = Field(description="The hash that the first link follows.")
    links: list[Link]
    head: ReceiptHead | None
    complete: bool = Field(description="False when the history is too long to be given whole.")


class ReceiptAnchor(BaseModel):
    """An object in the store that says where the chains stood on a day."""

    day: str
    at: Time
    tier: str
    bucket: str | None
    key: str
    version_id: str
    sha256: str


class Receipt(BaseModel):
    """Enough to verify a file, and its history, with the store's objects only."""

    file: ReceiptFile
    copies: list[ReceiptCopy]
    chain: Chain
    anchors: list[ReceiptAnchor] = Field(description="The first that were written after this file's last event.")


@api.get("/{file_id}/receipt", response_model=Receipt, response_model_exclude_unset=True, responses=declared(NotFound))
def file_receipt(who: Reader, archive: Here, file_id: models.Id) -> dict[str, Any]:
    """A file's copies, their proofs, and its part of the dataset's history, to be verified by anyone. Scope `custom:archiver:read`."""
    with archive.ledger.read() as tx:
        dataset, file = access.visible_file(tx, who, file_id)
        return receipt.receipt(tx, archive.settings, dataset, file)

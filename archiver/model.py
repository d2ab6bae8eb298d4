"""The nouns of the ledger, their states, and which changes of state are legal. No I/O.

A *claim* says that a dataset shall have a copy in a tier until some time; a *copy* is what is true. A *transfer* makes a
copy, a *drop* ends one, a *recall* asks a cold store to make one readable, a *restore* is a person's claim on hot.
Times are aware UTC; sizes are bytes. States are stored as their lower-case values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar


class DatasetState(StrEnum):
    """Life of a dataset."""

    OPEN = "open"  # files may still arrive
    CLOSED = "closed"  # its manifest is written; nothing in it changes any more


class FileState(StrEnum):
    """Life of a file inside a dataset."""

    ARRIVING = "arriving"  # known by name, not yet proven: never shown as received
    RECEIVED = "received"  # at least one copy has been proven


class MetadataState(StrEnum):
    """What is known of a file's inside."""

    NONE = "none"  # no extractor knows this format
    OK = "ok"  # read
    FAILED = "failed"  # an extractor tried; the reason stands beside it


class ObjectKind(StrEnum):
    """What an object in a store holds."""

    FILE = "file"  # one file of a dataset
    MANIFEST = "manifest"  # the dataset's own description, written at close, never dropped from archive or deep


class ClaimKind(StrEnum):
    """Why a dataset shall have a copy. Age makes claims too, but those are derived, never stored."""

    RESTORE = "restore"  # a person asked for it back


class TransferState(StrEnum):
    """Making one copy."""

    PLANNED = "planned"  # written down, nothing done
    RECALLING = "recalling"  # waits until the cold source can be read
    COPYING = "copying"  # bytes may be on their way
    VERIFYING = "verifying"  # the bytes lie there, not yet proven
    PROVEN = "proven"  # the copy is true (end)
    FAILED = "failed"  # will be tried again at `next_try_at`
    QUARANTINED = "quarantined"  # gave up after N tries: needs a person (end)
    CANCELLED = "cancelled"  # nobody claims it any more (end)


class DropState(StrEnum):
    """Ending one copy."""

    PLANNED = "planned"  # nobody claims the copy; it no longer counts
    CHECKED = "checked"  # what remains was found in the store and proven: cannot be revoked any more
    DROPPED = "dropped"  # gone (end)
    REVOKED = "revoked"  # claimed again, or what remains did not suffice (end)


class RecallState(StrEnum):
    """Asking a cold store to make one copy readable; shared by all that wait for it."""

    ASKED = "asked"  # written down, the store may not know yet
    RUNNING = "running"  # the store works on it
    READABLE = "readable"  # can be read until `readable_until`
    LAPSED = "lapsed"  # no longer readable (end)


class RestoreState(StrEnum):
    """A person's wish to have a dataset, or part of it, back in hot."""

    REQUESTED = "requested"  # written down
    QUEUED = "queued"  # the copies it needs are known and planned
    RECALLING = "recalling"  # waits for a cold store
    COPYING = "copying"  # bytes are on their way to hot
    READY = "ready"  # every file is at its path until `expires_at`
    PARTLY_READY = "partly_ready"  # some files are; the others are listed with their reasons
    EXPIRED = "expired"  # its days are over (end)
    CANCELLED = "cancelled"  # taken back (end)
    FAILED = "failed"  # no file could be brought back (end)


class Proof(StrEnum):
    """How a copy was proven (Law 1)."""

    READ_BACK = "read-back"  # SHA-256 over bytes read back from the copy
    STORE_SHA256 = "store-sha256"  # the store's own full-object SHA-256, where the copy cannot be read
    STORE_CRC64NVME = "store-crc64nvme"  # the store's own full-object CRC64NVME, where the copy cannot be read


S = TypeVar("S", bound=StrEnum)


def _changes(table: Mapping[S, set[S]]) -> Mapping[S, frozenset[S]]:
    return {state: frozenset(after) for state, after in table.items()}


_T, _D, _R, _S = TransferState, DropState, RecallState, RestoreState

TRANSFER_CHANGES = _changes(
    {
        _T.PLANNED: {_T.RECALLING, _T.COPYING, _T.FAILED, _T.CANCELLED},
        _T.RECALLING: {_T.COPYING, _T.FAILED, _T.CANCELLED},
        _T.COPYING: {_T.VERIFYING, _T.RECALLING, _T.FAILED, _T.CANCELLED},
        _T.VERIFYING: {_T.PROVEN, _T.FAILED},
        _T.FAILED: {_T.PLANNED, _T.QUARANTINED, _T.CANCELLED},
        _T.QUARANTINED: {_T.PLANNED, _T.CANCELLED},
        _T.PROVEN: set(),
        _T.CANCELLED: set(),
    }
)
DROP_CHANGES = _changes(
    {
        _D.PLANNED: {_D.CHECKED, _D.REVOKED},
        _D.CHECKED: {_D.DROPPED},
        _D.DROPPED: set(),
        _D.REVOKED: set(),
    }
)
RECALL_CHANGES = _changes(
    {
        _R.ASKED: {_R.RUNNING, _R.READABLE, _R.LAPSED},
        _R.RUNNING: {_R.READABLE, _R.LAPSED},
        _R.READABLE: {_R.LAPSED},
        _R.LAPSED: set(),
    }
)
RESTORE_CHANGES = _changes(
    {
        _S.REQUESTED: {_S.QUEUED, _S.READY, _S.CANCELLED, _S.FAILED},
        _S.QUEUED: {_S.RECALLING, _S.COPYING, _S.READY, _S.PARTLY_READY, _S.CANCELLED, _S.FAILED},
        _S.RECALLING: {_S.COPYING, _S.READY, _S.PARTLY_READY, _S.CANCELLED, _S.FAILED},
        _S.COPYING: {_S.RECALLING, _S.READY, _S.PARTLY_READY, _S.CANCELLED, _S.FAILED},
        _S.READY: {_S.EXPIRED, _S.CANCELLED},
        _S.PARTLY_READY: {_S.READY, _S.EXPIRED, _S.CANCELLED},
        _S.EXPIRED: set(),
        _S.CANCELLED: set(),
        _S.FAILED: set(),
    }
)


def active(changes: Mapping[S, frozenset[S]]) -> tuple[S, ...]:
    """The states that something still follows: what a start has to pick up."""
    return tuple(state for state, after in changes.items() if after)


@dataclass(frozen=True)
class Project:
    """A proposal or group of people; the unit of access. Its members are the hub group of that name."""

    name: str
    title: str
    created_at: datetime


@dataclass(frozen=True)
class Instrument:
    """A source of data. Dataset names are unique per instrument, for ever."""

    name: str
    title: str
    created_at: datetime


@dataclass(frozen=True)
class Dataset:
    """One measurement, the unit of claims. `prefix` is where it lies in every tier and below /data, without slashes at the ends."""

    id: int
    project: str
    instrument: str
    name: str
    state: DatasetState
    prefix: str
    received_at: datetime
    acquired_at: datetime | None
    closed_at: datetime | None
    follows_id: int | None  # the closed dataset that this one continues (`name+1`)
    stub_at: datetime | None  # since when the stub stands in hot, if it does
    look_at: datetime | None  # when the worker must compare copies with claims again (None: nothing will change)
    size_bytes: int
    file_count: int
    title: str | None
    format: str | None
    metadata: Mapping[str, Any]

    @property
    def full_name(self) -> str:
        return f"{self.instrument}/{self.name}"


@dataclass(frozen=True)
class File:
    """A path inside a dataset. `path_raw` is its true name, `path` the same as text for people; `object_id` says where its bytes are."""

    id: int
    dataset_id: int
    path: str
    path_raw: bytes
    state: FileState
    size_bytes: int
    sha256: str | None
    crc64nvme: str | None
    object_id: int
    offset_bytes: int
    mtime: datetime | None
    received_at: datetime | None
    format: str | None
    metadata_state: MetadataState
    metadata_error: str | None
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class Object:
    """What lies in a store under one key. Its SHA-256 (hex) is its identity; CRC64NVME (base64, as S3 gives it) is the store's."""

    id: int
    dataset_id: int
    kind: ObjectKind
    key: str
    size_bytes: int
    sha256: str | None
    crc64nvme: str | None


@dataclass(frozen=True)
class Copy:
    """These bytes lie there, proven so, at that time."""

    id: int
    object_id: int
    tier: str
    key: str
    version_id: str
    storage_class: str
    proof: Proof
    proven_at: datetime
    dropped_at: datetime | None


@dataclass(frozen=True)
class Claim:
    """A stored claim: `dataset_id` shall have copies in `tier` until `until` (None: until its restore ends)."""

    id: int
    dataset_id: int
    tier: str
    kind: ClaimKind
    restore_id: int | None
    user: str
    reason: str
    created_at: datetime
    until: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True)
class Transfer:
    """Making one copy of an object in `tier`, from the copy `source_copy_id`, or from a local file when that is None."""

    id: int
    object_id: int
    dataset_id: int
    tier: str
    key: str
    source_copy_id: int | None
    source_uri: str | None
    recall_id: int | None
    state: TransferState
    attempts: int
    next_try_at: datetime
    version_id: str | None
    error: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Drop:
    """Ending one copy."""

    id: int
    copy_id: int
    dataset_id: int
    state: DropState
    reason: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Recall:
    """A store's promise to make one cold copy readable."""

    id: int
    copy_id: int
    dataset_id: int
    state: RecallState
    asked_at: datetime
    readable_until: datetime | None
    updated_at: datetime


@dataclass(frozen=True)
class Restore:
    """A person's wish to have a dataset's files that match `files_glob` (None: all) in hot for `keep_days` from ready."""

    id: int
    dataset_id: int
    user: str
    files_glob: str | None
    keep_days: int
    state: RestoreState
    requested_at: datetime
    promised_by: datetime
    ready_at: datetime | None
    expires_at: datetime | None
    ended_at: datetime | None
    error: str | None


@dataclass(frozen=True)
class Event:
    """One line of a dataset's history; never changed, never removed. `seq` counts from 1 within the dataset."""

    id: int
    dataset_id: int
    seq: int
    at: datetime
    actor: str
    kind: str
    detail: Mapping[str, Any]

"""The nouns of the ledger, their states, and which changes of state are legal. No I/O.

A *claim* says that a dataset shall have a copy in a tier until some time; a *copy* is what is true. A *transfer* makes a
copy, a *drop* ends one, a *recall* asks a cold store to make one readable, a *restore* is a person's claim on hot.
Times are aware UTC; sizes are bytes. States are stored as their lower-case values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar


class DatasetState(StrEnum):
    """Life of a dataset."""

    OPEN = "open"  # files may still arrive
    CLOSED = "closed"  # its manifest is written; nothing in it changes any more
    ERASED = "erased"  # its bytes were ended by two admins (rule 13); the name is never used again


class FileState(StrEnum):
    """Life of a file inside a dataset."""

    ARRIVING = "arriving"  # known by name, not yet proven: never shown as received
    RECEIVED = "received"  # at least one copy has been proven
    ERASED = "erased"  # its bytes are gone by an erasure; its name and sums stay as the receipt


class MetadataState(StrEnum):
    """What is known of a file's inside."""

    WAITING = "waiting"  # received, not looked into yet
    NONE = "none"  # no extractor knows this format
    OK = "ok"  # read
    FAILED = "failed"  # an extractor tried; the reason stands beside it


class ObjectKind(StrEnum):
    """What an object in a store holds."""

    FILE = "file"  # one file of a dataset
    BUNDLE = "bundle"  # an uncompressed tar of small files of one dataset
    MANIFEST = "manifest"  # the dataset's own description, written at close, never dropped from archive or deep


class ClaimKind(StrEnum):
    """Why a dataset shall have a copy. Age makes claims too, but those are derived, never stored."""

    RESTORE = "restore"  # a person asked for it back
    HOLD = "hold"  # a person wants it to stay in hot until a day, for a reason


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
    AWAITING_APPROVAL = "awaiting_approval"  # above the size that needs an admin's word: claims nothing yet
    QUEUED = "queued"  # the copies it needs are known and planned
    RECALLING = "recalling"  # waits for a cold store
    COPYING = "copying"  # bytes are on their way to hot
    READY = "ready"  # every file is at its path until `expires_at`
    PARTLY_READY = "partly_ready"  # some files are; the others are listed with their reasons
    EXPIRED = "expired"  # its days are over (end)
    DENIED = "denied"  # an admin said no, with a reason (end)
    CANCELLED = "cancelled"  # taken back (end)
    FAILED = "failed"  # no file could be brought back (end)


class ErasureState(StrEnum):
    """Ending data for ever: the only exception to Law 1 (rule 13)."""

    REQUESTED = "requested"  # one admin asked, with a reason
    APPROVED = "approved"  # a second admin agreed: the tombstone is written first
    ERASING = "erasing"  # the tombstone stands in the store; bundles are rewritten, copies end
    ERASED = "erased"  # no copy is left; the receipt is written (end)
    WITHDRAWN = "withdrawn"  # refused or taken back before approval (end)


class DrillState(StrEnum):
    """A rehearsal: a cold dataset brought back to a scratch prefix and compared."""

    PLANNED = "planned"  # chosen
    RUNNING = "running"  # being recalled, copied and compared
    PASSED = "passed"  # every byte came back equal (end)
    FAILED = "failed"  # it did not; the reason stands beside it (end)


class LeftoverState(StrEnum):
    """An unproven version of ours where the everyday identity may end nothing."""

    FOUND = "found"  # the reaper shall end it
    CLEARED = "cleared"  # it is gone (end)


class NoticeState(StrEnum):
    """A message to one person."""

    WAITING = "waiting"  # to be sent at `next_try_at`
    SENT = "sent"  # handed over (end)
    GIVEN_UP = "given_up"  # could not be handed over after many tries (end)


class FindingKind(StrEnum):
    """What a comparison of a store with the ledger, or a new proof, found to be otherwise than it should."""

    LOST = "lost"  # a copy is not in the store; it is made anew from another
    GONE = "gone"  # the same, and no other proven copy is left: shouted
    DAMAGED = "damaged"  # a copy has other bytes; they are kept until another copy has been proven anew
    QUARANTINED = "quarantined"  # the same, and no other copy could be proven: never cleared, shouted
    UNREADABLE = "unreadable"  # the store answers, and cannot give this copy's bytes; a day later it counts as damaged
    COVERED = "covered"  # somebody's version or delete marker stands over our copy at its key: shouted
    LEFTOVER = "leftover"  # a version of ours that the ledger does not count on
    FOREIGN = "foreign"  # nobody's we know: left alone
    STUB = "stub"  # a stub is missing, or stands where none should


class SnapshotState(StrEnum):
    """What comes into the place of a snapshot: a growing file as it was at some moment."""

    SENDING = "sending"  # announced: its bytes are on their way to a key of their own
    PROVING = "proving"  # sent: it is read back, and must be what its sender told of
    SHOWING = "showing"  # proven: it is being put where it is shown, over the one before
    CLEARING = "clearing"  # what it came by, and what it replaced, is being removed
    SHOWN = "shown"  # nothing comes: what is written down stands
    ENDING = "ending"  # it is no longer wanted: its bytes are being removed, then its row


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
        _S.REQUESTED: {_S.AWAITING_APPROVAL, _S.QUEUED, _S.READY, _S.CANCELLED, _S.FAILED},
        _S.AWAITING_APPROVAL: {_S.QUEUED, _S.DENIED, _S.CANCELLED},
        _S.QUEUED: {_S.RECALLING, _S.COPYING, _S.READY, _S.PARTLY_READY, _S.CANCELLED, _S.FAILED},
        _S.RECALLING: {_S.COPYING, _S.READY, _S.PARTLY_READY, _S.CANCELLED, _S.FAILED},
        _S.COPYING: {_S.RECALLING, _S.READY, _S.PARTLY_READY, _S.CANCELLED, _S.FAILED},
        _S.READY: {_S.EXPIRED, _S.CANCELLED},
        _S.PARTLY_READY: {_S.READY, _S.EXPIRED, _S.CANCELLED},
        _S.EXPIRED: set(),
        _S.DENIED: set(),
        _S.CANCELLED: set(),
        _S.FAILED: set(),
    }
)

_E, _L = ErasureState, LeftoverState
ERASURE_CHANGES = _changes(
    {
        _E.REQUESTED: {_E.APPROVED, _E.WITHDRAWN},
        _E.APPROVED: {_E.ERASING},
        _E.ERASING: {_E.ERASED},
        _E.ERASED: set(),
        _E.WITHDRAWN: set(),
    }
)
LEFTOVER_CHANGES = _changes({_L.FOUND: {_L.CLEARED}, _L.CLEARED: set()})
DRILL_CHANGES = _changes(
    {
        DrillState.PLANNED: {DrillState.RUNNING, DrillState.FAILED},
        DrillState.RUNNING: {DrillState.PASSED, DrillState.FAILED},
        DrillState.PASSED: set(),
        DrillState.FAILED: set(),
    }
)
_N = SnapshotState
SNAPSHOT_CHANGES = _changes(
    {
        _N.SENDING: {_N.PROVING, _N.CLEARING, _N.ENDING},
        _N.PROVING: {_N.SHOWING, _N.CLEARING, _N.ENDING},
        _N.SHOWING: {_N.CLEARING, _N.ENDING},
        _N.CLEARING: {_N.SHOWN},
        _N.SHOWN: {_N.SENDING, _N.ENDING},
        _N.ENDING: set(),
    }
)


def active(changes: Mapping[S, frozenset[S]]) -> tuple[S, ...]:
    """The states that something still follows: what a start has to pick up."""
    return tuple(state for state, after in changes.items() if after)


@dataclass(frozen=True)
class Project:
    """A proposal or group of people; the unit of access. Its members are the hub group of that name.

    Its data are public once `public_after` is reached and its embargo, if it has one, is over; without `public_after` never. When its end
    has passed, nothing is lost and nothing changes: it is shown.
    """

    name: str
    title: str
    created_at: datetime
    public_after: datetime | None = None  # all who are signed in may read its data from then on, but not before `embargo_until`
    pi: str | None = None  # principal investigator
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    embargo_until: datetime | None = None  # until then its data are its members' alone, whatever else is said
    quota_bytes: int | None = None  # it may hold so many; None: what the settings say

    @property
    def public_from(self) -> datetime | None:
        """When its data become public, or became; None: they do not."""
        return self.public_after and max(self.public_after, self.embargo_until or self.public_after)


@dataclass(frozen=True)
class ProjectChange:
    """That somebody changed facts of a project; `detail`: each with what it was and what it is, JSON-ready."""

    id: int
    project: str
    at: datetime
    actor: str
    detail: Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Instrument:
    """A source of data. Dataset names are unique per instrument, for ever.

    `projects`: globs of the projects that its keys may send to. `report`: what its agent said last (`waiting` files, the oldest's age in
    seconds, a `message`).
    """

    name: str
    title: str
    created_at: datetime
    projects: Sequence[str] = ()
    seen_at: datetime | None = None
    report: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Comment:
    """What a person says of a dataset; plain text."""

    id: int
    dataset_id: int
    user: str
    text: str
    created_at: datetime
    changed_at: datetime | None


@dataclass(frozen=True)
class InstrumentKey:
    """What an instrument proves itself with; the ledger keeps its SHA-256 only."""

    id: int
    instrument: str
    sha256: str
    created_at: datetime
    revoked_at: datetime | None


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
    lease_by: str | None = None  # the worker or reaper that has it in hand
    lease_until: datetime | None = None
    opened_by: str | None = None  # the sender whose it is while open (`instrument/NAME`, or a user); None: the archiver itself
    closing_at: datetime | None = None  # since when it shall close; nothing new is added
    stale_at: datetime | None = None  # since when its own metadata are older than its files'; they are derived anew
    called: str | None = None  # the title that a person gave it; else its files' is its
    place: int = 0  # among all datasets, by time (ledger/indexing.py)

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
    has_preview: bool = False
    reader_version: int = 0  # formats.VERSION when it was looked into; 0: not, or before that was recorded


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
class Member:
    """That the bytes of object `object_id` (one file) also stand in object `bundle_id`, from `offset_bytes` on."""

    bundle_id: int
    object_id: int
    offset_bytes: int


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
    """A stored claim: the files of `dataset_id` that match `files_glob` (None: all) shall have copies in `tier` until `until`.

    A restore's has no `until` before it is ready. A hold with a `restore_id` waits for that restore, and counts once it is ready.
    """

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
    files_glob: str | None = None


@dataclass(frozen=True)
class Transfer:
    """Making one copy of an object in `tier`: from the copy `source_copy_id`, from a local file or from outside (`source_uri`), or, when
    both are None, a bundle from its members."""

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
    faults: int = 0  # of the attempts, those that did not fail because a store or the ledger was away
    priority: int = 0  # of the restore that waits for it; higher goes first
    user: str | None = None  # who waits for it: caps and fair shares are per user
    lease_by: str | None = None  # the worker that has it in hand
    lease_until: datetime | None = None  # when another may take it


SNAPSHOT_MARK = "snapshot"
"""The mark of an upload that was a snapshot, and became a file when its dataset closed."""
UPLOAD_URI = "upload:"
"""What the `source_uri` of an arrival from outside begins with: its bytes come by presigned requests."""


@dataclass(frozen=True)
class Upload:
    """How the bytes of an arrival from outside come: by one PUT, or in parts (`upload_id`, S3's own)."""

    transfer_id: int
    dataset_id: int
    path_raw: bytes  # the path that was asked for; the file's own may be a version of it
    mark: str  # the sender's word for its source; another one means another file
    upload_id: str | None
    expected_sha256: str | None  # told before anything was sent
    sent_at: datetime | None  # when the sender said that all is there


@dataclass(frozen=True)
class Snapshot:
    """A growing file of an open dataset, as it was: no file of the dataset, and gone when the file itself is received."""

    id: int
    dataset_id: int
    path_raw: bytes  # of the file that grows
    shown_raw: bytes  # its own path, which says that it is a snapshot
    key: str
    state: SnapshotState
    announced_at: datetime  # the last one
    # what stands at its key; None: nothing yet
    version_id: str | None
    size_bytes: int | None
    sha256: str | None
    mark: str | None  # the sender's word for the source as it was
    mtime: datetime | None
    taken_at: datetime | None
    proven_at: datetime | None
    # what comes; None: nothing
    coming_key: str | None
    coming_bytes: int | None
    coming_mark: str | None
    coming_mtime: datetime | None
    coming_taken_at: datetime | None
    coming_upload_id: str | None
    coming_sha256: str | None
    coming_version_id: str | None
    next_try_at: datetime
    attempts: int = 0
    error: str | None = None  # why the last one was not shown, or waits
    lease_by: str | None = None
    lease_until: datetime | None = None


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
    priority: int = 0  # higher goes first; then fair share between users, then age
    size_bytes: int = 0  # of the chosen files, for quotas
    from_tier: str | None = None  # nearest tier with all of it when it was asked for: where its promise comes from
    approved_by: str | None = None
    quote_id: str | None = None


@dataclass(frozen=True)
class Deed:
    """What somebody did, wherever it is written down. `kind` and `detail` are an event's; `about`: a dataset, project, instrument by name.

    `place`: where it stands among all deeds: its source, and its number there.
    """

    at: datetime
    actor: str
    kind: str
    about: str
    detail: Mapping[str, Any]
    place: tuple[int, int]
    dataset_id: int | None = None


@dataclass(frozen=True)
class Event:
    """One line of a dataset's history; never changed, never removed. `seq` counts from 1 within the dataset.

    `hash` (hex SHA-256) covers the line and the hash of the line before it, so that none can be changed or left out unseen.
    """

    id: int
    dataset_id: int
    seq: int
    at: datetime
    actor: str
    kind: str
    detail: Mapping[str, Any]
    hash: str = ""


@dataclass(frozen=True)
class Anchor:
    """The heads of all chains on one day, as they stand in an object of the archive tier. `sha256` is that object's."""

    day: str  # YYYY-MM-DD, UTC
    at: datetime
    datasets: int
    tier: str
    key: str
    version_id: str
    sha256: str


@dataclass(frozen=True)
class Quote:
    """What a restore of `selection` would mean, as said to `user`; `answer` is what was said. Valid until `expires_at`."""

    id: str
    user: str
    created_at: datetime
    expires_at: datetime
    selection: Mapping[str, Any]
    answer: Mapping[str, Any]


@dataclass(frozen=True)
class Quota:
    """An admin's own limit for one user or project, in bytes restored or held in hot at once; None: no limit."""

    kind: str  # "user" or "project"
    name: str
    limit_bytes: int | None


@dataclass(frozen=True)
class Location:
    """The location record of a dataset in a tier: written to the store at `written_at`; `dirty_at`: since when it lacks something."""

    dataset_id: int
    tier: str
    dirty_at: datetime | None
    written_at: datetime | None
    version_id: str | None


@dataclass(frozen=True)
class Leftover:
    """A version that a transfer of ours left unproven in a tier where only the reaper ends anything."""

    id: int
    tier: str
    key: str
    version_id: str
    why: str
    state: LeftoverState
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Finding:
    """What a comparison of a tier with the ledger found: `kind` says which difference, `resolved_at` that it is no more."""

    id: int
    tier: str
    kind: str
    key: str
    version_id: str | None
    detail: str
    found_at: datetime
    resolved_at: datetime | None


@dataclass(frozen=True)
class Address:
    """Where a person wants notices: set by themselves. `wants` false: none at all."""

    user: str
    email: str | None
    webhook_url: str | None
    webhook_secret: str | None
    wants: bool


@dataclass(frozen=True)
class Notice:
    """A message to one person through one channel (mail, webhook, notebook); at most one of a kind per person and day."""

    id: int
    user: str
    kind: str
    day: str
    channel: str
    subject: str
    body: Mapping[str, Any]
    state: NoticeState
    attempts: int
    next_try_at: datetime
    created_at: datetime
    updated_at: datetime
    error: str | None


@dataclass(frozen=True)
class Erasure:
    """Ending the files of a dataset that match `files_glob` (None: all), for ever (rule 13)."""

    id: int
    dataset_id: int
    files_glob: str | None
    reason: str
    state: ErasureState
    asked_by: str
    asked_at: datetime
    approved_by: str | None
    approved_at: datetime | None
    ended_at: datetime | None
    receipt: Mapping[str, Any] | None


@dataclass(frozen=True)
class Drill:
    """One rehearsal of a restore from `tier`. `seconds` is what it took from asking to the last byte compared."""

    id: int
    dataset_id: int
    tier: str
    state: DrillState
    created_at: datetime
    ended_at: datetime | None
    size_bytes: int
    seconds: float | None
    error: str | None

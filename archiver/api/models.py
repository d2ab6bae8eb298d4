"""The shapes of requests and answers: what openapi.json says, and what is checked.

Law: a request with an unknown field is refused. Times are aware UTC, written with Z; a time without zone is read as UTC. Sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import Path
from fastapi.responses import Response
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import to_json

from archiver.model import DatasetState, FileState, MetadataState, Proof, RestoreState


def _utc(at: datetime) -> datetime:
    try:
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (OverflowError, ValueError):
        raise ValueError("it is out of range") from None


def _no_number(at: Any) -> Any:
    """Pydantic would take 2026 for the 2026th second of 1970."""
    try:
        float(at)
    except (TypeError, ValueError, OverflowError):
        return at
    raise ValueError("it is a number, and no time such as 2026-03-01T12:00:00Z")


def _text(value: str) -> str:
    if not value.isprintable():
        raise ValueError("it holds characters that cannot be printed")
    return value


Time = Annotated[datetime, BeforeValidator(_no_number), AfterValidator(_utc)]
Text = Annotated[str, Field(max_length=500), AfterValidator(_text)]
Id = Annotated[int, Path(ge=1, le=2**53 - 1)]


def answer(document: Mapping[str, Any]) -> Response:
    """An answer as it is. For long ones that `describe` has made ready: that they have the shape which their route declares is what
    tests say, and not looked at again in each row of each page."""
    return Response(to_json(document, inf_nan_mode="null"), media_type="application/json")


class Asked(BaseModel):
    """Base of what is sent to us."""

    model_config = ConfigDict(extra="forbid")


class PageQuery(Asked):
    """A page of a list."""

    limit: int = Field(100, ge=1, le=200, description="Most items to answer.")
    cursor: Text | None = Field(None, description="`next_cursor` of the page before.")


class RestoreQuery(Asked):
    """What the list of restores is narrowed to."""

    dataset: int | None = Field(None, ge=1, le=2**53 - 1, description="Number of a dataset.")
    mine: bool = Field(False, description="Only those that you asked for.")
    limit: int = Field(50, ge=1, le=200, description="Most items to answer.")


class CredentialsAsked(Asked):
    """Ask for keys."""

    project: Annotated[Text, Field(min_length=1, strict=True)] = Field(description="The project.")
    purpose: Literal["data", "team"] = Field(
        "data", alias="for", description="`data`: to read its data; `team`: to read and write its team notebooks, for members only."
    )


class Me(BaseModel):
    """Whom the token stands for."""

    name: str = Field(description="User name of the hub; a service's is `service/NAME`.")
    admin: bool = Field(description="Sees every project.")
    projects: list[str] = Field(description="Your own projects; what is public beside them: GET projects.")
    scopes: list[str] = Field(description="Scopes of the archiver that the token carries.")
    team_notebooks: bool = Field(description="Whether this installation has team notebooks.")


class Project(BaseModel):
    """A proposal or group of people; the unit of access."""

    name: str
    title: str
    member: bool = Field(description="Whether you belong to it; else its data are public.")
    pi: str | None = Field(description="Its principal investigator.")
    starts_at: Time | None
    ends_at: Time | None = Field(description="When that has passed nothing is lost and nothing changes.")
    embargo_until: Time | None = Field(description="Until then its data are its members' alone, whatever else is said.")
    public_after: Time | None = Field(description="From then on all who are signed in may read its data, if no embargo goes on; null: never.")
    public_from: Time | None = Field(description="The later of the two: when its data become public, or became; null: never.")
    quota_bytes: int | None = Field(description="What it may hold, if it has a number of its own; told to members.")


class Projects(BaseModel):
    """The projects whose data may be seen."""

    items: list[Project]


class Claim(BaseModel):
    """The dataset shall have a copy in `tier` until `until`."""

    tier: str
    kind: Literal["age", "restore", "hold"] = Field(description="Whether age asks for it, a restore, or a hold.")
    until: Time | None = Field(description="Null: for ever, or while its restore is under way.")
    user: str | None
    reason: str


class FileError(BaseModel):
    """A file that could not be brought back."""

    path: str
    reason: str


class Restore(BaseModel):
    """A person's wish to have a dataset, or files of it, in hot."""

    id: int
    dataset_id: int
    dataset: str = Field(description="Full name of the dataset.")
    user: str
    state: RestoreState
    files_glob: str | None
    keep_days: int
    requested_at: Time
    promised_by: Time | None = Field(description="Null while it waits for an admin: the promise counts from the yes.")
    ready_at: Time | None
    expires_at: Time | None
    ended_at: Time | None
    files_total: int
    files_ready: int
    bytes_total: int
    bytes_ready: int
    errors: list[FileError]
    error: str | None = Field(description="Why it failed or was denied, or what it waits for.")
    priority: int
    from_tier: str | None = Field(description="Where it has to come from: whose promise it is.")
    approved_by: str | None


class Restores(BaseModel):
    """Restores, newest first."""

    items: list[Restore]


class Snapshot(BaseModel):
    """A growing file as it was. It is no file of the dataset, and goes when the file itself is received."""

    path: str = Field(description="Where it stands, below the dataset's `path`.")
    of: str = Field(description="The path that the file will have.")
    size_bytes: int
    sha256: str
    taken_at: Time = Field(description="As of when, by the sender's clock.")
    proven_at: Time


class Dataset(BaseModel):
    """One measurement, where its copies are, and what is claimed."""

    id: int
    project: str
    instrument: str
    name: str
    full_name: str = Field(description="`instrument/name`.")
    state: DatasetState
    tier: str | None = Field(description="The nearest tier with a full set of copies.")
    tiers: list[str] = Field(description="Every tier with a full set of copies, nearest first.")
    prefix: str = Field(description="Where it lies, in each tier's bucket and below /data.")
    path: str = Field(description="Its folder in a notebook.")
    title: str | None
    format: str | None
    metadata: dict[str, Any]
    size_bytes: int
    file_count: int
    received_at: Time
    acquired_at: Time | None
    closed_at: Time | None
    hot_until: Time | None = Field(description="Until when it is claimed in hot; null when it is not, or there is no end yet.")
    readable: Literal["now", "in_place", "after_restore", "not_yet", "never"] = Field(
        description="At its path; from the archive, slower; only after a restore; not yet, as files still arrive; or never again: it was erased."
    )
    back_within_s: int = Field(description="Within how many seconds a restore is promised.")
    claims: list[Claim]
    restore: Restore | None = Field(description="The newest restore that has not ended.")
    problem: str | None
    snapshots: list[Snapshot] = Field(description="Files that are still being written, as they were; while it is open.")
    stub: bool = Field(description="Whether NEVE-ARCHIVED.txt stands in its place in hot.")
    tags: list[str]
    comments: int = Field(description="How many there are: GET datasets/{id}/comments.")
    public: bool = Field(description="Whether all who are signed in may read it.")


class Datasets(BaseModel):
    """A page of datasets, newest data first."""

    items: list[Dataset]
    next_cursor: str | None
    total: int = Field(description="All that fit, on every page together; counted up to 10,000.")
    total_more: bool = Field(description="Whether there are more than that.")


class Copy(BaseModel):
    """Bytes that lie in a store, and how that was proven. With `offset_bytes` they are `size_bytes` of a bundle, from there on."""

    tier: str
    bucket: str | None
    key: str
    version_id: str
    storage_class: str
    proof: Proof
    proven_at: Time
    size_bytes: int
    offset_bytes: int | None


class File(BaseModel):
    """A file of a dataset."""

    id: int
    path: str
    state: FileState
    size_bytes: int
    sha256: str | None = Field(description="Hexadecimal.")
    crc64nvme: str | None = Field(description="Base64, as S3 writes it.")
    format: str | None
    metadata: dict[str, Any]
    metadata_state: MetadataState
    metadata_error: str | None
    has_preview: bool = Field(description="Whether `files/{id}/preview` has something to show.")
    reader_version: int = Field(description="Of the program's readers, when they looked into it; 0: not at all, or before this was recorded.")
    copies: list[Copy]


class Preview(BaseModel):
    """What there is to see of a file without opening it; at most 100 kB."""

    png_base64: str | None = Field(description="A picture of at most 256 × 256 pixels.")
    plot: dict[str, Any] | None = Field(description="Points to plot: `kind` is image, line or waveform; with axes, names and units.")


class Files(BaseModel):
    """A page of files."""

    items: list[File]
    next_cursor: str | None


class Event(BaseModel):
    """One line of a dataset's history."""

    seq: int
    at: Time
    actor: str
    kind: str
    detail: dict[str, Any]


class Events(BaseModel):
    """A page of a dataset's history, oldest first."""

    items: list[Event]
    next_cursor: str | None


class Keys(BaseModel):
    """Keys that read one project's data in hot and archive, for a short time."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expires_at: Time
    endpoint_url: str | None = Field(description="S3 endpoint; null: AWS's own for the region.")
    region: str
    buckets: dict[str, str] = Field(description="Bucket by tier.")


class Check(BaseModel):
    """One thing that the archiver needs."""

    name: str
    ok: bool
    detail: str


class Health(BaseModel):
    """Whether the archiver can do its work."""

    status: Literal["ok", "ill"]
    checks: list[Check]

"""The ledger's tables: one for each noun of model.py, with the same column names.

Law: what must be unique is so by an index, not by hope: one dataset of a name per instrument, one live copy of an object
per tier, one transfer under way per object and tier, one drop per copy, one event per number.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from archiver import model

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(sa.TypeDecorator[datetime]):
    """Aware UTC in Python, naive UTC in the database; a naive time is refused."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without zone reached the ledger")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.replace(tzinfo=UTC)


def speakable(text: str) -> str:
    """Text as every database takes it: PostgreSQL knows no NUL."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


class Text(sa.TypeDecorator[str]):
    """Text of any length, the same on every database."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else speakable(value)


BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""Numbers of rows: 64 bits everywhere. (SQLite's INTEGER has them, and is the only type it counts up by itself.)"""


def _enum(kind: type[StrEnum]) -> sa.Enum:
    return sa.Enum(kind, native_enum=False, length=24, values_callable=lambda members: [m.value for m in members], validate_strings=True)


def _id() -> sa.Column[Any]:
    return sa.Column("id", BigId, primary_key=True)


def _ref(name: str, target: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.ForeignKey(f"{target}.id"), nullable=nullable)


def _time(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, UtcDateTime, nullable=nullable)


def _text(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, Text, nullable=nullable)


def _state(kind: type[StrEnum], name: str = "state") -> sa.Column[Any]:
    return sa.Column(name, _enum(kind), nullable=False)


_LEASED = "lease_by IS NOT NULL"
_CLOSING = "closing_at IS NOT NULL AND state = 'open'"
_STALE = "stale_at IS NOT NULL"
_STANDS = "ended_at IS NULL"
BY_PEOPLE = "actor <> 'archiver' AND actor <> 'rebuild' AND substr(actor, 1, 11) <> 'instrument/'"
"""Of an event: a person (or a program of theirs) did it. The rest, nearly all of them, is what the archiver and instruments do."""
_UNREAD = "metadata_state = 'waiting' AND state = 'received'"

project = sa.Table(
    "project",
    metadata,
    sa.Column("name", Text, primary_key=True),
    _text("title"),
    _time("created_at"),
    _time("public_after", nullable=True),
    _text("pi", nullable=True),
    _time("starts_at", nullable=True),
    _time("ends_at", nullable=True),
    _time("embargo_until", nullable=True),
    sa.Column("quota_bytes", sa.BigInteger, nullable=True),
)
project_change = sa.Table(
    "project_change",
    metadata,
    _id(),
    sa.Column("project", sa.ForeignKey("project.name"), nullable=False),
    _time("at"),
    _text("actor"),
    sa.Column("detail", sa.JSON, nullable=False),
    sa.Index(None, "project"),
)
instrument = sa.Table(
    "instrument",
    metadata,
    sa.Column("name", Text, primary_key=True),
    _text("title"),
    _time("created_at"),
    sa.Column("projects", sa.JSON, nullable=False, server_default="[]"),
    _time("seen_at", nullable=True),
    sa.Column("report", sa.JSON, nullable=True),
)
instrument_key = sa.Table(
    "instrument_key",
    metadata,
    _id(),
    sa.Column("instrument", sa.ForeignKey("instrument.name"), nullable=False),
    _text("sha256"),
    _time("created_at"),
    _time("revoked_at", nullable=True),
    sa.UniqueConstraint("sha256"),
    sa.Index(None, "instrument"),
)

dataset = sa.Table(
    "dataset",
    metadata,
    _id(),
    sa.Column("project", sa.ForeignKey("project.name"), nullable=False),
    sa.Column("instrument", sa.ForeignKey("instrument.name"), nullable=False),
    _text("name"),
    _state(model.DatasetState),
    _text("prefix"),
    _time("received_at"),
    _time("acquired_at", nullable=True),
    _time("closed_at", nullable=True),
    _ref("follows_id", "dataset", nullable=True),
    _time("stub_at", nullable=True),
    _time("look_at", nullable=True),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("file_count", sa.Integer, nullable=False),
    _text("title", nullable=True),
    _text("format", nullable=True),
    sa.Column("metadata", sa.JSON, nullable=False),
    sa.UniqueConstraint("instrument", "name"),
    sa.UniqueConstraint("prefix"),
    _text("lease_by", nullable=True),
    _time("lease_until", nullable=True),
    _text("opened_by", nullable=True),
    _time("closing_at", nullable=True),
    _time("stale_at", nullable=True),
    sa.Index("ix_dataset_stale", "stale_at", sqlite_where=sa.text(_STALE), postgresql_where=sa.text(_STALE)),
    # What the catalog is searched and sorted by (indexing.py).
    sa.Column("place", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("month", sa.Integer, nullable=False, server_default="0"),
    _text("tier", nullable=True),
    _text("called", nullable=True),
    sa.Index("ix_dataset_walk", "place", "project", "instrument", "tier", "format", "state", "month"),
    sa.Index("ix_dataset_cube", "project", "instrument", "tier", "format", "month", "state", "place"),
    sa.Index(None, "instrument", "place"),
    sa.Index(None, "tier", "place"),
    sa.Index(None, "size_bytes", "id"),
    sa.Index("ix_dataset_called", "name", "project", "instrument"),
    sa.Index(None, "project", "name"),
    sa.Index("ix_dataset_closing", "closing_at", sqlite_where=sa.text(_CLOSING), postgresql_where=sa.text(_CLOSING)),
    sa.Index("ix_dataset_lease", "lease_by", sqlite_where=sa.text(_LEASED), postgresql_where=sa.text(_LEASED)),
    sa.Index(None, "look_at"),
)

# What is found by words: a line of folded text for each thing that is said of a dataset. On SQLite an FTS5 index of trigrams stands beside
# it (`search_fts`, kept by triggers), whose rows are in the order of the places; on PostgreSQL one of pg_trgm.
search = sa.Table(
    "search",
    metadata,
    sa.Column("place", BigId, primary_key=True, autoincrement=False),
    sa.Column("words", Text, nullable=False),
    sa.Index("ix_search_words", "words", postgresql_using="gin", postgresql_ops={"words": "gin_trgm_ops"}).ddl_if(dialect="postgresql"),
)

measure = sa.Table(
    "measure",
    metadata,
    sa.Column("place", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("field", Text, primary_key=True),
    sa.Column("value", sa.Float, primary_key=True),
    sa.Index(None, "field", "value", "place"),
)

# How many datasets there are of each kind in each year (2026) and month (202603); kept by triggers.
tally = sa.Table(
    "tally",
    metadata,
    sa.Column("period", sa.Integer, primary_key=True, autoincrement=False),
    *(sa.Column(name, Text, primary_key=True) for name in ("instrument", "tier", "format", "state", "project")),
    sa.Column("n", sa.Integer, nullable=False),
    sqlite_with_rowid=False,
)

# Which fields metadata have, for each project: what may be completed.
field = sa.Table("field", metadata, sa.Column("project", Text, primary_key=True), sa.Column("name", Text, primary_key=True))

tag = sa.Table(
    "tag",
    metadata,
    sa.Column("dataset_id", sa.ForeignKey("dataset.id"), primary_key=True),
    sa.Column("tag", Text, primary_key=True),
    _text("project"),
    sa.Column("place", sa.BigInteger, nullable=False),
    sa.Index(None, "tag", "place", "project"),
    sa.Index("ix_tag_place", "place", "project", "tag"),
)

comment = sa.Table(
    "comment",
    metadata,
    _id(),
    _ref("dataset_id", "dataset"),
    _text("user"),
    _text("text"),
    _time("created_at"),
    _time("changed_at", nullable=True),
    sa.Index(None, "dataset_id"),
)

lineage = sa.Table(
    "lineage",
    metadata,
    sa.Column("dataset_id", sa.ForeignKey("dataset.id"), primary_key=True),
    sa.Column("parent_id", sa.ForeignKey("dataset.id"), primary_key=True),
    sa.Index(None, "parent_id"),
)

object_ = sa.Table(
    "object",
    metadata,
    _id(),
    _ref("dataset_id", "dataset"),
    _state(model.ObjectKind, "kind"),
    _text("key"),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    _text("sha256", nullable=True),
    _text("crc64nvme", nullable=True),
    sa.UniqueConstraint("key"),
    sa.Index(None, "dataset_id"),
)

file = sa.Table(
    "file",
    metadata,
    _id(),
    _ref("dataset_id", "dataset"),
    _text("path"),
    sa.Column("path_raw", sa.LargeBinary, nullable=False),
    _state(model.FileState),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    _text("sha256", nullable=True),
    _text("crc64nvme", nullable=True),
    _ref("object_id", "object"),
    sa.Column("offset_bytes", sa.BigInteger, nullable=False),
    _time("mtime", nullable=True),
    _time("received_at", nullable=True),
    _text("format", nullable=True),
    _state(model.MetadataState, "metadata_state"),
    _text("metadata_error", nullable=True),
    sa.Column("metadata", sa.JSON, nullable=False),
    sa.Column("has_preview", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("reader_version", sa.Integer, nullable=False, server_default="0"),
    sa.UniqueConstraint("dataset_id", "path_raw"),
    sa.Index(None, "object_id"),
    sa.Index("ix_file_unread", "id", sqlite_where=sa.text(_UNREAD), postgresql_where=sa.text(_UNREAD)),
)

member = sa.Table(
    "member",
    metadata,
    sa.Column("bundle_id", sa.ForeignKey("object.id"), primary_key=True),
    sa.Column("object_id", sa.ForeignKey("object.id"), primary_key=True),
    sa.Column("offset_bytes", sa.BigInteger, nullable=False),
    sa.Index(None, "object_id"),
)

copy = sa.Table(
    "copy",
    metadata,
    _id(),
    _ref("object_id", "object"),
    _text("tier"),
    _text("key"),
    _text("version_id"),
    _text("storage_class"),
    _state(model.Proof, "proof"),
    _time("proven_at"),
    _time("dropped_at", nullable=True),
    sa.Index(
        "uq_copy_live", "object_id", "tier", unique=True, sqlite_where=sa.text("dropped_at IS NULL"), postgresql_where=sa.text("dropped_at IS NULL")
    ),
    sa.Index("ix_copy_fixity", "tier", "proven_at", sqlite_where=sa.text("dropped_at IS NULL"), postgresql_where=sa.text("dropped_at IS NULL")),
    sa.Index(None, "tier", "key"),
)

restore = sa.Table(
    "restore",
    metadata,
    _id(),
    _ref("dataset_id", "dataset"),
    _text("user"),
    _text("files_glob", nullable=True),
    sa.Column("keep_days", sa.Integer, nullable=False),
    _state(model.RestoreState),
    _time("requested_at"),
    _time("promised_by"),
    _time("ready_at", nullable=True),
    _time("expires_at", nullable=True),
    _time("ended_at", nullable=True),
    _text("error", nullable=True),
    sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
    sa.Column("size_bytes", sa.BigInteger, nullable=False, server_default="0"),
    _text("from_tier", nullable=True),
    _text("approved_by", nullable=True),
    _text("quote_id", nullable=True),
    sa.Index(None, "dataset_id"),
    sa.Index(None, "state"),
)

claim = sa.Table(
    "claim",
    metadata,
    _id(),
    _ref("dataset_id", "dataset"),
    _text("tier"),
    _state(model.ClaimKind, "kind"),
    _ref("restore_id", "restore", nullable=True),
    _text("user"),
    _text("reason"),
    _time("created_at"),
    _time("until", nullable=True),
    _time("ended_at", nullable=True),
    _text("files_glob", nullable=True),
    sa.Index(None, "dataset_id"),
    sa.Index(None, "restore_id"),
    sa.Index("ix_claim_standing", "until", "id", sqlite_where=sa.text(_STANDS), postgresql_where=sa.text(_STANDS)),
)

recall = sa.Table(
    "recall",
    metadata,
    _id(),
    _ref("copy_id", "copy"),
    _ref("dataset_id", "dataset"),
    _state(model.RecallState),
    _time("asked_at"),
    _time("readable_until", nullable=True),
    _time("updated_at"),
    sa.Index("uq_recall_live", "copy_id", unique=True, sqlite_where=sa.text("state != 'lapsed'"), postgresql_where=sa.text("state != 'lapsed'")),
)

_ENDED = "state NOT IN ('proven', 'cancelled')"
WAITING = "source_uri IS NULL AND state IN ('planned', 'failed')"
"""Transfers between tiers that nobody has begun: there can be millions of them."""
BEGUN = "state IN ('copying', 'verifying')"
_RECALLED = "recall_id IS NOT NULL"
transfer = sa.Table(
    "transfer",
    metadata,
    _id(),
    _ref("object_id", "object"),
    _ref("dataset_id", "dataset"),
    _text("tier"),
    _text("key"),
    _ref("source_copy_id", "copy", nullable=True),
    _text("source_uri", nullable=True),
    _ref("recall_id", "recall", nullable=True),
    _state(model.TransferState),
    sa.Column("attempts", sa.Integer, nullable=False),
    _time("next_try_at"),
    _text("version_id", nullable=True),
    _text("error", nullable=True),
    _time("created_at"),
    _time("updated_at"),
    sa.Column("faults", sa.Integer, nullable=False, server_default="0"),
    sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
    _text("user", nullable=True),
    _text("lease_by", nullable=True),
    _time("lease_until", nullable=True),
    sa.Index("ix_transfer_lease", "lease_by", sqlite_where=sa.text(_LEASED), postgresql_where=sa.text(_LEASED)),
    sa.Index("uq_transfer_live", "object_id", "tier", unique=True, sqlite_where=sa.text(_ENDED), postgresql_where=sa.text(_ENDED)),
    sa.Index("ix_transfer_turn", "tier", "user", "priority", "next_try_at", "id", sqlite_where=sa.text(WAITING), postgresql_where=sa.text(WAITING)),
    sa.Index("ix_transfer_begun", "user", sqlite_where=sa.text(BEGUN), postgresql_where=sa.text(BEGUN)),
    sa.Index("ix_transfer_recall", "recall_id", sqlite_where=sa.text(_RECALLED), postgresql_where=sa.text(_RECALLED)),
    sa.Index(None, "state", "next_try_at"),
    sa.Index(None, "dataset_id", "state"),
)

upload = sa.Table(
    "upload",
    metadata,
    sa.Column("transfer_id", sa.ForeignKey("transfer.id"), primary_key=True),
    _ref("dataset_id", "dataset"),
    sa.Column("path_raw", sa.LargeBinary, nullable=False),
    _text("mark"),
    _text("upload_id", nullable=True),
    _text("expected_sha256", nullable=True),
    _time("sent_at", nullable=True),
    sa.Index(None, "dataset_id", "path_raw"),
)

# Growing files as they were, apart from all that is received: no object, no copy, no transfer of a snapshot is written down.
snapshot = sa.Table(
    "snapshot",
    metadata,
    _id(),
    _ref("dataset_id", "dataset"),
    sa.Column("path_raw", sa.LargeBinary, nullable=False),
    sa.Column("shown_raw", sa.LargeBinary, nullable=False),
    _text("key"),
    _state(model.SnapshotState),
    _time("announced_at"),
    _text("version_id", nullable=True),
    sa.Column("size_bytes", sa.BigInteger, nullable=True),
    _text("sha256", nullable=True),
    _text("mark", nullable=True),
    _time("mtime", nullable=True),
    _time("taken_at", nullable=True),
    _time("proven_at", nullable=True),
    _text("coming_key", nullable=True),
    sa.Column("coming_bytes", sa.BigInteger, nullable=True),
    _text("coming_mark", nullable=True),
    _time("coming_mtime", nullable=True),
    _time("coming_taken_at", nullable=True),
    _text("coming_upload_id", nullable=True),
    _text("coming_sha256", nullable=True),
    _text("coming_version_id", nullable=True),
    _time("next_try_at"),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    _text("error", nullable=True),
    _text("lease_by", nullable=True),
    _time("lease_until", nullable=True),
    sa.UniqueConstraint("dataset_id", "path_raw"),
    sa.UniqueConstraint("key"),
)

_LIVE = "state IN ('planned', 'checked')"
drop = sa.Table(
    "drop",
    metadata,
    _id(),
    _ref("copy_id", "copy"),
    _ref("dataset_id", "dataset"),
    _state(model.DropState),
    _text("reason"),
    _time("created_at"),
    _time("updated_at"),
    sa.Index("uq_drop_live", "copy_id", unique=True, sqlite_where=sa.text(_LIVE), postgresql_where=sa.text(_LIVE)),
    sa.Index(None, "state", "updated_at"),
    sa.Index(None, "dataset_id"),
)

event = sa.Table(
    "event",
    metadata,
    _id(),
    _ref("dataset_id", "dataset"),
    sa.Column("seq", sa.Integer, nullable=False),
    _time("at"),
    _text("actor"),
    _text("kind"),
    sa.Column("detail", sa.JSON, nullable=False),
    sa.Column("hash", Text, nullable=False, server_default=""),
    sa.UniqueConstraint("dataset_id", "seq"),
    sa.Index("ix_event_people", "at", "id", sqlite_where=sa.text(BY_PEOPLE), postgresql_where=sa.text(BY_PEOPLE)),
    sa.Index("ix_event_person", "actor", "at", "id", sqlite_where=sa.text(BY_PEOPLE), postgresql_where=sa.text(BY_PEOPLE)),
)

# What people did that belongs to no dataset; changes of projects stand in `project_change`.
deed = sa.Table(
    "deed",
    metadata,
    _id(),
    _time("at"),
    _text("actor"),
    _text("kind"),
    _text("about"),
    sa.Column("detail", sa.JSON, nullable=False),
)

anchor = sa.Table(
    "anchor",
    metadata,
    sa.Column("day", Text, primary_key=True),
    _time("at"),
    sa.Column("datasets", sa.Integer, nullable=False),
    _text("tier"),
    _text("key"),
    _text("version_id"),
    _text("sha256"),
)

quote = sa.Table(
    "quote",
    metadata,
    sa.Column("id", Text, primary_key=True),
    _text("user"),
    _time("created_at"),
    _time("expires_at"),
    sa.Column("selection", sa.JSON, nullable=False),
    sa.Column("answer", sa.JSON, nullable=False),
    sa.Index(None, "expires_at"),
)

quota = sa.Table(
    "quota",
    metadata,
    sa.Column("kind", Text, primary_key=True),
    sa.Column("name", Text, primary_key=True),
    sa.Column("limit_bytes", sa.BigInteger, nullable=True),
)

location = sa.Table(
    "location",
    metadata,
    sa.Column("dataset_id", sa.ForeignKey("dataset.id"), primary_key=True),
    sa.Column("tier", Text, primary_key=True),
    _time("dirty_at", nullable=True),
    _time("written_at", nullable=True),
    _text("version_id", nullable=True),
    sa.Index(None, "dirty_at"),
)

# Keys in hot that were given up while their senders might send to them still: what comes to stand there is ended.
stray = sa.Table("stray", metadata, sa.Column("key", Text, primary_key=True), _time("since"), _time("due_at"), sa.Index(None, "due_at"))

leftover = sa.Table(
    "leftover",
    metadata,
    _id(),
    _text("tier"),
    _text("key"),
    _text("version_id"),
    _text("why"),
    _state(model.LeftoverState),
    _time("created_at"),
    _time("updated_at"),
    sa.UniqueConstraint("tier", "key", "version_id"),
    sa.Index(None, "state"),
)

KEPT = (model.FindingKind.DAMAGED, model.FindingKind.QUARANTINED)
"""Findings whose version nobody may clear away."""

finding = sa.Table(
    "finding",
    metadata,
    _id(),
    _text("tier"),
    _text("kind"),
    _text("key"),
    _text("version_id", nullable=True),
    _text("detail"),
    _time("found_at"),
    _time("resolved_at", nullable=True),
    sa.Index(None, "tier", "key"),
)

address = sa.Table(
    "address",
    metadata,
    sa.Column("user", Text, primary_key=True),
    _text("email", nullable=True),
    _text("webhook_url", nullable=True),
    _text("webhook_secret", nullable=True),
    sa.Column("wants", sa.Boolean, nullable=False),
)

notice = sa.Table(
    "notice",
    metadata,
    _id(),
    _text("user"),
    _text("kind"),
    _text("day"),
    _text("channel"),
    _text("subject"),
    sa.Column("body", sa.JSON, nullable=False),
    _state(model.NoticeState),
    sa.Column("attempts", sa.Integer, nullable=False),
    _time("next_try_at"),
    _time("created_at"),
    _time("updated_at"),
    _text("error", nullable=True),
    sa.UniqueConstraint("user", "kind", "day", "channel"),
    sa.Index(None, "state", "next_try_at"),
)

erasure = sa.Table(
    "erasure",
    metadata,
    _id(),
    _ref("dataset_id", "dataset"),
    _text("files_glob", nullable=True),
    _text("reason"),
    _state(model.ErasureState),
    _text("asked_by"),
    _time("asked_at"),
    _text("approved_by", nullable=True),
    _time("approved_at", nullable=True),
    _time("ended_at", nullable=True),
    sa.Column("receipt", sa.JSON, nullable=True),
    sa.Index(None, "state"),
    sa.Index(None, "dataset_id"),
)

drill = sa.Table(
    "drill",
    metadata,
    _id(),
    _ref("dataset_id", "dataset"),
    _text("tier"),
    _state(model.DrillState),
    _time("created_at"),
    _time("ended_at", nullable=True),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("seconds", sa.Float, nullable=True),
    _text("error", nullable=True),
    sa.Index(None, "state"),
)

# Work that comes back by the clock (fixity, listings, anchors, notices): who has it in hand, and how it went last time.
chore = sa.Table(
    "chore",
    metadata,
    sa.Column("name", Text, primary_key=True),
    _time("due_at"),
    _text("lease_by", nullable=True),
    _time("lease_until", nullable=True),
    _time("ended_at", nullable=True),
    _text("error", nullable=True),
)

# What the ledger remembers of itself: the settings its `look_at` times were computed under.
note = sa.Table("note", metadata, sa.Column("name", Text, primary_key=True), _text("value"))

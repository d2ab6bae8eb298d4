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


def _enum(kind: type[StrEnum]) -> sa.Enum:
    return sa.Enum(kind, native_enum=False, length=24, values_callable=lambda members: [m.value for m in members], validate_strings=True)


def _id() -> sa.Column[Any]:
    return sa.Column("id", sa.Integer, primary_key=True)


def _ref(name: str, target: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.ForeignKey(f"{target}.id"), nullable=nullable)


def _time(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, UtcDateTime, nullable=nullable)


def _text(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=nullable)


def _state(kind: type[StrEnum], name: str = "state") -> sa.Column[Any]:
    return sa.Column(name, _enum(kind), nullable=False)


project = sa.Table("project", metadata, sa.Column("name", sa.Text, primary_key=True), _text("title"), _time("created_at"))
instrument = sa.Table("instrument", metadata, sa.Column("name", sa.Text, primary_key=True), _text("title"), _time("created_at"))

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
    sa.Index(None, "look_at"),
    sa.Index(None, "project", "acquired_at"),
    sa.Index(None, "name"),
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
    sa.UniqueConstraint("dataset_id", "path_raw"),
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
    sa.Index(None, "dataset_id"),
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
    sa.Index("uq_transfer_live", "object_id", "tier", unique=True, sqlite_where=sa.text(_ENDED), postgresql_where=sa.text(_ENDED)),
    sa.Index(None, "state", "next_try_at"),
    sa.Index(None, "dataset_id"),
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
    sa.Index(None, "state"),
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
    sa.UniqueConstraint("dataset_id", "seq"),
)

# What the ledger remembers of itself: the settings its `look_at` times were computed under.
note = sa.Table("note", metadata, sa.Column("name", sa.Text, primary_key=True), _text("value"))

"""first tables"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "instrument",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_instrument")),
    )
    op.create_table(
        "note",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_note")),
    )
    op.create_table(
        "project",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_project")),
    )
    op.create_table(
        "dataset",
        sa.Column("id", ID, nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Enum("open", "closed", name="datasetstate", native_enum=False, length=24), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(), nullable=False),
        sa.Column("acquired_at", sa.DateTime(), nullable=True),
        sa.Column("closed_at", sa.DateTime(), nullable=True),
        sa.Column("follows_id", ID, nullable=True),
        sa.Column("stub_at", sa.DateTime(), nullable=True),
        sa.Column("look_at", sa.DateTime(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("file_count", sa.Integer(), nullable=False),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("format", sa.Text(), nullable=True),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["follows_id"], ["dataset.id"], name=op.f("fk_dataset_follows_id")),
        sa.ForeignKeyConstraint(["instrument"], ["instrument.name"], name=op.f("fk_dataset_instrument")),
        sa.ForeignKeyConstraint(["project"], ["project.name"], name=op.f("fk_dataset_project")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dataset")),
        sa.UniqueConstraint("instrument", "name", name=op.f("uq_dataset_instrument_name")),
        sa.UniqueConstraint("prefix", name=op.f("uq_dataset_prefix")),
    )
    with op.batch_alter_table("dataset", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_dataset_look_at"), ["look_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_dataset_name"), ["name"], unique=False)
        batch_op.create_index(batch_op.f("ix_dataset_project_acquired_at"), ["project", "acquired_at"], unique=False)

    op.create_table(
        "event",
        sa.Column("id", ID, nullable=False),
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_event_dataset_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
        sa.UniqueConstraint("dataset_id", "seq", name=op.f("uq_event_dataset_id_seq")),
    )
    op.create_table(
        "object",
        sa.Column("id", ID, nullable=False),
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("kind", sa.Enum("file", "manifest", name="objectkind", native_enum=False, length=24), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("crc64nvme", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_object_dataset_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_object")),
        sa.UniqueConstraint("key", name=op.f("uq_object_key")),
    )
    with op.batch_alter_table("object", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_object_dataset_id"), ["dataset_id"], unique=False)

    op.create_table(
        "restore",
        sa.Column("id", ID, nullable=False),
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("files_glob", sa.Text(), nullable=True),
        sa.Column("keep_days", sa.Integer(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "requested",
                "queued",
                "recalling",
                "copying",
                "ready",
                "partly_ready",
                "expired",
                "cancelled",
                "failed",
                name="restorestate",
                native_enum=False,
                length=24,
            ),
            nullable=False,
        ),
        sa.Column("requested_at", sa.DateTime(), nullable=False),
        sa.Column("promised_by", sa.DateTime(), nullable=False),
        sa.Column("ready_at", sa.DateTime(), nullable=True),
        sa.Column("expires_at", sa.DateTime(), nullable=True),
        sa.Column("ended_at", sa.DateTime(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_restore_dataset_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_restore")),
    )
    with op.batch_alter_table("restore", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_restore_dataset_id"), ["dataset_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_restore_state"), ["state"], unique=False)

    op.create_table(
        "claim",
        sa.Column("id", ID, nullable=False),
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("kind", sa.Enum("restore", name="claimkind", native_enum=False, length=24), nullable=False),
        sa.Column("restore_id", ID, nullable=True),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("until", sa.DateTime(), nullable=True),
        sa.Column("ended_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_claim_dataset_id")),
        sa.ForeignKeyConstraint(["restore_id"], ["restore.id"], name=op.f("fk_claim_restore_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_claim")),
    )
    with op.batch_alter_table("claim", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_claim_dataset_id"), ["dataset_id"], unique=False)

    op.create_table(
        "copy",
        sa.Column("id", ID, nullable=False),
        sa.Column("object_id", ID, nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("storage_class", sa.Text(), nullable=False),
        sa.Column("proof", sa.Enum("read-back", "store-sha256", "store-crc64nvme", name="proof", native_enum=False, length=24), nullable=False),
        sa.Column("proven_at", sa.DateTime(), nullable=False),
        sa.Column("dropped_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["object_id"], ["object.id"], name=op.f("fk_copy_object_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_copy")),
    )
    with op.batch_alter_table("copy", schema=None) as batch_op:
        batch_op.create_index(
            "uq_copy_live",
            ["object_id", "tier"],
            unique=True,
            sqlite_where=sa.text("dropped_at IS NULL"),
            postgresql_where=sa.text("dropped_at IS NULL"),
        )

    op.create_table(
        "file",
        sa.Column("id", ID, nullable=False),
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("path_raw", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Enum("arriving", "received", name="filestate", native_enum=False, length=24), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("crc64nvme", sa.Text(), nullable=True),
        sa.Column("object_id", ID, nullable=False),
        sa.Column("offset_bytes", sa.BigInteger(), nullable=False),
        sa.Column("mtime", sa.DateTime(), nullable=True),
        sa.Column("received_at", sa.DateTime(), nullable=True),
        sa.Column("format", sa.Text(), nullable=True),
        sa.Column("metadata_state", sa.Enum("none", "ok", "failed", name="metadatastate", native_enum=False, length=24), nullable=False),
        sa.Column("metadata_error", sa.Text(), nullable=True),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_file_dataset_id")),
        sa.ForeignKeyConstraint(["object_id"], ["object.id"], name=op.f("fk_file_object_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_file")),
        sa.UniqueConstraint("dataset_id", "path_raw", name=op.f("uq_file_dataset_id_path_raw")),
    )
    with op.batch_alter_table("file", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_file_object_id"), ["object_id"], unique=False)

    op.create_table(
        "drop",
        sa.Column("id", ID, nullable=False),
        sa.Column("copy_id", ID, nullable=False),
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("state", sa.Enum("planned", "checked", "dropped", "revoked", name="dropstate", native_enum=False, length=24), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["copy_id"], ["copy.id"], name=op.f("fk_drop_copy_id")),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_drop_dataset_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drop")),
    )
    with op.batch_alter_table("drop", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_drop_state"), ["state"], unique=False)
        batch_op.create_index(
            "uq_drop_live",
            ["copy_id"],
            unique=True,
            sqlite_where=sa.text("state IN ('planned', 'checked')"),
            postgresql_where=sa.text("state IN ('planned', 'checked')"),
        )

    op.create_table(
        "recall",
        sa.Column("id", ID, nullable=False),
        sa.Column("copy_id", ID, nullable=False),
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("state", sa.Enum("asked", "running", "readable", "lapsed", name="recallstate", native_enum=False, length=24), nullable=False),
        sa.Column("asked_at", sa.DateTime(), nullable=False),
        sa.Column("readable_until", sa.DateTime(), nullable=True),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["copy_id"], ["copy.id"], name=op.f("fk_recall_copy_id")),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_recall_dataset_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recall")),
    )
    with op.batch_alter_table("recall", schema=None) as batch_op:
        batch_op.create_index(
            "uq_recall_live", ["copy_id"], unique=True, sqlite_where=sa.text("state != 'lapsed'"), postgresql_where=sa.text("state != 'lapsed'")
        )

    op.create_table(
        "transfer",
        sa.Column("id", ID, nullable=False),
        sa.Column("object_id", ID, nullable=False),
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("source_copy_id", ID, nullable=True),
        sa.Column("source_uri", sa.Text(), nullable=True),
        sa.Column("recall_id", ID, nullable=True),
        sa.Column(
            "state",
            sa.Enum(
                "planned",
                "recalling",
                "copying",
                "verifying",
                "proven",
                "failed",
                "quarantined",
                "cancelled",
                name="transferstate",
                native_enum=False,
                length=24,
            ),
            nullable=False,
        ),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_try_at", sa.DateTime(), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_transfer_dataset_id")),
        sa.ForeignKeyConstraint(["object_id"], ["object.id"], name=op.f("fk_transfer_object_id")),
        sa.ForeignKeyConstraint(["recall_id"], ["recall.id"], name=op.f("fk_transfer_recall_id")),
        sa.ForeignKeyConstraint(["source_copy_id"], ["copy.id"], name=op.f("fk_transfer_source_copy_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transfer")),
    )
    with op.batch_alter_table("transfer", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_transfer_dataset_id"), ["dataset_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_transfer_state_next_try_at"), ["state", "next_try_at"], unique=False)
        batch_op.create_index(
            "uq_transfer_live",
            ["object_id", "tier"],
            unique=True,
            sqlite_where=sa.text("state NOT IN ('proven', 'cancelled')"),
            postgresql_where=sa.text("state NOT IN ('proven', 'cancelled')"),
        )


def downgrade() -> None:
    raise NotImplementedError("the ledger only goes forward; restore a backup instead")

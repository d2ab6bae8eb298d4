"""Snapshots of files that grow."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "snapshot",
        sa.Column("id", ID, nullable=False),
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("path_raw", sa.LargeBinary(), nullable=False),
        sa.Column("shown_raw", sa.LargeBinary(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=24), nullable=False),
        sa.Column("announced_at", sa.DateTime(), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("mark", sa.Text(), nullable=True),
        sa.Column("mtime", sa.DateTime(), nullable=True),
        sa.Column("taken_at", sa.DateTime(), nullable=True),
        sa.Column("proven_at", sa.DateTime(), nullable=True),
        sa.Column("coming_key", sa.Text(), nullable=True),
        sa.Column("coming_bytes", sa.BigInteger(), nullable=True),
        sa.Column("coming_mark", sa.Text(), nullable=True),
        sa.Column("coming_mtime", sa.DateTime(), nullable=True),
        sa.Column("coming_taken_at", sa.DateTime(), nullable=True),
        sa.Column("coming_upload_id", sa.Text(), nullable=True),
        sa.Column("coming_sha256", sa.Text(), nullable=True),
        sa.Column("coming_version_id", sa.Text(), nullable=True),
        sa.Column("next_try_at", sa.DateTime(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("lease_by", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_snapshot_dataset_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshot")),
        sa.UniqueConstraint("dataset_id", "path_raw", name=op.f("uq_snapshot_dataset_id_path_raw")),
        sa.UniqueConstraint("key", name=op.f("uq_snapshot_key")),
    )


def downgrade() -> None:
    op.drop_table("snapshot")

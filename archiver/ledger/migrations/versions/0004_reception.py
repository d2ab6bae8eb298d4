"""Instruments with keys of their own, uploads from outside, datasets that are about to close."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
CLOSING = "closing_at IS NOT NULL AND state = 'open'"
UNREAD = "metadata_state = 'waiting' AND state = 'received'"


def upgrade() -> None:
    with op.batch_alter_table("instrument", schema=None) as batch_op:
        batch_op.add_column(sa.Column("projects", sa.JSON(), nullable=False, server_default="[]"))
        batch_op.add_column(sa.Column("seen_at", sa.DateTime(), nullable=True))
        batch_op.add_column(sa.Column("report", sa.JSON(), nullable=True))
    with op.batch_alter_table("dataset", schema=None) as batch_op:
        batch_op.add_column(sa.Column("opened_by", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("closing_at", sa.DateTime(), nullable=True))
    with op.batch_alter_table("file", schema=None) as batch_op:
        batch_op.add_column(sa.Column("has_preview", sa.Boolean(), nullable=False, server_default=sa.false()))
    closing, unread = sa.text(CLOSING), sa.text(UNREAD)
    op.create_index("ix_dataset_closing", "dataset", ["closing_at"], sqlite_where=closing, postgresql_where=closing)
    op.create_index("ix_file_unread", "file", ["id"], sqlite_where=unread, postgresql_where=unread)
    op.create_table(
        "instrument_key",
        sa.Column("id", ID, nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("revoked_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["instrument"], ["instrument.name"], name=op.f("fk_instrument_key_instrument")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instrument_key")),
        sa.UniqueConstraint("sha256", name=op.f("uq_instrument_key_sha256")),
    )
    op.create_index(op.f("ix_instrument_key_instrument"), "instrument_key", ["instrument"], unique=False)
    op.create_table(
        "upload",
        sa.Column("transfer_id", ID, nullable=False),
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("path_raw", sa.LargeBinary(), nullable=False),
        sa.Column("mark", sa.Text(), nullable=False),
        sa.Column("upload_id", sa.Text(), nullable=True),
        sa.Column("expected_sha256", sa.Text(), nullable=True),
        sa.Column("sent_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_upload_dataset_id")),
        sa.ForeignKeyConstraint(["transfer_id"], ["transfer.id"], name=op.f("fk_upload_transfer_id")),
        sa.PrimaryKeyConstraint("transfer_id", name=op.f("pk_upload")),
    )
    op.create_index(op.f("ix_upload_dataset_id_path_raw"), "upload", ["dataset_id", "path_raw"], unique=False)


def downgrade() -> None:
    op.drop_table("upload")
    op.drop_table("instrument_key")
    op.drop_index("ix_file_unread", "file")
    op.drop_index("ix_dataset_closing", "dataset")
    with op.batch_alter_table("file", schema=None) as batch_op:
        batch_op.drop_column("has_preview")
    with op.batch_alter_table("dataset", schema=None) as batch_op:
        batch_op.drop_column("closing_at")
        batch_op.drop_column("opened_by")
    with op.batch_alter_table("instrument", schema=None) as batch_op:
        batch_op.drop_column("report")
        batch_op.drop_column("seen_at")
        batch_op.drop_column("projects")

"""With which version of the readers (formats.VERSION) each file was looked into; datasets whose own metadata are to be derived anew."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STALE = "stale_at IS NOT NULL"


def upgrade() -> None:
    with op.batch_alter_table("file", schema=None) as batch_op:
        batch_op.add_column(sa.Column("reader_version", sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table("dataset", schema=None) as batch_op:
        batch_op.add_column(sa.Column("stale_at", sa.DateTime(), nullable=True))
    stale = sa.text(STALE)
    op.create_index("ix_dataset_stale", "dataset", ["stale_at"], sqlite_where=stale, postgresql_where=stale)


def downgrade() -> None:
    op.drop_index("ix_dataset_stale", "dataset")
    with op.batch_alter_table("dataset", schema=None) as batch_op:
        batch_op.drop_column("stale_at")
    with op.batch_alter_table("file", schema=None) as batch_op:
        batch_op.drop_column("reader_version")

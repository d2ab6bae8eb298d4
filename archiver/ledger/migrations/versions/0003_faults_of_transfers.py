"""Faults of transfers are counted apart from attempts: a store that was away is no reason to give up.

What the reaper left alone because the ledger counts on it is no leftover: it can be left anew, should that change.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("transfer", schema=None) as batch_op:
        batch_op.add_column(sa.Column("faults", sa.Integer(), nullable=False, server_default="0"))
    op.execute("DELETE FROM leftover WHERE why = 'The ledger counts on it as a copy: it stays.'")


def downgrade() -> None:
    with op.batch_alter_table("transfer", schema=None) as batch_op:
        batch_op.drop_column("faults")

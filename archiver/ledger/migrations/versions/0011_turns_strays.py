"""The next transfers are found along an index, however many wait; and keys that were given up while something could come to them are written down."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

WAITING = sa.text("source_uri IS NULL AND state IN ('planned', 'failed')")
BEGUN = sa.text("state IN ('copying', 'verifying')")
RECALLED = sa.text("recall_id IS NOT NULL")


def upgrade() -> None:
    turn = ["tier", "user", "priority", "next_try_at", "id"]
    op.create_index("ix_transfer_turn", "transfer", turn, sqlite_where=WAITING, postgresql_where=WAITING)
    op.create_index("ix_transfer_begun", "transfer", ["user"], sqlite_where=BEGUN, postgresql_where=BEGUN)
    op.create_index("ix_transfer_recall", "transfer", ["recall_id"], sqlite_where=RECALLED, postgresql_where=RECALLED)
    op.create_table(
        "stray",
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("since", sa.DateTime(), nullable=False),
        sa.Column("due_at", sa.DateTime(), nullable=False),
    )
    op.create_index("ix_stray_due_at", "stray", ["due_at"])
    # An arrival's attempts are counted as it begins: of those that have begun, something may stand at their keys; of those given up, nothing.
    op.execute("UPDATE transfer SET attempts = 1 WHERE attempts = 0 AND source_uri IS NOT NULL AND state IN ('copying', 'verifying', 'failed')")
    op.execute("UPDATE transfer SET attempts = 0 WHERE source_uri IS NOT NULL AND state = 'quarantined'")


def downgrade() -> None:
    op.drop_table("stray")
    for name in ("ix_transfer_recall", "ix_transfer_begun", "ix_transfer_turn"):
        op.drop_index(name, "transfer")

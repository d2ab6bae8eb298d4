"""What people did is found by who and when, holds that stand by their end; and what was done that belongs to no dataset is written down."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

STANDS = sa.text("ended_at IS NULL")
BY_PEOPLE = sa.text("actor <> 'archiver' AND actor <> 'rebuild' AND substr(actor, 1, 11) <> 'instrument/'")


def upgrade() -> None:
    op.create_table(
        "deed",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
    )
    op.create_index("ix_claim_standing", "claim", ["until", "id"], sqlite_where=STANDS, postgresql_where=STANDS)
    op.create_index("ix_event_people", "event", ["at", "id"], sqlite_where=BY_PEOPLE, postgresql_where=BY_PEOPLE)
    op.create_index("ix_event_person", "event", ["actor", "at", "id"], sqlite_where=BY_PEOPLE, postgresql_where=BY_PEOPLE)


def downgrade() -> None:
    op.drop_index("ix_event_person", "event")
    op.drop_index("ix_event_people", "event")
    op.drop_index("ix_claim_standing", "claim")
    op.drop_table("deed")

"""Facts of projects: who leads it, when it begins and ends, its embargo, what it may hold; and who changed what."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TIMES = ("starts_at", "ends_at", "embargo_until")


def upgrade() -> None:
    op.add_column("project", sa.Column("pi", sa.Text(), nullable=True))
    for name in TIMES:
        op.add_column("project", sa.Column(name, sa.DateTime(), nullable=True))
    op.add_column("project", sa.Column("quota_bytes", sa.BigInteger(), nullable=True))
    op.create_table(
        "project_change",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("project", sa.Text(), sa.ForeignKey("project.name", name=op.f("fk_project_change_project")), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
    )
    op.create_index("ix_project_change_project", "project_change", ["project"])


def downgrade() -> None:
    op.drop_table("project_change")
    with op.batch_alter_table("project", schema=None) as batch_op:
        for name in ("quota_bytes", *reversed(TIMES), "pi"):
            batch_op.drop_column(name)

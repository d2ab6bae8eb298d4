"""Chains, bundles, leases, quotes, locations, notices, erasures, drills."""

from __future__ import annotations

from datetime import UTC

import sqlalchemy as sa
from alembic import op

from archiver import chain

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

LEASED = "lease_by IS NOT NULL"
ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _new_tables()
    _new_columns()
    _chain()
    _locate()


def _locate() -> None:
    """No location record is written yet: all are due."""
    op.execute(
        "INSERT INTO location (dataset_id, tier, dirty_at) SELECT DISTINCT object.dataset_id, copy.tier, copy.proven_at FROM copy "
        "JOIN object ON object.id = copy.object_id WHERE copy.dropped_at IS NULL AND copy.proven_at = (SELECT max(newest.proven_at) "
        "FROM copy AS newest JOIN object AS its ON its.id = newest.object_id WHERE its.dataset_id = object.dataset_id AND newest.tier = copy.tier)"
    )


def _new_tables() -> None:
    op.create_table(
        "address",
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("webhook_url", sa.Text(), nullable=True),
        sa.Column("webhook_secret", sa.Text(), nullable=True),
        sa.Column("wants", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("user", name=op.f("pk_address")),
    )
    op.create_table(
        "anchor",
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("datasets", sa.Integer(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_anchor")),
    )
    op.create_table(
        "chore",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("due_at", sa.DateTime(), nullable=False),
        sa.Column("lease_by", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(), nullable=True),
        sa.Column("ended_at", sa.DateTime(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_chore")),
    )
    op.create_table(
        "finding",
        sa.Column("id", ID, nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("found_at", sa.DateTime(), nullable=False),
        sa.Column("resolved_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_finding")),
    )
    with op.batch_alter_table("finding", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_finding_tier_key"), ["tier", "key"], unique=False)

    op.create_table(
        "leftover",
        sa.Column("id", ID, nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("state", sa.Enum("found", "cleared", name="leftoverstate", native_enum=False, length=24), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leftover")),
        sa.UniqueConstraint("tier", "key", "version_id", name=op.f("uq_leftover_tier_key_version_id")),
    )
    with op.batch_alter_table("leftover", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_leftover_state"), ["state"], unique=False)

    op.create_table(
        "notice",
        sa.Column("id", ID, nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("state", sa.Enum("waiting", "sent", "given_up", name="noticestate", native_enum=False, length=24), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_try_at", sa.DateTime(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notice")),
        sa.UniqueConstraint("user", "kind", "day", "channel", name=op.f("uq_notice_user_kind_day_channel")),
    )
    with op.batch_alter_table("notice", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_notice_state_next_try_at"), ["state", "next_try_at"], unique=False)

    op.create_table(
        "quota",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("limit_bytes", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("kind", "name", name=op.f("pk_quota")),
    )
    op.create_table(
        "quote",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.Column("selection", sa.JSON(), nullable=False),
        sa.Column("answer", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quote")),
    )
    with op.batch_alter_table("quote", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_quote_expires_at"), ["expires_at"], unique=False)

    op.create_table(
        "drill",
        sa.Column("id", ID, nullable=False),
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("state", sa.Enum("planned", "running", "passed", "failed", name="drillstate", native_enum=False, length=24), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("ended_at", sa.DateTime(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_drill_dataset_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drill")),
    )
    with op.batch_alter_table("drill", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_drill_state"), ["state"], unique=False)

    op.create_table(
        "erasure",
        sa.Column("id", ID, nullable=False),
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("files_glob", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "state",
            sa.Enum("requested", "approved", "erasing", "erased", "withdrawn", name="erasurestate", native_enum=False, length=24),
            nullable=False,
        ),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(), nullable=False),
        sa.Column("approved_by", sa.Text(), nullable=True),
        sa.Column("approved_at", sa.DateTime(), nullable=True),
        sa.Column("ended_at", sa.DateTime(), nullable=True),
        sa.Column("receipt", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_erasure_dataset_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasure")),
    )
    with op.batch_alter_table("erasure", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_erasure_dataset_id"), ["dataset_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_erasure_state"), ["state"], unique=False)

    op.create_table(
        "location",
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("dirty_at", sa.DateTime(), nullable=True),
        sa.Column("written_at", sa.DateTime(), nullable=True),
        sa.Column("version_id", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_location_dataset_id")),
        sa.PrimaryKeyConstraint("dataset_id", "tier", name=op.f("pk_location")),
    )
    with op.batch_alter_table("location", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_location_dirty_at"), ["dirty_at"], unique=False)

    op.create_table(
        "member",
        sa.Column("bundle_id", ID, nullable=False),
        sa.Column("object_id", ID, nullable=False),
        sa.Column("offset_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["bundle_id"], ["object.id"], name=op.f("fk_member_bundle_id")),
        sa.ForeignKeyConstraint(["object_id"], ["object.id"], name=op.f("fk_member_object_id")),
        sa.PrimaryKeyConstraint("bundle_id", "object_id", name=op.f("pk_member")),
    )
    with op.batch_alter_table("member", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_member_object_id"), ["object_id"], unique=False)


def _new_columns() -> None:
    with op.batch_alter_table("claim", schema=None) as batch_op:
        batch_op.add_column(sa.Column("files_glob", sa.Text(), nullable=True))
        batch_op.create_index(batch_op.f("ix_claim_restore_id"), ["restore_id"], unique=False)

    with op.batch_alter_table("copy", schema=None) as batch_op:
        batch_op.create_index(
            "ix_copy_fixity",
            ["tier", "proven_at"],
            unique=False,
            sqlite_where=sa.text("dropped_at IS NULL"),
            postgresql_where=sa.text("dropped_at IS NULL"),
        )
        batch_op.create_index(batch_op.f("ix_copy_tier_key"), ["tier", "key"], unique=False)

    with op.batch_alter_table("dataset", schema=None) as batch_op:
        batch_op.add_column(sa.Column("lease_by", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("lease_until", sa.DateTime(), nullable=True))
        batch_op.create_index("ix_dataset_lease", ["lease_by"], sqlite_where=sa.text(LEASED), postgresql_where=sa.text(LEASED))

    with op.batch_alter_table("drop", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_drop_state"))
        batch_op.create_index(batch_op.f("ix_drop_state_updated_at"), ["state", "updated_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_drop_dataset_id"), ["dataset_id"], unique=False)

    with op.batch_alter_table("event", schema=None) as batch_op:
        batch_op.add_column(sa.Column("hash", sa.Text(), server_default="", nullable=False))

    with op.batch_alter_table("restore", schema=None) as batch_op:
        batch_op.add_column(sa.Column("priority", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("size_bytes", sa.BigInteger(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("from_tier", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("approved_by", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("quote_id", sa.Text(), nullable=True))

    with op.batch_alter_table("transfer", schema=None) as batch_op:
        batch_op.add_column(sa.Column("priority", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("user", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("lease_by", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("lease_until", sa.DateTime(), nullable=True))
        batch_op.create_index("ix_transfer_lease", ["lease_by"], sqlite_where=sa.text(LEASED), postgresql_where=sa.text(LEASED))
        batch_op.drop_index(batch_op.f("ix_transfer_dataset_id"))
        batch_op.create_index(batch_op.f("ix_transfer_dataset_id_state"), ["dataset_id", "state"], unique=False)


def _chain() -> None:
    """Link the events that are there, each dataset's in order."""
    db = op.get_bind()
    datasets = sa.table("dataset", sa.column("id", ID), sa.column("instrument", sa.Text), sa.column("name", sa.Text))
    event = sa.table(
        "event",
        sa.column("id", ID),
        sa.column("dataset_id", ID),
        sa.column("seq", sa.Integer),
        sa.column("at", sa.DateTime),
        sa.column("actor", sa.Text),
        sa.column("kind", sa.Text),
        sa.column("detail", sa.JSON),
        sa.column("hash", sa.Text),
    )
    hashes: list[dict[str, object]] = []
    setting = sa.update(event).where(event.c.id == sa.bindparam("of")).values(hash=sa.bindparam("digest"))
    last, before = None, chain.GENESIS
    at = (0, 0)
    while True:
        page = sa.select(event, datasets.c.instrument, datasets.c.name).join(datasets, datasets.c.id == event.c.dataset_id)
        page = page.where(sa.tuple_(event.c.dataset_id, event.c.seq) > sa.tuple_(*at)).order_by(event.c.dataset_id, event.c.seq).limit(1000)
        rows = db.execute(page).all()
        if not rows:
            return
        for row in rows:
            if row.dataset_id != last:
                last, before = row.dataset_id, chain.GENESIS
            said = chain.said(f"{row.instrument}/{row.name}", row.seq, row.at.replace(tzinfo=UTC), row.actor, row.kind, row.detail)
            before = chain.link(before, said)
            hashes.append({"of": row.id, "digest": before})
        db.execute(setting, hashes)
        hashes.clear()
        at = (rows[-1].dataset_id, rows[-1].seq)


def downgrade() -> None:
    raise NotImplementedError("the ledger only goes forward; restore a backup instead")

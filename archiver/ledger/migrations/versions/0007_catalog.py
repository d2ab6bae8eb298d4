"""The catalog: what datasets are searched by, tags, comments, lineage, and when a project's data become public."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from archiver.ledger import indexing
from archiver.ledger.tables import UtcDateTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INDEXES = {
    "ix_dataset_walk": ["place", "project", "instrument", "tier", "format", "state"],
    "ix_dataset_cube": ["project", "instrument", "tier", "format", "month", "state", "place"],
    "ix_dataset_instrument_place": ["instrument", "place"],
    "ix_dataset_tier_place": ["tier", "place"],
    "ix_dataset_size_bytes_id": ["size_bytes", "id"],
    "ix_dataset_called": ["name", "project", "instrument"],
    "ix_dataset_project_name": ["project", "name"],
}
OLD_INDEXES = {"ix_dataset_project_acquired_at": ["project", "acquired_at"], "ix_dataset_name": ["name"]}
WRITTEN = {"search": ("place", "words"), "measure": ("place", "field", "value"), "field": ("project", "name")}
KEPT_BY_TRIGGERS = (
    "CREATE VIRTUAL TABLE search_fts USING fts5(words, content='search', content_rowid='place', tokenize='trigram case_sensitive 1', detail=none)",
    "CREATE TRIGGER search_added AFTER INSERT ON search BEGIN INSERT INTO search_fts(rowid, words) VALUES (new.place, new.words); END",
    """CREATE TRIGGER search_ended AFTER DELETE ON search BEGIN
    INSERT INTO search_fts(search_fts, rowid, words) VALUES ('delete', old.place, old.words); END""",
)


def upgrade() -> None:
    connection = op.get_bind()
    sqlite = connection.dialect.name == "sqlite"
    # Names, words and tags are compared byte by byte on every database, whatever its locale.
    words = sa.Text() if sqlite else sa.Text(collation="C")
    op.add_column("project", sa.Column("public_after", sa.DateTime(), nullable=True))
    op.add_column("dataset", sa.Column("place", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("dataset", sa.Column("month", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("dataset", sa.Column("tier", sa.Text(), nullable=True))
    op.add_column("dataset", sa.Column("called", sa.Text(), nullable=True))
    if not sqlite:
        op.alter_column("dataset", "name", type_=words, existing_nullable=False)
    for name in OLD_INDEXES:
        op.drop_index(name, "dataset")
    for name, columns in INDEXES.items():
        op.create_index(name, "dataset", columns)
    op.create_table(
        "search",
        sa.Column("place", ID, nullable=False, autoincrement=False),
        sa.Column("words", words, nullable=False),
        sa.PrimaryKeyConstraint("place", name=op.f("pk_search")),
    )
    op.create_table(
        "measure",
        sa.Column("place", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("field", words, nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("place", "field", "value", name=op.f("pk_measure")),
    )
    op.create_index("ix_measure_field_value_place", "measure", ["field", "value", "place"])
    op.create_table(
        "field",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("name", words, nullable=False),
        sa.PrimaryKeyConstraint("project", "name", name=op.f("pk_field")),
    )
    op.create_table(
        "tag",
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("tag", words, nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_tag_dataset_id")),
        sa.PrimaryKeyConstraint("dataset_id", "tag", name=op.f("pk_tag")),
    )
    op.create_index("ix_tag_tag_place_project", "tag", ["tag", "place", "project"])
    op.create_table(
        "comment",
        sa.Column("id", ID, nullable=False),
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("changed_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_comment_dataset_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_comment")),
    )
    op.create_index("ix_comment_dataset_id", "comment", ["dataset_id"])
    op.create_table(
        "lineage",
        sa.Column("dataset_id", ID, nullable=False),
        sa.Column("parent_id", ID, nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_lineage_dataset_id")),
        sa.ForeignKeyConstraint(["parent_id"], ["dataset.id"], name=op.f("fk_lineage_parent_id")),
        sa.PrimaryKeyConstraint("dataset_id", "parent_id", name=op.f("pk_lineage")),
    )
    op.create_index("ix_lineage_parent_id", "lineage", ["parent_id"])
    if sqlite:
        for statement in KEPT_BY_TRIGGERS:
            op.execute(statement)
    _index(connection)
    if not sqlite:
        op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")  # its database's owner may; it comes with PostgreSQL
        op.execute("CREATE INDEX ix_search_words ON search USING gin (words gin_trgm_ops)")
    # The tier of each is noted when the worker looks at it next.
    op.execute("UPDATE dataset SET look_at = received_at WHERE state = 'closed'")


def _index(connection: sa.Connection) -> None:
    """All datasets that are there, a thousand at a time."""
    told = ("id", "project", "instrument", "name", "title")
    times = [sa.column(name, UtcDateTime) for name in ("received_at", "acquired_at")]
    dataset = sa.table("dataset", *map(sa.column, (*told, "place", "month")), *times, sa.column("metadata", sa.JSON))
    c = dataset.c
    tables = {name: sa.table(name, *map(sa.column, columns)) for name, columns in WRITTEN.items()}
    last, known = 0, set[tuple[str, str]]()
    while page := connection.execute(sa.select(dataset).where(c.id > last).order_by(c.id).limit(1000)).all():
        last = page[-1].id
        whens = [row.acquired_at or row.received_at for row in page]
        places = [indexing.place_of(when, row.id) for row, when in zip(page, whens, strict=True)]
        moved = [{"of": row.id, "at": place, "in": when.year * 100 + when.month} for row, place, when in zip(page, places, whens, strict=True)]
        change = sa.update(dataset).where(c.id == sa.bindparam("of")).values(place=sa.bindparam("at"), month=sa.bindparam("in"))
        connection.execute(change, moved)
        told_of = [indexing.told(f"{row.instrument}/{row.name}", row.project, row.title, row.metadata, (), ()) for row in page]
        rows = {"search": [{"place": place, "words": entry.words} for place, entry in zip(places, told_of, strict=True)]}
        rows["measure"] = [
            {"place": place, "field": name, "value": value} for place, entry in zip(places, told_of, strict=True) for name, value in entry.measures
        ]
        fields = {(row.project, name) for row, entry in zip(page, told_of, strict=True) for name in entry.fields} - known
        known |= fields
        rows["field"] = [{"project": project, "name": name} for project, name in sorted(fields)]
        for name, new in rows.items():
            if new:
                connection.execute(sa.insert(tables[name]), new)


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TABLE search_fts")
    for table in ("lineage", "comment", "tag", "field", "measure", "search"):
        op.drop_table(table)
    for name in INDEXES:
        op.drop_index(name, "dataset")
    for name, columns in OLD_INDEXES.items():
        op.create_index(name, "dataset", columns)
    with op.batch_alter_table("dataset", schema=None) as batch_op:
        for column in ("tier", "month", "place"):
            batch_op.drop_column(column)
    with op.batch_alter_table("project", schema=None) as batch_op:
        batch_op.drop_column("public_after")

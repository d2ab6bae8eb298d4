"""How many datasets there are of each kind and time: counts and facets of any range are read from a few rows, kept by triggers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

KEY = ("period", "instrument", "tier", "format", "state", "project")
WALK = ["place", "project", "instrument", "tier", "format", "state"]
_ROW = "{period}, {row}.instrument, coalesce({row}.tier, ''), coalesce({row}.format, ''), {row}.state, {row}.project"
_CHANGED = "month, project, instrument, tier, format, state"


def _added(row: str, period: str) -> str:
    return f"""INSERT INTO tally ({", ".join(KEY)}, n) SELECT {_ROW.format(period=period, row=row)}, 1 WHERE {row}.month > 0
        ON CONFLICT ({", ".join(KEY)}) DO UPDATE SET n = tally.n + 1;"""


def _taken(row: str, period: str) -> str:
    at = f"({', '.join(KEY)}) = ({_ROW.format(period=period, row=row)})"
    return f"UPDATE tally SET n = n - 1 WHERE {at}; DELETE FROM tally WHERE n = 0 AND {at};"  # noqa: S608


def _all(change: object, row: str) -> str:
    # The year before the month, always: two that change the same wait in one line.
    return " ".join(change(row, period) for period in (f"{row}.month / 100", f"{row}.month"))  # type: ignore[operator]


SQLITE = (
    f"CREATE TRIGGER tally_added AFTER INSERT ON dataset BEGIN {_all(_added, 'new')} END",
    f"CREATE TRIGGER tally_taken AFTER DELETE ON dataset BEGIN {_all(_taken, 'old')} END",
    f"""CREATE TRIGGER tally_changed AFTER UPDATE OF {_CHANGED} ON dataset
    WHEN (old.month, old.project, old.instrument, old.tier, old.format, old.state)
    IS NOT (new.month, new.project, new.instrument, new.tier, new.format, new.state)
    BEGIN {_all(_taken, "old")} {_all(_added, "new")} END""",
)
POSTGRESQL = (
    f"""CREATE FUNCTION tally_kept() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF TG_OP <> 'INSERT' THEN {_all(_taken, "old")} END IF;
    IF TG_OP <> 'DELETE' THEN {_all(_added, "new")} END IF;
    RETURN NULL; END $$""",
    "CREATE TRIGGER tally_added AFTER INSERT OR DELETE ON dataset FOR EACH ROW EXECUTE FUNCTION tally_kept()",
    f"""CREATE TRIGGER tally_changed AFTER UPDATE OF {_CHANGED} ON dataset FOR EACH ROW
    WHEN ((old.month, old.project, old.instrument, old.tier, old.format, old.state)
    IS DISTINCT FROM (new.month, new.project, new.instrument, new.tier, new.format, new.state)) EXECUTE FUNCTION tally_kept()""",
)


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    words = sa.Text() if sqlite else sa.Text(collation="C")
    op.create_table(
        "tally",
        sa.Column("period", sa.Integer(), nullable=False, autoincrement=False),
        *(sa.Column(name, words, nullable=False) for name in KEY[1:]),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint(*KEY, name=op.f("pk_tally")),
        sqlite_with_rowid=False,
    )
    for period in ("d.month / 100", "d.month"):
        op.execute(
            f"INSERT INTO tally ({', '.join(KEY)}, n) SELECT {_ROW.format(period=period, row='d')}, count(*) FROM dataset d "  # noqa: S608
            "WHERE d.month > 0 GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6"
        )
    for statement in SQLITE if sqlite else POSTGRESQL:
        op.execute(statement)
    op.drop_index("ix_dataset_walk", "dataset")
    op.create_index("ix_dataset_walk", "dataset", [*WALK, "month"])
    op.create_index("ix_tag_place", "tag", ["place", "project", "tag"])


def downgrade() -> None:
    op.drop_index("ix_tag_place", "tag")
    op.drop_index("ix_dataset_walk", "dataset")
    op.create_index("ix_dataset_walk", "dataset", WALK)
    if op.get_bind().dialect.name == "sqlite":
        for name in ("added", "taken", "changed"):
            op.execute(f"DROP TRIGGER tally_{name}")
    else:
        op.execute("DROP TRIGGER tally_added ON dataset")
        op.execute("DROP TRIGGER tally_changed ON dataset")
        op.execute("DROP FUNCTION tally_kept")
    op.drop_table("tally")

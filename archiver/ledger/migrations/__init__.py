"""The ledger's revisions (Alembic), applied to a connection that the caller owns.

Law: a program that finds its ledger as it should be never imports Alembic, which takes a fifth of a command's start.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import sqlalchemy as sa


@cache
def head() -> str:
    """The revision this program needs: its newest file begins with it."""
    return max(file.name.partition("_")[0] for file in Path(__file__).with_name("versions").glob("[0-9]*.py"))


def current(connection: sa.Connection) -> str | None:
    """The revision the ledger has; None for an empty database."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(sa.select(sa.column("version_num")).select_from(sa.table("alembic_version")))
    return found


def upgrade(connection: sa.Connection, to: str = "head") -> None:
    """Bring the ledger to a revision, the newest by default."""
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "archiver.ledger:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, to)

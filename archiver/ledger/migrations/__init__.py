"""The ledger's revisions (Alembic), applied to a connection that the caller owns."""

from __future__ import annotations

from functools import cache

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "archiver.ledger:migrations")
    return config


@cache
def head() -> str | None:
    """The revision this program needs."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def current(connection: sa.Connection) -> str | None:
    """The revision the ledger has; None for an empty database."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(connection: sa.Connection, to: str = "head") -> None:
    """Bring the ledger to a revision, the newest by default."""
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, to)
